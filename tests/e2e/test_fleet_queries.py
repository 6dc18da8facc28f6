"""Every query of both boards and every rule, over several pods and beside a foreign exporter of the
same names: three versions of Prometheus, and VictoriaMetrics as a second store.
"""

import math
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from artefacts import DASHBOARD, FLEET, RULES, filled, panels, rules
from helpers import KeepAlive, Processes, Proxy, wait_until
from memories import MEMORIES, Memory

pytestmark = pytest.mark.timeout(180)

# Requests a second that the foreign exporter claims: far more than the sidecars have.
FOREIGN_RATE = 1_000_000

# What nothing here makes happen: gRPC, upgrades, streams, TLS, refusals, a node's own figures.
ELSEWHERE = re.compile(
    r"grpc_status|http_streams|http_stream_|http_upgraded|redcar_tls|ALERTS|node_|"
    r"redcar_downstream_connections_refused|redcar_shed"
)


# Panels of what happens once at the start here, or never.
SELDOM = {"Whose fault", "Time to connect"}

# Labels by which the series of an answer differ.
APART = ("job", "slo", "path", "method", "instance", "error", "result", "status", "class", "le")


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class App(Quiet):
    """Answers with the status that the path ends with."""

    def do_GET(self):
        self.answer(int(self.path[-3:]))


class Foreign(Quiet):
    """What prometheus-fastapi-instrumentator and others expose: our names with other labels."""

    scrapes = 0

    def do_GET(self):
        type(self).scrapes += 1
        count = self.scrapes * FOREIGN_RATE
        labels = 'handler="/",method="GET"'
        self.answer(
            200,
            (
                "# TYPE http_requests_total counter\n"
                f'http_requests_total{{{labels},status="500"}} {count}\n'
                "# TYPE http_slo_requests_total counter\n"
                f'http_slo_requests_total{{slo="checkout",result="failed"}} {count}\n'
                "# TYPE http_request_duration_seconds histogram\n"
                f'http_request_duration_seconds_bucket{{{labels},le="0.5"}} 0\n'
                f'http_request_duration_seconds_bucket{{{labels},le="+Inf"}} {count}\n'
                f"http_request_duration_seconds_sum{{{labels}}} {count * 100}\n"
                f"http_request_duration_seconds_count{{{labels}}} {count}\n"
                "# TYPE http_requests_in_flight gauge\n"
                f"http_requests_in_flight {FOREIGN_RATE}\n"
            ).encode(),
        )


def served(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Fleet:
    """Two pods of a shop beside a foreign exporter, one of a cart, and one without app or traffic."""

    def __init__(self, processes):
        self.app, self.foreign = served(App), served(Foreign)
        upstream = f"127.0.0.1:{self.app.server_port}"
        flags = ["--slo", "name=checkout,path=/checkout/**,latency=10s,objective=90"]
        self.pods = [Proxy(processes, upstream, *flags) for _ in range(3)]
        # Bound and not listened on: nobody else gets the port.
        self.nobody = socket.socket()
        self.nobody.bind(("127.0.0.1", 0))
        self.idle = Proxy(processes, f"127.0.0.1:{self.nobody.getsockname()[1]}", *flags)
        shop, cart = self.pods[:2], self.pods[2:]
        jobs = {
            "shop": [*(pod.metrics_port for pod in shop), self.foreign.server_port],
            "cart": [pod.metrics_port for pod in cart],
            "idle": [self.idle.metrics_port],
        }
        self.stop = threading.Event()
        self.driver = threading.Thread(target=self.drive, daemon=True)
        self.driver.start()
        self.memories = {name: Memory(processes, name) for name in MEMORIES}

        def start(memory):
            memory.start(jobs, [] if "victoria" in memory.name else RULES)

        with ThreadPoolExecutor() as pool:
            list(pool.map(start, self.memories.values()))

    def drive(self):
        """One request in five fails; each pod gets as many."""
        clients = [KeepAlive(pod.port) for pod in self.pods]
        paths = ["/checkout/pay/200"] * 3 + ["/checkout/pay/500", "/cart/200"]
        while not self.stop.wait(0.02):
            for client in clients:
                for path in paths:
                    client("GET", path, traceparent=f"00-{7:032x}-00f067aa0ba902b7-01")

    def end(self):
        self.stop.set()
        self.driver.join(20)
        self.app.shutdown()
        self.foreign.shutdown()
        self.nobody.close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    processes = Processes(tmp_path_factory.mktemp("fleet"))
    fleet = None
    try:
        fleet = Fleet(processes)
        yield fleet
    finally:
        if fleet:
            fleet.end()
        processes.kill_all()


@pytest.fixture(params=list(MEMORIES))
def memory(request, fleet):
    return fleet.memories[request.param]


def queries(boards=(DASHBOARD, FLEET)):
    return {
        (board.stem, panel["title"], target["refId"]): filled(target["expr"], board=board)
        for board in boards
        for panel in panels(board)
        for target in panel["targets"]
    }


def finite(values):
    return {labels: value for labels, value in values.items() if math.isfinite(value)}


def test_every_query_of_the_boards_has_data_and_none_of_the_foreign_exporter(fleet, memory):
    # A database without rules has no recorded series.
    boards = (DASHBOARD,) if "victoria" in memory.name else (DASHBOARD, FLEET)
    expected = {
        key: expr
        for key, expr in queries(boards).items()
        if key[1] not in SELDOM and not ELSEWHERE.search(expr)
    }
    assert len(expected) > 40

    def empty():
        return [key for key, expr in expected.items() if not finite(memory.query(expr, *APART))]

    wait_until(lambda: not empty() or None, f"data in every panel; {empty()} had none", 60, 1)
    foreign = f"127.0.0.1:{fleet.foreign.server_port}"
    for key, expr in expected.items():
        found = memory.query(expr, *APART)
        assert not any(foreign in labels for labels in found), key
        # What it claims would be a million times more than what there is.
        if key[1] in ("Requests", "In flight", "Busiest paths", "Errors by path", "Not good"):
            assert all(value < FOREIGN_RATE / 100 for value in finite(found).values()), key


def test_the_shop_is_both_of_its_pods(fleet, memory):
    """A fifth of its requests fails, whatever the foreign exporter says."""
    requests = queries()["redcar", "Busiest paths", "A"].replace("topk(10, ", "(")
    if "victoria" not in memory.name:
        count = "job:redcar_sidecars:count"
        wait_until(
            lambda: memory.query(count, "job") == {("shop",): 2, ("cart",): 1, ("idle",): 1},
            "the sidecars are counted",
            30,
        )
        ratio = "job:redcar_errors:ratio_rate5m"
        share = wait_until(lambda: finite(memory.query(ratio, "job")), "a share of errors", 30)
        assert share["shop",] == pytest.approx(0.2, abs=0.03)
        # The slow share is of our histograms alone: nothing here takes half a second.
        assert memory.query("job:redcar_slow_requests:ratio_rate5m", "job")["shop",] < 0.1
        # A pod without traffic has a rate of 0, and no share.
        assert memory.query("job:redcar_requests:rate5m", "job")["idle",] == 0
        # One of four requests of the checkout is bad; one of ten may be.
        burn = wait_until(
            lambda: finite(memory.query("job_slo:redcar_slo_burn:rate5m", "job", "slo")),
            "objectives burn",
            30,
        )
        assert burn["shop", "checkout"] == pytest.approx(2.5, abs=0.4)
        assert ("idle", "checkout") not in burn
    found = wait_until(lambda: finite(memory.query(requests, "path")), "rates by path", 30)
    assert set(found) == {("/checkout/pay/{id}",), ("/cart/{id}",)}


def test_an_app_that_never_came_up_is_told_apart_from_one_without_traffic(memory):
    up = memory.query("min by (job) (redcar_upstream_up)", "job")
    assert up == {("shop",): 1, ("cart",): 1, ("idle",): 0}


def test_every_rule_is_evaluated_by_the_second_store_too(fleet):
    """Each expression as it stands, by MetricsQL."""
    store = fleet.memories["victoria-metrics-1.112"]
    for rule in rules():
        assert store.understands(rule["expr"]), rule["expr"]
    [[requests]] = [
        [
            rule["expr"]
            for rule in rules()
            if rule.get("record") == "job_path:redcar_requests:rate5m"
        ]
    ]
    found = wait_until(lambda: store.query(requests, "job", "path"), "rates", 30)
    assert {job for job, _ in found} == {"shop", "cart"}
    assert all(0 < value < FOREIGN_RATE / 100 for value in found.values())
