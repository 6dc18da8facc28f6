"""Load generators, and the checks that a peer really forwards."""

import fcntl
import gzip
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

from processes import Failure, cpu_nanos, descendants, rss_kib, run

WRK_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}
GRPC_PATH = "/peers.Echo/Call"
GRPC_MESSAGE = b"\0\0\0\0\x09a message"


class Rss(threading.Thread):
    """Follows the resident memory of a process; `peak` is the most that was seen."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.ending = pid, rss_kib(pid), threading.Event()

    def run(self):
        while not self.ending.wait(0.1):
            self.peak = max(self.peak, rss_kib(self.pid))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join()


def wrk(bench, port, path, seconds, connections=64, script=None, headers=()):
    """A closed loop over HTTP/1: requests, and requests per second."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += [word for header in headers for word in ("-H", header)]
    command += ["-s", script] if script else []
    out = run(bench.load_core, [*command, f"http://127.0.0.1:{port}{path}"], seconds + 30)
    bad = re.search(r"Non-2xx.*|Socket errors.*", out)
    if bad:
        raise Failure(f"wrk saw failures on {path}: {bad[0]}")
    requests = int(re.search(r"(\d+) requests in", out)[1])
    return requests, float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])


def h2load(bench, port, path, seconds, grpc):
    """Ten HTTP/2 connections with ten streams each: requests, and requests per second."""
    command = ["h2load", "-t1", "-c10", "-m10", f"-D{max(1, round(seconds))}"]
    if grpc:
        message = bench.directory / "message"
        message.write_bytes(GRPC_MESSAGE)
        command += ["-d", message, "-H", "content-type: application/grpc", "-H", "te: trailers"]
    out = run(bench.load_core, [*command, f"http://127.0.0.1:{port}{path}"], seconds + 30)
    done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", out)
    requests, failed, errored = map(int, done.groups())
    if failed or errored or not requests:
        raise Failure(f"h2load saw failures on {path}:\n{out}")
    return requests, float(re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", out)[1])


def steady(bench, port, path, rate, seconds, connections=64):
    """A fixed rate, or a closed loop with rate 0; latencies count from when a request was due."""
    out = run(
        bench.load_core,
        [bench.built / "release" / "steady", f"127.0.0.1:{port}", path, connections, rate, seconds],
        seconds + 30,
    )
    return json.loads(out)


def pipe_bytes(pid):
    """Bytes that wait in the pipes of a process with its children."""
    total, seen = 0, set()
    for process in descendants(pid):
        for link in Path(f"/proc/{process}/fd").iterdir():
            try:
                name = os.readlink(link)
                if not name.startswith("pipe:") or name in seen:
                    continue
                seen.add(name)
                with open(
                    link, "rb", opener=lambda path, _: os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                ) as pipe:
                    waiting = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
                total += int.from_bytes(waiting, sys.byteorder)
            except OSError:
                pass  # closed meanwhile
    return total


def accounted(process, load, *others):
    """Runs a load; returns its result with the CPU time and memory of the process meanwhile, and
    the CPU time of others."""
    pids = [process.pid, *(other.pid for other in others)]
    cpu = sum(map(cpu_nanos, pids))
    with Rss(process.pid) as rss:
        requests, rate = load()
    cpu = sum(map(cpu_nanos, pids)) - cpu
    return {
        "cpu_us": cpu / requests / 1000,
        "per_second": rate,
        "requests": requests,
        "rss_peak_kib": rss.peak,
        "rss_after_kib": rss_kib(process.pid),
    }


def system_calls(bench, process, load):
    """Runs a load under strace; returns calls per request by name."""
    table = bench.directory / "strace"
    strace = subprocess.Popen(
        ["strace", "-f", "-c", "-o", table, "-p", str(process.pid)]
        + [word for pid in descendants(process.pid)[1:] for word in ("-p", str(pid))],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        attached = strace.stderr.readline()
        if "attached" not in attached:
            raise Failure(f"strace could not attach: {attached}")
        requests, _ = load()
    finally:
        strace.terminate()
        strace.wait()
        strace.stderr.close()
    rows = re.findall(
        r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", table.read_text(), re.MULTILINE
    )
    return {name: int(calls) / requests for calls, name in rows if name != "total"}


def exchange(port, request):
    """One request on a connection of its own, to its end: seconds to the first byte, and all."""
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        started = time.monotonic()
        s.sendall(request)
        first = s.recv(65536)
        seconds = time.monotonic() - started
        parts = [first]
        while part := s.recv(1 << 20):
            parts.append(part)
    return seconds, b"".join(parts)


SCRAPE = (
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n"
    b"Accept-Encoding: gzip\r\n\r\n"
)


def scrape(port):
    """A scrape as Prometheus makes it: seconds to the first byte, bytes, and the page's lines."""
    seconds, response = exchange(port, SCRAPE)
    head, _, body = response.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise Failure(f"a scrape of port {port} got {head[:100]!r}")
    return seconds, len(response), head, body


def page_lines(head, body):
    """The lines of a scraped page."""
    head = head.lower()
    if b"transfer-encoding: chunked" in head:
        body = dechunk(body)
    if b"content-encoding: gzip" in head:
        body = gzip.decompress(body)
    return body.decode().splitlines()


def dechunk(body):
    """A chunked body in one piece."""
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        size = int(size.split(b";")[0], 16)
        if size == 0:
            break
        parts.append(body[:size])
        body = body[size + 2 :]
    return b"".join(parts)


def check(port, h2):
    """Asks for an answer that only the backend can give, through a peer."""
    nonce = secrets.token_hex(8)
    command = [
        "curl",
        "-sS",
        "-m10",
        *(["--http2-prior-knowledge"] if h2 else []),
        f"http://127.0.0.1:{port}/check?nonce={nonce}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.stdout != nonce:
        raise Failure(f"it does not forward: {done.stdout[:200]!r} {done.stderr.strip()}")


def check_grpc(bench, port):
    """One call with a real client."""
    client = [bench.python, bench.here / "grpc_backend.py", "call", port]
    if run(bench.load_core, client, 30).strip() != "ok":
        raise Failure("a gRPC call through it did not come back")


def check_series(port):
    """That a peer said to have metrics by path has them: the check's path is on its page."""
    _, _, head, body = scrape(port)
    lines = page_lines(head, body)
    if not any(l.startswith("http_requests_total{") and 'path="/check"' in l for l in lines):
        raise Failure("its metrics do not show the path of a request")
