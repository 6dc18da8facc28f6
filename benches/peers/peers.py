"""The proxies that are compared: how each is started, with its metrics on, and what it cannot do.

Each is told to use `threads` threads and to keep its upstream connections. A peer is a function
from a `Spec` to a `Launch`; everything else about it is data.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import install

import config


@dataclass
class Spec:
    """What a peer is to be started for."""

    directory: Path
    name: str
    port: int
    metrics: int
    backend: int
    h2: bool = False
    threads: int = 1
    extra: list = field(default_factory=list)
    # A Unix socket to reach the backend by, instead of its port.
    socket: str = ""

    def write(self, suffix, text):
        """A file of configuration, by itself."""
        path = self.directory / f"{self.name}.{suffix}"
        path.write_text(text)
        return path


@dataclass
class Launch:
    """A command and what it needs in its environment."""

    command: list
    env: dict = field(default_factory=dict)


@dataclass
class Peer:
    """A proxy to compare with."""

    name: str
    launch: Callable[[Spec], Launch]
    # What its own metrics are while it is measured, for the report.
    metrics: str
    # Workloads it cannot do, each with the reason.
    cannot: dict = field(default_factory=dict)
    # Whether `Spec.metrics` serves a page with a series for each path.
    per_path: bool = False


def redcar(binary):
    """This program, from any build of it."""

    def launch(spec):
        upstream = spec.socket or f"127.0.0.1:{spec.backend}"
        return Launch(
            [
                binary,
                "--listen",
                f"127.0.0.1:{spec.port}",
                "--upstream",
                upstream,
                "--metrics",
                f"127.0.0.1:{spec.metrics}",
                "--threads",
                spec.threads,
                "--max-connections",
                "12000",
                "--max-series",
                "6000",
                "--log-level",
                "error",
                *spec.extra,
            ]
        )

    return launch


def without_h2(binary):
    """The workloads that a build of redcar cannot do: older ones speak HTTP/1 only."""
    usage = subprocess.run([binary, "--help"], capture_output=True, text=True, check=True).stdout
    if "--upstream-protocol" in usage:
        return {}
    reason = "this build speaks HTTP/1 only"
    return {"h2c": reason, "grpc": reason}


def floor(binary):
    """Bytes copied, nothing understood."""

    def launch(spec):
        return Launch([binary, f"127.0.0.1:{spec.port}", f"127.0.0.1:{spec.backend}"])

    return launch


def haproxy(*program):
    """HAProxy with its Prometheus service."""

    def launch(spec):
        text = config.HAPROXY.format(
            port=spec.port,
            backend=spec.backend,
            threads=spec.threads,
            metrics=spec.metrics,
            proto="proto h2" if spec.h2 else "",
        )
        return Launch([*program, "-f", spec.write("cfg", text)])

    return launch


def nginx(*program, lua=False):
    """nginx as a proxy; with `lua`, histograms by path, method and status written in Lua."""

    def launch(spec):
        server = config.NGINX_H2 if spec.h2 else config.NGINX_HTTP1
        modules = config.LUA_MODULES if lua else ""
        body = (config.LUA_HTTP.format(metrics=spec.metrics) if lua else "") + server.format(
            port=spec.port, backend=spec.backend, log=config.LUA_LOG if lua else ""
        )
        text = modules + config.nginx(spec.directory, spec.name, body, spec.threads)
        return Launch(
            [*program, "-c", spec.write("conf", text), "-e", spec.directory / f"{spec.name}.err"]
        )

    return launch


def envoy(binary):
    """Envoy with its default statistics."""

    def launch(spec):
        text = json.dumps(config.envoy(spec.port, spec.metrics, spec.backend, spec.h2))
        return Launch(
            [
                binary,
                "-c",
                spec.write("json", text),
                "--concurrency",
                spec.threads,
                "--log-level",
                "error",
                "--disable-hot-restart",
            ]
        )

    return launch


def caddy(binary):
    """Caddy with metrics by host."""

    def launch(spec):
        text = json.dumps(config.caddy(spec.port, spec.backend, spec.h2))
        home = str(spec.directory)
        return Launch(
            [binary, "run", "--config", spec.write("json", text)],
            {
                "GOMAXPROCS": str(spec.threads),
                "HOME": home,
                "XDG_DATA_HOME": home,
                "XDG_CONFIG_HOME": home,
            },
        )

    return launch


def traefik(binary):
    """Traefik with Prometheus metrics by router."""

    def launch(spec):
        routes = spec.write("yml", json.dumps(config.traefik(spec.backend, spec.h2)))
        return Launch(
            [
                binary,
                f"--entrypoints.web.address=127.0.0.1:{spec.port}",
                f"--entrypoints.metrics.address=127.0.0.1:{spec.metrics}",
                f"--providers.file.filename={routes}",
                "--metrics.prometheus=true",
                "--metrics.prometheus.addrouterslabels=true",
                "--metrics.prometheus.entrypoint=metrics",
                "--serverstransport.maxidleconnsperhost=256",
                "--global.checknewversion=false",
                "--global.sendanonymoususage=false",
                "--log.level=ERROR",
            ],
            {"GOMAXPROCS": str(spec.threads)},
        )

    return launch


def pingora(binary):
    """The program in `pingora/`, with counters and histograms by method, path and status."""

    def launch(spec):
        command = [
            binary,
            f"127.0.0.1:{spec.port}",
            f"127.0.0.1:{spec.backend}",
            f"127.0.0.1:{spec.metrics}",
            spec.threads,
        ]
        return Launch(command + (["h2c"] if spec.h2 else []))

    return launch


# The order of the tables. The first four need no download and are what a smoke run compares.
CHEAP = ["redcar", "haproxy", "nginx", "floor"]
NAMES = [
    "redcar",
    "baseline",
    "floor",
    "haproxy",
    "haproxy-3.0",
    "haproxy-3.2",
    "nginx",
    "nginx-1.26",
    "nginx-1.30",
    "nginx-lua",
    "pingora",
    "envoy",
    "traefik",
    "caddy",
]


def program(name, peer):
    """The command of a peer that is the system's, or one of another suite of Debian."""
    return install.unpacked(peer, name) if peer in install.SUITES else [name]


def catalogue(proxy, baseline, built):
    """Every peer by name. `built` is where the programs from PyPI and Cargo are."""
    venv, release = built / "venv" / "bin", built / "release"
    found = [
        Peer(
            "redcar",
            redcar(proxy),
            "histograms by method, path, status",
            without_h2(proxy),
            per_path=True,
        ),
        Peer("floor", floor(release / "floor"), "none: it copies bytes"),
        *(
            Peer(name, haproxy(*program("haproxy", name)), "Prometheus service, none by path")
            for name in ["haproxy", "haproxy-3.0", "haproxy-3.2"]
        ),
        *(
            Peer(name, nginx(*program("nginx", name)), "none")
            for name in ["nginx", "nginx-1.26", "nginx-1.30"]
        ),
        Peer(
            "nginx-lua",
            nginx("nginx", lua=True),
            "histograms by method, path, status, in Lua",
            per_path=True,
        ),
        Peer(
            "pingora",
            pingora(release / "pingora-peer"),
            "histograms by method, path, status",
            per_path=True,
        ),
        Peer("envoy", envoy(venv / "envoy"), "its default statistics"),
        Peer("traefik", traefik(venv / "traefik"), "Prometheus, by router"),
        Peer("caddy", caddy(venv / "caddy"), "Prometheus, by host"),
    ]
    if baseline:
        found.append(
            Peer("baseline", redcar(baseline), "as redcar", without_h2(baseline), per_path=True)
        )
    found.sort(key=lambda peer: NAMES.index(peer.name))
    return {peer.name: peer for peer in found}
