#!/usr/bin/env python3
"""Writes fleet.json, the board over all services, on recorded series only: fast for any fleet.

examples/grafana/generate_fleet.py > examples/grafana/fleet.json
"""

import json

import generate
from generate import GREEN, RECORDED, RED, YELLOW, Dashboard, override, step, variable

TARGET = 'cluster=~"$cluster",namespace=~"$namespace",job=~"$job"'
# A link from a service to its own board, with the same choice.
SERVICE = (
    "/d/redcar?var-cluster=${__data.fields.cluster}&var-namespace=${__data.fields.namespace}"
    "&var-job=${__data.fields.job}"
)


def recorded(name):
    if name not in RECORDED:
        raise SystemExit(f"unknown recording rule {name}")
    return f"{name}{{{TARGET}}}"


REQUESTS, ERRORS = (recorded(f"job:redcar_{what}:rate5m") for what in ("requests", "errors"))
SLOW = recorded("job:redcar_slow_requests:ratio_rate5m")
P99 = recorded("job:redcar_request_duration_seconds:p99_rate5m")
RATIO = recorded("job:redcar_errors:ratio_rate5m")


def now(d):
    d.row("All services")
    ratio = [step(GREEN), step(YELLOW, 0.001), step(RED, 0.01)]
    d.stat("Requests", "Requests per second of all chosen services.", f"sum({REQUESTS})", "reqps")
    d.stat(
        "Errors",
        "Share of requests that apps or sidecars failed.",
        f"sum({ERRORS}) / sum({REQUESTS})",
        "percentunit",
        ratio,
    )
    d.stat(
        "Services with errors",
        "Services that burn their error budget: more than 0.1 % failed in five minutes.",
        f"count({RATIO} > 0.001) or vector(0)",
        "short",
        [step(GREEN), step(YELLOW, 1)],
    )
    d.stat(
        "Services",
        "Services with at least one sidecar.",
        f"count({recorded('job:redcar_sidecars:count')})",
        "short",
    )
    d.stat(
        "Sidecars",
        "Sidecars that Prometheus scrapes.",
        f"sum({recorded('job:redcar_sidecars:count')})",
        "short",
    )
    d.stat(
        "Apps down",
        "Sidecars whose last attempt to connect to their app failed.",
        f"count(redcar_upstream_up{{{TARGET}}} == 0) or vector(0)",
        "short",
        [step(GREEN), step(RED, 1)],
    )


def services(d):
    d.row("By service")
    columns = {
        "Requests": REQUESTS,
        "Errors": RATIO,
        "Slow": SLOW,
        "p99": P99,
        "Sidecars": recorded("job:redcar_sidecars:count"),
    }
    units = {"Requests": "reqps", "Errors": "percentunit", "Slow": "percentunit", "p99": "s"}
    links = [{"title": "The service", "url": SERVICE, "targetBlank": False}]
    overrides = [override("byName", name, "unit", unit) for name, unit in units.items()]
    overrides.append(override("byName", "job", "links", links))
    d.table(
        "Services",
        "Rate, share of errors, share over half a second, p99. A click on a service leads to its board.",
        columns,
        overrides,
        leading=("cluster", "namespace", "job"),
    )
    top = f"topk(10, {REQUESTS})"
    d.series("Busiest services", "Requests per second.", [(top, "{{job}}")], "reqps")
    failing = f"topk(10, {RATIO} > 0)"
    d.series(
        "Failing services", "Share of requests that failed.", [(failing, "{{job}}")], "percentunit"
    )
    d.series("Slowest services", "p99 in seconds.", [(f"topk(10, {P99})", "{{job}}")], "s")
    by_path = recorded("job_path:redcar_errors:rate5m")
    d.series(
        "Failing paths",
        "Errors per second, by service and path.",
        [(f"topk(10, {by_path} > 0)", "{{job}} {{path}}")],
        "reqps",
    )
    burn = recorded("job_slo:redcar_slo_burn:rate1h")
    d.series(
        "Objectives",
        "How many times faster than its objective allows a budget is used up, over an hour. Above "
        "the line it does not last.",
        [(f"topk(10, {burn})", "{{slo}} of {{job}}")],
        "short",
        24,
        thresholds=[step("transparent"), step(RED, 1)],
    )


def dashboard():
    d = Dashboard()
    for part in (now, services):
        part(d)
    board = generate.dashboard()
    names = {"cluster": [], "namespace": ["cluster"], "job": ["cluster", "namespace"]}

    def query(name):
        chosen = ",".join(f'{label}=~"${label}"' for label in names[name])
        return f"label_values(redcar_build_info{{{chosen}}}, {name})"

    kinds = sorted({p["type"] for p in d.panels} - {"row"})
    kept = [r for r in board["__requires"] if r["type"] != "panel"]
    return board | {
        "__requires": kept
        + [{"type": "panel", "id": kind, "name": kind, "version": ""} for kind in kinds],
        "uid": "redcar-fleet",
        "title": "redcar: all services",
        "description": "Every service behind redcar sidecars, on recorded series: rate, errors, "
        "duration. Needs recording.rules.yml.",
        "annotations": {"list": [a for a in board["annotations"]["list"] if a["name"] == "Alerts"]},
        "templating": {
            "list": [
                next(v for v in board["templating"]["list"] if v["name"] == "datasource"),
                *(
                    variable(name, name.capitalize(), query(name), ".+" if name == "job" else ".*")
                    for name in names
                ),
            ]
        },
        "panels": d.panels,
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=2))
