"""Event streams: every event at once, and numbers of their own."""

import time

import httpx
import pytest
from helpers import run, tool, wait_until
from peers import Backend, client, counts

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
GET = b"GET /events HTTP/1.1\r\nHost: app\r\n\r\n"


def stream(events, pause, framing=b"Transfer-Encoding: chunked\r\n"):
    """A backend that sends the head, waits, sends events with the time of each, and ends."""

    def script(wire):
        wire.head()
        wire.send(HEAD + framing + b"\r\n")
        for _ in range(events):
            time.sleep(pause)  # The pace of the stream.
            event = b"data: %.6f\n\n" % time.monotonic()
            wire.send(b"%x\r\n%s\r\n" % (len(event), event) if framing else event)
        if framing:
            wire.send(b"0\r\n\r\n")

    return Backend(script)


@pytest.mark.alone
@pytest.mark.parametrize(
    "framing", [b"Transfer-Encoding: chunked\r\n", b""], ids=["chunked", "to the end"]
)
def test_each_event_arrives_at_once(proxy, framing):
    delays = []
    with stream(20, 0.02, framing) as backend:
        with httpx.stream("GET", f"{proxy(backend.upstream).url}/events", timeout=10) as answer:
            for line in answer.iter_lines():
                if line:
                    delays.append(time.monotonic() - float(line.split()[1]))
    assert len(delays) == 20
    # The median, as this machine does other things too; a buffer would delay every event.
    assert sorted(delays)[10] < 0.01, delays


@pytest.mark.alone
def test_each_event_arrives_at_once_over_http2(proxy):
    delays = []
    with stream(20, 0.02) as backend:
        url = f"{proxy(backend.upstream).url}/events"
        with httpx.Client(http1=False, http2=True, timeout=10) as session:
            with session.stream("GET", url) as answer:
                for line in answer.iter_lines():
                    if line:
                        delays.append(time.monotonic() - float(line.split()[1]))
    assert len(delays) == 20 and sorted(delays)[10] < 0.01, delays


def test_the_head_arrives_while_no_event_was_sent(proxy):
    def silent(wire):
        wire.head()
        wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        wire.how_it_ends()

    with Backend(silent) as backend, client(proxy(backend.upstream).port, timeout=2) as wire:
        wire.send(GET)
        assert wire.head().get("content-type") == "text/event-stream; charset=utf-8"


def test_a_stream_is_counted_and_timed_apart_from_requests(proxy):
    with stream(3, 0.1) as backend:
        sidecar = proxy(backend.upstream)
        with httpx.stream("GET", f"{sidecar.url}/events", timeout=10) as answer:
            lines = answer.iter_lines()
            assert next(lines)
            assert sidecar.samples().total("http_streams_active") == 1
            list(lines)
        samples = counts(sidecar, {("GET", "200", ""): 1})
    assert samples.total("http_streams_active") == 0
    assert samples.total("http_stream_duration_seconds_count", path="/events") == 1
    assert 0.3 <= samples.total("http_stream_duration_seconds_sum") < 5
    assert samples.total("http_request_duration_seconds_count") == 0


def test_a_client_that_leaves_a_stream_ends_it_at_the_backend(proxy):
    def endless(wire):
        wire.head()
        wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while wire.send(b"9\r\ndata: a\n\n\r\n"):
            time.sleep(0.02)  # The pace of the stream.

    with Backend(endless) as backend:
        sidecar = proxy(backend.upstream)
        with client(sidecar.port) as wire:
            wire.send(GET)
            wire.head()
        wait_until(lambda: backend.endings or not backend.open, "the backend's side ends")
        samples = counts(sidecar, {("GET", "200", "downstream_aborted"): 1})
        assert samples.total("http_streams_active") == 0


def test_a_stream_is_not_cut_by_the_response_timeout(proxy):
    with stream(4, 0.15) as backend:
        sidecar = proxy(backend.upstream, "--response-timeout", "200ms")
        done = run([tool("curl"), "-sSN", f"{sidecar.url}/events"])
        assert done.returncode == 0 and done.stdout.count("data:") == 4, done
