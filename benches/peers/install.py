"""Installs what a run needs: Debian's programs, PyPI's, and what Cargo builds. Below target/peers,
apart from Debian's packages. Does nothing where all is there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from processes import Failure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILT = ROOT / "target" / "peers"
# Programs and Debian's packages with them; what tests/install has comes first and from there.
SHARED = ["wrk", "h2load", "haproxy", "nginx", "curl", "strace"]
LUA_MODULE = Path("/usr/lib/nginx/modules/ngx_http_lua_module.so")
ON_PYPI = {"envoy", "caddy", "traefik"}

# Newer versions of two peers, by the suite of Debian that has them. They are unpacked, not installed,
# and run with their suite's own C library, so that the system stays as it is.
SUITES = {
    "haproxy-3.0": "trixie",
    "nginx-1.26": "trixie",
    "haproxy-3.2": "sid",
    "nginx-1.30": "sid",
}
UNPACKED = [
    "haproxy",
    "nginx",
    "libc6",
    "libcrypt1",
    "libgcc-s1",
    "libjemalloc2",
    "liblua5.4-0",
    "libopentracing-c-wrapper0t64",
    "libopentracing1",
    "libpcre2-8-0",
    "libssl3t64",
    "libstdc++6",
    "libzstd1",
    "zlib1g",
]


def say(text):
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def call(command):
    """Runs a step of the installation; what it prints goes to standard error."""
    say("+ " + " ".join(map(str, command)))
    if subprocess.run(list(map(str, command)), stdout=sys.stderr).returncode != 0:
        raise Failure(f"this failed: {' '.join(map(str, command))}")


def debian(package):
    """Installs a package without a service of its own."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failure(f"the Debian package {package} is missing; run this as root, or install it")
    call(
        [
            "apt-get",
            "-q",
            "-o",
            "DPkg::Lock::Timeout=300",
            "install",
            "-y",
            "--no-install-recommends",
            package,
        ]
    )


def unpack(suite):
    """Unpacks the packages of a suite of Debian below target/peers, once. Needs no privileges."""
    place = BUILT / suite
    if (place / "root").exists():
        return
    shutil.rmtree(place, ignore_errors=True)
    call([ROOT / "tests" / "debian-unpack", suite, place / "unpacking", *UNPACKED])
    # Last, so that what was cut short is done again.
    (place / "unpacking").rename(place / "root")


def unpacked(name, program):
    """The command that runs a program of a peer's suite with that suite's libraries."""
    root = BUILT / SUITES[name] / "root"
    folders = [root / "usr/lib/x86_64-linux-gnu", root / "lib/x86_64-linux-gnu"]
    loader = root / "usr/lib64/ld-linux-x86-64.so.2"
    return [loader, "--library-path", ":".join(map(str, folders)), root / "usr/sbin" / program]


def python_packages(file):
    """Installs a file of requirements into the environment of the benchmark, once."""
    venv = BUILT / "venv"
    if not (venv / "bin" / "python").exists():
        call([sys.executable, "-m", "venv", venv])
    done = venv / file.name
    if not done.exists() or done.read_text() != file.read_text():
        call(
            [
                venv / "bin" / "python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--requirement",
                file,
            ]
        )
        # Written last, so that an installation that was cut short is done again.
        done.write_text(file.read_text())


def cargo(package):
    """Builds a workspace beside this file."""
    call(
        [
            os.environ.get("CARGO", "cargo"),
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--manifest-path",
            HERE / package / "Cargo.toml",
            "--target-dir",
            BUILT,
        ]
    )


def ensure(peers, own_build):
    """Everything for these peers. With `own_build`, the program of this repository, too."""
    # Servers are in sbin, which not every PATH has.
    os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
    if not all(map(shutil.which, SHARED)):
        call([ROOT / "tests" / "install", "--programs"])
    for tool in ["taskset", "setpriv"]:
        if not shutil.which(tool):
            raise Failure(f"{tool} is missing; it is in Debian's package util-linux")
    if "nginx-lua" in peers and not LUA_MODULE.exists():
        debian("libnginx-mod-http-lua")
    for suite in sorted({SUITES[peer] for peer in peers if peer in SUITES}):
        unpack(suite)
    python_packages(HERE / "requirements.txt")
    if ON_PYPI & set(peers):
        python_packages(HERE / "requirements-peers.txt")
    cargo("tools")
    if "pingora" in peers:
        if not shutil.which("cmake"):
            debian("cmake")
        cargo("pingora")
    if own_build:
        call(
            [
                os.environ.get("CARGO", "cargo"),
                "build",
                "--release",
                "--locked",
                "--quiet",
                "--manifest-path",
                ROOT / "Cargo.toml",
                "--bin",
                "proxy",
            ]
        )
