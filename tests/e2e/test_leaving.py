"""Clients that give up: the app learns of it as it would without a sidecar, and the number is true.

Most clients leave with a FIN, in TLS with close_notify before it; HTTP/2 can reset a stream. What
an app makes of a FIN is its own affair: some give up, some answer all the same.
"""

import asyncio
import contextlib
import json
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import aiohttp as aiohttp_client
import h2.exceptions
import h2_frames as f
import httpx
import pytest
import requests
from apps import CLIENTS, Doors, aiohttp, curl, hypercorn, open_doors, uvicorn
from apps import node as node_app
from h2_backend import H2Backend
from helpers import Processes, connect, read_all, reset, run, tool, wait_until
from peers import counts, node
from test_tls import certificate

PATIENCE = 1
ABOUT_A_SECOND = (0.8, 1.6)
# How long after its client an app knows at the latest.
SOON = 1.5

# Where an app runs, and the protocol that the sidecar speaks to it.
APPS = {
    "uvicorn": (uvicorn, "http1"),
    "node": (node_app, "http1"),
    "aiohttp": (aiohttp, "http1"),
    "hypercorn over http2": (hypercorn, "http2"),
    "node over http2": (node_app, "http2"),
}


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """The apps and sidecars of this module serve more than one test."""
    processes = Processes(tmp_path_factory.mktemp("leaving"))
    yield processes
    processes.kill_all()


@pytest.fixture(scope="module")
def pair(processes):
    return certificate(processes.folder, "sidecar")


# Who asks. What never got an answer has no path of its own unless it is pinned.
LIBRARIES = ["requests", "httpx", "aiohttp", "wget", "fetch", "destroy"]
WHO = [f"{name}-{body}" for name in CLIENTS for body in ("get", "post")]
WHO += ["reset", "resets", "half-plain", "half-tls", *LIBRARIES]
OWN_PATHS = ["--paths", "raw", "--route", ",".join(f"/before/{who}" for who in WHO)]


@pytest.fixture(scope="module")
def opened(processes, pair):
    """Two sidecars before one of `APPS`, started once; each path has numbers of its own."""
    return cache(lambda name: open_doors(processes, pair, *APPS[name], *OWN_PATHS))


@pytest.fixture(params=APPS)
def doors(request, opened):
    return opened(request.param)


@pytest.fixture(params=[name for name in APPS if "http2" not in name])
def http1_doors(request, opened):
    return opened(request.param)


def gives_up(ask, path, *flags):
    """Runs curl with a limit; when it was gone."""
    done = ask(path, "-m", PATIENCE, *flags)
    assert done.returncode == 28, done.stdout + done.stderr
    return time.monotonic()


def cancels(doors, tls, path):
    """Resets a stream and keeps the connection; when it did."""
    context = ssl.create_default_context(cafile=doors.cert)
    context.set_alpn_protocols(["h2"])
    door = doors.tls if tls else doors.plain
    with f.Connection(door.port, tls=context if tls else None) as c:
        c.request(1, c.fields(path=path))
        deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(TimeoutError):
            while time.monotonic() < deadline:
                c.next(max(0.001, deadline - time.monotonic()))
        c.send(f.rst_stream(1))
        gone = time.monotonic()
        c.is_alive()
        return gone


def visits(doors, moment):
    """{path: a client that asks for it and leaves}, without a body and with one that came whole."""
    spoken = "--http1.1" if doors.protocol == "http1" else "--http2-prior-knowledge"
    ways = {"direct": lambda path, *flags: curl(doors.app.port, path, spoken, *flags)}
    ways |= {name: partial(doors.curl, name) for name in CLIENTS}
    found = {}
    for name, ask in ways.items():
        for body, flags in {"get": [], "post": ["--data-binary", "x" * 1000]}.items():
            path = f"/{moment}/{name}-{body}"
            found[path] = partial(gives_up, ask, path, *flags)
    for name, tls in {"reset": False, "resets": True}.items():
        path = f"/{moment}/{name}"
        found[path] = partial(cancels, doors, tls, path)
    return found


def leave(app, visits):
    """All of these clients at once; the app must know soon of each that it has left."""
    with ThreadPoolExecutor(len(visits)) as pool:
        running = {path: pool.submit(visit) for path, visit in visits.items()}
        gone = {path: visit.result(20) for path, visit in running.items()}
    learned = {path: app.wait_for(("left", "done"), path) for path in visits}
    late = {
        path: f"{what} after {at - gone[path]:.2f} s"
        for path, (what, at) in learned.items()
        if what != "left" or at - gone[path] > SOON
    }
    assert not late, f"the app did not learn of its client: {late}"


def are_counted(doors, paths, status, timer="http_request_duration", seconds=ABOUT_A_SECOND):
    """Each of these, once, as a client that left after that time; nothing is in flight any more."""
    ends, took = {}, {}
    for sidecar in doors.both():
        wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight", 1)
        samples = sidecar.samples()
        ends |= samples.table("http_requests_total", "path", "status", "error")
        took |= samples.table(f"{timer}_seconds_sum", "path")
    ends = {key: count for key, count in ends.items() if key[0] in paths}
    assert ends == {(path, status, "downstream_aborted"): 1 for path in paths}
    took = {path: took.get((path,), 0) for path in paths}
    least, most = seconds
    assert all(least < time < most for time in took.values()), took


def through(paths):
    return [path for path in paths if "direct" not in path]


def test_the_app_knows_of_a_client_that_leaves_before_the_answer(doors):
    paths = visits(doors, "before")
    leave(doors.app, paths)
    are_counted(doors, through(paths), "499")


def test_the_app_knows_of_a_client_that_leaves_within_the_answer(doors):
    """While it sends, and in an event stream that is silent."""
    within, events = visits(doors, "within"), visits(doors, "events")
    leave(doors.app, within | events)
    are_counted(doors, through(within), "200")
    are_counted(doors, through(events), "200", "http_stream_duration")


def test_every_client_that_gives_up_is_understood(opened):
    """Whatever the library, it leaves with a FIN."""
    doors = opened("uvicorn")
    port, url = doors.plain.port, doors.plain.url

    def fails(function, errors):
        with pytest.raises(errors):
            function()
        return time.monotonic()

    async def with_aiohttp(path):
        limit = aiohttp_client.ClientTimeout(total=PATIENCE)
        async with aiohttp_client.ClientSession(timeout=limit) as session:
            await session.get(url + path)

    def with_node(first, second):
        done = node("impatient.js", port, first, second)
        assert json.loads(done.stdout) == ["TimeoutError", "Error"], done.stdout + done.stderr
        return time.monotonic()

    def with_wget(path):
        assert run([tool("wget"), "-q", "-t1", "-T", PATIENCE, "-O-", url + path]).returncode == 4
        return time.monotonic()

    visits = {
        "requests": lambda p: fails(
            lambda: requests.get(url + p, timeout=PATIENCE), requests.Timeout
        ),
        "httpx": lambda p: fails(
            lambda: httpx.get(url + p, timeout=PATIENCE), httpx.TimeoutException
        ),
        "aiohttp": lambda p: fails(lambda: asyncio.run(with_aiohttp(p)), TimeoutError),
        "wget": with_wget,
    }
    visits = {
        f"/before/{name}": partial(visit, f"/before/{name}") for name, visit in visits.items()
    }
    visits["/before/fetch"] = partial(with_node, "/before/fetch", "/before/destroy")
    leave(doors.app, visits)
    assert doors.app.wait_for(("left", "done"), "/before/destroy")[0] == "left"
    are_counted(doors, [f"/before/{name}" for name in LIBRARIES], "499")


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_the_app_knows_of_a_client_that_drops_a_tunnel(http1_doors, how):
    doors = http1_doors
    upgrade = (
        "GET {} HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )

    def drops(path, port, tls):
        sock = connect(port)
        if tls:
            context = ssl.create_default_context(cafile=doors.cert)
            sock = context.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(upgrade.format(path).encode())
        assert b" 101 " in sock.recv(4096)
        doors.app.wait_for("begun", path)
        reset(sock) if how == "reset" else sock.close()
        return time.monotonic()

    ports = {"direct": doors.app.port, "plain": doors.plain.port, "tls": doors.tls.port}
    paths = {
        f"/tunnel/{way}-{how}": partial(drops, f"/tunnel/{way}-{how}", port, way == "tls")
        for way, port in ports.items()
    }
    leave(doors.app, paths)
    for sidecar in doors.both():
        gauge = "http_upgraded_connections_active"
        wait_until(lambda: sidecar.samples().total(gauge) == 0, "no tunnel is left", 1)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_that_has_all_of_its_answer_did_not_give_up(processes, pair, name):
    """An HTTP/2 app may say that this was all in a frame of its own; curl does not wait for it."""
    apart = []

    def reply(connection, stream, request):
        with connection.lock:
            connection.h2.send_headers(stream, [(":status", "200"), ("content-length", "2")])
            connection.h2.send_data(stream, b"ok")
            connection.flush()
        apart.append((connection, stream))

    with H2Backend(reply) as backend:
        doors = Doors(processes, backend.upstream, pair, "--upstream-protocol", "http2")
        assert doors.curl(name, "/").stdout.endswith("ok")
        connection, stream = wait_until(lambda: apart, "the app has answered")[0]
        with connection.lock:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                connection.h2.end_stream(stream)
            connection.flush()
        sidecar = doors.tls if CLIENTS[name][1] else doors.plain
        counts(sidecar, {("GET", "200", ""): 1})


# --- half-closed clients --------------------------------------------------------------------------


def half_closes(port, path):
    """Asks, closes its sending side, and reads on; what came."""
    with connect(port) as s:
        s.sendall(b"GET %s HTTP/1.1\r\nHost: app\r\n\r\n" % path.encode())
        s.shutdown(1)
        with contextlib.suppress(ConnectionResetError):
            return read_all(s)
        return b""


def half_closes_over_tls(port, path, cert):
    """The same with close_notify, for which Python has no socket that reads on."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=cert)
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    came = b""

    with connect(port) as s:

        def until_done(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    s.sendall(outgoing.read())
                    data = s.recv(65536)
                    incoming.write(data) if data else incoming.write_eof()

        until_done(tls.do_handshake)
        tls.write(b"GET %s HTTP/1.1\r\nHost: app\r\n\r\n" % path.encode())
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        s.sendall(outgoing.read())
        with contextlib.suppress(ssl.SSLZeroReturnError, ssl.SSLEOFError):
            while data := until_done(lambda: tls.read(65536)):
                came += data
    return came


def test_gunicorn_answers_a_half_closed_client_as_before(gunicorn, processes, pair):
    doors = Doors(processes, gunicorn("sync", workers=3).upstream, pair)
    path = "/slow?seconds=1"
    with ThreadPoolExecutor() as pool:
        plain = pool.submit(half_closes, doors.plain.port, path)
        tls = pool.submit(half_closes_over_tls, doors.tls.port, path, doors.cert)
        for answer in (plain.result(10), tls.result(10)):
            assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\ndone"), answer
    for sidecar in doors.both():
        samples = counts(sidecar, {("GET", "200", ""): 1})
        assert 0.9 < samples.total("http_request_duration_seconds_sum") < 2.2


def test_an_app_that_gives_up_half_closed_clients_does_so_behind_a_sidecar(http1_doors):
    doors = http1_doors
    paths = {way: f"/before/half-{way}" for way in ("direct", "plain", "tls")}
    with ThreadPoolExecutor() as pool:
        direct = pool.submit(half_closes, doors.app.port, paths["direct"])
        plain = pool.submit(half_closes, doors.plain.port, paths["plain"])
        tls = pool.submit(half_closes_over_tls, doors.tls.port, paths["tls"], doors.cert)
        assert [way.result(20) for way in (direct, plain, tls)] == [b"", b"", b""]
    learned = [doors.app.wait_for(("left", "done"), path)[0] for path in paths.values()]
    assert learned == ["left"] * 3
    are_counted(doors, [paths["plain"], paths["tls"]], "499", seconds=(0, 0.5))


def test_an_answer_that_nobody_takes_is_counted_by_when_its_client_left(gunicorn, processes, pair):
    """A worker of Gunicorn never looks; it is asked once, and its answer is nobody's."""
    app = gunicorn("sync", workers=len(CLIENTS))
    doors = Doors(processes, app.upstream, pair)
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(lambda name: gives_up(partial(doors.curl, name), "/slow?seconds=2.5"), CLIENTS)
        )
    least, most = ABOUT_A_SECOND
    for sidecar in doors.both():
        samples = counts(sidecar, {("GET", "499", "downstream_aborted"): 2})
        assert 2 * least < samples.total("http_request_duration_seconds_sum") < 2 * most
        assert sidecar.in_flight() == 0
    assert len(app.slow_workers()) == len(CLIENTS)


# --- the drain ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn over http2"])
def test_a_drain_waits_for_nobody_who_is_gone(processes, pair, name):
    """Some left before it, some leave during it. Nobody scrapes, as a scraper is waited for."""
    doors = open_doors(processes, pair, *APPS[name], "--shutdown-timeout", "20s")
    with ThreadPoolExecutor() as pool:
        for name in CLIENTS:
            pool.submit(doors.curl, name, f"/before/{name}-early", "-m", "0.4")
        late = [
            pool.submit(gives_up, partial(doors.curl, name), f"/before/{name}") for name in CLIENTS
        ]
        for name in CLIENTS:
            doors.app.wait_for("begun", f"/before/{name}")
        time.sleep(0.5)  # So that the first ones are gone.
        for sidecar in doors.both():
            sidecar.signal()
        gone = max(visit.result(10) for visit in late)
    for sidecar in doors.both():
        assert sidecar.wait_for_exit(10) == 0
    assert time.monotonic() - gone < SOON
