"""What is installed without a compiler: each package into an empty place, offline, and run there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib

import pytest
import requests
from helpers import PROXY, REPO, clean_env, free_port, run, tool, wait_until

# It runs as the package has it: no proxy, no index, nothing of the environment around it.
OFFLINE = {"PIP_NO_INDEX": "1", "npm_config_offline": "true", "npm_config_cache": "/nonexistent"}


def test_published_places_and_versions_are_those_of_cargo_toml():
    answer = run([REPO / "packages" / "fill", "--check"])
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture(scope="module")
def packages():
    """The paths of all packages of the program under test."""
    flags = ["--program", PROXY]
    built = run([sys.executable, REPO / "packages" / "build", *flags], timeout=180)
    assert built.returncode == 0, built.stdout + built.stderr
    folder = REPO / "target" / "packages"
    return [folder / line.split()[1].rpartition("/")[2] for line in built.stdout.splitlines()]


def package(packages, *ends):
    [found] = [p for p in packages if p.name.endswith(ends)]
    return found


def first_graph(program, processes):
    """Runs the demo and returns the seconds until a page shows requests by path."""
    began = time.monotonic()
    listen, metrics = free_port(), free_port()
    flags = ["demo", "--listen", f"127.0.0.1:{listen}", "--metrics", f"127.0.0.1:{metrics}"]
    process = processes.spawn("redcar", [program, *flags])

    def page():
        try:
            return requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=5).text
        except requests.ConnectionError:
            return ""

    wait_until(lambda: 'path="/users/{id}"' in page(), "requests by path", 30)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: process.poll() is not None, "the demo ends", 20)
    assert process.returncode == 0
    return time.monotonic() - began


def says_its_name(program, name, **kwargs):
    said = run([program, "--version"], **kwargs)
    assert said.returncode == 0 and said.stdout.startswith(f"{name} "), said.stdout + said.stderr


def test_pip_installs_the_wheel_and_there_is_a_graph_within_a_minute(
    packages, processes, tmp_path, capsys
):
    began = time.monotonic()
    run([sys.executable, "-m", "venv", tmp_path / "venv"], timeout=60)
    binaries = tmp_path / "venv" / "bin"
    wheel = package(packages, ".whl")
    installed = run([binaries / "pip", "install", "--quiet", wheel], env=OFFLINE, timeout=60)
    assert installed.returncode == 0, installed.stderr
    # No compiler, and no Python but that of the environment.
    says_its_name(binaries / "redcar", "redcar", env={"PATH": str(binaries)})
    says_its_name(binaries / "proxy", "proxy", env={"PATH": str(binaries)})
    first_graph(binaries / "redcar", processes)
    seconds = time.monotonic() - began
    with capsys.disabled():
        print(f"\npip install to the first graph: {seconds:.1f} s")
    assert seconds < 60
    run([binaries / "pip", "uninstall", "--quiet", "--yes", "redcar"], timeout=60)
    assert not (binaries / "redcar").exists() and not (binaries / "proxy").exists()


@pytest.fixture
def root(tmp_path):
    """An empty root with nothing but a shell, for the scripts of a package."""
    root = tmp_path / "root"
    for folder in ("bin", "var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "tmp"):
        (root / folder).mkdir(parents=True)
    for file in ("status", "available"):
        (root / "var/lib/dpkg" / file).touch()
    shutil.copy(tool("busybox"), root / "bin" / "busybox")
    for name in ("sh", "rm", "true"):
        (root / "bin" / name).symlink_to("busybox")
    return root


def dpkg(root, *argv):
    answer = run([tool("dpkg"), f"--root={root}", *argv], timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def files(root):
    return {p.relative_to(root) for p in root.rglob("*") if not p.is_dir() or p.is_symlink()}


def test_dpkg_installs_runs_and_purges_the_debian_package(packages, root):
    deb = package(packages, ".deb")
    before = files(root)
    dpkg(root, "--install", deb)
    for name in ("redcar", "proxy"):
        said = run(["chroot", root, f"/usr/bin/{name}", "--version"])
        assert said.returncode == 0 and said.stdout.startswith(f"{name} "), said.stderr
    for place in (
        "lib/systemd/system/redcar.service",
        "usr/lib/sysusers.d/redcar.conf",
        "etc/default/redcar",
        "usr/share/man/man1/redcar.1.gz",
        "usr/share/bash-completion/completions/proxy",
    ):
        assert (root / place).is_file(), place
    unit = (root / "lib/systemd/system/redcar.service").read_text()
    assert "ExecStart=/usr/bin/redcar " in unit and "/usr/local" not in unit
    # A setting that somebody made stays when the package goes, until it is purged.
    (root / "etc/default/redcar").write_text("REDCAR_UPSTREAM=:8080\n")
    dpkg(root, "--remove", "redcar")
    assert (root / "etc/default/redcar").read_text() == "REDCAR_UPSTREAM=:8080\n"
    dpkg(root, "--purge", "redcar")
    # dpkg's own diary apart.
    assert {f for f in files(root) - before if f.parts[:3] != ("var", "lib", "dpkg")} == {
        f for f in files(root) - before if f.parts[:2] == ("var", "log")
    }


def test_the_unit_of_the_debian_package_is_valid(packages, tmp_path):
    run([tool("dpkg-deb"), "-x", package(packages, ".deb"), tmp_path])
    answer = run([tool("systemd-analyze"), "verify", "--root", tmp_path, "redcar.service"])
    told = [
        line
        for line in answer.stderr.splitlines()
        # Units and users of a whole system, which this root has not.
        if "redcar" in line and "not found" not in line and "Command kill" not in line
    ]
    assert not told, told


def test_npm_installs_both_packages_offline_and_passes_signals_on(packages, processes, tmp_path):
    (tmp_path / "package.json").write_text("{}")
    tarballs = [p for p in packages if p.suffix == ".tgz"]
    installed = run(
        [tool("npm"), "install", "--no-audit", "--no-fund", "--omit=optional", *tarballs],
        cwd=tmp_path,
        env={"npm_config_cache": str(tmp_path / "cache"), "npm_config_offline": "true"},
        timeout=60,
    )
    assert installed.returncode == 0, installed.stdout + installed.stderr
    programs = tmp_path / "node_modules" / ".bin"
    says_its_name(programs / "redcar", "redcar")
    first_graph(programs / "redcar", processes)
    refused = run([programs / "redcar", "--no-such-flag"])
    assert refused.returncode == 2 and "--no-such-flag" in refused.stderr


def test_the_archive_has_the_program_manual_completions_and_licence(packages, tmp_path):
    path = package(packages, ".tar.gz")
    with tarfile.open(path) as tar:
        assert all(m.uid == m.gid == 0 for m in tar)
        tar.extractall(tmp_path, filter="fully_trusted")
    [top] = tmp_path.iterdir()
    assert f"{top.name}.tar.gz" == path.name
    says_its_name(top / "redcar", "redcar")
    says_its_name(top / "proxy", "proxy")
    for name in ("redcar.1", "completions/redcar.fish", "systemd/redcar.service", "LICENSE"):
        assert (top / name).is_file(), name


def test_an_archive_of_the_image_is_loaded_and_run_without_a_daemon(packages, tmp_path):
    store = ["--root", tmp_path / "root", "--runroot", tmp_path / "run", "--storage-driver", "vfs"]
    buildah = [tool("buildah"), *store]
    env = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(tmp_path)}
    archive = package(packages, ".oci.tar")
    container = run([*buildah, "from", f"oci-archive:{archive}"], env=env, timeout=60)
    assert container.returncode == 0, container.stderr
    name = container.stdout.strip()
    ran = [
        *buildah,
        "run",
        "--isolation",
        "chroot",
        name,
        "--",
        "/usr/local/bin/proxy",
        "--version",
    ]
    said = run(ran, env=env, timeout=60)
    assert said.stdout.startswith("proxy "), said.stderr
    config = json.loads(run([*buildah, "inspect", name], env=env).stdout)
    assert config["OCIv1"]["config"]["User"] == "65532:65532"
    run([*buildah, "rm", "--all"], env=env)


def test_building_twice_gives_the_same_bytes(packages):
    kinds = ["archive", "wheel", "deb"]
    before = {p.name: p.read_bytes() for p in packages if p.suffix in (".gz", ".whl", ".deb")}
    argv = [sys.executable, REPO / "packages" / "build", "--program", PROXY, "--only", *kinds]
    built = subprocess.run(argv, env=clean_env(), capture_output=True, timeout=180)
    assert built.returncode == 0 and len(before) == 3
    for name, data in before.items():
        path = REPO / "target" / "packages" / name
        assert path.read_bytes() == data, f"{name} differs ({os.path.getsize(path)} bytes)"


def test_cargo_binstall_is_told_the_archives_that_are_made():
    package = tomllib.loads((REPO / "Cargo.toml").read_text())["package"]
    told = package["metadata"]["binstall"]["overrides"]
    for target, arch in (
        ("x86_64-unknown-linux-gnu", "amd64"),
        ("aarch64-unknown-linux-gnu", "arm64"),
    ):
        top = f"redcar-{{ version }}-linux-{arch}"
        assert told[target]["pkg-url"].endswith(f"/v{{ version }}/{top}.tar.gz")
        assert told[target]["bin-dir"] == f"{top}/{{ bin }}"
