"""Uploads that do not end: who sends them, and an app that takes them and answers small requests.

    uploads.py serve PORT
    uploads.py send PORT

Both give way on their core, so that it is the proxy that small requests wait for.
"""

import os
import socket
import socketserver
import sys
from urllib.parse import parse_qs, urlsplit

PIECE = bytearray(1 << 20)
UPLOAD = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n"


class App(socketserver.StreamRequestHandler):
    """One connection, in a process of its own."""

    disable_nagle_algorithm = True

    def handle(self):
        """Answers `hello`, or a check's nonce; an upload is read for ever."""
        while line := self.rfile.readline():
            method, target, _ = line.decode().split()
            while self.rfile.readline().strip():
                pass
            if method == "POST":
                os.nice(10)
                while self.request.recv_into(PIECE):
                    pass
                return
            text = parse_qs(urlsplit(target).query).get("nonce", ["hello"])[0]
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n"
            self.wfile.write((head + text).encode())


class Server(socketserver.ForkingTCPServer):
    """The app."""

    allow_reuse_address, max_children, request_queue_size = True, 1000, 1000


def main():
    """Serves or sends until it is stopped."""
    what, address = sys.argv[1], ("127.0.0.1", int(sys.argv[2]))
    if what == "serve":
        Server(address, App).serve_forever()
    os.nice(10)
    with socket.create_connection(address, 10) as upload:
        upload.sendall(UPLOAD)
        while True:
            upload.sendall(PIECE)


if __name__ == "__main__":
    main()
