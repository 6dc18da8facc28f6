"""What is sent to an HTTP/2 backend a second time: what it did not process, once, and no more."""

import pytest
from h2_backend import H2Backend
from h2_frames import *  # noqa: F403
from peers import Acceptor, client, counts

GARBAGE = frame(PING, 0, 3, bytes(8))  # A breach of the protocol: a PING on a stream.


class FrameBackend(Acceptor):
    """Answers the first request of each connection; to each later one it does `then`."""

    def __init__(self, then):
        self.then, self.requests = then, 0
        super().__init__()

    def _serve(self, sock):
        first, stream = True, sock.makefile("rb")
        with sock, stream:
            sock.sendall(frame(SETTINGS))
            stream.read(len(PREFACE))
            while len(head := stream.read(9)) == 9:
                stream.read(int.from_bytes(head[:3], "big"))
                number = int.from_bytes(head[5:], "big")
                if head[3] == SETTINGS and not head[4] & ACK:
                    sock.sendall(frame(SETTINGS, ACK))
                if head[3] != HEADERS:
                    continue
                self.requests += 1
                if first:
                    sock.sendall(frame(HEADERS, 0x5, number, block([(":status", "200")])))
                elif self.then(sock, number) == "close":
                    return
                first = False


def says_garbage(sock, number):
    sock.sendall(GARBAGE)


def leaves(sock, number):
    return "close"


def leaves_with_goaway(sock, number):
    sock.sendall(frame(GOAWAY, 0, 0, struct.pack(">II", number, NO_ERROR)))
    return "close"


def twice(proxy, backend, method):
    """Sends two requests; the backend does its worst to the second. How often it got one."""
    sidecar = proxy(backend.upstream, "--upstream-protocol", "http2", "--threads", "1")
    with client(sidecar.port) as wire:
        wire.send(f"{method} / HTTP/1.1\r\nHost: app\r\n\r\n".encode())
        assert wire.answer(method).status == 200
        wire.send(f"{method} / HTTP/1.1\r\nHost: app\r\n\r\n".encode())
        status = wire.answer(method).status
    return status, sidecar


@pytest.mark.parametrize("then", [says_garbage, leaves, leaves_with_goaway])
def test_what_may_have_been_processed_is_not_sent_again(proxy, then):
    with FrameBackend(then) as backend:
        status, sidecar = twice(proxy, backend, "POST")
        assert (status, backend.requests) == (502, 2)
        assert sidecar.samples().total("redcar_upstream_retries_total") == 0


def test_an_idempotent_request_on_a_connection_that_ends_is_sent_once_more(proxy):
    with FrameBackend(leaves) as backend:
        status, sidecar = twice(proxy, backend, "GET")
        assert (status, backend.requests) == (200, 3)
        total = sidecar.samples().total
        assert total("redcar_upstream_retries_total", reason="no_response") == 1


def test_a_stream_that_is_always_refused_is_not_sent_a_third_time(proxy):
    tries = []

    def refuse(connection, stream, request):
        tries.append(stream)
        connection.reset(stream, REFUSED_STREAM)

    with H2Backend(refuse) as backend:
        sidecar = proxy(backend.upstream, "--upstream-protocol", "http2")
        with client(sidecar.port) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
            assert wire.answer().status == 502
        assert len(tries) == 2
        counts(sidecar, {("GET", "502", "connection_terminated"): 1})


def test_a_refused_stream_whose_empty_body_has_ended_gets_an_answer(proxy):
    """The end of the body is read once; without it the second try would wait for ever."""

    def refuse(connection, stream, request):
        connection.reset(stream, REFUSED_STREAM)

    with H2Backend(refuse) as backend:
        sidecar = proxy(backend.upstream)
        with Connection(sidecar.port) as c:
            c.request(1, c.fields("POST"), END_HEADERS)
            c.send(frame(DATA, END_STREAM, 1))
            c.gets_answer(1, 502)


def test_a_request_with_a_body_goes_elsewhere_when_a_connection_takes_no_more_streams(proxy):
    """As with gRPC servers that end their connections at a certain age."""

    def ages(connection, stream, request):
        if request[":path"] == "/held":
            goaway = frame(GOAWAY, payload=struct.pack(">II", (1 << 31) - 1, NO_ERROR))
            connection.socket.sendall(goaway)
            connection.reply(stream, 200, bytes(1 << 20))  # More than the window: it stays open.
        else:
            connection.reply(stream, 200, fields=[("x-connection", str(connection.number))])

    with H2Backend(ages) as backend:
        sidecar = proxy(backend.upstream, "--threads", "1")
        with Connection(sidecar.port, settings=((INITIAL_WINDOW, 0),)) as c:
            c.request(1, c.fields(path="/held"))
            c.gets_answer(1, 200)
            whole = frame(HEADERS, END_HEADERS, 3, block(c.fields("POST", "/next")))
            c.send(whole + frame(DATA, END_STREAM, 3, b"hello"))
            assert dict(c.gets_answer(3, 200))["x-connection"] == "1"
        assert [r["body"] for r in backend.of("/next")] == [b"hello"]
