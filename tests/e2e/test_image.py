"""The image: linted, built from the static program by a builder without a daemon, and run.

The stage that compiles inside a container needs its base from a registry and is not run; its one
command, image/build-static, is what builds the program here.
"""

import json
import os
import re
import shutil
import signal

import pytest
import requests
from helpers import REPO, free_port, run, tool, wait_until

# The static build is a second full release build.
pytestmark = pytest.mark.timeout(900)
PROGRAM = "/usr/local/bin/proxy"
MAX_BYTES = 11_000_000


@pytest.fixture(scope="module")
def program():
    """target/static/proxy, as a release has it; built again only if something changed."""
    built = run([REPO / "image" / "build-static"], timeout=880)
    assert built.returncode == 0, built.stderr
    return REPO / "target" / "static" / "proxy"


class Builder:
    """buildah with everything in one folder."""

    def __init__(self, folder):
        self.folder = folder
        storage = [
            "--root",
            folder / "root",
            "--runroot",
            folder / "run",
            "--storage-driver",
            "vfs",
        ]
        self.argv = [tool("buildah"), *storage]
        self.env = {"TMPDIR": str(folder), "BUILDAH_ISOLATION": "chroot"}

    def __call__(self, *argv, timeout=120, check=True):
        answer = run([*self.argv, *argv], timeout=timeout, env=self.env)
        assert not check or answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout.strip()


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    builder = Builder(tmp_path_factory.mktemp("buildah"))
    yield builder
    builder("rm", "--all", check=False)


@pytest.fixture(scope="module")
def image(builder, program):
    """The `prebuilt` target, from a context as the release workflow has it."""
    context = builder.folder / "dist"
    (context / "amd64").mkdir(parents=True)
    shutil.copy(program, context / "amd64" / "proxy")
    flags = ["--format", "docker", "--pull-never", "--target", "prebuilt", "--tag", "redcar:test"]
    arguments = ["--build-arg", "TARGETARCH=amd64", "--build-arg", "REVISION=abc123"]
    builder("build", *flags, *arguments, "--file", REPO / "Dockerfile", context)
    return json.loads(builder("inspect", "--type", "image", "redcar:test"))


@pytest.fixture(scope="module")
def root(builder, image):
    """The root folder of a container of the image."""
    container = builder("from", "--pull-never", "redcar:test")
    mounted = builder("mount", container)
    return container, mounted


def test_the_dockerfiles_pass_their_linter():
    files = [REPO / "Dockerfile", REPO / "examples" / "gunicorn" / "Dockerfile"]
    answer = run([REPO / "target" / "e2e-venv" / "bin" / "hadolint", *files])
    assert (answer.returncode, answer.stdout) == (0, "")


def test_the_context_has_what_cargo_needs(tmp_path):
    """What .dockerignore lets through is a package that cargo understands."""
    kept = [
        line[1:]
        for line in (REPO / ".dockerignore").read_text().split("\n")
        if line.startswith("!")
    ]
    for name in kept:
        source = REPO / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    answer = run(
        ["cargo", "metadata", "--offline", "--no-deps", "--format-version", "1"], cwd=tmp_path
    )
    assert answer.returncode == 0, answer.stderr
    for source in (tmp_path / "src").rglob("*.rs"):
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
            assert (source.parent / name).resolve().exists(), f"{source.name} includes {name}"


def test_the_program_is_static(program):
    headers = run([tool("ldd"), program])
    assert "statically linked" in headers.stdout + headers.stderr


def test_the_image_says_what_it_is(image):
    config = image["Docker"]["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == [PROGRAM] and not config["Cmd"]
    assert set(config["ExposedPorts"]) == {"7001/tcp", "9464/tcp"}
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", PROGRAM, "healthcheck"]
    labels = config["Labels"]
    cargo = (REPO / "Cargo.toml").read_text()
    assert f'version = "{labels["org.opencontainers.image.version"]}"' in cargo
    assert labels["org.opencontainers.image.revision"] == "abc123"
    assert labels["org.opencontainers.image.licenses"] in cargo


def test_nothing_but_the_program_is_in_it(root, capsys):
    _, mounted = root
    found = []
    for folder, _, names in os.walk(mounted):
        found += [os.path.join(folder, name) for name in names]
    assert [path.removeprefix(mounted) for path in found] == [PROGRAM]
    size = os.path.getsize(found[0])
    with capsys.disabled():
        print(f"\nimage: one file, {size:,} bytes ({size / 2**20:.1f} MiB)")
    assert size < MAX_BYTES


def test_it_runs_as_nobody_in_particular(builder, root):
    container, _ = root
    said = builder("run", "--isolation", "chroot", container, "--", PROGRAM, "--version")
    assert re.fullmatch(r"proxy \d+\.\d+\.\d+.*", said.splitlines()[0])


class Confined:
    """Runs the image's program in the image's root, as its user."""

    def __init__(self, mounted):
        self.argv = ["chroot", "--userspec=65532:65532", mounted, PROGRAM]

    def __call__(self, *argv):
        return run([*self.argv, *argv])


def test_it_forwards_counts_and_answers_its_health_check(root, gunicorn, processes):
    _, mounted = root
    app = gunicorn("sync")
    listen, metrics = free_port(), free_port()
    flags = ["--listen", f"127.0.0.1:{listen}", "--metrics", f"127.0.0.1:{metrics}"]
    confined = Confined(mounted)
    check = ("healthcheck", "--metrics", f"127.0.0.1:{metrics}")
    assert confined(*check).returncode == 1, "nobody is there yet"
    process = processes.spawn("proxy", [*confined.argv, *flags, "--upstream", app.upstream])
    wait_until(lambda: confined(*check).returncode == 0, "the health check succeeds", 20, 0.1)
    assert requests.get(f"http://127.0.0.1:{listen}/ruok", timeout=10).text == "imok"
    page = requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=10).text
    assert 'http_requests_total{method="GET",path="/ruok",status="200"} 1' in page
    status = open(f"/proc/{process.pid}/status").read()
    assert re.search(r"^Uid:\s+65532\s+65532\s", status, re.MULTILINE)
    # Not SIGTERM, after which it would wait for the next scrape of this visitor.
    process.send_signal(signal.SIGINT)
    wait_until(lambda: process.poll() is not None, "it ends", 40)
    assert process.returncode == 0


def test_it_finds_names_without_the_plug_ins_of_a_c_library(root, gunicorn):
    """A static glibc reads /etc/hosts, which every container runtime writes."""
    _, mounted = root
    port = gunicorn("sync", workers=1).upstream.rpartition(":")[2]
    etc = os.path.join(mounted, "etc")
    os.makedirs(etc, exist_ok=True)
    hosts = os.path.join(etc, "hosts")
    with open(hosts, "w") as file:
        file.write("127.0.0.1 the-app\n")
    try:
        flags = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--upstream"]
        found = Confined(mounted)("check", *flags, f"the-app:{port}")
        unknown = Confined(mounted)("check", *flags, f"nobody-has-this-name:{port}")
    finally:
        shutil.rmtree(etc)
    assert found.returncode == 0 and "accepts connections" in found.stdout, found.stderr
    assert unknown.returncode == 1 and "did not resolve" in unknown.stderr
