"""HTTP/2 on either side: streams, bodies, resets, GOAWAY, cookies, limits; with real clients."""

import asyncio
import re
import time

import h2_frames as f
import httpx
import pytest
from h2_backend import H2Backend
from helpers import reset, run, tool, wait_until
from peers import OK, Backend, Ended, answering, client, counts

BIG = 16 << 20


def session(**kwargs):
    return httpx.Client(http1=False, http2=True, timeout=20, **kwargs)


def curl(url, *flags):
    return run([tool("curl"), "-sS", "--http2-prior-knowledge", *flags, url], timeout=60)


def connect(port, **kwargs):
    return f.Connection(port, **kwargs)


@pytest.fixture(params=["http1", "http2"])
def echo(request, proxy):
    """A sidecar before an echo backend of either protocol."""
    if request.param == "http2":
        backend = H2Backend(lambda c, stream, r: c.reply(stream, 200, r["body"] or b"ok"))
    else:

        def answer(message):
            body = message.body or b"ok"
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

        backend = Backend(answering(answer))
    with backend:
        yield proxy(backend.upstream, "--upstream-protocol", request.param), backend


def test_curl_gets_an_answer_over_http2(echo):
    done = curl(f"{echo[0].url}/x", "-w", " %{http_version} %{http_code}")
    assert done.stdout == "ok 2 200", done.stderr


def test_a_hundred_streams_on_one_connection_are_answered(echo):
    sidecar, _ = echo
    bodies = [b"%d " % n * 500 for n in range(100)]

    async def post_all():
        # One thread: httpx lets frames of several overtake each other.
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(http1=False, http2=True, limits=limits, timeout=20) as http:
            posts = [http.post(f"{sidecar.url}/many", content=body) for body in bodies]
            return await asyncio.gather(*posts)

    answers = asyncio.run(post_all())
    assert [a.content for a in answers] == bodies
    assert {a.http_version for a in answers} == {"HTTP/2"}
    counts(sidecar, {("POST", "200", ""): 100})


def test_a_big_body_passes_both_ways(echo):
    body = bytes(range(256)) * (BIG // 256)
    with session() as http:
        answer = http.post(f"{echo[0].url}/big", content=body)
    assert answer.content == body


def test_an_http1_client_reaches_either_backend(echo):
    with client(echo[0].port) as wire:
        for n in range(3):
            wire.send(b"POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: 2\r\n\r\nh%d" % n)
            assert wire.answer().body == b"h%d" % n


def test_http1_clients_work_on_the_port_that_speaks_http2(echo):
    sidecar, _ = echo
    assert curl(sidecar.url).stdout == "ok"
    assert run([tool("curl"), "-sS", "--http1.1", sidecar.url]).stdout == "ok"
    assert run([tool("curl"), "-sS", "--http1.0", sidecar.url]).stdout == "ok"


def test_h2load_counts_what_the_sidecar_counts(nginx, proxy):
    sidecar = proxy(nginx.upstream)
    count = 20_000
    done = run(
        [tool("h2load"), "-n", count, "-c", "16", "-m", "16", f"{sidecar.url}/load"], timeout=60
    )
    assert f"{count} 2xx, 0 3xx, 0 4xx, 0 5xx" in done.stdout, done.stdout
    assert re.search(rf"{count} succeeded", done.stdout)
    counts(sidecar, {("GET", "200", ""): count})
    assert sidecar.in_flight() == 0


# --- from HTTP/2 to HTTP/1 ------------------------------------------------------------------------


def test_cookie_crumbs_are_joined_for_an_http1_backend(proxy):
    with Backend() as backend, connect(proxy(backend.upstream).port) as c:
        crumbs = [("cookie", "a=b"), ("cookie", "c=d"), ("x", "y"), ("cookie", "e=f")]
        c.request(1, [*c.fields(), *crumbs])
        c.gets_answer(1, 200)
    assert backend.received().lower().count(b"cookie") == 1
    assert b"ookie: a=b; c=d; e=f\r\n" in backend.received()


def test_the_authority_becomes_host(proxy):
    with Backend() as backend, connect(proxy(backend.upstream).port, host="app.example:81") as c:
        c.request(1)
        c.gets_answer(1, 200)
    assert b"ost: app.example:81\r\n" in backend.received()
    assert b"GET / HTTP/1.1\r\n" in backend.received()


def test_the_answer_has_no_connection_specific_field(proxy):
    answer = OK.replace(
        b"\r\nContent",
        b"\r\nConnection: x-hop, keep-alive\r\nX-Hop: a\r\nKeep-Alive: timeout=9\r\nX-Own: b\r\nContent",
        1,
    )
    with Backend(answering(answer)) as backend, connect(proxy(backend.upstream).port) as c:
        c.request(1)
        names = {name for name, _ in c.gets_answer(1, 200)}
    assert names.isdisjoint({"connection", "x-hop", "keep-alive"}) and "x-own" in names
    assert all(name == name.lower() for name in names)


def test_trailers_pass_both_ways(proxy):
    answer = (
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Sum: down\r\n\r\n"
    )
    with Backend(answering(answer)) as backend, connect(proxy(backend.upstream).port) as c:
        c.request(1, c.fields("POST", te="trailers", trailer="x-sum"), f.END_HEADERS)
        c.send(f.frame(f.DATA, 0, 1, b"up"), f.frame(f.HEADERS, 0x5, 1, f.literal("x-sum", "up")))
        c.gets_answer(1, 200)
        last = c.wait_for(lambda x: x.stream == 1 and x.kind == f.HEADERS, "trailers")
        assert c.fields_of_last == [("x-sum", "down")] and last.ends_stream()
    assert [t.lower() for t in backend.requests[0].trailers] == ["x-sum: up"]


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_a_cut_answer_resets_the_stream_and_no_other(proxy, how):
    def script(wire):
        while True:
            request = wire.request()
            if "/cut" not in request.start:
                wire.send(OK)
                continue
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!")
            time.sleep(0.05)  # So that the head goes out before the end comes.
            if how == "reset":
                reset(wire.socket)
            return

    with Backend(script) as backend:
        sidecar = proxy(backend.upstream)
        with connect(sidecar.port) as c:
            c.request(1, c.fields(path="/cut"))
            c.gets_answer(1, 200)
            found = c.wait_for(lambda x: x.stream == 1 and x.kind == f.RST_STREAM, "RST_STREAM")
            assert found.code() not in (f.NO_ERROR, f.CANCEL)
            c.request(3)
            c.gets_answer(3, 200)
        counts(sidecar, {("GET", "200", "http_response_incomplete"): 1, ("GET", "200", ""): 1})


@pytest.mark.parametrize("code", [f.NO_ERROR, f.CANCEL, f.INTERNAL_ERROR])
def test_a_cut_upload_never_completes_at_the_backend(proxy, code):
    with Backend() as backend:
        sidecar = proxy(backend.upstream)
        with connect(sidecar.port) as c:
            c.request(1, c.fields("POST"), f.END_HEADERS)
            c.send(f.frame(f.DATA, 0, 1, b"half"))
            wait_until(lambda: b"half" in backend.received(), "the upload begins")
            c.send(f.rst_stream(1, code))
            wait_until(lambda: backend.endings, "the backend's side ends")
            c.is_alive()
        assert not backend.received().endswith(b"0\r\n\r\n") and not backend.requests
        wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight")
        assert sidecar.samples().total("http_requests_total", error="downstream_aborted") == 1


def test_a_reset_request_is_cancelled_at_the_backend_at_once(proxy):
    with Backend(lambda w: (w.head(), w.how_it_ends(), w.backend.endings.append("end"))) as backend:
        sidecar = proxy(backend.upstream)
        with connect(sidecar.port) as c:
            c.request(1)
            wait_until(lambda: b"GET" in backend.received(), "the request reaches the backend")
            c.send(f.rst_stream(1))
            wait_until(lambda: backend.endings, "the backend learns of it", timeout=2)
        counts(sidecar, {("GET", "499", "downstream_aborted"): 1})


# --- from HTTP/2 or HTTP/1 to HTTP/2 --------------------------------------------------------------


def h2_proxy(proxy, backend, *flags):
    return proxy(backend.upstream, "--upstream-protocol", "http2", *flags)


def test_cookies_and_repeated_fields_pass_to_an_http2_backend(proxy):
    with H2Backend() as backend, connect(h2_proxy(proxy, backend).port) as c:
        c.request(1, [*c.fields(), ("cookie", "a=b"), ("cookie", "c=d"), ("x", "1"), ("x", "2")])
        c.gets_answer(1, 200)
        fields = backend.of("/")[0]["fields"]
    assert "; ".join(v for k, v in fields if k == "cookie") == "a=b; c=d"
    assert [v for k, v in fields if k == "x"] == ["1", "2"]


def test_host_becomes_the_authority_of_an_http2_backend(proxy):
    with H2Backend() as backend, client(h2_proxy(proxy, backend).port) as wire:
        wire.send(
            b"GET /a?b HTTP/1.1\r\nHost: app:81\r\nConnection: x-hop\r\nX-Hop: 1\r\nTE: trailers\r\n\r\n"
        )
        assert wire.answer().body == b"ok"
        request = backend.of("/a?b")[0]
    assert request[":authority"] == "app:81" and request.get("host", "app:81") == "app:81"
    assert not {"x-hop", "connection", "transfer-encoding"} & set(request)


def test_more_than_one_connection_is_opened_at_the_stream_limit(proxy):
    held = []

    with H2Backend(lambda c, stream, _: held.append((c, stream)), streams=4) as backend:
        sidecar = h2_proxy(proxy, backend, "--threads", "1")
        with connect(sidecar.port) as c:
            c.request(1)
            wait_until(lambda: held, "the first request, and with it the limit, is known")
            rest = (f.frame(f.HEADERS, 0x5, 1 + 2 * n, f.block(c.fields())) for n in range(1, 10))
            c.send(*rest)
            wait_until(lambda: len(held) == 10, "ten requests are at the backend", 5)
            for connection, stream in held:
                connection.reply(stream, 200, b"ok")
            for _ in range(10):
                c.wait_for(lambda x: x.ends_stream(), "the end of a stream")
        assert backend.most_at_once <= 4 and len(backend.connections) >= 3


def test_requests_beyond_the_last_stream_of_a_goaway_are_sent_again_elsewhere(proxy):
    """RFC 9113 6.8: they were not processed, whatever their method."""
    seen = []

    def leave(connection, stream, request):
        seen.append((connection.number, stream, request[":path"]))
        if connection.number == 0 and request[":path"] == "/second":
            # /first may finish, /second was not processed.
            connection.go_away(1)
        elif request[":path"] != "/first":
            connection.reply(stream, 200, b"ok")
        if request[":path"] == "/second" and connection.number > 0:
            backend.connections[0].reply(1, 200, b"first")

    with H2Backend(leave) as backend:
        sidecar = h2_proxy(proxy, backend, "--threads", "1")
        with connect(sidecar.port) as c:
            c.request(1, c.fields("POST", "/first"))
            wait_until(lambda: seen, "the first request arrives")
            c.request(3, c.fields("POST", "/second"))
            c.gets_answer(3, 200)
        assert [s[2] for s in seen].count("/second") == 2 and seen[-1][0] > 0, seen


def test_a_refused_stream_is_sent_again(proxy):
    tries = []

    def refuse_once(connection, stream, request):
        tries.append(stream)
        if len(tries) == 1:
            connection.reset(stream, f.REFUSED_STREAM)
        else:
            connection.reply(stream, 200, b"ok")

    with H2Backend(refuse_once) as backend:
        sidecar = h2_proxy(proxy, backend)
        with client(sidecar.port) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n")
            assert wire.answer().status == 200
        assert len(tries) == 2
        counts(sidecar, {("POST", "200", ""): 1})


def test_another_reset_is_not_sent_again(proxy):
    tries = []

    def resets(connection, stream, request):
        tries.append(stream)
        connection.reset(stream, f.INTERNAL_ERROR)

    with H2Backend(resets) as backend:
        sidecar = h2_proxy(proxy, backend)
        with client(sidecar.port) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n")
            assert wire.answer().status == 502
        assert len(tries) == 1
        assert sidecar.samples().total("http_requests_total", status="502") == 1


@pytest.mark.parametrize("code", [f.NO_ERROR, f.CANCEL, f.INTERNAL_ERROR])
@pytest.mark.parametrize("downstream", ["http1", "http2"])
def test_a_reset_in_the_middle_of_an_answer_is_an_error_for_the_client(proxy, code, downstream):
    """Also with NO_ERROR, which looks like an end."""

    def cuts(connection, stream, request):
        with connection.lock:
            connection.h2.send_headers(stream, [(":status", "200")])
            connection.h2.send_data(stream, b"half")
            connection.flush()
            connection.reset(stream, code)

    with H2Backend(cuts) as backend:
        sidecar = h2_proxy(proxy, backend)
        if downstream == "http1":
            with client(sidecar.port) as wire:
                wire.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
                with pytest.raises(Ended):
                    answer = wire.answer()
                    assert answer.status != 200, answer
        else:
            with connect(sidecar.port) as c:
                c.request(1)
                c.wait_for(lambda x: x.kind == f.RST_STREAM, "RST_STREAM")
                assert not any(x.ends_stream() for x in c.seen)
        wait_until(
            lambda: (
                sidecar.samples().total("http_requests_total", error="http_response_incomplete")
                == 1
            ),
            "the cut is counted",
        )


def test_a_client_that_leaves_resets_the_stream_at_the_backend(proxy):
    with H2Backend(lambda *_: None) as backend:
        sidecar = h2_proxy(proxy, backend)
        with connect(sidecar.port) as c:
            c.request(1)
            wait_until(lambda: backend.requests, "the request arrives")
            c.send(f.rst_stream(1))
            wait_until(lambda: backend.resets, "the backend's stream is reset")
        assert backend.resets[0][1] == f.CANCEL
        counts(sidecar, {("GET", "499", "downstream_aborted"): 1})


def test_a_backend_without_http2_gets_http1_where_the_protocol_is_found_out(proxy):
    with Backend() as backend:
        sidecar = proxy(backend.upstream)
        assert curl(sidecar.url).stdout == "ok"
        assert b" HTTP/1.1\r\n" in backend.received()


def test_the_drain_says_goaway_and_finishes_the_streams(proxy):
    held = []
    with Backend(lambda w: (w.head(), held.append(w), w.how_it_ends())) as backend:
        sidecar = proxy(backend.upstream)
        with connect(sidecar.port) as c:
            c.request(1)
            wait_until(lambda: held, "the request reaches the backend")
            sidecar.signal()
            c.wait_for(lambda x: x.kind == f.GOAWAY and x.code() == f.NO_ERROR, "GOAWAY")
            held[0].send(OK)
            c.gets_answer(1, 200)
            assert c.gets_body(1) == b"ok"
            c.is_closed()
        assert sidecar.wait_for_exit() == 0


def test_a_silent_connection_is_closed_after_the_header_timeout(proxy):
    """Neither protocol can be told from nothing, or from half a preface."""
    with Backend() as backend:
        sidecar = proxy(backend.upstream, "--header-timeout", "300ms")
        for first in (b"", b"PRI * HT", f.PREFACE[:-4]):
            with client(sidecar.port, timeout=5) as wire:
                wire.send(first)
                wire.how_it_ends()
