#!/usr/bin/env python3
"""Gentle traffic for the example app: load.py http://127.0.0.1:7001 [--rate 20]

Most requests succeed; some fail, some are slow, some name nothing, and some clients do not wait
for their answer, so that every panel of the dashboard has something to show.
"""

import argparse
import http.client
import random
import socket
import struct
import threading
import time
import urllib.parse

THREADS = 4


def get(connection, path):
    connection.request("GET", path)
    connection.getresponse().read()


def upload(connection, _):
    connection.request("POST", "/upload", body=b"x" * random.randint(100, 20_000))
    connection.getresponse().read()


def give_up(connection, path):
    """Sends a request and resets the connection before the answer can be there."""
    with socket.create_connection((connection.host, connection.port), timeout=5) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: {connection.host}\r\n\r\n".encode())
        time.sleep(0.1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# weight, what, path
TRAFFIC = [
    (50, get, lambda: f"/users/{random.randint(1, 5000)}"),
    (30, get, lambda: "/ruok"),
    (10, upload, lambda: "/upload"),
    (4, get, lambda: "/nothing-here"),
    (3, get, lambda: "/fail"),
    (2, get, lambda: "/slow"),
    (1, give_up, lambda: "/slow"),
]


def client(address, rate, end):
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    while time.monotonic() < end:
        began = time.monotonic()
        _, send, path = random.choices(TRAFFIC, [weight for weight, _, _ in TRAFFIC])[0]
        try:
            send(connection, path())
        except (OSError, http.client.HTTPException):
            connection.close()
        time.sleep(max(0.0, began + random.expovariate(rate) - time.monotonic()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", type=urllib.parse.urlsplit)
    parser.add_argument("--rate", type=float, default=20, help="requests per second")
    parser.add_argument(
        "--seconds", type=float, default=86_400.0, help="stop by itself after this time"
    )
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    clients = [
        threading.Thread(target=client, args=(args.url, args.rate / THREADS, end), daemon=True)
        for _ in range(THREADS)
    ]
    for one in clients:
        one.start()
    for one in clients:
        one.join()


if __name__ == "__main__":
    main()
