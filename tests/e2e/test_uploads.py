"""Uploads to apps that say 100 and take their time, bytes that are counted, early answers."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import h2_frames as f
import pytest
from apps import CLIENTS, App, Doors, java, node, uvicorn
from helpers import wait_until
from peers import OK, Backend, client, counts

SIZE = 10 << 20
# Less than the first window of an HTTP/2 stream.
HALF = 60_000
POST = b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture(params=["gunicorn", "uvicorn", "httptools", "node", "java"])
def receiver(request, processes, gunicorn):
    """Where an app listens that takes uploads."""
    starts = {
        "gunicorn": lambda: gunicorn("sync", workers=len(CLIENTS)),
        "uvicorn": lambda: App(processes, uvicorn, "--http", "h11"),
        "httptools": lambda: App(processes, uvicorn, "--http", "httptools"),
        "node": lambda: App(processes, node),
        "java": lambda: App(processes, java),
    }
    return starts[request.param]().upstream


def test_an_app_that_says_100_may_take_its_time(receiver, processes, pair, tmp_path):
    """The wait for the 100 is over when it comes; neither upload nor answer is late then."""
    doors = Doors(processes, receiver, pair)
    body = tmp_path / "body"
    body.write_bytes(bytes(SIZE))
    flags = ["-H", "Expect: 100-continue", "--limit-rate", "8M", "--data-binary", f"@{body}"]
    with ThreadPoolExecutor(len(CLIENTS)) as pool:
        upload = lambda name: doors.curl(name, "/upload?seconds=1.2", *flags, timeout=20)
        uploads = dict(zip(CLIENTS, pool.map(upload, CLIENTS)))
    for name, done in uploads.items():
        *_, head, text = done.stdout.replace("\r", "").split("\n\n")
        assert (head.split()[1], text) == ("200", str(SIZE)), f"{name}: {done.stdout}{done.stderr}"
    for sidecar in doors.both():
        samples = counts(sidecar, {("POST", "200", ""): len(CLIENTS) // 2})
        assert samples.total("http_request_body_bytes_total") == SIZE * len(CLIENTS) // 2


# --- uploads that fail ----------------------------------------------------------------------------


@contextlib.contextmanager
def upload_over_http1(port, size):
    with client(port) as wire:
        wire.send(POST % size + bytes(HALF))
        yield


@contextlib.contextmanager
def upload_over_http2(port, size):
    with f.Connection(port) as c:
        c.request(1, c.fields("POST", content_length=str(size)), f.END_HEADERS)
        for begin in range(0, HALF, 10_000):
            ends = f.END_STREAM if begin + 10_000 == size else 0
            c.send(f.frame(f.DATA, ends, 1, bytes(10_000)))
        yield


ENDS = [
    (2 * HALF, "408", "downstream_timeout", ["--idle-timeout", "300ms"]),
    (2 * HALF, "499", "downstream_aborted", []),
    (2 * HALF, "502", "connection_terminated", []),
    (HALF, "504", "http_response_timeout", ["--response-timeout", "300ms"]),
]
CASES = [
    pytest.param(upload, *end, id=f"{end[1]} {upload.__name__}")
    for upload in (upload_over_http1, upload_over_http2)
    for end in ENDS
    # A stalled upload over HTTP/2 has no time limit.
    if (upload, end[1]) != (upload_over_http2, "408")
]


@pytest.mark.parametrize(("upload", "size", "status", "error", "flags"), CASES)
def test_what_the_app_got_of_an_upload_is_counted_however_it_ends(
    proxy, upload, size, status, error, flags
):
    def reads(wire):
        wire.head()
        wire.backend.got = len(wire.take(HALF))
        if status != "502":
            wire.how_it_ends()

    with Backend(reads) as backend:
        backend.got = 0
        sidecar = proxy(backend.upstream, *flags)
        with upload(sidecar.port, size):
            wait_until(lambda: backend.got, "the app reads what was sent")
            if status != "499":
                samples = counts(sidecar, {("POST", status, error): 1})
        if status == "499":
            samples = counts(sidecar, {("POST", status, error): 1})
    assert samples.total("http_request_body_bytes_total") == HALF


# --- answers before the end of an upload ----------------------------------------------------------


POISON = b"GET /poison HTTP/1.1\r\nHost: app\r\n\r\n"


@contextlib.contextmanager
def late_over_http1(port):
    """Sends the rest of its body after it has had its answer."""
    with client(port) as wire:
        wire.send(POST % len(POISON) + POISON[:5])
        assert wire.answer().status == 200
        wire.send(POISON[5:])
        yield


@contextlib.contextmanager
def late_over_http2(port):
    with f.Connection(port) as c:
        c.request(1, c.fields("POST", content_length=str(len(POISON))), f.END_HEADERS)
        c.send(f.frame(f.DATA, 0, 1, POISON[:5]))
        c.gets_answer(1, 200)
        assert c.gets_body(1) == b"ok"
        c.send(f.frame(f.DATA, f.END_STREAM, 1, POISON[5:]))
        yield


@pytest.mark.parametrize("late", [late_over_http1, late_over_http2])
def test_an_app_that_answers_before_the_end_of_an_upload_gets_no_other_request_there(proxy, late):
    """It may take the rest of the body for a request, and the answer would be another client's."""

    def ignores_bodies(wire):
        while True:
            request = wire.head()
            wire.backend.requests.append(request)
            if "/poison" in request.start and not wire.pending:
                wire.fill()  # It takes longer than it takes the next request to come.
            wire.send(OK)

    with Backend(ignores_bodies) as backend:
        sidecar = proxy(backend.upstream, "--threads", "1")
        with late(sidecar.port):
            for _ in range(3):
                with client(sidecar.port) as other:
                    other.send(b"GET /innocent HTTP/1.1\r\nHost: app\r\n\r\n")
                    assert other.answer().body == b"ok"
        first, *others = (bytes(stream) for stream in backend.streams if stream)
        assert first.startswith(b"POST") and b"/innocent" not in first, first
        assert sum(stream.count(b"/innocent") for stream in others) == 3
