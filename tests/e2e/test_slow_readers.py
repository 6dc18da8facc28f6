"""Clients that stop reading: nobody waits for them, and they lose nothing."""

import contextlib
import socket
import time

import h2_frames as f
import pytest
from grpc_app import Client, Server
from helpers import wait_until
from peers import Backend, Stopwatch, answering

SLOW = 6
WINDOW = (1 << 31) - 1


@pytest.fixture
def service():
    server = Server()
    yield server
    server.stop()


@pytest.fixture(params=["direct", "through the sidecar"])
def port(request, service, proxy):
    """One worker, so that all of them share what a worker shares."""
    if request.param == "direct":
        return service.port
    return proxy(service.upstream, "--threads", "1").port


def stalled(client):
    """A stream of 64 MB that is read once and then no more."""
    answers = client.call("unary_stream", "Repeat")(b"1000 65536", timeout=20)
    assert len(next(answers)) == 65536
    return answers


@pytest.mark.parametrize(
    "shared", [False, True], ids=["with others' connections", "with the same one"]
)
def test_a_call_does_not_wait_for_slow_consumers_of_streams(port, shared):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(port)) for _ in range(SLOW + 1)]
        streams = [stalled(clients[-1] if shared else clients[n]) for n in range(SLOW)]
        took = Stopwatch()
        assert clients[-1].unary("Echo", b"hello", timeout=5) == b"hello"
        assert took.seconds() < 1
        # They were only slow: the rest is still to be had.
        assert sum(1 for _ in streams[0]) == 999


def test_a_call_does_not_wait_for_closed_windows(port):
    """The same with clients that take nothing at all."""
    headers = {"content_type": "application/grpc", "te": "trailers"}
    message = b"1000 65536"
    body = b"\0" + len(message).to_bytes(4, "big") + message

    def asks(c, stream, method, body):
        fields = c.fields("POST", f"/redcar.test.Shapes/{method}", **headers)
        c.request(stream, fields, f.END_HEADERS)
        c.send(f.frame(f.DATA, f.END_STREAM, stream, body))

    paused = [f.Connection(port, settings=((f.INITIAL_WINDOW, 0),)) for _ in range(4 * SLOW)]
    for c in paused:
        asks(c, 1, "Repeat", body)
        c.gets_answer(1, 200)
    with f.Connection(port) as c:
        took = Stopwatch()
        asks(c, 1, "Echo", b"\0\0\0\0\2hi")
        c.gets_answer(1, 200)
        c.wait_for(lambda x: x.kind == f.DATA and x.payload.endswith(b"hi"), "the answer")
        assert took.seconds() < 1
    for c in paused:
        c.socket.close()


@pytest.mark.parametrize("ends", ["drain", "idle timeout"])
def test_a_client_that_reads_late_loses_nothing_of_its_answers(proxy, ends):
    """What the sidecar has of an answer is the client's, also when nothing is left to do for it.

    A drain waits for a client that does not read for a while, an idle timeout for one that reads,
    however slowly: none of them is idle.
    """
    size = 60_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    with Backend(answering(answer)) as backend:
        flags = (
            ["--idle-timeout", "3s"] if ends == "idle timeout" else ["--shutdown-timeout", "20s"]
        )
        sidecar = proxy(backend.upstream, *flags)
        with f.Connection(sidecar.port, settings=((f.INITIAL_WINDOW, WINDOW),)) as c:
            c.send(f.window_update(0, WINDOW - 65535))
            # The kernel takes little from the sidecar, and wants more at every turn.
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            # The last wait behind the others for longer than the idle timeout, which is longer than the
            # kernel takes to have room again: meanwhile no byte moves that the sidecar could see.
            streams = range(1, 2 * c.settings[f.MAX_STREAMS], 2)
            for stream in streams:
                c.request(stream)
            wait_until(lambda: len(backend.requests) == len(streams), "all requests arrive")
            if ends == "drain":
                sidecar.signal()
                time.sleep(3)  # The slowness of this reader.
            got, whole = dict.fromkeys(streams, 0), set()
            while len(whole) < len(streams) and (found := c.next()):
                if ends == "idle timeout" and found.kind == f.DATA:
                    time.sleep(0.02)  # The slowness of that one: some seconds for all.
                if found.kind == f.DATA and found.payload:
                    got[found.stream] += len(found.payload)
                    # As clients do. It must not come to a socket that is closed already.
                    c.send(f.window_update(0, len(found.payload)))
                if found.ends_stream():
                    whole.add(found.stream)
            assert set(got.values()) == {size} and whole == set(streams), (
                f"{len(streams) - len(whole)} of {len(streams)} streams were cut, "
                f"{size * len(streams) - sum(got.values())} bytes are missing"
            )
        if ends == "drain":
            assert sidecar.wait_for_exit() == 0
