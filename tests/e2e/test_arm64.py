"""The program for arm64, built here and run by an emulator of the processor: it works, on each page size.

What only the real machine shows, speed and the kernel's own behaviour, is not tested.
"""

import shutil
import sys
import tarfile
import zipfile

import pytest
import requests
from helpers import PROXY, REPO, free_port, run, tool, wait_until

ARM64 = REPO / "target" / "static" / "proxy-arm64"


def emulator(page_bytes=4096):
    return [tool("qemu-aarch64-static"), "-p", page_bytes]


def test_it_says_its_name_and_needs_nothing():
    said = run([*emulator(), ARM64, "--version"])
    assert said.returncode == 0 and said.stdout == run([PROXY, "--version"]).stdout
    what = run(["aarch64-linux-gnu-readelf", "--file-header", "--program-headers", ARM64]).stdout
    assert "AArch64" in what and "INTERP" not in what


# Kernels for arm64 have one of these; an allocator made for small pages would end at once on large ones.
@pytest.mark.parametrize("page_bytes", [4096, 16_384, 65_536])
def test_it_forwards_and_counts(page_bytes, gunicorn, processes):
    app, port, metrics = gunicorn("sync"), free_port(), free_port()
    flags = ["--listen", f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{metrics}"]
    process = processes.spawn(
        "arm64", [*map(str, emulator(page_bytes)), ARM64, *flags, "--upstream", app.upstream]
    )

    def page():
        try:
            return requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=10).text
        except requests.ConnectionError:
            return ""

    wait_until(page, "the metrics port answers", 60)
    for user in range(1, 21):
        answer = requests.get(f"http://127.0.0.1:{port}/users/{user}", timeout=20)
        assert answer.json()["id"] == user
    body = b"x" * 300_000
    sent = requests.post(f"http://127.0.0.1:{port}/upload", data=body, timeout=30)
    assert sent.status_code == 200 and "300000" in sent.text
    wait_until(
        lambda: 'http_requests_total{method="GET",path="/users/{id}",status="200"} 20' in page(),
        "all are counted",
    )
    process.terminate()
    wait_until(lambda: process.poll() is not None, "the end", 30)
    assert process.returncode == 0


def test_http2_and_tls_work(gunicorn, processes, pair):
    cert, key = pair
    app, port, metrics = gunicorn("sync"), free_port(), free_port()
    flags = ["--listen", f"127.0.0.1:{port}", "--metrics", f"127.0.0.1:{metrics}"]
    flags += ["--upstream", app.upstream, "--tls-cert", cert, "--tls-key", key]
    processes.spawn("arm64", [*map(str, emulator()), ARM64, *flags])
    ask = ["curl", "--silent", "--http2", "--cacert", cert, "--write-out", " %{http_version}"]
    ask += [f"https://localhost:{port}/ruok"]
    wait_until(lambda: run(ask).stdout == "imok 2", "an answer over HTTP/2 and TLS", 60)


def test_its_packages_are_for_its_machine_and_have_it(tmp_path):
    argv = ["--arch", "arm64", "--program", ARM64, "--printer", PROXY]
    kinds = ["archive", "wheel", "deb", "npm"]
    built = run([sys.executable, REPO / "packages" / "build", *argv, "--only", *kinds], timeout=180)
    assert built.returncode == 0, built.stdout + built.stderr
    folder = REPO / "target" / "packages"
    made = [folder / line.split()[1].rpartition("/")[2] for line in built.stdout.splitlines()]
    program = ARM64.read_bytes()
    found = {}
    for path in made:
        if path.name.endswith("linux-arm64.tar.gz"):
            with tarfile.open(path) as tar:
                inside = next(m for m in tar.getnames() if m.endswith("/redcar"))
                found["archive"] = tar.extractfile(inside).read()
        elif path.suffix == ".whl":
            assert "aarch64" in path.name and "x86_64" not in path.name
            with zipfile.ZipFile(path) as wheel:
                inside = next(n for n in wheel.namelist() if n.endswith("/redcar"))
                found["wheel"] = wheel.read(inside)
        elif path.suffix == ".deb":
            shown = run(["dpkg-deb", "--field", path, "Architecture"])
            assert shown.stdout == "arm64\n"
            run(["dpkg-deb", "-x", path, tmp_path])
            found["deb"] = (tmp_path / "usr/bin/redcar").read_bytes()
        elif "linux-arm64" in path.name:
            with tarfile.open(path) as tar:
                found["npm"] = tar.extractfile("package/redcar").read()
    assert {kind for kind, data in found.items() if data == program} == set(kinds)
    copy = tmp_path / "redcar"
    shutil.copy(tmp_path / "usr/bin/redcar", copy)
    said = run([*emulator(), copy, "--version"])
    assert said.returncode == 0 and said.stdout.startswith("redcar "), said.stderr
