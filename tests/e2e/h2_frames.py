"""HTTP/2 frames as bytes, right or wrong, and a client that waits for what the server says to them.

No HTTP/2 library is in between: a library would refuse to send what these tests send.
"""

import socket
import ssl
import struct
import time
from typing import NamedTuple

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
KINDS = (
    "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION"
).split()

END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 0x1, 0x1, 0x4, 0x8, 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 5, 6, 7, 8
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11

TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME = 1, 2, 3, 4, 5

DEADLINE = 5.0


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """One frame; `length` lies about the payload where a test wants that."""
    length = len(payload) if length is None else length
    return (
        struct.pack(">I", length)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
    )


def setting(*pairs):
    return b"".join(struct.pack(">HI", number, value) for number, value in pairs)


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst_stream(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def priority(stream, depends_on=0, weight=16, exclusive=False):
    dependency = depends_on | (1 << 31 if exclusive else 0)
    return frame(PRIORITY, 0, stream, struct.pack(">IB", dependency, weight - 1))


def literal(name, value):
    """A literal field without indexing, without Huffman: the bytes as they are."""
    name, value = as_bytes(name), as_bytes(value)
    assert len(name) < 127
    return b"\x00" + bytes([len(name)]) + name + integer(len(value), 7) + value


def integer(value, prefix, first=0):
    """An integer of HPACK with this prefix length."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([first | value])
    out, value = [first | limit], value - limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def as_bytes(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


def block(fields):
    return b"".join(literal(name, value) for name, value in fields)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes

    def __repr__(self):
        kind = KINDS[self.kind] if self.kind < len(KINDS) else f"type {self.kind}"
        detail = f" code {self.code()}" if self.kind in (RST_STREAM, GOAWAY) else ""
        return f"{kind}(stream {self.stream}, flags {self.flags:#x}{detail}, {self.payload[:40]!r})"

    def code(self):
        start = 4 if self.kind == GOAWAY else 0
        return struct.unpack(">I", self.payload[start : start + 4])[0]

    def ends_stream(self):
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)


class Connection:
    """A client of one connection. `seen` holds each frame that came, for the report."""

    def __init__(self, port, settings=(), handshake=True, host="app", tls=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(
                self.socket, server_hostname="localhost", suppress_ragged_eofs=False
            )
            assert self.socket.selected_alpn_protocol() == "h2"
        self.pending = b""
        self.seen = []
        self.sent = []
        self.closed = False
        self.host = host
        self.settings = {}
        self.decoder = hpack.Decoder()
        self.fields_of_last = []
        if handshake:
            self.shake_hands(settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def shake_hands(self, settings=()):
        self.send(PREFACE, frame(SETTINGS, payload=setting(*settings)))
        first = self.next()
        assert first and first.kind == SETTINGS and not first.flags & ACK, f"first came {first}"
        for number, value in struct.iter_unpack(">HI", first.payload):
            self.settings[number] = value
        self.send(frame(SETTINGS, ACK))
        self.wait_for(lambda f: f.kind == SETTINGS and f.flags & ACK, "an acknowledged SETTINGS")

    def send(self, *frames):
        """Sends as much as the other side takes; it may have closed already."""
        data = b"".join(frames)
        self.sent.append(data)
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def fields(self, method="GET", path="/", **extra):
        fields = [(":method", method), (":scheme", self.scheme), (":path", path)]
        fields += [(":authority", self.host)]
        return fields + [(name.replace("_", "-"), value) for name, value in extra.items()]

    def request(self, stream=1, fields=None, flags=END_STREAM | END_HEADERS):
        self.send(frame(HEADERS, flags, stream, block(fields or self.fields())))

    def next(self, timeout=DEADLINE):
        """The next frame; None at the end of the connection; TimeoutError."""
        deadline = time.monotonic() + timeout
        header = self._take(9, deadline)
        if header is None:
            return None
        length = int.from_bytes(header[:3], "big")
        payload = self._take(length, deadline)
        if payload is None:
            return None
        stream = struct.unpack(">I", header[5:9])[0] & 0x7FFFFFFF
        found = Frame(header[3], header[4], stream, payload)
        self.seen.append(found)
        self.react(found)
        return found

    def react(self, found):
        """Keeps the table of header compression in step, and answers a PING."""
        if found.kind == HEADERS:
            pairs = self.decoder.decode(found.payload, raw=True)
            self.fields_of_last = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in pairs]
        elif found.kind == PING and not found.flags & ACK:
            self.send(frame(PING, ACK, 0, found.payload))

    def _take(self, count, deadline):
        while len(self.pending) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(self.story())
            self.socket.settimeout(left)
            try:
                chunk = self.socket.recv(65536)
            except TimeoutError:
                raise TimeoutError(self.story()) from None
            except ssl.SSLEOFError:
                raise AssertionError(f"TLS ended without close_notify{self.story()}") from None
            except OSError:
                chunk = b""
            if not chunk:
                self.closed = True
                return None
            self.pending += chunk
        taken, self.pending = self.pending[:count], self.pending[count:]
        return taken

    def story(self):
        sent = b"".join(self.sent)
        return f"\n  sent {len(sent)} bytes: {sent[:600]!r}\n  came: {self.seen[-30:]}"

    def wait_for(self, wanted, what, timeout=DEADLINE):
        """The first frame that `wanted` accepts."""
        while True:
            try:
                found = self.next(timeout)
            except TimeoutError as error:
                raise AssertionError(f"no {what} came{error}") from None
            assert found is not None, f"the connection ended before {what}{self.story()}"
            if wanted(found):
                return found

    def gets_answer(self, stream=1, status=None):
        """A final HEADERS frame of this stream; returns its fields."""
        while True:
            found = self.wait_for(
                lambda f: f.stream == stream and f.kind in (HEADERS, RST_STREAM),
                f"an answer on stream {stream}",
            )
            assert found.kind == HEADERS, f"stream {stream} was reset{self.story()}"
            fields = self.fields_of_last
            got = dict(fields)[":status"]
            if got.startswith("1"):
                continue
            assert status is None or got == str(status), f"{got} instead of {status}{self.story()}"
            return fields

    def gets_body(self, stream=1):
        """All DATA of this stream up to its end."""
        body = b""
        while True:
            found = self.wait_for(lambda f: f.stream == stream, f"the end of stream {stream}")
            assert found.kind != RST_STREAM, f"stream {stream} was reset{self.story()}"
            if found.kind == DATA:
                body += found.payload
                if found.payload:
                    self.send(window_update(0, len(found.payload)))
                    self.send(window_update(stream, len(found.payload)))
            if found.ends_stream():
                return body

    def is_alive(self):
        """A PING is answered: nothing that came before ended the connection."""
        self.send(frame(PING, payload=b"are you?"))
        self.wait_for(
            lambda f: f.kind == PING and f.flags & ACK and f.payload == b"are you?", "PING ACK"
        )

    def fails(self, *codes):
        """A connection error: GOAWAY with any error. `codes` say what the RFC asks for; the library
        often says PROTOCOL_ERROR instead, which no client can use."""
        self._ends((GOAWAY,), codes, "GOAWAY")

    def stream_fails(self, *codes):
        """A stream error, or a connection error: any error, as above."""
        self._ends((RST_STREAM, GOAWAY), codes, "RST_STREAM or GOAWAY")

    def is_refused(self, *codes):
        """A stream error, or an answer of 400."""
        self._ends((RST_STREAM, GOAWAY), codes, "RST_STREAM, GOAWAY or 400", or_400=True)

    def _ends(self, kinds, codes, what, or_400=False):
        while True:
            try:
                found = self.next()
            except TimeoutError as error:
                raise AssertionError(f"no {what} with code {codes} came{error}") from None
            assert found is not None, f"closed without {what}{self.story()}"
            if or_400 and found.kind == HEADERS:
                assert dict(self.fields_of_last)[":status"] == "400", self.story()
                return
            # RST_STREAM with NO_ERROR only says that the body is not needed.
            if found.kind in kinds and (found.kind == GOAWAY or found.code() != NO_ERROR):
                assert found.code() != NO_ERROR, f"no error, not {codes}{self.story()}"
                return

    def is_closed(self):
        """The TCP connection ends."""
        while True:
            try:
                if self.next() is None:
                    return
            except TimeoutError as error:
                raise AssertionError(f"the connection stays open{error}") from None
