"""Either side dies at every phase: the other side sees an error, never a clean end.

The metric names who failed, and nothing stays in flight.
"""

import struct
import time

import h2_frames as f
import pytest
from helpers import reset, wait_until
from peers import Backend, Ended, client, outcomes

CHUNKED = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
# phase: what the backend has sent when it dies, and what the metric says.
BACKEND_DIES = {
    "before the head": (b"", "502", "connection_terminated"),
    "inside the status line": (b"HTTP/1.1 20", "502", "http_response_incomplete"),
    "inside the head": (b"HTTP/1.1 200 OK\r\nX: y\r\n", "502", "http_response_incomplete"),
    "before the body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "200",
        "http_response_incomplete",
    ),
    "inside the body": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour",
        "200",
        "http_response_incomplete",
    ),
    "one byte before the end": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\neightxxx",
        "200",
        "http_response_incomplete",
    ),
    "before a chunk": (CHUNKED, "200", "http_response_incomplete"),
    "inside a chunk's size": (CHUNKED + b"1", "200", "http_response_incomplete"),
    "inside a chunk": (CHUNKED + b"9\r\nfour", "200", "http_response_incomplete"),
    "behind a chunk": (CHUNKED + b"4\r\nfour\r\n", "200", "http_response_incomplete"),
    "before the last chunk's end": (
        CHUNKED + b"4\r\nfour\r\n0\r\n",
        "200",
        "http_response_incomplete",
    ),
    "inside the trailers": (
        CHUNKED + b"4\r\nfour\r\n0\r\nX-Sum: 1\r\n",
        "200",
        "http_response_incomplete",
    ),
}
HOW = ["fin", "reset"]


def ends(sidecar, status, errors):
    """Exactly one request is counted, with this status and one of these errors."""
    wait_until(lambda: sidecar.samples().requests(), "the request is counted")
    wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight")
    ((key, count),) = sidecar.samples().requests().items()
    assert count == 1 and key[2] in status and key[3] in errors, key


def dying(sent, how):
    def script(wire):
        wire.request()
        wire.send(sent)
        if sent:
            time.sleep(0.05)  # A reset would overtake what was sent.
        if how == "reset":
            reset(wire.socket)

    return Backend(script)


def request_over(protocol, port):
    """A GET; "whole" with its status, or "cut"."""
    if protocol == "h2c":
        with f.Connection(port) as c:
            c.request(1)
            status = None
            while True:
                found = c.wait_for(lambda x: x.stream == 1, "anything")
                if found.kind == f.RST_STREAM:
                    return "cut", 0
                if found.kind == f.HEADERS:
                    status = dict(c.fields_of_last).get(":status", status)
                if found.ends_stream():
                    return "whole", int(status)
    with client(port) as wire:
        wire.send(b"GET / %s\r\nHost: app\r\n\r\n" % protocol.encode())
        try:
            return "whole", wire.answer().status
        except Ended:
            return "cut", 0


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("phase", BACKEND_DIES)
@pytest.mark.parametrize("protocol", ["HTTP/1.1", "h2c"])
def test_the_backend_dies(proxy, protocol, phase, how):
    sent, status, error = BACKEND_DIES[phase]
    with dying(sent, how) as backend:
        sidecar = proxy(backend.upstream)
        outcome = request_over(protocol, sidecar.port)
        assert outcome == (("whole", 502) if status == "502" else ("cut", 0))
        also = {"connection_terminated"} if status == "502" else set()
        ends(sidecar, {status}, {error} | also)


def test_an_http_1_0_client_of_a_cut_chunked_answer_sees_a_reset(proxy):
    """A clean end would be the end of the body."""
    with dying(CHUNKED + b"9\r\nfour", "fin") as backend:
        assert request_over("HTTP/1.0", proxy(backend.upstream).port)[0] == "cut"


UPLOAD = b"POST /up HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
CLIENT_DIES = {
    "inside the body": b"POST /up HTTP/1.1\r\nHost: app\r\nContent-Length: 9\r\n\r\nfour",
    "before the body": b"POST /up HTTP/1.1\r\nHost: app\r\nContent-Length: 9\r\n\r\n",
    "before a chunk": UPLOAD,
    "inside a chunk's size": UPLOAD + b"1",
    "inside a chunk": UPLOAD + b"9\r\nfour",
    "behind a chunk": UPLOAD + b"4\r\nfour\r\n",
    "before the last chunk's end": UPLOAD + b"4\r\nfour\r\n0\r\n",
    "inside the trailers": UPLOAD + b"4\r\nfour\r\n0\r\nX-Sum: 1\r\n",
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("phase", CLIENT_DIES)
def test_the_client_dies(proxy, phase, how):
    with Backend() as backend:
        sidecar = proxy(backend.upstream)
        wire = client(sidecar.port)
        wire.send(CLIENT_DIES[phase])
        wait_until(lambda: sidecar.in_flight() == 1, "the request is in flight")
        reset(wire.socket) if how == "reset" else wire.socket.close()
        ends(sidecar, {"499", "400"}, {"downstream_aborted", "downstream_body_error"})
        wait_until(
            lambda: not any(s.fileno() >= 0 for s in backend.open), "the backend learns of it"
        )
        assert not backend.requests, "the upload was completed"


@pytest.mark.parametrize("how", HOW)
def test_the_client_dies_inside_the_head(proxy, how):
    with Backend() as backend:
        sidecar = proxy(backend.upstream)
        wire = client(sidecar.port)
        wire.send(b"GET / HTTP/1.1\r\nHost: a")
        reset(wire.socket) if how == "reset" else wire.socket.close()
        wait_until(
            lambda: sidecar.samples().total("redcar_downstream_connections") == 0,
            "the connection is gone",
        )
        assert sidecar.in_flight() == 0 and not backend.received()


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "h2c"])
def test_the_client_dies_inside_the_answer(proxy, protocol):
    def endless(wire):
        wire.request()
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while wire.send(b"400\r\n" + bytes(1024) + b"\r\n"):
            pass

    with Backend(endless) as backend:
        sidecar = proxy(backend.upstream)
        if protocol == "h2c":
            with f.Connection(sidecar.port) as c:
                c.request(1)
                c.wait_for(lambda x: x.kind == f.DATA, "DATA")
        else:
            wire = client(sidecar.port)
            wire.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
            wire.head()
            reset(wire.socket)
        ends(sidecar, {"200"}, {"downstream_aborted"})
        wait_until(
            lambda: not any(s.fileno() >= 0 for s in backend.open), "the backend learns of it"
        )


def test_the_whole_connection_of_an_http2_client_dies(proxy):
    """GOAWAY and FIN in the middle of ten uploads."""
    with Backend() as backend:
        sidecar = proxy(backend.upstream)
        with f.Connection(sidecar.port) as c:
            for n in range(10):
                c.request(1 + 2 * n, c.fields("POST", "/up"), f.END_HEADERS)
                c.send(f.frame(f.DATA, 0, 1 + 2 * n, b"half"))
            wait_until(lambda: sidecar.in_flight() == 10, "ten uploads are in flight")
            c.send(f.frame(f.GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
        wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight")
        assert outcomes(sidecar.samples()) == {("POST", "499", "downstream_aborted"): 10}
        assert not backend.requests
