"""Protobuf, native histograms, created timestamps: three versions of Prometheus as readers."""

import json
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from helpers import (
    PROMETHEUS,
    KeepAlive,
    Processes,
    Prometheus,
    Proxy,
    free_port,
    wait_until,
)

FEATURES = {
    "2.42": ["native-histograms"],
    # With births as well it puts a plain 0 before a native histogram, and makes nothing of the two.
    "2.53": ["native-histograms"],
    "3.5": ["native-histograms", "created-timestamp-zero-ingestion"],
}

# The switch by which a version keeps the classic form beside the native one; 2.42 has none.
KEEP_CLASSIC = {
    "2.42": {},
    "2.53": {"scrape_classic_histograms": True},
    "3.5": {"always_scrape_classic_histograms": True},
}

DURATION = "http_request_duration_seconds"


class App(BaseHTTPRequestHandler):
    """Takes as many microseconds as the path says, and answers with its status."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, _, micros, status = self.path.split("/")
        time.sleep(int(micros) / 1e6)
        self.send_response(int(status))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def app():
    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


ROUTES = ["--route", "/work/{micros}/{status},/rare/{micros}/{status}"]


class Stack:
    """A sidecar with known traffic, and every Prometheus."""

    def __init__(self, processes, app):
        self.processes, self.app = processes, app
        self.port, self.metrics_port = free_port(), free_port()
        self.start()

        def read(version):
            options = KEEP_CLASSIC[version]
            return Prometheus(processes, self.metrics_port, version, FEATURES[version], **options)

        with ThreadPoolExecutor() as pool:
            births = pool.submit(
                *(Prometheus, processes, self.metrics_port, "2.53"),
                ["created-timestamp-zero-ingestion"],
            )
            self.readers = dict(zip(PROMETHEUS, pool.map(read, PROMETHEUS), strict=True))
            self.of_births = {"2.53": births.result(), "3.5": self.readers["3.5"]}

    def start(self):
        self.sidecar = Proxy(
            self.processes,
            self.app,
            *ROUTES,
            *("--histograms", "both", "--access-log", "json"),
            listen=f"127.0.0.1:{self.port}",
            metrics=f"127.0.0.1:{self.metrics_port}",
        )

    def send(self, paths, clients=16):
        def visit(share):
            client = KeepAlive(self.port)
            for path in share:
                client("GET", path)
            client.close()

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(visit, [paths[n::clients] for n in range(clients)]))

    def durations(self, route):
        """What was recorded, exactly, in seconds."""
        lines = [json.loads(line) for line in self.sidecar.access_log()]
        return sorted(line["duration_seconds"] for line in lines if line["route"] == route)


@pytest.fixture(scope="module")
def stack(app, tmp_path_factory):
    processes = Processes(tmp_path_factory.mktemp("stack"))
    stack = Stack(processes, app)
    random.seed(7)
    # Most take some milliseconds, some a hundred times as long.
    micros = [min(int(random.lognormvariate(9, 1.2)), 900_000) for _ in range(800)]
    stack.send([f"/work/{number}/200" for number in micros])
    wait_until(lambda: len(stack.durations("/work/{micros}/{status}")) == 800, "all are logged")
    for version, reader in stack.readers.items():
        query = 'sum(http_requests_total{path=~"/work/.*"})'
        wait_until(lambda r=reader: r.value(query) == 800, f"{version} has seen all")  # noqa: B023
    yield stack
    processes.kill_all()


@pytest.fixture(params=list(PROMETHEUS))
def version(request):
    return request.param


def neighbours(durations, quantile):
    """The durations beside the quantile: with few of them it may be anything between."""
    rank = quantile * len(durations)
    last = len(durations) - 1
    return durations[max(int(rank) - 1, 0)], durations[min(int(rank) + 1, last)]


BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0]
# What a busy machine makes of the longest.
BOUNDS += [2.5, 5.0, 7.5, 10.0, 30.0, 60.0]


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95, 0.99])
def test_quantiles_of_both_forms_are_those_of_the_recorded_durations(stack, version, quantile):
    durations = stack.durations("/work/{micros}/{status}")
    below, above = neighbours(durations, quantile)
    reader = stack.readers[version]
    native = reader.value(f'histogram_quantile({quantile}, sum({DURATION}{{path=~"/work/.*"}}))')
    assert below * 0.95 <= native <= above * 1.05, (below, native, above)
    if version == "2.42":
        return
    classic = reader.value(
        f'histogram_quantile({quantile}, sum by (le) ({DURATION}_bucket{{path=~"/work/.*"}}))'
    )
    low = max((bound for bound in [0, *BOUNDS] if bound < below), default=0)
    high = min(bound for bound in BOUNDS if bound >= above)
    assert low <= classic <= high, (below, classic, above)


def test_a_native_histogram_has_every_request_and_the_exact_sum(stack, version):
    reader = stack.readers[version]
    selector = '{path=~"/work/.*"}'
    # One moment for both: scrapes go on.
    counts = f"histogram_count(sum({DURATION}{selector})) - sum(http_requests_total{selector})"
    assert reader.value(counts) == 0
    total = reader.value(f"histogram_sum(sum({DURATION}{selector}))")
    durations = stack.durations("/work/{micros}/{status}")
    assert total == pytest.approx(sum(durations), abs=1e-6 * len(durations))
    # Between two bounds of the native form the share is exact, too.
    below = sum(duration <= 0.0078125 for duration in durations) / len(durations)
    share = reader.value(f"histogram_fraction(0, 0.0078125, sum({DURATION}{selector}))")
    assert share == pytest.approx(below, abs=0.002)


def test_what_every_reader_makes_of_the_other_families(stack, version):
    """Their values in protobuf are those of the text page."""
    reader, samples = stack.readers[version], stack.sidecar.samples()
    for name in ("redcar_series", "redcar_upstream_up", "redcar_paths_limit"):
        assert reader.value(name) == samples.total(name)
    assert reader.value("process_start_time_seconds") == pytest.approx(time.time(), abs=300)
    assert reader.value("redcar_build_info") == 1
    assert reader.value("histogram_count(redcar_overhead_seconds)") > 0
    assert reader.get("metadata", metric=DURATION)[DURATION][0]["type"] == "histogram"


@pytest.mark.parametrize("newer", ["2.53", "3.5"])
def test_the_first_error_of_a_path_is_an_increase_by_one(stack, newer):
    """Without its birth a counter that begins at 1 has not increased."""
    reader = stack.of_births[newer]
    path = {"2.53": "/rare/1000/500", "3.5": "/rare/1000/503"}[newer]
    status = path[-3:]
    stack.send([path], clients=1)
    errors = f'http_requests_total{{path="/rare/{{micros}}/{{status}}",status="{status}"}}'
    samples = f"{errors}[5m]"

    def rows():
        result = reader.get("query", query=samples)["result"]
        return result and len(result[0]["values"]) >= 4 and result[0]["values"]

    values = wait_until(rows, "the counter's birth and three scrapes")
    assert [value for _, value in values[:2]] == ["0", "1"], values
    # At the time of a sample nothing is added for what may have come since.
    last = values[-1][0]
    [(_, increase)] = reader.query(f"increase({samples})", at=last)
    assert increase == pytest.approx(1, abs=1e-9)
    if newer == "3.5":
        native = f'histogram_count(increase({DURATION}{{status="{status}"}}[5m]))'
        [(_, increase)] = reader.query(native, at=last)
        # Prometheus goes on to half a scrape before the first sample of a native histogram.
        assert 1 <= increase < 1.3


def test_a_restart_is_a_reset_of_both_forms(stack):
    """The last test of the stack: the sidecar begins at 0 again."""
    stack.sidecar.signal()
    stack.sidecar.wait_for_exit()
    stack.start()
    stack.send([f"/work/{number}/200" for number in range(2000, 2040)], clients=4)
    for version, reader in stack.readers.items():
        counted = 'sum(http_requests_total{path=~"/work/.*"})'
        wait_until(lambda r=reader: r.value(counted) == 40, "the new sidecar is scraped", 20)  # noqa: B023
        status = '{path=~"/work/.*",status="200"}'
        assert reader.value(f"resets(http_requests_total{status}[10m])") == 1, version
        # resets() knows no native histograms in 2.42; 3.5 counts the 0 of the birth as one more.
        if version != "2.42":
            assert reader.value(f"resets({DURATION}{status}[10m])") >= 1, version
        for increase in (
            'sum(increase(http_requests_total{path=~"/work/.*"}[10m]))',
            f'histogram_count(sum(increase({DURATION}{{path=~"/work/.*"}}[10m])))',
        ):
            # 40 of the new sidecar, and what the scrapes have seen of the 800 before.
            assert 40 <= reader.value(increase) <= 900, increase


def test_a_usual_pod_costs_a_tenth_of_the_series(app, processes, proxy):
    """30 paths and 120 rows, as a Prometheus counts what it has got."""
    names = [f"/{a}{b}" for a in "abc" for b in "abcdefghij"]
    flags = [flag for name in names for flag in ("--route", f"{name}/{{micros}}/{{status}}")]
    jobs = {}
    for form in ("native", "classic"):
        sidecar = proxy(app, *flags, "--histograms", form)
        client = KeepAlive(sidecar.port)
        for name in names:
            for method, status in (("GET", 200), ("GET", 404), ("POST", 200), ("POST", 500)):
                assert client(method, f"{name}/1/{status}")[0] == status
        client.close()
        jobs[form] = sidecar.metrics_port
    reader = Prometheus(processes, jobs, "3.5", ["native-histograms"])
    assert reader.value("min(redcar_series)") == 120
    own = 'count by (job) ({job!="",__name__!~"up|scrape_.*"})'
    stored = {labels["job"]: value for labels, value in reader.query(own)}
    assert stored["native"] <= 450 and 3300 <= stored["classic"] <= 3500, stored


def test_the_text_formats_carry_classic_buckets_whatever_the_form(app, proxy):
    sidecar = proxy(app, *ROUTES, "--histograms", "native")
    client = KeepAlive(sidecar.port)
    assert client("GET", "/work/1000/200")[0] == 200
    client.close()
    for accept in ("text/plain", "application/openmetrics-text;version=1.0.0"):
        page = sidecar.page(accept).text
        assert re.search(rf'{DURATION}_bucket{{.*,le="\+Inf"}} 1\n', page)
        assert "_created" not in page


def test_openmetrics_says_births_on_request(app, processes, proxy):
    """And a Prometheus 3 takes them for what they are."""
    sidecar = proxy(app, *ROUTES, "--openmetrics-created")
    reader = Prometheus(
        processes,
        sidecar.metrics_port,
        "3.5",
        ["created-timestamp-zero-ingestion"],
        scrape_protocols=["OpenMetricsText1.0.0"],
    )
    client = KeepAlive(sidecar.port)
    assert client("GET", "/rare/1000/500")[0] == 500
    client.close()
    samples = 'http_requests_total{status="500"}[5m]'

    def values():
        result = reader.get("query", query=samples)["result"]
        return result and len(result[0]["values"]) >= 2 and result[0]["values"]

    found = wait_until(values, "the counter's birth and a scrape")
    assert [value for _, value in found[:2]] == ["0", "1"]
    assert reader.query('{__name__=~".+_created"}') == []


@pytest.mark.parametrize("version", ["2.42", "3.5"])
def test_exemplars_lead_from_a_bucket_and_from_an_error_to_a_trace(app, processes, proxy, version):
    """In OpenMetrics to 2.42, in native histograms to 3.5."""
    features = {"2.42": [], "3.5": ["native-histograms"]}[version]
    sidecar = proxy(app, *ROUTES, "--histograms", "both")
    client = KeepAlive(sidecar.port)
    traces = {f"{n:032x}": path for n, path in enumerate(SAMPLED, 1)}
    for trace, path in traces.items():
        client("GET", path, traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    client("GET", "/work/1000/200", traceparent=f"00-{9:032x}-00f067aa0ba902b7-00")
    client.close()
    reader = Prometheus(processes, sidecar.metrics_port, version, [*features, "exemplar-storage"])

    def found(query):
        now = time.time()
        data = reader.get("query_exemplars", query=query, start=now - 60, end=now + 60)
        return {
            (exemplar["labels"]["trace_id"], series["seriesLabels"]["status"])
            for series in data
            for exemplar in series["exemplars"]
        }

    by_status = {(trace, path.rsplit("/", 1)[1]) for trace, path in traces.items()}
    name = DURATION if version == "3.5" else f"{DURATION}_bucket"
    # 3.5 keeps the native exemplars of a family's first series only.
    kept = by_status if version == "2.42" else {pair for pair in by_status if pair[1] == "200"}
    wait_until(lambda: kept <= found(name) <= by_status, "traces at their buckets")
    errors = {(trace, status) for trace, status in by_status if status == "500"}
    wait_until(lambda: found("http_requests_total") == errors, "the error's trace")


SAMPLED = ["/work/1000/200", "/work/60000/200", "/work/300000/200", "/work/2000/500"]


def test_durations_by_class_and_without_a_family(app, processes, proxy):
    flags = ["--duration-labels", "path,status_class", "--without", "http_time_to_response_seconds"]
    sidecar = proxy(app, *ROUTES, *flags)
    client = KeepAlive(sidecar.port)
    for status in (200, 201, 404, 500, 503):
        assert client("GET", f"/work/1/{status}")[0] == status
    client.close()
    samples = sidecar.samples()
    assert samples.table(f"{DURATION}_count", "path", "status_class", "status", "method") == {
        ("/work/{micros}/{status}", "2xx", "", ""): 2,
        ("/work/{micros}/{status}", "4xx", "", ""): 1,
        ("/work/{micros}/{status}", "5xx", "", ""): 2,
    }
    assert len(samples.table("http_requests_total", "status")) == 5
    assert not samples.has("http_time_to_response_seconds_count")
