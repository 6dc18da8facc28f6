"""The stack of examples/compose without Docker: real traffic, a real Prometheus, a real alert."""

import json
import math
import os
import re
import signal
import sys

import pytest
import requests
from artefacts import DASHBOARD, EXAMPLES, FLEET, dashboard, filled, panels, rules
from every_protocol import every_protocol
from helpers import PROXY, Processes, free_port, run, wait_until

pytestmark = pytest.mark.timeout(180)


class Stack:
    """What run-without-docker has started."""

    def __init__(self, processes, folder):
        script = EXAMPLES / "compose" / "run-without-docker"
        flags = ["--free-ports", "--impatient", "--folder", folder, "--proxy", PROXY]
        self.process = processes.spawn("stack", [sys.executable, "-B", script, *flags])
        said = folder / "stack.json"
        self.config = folder / "prometheus.yml"

        def started():
            assert self.process.poll() is None, self.process.err.read_text()
            return said.exists()

        wait_until(started, "the stack is up", 90)
        self.ports, self.pids = (json.loads(said.read_text())[k] for k in ("ports", "pids"))

    def get(self, name, path, **params):
        answer = requests.get(
            f"http://127.0.0.1:{self.ports[name]}{path}", params=params, timeout=10
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def query(self, expr):
        """Finite values of an instant query."""
        result = self.get("prometheus", "/api/v1/query", query=expr)["data"]["result"]
        return [v for v in (float(r["value"][1]) for r in result) if math.isfinite(v)]

    def scrape(self, sidecars):
        """Lets Prometheus scrape these {job: port}, too, from now on."""
        jobs = "".join(
            f"\n  - job_name: {job}\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
            for job, port in sidecars.items()
        )
        self.config.write_text(self.config.read_text() + jobs)
        os.kill(self.pids["prometheus"], signal.SIGHUP)

        def told():
            targets = self.get("prometheus", "/api/v1/targets")["data"]["activeTargets"]
            managers = self.get("prometheus", "/api/v1/alertmanagers")["data"]
            # An alert that nobody took is repeated after a minute only.
            found = {target["labels"]["job"] for target in targets}
            return set(sidecars) <= found and managers["activeAlertmanagers"]

        wait_until(told, "Prometheus has the new targets, and Alertmanager again", 30)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    processes = Processes(folder)
    stack = None
    try:
        stack = Stack(processes, folder / "stack")
        yield stack
    finally:
        try:
            if stack:
                stack.process.send_signal(signal.SIGINT)
                wait_until(lambda: stack.process.poll() is not None, "the stack ends", 60)
                left = [name for name, pid in stack.pids.items() if os.path.exists(f"/proc/{pid}")]
                assert left == [], "the script left processes behind"
        finally:
            processes.kill_all()


def test_every_target_is_scraped_and_every_rule_is_healthy(stack):
    wait_until(lambda: sorted(stack.query("up")) == [1, 1, 1], "three targets are up", 30)
    groups = stack.get("prometheus", "/api/v1/rules")["data"]["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]
    assert len(loaded) == len(rules())

    def evaluated():
        groups = stack.get("prometheus", "/api/v1/rules")["data"]["groups"]
        return all(r["health"] == "ok" for group in groups for r in group["rules"])

    wait_until(evaluated, "every rule was evaluated without an error", 60, 0.5)


def test_one_path_can_be_chosen(stack):
    for panel in panels():
        if panel["title"] in ("Requests", "Paths", "Latency", "Errors", "Error ratio"):
            for target in panel["targets"]:
                # As Grafana writes a chosen value into a regular expression.
                expr = filled(
                    target["expr"], path=r"/users/{id}".replace("{", r"\\{").replace("}", r"\\}")
                )
                wait_until(lambda: stack.query(expr), expr, 30, 0.5)


def test_every_variable_of_the_dashboard_has_values(stack):
    queries = {
        v["name"]: re.fullmatch(r"label_values\((.+), (\w+)\)", v["query"]["query"]).groups()
        for v in dashboard()["templating"]["list"]
        if v["type"] == "query"
    }

    def values(name):
        selector, label = queries[name]
        path = f"/api/v1/label/{label}/values"
        return stack.get("prometheus", path, **{"match[]": filled(selector)})["data"]

    # The traffic is random; the rarest path may take a while.
    paths = {"/users/{id}", "/upload", "/slow", "/fail", "/ruok"}
    wait_until(lambda: paths <= set(values("path")), "every path was scraped", 60, 0.5)
    found = {name: values(name) for name in queries}
    # There is no namespace outside of Kubernetes, and no cluster; their "all" is `.*` for that reason.
    assert found.pop("namespace") == [] and found.pop("cluster") == []
    assert found["job"] == ["shop"] and len(found["instance"]) == 1
    assert set(found) == {"job", "instance", "path"}


def test_every_recording_rule_has_a_value(stack):
    records = {rule["record"] for rule in rules() if "record" in rule}

    def missing():
        return [record for record in records if not stack.query(record)]

    wait_until(lambda: not missing(), "every record has a value", 60, 1)


def test_the_script_says_what_is_wrong_when_a_port_is_taken(stack, tmp_path):
    """The usual ports are a default; here one of them belongs to somebody else."""
    script = (EXAMPLES / "compose" / "run-without-docker").read_text()
    copy = tmp_path / "examples" / "compose" / "run"
    copy.parent.mkdir(parents=True)
    for name in ("prometheus", "gunicorn"):
        (copy.parents[1] / name).symlink_to(EXAMPLES / name)
    for name in ("prometheus.yml", "load.py", "webhook.py"):
        (copy.parent / name).symlink_to(EXAMPLES / "compose" / name)
    ports = {name: free_port() for name in stack.ports} | {"sidecar": stack.ports["sidecar"]}
    copy.write_text(re.sub(r"PORTS = \{.*?\n\}", f"PORTS = {ports!r}", script, flags=re.DOTALL))
    answer = run(
        [sys.executable, "-B", copy, "--proxy", PROXY, "--folder", tmp_path / "x"], timeout=60
    )
    assert answer.returncode == 1
    assert f"sidecar cannot have port {stack.ports['sidecar']}" in answer.stderr
    assert "--free-ports" in answer.stderr and "systemctl stop" in answer.stderr


def test_every_address_that_the_script_prints_answers(stack):
    printed = re.findall(r"http://\S+", stack.process.out.read_text())
    assert len(printed) == 5
    answers = {url: requests.get(url, timeout=10).status_code for url in printed}
    assert set(answers.values()) == {200}, answers


def test_every_panel_of_the_dashboard_has_data(stack, processes):
    """Each query as Grafana sends it, everything chosen, against what was really scraped."""
    queries = {
        (board.stem, p["title"], t["refId"]): filled(t["expr"], board=board)
        for board in (DASHBOARD, FLEET)
        for p in panels(board)
        for t in p["targets"]
        # Nothing fails for five minutes here.
        if not p["title"].startswith("Failing")
    }
    assert len(queries) > 60

    def empty():
        return [panel for panel, expr in queries.items() if not stack.query(expr)]

    with every_protocol(processes) as sidecars:
        stack.scrape(sidecars)
        wait_until(lambda: not empty() or None, "data in every panel", 60, 1)


def test_an_app_that_stops_ends_as_an_alert_in_the_webhook(stack):
    """app → sidecar → rule → Alertmanager → webhook; the same expressions, shorter waits."""
    os.kill(stack.pids["app"], signal.SIGTERM)

    def received():
        return [
            alert
            for alert in stack.get("webhook", "/")
            if (alert["alertname"], alert["status"]) == ("RedcarUpstreamDown", "firing")
        ]

    alert = wait_until(received, "the alert arrives", 60, 0.2)[0]
    assert alert["receiver"] == "page" and alert["job"] == "shop"
    assert alert["summary"].startswith("The app behind 127.0.0.1:")
    causes = 'sum by (error) (http_requests_total{status="502",error="connection_refused"})'
    wait_until(lambda: stack.query(causes), "the cause is recorded", 20)
