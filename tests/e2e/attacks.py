"""What the attacks need: subjects in a memory cgroup, bystanders, and the report.

The report, `target/attacks/report.md`, has a row for each attack and subject: redcar, and HAProxy
and nginx with their defaults before the same app.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import h2_frames as f
from helpers import HERE, REPO, Proxy, can_connect, clean_env, free_port, tool, wait_until

MIB = 1 << 20
SHIPPED = 128 * MIB
REPORT = REPO / "target" / "attacks" / "report.md"
NOTE = (
    "What the attacks of `tests/e2e/test_attacks.py` did. `memory` is the most that was resident, "
    "`p99` that of a bystander's GETs in milliseconds, before and meanwhile.\n\n"
    "| attack | subject | alive | memory | served | p99 before | p99 meanwhile | more |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


class MemoryGroup:
    """A control group that limits memory, where this machine lets us make one."""

    def __init__(self, limit):
        self.folder = None
        name = f"redcar-attack-{os.getpid()}-{time.monotonic_ns()}"
        for root, file in [("memory", "memory.limit_in_bytes"), ("", "memory.max")]:
            folder = Path("/sys/fs/cgroup") / root / name
            with contextlib.suppress(OSError):
                folder.mkdir()
                if (folder / file).exists():
                    (folder / file).write_text(str(limit))
                    self.folder = folder
                    return
                folder.rmdir()

    def within(self):
        """The command that runs another one in the group."""
        if not self.folder:
            return []
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', self.folder / "cgroup.procs"]

    def close(self):
        def removed():
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            return not self.folder.exists()

        if self.folder:
            wait_until(removed, "the control group is empty")


class App:
    def __init__(self, processes):
        self.process = processes.spawn("app", [sys.executable, HERE / "attack_app.py"])
        said = wait_until(self.process.out.read_text, "the app says its port")
        self.port = int(said)
        self.upstream = f"127.0.0.1:{self.port}"


class Redcar:
    """As it is shipped: within 128 MiB, with its defaults."""

    name = "redcar"

    def __init__(self, processes, app, *flags, within=()):
        self.group = MemoryGroup(SHIPPED)
        flags = ("--route", "/ok,/hang,/big,/sink,/never", *flags)
        if not self.group.folder:
            flags = ("--max-buffered-bytes", str((SHIPPED - 24 * MIB) // 2), *flags)
        within = [*within, *self.group.within()]
        self.sidecar = Proxy(processes, app.upstream, *flags, within=within)
        self.port, self.process = self.sidecar.port, self.sidecar.process

    def alive(self):
        return self.process.poll() is None

    def highest(self):
        return self.sidecar.rss("VmHWM")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.group.close()


class Peer:
    """HAProxy or nginx with defaults, speaking HTTP/1 and 2 in clear text."""

    def __init__(self, processes, app):
        self.port = free_port()
        folder = processes.folder / f"{self.name}-{self.port}"
        folder.mkdir()
        self.process = processes.spawn(self.name, self.command(folder, app))
        wait_until(lambda: can_connect(self.port), f"{self.name} listens")

    def alive(self):
        return self.process.poll() is None

    def highest(self):
        """With its workers."""
        total = 0
        for pid in [self.process.pid, *children(self.process.pid)]:
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                total += int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024
        return total

    def close(self):
        pass


def children(pid):
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").glob("*/children")
        for child in task.read_text().split()
    ]


class Haproxy(Peer):
    name = "haproxy"

    def command(self, folder, app):
        config = folder / "haproxy.cfg"
        config.write_text(
            f"""global
  nbthread 2
  maxconn 9000
defaults
  mode http
  timeout connect 3s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:{self.port}
  default_backend b
backend b
  server app {app.upstream}
"""
        )
        return [tool("haproxy"), "-f", config, "-db"]


class Nginx(Peer):
    name = "nginx"

    def command(self, folder, app):
        # Version 1.22 has either protocol on a clear-text port: a second port for HTTP/2.
        self.http2_port = free_port()
        temp = "\n".join(
            f"{name}_temp_path {folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = folder / "nginx.conf"
        config.write_text(
            f"""daemon off; worker_processes 2; user root;
pid {folder}/pid; error_log stderr crit; worker_rlimit_nofile 40000;
events {{ worker_connections 20000; }}
http {{
  access_log off; {temp}
  upstream app {{ server {app.upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{self.port};
    listen 127.0.0.1:{self.http2_port} http2;
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
        )
        return [tool("nginx"), "-c", config, "-p", folder]


PEERS = [Haproxy, Nginx]


class Bystander:
    """A process of its own that asks again and again."""

    def __init__(self, port, seconds, path="/ok"):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "bystander.py", str(port), str(seconds), path],
            stdout=subprocess.PIPE,
            env=clean_env(),
        )

    def result(self):
        out, _ = self.process.communicate(timeout=60)
        return Asked(**json.loads(out))


class Asked:
    def __init__(self, millis, failed):
        self.count, self.failed = len(millis), failed
        self.p99 = sorted(millis)[int(len(millis) * 0.99)] if millis else float("inf")

    def __repr__(self):
        return f"<{self.count} asked, p99 {self.p99:.1f} ms, failed {self.failed[:5]}>"


def ask(port, seconds=0.5):
    return Bystander(port, seconds).result()


def report(attack, subject, before, meanwhile, more=""):
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    alive = subject.alive()
    memory = f"{subject.highest() / MIB:.1f} MiB" if alive else "–"
    served = f"{meanwhile.count - len(meanwhile.failed)} of {meanwhile.count}"
    row = f"| {attack} | {subject.name} | {'yes' if alive else 'NO'} | {memory} | {served} "
    row += f"| {before.p99:.1f} | {meanwhile.p99:.1f} | {more} |\n"
    rows = REPORT.read_text().removeprefix(NOTE).splitlines(True) if REPORT.exists() else []
    same = f"| {attack} | {subject.name} |"
    rows = sorted([r for r in rows if not r.startswith(same)] + [row])
    REPORT.write_text(NOTE + "".join(rows))


class Attackers:
    """Connections that are closed together."""

    def __init__(self):
        self.sockets = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for s in self.sockets:
            s.close()

    def connect(self, port, receive_buffer=None):
        s = socket.socket()
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        s.settimeout(10)
        s.connect(("127.0.0.1", port))
        self.sockets.append(s)
        return s

    def send(self, s, data):
        """As far as the other side takes it within a second; it may have closed."""
        s.settimeout(1)
        with contextlib.suppress(OSError):
            s.sendall(data)


def http2_port(subject):
    return getattr(subject, "http2_port", subject.port)


def get(path):
    return [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "a")]


def indexed_heads(path, streams, times, size=4000):
    """Heads whose one large field stands in the table of compression and is referred to."""
    field = b"\x40\x01x" + f.integer(size, 7) + b"v" * size
    reference = f.integer(62, 7, 0x80)
    out = []
    for n in range(streams):
        block = f.block(get(path)) + (field if n == 0 else reference) + reference * (times - 1)
        out.append(f.frame(f.HEADERS, f.END_STREAM | f.END_HEADERS, 2 * n + 1, block))
    return b"".join(out)
