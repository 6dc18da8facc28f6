"""What one stream of an HTTP/2 connection does is not felt by the others: a browser cancels what it
no longer shows, and a balancer has many users on one connection."""

import contextlib

import h2_frames as f
import pytest
from peers import OK, Backend, answering

SIZE = 4 << 20
BIG = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE)


@pytest.fixture
def app():
    with Backend(answering(lambda request: BIG if "/big" in request.start else OK)) as app:
        yield app


@contextlib.contextmanager
def downloading(port):
    """A connection with a download that has begun, and must end whole."""
    with f.Connection(port) as c:
        c.request(1, c.fields(path="/big"))
        c.gets_answer(1, 200)
        yield c
        # Frames that came meanwhile belong to it, too.
        came = sum(len(x.payload) for x in c.seen if x.kind == f.DATA and x.stream == 1)
        c.send(f.window_update(0, came + 1), f.window_update(1, came + 1))
        assert came + len(c.gets_body(1)) == SIZE
        c.is_alive()


def cancelled(c, streams):
    """Requests that are cancelled at once."""
    return b"".join(
        f.frame(f.HEADERS, f.END_STREAM | f.END_HEADERS, stream, f.block(c.fields()))
        + f.rst_stream(stream)
        for stream in streams
    )


@pytest.mark.parametrize("count", [30, 100])
def test_a_download_goes_on_while_its_client_cancels_others(app, proxy, count):
    """All of them in one segment, as many as may be open at once."""
    sidecar = proxy(app.upstream)
    with downloading(sidecar.port) as c:
        assert count <= c.settings[f.MAX_STREAMS]
        c.send(cancelled(c, range(3, 3 + 2 * count, 2)))
        c.request(1001)
        c.gets_answer(1001, 200)
    with f.Connection(sidecar.port) as c:
        c.request(1)
        c.gets_answer(1, 200)


def test_a_client_that_goes_on_cancelling_is_ended(app, proxy):
    """The attack of CVE-2023-44487."""
    sidecar = proxy(app.upstream)
    with f.Connection(sidecar.port) as c:
        c.send(*(cancelled(c, range(first, first + 200, 2)) for first in range(1, 40_000, 200)))
        c.fails(f.ENHANCE_YOUR_CALM, f.NO_ERROR)


# Names and values that no field may have. The h2 library refuses them while it decodes HPACK
# (DecoderError in its `frame::headers`), cannot go on behind them, and so ends the connection.
UNDECODABLE = {
    "a name in capitals": [("Upper", "case")],
    "an empty name": [("", "value")],
    "a space in a name": [("a b", "value")],
    "a line break in a value": [("x", "a\r\nb")],
    "a NUL in a value": [("x", "a\0b")],
    "an unknown pseudo-field": [(":unknown", "x")],
}

MALFORMED = {
    "a field of the connection": [("connection", "keep-alive")],
    "a transfer coding": [("transfer-encoding", "chunked")],
    "te": [("te", "gzip")],
    "a pseudo-field behind": [("x", "y"), (":path", "/other")],
    "a contradicting length": [("content-length", "5")],
    "a bad length": [("content-length", "x")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_ends_no_other_stream(app, proxy, fields):
    with downloading(proxy(app.upstream).port) as c:
        c.request(3, [*c.fields(), *fields])
        c.request(5)
        c.gets_answer(5, 200)
        refused = [x for x in c.seen if x.stream == 3 and x.kind in (f.RST_STREAM, f.HEADERS)]
        assert refused, c.story()


@pytest.mark.parametrize("fields", UNDECODABLE.values(), ids=UNDECODABLE)
def test_a_request_that_does_not_decode_never_reaches_the_app(app, proxy, fields):
    sidecar = proxy(app.upstream)
    with f.Connection(sidecar.port) as c:
        c.request(1, [*c.fields(), *fields])
        c.fails(f.PROTOCOL_ERROR)
    assert not app.requests
