"""Routes from files, read again on SIGHUP, and what a log would cost."""

import gzip
import json
import os
import pty
import re
import signal
import subprocess

import pytest
import requests
from helpers import PROXY, KeepAlive, run, wait_until

OPENAPI = """openapi: 3.1.0
info: {title: app, version: "1"}
servers: [{url: "https://example.com/"}]
paths:
  /users/{user_id}:
    get: {responses: {"200": {description: a user}}}
  /orders:
    post: {responses: {"201": {description: stored}}}
"""


def labels(sidecar):
    return {path for path, *_ in sidecar.samples().requests()}


def test_templates_come_from_all_sources_and_from_the_environment(gunicorn, proxy, tmp_path):
    document, routes = tmp_path / "openapi.yaml", tmp_path / "routes.txt"
    document.write_text(OPENAPI)
    routes.write_text("# by hand\n/nothing/{what}\n")
    sidecar = proxy(
        gunicorn("sync").upstream,
        *("--openapi", document, "--route", "/ru{rest}"),
        env={"REDCAR_ROUTES_FILE": str(routes)},
    )
    client = KeepAlive(sidecar.port)
    for path in ("/users/7", "/nothing/here", "/ruok"):
        client("GET", path)
    client("POST", "/orders", b"one")
    sidecar.wait_for_requests(
        {
            ("/users/{user_id}", "GET", "200", ""): 1,
            ("/nothing/{what}", "GET", "404", ""): 1,
            ("/ru{rest}", "GET", "200", ""): 1,
            ("/orders", "POST", "201", ""): 1,
        }
    )


@pytest.mark.parametrize(
    ("flag", "text", "says"),
    [
        ("--routes-file", "/a\n/b/{c\n", ":2: `/b/{c`: a `{` is not closed"),
        ("--openapi", "openapi: 3.0.0\npaths:\n  - /a\n", ":3: "),
        ("--openapi", '{"openapi": "3.0.0",\n"paths": 7}', ":2: invalid type: integer `7`"),
        ("--openapi", "a: b\n", "no OpenAPI document"),
    ],
)
def test_a_file_that_is_wrong_ends_the_start_with_2_and_its_line(tmp_path, flag, text, says):
    file = tmp_path / "file"
    file.write_text(text)
    for command in ([], ["check"], ["paths", "-"]):
        done = run([PROXY, *command, flag, file])
        assert done.returncode == 2, done
        assert f"{file}" in done.stderr and says in done.stderr, done.stderr
    done = run([PROXY, flag, tmp_path / "missing"])
    assert done.returncode == 2 and "missing: No such file" in done.stderr, done


def test_sighup_reads_the_files_again_and_keeps_the_old_routes_if_they_are_wrong(
    gunicorn, proxy, tmp_path
):
    routes = tmp_path / "routes.txt"
    routes.write_text("/users/{name}\n")
    sidecar = proxy(gunicorn("sync").upstream, "--routes-file", routes)
    client = KeepAlive(sidecar.port)

    def told():
        return [line for line in sidecar.log() if line["message"].startswith("the routes ")]

    def reload(text, success):
        routes.write_text(text)
        said = len(told())
        sidecar.signal(signal.SIGHUP)
        wait_until(lambda: len(told()) > said, "a line in the log")
        assert sidecar.samples().total("redcar_routes_last_reload_successful") == success
        assert client("GET", "/users/7")[0] == 200
        return told()[-1]

    line = reload("/users/{user}\n", 1)
    assert line["level"] == "INFO" and line["routes"] == 1, line
    wait_until(lambda: labels(sidecar) == {"/users/{user}"}, "the new name")
    line = reload("/users/{user}\nusers\n", 0)
    assert line["level"] == "ERROR" and f"{routes}:2: " in line["error"], line
    wait_until(
        lambda: sidecar.samples().requests() == {("/users/{user}", "GET", "200", ""): 2}, "2"
    )
    reload("/users/{u}\n", 1)
    wait_until(lambda: labels(sidecar) == {"/users/{user}", "/users/{u}"}, "the third name")


@pytest.mark.parametrize("kind", ["list", "document"])
def test_a_large_number_of_templates_is_read_in_seconds(tmp_path, kind):
    """It took over a minute when each was compared with all before it."""
    paths = [f"/service{n % 3000}/resource{n}/{{id}}/part{n % 17}" for n in range(300_000)]
    file = tmp_path / "routes"
    if kind == "list":
        file.write_text("\n".join(paths))
    else:
        file.write_text(json.dumps({"openapi": "3.0.0", "paths": {path: {} for path in paths}}))
    flag = "--routes-file" if kind == "list" else "--openapi"
    answer = run([PROXY, "check", "--upstream", "127.0.0.1:1", flag, file], timeout=20)
    assert "300000 pinned" in answer.stdout, answer.stderr


def test_sighup_without_a_file_does_nothing(gunicorn, proxy):
    sidecar = proxy(gunicorn("sync").upstream)
    sidecar.signal(signal.SIGHUP)
    wait_until(
        lambda: any("nothing to read again" in line["message"] for line in sidecar.log()),
        "a line in the log",
    )
    assert KeepAlive(sidecar.port)("GET", "/ruok") == (200, b"imok")
    sidecar.signal()
    assert sidecar.wait_for_exit() == 0


def test_what_was_learned_can_be_pinned(gunicorn, proxy, tmp_path):
    app = gunicorn("sync")
    staging = proxy(app.upstream)
    client = KeepAlive(staging.port)
    for path in ("/ruok", "/users/7", "/users/8"):
        assert client("GET", path)[0] == 200
    wait_until(lambda: sum(staging.samples().requests().values()) == 3, "3 requests")
    answer = requests.get(f"{staging.metrics_url}/paths", timeout=5)
    routes = tmp_path / "routes.txt"
    routes.write_bytes(answer.content)
    production = proxy(app.upstream, "--routes-file", routes, "--paths", "pinned")
    client = KeepAlive(production.port)
    for path in ("/ruok", "/users/9", "/unknown"):
        client("GET", path)
    production.wait_for_requests(
        {
            ("/ruok", "GET", "200", ""): 1,
            ("/users/{id}", "GET", "200", ""): 1,
            ("_UNMATCHED", "GET", "404", ""): 1,
        }
    )
    assert production.samples().total("redcar_paths") == 0


@pytest.mark.parametrize("form", ["common", "combined", "json"])
def test_a_log_foretells_what_the_sidecar_shows(gunicorn, proxy, form):
    sidecar = proxy(gunicorn("sync").upstream, "--access-log", form)
    client = KeepAlive(sidecar.port)
    paths = ["/ruok", "/ruok?secret=1", "/users/7", "/users/8", "/users/5000", "/fail", "/made/up"]
    for path in paths:
        client("GET", path)
    client("POST", "/orders", b"one")
    wait_until(lambda: len(sidecar.access_log()) == len(paths) + 1, "all lines")
    log = sidecar.process.out
    done = run([PROXY, "paths", log, "--json"])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    samples = sidecar.samples()
    shown = {path: count for (path,), count in samples.table("http_requests_total", "path").items()}
    assert {path["template"]: path["requests"] for path in told["paths"]} == shown
    assert told["series"] == samples.total("redcar_series")
    assert (told["requests"], told["lines_not_understood"]) == (len(paths) + 1, 0)
    text = sidecar.page().text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    # A second worker, the process itself and the digits of numbers are all that differs.
    assert abs(told["time_series"] - len(lines)) <= 2
    assert abs(told["scrape_bytes"] - len(text)) < 0.02 * len(text)
    assert told["scrape_gzip_bytes"] < told["scrape_bytes"] / 3


def test_a_log_is_read_in_constant_memory_and_bad_lines_are_told(tmp_path):
    line = '1.2.3.4 - - [x] "GET /users/{0}/posts/{0} HTTP/1.1" 200 5\n'
    log = tmp_path / "access.log"
    with log.open("w") as out:
        out.write("x" * 50_000_000 + "\n" + "not a request\n")
        for number in range(200_000):
            out.write(line.replace("{0}", str(number + 1000)))
    done = run(["/usr/bin/env", "bash", "-c", f"ulimit -v 300000; exec {PROXY} paths {log}"], 120)
    assert done.returncode == 0 and done.stderr == "", done
    assert "2 lines not understood, the first is 1" in done.stdout, done.stdout
    assert "/users/{id}/posts/{id} " in done.stdout and "# 200000, GET 200000" in done.stdout
    # The output is a routes file.
    routes = tmp_path / "routes.txt"
    routes.write_text(done.stdout)
    done = run([PROXY, "check", "--routes-file", routes, "--upstream", "127.0.0.1:1"])
    assert "1 pinned" in done.stdout and done.returncode == 1, done


def test_progress_is_shown_on_a_terminal(tmp_path):
    log = tmp_path / "access.log"
    line = '1.2.3.4 - - [x] "GET /users/{0} HTTP/1.1" 200 5\n'
    block = "".join(line.replace("{0}", str(number)) for number in range(1000, 3000))
    with log.open("w") as out:
        for _ in range(600):
            out.write(block)
    terminal, inner = pty.openpty()
    done = subprocess.run(
        [PROXY, "paths", log],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=inner,
        timeout=60,
    )
    os.close(inner)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert done.returncode == 0 and b"# 1200000, GET 1200000" in done.stdout
    steps = re.findall(r"\r(\d+) %, (\d+) lines, \d+ MiB", shown)
    assert steps and all(0 <= int(share) <= 100 for share, _ in steps), shown
    assert shown.endswith("\r\x1b[K"), "the line is cleared at the end"


def test_excluded_requests_reach_the_app_and_are_logged_only_if_they_fail(gunicorn, proxy):
    sidecar = proxy(
        gunicorn("sync").upstream,
        *("--exclude-path", "/ruok,/missing*", "--exclude-user-agent", "kube-probe/"),
        *("--access-log", "json"),
    )
    client = KeepAlive(sidecar.port)
    assert client("GET", "/ruok?probe=1") == (200, b"imok")
    assert client("GET", "/users/7", **{"User-Agent": "kube-probe/1.29"})[0] == 200
    assert client("GET", "/missing")[0] == 404
    assert client("GET", "/users/7", **{"User-Agent": "curl/8"})[0] == 200
    samples = sidecar.wait_for_requests({("/users/{id}", "GET", "200", ""): 1})
    assert samples.total("redcar_excluded_requests_total") == 3
    wait_until(lambda: len(sidecar.access_log()) == 2, "two lines")
    routes = [json.loads(line)["route"] for line in sidecar.access_log()]
    assert routes == ["_EXCLUDED", "/users/{id}"]


def test_gzip_and_several_files_are_one_log(tmp_path):
    line = '1.2.3.4 - - [x] "GET /users/{0} HTTP/1.1" 200 5\n'
    text = "".join(line.replace("{0}", str(number)) for number in range(100, 200))
    (tmp_path / "access.log").write_text(text)
    (tmp_path / "access.log.1.gz").write_bytes(gzip.compress(text.encode()) * 2)
    files = [tmp_path / "access.log", tmp_path / "access.log.1.gz"]
    told = json.loads(run([PROXY, "paths", *files, "--json", "--pods", "300"]).stdout)
    assert [(p["template"], p["requests"]) for p in told["paths"]] == [("/users/{id}", 300)]
    assert told["fleet"]["time_series"] == 300 * told["time_series"]
    broken = tmp_path / "broken.gz"
    broken.write_bytes(files[1].read_bytes()[:60])
    done = run([PROXY, "paths", broken])
    assert done.returncode == 1 and "broken.gz" in done.stderr, done


def test_a_file_of_something_else_ends_with_the_formats_and_the_first_line():
    done = run([PROXY, "paths", PROXY])
    assert done.returncode == 1 and "combined" in done.stderr and "logfmt" in done.stderr
    assert f"{PROXY}:1: it has no " in done.stderr, done.stderr[:500]
    assert "\x00" not in done.stderr
    good = '1.2.3.4 - - [x] "GET /a HTTP/1.1" 200 5\n'
    half = run([PROXY, "paths", "-"], input_text=good + "hello\n")
    assert half.returncode == 0 and "1 lines not understood" in half.stdout
    more = run([PROXY, "paths", "-"], input_text=good + "hello\nworld\n")
    assert more.returncode == 1 and "-:2: " in more.stderr


def test_the_head_counts_only_names_that_traffic_gave(tmp_path):
    words = ("settings", "orders", "products", "search", "login", "status")
    lines = [f'1 - - [x] "GET /{word} HTTP/1.1" 200 5\n' for word in words]
    done = run([PROXY, "paths", "-", "--max-paths", "3"], input_text="".join(lines * 3))
    assert "_OTHER" in done.stdout
    assert re.search(r"^# 3 paths \(--max-paths 3\)", done.stdout, re.M), done.stdout


def test_a_template_may_be_in_the_syntax_of_a_framework(gunicorn, proxy, tmp_path):
    routes = tmp_path / "routes.txt"
    routes.write_text("/orders/<int:id>\n^fail/(?P<code>\\d+)/$\n")
    flags = ["--route", "/users/:name", "--routes-file", routes, "--paths", "pinned"]
    sidecar = proxy(gunicorn("sync").upstream, *flags)
    client = KeepAlive(sidecar.port)
    assert client("GET", "/users/7")[0] == 200
    sidecar.wait_for_requests({("/users/{name}", "GET", "200", ""): 1})
    shown = requests.get(f"{sidecar.metrics_url}/paths", timeout=5).text
    assert "/orders/{id}" in shown and "/fail/{code}/" in shown
    refused = run([PROXY, "check", "--route", "/users/*"])
    assert refused.returncode == 2 and "{id} or {*rest}" in refused.stderr
