"""Scripted backends on raw sockets that remember every byte, and readers of HTTP/1 messages."""

import socket
import threading
import time

from helpers import HERE, REPO, connect, run, tool, wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DEADLINE = 10


NODE = {"NODE_PATH": str(REPO / "target" / "e2e-node" / "node_modules")}


def node(script, *arguments, timeout=60):
    """Runs a Node program of this folder to its end."""
    return run([tool("node"), HERE / "node" / script, *arguments], timeout=timeout, env=NODE)


def outcomes(samples):
    """{(method, status, error): count}. Not the path: whether it has a label is another matter."""
    return samples.table("http_requests_total", "method", "status", "error")


def counts(sidecar, expected):
    """Waits until exactly `expected` outcomes are counted."""
    wait_until(
        lambda: sum(outcomes(sidecar.samples()).values()) >= sum(expected.values()),
        f"{expected} is counted, not {outcomes(sidecar.samples())}",
    )
    samples = sidecar.samples()
    assert outcomes(samples) == expected
    return samples


class Ended(Exception):
    """The peer closed; `how` is `fin` or `reset`."""

    def __init__(self, how, rest=b""):
        super().__init__(f"{how} after {rest[-200:]!r}")
        self.how, self.rest = how, rest


class Message:
    """An HTTP/1 message as it came: `head` without the empty line, `body` without chunk framing."""

    def __init__(self, head):
        self.head, self.body, self.trailers = head, b"", []
        lines = head.split(b"\r\n")
        self.start = lines[0].decode("latin-1")
        self.fields = [
            (name.decode("latin-1"), value.strip(b" \t").decode("latin-1"))
            for name, _, value in (line.partition(b":") for line in lines[1:])
        ]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name):
        return next(iter(self.all(name)), None)

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    def __repr__(self):
        return f"<{self.head!r} {len(self.body)} bytes {self.body[:60]!r} {self.trailers}>"


class Wire:
    """A socket with what was read from it and not yet used."""

    def __init__(self, sock, tap=None, timeout=DEADLINE):
        self.socket, self.tap, self.pending = sock, tap, b""
        sock.settimeout(timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def fill(self):
        try:
            chunk = self.socket.recv(1 << 18)
        except TimeoutError:
            raise TimeoutError(f"nothing more came after {self.pending[-300:]!r}") from None
        except OSError:
            raise Ended("reset", self.pending) from None
        if not chunk:
            raise Ended("fin", self.pending)
        if self.tap:
            self.tap(chunk)
        self.pending += chunk

    def until(self, mark):
        while mark not in self.pending:
            self.fill()
        taken, _, self.pending = self.pending.partition(mark)
        return taken

    def take(self, count):
        while len(self.pending) < count:
            self.fill()
        taken, self.pending = self.pending[:count], self.pending[count:]
        return taken

    def send(self, data):
        """Sends what the other side takes; false if it is gone."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def head(self):
        return Message(self.until(b"\r\n\r\n"))

    def chunk(self):
        """The next chunk's bytes; empty for the last one, whose trailers stay unread."""
        size = int(self.until(b"\r\n").split(b";")[0], 16)
        return self.take(size + 2)[:-2] if size else b""

    def body(self, message, until_close=False):
        """Reads the body that the head of `message` announces."""
        if (message.get("transfer-encoding") or "").lower().endswith("chunked"):
            while data := self.chunk():
                message.body += data
            while line := self.until(b"\r\n"):
                message.trailers.append(line.decode("latin-1"))
        elif message.get("content-length") is not None:
            message.body = self.take(int(message.get("content-length")))
        elif until_close:
            try:
                while True:
                    self.fill()
            except Ended as end:
                message.body, self.pending = self.pending, b""
                if end.how == "reset":
                    raise
        return message

    def request(self):
        return self.body(self.head())

    def answer(self, method="GET"):
        """The next answer that is not interim, with its body."""
        while True:
            message = self.head()
            if message.status // 100 != 1 or message.status == 101:
                break
        if method == "HEAD" or message.status in (101, 204, 304):
            return message
        return self.body(message, until_close=True)

    def how_it_ends(self):
        """Waits for the end; `fin` or `reset`, and what came before."""
        while True:
            try:
                self.fill()
            except Ended as end:
                return end.how, end.rest


def client(port, timeout=DEADLINE):
    return Wire(connect(port, timeout), timeout=timeout)


class Acceptor:
    """Listens, and runs `_serve(socket)` for each connection on a thread of its own."""

    host = "127.0.0.1"

    def __init__(self, backlog=2048):
        self.listener = socket.create_server((self.host, 0), backlog=backlog)
        self.port = self.listener.getsockname()[1]
        self.upstream = f"{self.host}:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def close(self):
        self.listener.close()


class Backend(Acceptor):
    """Runs `script(wire)` for each connection, on a thread; by default it answers 200 to all.

    It speaks no HTTP/2 and refuses its preface as real servers do; that is not recorded.

    `streams` holds what each connection received, `requests` each whole request.
    """

    def __init__(self, script=None):
        self.script = script or answering(OK)
        self.streams, self.requests, self.endings = [], [], []
        self.open = set()
        super().__init__()

    def _serve(self, sock):
        self.open.add(sock)
        if is_http2(sock):
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            self.open.discard(sock)
            sock.close()
            return
        stream = bytearray()
        self.streams.append(stream)
        wire = Wire(sock, stream.extend, timeout=60)
        wire.backend = self
        try:
            self.script(wire)
        except Ended as end:
            self.endings.append(end.how)
        except (TimeoutError, OSError, ValueError) as error:
            self.endings.append(repr(error))
        finally:
            self.open.discard(sock)
            sock.close()

    def received(self):
        return b"".join(bytes(s) for s in self.streams)

    def close(self):
        super().close()
        for sock in list(self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def is_http2(sock):
    """Waits for the first bytes and leaves them there."""
    try:
        return sock.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL) == b"PRI "
    except OSError:
        return False


def answering(answer):
    """A script: each whole request gets these bytes; `answer` may be a function of the request."""

    def script(wire):
        while True:
            request = wire.request()
            wire.backend.requests.append(request)
            wire.send(answer(request) if callable(answer) else answer)

    return script


class Stopwatch:
    def __init__(self):
        self.begun = time.monotonic()

    def seconds(self):
        return time.monotonic() - self.begun
