"""--naming otel against the semantic conventions 1.44 for HTTP server metrics, attribute by attribute.

What is asked for stands in docs/http/http-metrics.md of open-telemetry/semantic-conventions, v1.44.0.
"""

import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from helpers import Prometheus, exchange, wait_until

DURATION = "http_server_request_duration_seconds"
ACTIVE = "http_server_active_requests"

# ExplicitBucketBoundaries of http.server.request.duration.
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

# Every attribute of the duration: whether it is required, conditional, recommended or opt-in.
REQUIRED = {"http_request_method", "url_scheme"}
CONDITIONAL = {"error_type", "http_response_status_code", "http_route", "network_protocol_name"}
RECOMMENDED = {"network_protocol_version"}
OPT_IN = {"server_address", "server_port", "user_agent_synthetic_type"}


class App(BaseHTTPRequestHandler):
    """`/NNN` has that status; `/broken` ends early; `/silent` never answers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path == "/silent":
            self.server.gate.wait(20)
            self.close_connection = True
            return
        status = 200 if path == "/broken" else int(path.rsplit("/", 1)[1])
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"o" if path == "/broken" else b"ok")
        self.close_connection = path == "/broken"

    do_POST = do_BREW = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def app():
    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    server.gate = threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.gate.set()
    server.shutdown()


@pytest.fixture
def sidecar(app, proxy):
    routes = "/200,/404,/500,/users/{id},/broken,/silent"
    return proxy(app, "--naming", "otel", "--route", routes)


def rows(sidecar):
    """{attributes: count} of the duration, each with its labels in order."""
    page = sidecar.page("text/plain").text
    found = re.findall(rf"^{DURATION}_count{{(.*)}} (\d+)$", page, re.M)
    return {frozenset(re.findall(r'(\w+)="([^"]*)"', labels)): int(n) for labels, n in found}


def row(**wanted):
    """A row's attributes: those of a usual request but for what is said; None is absent."""
    usual = {
        "http_request_method": "GET",
        "url_scheme": "http",
        "http_response_status_code": "200",
        "http_route": "/200",
        "network_protocol_version": "1.1",
    }
    return frozenset((k, v) for k, v in (usual | wanted).items() if v is not None)


def one_more(sidecar, expected, send):
    """`send` makes one request more in this row, and in no other."""
    before = rows(sidecar)
    send()

    def counted():
        after = rows(sidecar)
        return sum(after.values()) > sum(before.values()) and after

    after = wait_until(counted, f"a request in {sorted(expected)}")
    new = {key: n - before.get(key, 0) for key, n in after.items() if n != before.get(key, 0)}
    assert new == {expected: 1}, (sorted(map(sorted, new)), sorted(expected))


def test_each_attribute_is_what_the_conventions_ask_for(sidecar):
    def sent(line, *fields):
        head = "\r\n".join([line, "Host: a", *fields, "Connection: close", "", ""])
        return lambda: exchange(sidecar.port, head.encode())

    # http.request.method: known ones as they are, others _OTHER.
    one_more(sidecar, row(), sent("GET /200 HTTP/1.1"))
    post = row(http_request_method="POST")
    one_more(sidecar, post, sent("POST /200 HTTP/1.1", "Content-Length: 0"))
    one_more(sidecar, row(http_request_method="_OTHER"), sent("BREW /200 HTTP/1.1"))

    # url.scheme: that of the client's own request, if a front says so.
    https = row(url_scheme="https")
    one_more(sidecar, https, sent("GET /200 HTTP/1.1", "X-Forwarded-Proto: https, http"))
    one_more(sidecar, https, sent("GET /200 HTTP/1.1", "Forwarded: for=b;proto=https"))
    one_more(sidecar, row(), sent("GET /200 HTTP/1.1", "X-Forwarded-Proto: gopher"))

    # network.protocol.version: what was spoken.
    one_more(sidecar, row(network_protocol_version="1.0"), sent("GET /200 HTTP/1.0"))

    def over_http2():
        with httpx.Client(http1=False, http2=True) as client:
            assert client.get(f"http://127.0.0.1:{sidecar.port}/200").status_code == 200

    one_more(sidecar, row(network_protocol_version="2"), over_http2)

    # http.route: the template, with the parameters as placeholders; none where there is no route.
    one_more(sidecar, row(http_route="/users/{id}"), sent("GET /users/200 HTTP/1.1"))
    nowhere = row(http_route=None, http_response_status_code="404")
    one_more(sidecar, nowhere, sent("GET /nowhere/404 HTTP/1.1"))

    # error.type: the status from 500 on; not for 4xx, also one of our own.
    failed = row(http_route="/500", http_response_status_code="500", error_type="500")
    one_more(sidecar, failed, sent("GET /500 HTTP/1.1"))
    missing = row(http_route="/404", http_response_status_code="404")
    one_more(sidecar, missing, sent("GET /404 HTTP/1.1"))
    unreadable = row(
        http_request_method="_OTHER",
        http_route=None,
        http_response_status_code="400",
        network_protocol_version=None,
    )
    one_more(sidecar, unreadable, lambda: exchange(sidecar.port, b"GET\x01 / HTTP/1.1\r\n\r\n"))
    tunnel = row(
        http_request_method="CONNECT",
        http_route=None,
        http_response_status_code="501",
        error_type="http_request_error",
    )
    one_more(sidecar, tunnel, sent("CONNECT a:1 HTTP/1.1"))
    # … and whatever kept the answer from being whole, after a 200 too.
    broken = row(http_route="/broken", error_type="http_response_incomplete")
    one_more(sidecar, broken, sent("GET /broken HTTP/1.1"))

    # http.response.status_code: if and only if one was sent.
    def leave():
        client = socket.create_connection(("127.0.0.1", sidecar.port), timeout=20)
        client.sendall(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")
        active = f'{ACTIVE}{{http_request_method="GET",url_scheme="http"}} 1\n'
        wait_until(lambda: active in sidecar.page("text/plain").text, "a request under way")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    left = row(
        http_route="/silent", http_response_status_code=None, error_type="downstream_aborted"
    )
    one_more(sidecar, left, leave)

    # All that there is: the required ones everywhere, none that clients choose.
    for key in rows(sidecar):
        names = {name for name, _ in key}
        assert names >= REQUIRED and names <= REQUIRED | CONDITIONAL | RECOMMENDED
        assert not names & OPT_IN and "network_protocol_name" not in names


def test_instruments_units_and_bounds(sidecar):
    assert exchange(sidecar.port, b"GET /200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    page = wait_until(
        lambda: (page := sidecar.page("text/plain").text).count("_bucket{http_r") and page, "a row"
    )
    # A histogram of seconds, and an UpDownCounter of requests, whose unit is left away.
    assert f"# TYPE {DURATION} histogram\n" in page
    assert f"# HELP {DURATION} Duration of HTTP server requests.\n" in page
    assert f"# TYPE {ACTIVE} gauge\n" in page
    assert f"# HELP {ACTIVE} Number of active HTTP server requests.\n" in page
    bounds = re.findall(rf'^{DURATION}_bucket{{.*le="([^"]+)"}}', page, re.M)
    assert [float(bound) for bound in bounds] == [*BOUNDS, float("inf")]
    # http.request.method and url.scheme are all that active_requests has.
    active = re.findall(rf"^{ACTIVE}{{(.*)}} (\d+)$", page, re.M)
    assert active == [('http_request_method="GET",url_scheme="http"', "0")]


def test_a_front_that_is_not_believed_says_no_scheme(app, proxy):
    sidecar = proxy(app, *("--naming", "otel", "--route", "/200", "--forwarded", "replace"))
    request = (
        b"GET /200 HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
    )
    one_more(sidecar, row(), lambda: exchange(sidecar.port, request))


def test_the_resource_is_a_series_to_join_with(app, proxy, processes):
    sidecar = proxy(
        app,
        *("--naming", "otel", "--route", "/200"),
        env={
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_RESOURCE_ATTRIBUTES": "service.version=1.2,deployment.environment.name=prod",
            "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS": "GET,BREW",
        },
    )
    brewed = b"BREW /200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    one_more(sidecar, row(http_request_method="BREW"), lambda: exchange(sidecar.port, brewed))
    reader = Prometheus(processes, sidecar.metrics_port, "3.5")
    joined = (
        f"sum by (service_name, service_version) ({DURATION}_count"
        " * on (job, instance) group_left (service_name, service_version) target_info)"
    )
    found = wait_until(lambda: reader.query(joined), "the joined series")
    assert found == [({"service_name": "shop", "service_version": "1.2"}, 1)]
    [(labels, _)] = reader.query("target_info")
    assert labels["deployment_environment_name"] == "prod"
    assert labels["telemetry_distro_name"] == "redcar"
