"""Processes that the benchmark starts: pinned, watched, measured, and stopped whatever happens."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

READY_SECONDS = 20


class Failure(Exception):
    """What the benchmark cannot go on with; its text is for the user."""


def free_port():
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def descendants(pid):
    """A process and everything it started, as process ids."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                pass  # ended meanwhile
    return found


def cpu_nanos(pid):
    """CPU time, user and system, of a process with its children and threads."""
    total = 0
    for process in descendants(pid):
        for stat in Path(f"/proc/{process}/task").glob("*/schedstat"):
            try:
                total += int(stat.read_text().split()[0])
            except OSError:
                pass  # ended meanwhile
    return total


def rss_kib(pid):
    """Resident memory of a process with its children."""
    total = 0
    for process in descendants(pid):
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            continue
        total += sum(int(kib) for kib in re.findall(r"VmRSS:\s+(\d+)", status))
    return total


class Processes:
    """Everything that was started. `stop` ends it; use it in a `finally`."""

    def __init__(self, directory):
        self.directory = directory
        self.running = []

    def start(self, name, command, core, port, env=None):
        """Starts a program on one core and waits until it listens. Its output goes to a file."""
        log = self.directory / f"{name}.log"
        # The kernel ends it should the benchmark itself be killed.
        pinned = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(core)]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*pinned, *map(str, command)],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.running.append(process)
        self._wait_for(name, process, port, log)
        return process

    def _wait_for(self, name, process, port, log):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise Failure(f"{name} ended with {process.returncode}:\n{tail(log)}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise Failure(f"{name} does not listen on port {port}:\n{tail(log)}")

    def stop(self, process=None):
        """Ends one process, or all: first asked, then killed with everything it started."""
        ending = [process] if process else list(self.running)
        for one in ending:
            send(one, signal.SIGTERM)
        # Nobody is served any more; a drain would only be waited for.
        deadline = time.monotonic() + 0.2
        for one in ending:
            try:
                one.wait(max(0.01, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            # Also what its leader left behind.
            send(one, signal.SIGKILL)
            one.wait()
            self.running.remove(one)


def send(process, number):
    """Signals a process and its group, if any of it is left."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def tail(log):
    """The last lines of a log, indented."""
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return "\n".join(f"    {line}" for line in lines) or "    (it printed nothing)"


def run(core, command, timeout):
    """Runs a program on one core to its end; returns what it printed."""
    try:
        done = subprocess.run(
            ["taskset", "-c", str(core), *map(str, command)],
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{command[0]} did not end within {timeout} s: {command}") from None
    if done.returncode != 0:
        raise Failure(
            f"{command[0]} failed with {done.returncode}: {command}\n"
            f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout
