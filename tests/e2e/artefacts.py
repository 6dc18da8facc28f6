"""What the tests of examples/, docs/ and the image share: the catalogue and the validators."""

import json
import re
from pathlib import Path

import yaml
from helpers import REPO, run

EXAMPLES = REPO / "examples"
NODE_MODULES = REPO / "target" / "e2e-types" / "node_modules"
TOOLS = REPO / "target" / "e2e-tools"
DASHBOARD = EXAMPLES / "grafana" / "redcar.json"
FLEET = EXAMPLES / "grafana" / "fleet.json"
RULES = [EXAMPLES / "prometheus" / f"{name}.rules.yml" for name in ("recording", "alerts")]
# What Prometheus itself and node_exporter say.
FOREIGN = re.compile(r"up|ALERTS|scrape_duration_seconds|node_\w+")


def catalogue():
    """{name: kind} of docs/metrics.md, which tests/tidy.rs holds equal to the program."""
    page = (REPO / "docs" / "metrics.md").read_text()
    # Other sections have the names of other profiles.
    section = page.partition("## Every metric\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \|", section, re.MULTILINE)
    assert len(rows) > 20, "docs/metrics.md has no table of metrics any more"
    return dict(rows)


def sample_names():
    """Every name that a sample of the program can have."""
    names = set()
    for name, kind in catalogue().items():
        names.add(name)
        if kind == "histogram":
            names |= {f"{name}_{suffix}" for suffix in ("bucket", "sum", "count")}
    return names


def load(path):
    return list(yaml.safe_load_all(Path(path).read_text()))


def rules():
    """Every rule of both files."""
    return [rule for path in RULES for group in load(path)[0]["groups"] for rule in group["rules"]]


def dashboard(path=DASHBOARD):
    return json.loads(path.read_text())


def panels(path=DASHBOARD):
    """All panels but rows, those of collapsed rows too."""
    for panel in dashboard(path)["panels"]:
        yield from panel.get("panels", [])
        if panel["type"] != "row":
            yield panel


def filled(expr, window="20s", board=DASHBOARD, **values):
    """A query as Grafana sends it with everything chosen."""
    for variable in dashboard(board)["templating"]["list"]:
        name = variable["name"]
        value = (
            values.get(name)
            or variable.get("allValue")
            or variable.get("current", {}).get("value", "")
        )
        expr = expr.replace(f"${name}", value)
    expr = expr.replace("$__rate_interval", window)
    assert not re.search(r"\$[a-z_]{2,}", expr), f"a variable that nobody defines: {expr}"
    return expr


def parse(expressions):
    """[[metric names]] of PromQL expressions, by Prometheus' own grammar; fails on an error."""
    script = REPO / "tests" / "e2e" / "types" / "promql.mjs"
    answer = run(["node", script, NODE_MODULES], input_text=json.dumps(expressions))
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def validate_kubernetes(path_or_text, tmp_path, versions=("1.34.0", "1.36.0", "1.37.0")):
    """Validates strictly against several versions' schemas; a kind without a schema fails, too."""
    path = path_or_text
    if not isinstance(path_or_text, Path):
        path = tmp_path / "objects.yaml"
        path.write_text(path_or_text)
    for version in versions:
        tool = REPO / "target" / "e2e-venv" / "bin" / "kubernetes-validate"
        answer = run([tool, "--strict", "-k", version, path], timeout=60)
        said = answer.stdout + answer.stderr
        assert answer.returncode == 0 and "WARN" not in said, f"{path} {version}: {said}"


def typecheck(source, tmp_path):
    """Compiles TypeScript with the types of target/e2e-types."""
    file = tmp_path / "source.ts"
    file.write_text(source)
    link = tmp_path / "node_modules"
    if not link.is_symlink():
        link.symlink_to(NODE_MODULES)
    flags = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"]
    flags += ["--module", "esnext", "--moduleResolution", "bundler"]
    return run(["node", NODE_MODULES / "typescript" / "bin" / "tsc", *flags, file], timeout=60)
