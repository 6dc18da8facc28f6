"""Load tools and attackers: every request is counted, and nobody can make the sidecar grow."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers import KeepAlive, connect, run, tool, wait_until

ENOUGH = 25_000


def find(pattern, text):
    match = re.search(pattern, text)
    assert match, f"{pattern!r} is not in:\n{text}"
    return int(match.group(1))


def wrk(url):
    done = run([tool("wrk"), "-t2", "-c64", "-d4s", url], timeout=60)
    assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
    return find(r"(\d+) requests in ", done.stdout)


def h2load(url):
    done = run([tool("h2load"), "--h1", "-n", ENOUGH, "-c64", "-t2", url], timeout=60)
    assert f"{ENOUGH} 2xx, 0 3xx, 0 4xx, 0 5xx" in done.stdout, done.stdout
    return find(r"(\d+) succeeded", done.stdout)


def hey(url):
    # hey sends a multiple of its connections.
    done = run([tool("hey"), "-n", ENOUGH // 50 * 50, "-c", "50", url], timeout=60)
    assert done.stdout.count(" responses") == 1, done.stdout
    return find(r"\[200\]\s+(\d+) responses", done.stdout)


def ab(url):
    done = run([tool("ab"), "-k", "-q", "-n", ENOUGH, "-c", "64", url], timeout=60)
    assert find(r"Failed requests:\s+(\d+)", done.stdout) == 0, done.stdout
    assert find(r"Keep-Alive requests:\s+(\d+)", done.stdout) == ENOUGH, done.stdout
    return find(r"Complete requests:\s+(\d+)", done.stdout)


@pytest.mark.alone
def test_counts_equal_what_wrk_h2load_hey_and_ab_report(nginx, proxy, record_property):
    sidecar = proxy(nginx.upstream)
    reported = {f"/{t.__name__}": t(f"{sidecar.url}/{t.__name__}") for t in (wrk, h2load, hey, ab)}
    assert sum(reported.values()) >= 100_000, reported
    assert all(count >= ENOUGH for count in reported.values()), reported
    wait_until(lambda: sidecar.in_flight() == 0, "nothing is in flight")
    samples = sidecar.samples()
    counted = samples.requests()
    print("reported", reported, "counted", counted)
    for path in ("/h2load", "/hey", "/ab"):
        assert {k: v for k, v in counted.items() if k[0] == path} == {
            (path, "GET", "200", ""): reported[path]
        }
    # wrk stops by the clock and leaves, on each of its 64 connections, at most one request behind:
    # answered, but not read any more, or aborted. None of them may be missing from its report.
    left = {k: v for k, v in counted.items() if k[0] == "/wrk"}
    assert set(left) <= {
        ("/wrk", "GET", "200", ""),
        ("/wrk", "GET", "200", "downstream_aborted"),
        ("/wrk", "GET", "499", "downstream_aborted"),
    }
    assert 0 <= sum(left.values()) - reported["/wrk"] <= 64
    # The backend's own count is the witness for those that wrk did not report; it need not have
    # seen the ones that were aborted.
    aborted = samples.total("http_requests_total", error="downstream_aborted")
    assert 0 <= sum(counted.values()) - nginx.requests() <= aborted
    # What is counted and what is measured are one row.
    assert samples.table("http_request_duration_seconds_count", "path") == samples.table(
        "http_requests_total", "path"
    )


def word(number):
    """A word of letters, different for every number, that looks like no identifier."""
    out = ""
    for _ in range(5):
        out += "bcdfghjklmnpqrstvwxz"[number % 20]
        number //= 20
        out += "aeiou"[number % 5]
        number //= 5
    return out


def attack_paths(file, url, count):
    """Words, slugs, ids, depth and rubbish: a million paths, no two equal."""
    shapes = (
        "/{w}",
        "/blog/{w}-and-{w}",
        "/users/{n}",
        "/{w}/{w}/{w}/{w}/{w}/{w}/{w}/{w}/{w}/{w}/{w}/{w}",
        "/api/v1/{w}/items",
        "/%22{w}",
        "/wp-{w}.php",
        "/{w}/" + "x" * 300,
    )
    with file.open("w") as out:
        for n in range(count):
            # h2load takes the scheme and host from the first line.
            prefix = url if n == 0 else ""
            out.write(prefix + shapes[n % len(shapes)].format(w=word(n), n=n) + "\n")


def pipelined(port, methods):
    """Sends one request of each method on one connection; returns how many were answered."""
    answered = 0
    with connect(port) as s:
        for method in methods:
            s.sendall(f"{method} /methods HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(b"ok\n"):
                chunk = s.recv(65536)
                assert chunk, (method, answer)
                answer += chunk
            answered += answer.startswith(b"HTTP/1.1 200")
    return answered


@pytest.mark.alone
@pytest.mark.timeout(180)
def test_a_million_paths_and_ten_thousand_methods_stay_within_the_bounds(nginx, proxy, tmp_path):
    sidecar = proxy(nginx.upstream)
    warm = run([tool("h2load"), "--h1", "-n", "50000", "-c64", "-t1", f"{sidecar.url}/warm"])
    assert "50000 2xx" in warm.stdout, warm.stdout
    sidecar.page()
    before = sidecar.rss()

    paths = 1_000_000
    urls = tmp_path / "urls"
    attack_paths(urls, sidecar.url, paths)
    done = run([tool("h2load"), "--h1", "-n", paths, "-c64", "-t1", "-i", urls], timeout=150)
    urls.unlink()
    assert f"{paths} 2xx" in done.stdout, done.stdout + done.stderr
    methods = [word(n).upper() for n in range(10_000)]
    with ThreadPoolExecutor(4) as pool:
        shares = [pool.submit(pipelined, sidecar.port, methods[n::4]) for n in range(4)]
        assert sum(s.result() for s in shares) == 10_000

    # The paths that have a name now, with every method: more than the budget of series.
    names = [path for (path, *_) in sidecar.samples().requests() if path.startswith("/")]
    verbs = "GET HEAD POST PUT PATCH DELETE OPTIONS QUERY TRACE BREW".split()
    client = KeepAlive(sidecar.port)
    for name in names:
        for verb in verbs:
            assert client(verb, name.replace("{id}", "1"))[0] in (200, 405)
    crossed = len(names) * len(verbs)

    page = sidecar.page().text
    samples = sidecar.samples()
    counted = samples.requests()
    print("series", samples.total("redcar_series"), "page", len(page))
    print("rss", before, sidecar.rss(), "peak", sidecar.rss("VmHWM"))
    assert sum(counted.values()) == 50_000 + paths + 10_000 + crossed
    assert {error for (_, _, _, error) in counted} == {""}
    limit = samples.total("redcar_series_limit")
    assert 4000 < samples.total("redcar_series") <= limit == 5000
    assert len(counted) <= limit
    assert {method for (_, method, _, _) in counted} == {*verbs, "_OTHER"} - {"BREW"}
    # One path too many costs the name of the path, never that of the method.
    for verb in verbs[1:-1]:
        assert samples.total("http_requests_total", method=verb) == len(names), verb
    assert samples.total("http_requests_total", method="_OTHER") == 10_000 + len(names)
    assert samples.total("http_requests_total", path="/warm") == 50_000 + len(verbs)
    assert 0 < samples.total("redcar_paths") <= samples.total("redcar_paths_limit")
    assert samples.total("redcar_path_overflow_total") > 0
    assert all(len(path) <= 200 for (path, _, _, _) in counted)
    # 22 lines a series, none much longer than a label may be.
    assert len(page) < 24 << 20
    growth = max(sidecar.rss(), sidecar.rss("VmHWM")) - before
    assert growth < 20 << 20, f"grew by {growth / 2**20:.1f} MiB"
    assert samples.total("process_resident_memory_bytes") < 64 << 20


@pytest.mark.alone
def test_many_idle_connections_and_their_end_leave_nothing_behind(nginx, proxy):
    sidecar = proxy(nginx.upstream)
    clients = [KeepAlive(sidecar.port) for _ in range(500)]
    for client in clients:
        assert client("GET", "/")[0] == 200
    assert sidecar.samples().total("redcar_downstream_connections") == 500
    for client in clients:
        client.connection.sock.shutdown(socket.SHUT_RDWR)
        client.close()
    wait_until(
        lambda: sidecar.samples().total("redcar_downstream_connections") == 0, "all are closed"
    )
    sidecar.wait_for_requests({("/", "GET", "200", ""): 500})
