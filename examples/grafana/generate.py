#!/usr/bin/env python3
"""Writes redcar.json, the Grafana dashboard. A test holds the file equal to what this prints.

    examples/grafana/generate.py > examples/grafana/redcar.json

Every metric that a query names is looked up in docs/metrics.md, which the program's own tests hold
equal to what it exposes; an unknown name stops the generation.
"""

import json
import re
from pathlib import Path

METRICS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
# What Prometheus and node_exporter say, not the sidecar.
FOREIGN = ("up", "scrape_duration_seconds", "ALERTS", "node_")
RULES_FILE = Path(__file__).resolve().parents[1] / "prometheus" / "recording.rules.yml"
RECORDED = (
    set(re.findall(r"record: (\S+)", RULES_FILE.read_text())) if RULES_FILE.exists() else set()
)
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TARGET = 'cluster=~"$cluster",namespace=~"$namespace",job=~"$job",instance=~"$instance"'
PATH = TARGET + ',path=~"$path"'
# `process_*` and `http_*` have many exporters, also in the same job; keep those of a sidecar.
OURS = f" and on (cluster, namespace, job, instance) redcar_build_info{{{TARGET}}}"
# Whatever the app or the sidecar failed at; what clients got wrong or gave up is none.
NOT_CLIENT = 'error!~"downstream_.*|http_request_error"'
GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "#8e8e8e"
CLASSES = {"1xx": GREY, "2xx": GREEN, "3xx": BLUE, "4xx": YELLOW, "5xx": RED}

SECTION = METRICS_PAGE.read_text().partition("## Every metric\n")[2].partition("\n## ")[0]
META = dict(
    re.findall(
        r"^\| `(\w+)` \| (?:counter|gauge|histogram) \| [^|]+ \| ([^|]+) \|$", SECTION, re.MULTILINE
    )
)


def meaning(metric):
    """The words of the catalogue, so that the dashboard explains what the program says."""
    return META[metric]


def check(expr):
    """Fails on a metric that neither the catalogue nor Prometheus knows."""
    # A name before a selector, or alone in arithmetic; label names stand inside the braces.
    for name in re.findall(r"([a-zA-Z_:][\w:]*)\s*\{", expr):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        known = name in META or family in META or name in RECORDED
        foreign = any(name == f or (f.endswith("_") and name.startswith(f)) for f in FOREIGN)
        if not known and not foreign:
            raise SystemExit(f"unknown metric {name} in: {expr}")
    return expr


def rate(metric, labels=PATH, function="rate"):
    rates = f"{function}({metric}{{{labels}}}[$__rate_interval])"
    return f"({rates}{OURS})" if metric.startswith("http_") else rates


def errors(by):
    """Errors per second by some labels; the second half is absent most of the time."""
    answered = rate("http_requests_total", f'{PATH},{NOT_CLIENT},status=~"5.."')
    broken_off = rate("http_requests_total", f'{PATH},{NOT_CLIENT},status!~"5..",error!=""')
    return f"sum by ({by}) ({answered} or {broken_off})"


def error_ratio(by):
    requests = f"sum by ({by}) ({rate('http_requests_total')})"
    return f"({errors(by)} or 0 * {requests}) / {requests}"


def quantile(q, metric="http_request_duration_seconds", by="", labels=PATH):
    groups = ", ".join(filter(None, ["le", by]))
    return f"histogram_quantile({q}, sum by ({groups}) ({rate(metric + '_bucket', labels)}))"


class Dashboard:
    """Collects panels, left to right and top to bottom."""

    def __init__(self):
        self.panels, self.into = [], None
        self.x = self.y = self.row_height = self.ids = 0

    def place(self, width, height):
        if self.x + width > 24:
            self.x, self.y, self.row_height = 0, self.y + self.row_height, 0
        position = {"x": self.x, "y": self.y, "w": width, "h": height}
        self.x, self.row_height = self.x + width, max(self.row_height, height)
        return position

    def number(self):
        self.ids += 1
        return self.ids

    def row(self, title, collapsed=False):
        self.x, self.y, self.row_height = 0, self.y + self.row_height, 0
        row = {
            "id": self.number(),
            "type": "row",
            "title": title,
            "collapsed": collapsed,
            "gridPos": {"x": 0, "y": self.y, "w": 24, "h": 1},
            "panels": [],
        }
        self.panels.append(row)
        self.y += 1
        self.into = row["panels"] if collapsed else self.panels

    def panel(
        self,
        kind,
        title,
        description,
        targets,
        unit,
        width,
        height,
        custom=None,
        thresholds=None,
        overrides=None,
        options=None,
        **more,
    ):
        defaults = {
            "unit": unit,
            "min": 0,
            "custom": custom or {},
            "color": {"mode": "thresholds" if kind == "stat" else "palette-classic"},
            "thresholds": {"mode": "absolute", "steps": thresholds or [step(GREEN)]},
        }
        self.into.append(
            {
                "id": self.number(),
                "type": kind,
                "title": title,
                "description": description,
                "datasource": DATASOURCE,
                "gridPos": self.place(width, height),
                "targets": [target(n, *t) for n, t in enumerate(targets)],
                "fieldConfig": {"defaults": defaults, "overrides": overrides or []},
                "options": options or {},
            }
            | more
        )

    def stat(self, title, description, expr, unit, thresholds=None, width=4):
        self.panel(
            "stat",
            title,
            description,
            [(expr, title)],
            unit,
            width,
            4,
            thresholds=thresholds,
            options={
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "colorMode": "value",
                "graphMode": "area",
                "textMode": "auto",
                "justifyMode": "auto",
                "orientation": "auto",
            },
        )

    def series(
        self,
        title,
        description,
        targets,
        unit,
        width=12,
        stacked=False,
        colours=None,
        thresholds=None,
    ):
        custom = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 60 if stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if thresholds else "off"},
        }
        overrides = [
            override("byName", name, "color", {"mode": "fixed", "fixedColor": colour})
            for name, colour in (colours or {}).items()
        ]
        self.panel(
            "timeseries",
            title,
            description,
            targets,
            unit,
            width,
            8,
            custom=custom,
            thresholds=thresholds,
            overrides=overrides,
            options={
                "legend": {
                    "displayMode": "table",
                    "placement": "bottom",
                    "showLegend": True,
                    "calcs": ["mean", "lastNotNull"],
                },
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
        )

    def heatmap(self, title, description, expr, width=12):
        self.panel(
            "heatmap",
            title,
            description,
            [(expr, "{{le}}", "heatmap")],
            "s",
            width,
            8,
            options={
                "calculate": False,
                "cellGap": 1,
                "yAxis": {"unit": "s"},
                "rowsFrame": {"layout": "auto"},
                "legend": {"show": True},
                "color": {
                    "mode": "scheme",
                    "scheme": "Turbo",
                    "steps": 64,
                    "exponent": 0.5,
                    "fill": "dark-orange",
                    "reverse": False,
                },
                "tooltip": {"mode": "single", "yHistogram": False},
                "filterValues": {"le": 1e-9},
                "exemplars": {"color": "rgba(255,0,255,0.7)"},
            },
        )

    def table(self, title, description, columns, overrides, leading=("path", "method")):
        """`columns` is {heading: expression}; all of them by the labels that lead a row."""
        refs = [chr(ord("A") + n) for n in range(len(columns))]
        rename = {f"Value #{ref}": name for ref, name in zip(refs, columns)}
        order = {name: n for n, name in enumerate((*leading, *rename))}
        self.panel(
            "table",
            title,
            description,
            [(expr, "", "table") for expr in columns.values()],
            "short",
            24,
            10,
            custom={
                "align": "auto",
                "cellOptions": {"type": "auto"},
                "filterable": True,
                "inspect": False,
            },
            overrides=overrides,
            options={
                "showHeader": True,
                "cellHeight": "sm",
                "sortBy": [{"displayName": "Requests", "desc": True}],
            },
            transformations=[
                {"id": "merge", "options": {}},
                {
                    "id": "organize",
                    "options": {
                        "excludeByName": {"Time": True},
                        "indexByName": order,
                        "renameByName": rename,
                    },
                },
            ],
        )


def step(colour, value=None):
    return {"color": colour, "value": value}


def override(matcher, name, key, value):
    return {
        "matcher": {"id": matcher, "options": name},
        "properties": [{"id": key, "value": value}],
    }


def target(number, expr, legend, style="time_series"):
    # Traces as dots over the quantiles of durations.
    has_traces = style != "table" and "http_request_duration_seconds_bucket{" in expr
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "expr": check(expr),
        "legendFormat": legend,
        "format": style,
        "instant": style == "table",
        "range": style != "table",
        "editorMode": "code",
    } | ({"exemplar": True} if has_traces else {})


def variable(name, label, query, all_value):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": check(query), "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": all_value,
        "hide": 0,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }


def variables():
    cluster = 'cluster=~"$cluster"'
    namespace = f'{cluster},namespace=~"$namespace"'
    info = f'redcar_build_info{{{namespace},job=~"$job"}}'
    quantiles = ["0.5", "0.9", "0.95", "0.99"]
    return [
        {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "hide": 0,
            "options": [],
            "regex": "",
            "refresh": 1,
            "multi": False,
            "includeAll": False,
            "skipUrlSync": False,
        },
        variable("cluster", "Cluster", "label_values(redcar_build_info{}, cluster)", ".*"),
        variable(
            "namespace",
            "Namespace",
            f"label_values(redcar_build_info{{{cluster}}}, namespace)",
            ".*",
        ),
        variable("job", "Job", f"label_values(redcar_build_info{{{namespace}}}, job)", ".+"),
        variable("instance", "Instance", f"label_values({info}, instance)", ".+"),
        variable("path", "Path", f"label_values(http_requests_total{{{TARGET}}}, path)", ".+"),
        {
            "name": "quantile",
            "label": "Quantile",
            "type": "custom",
            "query": ",".join(quantiles),
            "hide": 0,
            "multi": False,
            "includeAll": False,
            "skipUrlSync": False,
            "current": {"selected": True, "text": "0.95", "value": "0.95"},
            "options": [{"selected": q == "0.95", "text": q, "value": q} for q in quantiles],
        },
    ]


def now(d):
    ratio = [step(GREEN), step(YELLOW, 0.001), step(RED, 0.01)]
    up = [step(RED), step(GREEN, 1)]
    d.row("Now")
    d.stat(
        "Requests",
        "Requests per second that ended.",
        f"sum({rate('http_requests_total')})",
        "reqps",
    )
    d.stat(
        "Errors",
        "Share of requests that the app or the sidecar failed; clients' own faults are not in it.",
        error_ratio("").replace(" by ()", ""),
        "percentunit",
        ratio,
    )
    d.stat(
        "Latency at $quantile",
        "Duration at the chosen quantile, to the last byte.",
        quantile("$quantile"),
        "s",
        [step(GREEN), step(YELLOW, 0.5), step(RED, 2)],
    )
    d.stat(
        "In flight",
        meaning("http_requests_in_flight"),
        f"sum(http_requests_in_flight{{{TARGET}}}{OURS})",
        "short",
    )
    d.stat(
        "Apps up",
        "Share of sidecars whose last attempt to connect to the app succeeded.",
        f"avg(redcar_upstream_up{{{TARGET}}})",
        "percentunit",
        up,
    )
    d.stat(
        "Sidecars up",
        "Share of the chosen targets that Prometheus can scrape.",
        f"avg(up{{{TARGET}}} and on (cluster, namespace, job, instance) "
        f"last_over_time(redcar_build_info{{{TARGET}}}[1h]))",
        "percentunit",
        up,
    )


def red(d):
    d.row("Rate, errors, duration")
    classed = f'label_replace({rate("http_requests_total")}, "class", "$1", "status", "(.).*")'
    d.series(
        "Requests by status class",
        "Requests per second. 499 is a client that left early.",
        [(f"sum by (class) ({classed})", "{{class}}xx")],
        "reqps",
        stacked=True,
        colours=CLASSES,
    )
    d.series(
        "Error ratio",
        "Share of requests that failed, by job. The line is 0.1 %, the objective of the alerts.",
        [(error_ratio("job"), "{{job}}")],
        "percentunit",
        thresholds=[step("transparent"), step(RED, 0.001)],
    )
    d.series(
        "Latency",
        "Duration of requests, to the last byte.",
        [(quantile(q), f"p{float(q) * 100:g}") for q in ("0.5", "0.9", "0.99")],
        "s",
    )
    d.heatmap(
        "Latency distribution",
        "How many requests took how long; two bands are two kinds of requests.",
        f"sum by (le) ({rate('http_request_duration_seconds_bucket', function='increase')})",
    )
    broken = f'{PATH},error!=""'
    d.series(
        "Whose fault",
        "Requests without a whole answer of the app, by cause; docs/metrics.md "
        "says for each cause who failed and what to do. A 5xx of the app itself is not here.",
        [(f"sum by (error) ({rate('http_requests_total', broken)})", "{{error}}")],
        "reqps",
    )
    d.series(
        "Bodies",
        "Body bytes per second, without heads and chunk sizes.",
        [
            (f"sum({rate('http_response_body_bytes_total')})", "responses"),
            (f"sum({rate('http_request_body_bytes_total')})", "requests"),
        ],
        "Bps",
    )


def objectives(d):
    d.row("Objectives")
    by = "job, slo"

    def some(results):
        return f"sum by ({by}) ({rate('http_slo_requests_total', f'{TARGET},result{results}')})"

    counted, bad = some('!="client"'), some('=~"slow|failed"')
    objective = f"max by ({by}) (redcar_slo_objective{{{TARGET}}})"
    burn = f"{bad} / {counted} / (1 - {objective})"
    d.table(
        "Objectives",
        "What --slo asks for, and the last minutes. A burn of 1 uses up the budget just in time.",
        {
            "Requests": counted,
            "Objective": objective,
            "Good": f"1 - {bad} / {counted}",
            "Burn": burn,
            "Latency": f"max by ({by}) (redcar_slo_latency_seconds{{{TARGET}}})",
        },
        [
            override("byName", "Requests", "unit", "reqps"),
            override("byName", "Objective", "unit", "percentunit"),
            override("byName", "Good", "unit", "percentunit"),
            override("byName", "Latency", "unit", "s"),
        ],
        leading=("job", "slo"),
    )
    d.series(
        "Budget burn",
        "How many times faster than its objective allows a budget is used up. Above the line it "
        "does not last.",
        [(burn, "{{slo}} of {{job}}")],
        "short",
        thresholds=[step("transparent"), step(RED, 1)],
    )
    slow = rate("http_slo_requests_total", f'{TARGET},result!="good"')
    d.series(
        "Not good",
        meaning("http_slo_requests_total"),
        [(f"sum by (slo, result) ({slow})", "{{slo}} {{result}}")],
        "reqps",
    )


def paths(d):
    d.row("Paths")
    by = "path, method"
    link = [
        {
            "title": "Only ${__value.raw}",
            "url": "/d/redcar?${__url_time_range}&${datasource:queryparam}&var-path=${__value.raw}",
        }
    ]
    d.table(
        "Paths",
        "The last minutes by path and method. A click on a path shows only that one.",
        {
            "Requests": f"sum by ({by}) ({rate('http_requests_total')})",
            "Errors": error_ratio(by),
            "p50": quantile("0.5", by=by),
            "p95": quantile("0.95", by=by),
            "p99": quantile("0.99", by=by),
        },
        [
            override("byName", "Requests", "unit", "reqps"),
            override("byName", "Errors", "unit", "percentunit"),
            override("byRegexp", "p\\d+", "unit", "s"),
            override("byName", "path", "links", link),
        ],
    )
    d.series(
        "Busiest paths",
        "Requests per second.",
        [(f"topk(10, sum by (path) ({rate('http_requests_total')}))", "{{path}}")],
        "reqps",
        8,
    )
    d.series(
        "Slowest paths",
        "Duration at the chosen quantile.",
        [(f"topk(10, {quantile('$quantile', by='path')})", "{{path}}")],
        "s",
        8,
    )
    d.series(
        "Errors by path",
        "Failed requests per second.",
        [
            (
                f"topk(10, {errors('path')} or 0 * sum by (path) ({rate('http_requests_total')}))",
                "{{path}}",
            )
        ],
        "reqps",
        8,
    )


def upstream(d):
    d.row("The app behind the sidecar")
    d.series(
        "Head and last byte",
        "Time to the response head against the whole duration, at the "
        "chosen quantile. A gap between them is slow clients or large answers.",
        [
            (quantile("$quantile", "http_time_to_response_seconds"), "to the head"),
            (quantile("$quantile"), "to the last byte"),
        ],
        "s",
        8,
    )
    d.series(
        "Attempts to connect",
        meaning("redcar_upstream_connects_total"),
        [(f"sum by (result) ({rate('redcar_upstream_connects_total', TARGET)})", "{{result}}")],
        "ops",
        8,
    )
    d.series(
        "Time to connect",
        meaning("redcar_upstream_connect_duration_seconds"),
        [
            (quantile("0.5", "redcar_upstream_connect_duration_seconds", labels=TARGET), "p50"),
            (quantile("0.99", "redcar_upstream_connect_duration_seconds", labels=TARGET), "p99"),
        ],
        "s",
        8,
    )
    d.series(
        "Connections to the app",
        meaning("redcar_upstream_connections"),
        [(f"sum by (state) (redcar_upstream_connections{{{TARGET}}})", "{{state}}")],
        "short",
        8,
    )
    d.series(
        "Waiting for the app",
        meaning("redcar_upstream_accept_queue_peak"),
        [
            (f"max by (job) (redcar_upstream_accept_queue_peak{{{TARGET}}})", "{{job}}, peak"),
            (f"max by (job) (redcar_upstream_accept_queue{{{TARGET}}})", "{{job}}, now"),
            (f"min by (job) (redcar_upstream_accept_queue_limit{{{TARGET}}})", "{{job}}, limit"),
        ],
        "short",
        8,
    )
    d.series(
        "Dropped before the app",
        meaning("redcar_upstream_listen_drops_total"),
        [(f"sum by (job) ({rate('redcar_upstream_listen_drops_total', TARGET)})", "{{job}}")],
        "ops",
        8,
    )
    reused = rate("redcar_upstream_requests_reused_total", TARGET)
    d.series(
        "Connections used again",
        "Share of requests on a connection to the app that had served "
        "another before. Near 0, every request pays for a new one: does the app keep them?",
        [
            (
                f"sum by (job) ({reused}) / sum by (job) ({rate('http_requests_total', TARGET)})",
                "{{job}}",
            )
        ],
        "percentunit",
        8,
    )
    d.series(
        "Sent again",
        meaning("redcar_upstream_retries_total"),
        [(f"sum by (reason) ({rate('redcar_upstream_retries_total', TARGET)})", "{{reason}}")],
        "ops",
        8,
    )


def clients(d):
    d.row("Clients and protocols")
    d.series(
        "Clients",
        meaning("redcar_downstream_connections"),
        [(f"sum by (protocol) (redcar_downstream_connections{{{TARGET}}})", "{{protocol}}")],
        "short",
        8,
    )
    d.series(
        "New clients",
        meaning("redcar_downstream_connections_accepted_total"),
        [
            (
                f"sum by (protocol) ({rate('redcar_downstream_connections_accepted_total', TARGET)})",
                "{{protocol}}",
            )
        ],
        "ops",
        8,
    )
    d.series(
        "Refused clients",
        meaning("redcar_downstream_connections_refused_total"),
        [
            (
                f"sum by (reason) ({rate('redcar_downstream_connections_refused_total', TARGET)})",
                "{{reason}}",
            )
        ],
        "ops",
        8,
    )
    d.series(
        "Buffered bytes",
        meaning("redcar_buffered_bytes"),
        [
            (f"redcar_buffered_bytes{{{TARGET}}}", "{{instance}}"),
            (f"redcar_buffered_bytes_limit{{{TARGET}}}", "limit of {{instance}}"),
        ],
        "bytes",
        8,
    )
    d.series(
        "Shed for room",
        meaning("redcar_shed_total"),
        [(f"sum by (reason) ({rate('redcar_shed_total', TARGET)})", "{{reason}}")],
        "ops",
        8,
    )
    calls = rate("http_requests_total", f'{PATH},grpc_status!=""')
    d.series(
        "gRPC calls by status",
        "Calls per second. Over HTTP/2 the HTTP status is 200 whatever "
        "happened, so these failures are not in the errors above.",
        [(f"sum by (grpc_status) ({calls})", "{{grpc_status}}")],
        "reqps",
        8,
    )
    d.series(
        "Open streams and upgrades",
        "Event streams, and connections that carry another "
        "protocol after a 101, such as WebSocket.",
        [
            (f"sum(http_streams_active{{{TARGET}}})", "event streams"),
            (f"sum(http_upgraded_connections_active{{{TARGET}}})", "upgrades"),
        ],
        "short",
        8,
    )
    d.series(
        "How long they stay open",
        "Duration of ended event streams and upgrades, at the "
        "chosen quantile. One duration for all points to a time limit on the way.",
        [
            (quantile("$quantile", "http_stream_duration_seconds"), "event streams"),
            (quantile("$quantile", "http_upgraded_connection_duration_seconds"), "upgrades"),
        ],
        "s",
        8,
    )
    d.series(
        "TLS handshakes",
        meaning("redcar_tls_handshakes_total"),
        [(f"sum by (result) ({rate('redcar_tls_handshakes_total', TARGET)})", "{{result}}")],
        "ops",
        8,
    )
    expiry = f"redcar_tls_certificate_expiry_timestamp_seconds{{{TARGET}}}"
    d.series(
        "Certificates expire in",
        "Time until the certificate in use expires. The line is a week, when the alert fires.",
        [(f"min by (job) ({expiry}) - time()", "{{job}}")],
        "s",
        8,
        thresholds=[step(RED), step("transparent", 7 * 86400)],
    )
    d.series(
        "Files in use",
        "1 while what changed last could be used: certificate and key, or the "
        "routes of --routes-file and --openapi. At 0 the older ones stay in use.",
        [
            (
                f"min by (job) (redcar_tls_last_reload_successful{{{TARGET}}})",
                "certificate of {{job}}",
            ),
            (
                f"min by (job) (redcar_routes_last_reload_successful{{{TARGET}}})",
                "routes of {{job}}",
            ),
        ],
        "short",
        8,
    )


def sidecar(d):
    d.row("The sidecar itself")
    d.series(
        "Time it adds",
        meaning("redcar_overhead_seconds"),
        [
            (quantile("0.5", "redcar_overhead_seconds", labels=TARGET), "p50"),
            (quantile("0.99", "redcar_overhead_seconds", labels=TARGET), "p99"),
        ],
        "s",
        8,
    )
    d.series(
        "CPU",
        meaning("process_cpu_seconds_total"),
        [(f"{rate('process_cpu_seconds_total', TARGET)}{OURS}", "{{instance}}")],
        "short",
        8,
    )
    d.series(
        "Memory",
        meaning("process_resident_memory_bytes"),
        [(f"process_resident_memory_bytes{{{TARGET}}}{OURS}", "{{instance}}")],
        "bytes",
        8,
    )
    shares = [
        ("redcar_series", "redcar_series_limit", "series"),
        ("redcar_paths", "redcar_paths_limit", "paths"),
        ("process_open_fds", "process_max_fds", "file descriptors"),
    ]
    clients = (
        f"max(sum without (protocol, listener) (redcar_downstream_connections{{{TARGET}}})"
        f" / redcar_downstream_connections_limit{{{TARGET}}})"
    )
    d.series(
        "Used of the limits",
        "Share of --max-series, --max-paths, the file descriptors and --max-connections.",
        [
            (f"max(({used}{{{TARGET}}} / {limit}{{{TARGET}}}){OURS})", name)
            for used, limit, name in shares
        ]
        + [(clients, "client connections")],
        "percentunit",
        8,
    )
    d.series(
        "Coarser labels",
        meaning("redcar_path_overflow_total"),
        [(f"sum by (reason) ({rate('redcar_path_overflow_total', TARGET)})", "{{reason}}")],
        "reqps",
        8,
    )
    d.series(
        "Not recorded",
        "Requests that --exclude-path or --exclude-user-agent leave out of all "
        "other figures, and log lines that could not be written, or not in time.",
        [
            (f"sum({rate('redcar_excluded_requests_total', TARGET)})", "excluded requests"),
            (f"sum({rate('redcar_access_log_dropped_total', TARGET)})", "lost access-log lines"),
            (f"sum({rate('redcar_log_dropped_total', TARGET)})", "lost lines of its own log"),
        ],
        "ops",
        8,
    )
    d.series(
        "Scrapes",
        "How long a scrape takes: rendering as the sidecar says, and the whole as Prometheus says.",
        [
            (f"max(redcar_scrape_duration_seconds{{{TARGET}}})", "rendering"),
            (f"max(scrape_duration_seconds{{{TARGET}}}{OURS})", "whole"),
        ],
        "s",
        8,
    )

    d.series(
        "Builds",
        "Sidecars by version and revision: how far a roll-out is.",
        [
            (
                f"count by (version, revision) (redcar_build_info{{{TARGET}}})",
                "{{version}} {{revision}}",
            )
        ],
        "short",
        8,
    )
    d.series(
        "Draining",
        meaning("redcar_draining"),
        [(f"sum(redcar_draining{{{TARGET}}})", "draining")],
        "short",
        8,
    )


def host(d):
    d.row("Host (node_exporter)", collapsed=True)
    d.series(
        "CPU of the host",
        "Busy share of all CPUs.",
        [
            (
                '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}'
                "[$__rate_interval]))",
                "{{instance}}",
            )
        ],
        "percentunit",
        12,
    )
    d.series(
        "Memory of the host",
        "Memory that is available without swapping.",
        [("node_memory_MemAvailable_bytes{}", "{{instance}}")],
        "bytes",
        12,
    )


def annotation(name, expr, colour, title):
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "target": {"refId": "Anno", "expr": check(expr), "interval": "15s"},
        "titleFormat": title,
    }


def dashboard():
    d = Dashboard()
    for part in (now, red, objectives, paths, upstream, clients, sidecar, host):
        part(d)
    kinds = sorted({p["type"] for row in d.panels for p in [row, *row.get("panels", [])]} - {"row"})
    base = "https://github.com/redcar/redcar/blob/v0.1.0/docs/"
    return {
        "__inputs": [],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.4.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        ]
        + [{"type": "panel", "id": kind, "name": kind, "version": ""} for kind in kinds],
        "id": None,
        "uid": "redcar",
        "title": "redcar: rate, errors, duration by path",
        "description": "Requests through redcar sidecars: rate, errors and duration by path, the "
        "app behind them and the sidecars themselves.",
        "tags": ["prometheus", "red", "redcar"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "links": [
            {
                "title": title,
                "type": "link",
                "url": base + page,
                "icon": "doc",
                "targetBlank": True,
                "asDropdown": False,
                "includeVars": False,
                "keepTime": False,
                "tags": [],
                "tooltip": "",
            }
            for title, page in (("Every metric", "metrics.md"), ("Runbooks", "runbooks"))
        ],
        "annotations": {
            "list": [
                annotation(
                    "Sidecar starts",
                    "changes(process_start_time_seconds{"
                    + TARGET
                    + "}[$__rate_interval]) > 0"
                    + OURS,
                    "blue",
                    "{{instance}} started",
                ),
                annotation(
                    "Alerts",
                    'ALERTS{alertname=~"Redcar.+",alertstate="firing",job=~"$job"}',
                    "red",
                    "{{alertname}}",
                ),
            ]
        },
        "templating": {"list": variables()},
        "panels": d.panels,
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=2))
