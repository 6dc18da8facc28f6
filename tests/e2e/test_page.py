"""The metrics page, as its readers read it."""

import gzip
import subprocess

import pytest
import requests
from helpers import OPENMETRICS, TEXT, KeepAlive, exchange, tool
from prometheus_client import openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
from prometheus_client.parser import text_string_to_metric_families as lenient


def with_traffic(gunicorn, proxy, *flags):
    """A sidecar with something of everything on its page."""
    app = gunicorn("gthread")
    sidecar = proxy(app.upstream, *flags)
    client = KeepAlive(sidecar.port)
    for path in ("/ruok", "/users/1", "/fail", "/stream", '/a"b\\c', "/%0a%22", "/x{y}"):
        client("GET", path)
    client("POST", "/upload", b"abc")
    client("BREW", "/ruok")
    exchange(sidecar.port, b"nonsense\r\n\r\n")
    app.stop()
    assert client("GET", "/ruok")[0] == 502
    return sidecar


@pytest.mark.parametrize("naming", ["default", "flask", "otel"])
def test_promtool_has_nothing_to_say_about_the_page(gunicorn, proxy, naming):
    page = with_traffic(gunicorn, proxy, "--naming", naming).page().content
    check = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=page, capture_output=True, timeout=30
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


def test_the_openmetrics_page_passes_the_strict_parser(gunicorn, proxy):
    sidecar = with_traffic(gunicorn, proxy)
    answer = sidecar.page("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert answer.headers["Content-Type"] == OPENMETRICS
    assert openmetrics.exposition.CONTENT_TYPE_LATEST.startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    families = {family.name: family for family in strict(answer.text)}
    assert families["http_requests"].type == "counter"
    assert families["http_request_duration_seconds"].type == "histogram"
    assert "_created" not in answer.text
    samples = families["http_requests"].samples
    assert any(s.labels["path"] == "/users/{id}" and s.value == 1 for s in samples)


@pytest.mark.parametrize("naming", ["flask", "otel"])
def test_the_strict_parser_takes_the_other_names_too(gunicorn, proxy, naming):
    page = with_traffic(gunicorn, proxy, "--naming", naming).page(OPENMETRICS)
    families = {family.name: family for family in strict(page.text)}
    name = {"flask": "flask_http_request", "otel": "http_server_request"}[naming]
    samples = families[f"{name}_duration_seconds"].samples
    series = [(s.name, tuple(sorted(s.labels.items()))) for s in samples]
    assert len(series) == len(set(series)) > 20
    assert not any(family.startswith("http_request") for family in families)


def test_both_pages_say_the_same_and_write_bounds_as_floats(gunicorn, proxy):
    sidecar = with_traffic(gunicorn, proxy)

    def hot(families):
        samples = (s for f in families if f.name.startswith("http_") for s in f.samples)
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}

    text, openmetrics_page = sidecar.page(TEXT), sidecar.page(OPENMETRICS)
    assert text.headers["Content-Type"] == TEXT
    assert hot(lenient(text.text)) == hot(strict(openmetrics_page.text))
    for page in (text.text, openmetrics_page.text):
        assert 'le="1.0"' in page and 'le="0.001"' in page and 'le="+Inf"' in page
        assert 'le="1"' not in page and 'le="60"' not in page


def test_help_and_type_stand_once_per_family_and_no_series_twice(gunicorn, proxy):
    lines = with_traffic(gunicorn, proxy).page().text.splitlines()
    for word in ("HELP", "TYPE"):
        names = [line.split()[2] for line in lines if line.startswith(f"# {word} ")]
        assert len(names) == len(set(names)) > 20
    series = [line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))


def test_a_prometheus_3_gets_openmetrics_and_an_old_one_gets_text(gunicorn, proxy):
    sidecar = proxy(gunicorn("sync").upstream)
    new = (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    )
    assert sidecar.page(new).headers["Content-Type"] == OPENMETRICS
    for accept in ("", "*/*", "text/plain", "text/plain;q=1,application/openmetrics-text;q=0.5"):
        assert sidecar.page(accept).headers["Content-Type"] == TEXT


def test_a_compressed_page_is_the_page(gunicorn, proxy):
    sidecar = proxy(gunicorn("sync").upstream)
    headers = {"Accept-Encoding": "gzip"}
    answer = requests.get(f"{sidecar.metrics_url}/metrics", headers=headers, stream=True, timeout=5)
    assert answer.headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(answer.raw.read(decode_content=False)).decode()
    assert list(lenient(text))
    plain = proxy(sidecar.url.removeprefix("http://"), "--metrics-gzip", "off")
    answer = requests.get(f"{plain.metrics_url}/metrics", headers=headers, timeout=5)
    assert "Content-Encoding" not in answer.headers
