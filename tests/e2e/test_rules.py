"""Recording rules, alerts, runbooks and Alertmanager, by the tools that come with them."""

import re
import sys

import pytest
from artefacts import EXAMPLES, FOREIGN, RULES, load, parse, rules, sample_names
from helpers import REPO, run, tool

PROMETHEUS = EXAMPLES / "prometheus"
ALERTMANAGER = PROMETHEUS / "alertmanager.yml"
SEVERITIES = {"critical": "page", "warning": "ticket", "info": "nobody"}


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def test_promtool_accepts_rules_and_configuration():
    for argv in (["rules", *RULES], ["config", PROMETHEUS / "prometheus.yml"]):
        answer = run([tool("promtool"), "check", *argv])
        assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("path", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda p: p.stem)
def test_promtool_unit_tests_pass(path):
    answer = run([tool("promtool"), "test", "rules", path])
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_committed_rules_are_what_their_generator_writes():
    written = run([sys.executable, "-B", PROMETHEUS / "generate.py"])
    assert written.returncode == 0, written.stderr
    assert (PROMETHEUS / "recording.rules.yml").read_text() == written.stdout


def test_every_alert_is_tested_for_firing_and_for_silence():
    fires, silent = set(), set()
    for path in (PROMETHEUS / "tests").glob("*.yml"):
        for case in load(path)[0]["tests"]:
            for expected in case.get("alert_rule_test", []):
                (fires if expected["exp_alerts"] else silent).add(expected["alertname"])
    names = {rule["alert"] for rule in alerts()}
    assert fires == names and silent == names


def test_rules_name_only_metrics_and_rules_that_exist():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    known = sample_names() | recorded
    used = {name for names in parse([rule["expr"] for rule in rules()]) for name in names}
    assert [name for name in used if name not in known and not FOREIGN.fullmatch(name)] == []
    assert all(
        re.fullmatch(r"job(_path|_slo)?(_le)?:redcar_[a-z0-9_]+:[a-z0-9_]+", name)
        for name in recorded
    )


def test_every_alert_says_what_it_is_and_has_a_runbook():
    for rule in alerts():
        name, notes = rule["alert"], rule["annotations"]
        assert rule["labels"]["severity"] in SEVERITIES, name
        assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}, name
        path = notes["runbook_url"].partition("/blob/v0.1.0/")[2]
        assert path == f"docs/runbooks/{name}.md"
        page = (REPO / path).read_text()
        assert page.startswith(f"# {name}\n") and "## What to do" in page
    pages = {page.stem for page in (REPO / "docs" / "runbooks").glob("*.md")}
    assert pages == {rule["alert"] for rule in alerts()}, "a runbook without an alert"


def test_examples_and_pages_name_only_metrics_that_exist():
    """Whatever looks like one of our metrics, in any text that users read."""
    known = sample_names() | {rule["record"] for rule in rules() if "record" in rule}
    # Other tables there have the names of other profiles.
    tables = (REPO / "docs" / "metrics.md").read_text()
    known |= set(re.findall(r"^\| `(\w+)` \|", tables, re.MULTILINE))
    # A decision may name what was decided against.
    docs = (p for p in (REPO / "docs").rglob("*.md") if p.parent.name != "adr")
    pages = [REPO / "README.md", *docs]
    pages += [
        p
        for p in EXAMPLES.rglob("*")
        if p.is_file() and p.suffix in (".md", ".yml", ".yaml", ".tpl")
    ]
    ends = "total|seconds|bucket|sum|count|active|in_flight|bytes|fds|info|up|limit"
    pattern = re.compile(
        rf"(?<![:\w])(?:redcar_[a-z_]+|(?:http|process)_[a-z_]+_(?:{ends}))\b(?!:)"
    )
    seen = set()
    for page in pages:
        for name in pattern.findall(page.read_text()):
            seen.add(name)
            assert name in known, f"{name} in {page.relative_to(REPO)}"
    assert len(seen) > 20


def test_amtool_accepts_the_alertmanager_configuration():
    answer = run([tool("amtool"), "check-config", ALERTMANAGER])
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("severity, receiver", SEVERITIES.items())
def test_alerts_are_routed_by_severity(severity, receiver):
    argv = [tool("amtool"), "config", "routes", "test", f"--config.file={ALERTMANAGER}"]
    answer = run([*argv, f"severity={severity}", "alertname=RedcarDown", "job=shop"])
    assert answer.stdout.strip() == receiver, answer.stdout + answer.stderr


def test_inhibitions_name_alerts_that_exist():
    names = {rule["alert"] for rule in alerts()}
    config = load(ALERTMANAGER)[0]
    matchers = [m for rule in config["inhibit_rules"] for side in rule.values() for m in side]
    patterns = re.findall(r'alertname(=~|=|!=)"([^"]+)"', " ".join(matchers))
    assert patterns
    for kind, pattern in patterns:
        found = [n for n in names if re.fullmatch(pattern, n)] if kind == "=~" else [pattern]
        assert set(found) & names, pattern
        if "|" in pattern:
            assert len(found) == pattern.count("|") + 1, pattern
