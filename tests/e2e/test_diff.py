"""`proxy diff`: what changed between two pages of real sidecars."""

import json
import xml.etree.ElementTree as ET

import pytest
import requests
from helpers import PROXY, KeepAlive, free_port, run, wait_until

ROUTES = ("--route", "/ruok,/users/{id},/slow,/fail")


def diff(*argv, **kwargs):
    return run([PROXY, "diff", *map(str, argv)], **kwargs)


def load(sidecar, *paths, name="http_requests_total"):
    """Asks for each path so often, and waits until all are counted."""
    before = sidecar.samples().total(name)
    client = KeepAlive(sidecar.port)
    for path, count in paths:
        for _ in range(count):
            client("GET", path)
    expected = before + sum(count for _, count in paths)
    wait_until(lambda: sidecar.samples().total(name) == expected, "all are counted")


def saved(sidecar, file):
    file.write_text(sidecar.page().text)
    return file


@pytest.fixture
def releases(gunicorn, proxy, tmp_path):
    """The pages of two sidecars: the second release has a slow path, a broken one and a new one."""
    app = gunicorn("gthread").upstream
    old, new = proxy(app, *ROUTES), proxy(app, *ROUTES)
    load(old, ("/slow?seconds=0.02", 40), ("/users/7", 40), ("/ruok", 20))
    load(new, ("/slow?seconds=0.12", 40), ("/users/7", 40), ("/fail", 20))
    return saved(old, tmp_path / "before.prom"), saved(new, tmp_path / "after.prom"), new


def by_path(document):
    return {change["path"]: change for change in document["paths"]}


def test_two_releases_are_compared_path_by_path(releases):
    before, after, _ = releases
    done = diff(before, after, "--json", "--duration", "10s")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert not document["same_process"]
    paths = by_path(document)
    assert set(paths) == {"/slow", "/users/{id}", "/ruok", "/fail"}
    assert paths["/ruok"]["after"] is None and paths["/fail"]["before"] is None
    assert paths["/fail"]["after"]["error_ratio"] == 1
    assert paths["/users/{id}"]["before"]["requests_per_second"] == 4
    slow = paths["/slow"]
    # The app waits that long; the buckets of the defaults end at 50 ms and begin at 100 ms.
    assert slow["before"]["p50"]["above"] >= 0.01 and slow["before"]["p50"]["at_most"] <= 0.05
    assert slow["after"]["p50"]["above"] >= 0.1
    assert "p50" in slow["certainly_changed"]
    for side in ("before", "after"):
        p50 = slow[side]["p50"]
        assert p50["above"] <= p50["estimate"] <= p50["at_most"]

    text = diff(before, after).stdout
    assert "GET /fail  (new)" in text and "GET /ruok  (gone)" in text
    assert "100 requests since its start" in text
    # The file is as old as its page, so there is a rate.
    assert document["all"]["before"]["requests"] == 100 and "unknown time" not in text


def test_conditions_decide_the_exit_code(releases):
    before, after, _ = releases
    for condition, code in [
        ("p50>+50%", 1),
        ("p50>1s", 0),
        ("errors>+10%", 1),
        ("errors>+30%", 0),
        ("p50<-90%", 0),
    ]:
        done = diff(before, after, "--duration", "10s", "--fail", condition)
        assert done.returncode == code, (condition, done.stdout, done.stderr)
        assert ("FAILED" in done.stdout) == bool(code)
    done = diff(before, after, "--fail", "p50>+50%", "--certain")
    assert done.returncode == 1 and "GET /slow" in done.stdout.partition("FAILED")[2]
    # 20 to 40 requests have no ten beyond their 99th percentile: that is no success.
    done = diff(before, after, "--fail", "p99>+20%")
    assert done.returncode == 2 and "too few requests" in done.stderr
    assert "not judged" in done.stdout
    assert diff(before, after, "--fail", "p99>+20%", "--min-requests", "0").returncode == 1


def test_one_sidecar_is_compared_with_itself(releases):
    _, after, sidecar = releases
    load(sidecar, ("/users/9", 30))
    address = f"127.0.0.1:{sidecar.metrics_port}"
    document = json.loads(diff(after, address, "--json").stdout)
    assert document["same_process"] and document["after"]["requests"] == 30
    paths = by_path(document)
    assert paths["/users/{id}"]["after"]["requests"] == 30
    assert paths["/slow"]["after"] is None
    # It is no scraper: nobody waits for it at the end.
    page = requests.get(f"{sidecar.metrics_url}/metrics", timeout=5).text
    piped = json.loads(diff(after, "-", "--json", input_text=page).stdout)
    assert piped["after"]["requests"] == 30 and piped["same_process"]


@pytest.mark.parametrize("naming", ["otel", "flask"])
def test_the_names_of_other_dashboards_are_read(gunicorn, proxy, tmp_path, naming):
    app = gunicorn("gthread").upstream
    count = {
        "otel": "http_server_request_duration_seconds_count",
        "flask": "flask_http_request_duration_seconds_count",
    }[naming]
    first, second = proxy(app, *ROUTES), proxy(app, *ROUTES, "--naming", naming)
    for sidecar, name in ((first, "http_requests_total"), (second, count)):
        load(sidecar, ("/users/7", 30), ("/fail", 10), name=name)
    pages = [saved(first, tmp_path / "a"), saved(second, tmp_path / "b")]
    paths = by_path(json.loads(diff(*pages, "--json").stdout))
    assert set(paths) == {"/users/{id}", "/fail"}
    for change in paths.values():
        assert change["before"]["requests"] == change["after"]["requests"]
        assert change["before"]["error_ratio"] == change["after"]["error_ratio"]
        assert change["after"]["p50"]["at_most"] is not None


def test_the_picture_is_drawn(releases, tmp_path):
    before, after, _ = releases
    picture = tmp_path / "changed.svg"
    assert diff(before, after, "--svg", picture).returncode == 0
    root = ET.parse(picture).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"GET /slow", "GET /fail", "GET /users/{id}", "all"} <= set(words)
    assert "new, errors 100%" in words


def test_what_cannot_be_read_ends_with_2_and_its_name(tmp_path):
    page = tmp_path / "page.prom"
    page.write_text("http_requests_total 1\n")
    html = tmp_path / "page.html"
    html.write_text("<html>\n")
    for argv, says in [
        ((page, tmp_path / "none"), "none"),
        ((page, html), "no page of metrics"),
        ((page, f"127.0.0.1:{free_port()}"), "127.0.0.1"),
        ((page, page, "--fail", "p95>20"), "p95>20"),
        ((page, page, "--svg", tmp_path / "no" / "folder"), "--svg"),
        ((page,), "AFTER"),
    ]:
        done = diff(*argv)
        assert done.returncode == 2 and says in done.stderr, (argv, done.stderr)
        assert "panicked" not in done.stderr
