"""The same request directly and through the sidecar: only the named fields differ.

Over methods, statuses, kinds of bodies and protocols. What differs is computed, not assumed: a new
difference fails the test, whichever side it is on.
"""

import itertools

import h2_frames as f
import pytest
from helpers import Processes, Proxy
from peers import Backend, client

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "x-own"]
STATUSES = [200, 201, 204, 206, 301, 304, 400, 401, 404, 418, 500, 502, 503, 599]
BODIES = ["none", "length", "chunked", "trailers"]
VERSIONS = ["HTTP/1.0", "HTTP/1.1", "h2c"]

# Fields of the request that the sidecar adds, and fields of one connection.
ADDED = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
OWN = {"connection", "keep-alive", "transfer-encoding", "te"}

REQUEST_FIELDS = [
    ("User-Agent", "someone/1.0"),
    ("Accept", "*/*;q=0.5, text/html"),
    ("Cookie", 'a=b; c="d e"'),
    ("X-Twice", "1"),
    ("Authorization", "Basic dXNlcjpwYXNz"),
    ("X-Twice", "2"),
    ("If-None-Match", 'W/"x"'),
    ("X-Bytes", "caf\xe9"),
]
ANSWER_FIELDS = (
    b"Server: backend/1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nSet-Cookie: a=1; Path=/\r\n"
    b'Set-Cookie: b=2\r\nETag: "x"\r\nVary: Accept\r\nWWW-Authenticate: Basic realm="x"\r\n'
    b"Location: /else?where\r\nX-Twice: 1\r\nX-Other: caf\xe9\r\nX-Twice: 2\r\n"
)


def framed(body):
    """The framing field and the bytes of one kind of body."""
    return {
        "none": (b"", b""),
        "length": (b"Content-Length: 11\r\n", b"hello world"),
        "chunked": (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
        "trailers": (
            b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
    }[body]


def backend_script(wire):
    """Answers with the status and body that the query asks for."""
    while True:
        request = wire.request()
        wire.backend.requests.append(request)
        status, body = request.start.split("?")[1].split()[0].split(",")
        framing, data = framed(body)
        if body == "none" and status not in ("204", "304"):
            framing = b"Content-Length: 0\r\n"
        if status in ("204", "304"):
            framing, data = (b"ETag: y\r\n" if status == "304" else b""), b""
        if request.start.startswith("HEAD"):
            data = b""
        wire.send(
            b"HTTP/1.1 %s Its Reason\r\n" % status.encode()
            + ANSWER_FIELDS
            + framing
            + b"\r\n"
            + data
        )


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    processes = Processes(tmp_path_factory.mktemp("transparency"))
    with Backend(backend_script) as backend:
        yield Proxy(processes, backend.upstream), backend
    processes.kill_all()


def h1_exchange(port, version, method, target, body):
    framing, data = framed(body)
    fields = b"".join(f"{k}: {v}\r\n".encode("latin-1") for k, v in REQUEST_FIELDS)
    head = f"{method} {target} {version}\r\nHost: app\r\n".encode()
    te = b"TE: trailers\r\nConnection: TE, close\r\n" if version == "HTTP/1.1" else b""
    with client(port) as wire:
        wire.send(head + fields + te + framing + b"\r\n" + data)
        answer = wire.answer(method)
    return answer.status, answer.fields, answer.body, answer.trailers


def h2_exchange(port, method, target, body):
    fields = [(name.lower(), value) for name, value in REQUEST_FIELDS]
    with f.Connection(port) as c:
        head = [*c.fields(method, target), *fields, ("te", "trailers")]
        has_body = body != "none"
        if body == "length":
            head.append(("content-length", "11"))
        if body == "trailers":
            head.append(("trailer", "X-Sum"))
        c.request(1, head, f.END_HEADERS | (0 if has_body else f.END_STREAM))
        if has_body:
            end = 0 if body == "trailers" else f.END_STREAM
            c.send(f.frame(f.DATA, 0, 1, b"hello"), f.frame(f.DATA, end, 1, b" world"))
        if body == "trailers":
            c.send(f.frame(f.HEADERS, 0x5, 1, f.literal("x-sum", "1")))
        return h2_answer(c)


def h2_answer(c):
    found = c.wait_for(lambda x: x.stream == 1 and x.kind == f.HEADERS, "the answer")
    fields = c.fields_of_last
    body, trailers = b"", []
    while not found.ends_stream():
        found = c.wait_for(lambda x: x.stream == 1, "the rest")
        assert found.kind != f.RST_STREAM, c.story()
        body += found.payload if found.kind == f.DATA else b""
        if found.kind == f.HEADERS:
            trailers = [f"{k}: {v}" for k, v in c.fields_of_last]
    return int(dict(fields)[":status"]), [x for x in fields if x[0] != ":status"], body, trailers


def comparable(fields, leave_out):
    return [(k.lower(), v) for k, v in fields if k.lower() not in leave_out]


def exchange(port, version, method, target, body):
    if version == "h2c":
        return h2_exchange(port, method, target, body)
    return h1_exchange(port, version, method, target, body)


def check(chain, version, method, status, body, request_body):
    """Compares what the backend saw and what the client got, direct and proxied."""
    sidecar, backend = chain
    target = f"/a/%2e/b//c?{status},{body}"
    # The backend speaks HTTP/1.1, so that is what "directly" means for every client.
    sent_body = request_body
    direct = exchange(backend.port, "HTTP/1.1", method, target, sent_body)
    seen_direct = backend.requests[-1]
    proxied = exchange(sidecar.port, version, method, target, sent_body)
    seen = backend.requests[-1]
    case = (version, method, status, body, request_body)
    assert seen is not seen_direct, case
    assert seen.start == seen_direct.start, case
    assert sorted(comparable(seen.fields, ADDED | OWN)) == sorted(
        comparable(seen_direct.fields, OWN)
    ), case
    assert [v for k, v in seen.fields if k.lower() == "x-twice"] == ["1", "2"], case
    assert seen.body == seen_direct.body, case
    assert [t.lower() for t in seen.trailers] == [t.lower() for t in seen_direct.trailers], case
    assert proxied[0] == direct[0] and proxied[2] == direct[2], (case, proxied, direct)
    got, right = comparable(proxied[1], OWN), comparable(direct[1], OWN)
    if version == "h2c":
        # The order of fields of different names means nothing, and HTTP/2 tables reorder them.
        got, right = sorted(got, key=lambda x: x[0]), sorted(right, key=lambda x: x[0])
    assert got == right, case
    if version != "HTTP/1.0":
        assert [t.lower() for t in proxied[3]] == [t.lower() for t in direct[3]], case


@pytest.mark.parametrize("version", VERSIONS)
def test_methods_and_bodies_of_requests_pass(chain, version):
    bodies = ["none", "length"] if version == "HTTP/1.0" else BODIES
    for method, body in itertools.product(METHODS, bodies):
        check(chain, version, method, 200, "length", body)


@pytest.mark.parametrize("version", VERSIONS)
def test_statuses_and_bodies_of_answers_pass(chain, version):
    for status, body in itertools.product(STATUSES, BODIES):
        check(chain, version, "GET", status, body, "none")


@pytest.mark.parametrize("version", VERSIONS)
def test_head_passes_with_every_status_and_body(chain, version):
    for status, body in itertools.product(STATUSES, BODIES):
        check(chain, version, "HEAD", status, body, "none")


def test_the_reason_phrase_of_a_status_passes(chain):
    sidecar, _ = chain
    with client(sidecar.port) as wire:
        wire.send(b"GET /?418,none HTTP/1.1\r\nHost: app\r\n\r\n")
        assert wire.answer().start == "HTTP/1.1 418 Its Reason"
