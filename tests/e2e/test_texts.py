"""Every block of code in the texts, tried: commands are run, queries parsed, YAML and Python read.

What needs Docker, a cluster or root is checked by the nearest tool that is here. A command that nothing
here knows fails: it would rot.
"""

import re
import shlex
import shutil
import textwrap
import tomllib
from pathlib import Path

import pytest
import yaml
from artefacts import TOOLS, parse
from helpers import PROXY, REPO, run, tool, wait_until
from test_tls import certificate

PAGES = sorted(
    path
    for path in [*REPO.glob("*.md"), *(REPO / "docs").glob("*.md")]
    + [*(REPO / "docs" / "runbooks").glob("*.md"), *(REPO / "examples").rglob("*.md")]
    if path.name not in ("CHANGELOG.md", "ARCHITECTURE.md")
)
SAMPLE = re.compile(r"[a-z_]+(\{.*\})? \d+(\.\d+)?")
LOG = '127.0.0.1 - - [22/Nov/2026:01:02:03 +0000] "GET /users/42 HTTP/1.1" 200 5\n'


def blocks(page):
    """[[lines]] of code: between fences, or indented by four behind an empty line."""
    found, fenced, before = [], False, ""
    for line in page.read_text().split("\n"):
        indented = line.startswith("    ") and line.strip() and before != "text"
        if line.strip().startswith("```"):
            fenced = not fenced
            if fenced:
                found.append([])
        elif fenced or (indented and before == "code"):
            found[-1].append(line)
        elif indented:
            found.append([line])
        before = "code" if indented else "text" if line.strip() else ""
    return [textwrap.dedent("\n".join(block)).split("\n") for block in found if block]


def commands(block):
    """The commands of a block, without prompts, comments and what they print."""
    prompts = any(line.startswith("$ ") for line in block)
    whole = "\n".join(block).replace("\\\n", " ").split("\n")
    lines = [line[2:] for line in whole if line.startswith("$ ")] if prompts else whole
    kept = []
    for line in lines:
        line = re.sub(r"(^|\s{2,}|\s)# .*$", "", line).strip()
        if line and not SAMPLE.fullmatch(line) and line != "…":
            kept.append(line)
    return kept


class World:
    """An app, a sidecar and a folder with what the commands name."""

    def __init__(self, sidecar, folder):
        self.sidecar, self.folder = sidecar, folder
        shutil.copy(REPO / "examples" / "gunicorn" / "app.py", folder / "app.py")
        (folder / "access.log").write_text(LOG)
        for side in ("before", "after"):
            (folder / f"{side}.prom").write_text(sidecar.page().text)
        pair = certificate(folder, "localhost")
        for source, names in zip(pair, (("tls.crt", "ca.crt", "cert.pem"), ("tls.key", "key.pem"))):
            for name in names:
                shutil.copy(source, folder / name)
        self.cargo = tomllib.loads((REPO / "Cargo.toml").read_text())

    def shell(self, line, cwd=None):
        line = line.replace("localhost:7001", f"127.0.0.1:{self.sidecar.port}")
        line = line.replace("localhost:9464", f"127.0.0.1:{self.sidecar.metrics_port}")
        line = line.replace("$(pidof proxy)", str(self.sidecar.pid))
        answer = run(["bash", "-c", line], cwd=cwd or self.folder, timeout=60)
        assert answer.returncode == 0, f"{line}: {answer.stdout}{answer.stderr}"
        return answer.stdout

    def proxy(self, words):
        """Runs a sub-command; flags of running are tried by `check`, which binds and dials."""
        [first, *rest] = words or [""]
        if first == "demo":
            assert not rest
        elif first in ("paths", "check", "man", "completions", "healthcheck", "top", "diff"):
            if first in ("top", "healthcheck"):
                return
            files = [w for w in rest if not w.startswith(("-", "http"))]
            if first == "paths" and "access.log" not in files:
                return
            answer = run([PROXY, first, *rest], cwd=self.folder)
            done = answer.returncode in (0, 1) or "too few requests" in answer.stderr
            assert done and "error: unexpected" not in answer.stderr, answer.stderr
        else:
            answer = run([PROXY, "check", *words], cwd=self.folder, timeout=60)
            assert answer.returncode in (0, 1), f"{words}: {answer.stderr}"

    def command(self, line, page):
        # Variables that a command gets.
        line = re.sub(r"^([A-Z_]+=\S+ )+", "", line)
        words = shlex.split(line.split("|")[0].split("&&")[0].split(" > ")[0])
        name = words[0]
        here = page.parent
        if name in ("proxy", "redcar", "target/release/proxy"):
            return self.proxy(words[1:])
        if name in ("curl", "kill", "cat"):
            (self.folder / "routes.txt").touch()
            return self.shell(line)
        if name in ("kubectl", "helm") and "template" not in line:
            assert name != "kubectl" or words[1] == "kustomize"
            argv = [TOOLS / name, *words[1:]]
            if name == "helm":
                assert words[1] in ("install", "upgrade")
                argv[1] = "template"
            answer = run(argv, cwd=REPO, timeout=60)
            return self.succeeded(answer, line)
        if name == "promtool":
            # test_rules runs each of them.
            assert words[1] in ("test", "check") and all(
                list(REPO.glob(w)) for w in words[3:] if "/" in w
            ), line
            return None
        if name == "prometheus":
            file = next(w for w in words if w.startswith("--config.file=")).partition("=")[2]
            found = [b / file for b in (REPO, REPO / "examples/prometheus") if (b / file).exists()]
            return self.succeeded(run([tool("promtool"), "check", "config", found[0]]), line)
        if name == "docker":
            # A daemon; the files are checked by their own tests.
            assert (
                "Docker" in page.read_text() or "compose" in page.name.lower() or "docker" in line
            )
            return [self.exists(w, here) for w in words if w.endswith((".yaml", "Dockerfile"))]
        if name in ("gunicorn", "venv/bin/gunicorn"):
            config = [w for w in words if w.endswith("conf.py")]
            gunicorn = REPO / "target" / "e2e-venv" / "bin" / "gunicorn"
            if not config:
                answer = run([gunicorn, "--check-config", *words[1:]], cwd=self.folder)
                self.succeeded(answer, line)
            return None
        if name == "cargo":
            return self.of_cargo(words)
        if name in ("sudo", "pip", "npm", "apt", "cosign", "gh", "sha256sum", "python3", "export"):
            return None
        if name in ("venv/bin/pip", "target/e2e-venv/bin/python", "rm", "mkdir", "cd", "dpkg"):
            return None
        if name in ("cp", "install", "systemctl", "journalctl"):
            return None
        # A script of the repository.
        assert "/" in name, f"nothing here knows `{line}` of {page.relative_to(REPO)}"
        self.exists(name, here)
        assert (REPO / name).stat().st_mode & 0o111, f"{name} cannot be started"

    def succeeded(self, answer, line):
        assert answer.returncode == 0, f"{line}: {answer.stdout}{answer.stderr}"

    def exists(self, name, here):
        assert (REPO / name).exists() or (here / name).exists(), name

    def of_cargo(self, words):
        """Names of targets are those of Cargo.toml."""
        for flag, kind in (("--test", "test"), ("--bench", "bench"), ("--bin", "bin")):
            if flag in words:
                name = words[words.index(flag) + 1]
                assert name in [t["name"] for t in self.cargo[kind]], name


def kind_of(block):
    text = "\n".join(block)
    first = next(line for line in block if line.strip())
    if re.match(
        r"(\$ )?([A-Z_]+=\S+ )*(proxy|redcar|curl|cargo|kubectl|helm|docker|sudo|pip|npm|kill|gunicorn|prometheus"
        r"|promtool|tests/|benches/|examples/|fuzz/|packages/|target/|venv/|python3|cp|install"
        r"|systemctl|sha256sum|cosign|apt|dpkg|export|rm|# how it is started)\b",
        first,
    ):
        return "commands"
    if first.startswith("error:") or all(SAMPLE.fullmatch(line) for line in block if line != "…"):
        return "output"
    if re.search(r"^(import|from|def) |^# (app|gunicorn\.conf)\.py", text, re.M):
        return "python"
    if re.match(r"[a-z]+(\([a-z]+\))?: [a-z]", first):
        return "commit"
    if (
        re.match(r"(# \w+|[\w.-]+:|- )", first)
        and ":" in text
        and not re.search(r"[<>=]=? ?\d", text)
    ):
        return "yaml"
    if re.fullmatch(r"[\d. ]+", text.replace("\n", " ")) or first.startswith("GET /"):
        return "output"
    return "promql"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    from helpers import Gunicorn, Processes, Proxy

    folder = tmp_path_factory.mktemp("texts")
    processes = Processes(folder)
    app = Gunicorn(processes, "sync")
    sidecar = Proxy(processes, app.upstream)
    run(["curl", "-s", f"{sidecar.url}/ruok"])
    wait_until(lambda: sidecar.samples().total("http_requests_total") == 1, "a first request")
    yield World(sidecar, folder)
    processes.kill_all()


def queries(block):
    """A comment or the end of brackets divides queries; a continued line is indented or an operator."""
    found = []
    for line in block:
        if not line.strip() or line.startswith("#"):
            found.append("")
        elif found and (line.startswith((" ", "/", "and ", "or ", ")"))):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return [q.replace("JOB", "shop") for q in found if q.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPO)))
def test_every_block_of_code_works(page, world):
    for block in blocks(page):
        match kind_of(block):
            case "commands":
                for line in commands(block):
                    world.command(line, page)
            case "promql":
                parse(queries(block))
            case "yaml":
                for part in re.split(r"^(?=# \S+\.yaml)", "\n".join(block), flags=re.M):
                    if "{{" not in part:
                        yaml.safe_load(part)
            case "python":
                compile("\n".join(block), str(page), "exec")
            case "commit" | "output":
                pass


def test_the_texts_have_commands_of_every_kind():
    kinds = [kind_of(block) for page in PAGES for block in blocks(page)]
    assert {"commands", "promql", "yaml", "python", "output"} <= set(kinds) and len(kinds) > 40
    assert Path(PAGES[0]).exists()
