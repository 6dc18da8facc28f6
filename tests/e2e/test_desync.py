"""Request smuggling: the cases of `http_desync_guardian`, which also judges what we send upstream.

Its cases are data in its package. Each is sent raw, with a second request behind it. The backend
must never see more requests than were answered, whatever is refused ends the connection, and every
request head that reaches the backend must be Compliant by that crate's own verdict.
"""

import json
import struct
import subprocess
from pathlib import Path

import pytest
import yaml
from h1_rules import RULES
from helpers import REPO, Processes, Proxy, run, tool
from peers import OK, Backend, Ended, Message, answering, client

GUARDIAN = REPO / "target" / "guardian" / "release" / "guardian"
SECOND = b"GET /second HTTP/1.1\r\nHost: app\r\n\r\n"

# A client's request with these is legal and forwarded as it is; the judge only notes that old
# servers did not expect it.
LEGAL = {
    "GetHeadZeroContentLength": "a GET may say that it has no body (RFC 9110 8.6)",
    "UndefinedContentLengthSemantics": "a GET may have a body (RFC 9110 9.3.1)",
    "UndefinedTransferEncodingSemantics": "a GET may have a body (RFC 9110 9.3.1)",
}

# Names that only look like framing: no server folds three characters into one, so they pass like
# every name that nobody knows.
LOOKALIKES = (b"Transfer---Encoding:", b"Transfer___Encoding:")


def is_fine(verdict, head):
    tier, reason = verdict
    looks_alike = reason == "SuspiciousHeader" and any(name in head for name in LOOKALIKES)
    return tier == "Compliant" or reason in LEGAL or looks_alike


def manifest():
    """Where the judge's package is, with its cases."""
    command = [tool("cargo"), "metadata", "--format-version", "1", "--locked", "--offline"]
    done = run([*command, "--manifest-path", REPO / "tests" / "guardian" / "Cargo.toml"])
    assert done.returncode == 0, done.stderr
    packages = json.loads(done.stdout)["packages"]
    return Path(next(p["manifest_path"] for p in packages if p["name"] == "http_desync_guardian"))


def raw(text):
    """The bytes of a case's text, whose escapes stand for bytes."""
    text = "" if text is None else str(text)
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def request(case):
    line = b" ".join([raw(case["method"]), raw(case["uri"]), raw(case["version"])])
    fields = [raw(h["name"]) + b": " + raw(h["value"]) for h in case["headers"] or []]
    if not any(f.lower().startswith(b"host") for f in fields):
        fields.append(b"Host: app")
    return b"\r\n".join([line, *fields, b"", b""])


def cases():
    found = []
    for path in sorted((manifest().parent / "tests").glob("*.yaml")):
        found += [(path.stem, case) for case in yaml.safe_load(path.read_text())]
    return found


def judge(heads):
    """The verdict of each request head: (tier, reason)."""
    data = b"".join(struct.pack(">I", len(head)) + head for head in heads)
    done = subprocess.run([str(GUARDIAN)], input=data, capture_output=True, timeout=60, check=True)
    verdicts = [tuple(line.split()) for line in done.stdout.decode().splitlines()]
    assert len(verdicts) == len(heads)
    return verdicts


@pytest.fixture(scope="module")
def traffic(tmp_path_factory):
    """All cases and rows, sent once: the backend that saw them, and [(name, sent, answers…)]."""
    processes = Processes(tmp_path_factory.mktemp("desync"))
    known = [(f"{group}: {case['name']}", request(case) + SECOND) for group, case in cases()]
    assert len(known) >= 159
    rows = [(row[1], row[2] if isinstance(row[2], bytes) else b"".join(row[2])) for row in RULES]
    with Backend(answering(OK)) as backend:
        port = Proxy(processes, backend.upstream).port
        yield backend, [(name, *exchange(port, data, backend)) for name, data in known + rows]
    processes.kill_all()


def exchange(port, data, backend):
    """What was sent, the statuses until the connection ends or is idle, whether it ended, and how
    many requests the backend saw."""
    statuses, before, ended = [], len(backend.requests), False
    method = data.lstrip(b"\r\n").split(b" ")[0].decode("latin-1")
    with client(port, timeout=0.1) as wire:
        wire.send(data)
        try:
            while True:
                statuses.append(wire.answer(method).status)
        except Ended:
            ended = True
        except TimeoutError:
            pass
    return data, statuses, ended, len(backend.requests) - before


def test_the_backend_never_sees_more_requests_than_were_answered(traffic):
    # In sum up to each case: of a request that was answered early the end may arrive during the next.
    seen = answered = 0
    for case in traffic[1]:
        seen, answered = seen + case[4], answered + sum(200 == s for s in case[2])
        assert seen <= answered, case


def test_whatever_is_refused_ends_the_connection(traffic):
    left_open = [case for case in traffic[1] if any(s >= 400 for s in case[2]) and not case[3]]
    assert not left_open, left_open


def test_every_request_head_we_send_is_judged_compliant(traffic):
    heads = [m.head + b"\r\n\r\n" for m in traffic[0].requests]
    assert len(heads) > 80
    bad = [
        (verdict, head)
        for head, verdict in zip(heads, judge(heads), strict=True)
        if not is_fine(verdict, head)
    ]
    assert not bad, "\n".join(map(repr, bad))


def test_the_judge_judges():
    smuggling = (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert judge([SECOND, smuggling]) == [
        ("Compliant", "Compliant"),
        ("Ambiguous", "BothTeClPresent"),
    ]


def test_what_reaches_the_backend_is_whole_messages_and_nothing_between(traffic):
    """Each stream is read again, message by message; a byte too much would be a smuggled one."""
    for stream in traffic[0].streams:
        rest = bytes(stream)
        while b"\r\n\r\n" in rest:
            message = Message(rest.partition(b"\r\n\r\n")[0])
            assert message.start.endswith(" HTTP/1.1"), message.start
            rest = after(message, rest[len(message.head) + 4 :])
            if rest is None:
                break  # An upload that was cut: it ends with its connection.


def after(message, rest):
    """What follows the body of `message`; None if the body is not whole."""
    if message.get("content-length"):
        length = int(message.get("content-length"))
        return rest[length:] if len(rest) >= length else None
    if not message.get("transfer-encoding"):
        return rest
    while True:
        size, found, rest = rest.partition(b"\r\n")
        if not found:
            return None
        size = int(size, 16)
        if size == 0:
            trailers, found, rest = (b"\r\n" + rest).partition(b"\r\n\r\n")
            return rest if found else None
        if len(rest) < size + 2:
            return None
        assert rest[size : size + 2] == b"\r\n"
        rest = rest[size + 2 :]
