"""Access-log lines on standard output."""

import json
import re

import pytest
from helpers import PINNED, KeepAlive, exchange, wait_until

COMMON = re.compile(
    r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
    r'"(?:([^"]*) ([^"]*) HTTP/1\.[01]|-)" (\d{3}) (-|\d+)'
)
COMBINED = re.compile(COMMON.pattern + r' "([^"]*)" "([^"]*)"')

FORGED = '127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] "GET /forged HTTP/1.1" 200 1'
EVIL = [
    (b"/%0a%0dforged", b"agent"),
    (b'/a"b\\c', b'a" 200 1 "-" "b\\'),
    (b"/plain", FORGED.encode()),
    (b"/plain", b'","status":200,"x":"'),
    (b"/plain", b"\x80\x9b31m\xff tab\there"),
    (b"/plain", b"</script><script>"),
]


def send_evil(sidecar):
    for path, agent in EVIL:
        exchange(
            sidecar.port,
            b'GET %s?token=secret HTTP/1.1\r\nHost: a\r\nReferer: /r"\r\nUser-Agent: %s\r\n'
            b"Authorization: secret\r\nConnection: close\r\n\r\n" % (path, agent),
        )
    # A head with a bare line break is no request; its line has nothing of it.
    exchange(sidecar.port, b"GET /x\n200 forged HTTP/1.1\r\nHost: a\r\n\r\n")


def lines(sidecar, count):
    wait_until(lambda: len(sidecar.access_log()) >= count, f"{count} lines")
    return sidecar.access_log()


@pytest.mark.parametrize("log_format", ["common", "combined", "json"])
def test_there_is_one_line_for_each_request_and_nobody_can_forge_another(
    gunicorn, proxy, log_format
):
    sidecar = proxy(gunicorn("sync").upstream, *PINNED, "--access-log", log_format)
    send_evil(sidecar)
    assert KeepAlive(sidecar.port)("GET", "/end")[0] == 404
    written = [
        line
        for line in lines(sidecar, len(EVIL) + 2)
        if "forged HTTP" not in line or line.startswith(("127.", "{"))
    ]
    well_formed = {
        "common": COMMON.fullmatch,
        "combined": COMBINED.fullmatch,
        "json": lambda line: isinstance(json.loads(line), dict),
    }[log_format]
    raw = sidecar.process.out.read_bytes()
    assert raw.endswith(b"\n") and all(b == 10 or 32 <= b < 127 for b in raw)
    assert all(well_formed(line) for line in sidecar.access_log()), raw.decode()
    paths = [line for line in written if "/end" in line]
    assert len(paths) == 1
    assert b"secret" not in raw, "a query or a credential is in the log"
    counted = sidecar.samples().requests()
    parsed = sum(v for (path, *_), v in counted.items() if path != "_UNPARSED")
    assert parsed == len(EVIL) + 1
    assert len(lines(sidecar, len(EVIL) + 2)) == sum(counted.values()) == len(EVIL) + 2


def test_json_lines_say_what_the_metrics_say(gunicorn, proxy):
    app = gunicorn("sync")
    sidecar = proxy(app.upstream, *PINNED, "--access-log", "json")
    client = KeepAlive(sidecar.port)
    client("GET", "/users/7", **{"User-Agent": "tests/1"})
    client("GET", "/users/5000")
    client("POST", "/upload", b"x" * 500)
    client("GET", "/fail")
    app.stop()
    client("GET", "/ruok")
    entries = [json.loads(line) for line in lines(sidecar, 5)]
    assert [(e["method"], e["path"], e["route"], e["status"], e["error"]) for e in entries] == [
        ("GET", "/users/7", "/users/{id}", 200, ""),
        ("GET", "/users/5000", "/users/{id}", 404, ""),
        ("POST", "/upload", "/upload", 200, ""),
        ("GET", "/fail", "/fail", 500, ""),
        ("GET", "/ruok", "/ruok", 502, "connection_refused"),
    ]
    assert entries[0]["user_agent"] == "tests/1"
    assert entries[2]["bytes"] == 3 and 0 < entries[2]["duration_seconds"] < 5


def test_without_the_flag_standard_output_stays_empty(gunicorn, proxy):
    sidecar = proxy(gunicorn("sync").upstream, *PINNED)
    assert KeepAlive(sidecar.port)("GET", "/ruok") == (200, b"imok")
    sidecar.signal()
    assert sidecar.wait_for_exit() == 0
    assert sidecar.process.out.read_bytes() == b""


def test_the_lines_of_the_last_requests_are_written_before_the_exit(gunicorn, proxy):
    sidecar = proxy(gunicorn("gthread").upstream, *PINNED, "--access-log", "common")
    client = KeepAlive(sidecar.port)
    for _ in range(200):
        client("GET", "/ruok")
    sidecar.signal()
    assert sidecar.wait_for_exit() == 0
    assert len(sidecar.access_log()) == 200
