"""Expectations, interim answers and early answers, with the clients that people use."""

import http.client
import json
import time

import httpx
import pytest
import requests
from helpers import run, tool, wait_until
from peers import OK, Backend, Ended, client, node

BODY = b"x" * 100_000
EXPECTING = (
    b"POST /up HTTP/1.1\r\nHost: app\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\n\r\ntoo large"


def willing(wire):
    """Says 100, reads the body, answers."""
    head = wire.head()
    wire.backend.requests.append(head)
    wire.backend.early = len(wire.pending)
    wire.send(CONTINUE)
    wire.body(head)
    wire.send(OK)
    wire.how_it_ends()


def unwilling(wire):
    """Answers 413 to the head alone and reads no body."""
    wire.backend.requests.append(wire.head())
    wire.send(TOO_LARGE)
    wire.backend.after = wire.how_it_ends()


# --- Expect: 100-continue -------------------------------------------------------------------------


def test_no_byte_of_the_body_is_asked_for_or_sent_before_the_backends_100(proxy):
    with Backend() as backend:
        released = []

        def late(wire):
            head = wire.head()
            assert head.get("expect") == "100-continue"
            wait_until(lambda: released, "the test goes on")
            wire.backend.early = len(wire.pending)
            wire.send(CONTINUE)
            wire.backend.requests.append(wire.body(head))
            wire.send(OK)

        backend.script = late
        with client(proxy(backend.upstream).port, timeout=0.4) as wire:
            wire.send(EXPECTING)
            with pytest.raises(TimeoutError):
                wire.head()
            released.append(True)
            wire.socket.settimeout(5)
            assert wire.head().status == 100
            wire.send(BODY)
            assert wire.answer().body == b"ok"
        assert backend.early == 0 and backend.requests[0].body == BODY


def test_a_refusal_without_100_reaches_the_client_which_never_sends_the_body(proxy):
    with Backend(unwilling) as backend:
        with client(proxy(backend.upstream).port) as wire:
            wire.send(EXPECTING)
            answer = wire.head()
            assert (answer.status, wire.take(9)) == (413, b"too large")
        wait_until(lambda: hasattr(backend, "after"), "the sidecar drops that connection")
        assert backend.after[1] == b"", "no byte of the body went upstream"


def test_the_connection_of_a_refused_expectation_serves_no_other_request(proxy):
    with Backend(unwilling) as backend:
        sidecar = proxy(backend.upstream)
        for _ in range(3):
            with client(sidecar.port) as wire:
                wire.send(EXPECTING)
                assert wire.head().status == 413
        assert len(backend.requests) == 3
        used = [bytes(s) for s in backend.streams if s]
        assert all(s.count(b"POST /up") == 1 for s in used), used


def test_a_backend_that_never_says_100_gets_the_body_after_a_second(proxy):
    def old(wire):
        wire.backend.requests.append(wire.request())
        wire.send(OK)

    with Backend(old) as backend:
        begun = time.monotonic()
        done = run(
            [tool("curl"), "-sS", "--expect100-timeout", "10", "-H", "Expect: 100-continue"]
            + ["--data-binary", "x" * 2000, proxy(backend.upstream).url]
        )
        assert done.stdout == "ok", done.stderr
        assert 0.5 < time.monotonic() - begun < 5
        assert backend.requests[0].body == b"x" * 2000


def test_expect_of_an_http_1_0_client_is_answered_without_100(proxy):
    with Backend() as backend, client(proxy(backend.upstream).port) as wire:
        wire.send(EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0") + BODY)
        assert wire.head().status == 200


BODY_BYTES = len(BODY)


def curl(url, *flags, size=BODY_BYTES):
    """Uploads zeros; curl's output with the heads, and its errors."""
    upload = f"head -c {size} /dev/zero | {tool('curl')} -sS -i --max-time 20 --data-binary @-"
    done = run(["sh", "-c", " ".join([upload, *flags, url])], timeout=40)
    return done.stdout, done.stderr


def test_curl_uploads_with_an_expectation(proxy):
    with Backend(willing) as backend:
        out, errors = curl(proxy(backend.upstream).url, "-H Expect:100-continue")
        assert "HTTP/1.1 100" in out and out.endswith("ok"), out + errors


def test_curl_reads_a_refused_expectation(proxy):
    with Backend(unwilling) as backend:
        out, errors = curl(proxy(backend.upstream).url, "-H Expect:100-continue")
        assert "HTTP/1.1 413" in out and "too large" in out, out + errors


def test_node_uploads_with_an_expectation_and_hears_of_the_100(proxy):
    with Backend(willing) as backend:
        done = node("expect.js", proxy(backend.upstream).port)
        assert json.loads(done.stdout or "0") == {"continued": True, "status": 200}, done.stderr


def test_node_does_not_upload_what_is_refused(proxy):
    with Backend(unwilling) as backend:
        done = node("expect.js", proxy(backend.upstream).port)
        assert json.loads(done.stdout or "0") == {"continued": False, "status": 413}, done.stderr


def test_python_http_client_skips_the_100(proxy):
    with Backend(willing) as backend:
        connection = http.client.HTTPConnection(
            "127.0.0.1", proxy(backend.upstream).port, timeout=10
        )
        connection.request("POST", "/up", body=BODY, headers={"Expect": "100-continue"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"ok")


# --- other interim answers ------------------------------------------------------------------------

HINTS = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n"
)


def hinting(wire):
    wire.request()
    wire.send(b"HTTP/1.1 102 Processing\r\n\r\n" + HINTS)
    wait_until(lambda: getattr(wire.backend, "go", True), "the test goes on")
    wire.send(HINTS.replace(b"a.css", b"late.css") + OK)
    wire.how_it_ends()


def test_interim_answers_are_forwarded_as_they_come(proxy):
    with Backend(hinting) as backend:
        backend.go = False
        with client(proxy(backend.upstream).port) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
            assert wire.head().status == 102
            early = wire.head()
            backend.go = True
            assert early.status == 103
            assert early.all("link") == ["</a.css>; rel=preload", "</b.js>; rel=preload"]
            assert wire.head().all("link")[0] == "</late.css>; rel=preload"
            assert wire.answer().body == b"ok"


def test_an_http_1_0_client_gets_no_interim_answer(proxy):
    with Backend(hinting) as backend, client(proxy(backend.upstream).port) as wire:
        wire.send(b"GET / HTTP/1.0\r\nHost: app\r\n\r\n")
        assert wire.head().status == 200


def test_node_hears_of_early_hints(proxy):
    with Backend(hinting) as backend:
        done = node("information.js", proxy(backend.upstream).port)
        assert json.loads(done.stdout or "0") == {"interim": [102, 103, 103], "status": 200}, (
            done.stderr
        )


def test_an_interim_answer_without_a_final_one_is_a_502(proxy):
    def dies(wire):
        wire.request()
        wire.send(HINTS)

    with Backend(dies) as backend:
        sidecar = proxy(backend.upstream)
        with client(sidecar.port) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n")
            assert wire.answer().status == 502


# --- early answers in the middle of an upload -----------------------------------------------------

SIZE = 8 << 20


def cutting(status, rest):
    """Reads a little of the body, answers, and then reads the rest, nothing, or closes."""

    def script(wire):
        wire.head()
        wire.take(50_000)
        wire.send(b"HTTP/1.1 %d Early\r\nContent-Length: 5\r\n" % status)
        wire.send((b"Connection: close\r\n" if rest == "close" else b"") + b"\r\nearly")
        if rest == "reads":
            wire.how_it_ends()
        elif rest == "ignores":
            time.sleep(1)  # Alive, but deaf.

    return Backend(script)


REST = ["reads", "ignores", "close"]


@pytest.fixture(params=[(413, rest) for rest in REST] + [(401, "close")], ids=str)
def early(request, proxy):
    with cutting(*request.param) as backend:
        yield request.param[0], proxy(backend.upstream)


def test_curl_reads_an_early_answer(early):
    status, sidecar = early
    out, errors = curl(sidecar.url, "-H Expect:", size=SIZE)
    assert f"HTTP/1.1 {status}" in out and out.endswith("early"), out + errors


def test_requests_reads_an_early_answer(early):
    status, sidecar = early
    answer = requests.post(sidecar.url, data=bytes(SIZE), timeout=20)
    assert (answer.status_code, answer.text) == (status, "early")


def test_httpx_reads_an_early_answer(early):
    status, sidecar = early
    answer = httpx.post(sidecar.url, content=bytes(SIZE), timeout=20)
    assert (answer.status_code, answer.text) == (status, "early")


def test_node_reads_an_early_answer_with_http_and_fetch(early):
    status, sidecar = early
    done = node("early.js", sidecar.port, SIZE)
    assert json.loads(done.stdout or "0") == [[status, "early"], [status, "early"]], done.stderr


def test_a_client_that_sends_everything_before_it_reads_gets_the_early_answer(early):
    """The connection must not be reset while the client still sends: the answer would be lost."""
    status, sidecar = early
    with client(sidecar.port) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: %d\r\n\r\n" % SIZE)
        wire.send(bytes(SIZE))
        try:
            answer = wire.answer()
        except Ended as end:
            raise AssertionError(f"the answer is lost: {end}") from None
        assert (answer.status, answer.body) == (status, b"early")


def test_the_rest_of_an_upload_is_never_read_as_a_request(early):
    _, sidecar = early
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: app\r\n\r\n"
    body = smuggled * (SIZE // len(smuggled))
    with client(sidecar.port) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: %d\r\n\r\n" % len(body))
        wire.send(body)
        wire.answer()
    wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight")
    assert sidecar.samples().total("http_requests_total") == 1
