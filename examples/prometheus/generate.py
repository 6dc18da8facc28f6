#!/usr/bin/env python3
"""Writes recording.rules.yml, whose rules are the same for seven windows. A test holds both equal.

examples/prometheus/generate.py > examples/prometheus/recording.rules.yml
"""

HEAD = """\
# Recording rules for any number of redcar sidecars; written by generate.py.
# Names are level:metric:operations. Check with: promtool check rules recording.rules.yml
#
# `job` is the app: all its sidecars and all their workers together. `cluster` and `namespace` are
# kept where there are any. Rates are recorded, and ratios on top of them, so that a fleet can be added
# up again: sum by (cluster) (job:redcar_errors:rate5m) / sum by (cluster) (job:redcar_requests:rate5m)
#
# Other exporters use the names http_requests_total and http_request_duration_seconds, too, also in the
# same job. Only instances that have redcar_build_info are taken. A sidecar that was asked for nothing
# yet has no such series; its job has a rate of 0 all the same.
#
# An error is an answer of 5xx, or one that the app or the sidecar broke off; what the client got wrong
# or gave up (downstream_*, http_request_error) is none. "Slow" means over 0.5 s. To move it, choose
# another bound of the histogram in generate.py and in the alerts; or better, give the sidecars
# objectives of your own with --slo: the rules of level job_slo read what those say.
groups:
"""
SLOW_SECONDS = "0.5"
JOB, PATH = "cluster, namespace, job", "cluster, namespace, job, path"
SLO = "cluster, namespace, job, slo"
INSTANCE = "cluster, namespace, job, instance"
# How often the long windows are evaluated: a day's rate does not change within a minute.
WINDOWS = {"5m": None, "30m": None, "1h": None, "2h": "1m", "6h": "1m", "1d": "5m", "3d": "5m"}
NOT_CLIENT = 'error!~"downstream_.*|http_request_error"'


def ours(rates, window):
    """Only what sidecars expose, instance by instance; also what those exposed that are gone."""
    return f"({rates})\n  and on ({INSTANCE}) last_over_time(redcar_build_info[{window}])"


def requests(window):
    return ours(f"rate(http_requests_total[{window}])", window)


def errors(window):
    answered = f'rate(http_requests_total{{status=~"5..",{NOT_CLIENT}}}[{window}])'
    broken = f'rate(http_requests_total{{status!~"5..",error!="",{NOT_CLIENT}}}[{window}])'
    return ours(f"\n      {answered}\n    or\n      {broken}\n  ", window)


def durations(part, window):
    return ours(f"rate(http_request_duration_seconds_{part}[{window}])", window)


def total(by, rates):
    inner = rates.replace("\n", "\n  ")
    return f"sum by ({by}) (\n  {inner}\n)"


def rule(name, expr):
    body = "\n".join(f"          {line}" for line in expr.split("\n"))
    return f"      - record: {name}\n        expr: |\n{body}\n"


def rates(level, by, window):
    """Rates of all, of errors and of slow ones, and the shares of both."""
    all_of, failed = f"{level}:redcar_requests:rate{window}", f"{level}:redcar_errors:rate{window}"
    timed = f"{level}:redcar_timed_requests:rate{window}"
    fast = f"{level}:redcar_fast_requests:rate{window}"
    some = total(by, requests(window))
    if level == "job":
        some += "\nor\n0 * job:redcar_sidecars:count"
    yield rule(all_of, some)
    yield rule(failed, f"{total(by, errors(window))}\nor\n0 * {all_of}")
    yield rule(f"{level}:redcar_errors:ratio_rate{window}", f"{failed} / {all_of}")
    if level == "job":
        quick = f'bucket{{le="{SLOW_SECONDS}"}}'
        yield rule(timed, total(by, durations("count", window)))
        yield rule(fast, total(by, durations(quick, window)))
        yield rule(f"job:redcar_slow_requests:ratio_rate{window}", f"1 - {fast} / {timed}")


def quantiles(level, by, window):
    buckets = f"{level}_le:redcar_request_duration_seconds_bucket:rate{window}"
    yield rule(buckets, total(f"{by}, le", durations("bucket", window)))
    for q in (50, 99):
        name = f"{level}:redcar_request_duration_seconds:p{q}_rate{window}"
        yield rule(name, f"histogram_quantile(0.{q}, {buckets})")


def objectives(window):
    """Requests that count for an objective, the bad ones among them, and how fast that burns."""
    counted, bad = (
        f"job_slo:redcar_slo_requests:rate{window}",
        f"job_slo:redcar_slo_bad:rate{window}",
    )
    for name, results in ((counted, 'result!="client"'), (bad, 'result=~"slow|failed"')):
        some = ours(f"rate(http_slo_requests_total{{{results}}}[{window}])", window)
        yield rule(name, total(SLO, some))
    yield rule(f"job_slo:redcar_slo_bad:ratio_rate{window}", f"{bad} / {counted}")
    budget = "(1 - job_slo:redcar_slo_objective:max)"
    yield rule(
        f"job_slo:redcar_slo_burn:rate{window}",
        f"job_slo:redcar_slo_bad:ratio_rate{window} / {budget}",
    )


def group(name, interval, *rules):
    every = f"    interval: {interval}\n" if interval else ""
    return f"  - name: {name}\n{every}    rules:\n" + "".join(rules)


def main():
    count = f"count by ({JOB}) (redcar_build_info)"
    print(HEAD, end="")
    for window, interval in WINDOWS.items():
        rules = [*rates("job", JOB, window)]
        if window == "5m":
            rules = [
                rule("job:redcar_sidecars:count", count),
                *rules,
                *quantiles("job", JOB, window),
            ]
            print(group("redcar-job", interval, *rules), end="")
            # While a rollout changes an objective, the stricter one holds.
            objective = rule(
                "job_slo:redcar_slo_objective:max", f"max by ({SLO}) (redcar_slo_objective)"
            )
            print(group("redcar-slo", interval, objective, *objectives(window)), end="")
            by_path = [*rates("job_path", PATH, window), *quantiles("job_path", PATH, window)]
            print(group("redcar-path", interval, *by_path), end="")
        else:
            rules += objectives(window)
            print(group(f"redcar-budget-{window}", interval, *rules), end="")


if __name__ == "__main__":
    main()
