#!/usr/bin/env python3
"""Instructions that the release binary executes for one request, held against a committed number.

    benches/instructions/run.py             compare with baseline.json; exit code 1 if one grew
    benches/instructions/run.py --record    write baseline.json anew

The proxy runs under callgrind, which counts what the program executes and not the kernel. The same
requests give the same count to a few in a thousand on any machine, busy or not, so a growth is the
code's or the compiler's. Each case is warmed up first: what is counted is a request like many
before it. `--keep DIR` keeps the profiles for callgrind_annotate.
"""

import argparse
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BINARY = HERE.parents[1] / "target" / "release" / "proxy"
BASELINE = HERE / "baseline.json"
# Ten times what repeated runs differ by. For connections that live for one request they differ by
# up to 2 %: whether the request is there already when the connection is accepted is chance.
TOLERANCE, TOLERANCE_FRESH = 0.02, 0.05
WARM, COUNTED = 300, 1000

BROWSER = b"".join(
    line + b"\r\n"
    for line in [
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        b"Accept-Language: en-US,en;q=0.5",
        b"Accept-Encoding: gzip, deflate, br, zstd",
        b"Referer: http://localhost/list?page=2",
        b"Connection: keep-alive",
        b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
        b"Sec-Fetch-Dest: document",
        b"Sec-Fetch-Mode: navigate",
        b"Sec-Fetch-Site: same-origin",
        b"Priority: u=0, i",
    ]
)


def request(path=b"/", method=b"GET", fields=b"", body=b""):
    """A request in bytes."""
    return method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n" + body


UPLOAD = request(method=b"POST", fields=b"Content-Length: 10000\r\n", body=b"x" * 10_000)
# By name: the request of a turn, how many connections take turns together, and whether each
# request has a connection of its own.
CASES = {
    "get": (lambda turn: request(), 1, False),
    "get, fields of a browser": (lambda turn: request(fields=BROWSER), 1, False),
    "get, a path never seen": (lambda turn: request(b"/users/%d/orders" % (turn + 1000)), 1, False),
    "get, 16 connections at once": (lambda turn: request(), 16, False),
    "get, a connection each": (lambda turn: request(fields=b"Connection: close\r\n"), 1, True),
    "get, chunked answer of 10 KB": (lambda turn: request(b"/chunked"), 1, False),
    "post of 10 KB": (lambda turn: UPLOAD, 1, False),
}
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + 2 * (b"1388\r\n" + b"x" * 5000 + b"\r\n")
    + b"0\r\n\r\n"
)
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def fail(text):
    """Ends with a message for the user."""
    sys.exit(f"instructions: {text}")


def read_message(connection, buffer):
    """Reads one message with its body; returns its head, or nothing at the end."""
    while b"\r\n\r\n" not in buffer:
        part = connection.recv(65536)
        if not part:
            return b""
        buffer += part
    head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        is_whole, end = lambda: buffer.endswith(b"0\r\n\r\n"), None
    else:
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        end = len(head) + 4 + (int(length[1]) if length else 0)
        is_whole = lambda: len(buffer) >= end
    while not is_whole():
        part = connection.recv(65536)
        if not part:
            fail(f"a connection ended within a message: {head!r}")
        buffer += part
    del buffer[:end]
    return head


def serve(listener):
    """The backend: a thread for each connection, until the process ends."""

    def answer(connection):
        buffer = bytearray()
        while head := read_message(connection, buffer):
            connection.sendall(CHUNKED if b" /chunked " in head else PLAIN)

    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def free_port():
    """A port that nothing listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy:
    """The proxy under callgrind."""

    def __init__(self, binary, backend, directory):
        self.port, self.directory, self.dumps = free_port(), directory, 0
        self.log = directory / "log"
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={directory}/profile",
            binary,
            "--listen",
            f"127.0.0.1:{self.port}",
            "--upstream",
            f"127.0.0.1:{backend}",
            "--metrics",
            f"127.0.0.1:{free_port()}",
            "--threads",
            "1",
            "--log-level",
            "error",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def wait(self):
        """Until it listens."""
        for _ in range(600):
            if self.process.poll() is not None:
                fail(f"the proxy ended:\n{self.log.read_text()[-2000:]}")
            try:
                return self.connect().close()
            except OSError:
                time.sleep(0.05)
        fail(f"the proxy does not listen:\n{self.log.read_text()[-2000:]}")

    def connect(self):
        """A client's connection."""
        return socket.create_connection(("127.0.0.1", self.port), 30)

    def control(self, action):
        """Has callgrind do something now."""
        done = subprocess.run(
            ["callgrind_control", action, str(self.process.pid)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if "OK" not in done.stdout:
            fail(f"callgrind_control {action}: {done.stdout}{done.stderr}")

    def dump(self):
        """Instructions since the counters were zero."""
        self.control("--dump")
        self.dumps += 1
        text = (self.directory / f"profile.{self.dumps}").read_text()
        return int(re.search(r"^totals: (\d+)", text, re.MULTILINE)[1])

    def stop(self):
        """Ends it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Load:
    """Clients that take turns: all send, then all read."""

    def __init__(self, proxy, make, connections, fresh):
        self.proxy, self.make, self.fresh, self.turn = proxy, make, fresh, 0
        self.connections = [] if fresh else [proxy.connect() for _ in range(connections)]
        self.width = connections

    def go(self, count):
        """Sends this many requests and reads their answers."""
        for _ in range(count // self.width):
            clients = self.connections or [self.proxy.connect() for _ in range(self.width)]
            for client in clients:
                client.sendall(self.make(self.turn))
                self.turn += 1
            for client in clients:
                head = read_message(client, bytearray())
                if not head.startswith(b"HTTP/1.1 200"):
                    fail(f"an answer other than 200: {head[:200]!r}")
                if self.fresh:
                    # The proxy closes first; who is first would else be chance.
                    while client.recv(4096):
                        pass
                    client.close()

    def close(self):
        """Closes what stays open."""
        for client in self.connections:
            client.close()


def measure(binary, directory):
    """Instructions per request of every case."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    proxy = Proxy(binary, listener.getsockname()[1], directory)
    counts = {}
    try:
        proxy.wait()
        for name, (make, connections, fresh) in CASES.items():
            load = Load(proxy, make, connections, fresh)
            load.go(WARM)
            proxy.control("--zero")
            load.go(COUNTED)
            requests = COUNTED // connections * connections
            counts[name] = round(proxy.dump() / requests)
            load.close()
            print(f"{name}: {counts[name]}", file=sys.stderr, flush=True)
    finally:
        proxy.stop()
    return counts


def tool(*command):
    """The version that a tool says it has."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def compare(counts, versions):
    """Prints both numbers of every case; returns whether none grew."""
    if not BASELINE.exists():
        fail(f"{BASELINE} is missing; write it with --record")
    known = json.loads(BASELINE.read_text())
    print("| case | instructions/request | recorded | ratio |\n| --- | ---: | ---: | ---: |")
    ratios = {}
    for name, count in counts.items():
        if name not in known["instructions"]:
            fail(f"{BASELINE} has no case {name!r}; write it anew with --record")
        recorded = known["instructions"][name]
        ratios[name] = count / recorded
        print(f"| {name} | {count:,} | {recorded:,} | {ratios[name]:.3f} |")
    if versions != known["versions"]:
        print(f"recorded with other tools: {known['versions']}; these are {versions}")
    allowed = {name: TOLERANCE_FRESH if CASES[name][2] else TOLERANCE for name in ratios}
    grew = [name for name, ratio in ratios.items() if ratio > 1 + allowed[name]]
    if any(ratio < 1 - allowed[name] for name, ratio in ratios.items()):
        print("It has become cheaper. Keep it so: benches/instructions/run.py --record")
    if grew:
        print(
            f"Over what is recorded by more than is tolerated: {'; '.join(grew)}.\n"
            "If it is worth it, record it and say why in the commit: "
            "benches/instructions/run.py --record"
        )
    return not grew


def main():
    """Measures, then records or compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help=f"write {BASELINE.name}")
    parser.add_argument("--proxy", type=Path, default=BINARY, help="default: target/release/proxy")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the profiles there")
    args = parser.parse_args()
    for program in ["valgrind", "callgrind_control"]:
        if not shutil.which(program):
            fail(f"{program} is missing; tests/install --programs installs it")
    if not args.proxy.exists():
        fail(f"{args.proxy} is missing; cargo build --release")
    versions = {"rustc": tool("rustc", "--version"), "valgrind": tool("valgrind", "--version")}
    directory = args.keep or Path(tempfile.mkdtemp(prefix="instructions-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        counts = measure(args.proxy, directory)
    finally:
        if not args.keep:
            shutil.rmtree(directory)
    if args.record:
        text = json.dumps({"versions": versions, "instructions": counts}, indent=2)
        BASELINE.write_text(text + "\n")
        print(f"wrote {BASELINE}")
    elif not compare(counts, versions):
        sys.exit(1)


if __name__ == "__main__":
    main()
