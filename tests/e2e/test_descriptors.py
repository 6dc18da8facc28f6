"""File descriptors run out; the accept loop lives and recovers."""

import http.client
import resource

import pytest
from helpers import Samples, connect, wait_until


@pytest.fixture
def scraper():
    """A scraper that stays connected, because nobody new gets in during the test."""
    connections = []

    def start(port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connections.append(connection)

        def scrape():
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            assert answer.status == 200
            return Samples(answer.read().decode())

        return scrape

    yield start
    for connection in connections:
        connection.close()


def test_without_file_descriptors_clients_wait_and_are_served_once_there_are_some(
    nginx, proxy, scraper
):
    sidecar = proxy(nginx.upstream)
    scrape = scraper(sidecar.metrics_port)
    refused = "redcar_downstream_connections_refused_total"
    assert scrape().total(refused, reason="accept_error") == 0
    soft, hard = resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE, (3, hard))

    client = connect(sidecar.port)  # The kernel accepts; the sidecar cannot.
    client.sendall(b"GET /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    wait_until(lambda: scrape().total(refused, reason="accept_error") >= 3, "accepting fails")
    cpu = scrape().total("process_cpu_seconds_total")
    assert sidecar.process.poll() is None
    assert scrape().requests() == {}

    resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE, (soft, hard))
    with client:
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    sidecar.wait_for_requests({("/late", "GET", "200", ""): 1})
    assert scrape().total("process_cpu_seconds_total") - cpu < 0.5, "it spun"
    warnings = [line for line in sidecar.log() if "descriptor" in line.get("message", "")]
    assert len(warnings) == 1, warnings


def test_without_a_descriptor_for_the_upstream_the_answer_is_a_clean_503(gunicorn, proxy, scraper):
    # A sync worker closes after every answer, so every request needs a new connection.
    sidecar = proxy(gunicorn("sync").upstream)
    scrape = scraper(sidecar.metrics_port)
    client = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=10)

    def status():
        client.request("GET", "/ruok")
        answer = client.getresponse()
        answer.read()
        return answer.status

    assert status() == 200
    wait_until(lambda: scrape().total("redcar_upstream_connections") == 0, "the pool is empty")
    soft, hard = resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE, (3, hard))
    assert status() == 503
    resource.prlimit(sidecar.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert status() == 200
    sidecar.wait_for_requests(
        {("/ruok", "GET", "200", ""): 2, ("/ruok", "GET", "503", "connection_limit_reached"): 1}
    )
    client.close()
