#!/usr/bin/env python3
"""redcar beside other proxies: CPU, throughput, latency and memory, in one command.

    benches/peers/run.py                            everything, about an hour
    benches/peers/run.py --only small --only h2c    some rows
    benches/peers/run.py --peers redcar,haproxy     against some peers
    benches/peers/run.py --baseline OLD --only small --peers redcar    before and after a change
    benches/peers/run.py --smoke                    does it all work, in a minute

Installs what is missing. Every proxy is pinned to one core and told to use one thread; the backend
and the load generator share another. Rounds are interleaved. The report goes to standard output as
Markdown, progress to standard error.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import chart
import install
import peers
import report
import workloads
from processes import Failure, Processes

BODIES = {"10k": 10_000, "100k": 100_000, "1m": 1_048_576}


class Bench:
    """What every workload needs to know of a run."""

    here, built = install.HERE, install.BUILT
    python = install.BUILT / "venv" / "bin" / "python"

    def __init__(self, args, directory):
        self.directory = directory
        self.processes = Processes(directory)
        self.threads, self.rate = args.threads, args.rate
        self.proxy_cores, self.load_core = args.proxy_cores, args.load_core
        self.seconds = args.seconds
        self.warm_seconds = 0 if args.smoke else 1
        self.settle_seconds = 0.3 if args.smoke else 3
        self.idle_connections = 200 if args.smoke else 10_000
        self.series = 500 if args.smoke else 5000
        self.scrapes = 2 if args.smoke else 10
        found = peers.catalogue(args.proxy, args.baseline, self.built)
        self.peers = {name: peer for name, peer in found.items() if name in args.peers}

    def write(self, name, text):
        """A file in the directory of the run."""
        path = self.directory / name
        path.write_text(text)
        return path


def arguments():
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", metavar="NAME", help="a workload; repeatable")
    parser.add_argument("--peers", metavar="A,B", help=f"of {', '.join(peers.NAMES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of load in each round")
    parser.add_argument(
        "--rate",
        type=float,
        help="requests/s of `latency` and `scrape`; default: half load, and 5000",
    )
    parser.add_argument("--threads", type=int, default=1, help="of each proxy")
    parser.add_argument("--proxy-cores", default="0", help="for taskset, such as 0 or 0-1")
    parser.add_argument("--load-core", default="1", help="for the backend and the load")
    parser.add_argument(
        "--proxy",
        type=Path,
        metavar="BINARY",
        help="a build of redcar; default: built from this repository",
    )
    parser.add_argument(
        "--baseline", type=Path, metavar="BINARY", help="another build of redcar, as one more peer"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a plot there, as SVG")
    parser.add_argument(
        "--from",
        dest="saved",
        type=Path,
        metavar="FILE",
        help="report what --json wrote, without measuring",
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="one short round of everything with the peers that are cheap to have",
    )
    parser.add_argument("--list", action="store_true", help="the workloads")
    args = parser.parse_args()
    known = workloads.catalogue()
    chosen = peers.NAMES if not args.smoke else peers.CHEAP
    args.peers = args.peers.split(",") if args.peers else list(chosen)
    if args.baseline and "baseline" not in args.peers:
        args.peers.append("baseline")
    if not args.baseline and "baseline" in args.peers:
        args.peers.remove("baseline")
    for name, names in [
        *((n, known) for n in args.only or []),
        *((n, peers.NAMES) for n in args.peers),
    ]:
        if name not in names:
            parser.error(f"there is no {name}; there are {', '.join(names)}")
    for binary in [args.proxy, args.baseline]:
        if binary and not os.access(binary, os.X_OK):
            parser.error(f"{binary} is not a program; build it, or leave the flag out")
    args.workloads = [known[name] for name in known if not args.only or name in args.only]
    if args.smoke:
        args.rounds, args.seconds, args.rate = 1, 1, args.rate or 500
    return args


def bodies(directory):
    """The files that the backend serves."""
    www = directory / "www"
    www.mkdir()
    for name, size in BODIES.items():
        (www / name).write_bytes(b"x" * size)
    # Workers of nginx that changed their user have to reach them.
    directory.chmod(0o755)


def run_workload(bench, workload, rounds):
    """All rounds of one workload, its processes started before and stopped after."""
    say = install.say
    say(f"== {workload.name}")
    try:
        workload.set_up(bench)
        for name, reason in workload.cannot.items():
            say(f"   {name} cannot: {reason}")
        count = min(rounds, workload.most_rounds or rounds)
        results = {name: [] for name in workload.names()}
        for turn in range(count):
            for name in results:
                figures = workload.measure(bench, name)
                results[name].append(figures)
                shown = [
                    f"{heading} {report.cell(figures.get(figure), digits)}"
                    for figure, heading, digits in workload.columns[:3]
                ]
                say(f"   round {turn + 1}/{count} {name}: {', '.join(shown)}")
    finally:
        bench.processes.stop()
    return {
        "name": workload.name,
        "title": workload.title,
        "columns": workload.columns,
        "ratio": workload.ratio,
        "count": count,
        "rounds": results,
        "cannot": workload.cannot,
    }


def measure_all(args):
    """Installs, measures, and returns the run as data."""
    install.ensure(args.peers, own_build=args.proxy is None)
    args.proxy = args.proxy or install.ROOT / "target" / "release" / "proxy"
    open_files = workloads.raise_open_files()
    directory = Path(tempfile.mkdtemp(prefix="peers-"))
    bench = Bench(args, directory)
    bench.idle_connections = min(bench.idle_connections, workloads.most_idle(open_files))
    try:
        bodies(directory)
        subprocess.run(
            ["taskset", "-cp", args.load_core, str(os.getpid())],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        results = [run_workload(bench, workload, args.rounds) for workload in args.workloads]
    finally:
        bench.processes.stop()
        shutil.rmtree(directory, ignore_errors=True)
    if args.smoke:
        assert_all_measured(results)
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPUs, Linux {platform.release()}",
        "threads": args.threads,
        "seconds": args.seconds,
        "peers": {peer.name: peer.metrics for peer in bench.peers.values()},
        "results": results,
    }


def assert_all_measured(results):
    """That a smoke run has a positive figure for every peer and workload."""
    for result in results:
        if not result["rounds"] and not result["cannot"]:
            raise Failure(f"{result['name']} measured nothing")
        for name, rounds in result["rounds"].items():
            value = report.median(rounds, result["columns"][0][0])
            if value is None or (value <= 0 and result["name"] != "idle"):
                raise Failure(f"{result['name']}: {name} has no figure: {rounds}")


def main():
    """Measures or reads, then reports."""
    args = arguments()
    if args.list:
        print("\n".join(f"{w.name:10} {w.title}" for w in args.workloads))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    run = json.loads(args.saved.read_text()) if args.saved else measure_all(args)
    if args.json:
        args.json.write_text(json.dumps(run, indent=1) + "\n")
    if args.plot:
        args.plot.write_text(chart.svg(run["results"]))
    print(report.markdown(run))
    install.say(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"run.py: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
