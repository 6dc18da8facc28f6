#!/usr/bin/env python3
"""Loopback benchmark: direct against proxied, and against HAProxy and nginx as proxies.

Every proxy runs with one thread on one core; backend and load generator share the other. The
figure is CPU time per request of the proxy's process (user + system, from
/proc/PID/task/*/schedstat), which moves by a tenth where requests per second move by a factor of
two. Rounds are interleaved; medians and ratios are printed. Needs: wrk, haproxy, nginx.

    cargo build --release && benches/loopback/run.py [--rounds 5] [--seconds 4] [--body 0]
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = 64


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, process):
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{process.args[0]} does not listen on {port}")


def cpu_nanos(pid):
    """CPU time of a process and its children, in nanoseconds."""
    total = 0
    pids = [pid]
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if children.exists():
        pids += [int(p) for p in children.read_text().split()]
    for p in pids:
        for task in Path(f"/proc/{p}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total


def rss_kib(pid):
    pids = [pid] + [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    status = "".join(Path(f"/proc/{p}/status").read_text() for p in pids)
    return sum(int(kib) for kib in re.findall(r"VmRSS:\s+(\d+)", status))


PROCESSES = []


def start(command, core, port, log):
    process = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=log, stderr=log)
    PROCESSES.append(process)
    wait_for(port, process)
    return process


NGINX = """
worker_processes 1; daemon off; pid {dir}/{name}.pid; error_log {dir}/{name}.err crit;
events {{ worker_connections 20000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
  uwsgi_temp_path {dir}; scgi_temp_path {dir};
  {body}
}}
"""

BACKEND = "server {{ listen 127.0.0.1:{port} backlog=4096; root {dir}/www; location = / {{ return 200 'hello'; }} }}"

NGINX_PROXY = """
upstream b {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 100000000; }}
server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://b;
  proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering on;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 3s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend f
  bind 127.0.0.1:{port}
  http-request use-service prometheus-exporter if {{ path /metrics }}
  option forwardfor
  default_backend b
backend b
  server s 127.0.0.1:{backend}
"""


def peers(args, directory, backend, log):
    """Starts every proxy on core 0."""
    found = {}
    port, metrics = free_port(), free_port()
    command = [args.proxy, "--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{backend}",
               "--metrics", f"127.0.0.1:{metrics}", "--threads", "1", "--log-level", "error"]
    found["redcar"] = (start(command, 0, port, log), port)
    if args.baseline:
        port, metrics = free_port(), free_port()
        command = [args.baseline, "--listen", f"127.0.0.1:{port}", "--upstream",
                   f"127.0.0.1:{backend}", "--metrics", f"127.0.0.1:{metrics}", "--threads", "1",
                   "--log-level", "error"]
        found["baseline"] = (start(command, 0, port, log), port)
    if shutil.which("haproxy"):
        port = free_port()
        (directory / "haproxy.cfg").write_text(HAPROXY.format(port=port, backend=backend))
        found["haproxy"] = (start(["haproxy", "-f", str(directory / "haproxy.cfg")], 0, port, log), port)
    if shutil.which("nginx"):
        port = free_port()
        body = NGINX_PROXY.format(port=port, backend=backend)
        (directory / "proxy.conf").write_text(NGINX.format(dir=directory, name="proxy", body=body))
        command = ["nginx", "-c", str(directory / "proxy.conf"), "-e", str(directory / "proxy.err")]
        found["nginx"] = (start(command, 0, port, log), port)
    return found


def load(port, path, seconds):
    """Runs wrk on core 1; returns requests, requests per second and p99 in milliseconds."""
    out = subprocess.run(
        ["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency",
         f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    bad = re.search(r"Non-2xx|Socket errors", out)
    if bad:
        sys.exit(f"wrk saw failures:\n{out}")
    requests = int(re.search(r"(\d+) requests in", out)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
    return requests, rate, float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--body", type=int, default=0, help="bytes of the response; 0: 5 bytes, no file")
    parser.add_argument("--proxy", default=str(ROOT / "target/release/proxy"))
    parser.add_argument("--baseline", help="another build of the proxy to compare with")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="show what the peers print")
    args = parser.parse_args()
    for tool in ["wrk", "nginx", "taskset", args.proxy]:
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing")
    directory = Path(tempfile.mkdtemp())
    (directory / "www").mkdir()
    os.chmod(directory, 0o755)
    path = "/"
    if args.body:
        (directory / "www" / "body").write_bytes(b"x" * args.body)
        path = "/body"
    log = sys.stderr if args.verbose else subprocess.DEVNULL
    try:
        backend = free_port()
        body = BACKEND.format(port=backend, dir=directory)
        (directory / "backend.conf").write_text(NGINX.format(dir=directory, name="backend", body=body))
        command = ["nginx", "-c", str(directory / "backend.conf"), "-e", str(directory / "backend.err")]
        start(command, 1, backend, log)
        found = peers(args, directory, backend, log)
        idle = {name: rss_kib(process.pid) for name, (process, _) in found.items()}
        results = {name: [] for name in [*found, "direct"]}
        for turn in range(args.rounds):
            for name, (process, port) in found.items():
                load(port, path, 1)
                before = cpu_nanos(process.pid)
                requests, rate, p99 = load(port, path, args.seconds)
                cpu = (cpu_nanos(process.pid) - before) / requests / 1000
                results[name].append((cpu, rate, p99))
                print(f"round {turn + 1} {name}: {cpu:.1f} us, {rate:.0f}/s", file=sys.stderr)
            _, rate, p99 = load(backend, path, args.seconds)
            results["direct"].append((0.0, rate, p99))
        report(args, results, idle, {n: rss_kib(p.pid) for n, (p, _) in found.items()})
    finally:
        for process in PROCESSES:
            process.send_signal(signal.SIGINT)
        for process in PROCESSES:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(directory)


def report(args, results, idle, loaded):
    median = {n: [statistics.median(c) for c in zip(*rows)] for n, rows in results.items()}
    # Paired by round: what slows the machine down for a while slows both.
    def ratio_to(name):
        pairs = zip(results["redcar"], results[name])
        return statistics.median(own[0] / other[0] for own, other in pairs)

    rows = []
    for name, (cpu, rate, p99) in median.items():
        ratio = ratio_to(name) if cpu else None
        rows.append({"name": name, "cpu_us_per_request": cpu, "redcar_ratio": ratio, "per_second": rate,
                     "p99_ms": p99, "rss_idle_kib": idle.get(name), "rss_loaded_kib": loaded.get(name)})
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    print("| proxy | CPU µs/request | redcar ÷ it | requests/s | p99 ms | RSS idle KiB | RSS loaded KiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for r in rows:
        ratio = f"{r['redcar_ratio']:.2f}" if r["redcar_ratio"] else "–"
        print(f"| {r['name']} | {r['cpu_us_per_request']:.1f} | {ratio} | {r['per_second']:.0f} |"
              f" {r['p99_ms']:.2f} | {r['rss_idle_kib'] or '–'} | {r['rss_loaded_kib'] or '–'} |")


if __name__ == "__main__":
    main()
