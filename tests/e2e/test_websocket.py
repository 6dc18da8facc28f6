"""WebSocket through the tunnel, with Python's `websockets` and Node's `ws` on both sides.

The Autobahn suite is not among them: its release 25.10.1 installs under Python 3, but cannot be
imported there (`from _version import __version__` is Python 2), and Debian 12 has no Python 2.
"""

import asyncio
import contextlib
import json
import threading
import time

import pytest
import websockets
from helpers import reset, tool, wait_until
from peers import HERE, NODE, Backend, Ended, client, counts, node
from websockets.sync.client import connect as ws_connect
from websockets.sync.server import serve

MIB16 = 16 << 20
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def echo(socket):
    """Sends back what comes; `close CODE` closes with this code."""
    for message in socket:
        if isinstance(message, str) and message.startswith("close "):
            socket.close(int(message.split()[1]), "as asked")
            return
        socket.send(message)


@contextlib.contextmanager
def python_server(handler=echo, **options):
    with serve(handler, "127.0.0.1", 0, max_size=2 * MIB16, **options) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()


@contextlib.contextmanager
def node_server(processes):
    process = processes.spawn("ws", [tool("node"), HERE / "node" / "ws_server.js"], env=NODE)
    yield int(wait_until(lambda: process.out.read_text(), "the Node server listens"))


@pytest.fixture(params=["python", "node"])
def server(request, processes):
    """The port of an echo server."""
    with python_server() if request.param == "python" else node_server(processes) as port:
        yield port


@pytest.fixture(params=["direct", "through the sidecar"])
def port(request, server, proxy):
    return server if request.param == "direct" else proxy(f"127.0.0.1:{server}").port


def dial(port, **options):
    return ws_connect(f"ws://127.0.0.1:{port}/chat", max_size=2 * MIB16, open_timeout=10, **options)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_of_all_sizes_come_back(port, compression):
    with dial(port, compression=compression) as socket:
        for size in (0, 1, 125, 126, 65_535, 65_536, 1 << 20):
            message = bytes(range(256)) * (size // 256 + 1)
            socket.send(message[:size])
            assert socket.recv(timeout=20) == message[:size]
        socket.send("\u00fcnic\u00f6de \U0001f600")
        assert socket.recv(timeout=20) == "\u00fcnic\u00f6de \U0001f600"
        extensions = socket.response.headers.get("Sec-WebSocket-Extensions", "")
        assert ("permessage-deflate" in extensions) == (compression is not None)


def test_a_frame_of_16_mib_comes_back(port):
    message = bytes(range(256)) * (MIB16 // 256)
    with dial(port, compression=None) as socket:
        socket.send(message)
        assert socket.recv(timeout=60) == message


def test_fragments_come_back_as_one_message(port):
    with dial(port) as socket:
        socket.send(["one ", "two ", "three"])
        assert socket.recv(timeout=20) == "one two three"


def test_pings_are_answered(port):
    with dial(port) as socket:
        for _ in range(3):
            assert socket.ping().wait(10)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 4321])
def test_close_codes_pass(port, code):
    with dial(port) as socket:
        socket.send(f"close {code}")
        with pytest.raises(websockets.ConnectionClosed):
            socket.recv(timeout=20)
        assert (socket.close_code, socket.close_reason) == (code, "as asked")


def test_a_node_client_gets_everything_back(port):
    done = node("ws_client.js", port)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {
        "extension": True,
        "sizes": [0, 1, 125, 126, 65535, 65536, MIB16],
        "text": "h\u00e9llo",
        "pong": "are you there?",
        "close": [4000, "as asked"],
    }


def test_a_thousand_messages_both_ways_at_once_keep_their_order(port):
    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{port}/chat") as socket:

            async def send():
                for number in range(1000):
                    await socket.send(f"{number} " + "x" * (number * 7 % 5000))

            sender = asyncio.create_task(send())
            came = [int((await socket.recv()).split()[0]) for _ in range(1000)]
            await sender
            return came

    assert asyncio.run(asyncio.wait_for(talk(), 30)) == list(range(1000))


# --- the tunnel itself ----------------------------------------------------------------------------


def tunnel(first=b"", then=None):
    """A backend that switches, sends `first` with the handshake, and runs `then`."""

    def script(wire):
        wire.request_head = wire.head()
        wire.backend.requests.append(wire.request_head)
        wire.send(SWITCHED + first)
        (then or (lambda w: w.how_it_ends()))(wire)

    return Backend(script)


def test_bytes_right_behind_the_handshake_are_not_lost_on_either_side(proxy):
    def then(wire):
        assert wire.take(5) == b"early"
        wire.send(b"got it")

    with tunnel(b"hello", then) as backend, client(proxy(backend.upstream).port) as wire:
        wire.send(UPGRADE + b"early")
        assert wire.head().status == 101
        assert wire.take(11) == b"hellogot it"
        assert wire.how_it_ends()[0] == "fin"


def test_upgrade_fields_reach_the_backend_and_its_answer_the_client(proxy):
    with tunnel() as backend, client(proxy(backend.upstream).port) as wire:
        wire.send(UPGRADE)
        answer = wire.head()
        seen = backend.requests[0]
        assert (seen.get("upgrade"), seen.get("connection").lower()) == ("websocket", "upgrade")
        assert seen.get("sec-websocket-key") == "dGhlIHNhbXBsZSBub25jZQ=="
        assert answer.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert (answer.get("upgrade"), answer.get("connection").lower()) == ("websocket", "upgrade")


@pytest.mark.parametrize("first", ["client", "backend"])
def test_a_half_close_passes_and_the_other_half_stays_open(proxy, first):
    def answers_after_the_end(wire):
        _, rest = wire.how_it_ends()
        wire.send(b"you said " + rest)

    def closes_first(wire):
        wire.send(b"bye")
        wire.socket.shutdown(1)
        wire.backend.after = wire.how_it_ends()

    then = answers_after_the_end if first == "client" else closes_first
    with tunnel(then=then) as backend, client(proxy(backend.upstream).port) as wire:
        wire.send(UPGRADE)
        wire.head()
        if first == "client":
            wire.send(b"all")
            wire.socket.shutdown(1)
            assert wire.how_it_ends() == ("fin", b"you said all")
        else:
            assert wire.how_it_ends() == ("fin", b"bye")
            wire.send(b"still here")
            wire.socket.close()
            wait_until(lambda: hasattr(backend, "after"), "the backend sees the other half end")
            assert backend.after == ("fin", b"still here")


@pytest.mark.parametrize("who", ["client", "backend"])
def test_when_one_side_resets_the_other_side_ends(proxy, who):
    def resets(wire):
        wire.take(2)
        reset(wire.socket)

    with tunnel(then=resets if who == "backend" else None) as backend:
        sidecar = proxy(backend.upstream)
        wire = client(sidecar.port)
        wire.send(UPGRADE)
        wire.head()
        wire.send(b"go")
        if who == "client":
            reset(wire.socket)
            wait_until(lambda: not backend.open, "the backend's side ends")
        else:
            wire.how_it_ends()
        wait_until(
            lambda: sidecar.samples().total("http_upgraded_connections_active") == 0,
            "no tunnel is left",
        )


@pytest.mark.parametrize("status", [403, 426, 200])
def test_a_refused_upgrade_is_an_answer_like_any_other(proxy, status):
    extra = b"Connection: upgrade\r\nUpgrade: websocket\r\n" if status == 426 else b""

    def script(wire):
        while True:
            wire.backend.requests.append(wire.request())
            wire.send(b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n%s\r\nno" % (status, extra))

    with Backend(script) as backend:
        sidecar = proxy(backend.upstream)
        with client(sidecar.port) as wire:
            for _ in range(2):
                wire.send(UPGRADE)
                answer = wire.answer()
                assert (answer.status, answer.body) == (status, b"no")
                assert answer.get("upgrade") == ("websocket" if status == 426 else None)
        counts(sidecar, {("GET", str(status), ""): 2})
        assert sidecar.samples().total("http_upgraded_connection_duration_seconds_count") == 0


@pytest.mark.parametrize(
    "answer",
    [
        SWITCHED.replace(b"Upgrade: websocket", b"Upgrade: other"),
        SWITCHED.replace(b"Upgrade: websocket\r\n", b""),
    ],
    ids=["to another protocol", "to none"],
)
def test_a_101_to_what_nobody_offered_is_a_502(proxy, answer):
    with Backend(lambda wire: (wire.head(), wire.send(answer), wire.how_it_ends())) as backend:
        sidecar = proxy(backend.upstream)
        with client(sidecar.port) as wire:
            wire.send(UPGRADE)
            assert wire.answer().status == 502
        counts(sidecar, {("GET", "502", "http_upgrade_failed"): 1})


def test_nothing_is_tunnelled_before_the_101(proxy):
    """Bytes behind a request for an upgrade are not a request and not forwarded until then."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n"

    def refuses(wire):
        wire.backend.requests.append(wire.request())
        wire.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        wire.how_it_ends()

    with Backend(refuses) as backend, client(proxy(backend.upstream).port, timeout=2) as wire:
        wire.send(UPGRADE + smuggled)
        assert wire.answer().status == 403
        # What follows is the next request of this connection, or the connection is over; it is
        # never sent on the connection whose upgrade was refused as raw bytes.
        with contextlib.suppress(Ended, TimeoutError):
            wire.answer()
        assert b"host: app\r\n\r\nget /smuggled" not in bytes(backend.streams[0]).lower()


def test_a_tunnel_has_metrics_of_its_own(proxy):
    with python_server() as server:
        sidecar = proxy(f"127.0.0.1:{server}", "--route", "/chat")
        with dial(sidecar.port) as socket:
            socket.send("hello")
            assert socket.recv(timeout=10) == "hello"
            samples = counts(sidecar, {("GET", "101", ""): 1})
            assert samples.total("http_upgraded_connections_active") == 1
            assert samples.total("http_request_duration_seconds_count") == 0
            time.sleep(0.2)  # The age that the histogram must show.
        name = "http_upgraded_connection_duration_seconds"
        wait_until(
            lambda: sidecar.samples().total(f"{name}_count", path="/chat") == 1, "the tunnel ends"
        )
        samples = sidecar.samples()
        assert samples.total("http_upgraded_connections_active") == 0
        assert 0.2 <= samples.total(f"{name}_sum") < 5
        assert samples.total("http_request_duration_seconds_count") == 0


def test_the_drain_holds_a_tunnel_until_it_ends(proxy):
    with python_server() as server:
        sidecar = proxy(f"127.0.0.1:{server}", "--shutdown-timeout", "20s")
        with dial(sidecar.port) as socket:
            sidecar.signal()
            wait_until(lambda: sidecar.readyz() == 503, "/readyz says 503")
            socket.send("still here")
            assert socket.recv(timeout=10) == "still here"
            assert sidecar.process.poll() is None
        assert sidecar.wait_for_exit() == 0


def test_the_drain_ends_a_tunnel_at_its_deadline(proxy):
    with python_server() as server:
        sidecar = proxy(f"127.0.0.1:{server}", "--shutdown-timeout", "1s")
        with dial(sidecar.port) as socket:
            sidecar.signal()
            with pytest.raises(websockets.ConnectionClosed):
                socket.recv(timeout=10)
        sidecar.wait_for_exit()


@pytest.mark.alone
def test_a_slow_reader_in_a_tunnel_does_not_make_the_sidecar_grow(proxy):
    def floods(wire):
        with contextlib.suppress(OSError):
            for _ in range(256):
                wire.socket.sendall(bytes(1 << 20))

    with tunnel(then=floods) as backend:
        sidecar = proxy(backend.upstream)
        with client(sidecar.port) as wire:
            wire.send(UPGRADE)
            wire.head()
            before = sidecar.rss()
            time.sleep(1)  # While the client does not read.
            assert sidecar.rss() - before < 16 << 20
