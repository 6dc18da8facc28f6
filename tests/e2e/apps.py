"""Apps on the servers that people run, and curl before them.

An app prints a line of JSON for each thing it learns: `what` (`begun`, `left` when it learns that
its client is gone, `done` when it never did), the `path`, and `at`, by the clock that
`time.monotonic` reads in every process.
"""

import json
import sys

from helpers import HERE, Proxy, can_connect, free_port, run, tool, wait_until
from peers import NODE


def uvicorn(port, *flags):
    argv = [sys.executable, "-B", "-m", "uvicorn", "fastapi_app:app", "--app-dir", HERE]
    return [*argv, "--port", port, "--log-level", "warning", *flags], {}


def hypercorn(port, *flags):
    argv = [sys.executable, "-B", "-m", "hypercorn", "--bind", f"127.0.0.1:{port}", *flags]
    return [*argv, "fastapi_app:app"], {"PYTHONPATH": str(HERE)}


def aiohttp(port):
    return [sys.executable, "-B", HERE / "aiohttp_app.py", port], {}


def node(port, protocol="http1"):
    return [tool("node"), HERE / "node" / "app.js", port, protocol], NODE


def java(port):
    return [tool("java"), "-XX:TieredStopAtLevel=1", HERE / "java" / "App.java", port], {}


class App:
    """A running app: `App(processes, uvicorn)`."""

    def __init__(self, processes, server, *flags, port=None):
        self.port = port or free_port()
        self.upstream = f"127.0.0.1:{self.port}"
        argv, env = server(self.port, *flags)
        env = {"PYTHONUNBUFFERED": "1"} | env
        self.process = processes.spawn(server.__name__, argv, env=env)
        wait_until(self._listens, f"{server.__name__} listens", 20)

    def _listens(self):
        assert self.process.poll() is None, self.process.err.read_text()
        return can_connect(self.port)

    def notes(self, path):
        """{what: when it was first said} of this path."""
        lines = self.process.out.read_text().split("\n")[:-1]
        notes = [json.loads(line) for line in reversed(lines)]
        return {note["what"]: note["at"] for note in notes if note["path"] == path}

    def wait_for(self, what, path, timeout=10):
        """Waits until the app says one of these about this path; (what, when)."""
        names = (what,) if isinstance(what, str) else what

        def found():
            notes = self.notes(path)
            return next(((name, notes[name]) for name in names if name in notes), None)

        return wait_until(found, f"the app says {what} of {path}", timeout)


# How a client speaks: flags of curl, and whether over TLS.
CLIENTS = {
    "http1": ("--http1.1", False),
    "http2": ("--http2-prior-knowledge", False),
    "https1": ("--http1.1", True),
    "https2": ("--http2", True),
}


def curl(port, path, *flags, tls=False, **kwargs):
    url = f"{'https' if tls else 'http'}://localhost:{port}{path}"
    return run([tool("curl"), "-sS", "-i", "-4", *flags, url], **kwargs)


class Doors:
    """Two sidecars before one app: one plain, one that serves TLS."""

    def __init__(self, processes, upstream, certificate, *flags):
        self.cert, key = certificate
        tls = ("--tls-cert", self.cert, "--tls-key", key)
        self.plain = Proxy(processes, upstream, *flags)
        self.tls = Proxy(processes, upstream, *tls, *flags)

    def both(self):
        return (self.plain, self.tls)

    def curl(self, client, path, *flags, **kwargs):
        """Runs curl as this client; each answer's head, also of interim ones, is in the output."""
        flag, tls = CLIENTS[client]
        flags = ["--cacert", self.cert, flag, *flags]
        return curl((self.tls if tls else self.plain).port, path, *flags, tls=tls, **kwargs)


def open_doors(processes, pair, server, protocol="http1", *flags):
    """The same before an app that this starts and speaks this protocol to; it is `doors.app`."""
    app = App(processes, server, *([protocol] if server is node else []))
    doors = Doors(processes, app.upstream, pair, "--upstream-protocol", protocol, *flags)
    doors.app, doors.protocol = app, protocol
    return doors
