"""The Grafana dashboard, as far as it can be checked without Grafana.

Its queries are run against a real Prometheus in test_stack.py.
"""

import json
import re
import sys

import pytest
import yaml
from artefacts import (
    EXAMPLES,
    FLEET,
    FOREIGN,
    catalogue,
    dashboard,
    filled,
    panels,
    parse,
    rules,
    sample_names,
    typecheck,
)
from helpers import HERE, run

GRAFANA = EXAMPLES / "grafana"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"reqps", "percentunit", "s", "short", "Bps", "bytes", "ops"}


def variables():
    return {v["name"]: v for v in dashboard()["templating"]["list"]}


def excepted(rule):
    exclusions = yaml.safe_load((GRAFANA / ".lint").read_text())["exclusions"]
    return {entry["panel"] for entry in exclusions.get(rule, {}).get("entries", [])}


def selectors(expr):
    """[(metric, labels)] of an expression; every selector of the dashboard has braces."""
    return re.findall(r"([a-zA-Z_:][\w:]*)\{((?:[^}\"]|\"[^\"]*\")*)\}", expr)


def queries():
    return [(p["title"], t["expr"]) for p in panels() for t in p["targets"]]


def test_the_committed_dashboard_is_what_its_generator_writes():
    written = run([sys.executable, "-B", GRAFANA / "generate.py"])
    assert written.returncode == 0, written.stderr
    assert (GRAFANA / "redcar.json").read_text() == written.stdout


def test_the_fleets_board_is_what_its_generator_writes_and_reads_recorded_series_only():
    written = run([sys.executable, "-B", GRAFANA / "generate_fleet.py"])
    assert written.returncode == 0, written.stderr
    assert FLEET.read_text() == written.stdout
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    exprs = [filled(t["expr"], board=FLEET) for p in panels(FLEET) for t in p["targets"]]
    named = {name for names in parse(exprs) for name in names}
    # One gauge for each sidecar is no cost.
    assert named - recorded == {"redcar_upstream_up"} and len(named) > 6
    names = {v["name"] for v in dashboard(FLEET)["templating"]["list"]}
    assert names == {"datasource", "cluster", "namespace", "job"}
    assert dashboard(FLEET)["uid"] != dashboard()["uid"]


def test_the_generator_refuses_a_metric_that_does_not_exist(tmp_path):
    text = (GRAFANA / "generate.py").read_text()
    broken = tmp_path / "a" / "b" / "generate.py"
    broken.parent.mkdir(parents=True)
    (tmp_path / "docs").symlink_to(GRAFANA.parents[1] / "docs")
    broken.write_text(text.replace("redcar_upstream_up{", "redcar_upstream_upp{"))
    answer = run([sys.executable, "-B", broken])
    assert answer.returncode == 1 and "unknown metric redcar_upstream_upp" in answer.stderr


def test_every_query_parses_and_names_only_metrics_that_exist():
    every = [filled(expr) for _, expr in queries()]
    every += [filled(a["target"]["expr"]) for a in dashboard()["annotations"]["list"]]
    named = {name for names in parse(every) for name in names}
    known = sample_names()
    assert [n for n in named if n not in known and not FOREIGN.fullmatch(n)] == []
    for v in variables().values():
        for name in re.findall(r"label_values\((\w+)", str(v["query"])):
            assert name in known, v["name"]


# Metrics without a panel, and why.
NO_PANEL = {
    "redcar_paths_digest": "compared by an alert, RedcarPathsDisagree; a number says nothing",
    "redcar_path_folds": "explains a digest",
    "redcar_path_conflicts": "for a question about one sidecar; its runbook leads there",
    "redcar_names_reads_total": "for a question about one sidecar; its runbook leads there",
    "process_virtual_memory_bytes": "says nothing about memory that is used",
    "process_threads": "never changes after the start",
    "redcar_routes_last_reload_success_timestamp_seconds": "for a question about one sidecar; whether it failed has a panel",
}


def test_every_metric_has_a_panel_or_a_reason():
    every = [expr for _, expr in queries()]
    every += [a["target"]["expr"] for a in dashboard()["annotations"]["list"]]
    shown = {
        name: {name, *(f"{name}_{suffix}" for suffix in ("bucket", "sum", "count"))}
        for name in catalogue()
    }
    named = {name for names in parse([filled(expr) for expr in every]) for name in names}
    assert {name for name, samples in shown.items() if not samples & named} == set(NO_PANEL)


def test_the_types_are_grafanas(tmp_path):
    """Unknown fields, wrong types and values outside an enumeration fail."""

    head = (HERE / "types" / "dashboard.head.ts").read_text()

    def check(text):
        return typecheck(head + text, tmp_path)

    text = (GRAFANA / "redcar.json").read_text()
    # Dashboard's own type takes any options; each kind of panel has one for its.
    for number, p in enumerate(panels()):
        custom = p["fieldConfig"]["defaults"]["custom"]
        for kind, value in (("Options", p["options"]), ("Custom", custom)):
            text += f'\nexport const {kind}{number}: {kind}["{p["type"]}"] = {json.dumps(value)};'
    answer = check(text)
    assert answer.returncode == 0, answer.stdout
    for right, wrong in (
        ('"palette-classic"', '"palette-classy"'),
        ('"editable"', '"editabel"'),
        ('"showHeader": true', '"showHeder": true'),
        ('"drawStyle": "line"', '"drawStyle": "lines"'),
    ):
        assert check(text.replace(right, wrong)).returncode != 0, wrong


# The rules of Grafana's dashboard-linter, whose program cannot be installed here.


def test_linter_template_datasource():
    v = variables()["datasource"]
    assert (v["type"], v["query"], v["label"]) == ("datasource", "prometheus", "Data source")


@pytest.mark.parametrize("name", ["job", "instance"])
def test_linter_template_job_and_instance(name):
    v = variables()[name]
    assert v["datasource"] == DATASOURCE and v["type"] == "query"
    assert v["label"] == name.capitalize()
    assert v["multi"] and v["includeAll"] and v["allValue"] == ".+"


def test_linter_template_label_promql():
    for v in variables().values():
        if v["type"] == "query":
            call = re.fullmatch(r"label_values\((\w+)\{([^}]*)\}, \w+\)", v["query"]["query"])
            assert call, v["query"]
            parse([filled(f"{call[1]}{{{call[2]}}}")])


def test_linter_template_on_time_change_reload():
    assert all(v["refresh"] == 2 for v in variables().values() if v["type"] == "query")


def test_linter_panel_datasource():
    for p in panels():
        assert p["datasource"] == DATASOURCE
        assert all(t["datasource"] == DATASOURCE for t in p["targets"])


def test_linter_panel_title_description():
    for p in panels():
        assert p["title"] and len(p["description"]) >= 20, p["title"]
    titles = [p["title"] for p in panels()]
    assert len(titles) == len(set(titles))


def test_linter_panel_units():
    for p in panels():
        assert p["fieldConfig"]["defaults"]["unit"] in UNITS, p["title"]


def test_linter_panel_no_targets():
    assert all(p["targets"] for p in panels())


def test_linter_target_rate_interval():
    for title, expr in queries():
        for window in re.findall(r"(?:rate|increase|irate)\([^\[]*\[([^\]]*)\]", expr):
            assert window == "$__rate_interval", title


@pytest.mark.parametrize("label", ["job", "instance"])
def test_linter_target_job_and_instance(label):
    exceptions = excepted(f"target-{label}-rule")
    seen = set()
    for title, expr in queries():
        bare = [labels for _, labels in selectors(expr) if f'{label}=~"${label}"' not in labels]
        if title in exceptions:
            seen.add(title)
        else:
            assert selectors(expr) and not bare, title
    assert seen == exceptions, "an exception that nothing needs"


def test_linter_target_counter_agg():
    for title, expr in queries():
        without = re.sub(r"(?:rate|irate|increase)\(\w+_total\{", "(", expr)
        assert not re.search(r"\w+_total\{", without), title


def test_linter_uneditable():
    assert dashboard()["editable"] is False


def test_only_panels_that_today_s_grafana_has():
    kinds = {p["type"] for p in panels()}
    assert kinds <= {"timeseries", "stat", "table", "heatmap"}
    board = dashboard()
    required = {r["id"] for r in board["__requires"] if r["type"] == "panel"}
    assert required == kinds
    # An import replaces these, file provisioning does not; so there must be none.
    assert board["__inputs"] == [] and "${DS_" not in json.dumps(board)
    assert board["id"] is None and board["uid"] == "redcar"
    assert 39 <= board["schemaVersion"] <= 42


def test_panels_lie_side_by_side():
    taken = set()
    numbers = []
    for p in dashboard()["panels"]:
        at = p["gridPos"]
        numbers += [p["id"], *(inner["id"] for inner in p.get("panels", []))]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24 and not cells & taken, p["title"]
        taken |= cells
    assert len(numbers) == len(set(numbers))


def test_the_provisioning_fits_the_scrape_interval_and_the_compose_file():
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    interval = source["datasources"][0]["jsonData"]["timeInterval"]
    stack = yaml.safe_load((EXAMPLES / "compose" / "prometheus.yml").read_text())
    assert interval == stack["global"]["scrape_interval"]
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/redcar.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    grafana = yaml.safe_load((EXAMPLES / "compose" / "compose.yaml").read_text())["services"][
        "grafana"
    ]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/redcar.json"
    assert {"source": "dashboard", "target": home} in grafana["configs"]
