"""gRPC in all its shapes, with grpcio on both sides; directly first, to prove the tests."""

import json
import queue
import time

import grpc
import pytest
from grpc_app import SERVICE, Client, Server, wait_for
from helpers import free_port, run, tool, wait_until
from peers import Backend, node

Code = grpc.StatusCode


@pytest.fixture
def service():
    server = Server()
    yield server
    server.stop()


@pytest.fixture(params=["direct", "through the sidecar"])
def client(request, service, proxy):
    """A client of the service, with it and the sidecar (or None) as attributes."""
    sidecar = None if request.param == "direct" else proxy(service.upstream)
    with Client(sidecar.port if sidecar else service.port) as client:
        client.shapes, client.sidecar, client.port = service.shapes, sidecar, service.port
        yield client


def counted(client, method, grpc_status, count=1):
    """The sidecar counts the call, once, with its gRPC status."""
    if client.sidecar is None:
        return
    # What was never answered well has no label of its own.
    match = {"path": f"/{SERVICE}/{method}"} if grpc_status == "OK" else {}
    wait_until(
        lambda: (
            client.sidecar.samples().total("http_requests_total", grpc_status=grpc_status, **match)
            == count
        ),
        f"{count} x {method} with {grpc_status}: {client.sidecar.samples().requests()}",
    )
    wait_until(lambda: client.sidecar.in_flight() == 0, "nothing is in flight")


def test_an_empty_message_passes(client):
    assert client.unary("Empty") == b""
    counted(client, "Empty", "OK")


@pytest.mark.parametrize("size", [1, 16_384, 271_828, 20 << 20])
def test_a_message_of_any_size_passes_both_ways(client, size):
    message = bytes(range(256)) * (size // 256 + 1)
    assert client.unary("Echo", message[:size]) == message[:size]


def test_a_call_does_not_wait_for_consumers_of_streams_that_are_slow(client):
    """They share a connection to the service for each worker of the sidecar: six each, of two."""
    port = client.sidecar.port if client.sidecar else client.port
    others = [Client(port) for _ in range(12)]
    try:
        for other in others:
            stream = other.call("unary_stream", "Repeat")(b"1000 65536", timeout=60)
            assert len(next(stream)) == 65536
            other.stream = stream
        # The windows fill meanwhile.
        until = time.monotonic() + 2
        while time.monotonic() < until:
            assert client.unary("Echo", b"quick", timeout=5) == b"quick"
    finally:
        for other in others:
            other.channel.close()


def test_a_client_stream_passes(client):
    sizes = [27_182, 8, 1_828, 45_904]
    answer = client.call("stream_unary", "Count")(iter(bytes(n) for n in sizes), timeout=20)
    assert answer == str(sum(sizes)).encode()
    counted(client, "Count", "OK")


def test_a_server_stream_passes(client):
    answers = list(client.call("unary_stream", "Repeat")(b"300 5000", timeout=20))
    assert answers == [bytes([n % 256]) * 5000 for n in range(300)]
    counted(client, "Repeat", "OK")


def test_each_message_of_a_ping_pong_passes_before_the_next_is_sent(client):
    outgoing = queue.Queue()
    answers = client.call("stream_stream", "PingPong")(iter(outgoing.get, None), timeout=20)
    for number in range(50):
        outgoing.put(b"ping %d" % number)
        assert next(answers) == b"ping %d" % number
    outgoing.put(None)
    assert list(answers) == [] and answers.code() == Code.OK
    counted(client, "PingPong", "OK")


def test_a_bidirectional_stream_without_messages_ends(client):
    assert list(client.call("stream_stream", "PingPong")(iter(()), timeout=20)) == []


def test_a_hundred_calls_at_once_pass(client):
    futures = [
        client.call("unary_unary", "Echo").future(b"%d" % n * 1000, timeout=20) for n in range(100)
    ]
    assert [f.result() for f in futures] == [b"%d" % n * 1000 for n in range(100)]
    counted(client, "Echo", "OK", 100)


def test_metadata_passes_both_ways_also_binary(client):
    binary = bytes(range(256))
    answer, call = client.call("unary_unary", "Metadata").with_call(
        b"", timeout=20, metadata=(("x-initial", "first"), ("x-trailing-bin", binary))
    )
    assert answer.endswith(b"x-initialx-trailing-bin")
    assert dict(call.initial_metadata())["x-initial"] == "first"
    assert dict(call.trailing_metadata())["x-trailing-bin"] == binary


@pytest.mark.parametrize("message", ["", "not here", "\t\u00fcnic\u00f6de \U0001f600 100%"])
def test_a_status_and_its_message_pass(client, message):
    found = client.code_of(lambda: client.unary("Status", f"NOT_FOUND:{message}".encode()))
    assert found == (Code.NOT_FOUND, message)
    counted(client, "Status", "NOT_FOUND")


def test_a_status_after_messages_passes(client):
    answers = client.call("unary_stream", "StatusAfterMessages")(b"", timeout=20)
    assert [next(answers), next(answers)] == [b"one", b"two"]
    assert client.code_of(lambda: next(answers)) == (Code.DATA_LOSS, "lost")
    counted(client, "StatusAfterMessages", "DATA_LOSS")


def test_an_unknown_method_is_unimplemented(client):
    assert client.code_of(lambda: client.unary("Nothing"))[0] == Code.UNIMPLEMENTED
    counted(client, "Nothing", "UNIMPLEMENTED")


def test_an_unknown_service_is_unimplemented(client):
    call = client.channel.unary_unary("/no.such.Service/Method")
    assert client.code_of(lambda: call(b"", timeout=20))[0] == Code.UNIMPLEMENTED


def test_a_cancelled_call_is_cancelled_at_the_backend(client):
    call = client.call("unary_unary", "Wait").future(b"", timeout=20)
    wait_for(client.shapes.begun, "the call begins")
    call.cancel()
    wait_for(client.shapes.cancelled, "the backend learns of it")
    if client.sidecar:
        wait_until(lambda: client.sidecar.in_flight() == 0, "nothing is in flight")
        assert (
            client.sidecar.samples().total(
                "http_requests_total", status="499", error="downstream_aborted"
            )
            == 1
        )


def test_a_call_cancelled_after_its_first_message_is_cancelled_at_the_backend(client):
    answers = client.call("unary_stream", "WaitAfterOne")(b"", timeout=20)
    assert next(answers) == b"one"
    answers.cancel()
    wait_for(client.shapes.cancelled, "the backend learns of it")
    assert client.code_of(lambda: next(answers))[0] == Code.CANCELLED


def test_a_call_cancelled_before_its_first_message_disturbs_no_other(client):
    outgoing = queue.Queue()
    answers = client.call("stream_stream", "PingPong")(iter(outgoing.get, None), timeout=20)
    answers.cancel()
    outgoing.put(None)
    assert client.code_of(lambda: next(answers))[0] == Code.CANCELLED
    assert client.unary("Echo", b"still here") == b"still here"


def test_a_deadline_reaches_the_backend_and_ends_the_call_there(client):
    found = client.code_of(lambda: client.unary("Wait", timeout=0.7))
    assert found[0] == Code.DEADLINE_EXCEEDED
    wait_for(client.shapes.cancelled, "the backend learns of it")
    assert 0 < client.shapes.deadlines[0] < 0.75


def test_a_backend_that_is_down_is_unavailable(proxy):
    sidecar = proxy(f"127.0.0.1:{free_port()}")
    with Client(sidecar.port) as client:
        client.sidecar = sidecar
        assert client.code_of(lambda: client.unary("Echo"))[0] == Code.UNAVAILABLE
        counted(client, "Echo", "UNAVAILABLE")
    errors = sidecar.samples().table("http_requests_total", "error")
    assert set(errors) == {("connection_refused",)}


def test_a_backend_that_does_not_answer_in_time_exceeds_the_deadline(service, proxy):
    sidecar = proxy(service.upstream, "--response-timeout", "300ms")
    with Client(sidecar.port) as client:
        client.sidecar = sidecar
        assert client.code_of(lambda: client.unary("Wait"))[0] == Code.DEADLINE_EXCEEDED
        counted(client, "Wait", "DEADLINE_EXCEEDED")
    wait_for(service.shapes.cancelled, "the backend learns of it")


def test_an_error_of_the_sidecar_is_a_grpc_answer_without_a_page(proxy):
    """Trailers-only: 200, the content type of gRPC, status and message, no body."""
    sidecar = proxy(f"127.0.0.1:{free_port()}")
    done = run(
        [tool("curl"), "-sS", "-i", "--http2-prior-knowledge", "-X", "POST"]
        + ["-H", "content-type: application/grpc", "-H", "te: trailers", f"{sidecar.url}/a.B/C"]
    )
    head = done.stdout.replace("\r", "").lower()
    assert head.startswith("http/2 200"), done.stdout + done.stderr
    assert "content-type: application/grpc" in head and "grpc-status: 14" in head
    assert "grpc-message:" in head and head.rstrip().count("\n\n") == 0


def test_a_call_to_a_backend_without_http2_fails_with_a_status(proxy):
    with Backend() as backend, Client(proxy(backend.upstream).port) as client:
        assert client.code_of(lambda: client.unary("Echo"))[0] == Code.UNKNOWN


def test_a_node_client_passes_in_all_shapes(service, proxy):
    sidecar = proxy(service.upstream)
    done = node("grpc_client.js", sidecar.port)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {
        "unary": 300_000,
        "clientStream": "60",
        "serverStream": 20,
        "pingPong": ["a", "b", "c"],
        "status": [5, "gone"],
        "deadline": 4,
    }
