"""Medians, ratios paired by round, and the targets, as Markdown and JSON."""

import statistics

# Workload, figure, peer (None: the figure itself), and the most that redcar may have.
TARGETS = [
    ("small", "cpu_us", "floor", 1.25),
    ("small", "cpu_us", "haproxy", 0.9),
    ("small", "cpu_us", "pingora", 0.6),
    ("small", "cpu_us", "envoy", 0.25),
    ("small", "cpu_us", "caddy", 0.15),
    ("small", "cpu_us", "traefik", 0.15),
    ("10k", "cpu_us", "haproxy", 1.0),
    ("10k", "cpu_us", "nginx", 1.0),
    ("1m", "cpu_us", "haproxy", 1.0),
    ("1m", "cpu_us", "nginx", 1.0),
    # Both have the direct p99 in them, so this compares what each adds.
    ("latency", "p99_us", "haproxy", 1.0),
    ("h2c", "cpu_us", "envoy", 0.8),
    ("grpc", "cpu_us", "envoy", 0.8),
    ("small", "rss_before_kib", None, 8 * 1024),
    ("idle", "kib_each", None, 6),
    ("1m", "rss_peak_kib", None, 64 * 1024),
    ("scrape", "cpu_ms", None, 10),
    ("scrape", "first_byte_ms", None, 5),
    ("scrape", "with_ratio", None, 1.1),
]


def median(rounds, figure):
    """The median of a figure over the rounds that have it."""
    values = [one[figure] for one in rounds if figure in one]
    return statistics.median(values) if values else None


def ratio(own, other, figure):
    """The median of redcar ÷ peer by round: what slows the machine for a while slows both."""
    pairs = [(a[figure], b[figure]) for a, b in zip(own, other) if figure in a and figure in b]
    values = [a / b for a, b in pairs if b]
    return statistics.median(values) if values else None


def cell(value, digits):
    """A number for a table; a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def table(result):
    """One workload as a Markdown table."""
    columns = result["columns"]
    lines = [
        f"### `{result['name']}`: {result['title']}",
        "",
        "| peer | " + " | ".join(c[1] for c in columns) + " | redcar ÷ it |",
        "| --- |" + " ---: |" * (len(columns) + 1),
    ]
    own = result["rounds"].get("redcar")
    for name, rounds in result["rounds"].items():
        against = None
        if own and name != "redcar":
            against = ratio(own, rounds, result["ratio"])
        cells = [cell(median(rounds, figure), digits) for figure, _, digits in columns]
        lines.append(f"| {name} | {' | '.join(cells)} | {cell(against, 2)} |")
    for name, reason in result["cannot"].items():
        lines.append(f"| {name} | cannot: {reason} |" + " |" * len(columns))
    lines += ["", f"Ratio of: {result['ratio']}. Rounds: {result['count']}.", ""]
    return "\n".join(lines)


def verdicts(results):
    """The targets that this run can judge."""
    lines = [
        "### Targets",
        "",
        "| figure of redcar | measured | target | reached |",
        "| --- | ---: | ---: | --- |",
    ]
    by_name = {result["name"]: result for result in results}
    for workload, figure, peer, most in TARGETS:
        rounds = by_name.get(workload, {}).get("rounds", {})
        own, other = rounds.get("redcar"), rounds.get(peer)
        if not own or (peer and not other):
            continue
        value = ratio(own, other, figure) if peer else median(own, figure)
        if value is not None:
            what = f"{workload} {figure}" + (f" ÷ {peer}" if peer else "")
            reached = "yes" if value <= most else "no"
            lines.append(f"| {what} | {value:,.2f} | ≤ {most:,} | {reached} |")
    flask = by_name.get("flask", {}).get("rounds", {})
    if flask.get("redcar"):
        value = ratio(flask["redcar"], flask["exporter in the app"], "per_second")
        lines.append(
            f"| flask per_second ÷ exporter in the app | {value:.2f} | ≥ 1 |"
            f" {'yes' if value >= 1 else 'no'} |"
        )
    return "\n".join(lines) if len(lines) > 4 else ""


def markdown(run):
    """The whole report."""
    head = [
        f"{run['date']}, {run['machine']}, {run['threads']} thread(s) each,"
        f" {run['seconds']} s a round.",
        "",
    ]
    peers = [f"* {name}: {text}" for name, text in run["peers"].items()]
    tables = [table(result) for result in run["results"]]
    return "\n".join([*head, *peers, "", *tables, verdicts(run["results"])])
