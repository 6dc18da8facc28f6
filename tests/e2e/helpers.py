"""Starts and watches the real components: the proxy, Gunicorn, nginx, Prometheus.

Nothing here waits for a fixed time: every wait polls for an event and has a deadline. Every
process gets a session of its own and is killed, with its children, when its test ends.
"""

import contextlib
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
PROXY = Path(os.environ.get("REDCAR_BIN", REPO / "target" / "release" / "proxy"))

TEXT = "text/plain; version=0.0.4; charset=utf-8"
SCRAPER = "Prometheus/3.5.0"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def wait_until(condition, what, timeout=10.0, interval=0.02):
    """Polls until `condition()` is true and returns its value; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what} (last: {value!r})")
        time.sleep(interval)


# Below those that the kernel gives to clients, so that nobody else takes one meanwhile. Tests that
# run side by side have a thousand each.
PORTS = itertools.cycle(range(1000))


def free_port():
    """A port that was free a moment ago, for programs that cannot say which one they took."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for number in itertools.islice(PORTS, 1000):
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", 20_000 + 1000 * worker + number))
            return s.getsockname()[1]
    raise AssertionError("no port is free")


def tool(name):
    """The path of an installed program; servers are in sbin, which not every PATH has."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if not found:
        raise AssertionError(f"{name} is not installed: run tests/install")
    return found


def clean_env(**extra):
    """The environment without anybody's REDCAR_ settings, and as if it were no pod's."""
    others = ("REDCAR_", "KUBERNETES_", "LISTEN_", "NOTIFY_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    return env | {"PYTHONDONTWRITEBYTECODE": "1"} | extra


def below(pid):
    """The processes that this one has started, and those that they have, as far as they live."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found[1:]


class Processes:
    """The processes of one test, with their output in files."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []
        self.logs = []

    def spawn(self, name, argv, env=None, stdout=None, stderr=None):
        """Starts a program; what it writes goes to files, or to the descriptors that are given."""
        number = len(self.logs)
        out = self.folder / f"{number}-{name}.stdout"
        err = self.folder / f"{number}-{name}.stderr"
        self.logs += [out, err]
        with out.open("wb") as o, err.open("wb") as e:
            process = subprocess.Popen(
                [str(a) for a in argv],
                stdin=subprocess.DEVNULL,
                stdout=o if stdout is None else stdout,
                stderr=e if stderr is None else stderr,
                env=clean_env(**(env or {})),
                start_new_session=True,
            )
        process.out, process.err = out, err
        self.running.append(process)
        return process

    def kill(self, process):
        """Kills it with all that it has started, also what took a session of its own."""
        for kill, pid in [(os.killpg, process.pid), *((os.kill, p) for p in below(process.pid))]:
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
        process.wait()

    def kill_all(self):
        for process in reversed(self.running):
            self.kill(process)

    def tails(self, lines=40):
        for path in self.logs:
            text = path.read_text(errors="replace").splitlines()
            if text:
                yield path.name, "\n".join(text[-lines:])


def run(argv, timeout=30, env=None, input_text="", **kwargs):
    """Runs a program to its end; output as text."""
    return subprocess.run(
        [str(a) for a in argv],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=clean_env(**(env or {})),
        input=input_text,
        **kwargs,
    )


class Samples:
    """A parsed metrics page."""

    def __init__(self, text):
        self.text = text
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def total(self, name, **match):
        """The sum over all series whose labels contain `match`; an absent label equals ''."""
        return sum(
            s.value
            for s in self.samples
            if s.name == name and all(s.labels.get(k, "") == v for k, v in match.items())
        )

    def has(self, name):
        return any(s.name == name for s in self.samples)

    def table(self, name, *labels):
        """{(label values…): value}, summed over the other labels."""
        table = {}
        for s in self.samples:
            if s.name == name:
                key = tuple(s.labels.get(label, "") for label in labels)
                table[key] = table.get(key, 0) + s.value
        return {key: value for key, value in table.items() if value}

    def requests(self):
        """{(path, method, status, error): count}"""
        return self.table("http_requests_total", "path", "method", "status", "error")


# The app's routes, pinned: what never got an answer that says so has a name all the same.
PINNED = ["--route", "/ruok,/users/{id},/slow,/fail,/upload,/orders,/stream"]


class Proxy:
    """A running sidecar."""

    def __init__(
        self,
        processes,
        upstream,
        *flags,
        env=None,
        log_level="info",
        listen="127.0.0.1:0",
        metrics="127.0.0.1:0",
        within=(),
    ):
        """`within` is a command that runs the sidecar, with its arguments behind its own."""
        argv = [*within, PROXY, "--metrics", metrics, "--upstream", str(upstream)]
        argv += ["--log-format", "json", "--log-level", log_level]
        argv += ["--listen", listen] if listen else []
        self.process = processes.spawn("proxy", [*argv, *flags], env=env)
        self.pid = self.process.pid
        line = wait_until(self._started, "the proxy says where it listens")
        self.port = int(line["listen"].rsplit(":", 1)[1])
        self.metrics_port = int(line["metrics"].rsplit(":", 1)[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.metrics_url = f"http://127.0.0.1:{self.metrics_port}"

    def _started(self):
        assert self.process.poll() is None, self.process.err.read_text()
        return next((line for line in self.log() if line.get("message") == "forwarding"), None)

    def log(self):
        """The lines of the program's own log; each must be JSON once it is complete."""
        text = self.process.err.read_text()
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def access_log(self):
        return self.process.out.read_bytes().decode().split("\n")[:-1]

    def page(self, accept=TEXT, **headers):
        """What a scraper gets; the shutdown may wait for one."""
        fields = {"Accept": accept, "User-Agent": SCRAPER} | headers
        answer = requests.get(f"{self.metrics_url}/metrics", headers=fields, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer

    def samples(self):
        return Samples(self.page().text)

    def in_flight(self):
        return self.samples().total("http_requests_in_flight")

    def wait_for_requests(self, expected, timeout=10.0):
        """Waits until exactly `expected` = {(path, method, status, error): count} is recorded."""
        wait_until(
            lambda: sum(self.samples().requests().values()) >= sum(expected.values()),
            f"{sum(expected.values())} requests are recorded",
            timeout,
        )
        samples = self.samples()
        assert samples.requests() == expected
        return samples

    def readyz(self):
        return requests.get(f"{self.metrics_url}/readyz", timeout=5).status_code

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait_for_exit(self, timeout=10.0):
        wait_until(lambda: self.process.poll() is not None, "the proxy exits", timeout)
        return self.process.returncode

    def rss(self, field="VmRSS"):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+) kB", status).group(1)) * 1024


class Gunicorn:
    """The Flask app on a real Gunicorn master with its workers."""

    def __init__(
        self, processes, worker_class, *flags, workers=2, bind="127.0.0.1:0", app="app:app", **env
    ):
        self.processes = processes
        self.env = env
        self.orders_file = processes.folder / "orders"
        self.orders_file.touch()
        self.argv = [
            *(sys.executable, "-B", "-m", "gunicorn", app, "--chdir", HERE),
            *("--workers", str(workers), "--worker-class", worker_class),
            *("--worker-tmp-dir", processes.folder, "--no-control-socket"),
            *(("--threads", "8") if worker_class == "gthread" else ()),
            *flags,
        ]
        self.bind = bind
        self.workers = workers
        self.start()

    def start(self):
        self.process = self.processes.spawn(
            "gunicorn",
            [*self.argv, "--bind", self.bind],
            env={"ORDERS": str(self.orders_file), "PYTHONUNBUFFERED": "1"} | self.env,
        )
        listening = r"Listening at: (\S+)"
        found = wait_until(lambda: re.search(listening, self.log()), "Gunicorn listens", 20)
        self.address = found.group(1)
        self.upstream = self.address.removeprefix("http://")
        self.bind = self.upstream
        wait_until(
            lambda: self.log().count("Booting worker") >= self.workers, "all workers boot", 20
        )
        wait_until(self._answers, "the app answers", 20)

    def _answers(self):
        assert self.process.poll() is None, self.log()
        if self.address.startswith("unix:"):
            s = socket.socket(socket.AF_UNIX)
            target = self.address.removeprefix("unix:")
        else:
            s = socket.socket()
            host, port = self.upstream.rsplit(":", 1)
            target = (host, int(port))
        with s:
            s.settimeout(5)
            s.connect(target)
            s.sendall(b"GET /ruok HTTP/1.0\r\nHost: app\r\n\r\n")
            return read_all(s).endswith(b"imok")

    def log(self):
        return self.process.err.read_text()

    def workers_pids(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in children.read_text().split()}

    def slow_workers(self):
        """The pids of the workers that began a slow request, in order."""
        return [
            int(pid)
            for pid in re.findall(r"slow begins in worker (\d+)", self.process.out.read_text())
        ]

    def orders(self):
        return self.orders_file.read_text().split()

    def reload(self):
        """HUP: the master starts new workers and lets the old ones go. Returns when all are new."""
        old = self.workers_pids()
        self.process.send_signal(signal.SIGHUP)

        def replaced():
            now = self.workers_pids()
            return len(now) == self.workers and not now & old

        return replaced

    def stop(self):
        self.process.terminate()
        wait_until(lambda: self.process.poll() is not None, "Gunicorn exits", 40)

    def kill(self):
        self.processes.kill(self.process)


class Nginx:
    """A backend that is faster than anything in front of it."""

    def __init__(self, processes, port=None):
        folder = processes.folder / "nginx"
        folder.mkdir(exist_ok=True)
        self.port = port or free_port()
        self.upstream = f"127.0.0.1:{self.port}"
        temp = "\n".join(
            f"{name}_temp_path {folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = folder / "nginx.conf"
        config.write_text(
            f"""daemon off; master_process off; worker_processes 1;
pid {folder}/pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; {temp}
  keepalive_requests 1000000000; keepalive_timeout 60s; large_client_header_buffers 4 32k;
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    location / {{ return 200 "ok\\n"; }}
    location = /its_own_count {{ stub_status; }}
  }}
}}
"""
        )
        self.process = processes.spawn("nginx", [tool("nginx"), "-c", config, "-p", folder])
        wait_until(lambda: can_connect(self.port), "nginx listens")
        self.asked = 0

    def requests(self):
        """How many requests nginx says it has served, without those for this number."""
        page = requests.get(f"http://{self.upstream}/its_own_count", timeout=10).text
        self.asked += 1
        return int(re.search(r"\n \d+ \d+ (\d+)", page).group(1)) - self.asked


# The versions of Prometheus that are tested, and where tests/install has put them.
PROMETHEUS = {
    "2.42": "prometheus",
    "2.53": REPO / "target/e2e-debian/trixie/usr/bin/prometheus",
    "3.5": REPO / "target/e2e-debian/sid/usr/bin/prometheus",
}


class Prometheus:
    """A Prometheus server that scrapes every second: one port, or several as {job: port}.

    `options` is what else a scrape configuration says: scheme, tls_config, authorization.
    `features` are those that have to be asked for.
    """

    def __init__(self, processes, targets, version="2.42", features=(), **options):
        targets = targets if isinstance(targets, dict) else {"redcar": targets}
        self.port = free_port()
        folder = processes.folder / f"prometheus-{self.port}"
        folder.mkdir()
        config = folder / "prometheus.yml"
        config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
                    "scrape_configs": [
                        {
                            "job_name": job,
                            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
                        }
                        | options
                        for job, port in targets.items()
                    ],
                }
            )
        )
        self.process = processes.spawn(
            f"prometheus-{version}",
            [
                tool(PROMETHEUS[version]),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
                *([f"--enable-feature={','.join(features)}"] if features else ()),
            ],
        )
        wait_until(
            lambda: can_connect(self.port) and self.value("sum(up)") == len(targets), "a scrape", 30
        )

    def get(self, path, **params):
        """The data of an answer of the HTTP API; None as long as it is starting."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
        answer = requests.get(url, params=params, timeout=10)
        if answer.status_code == 503:
            return None
        result = answer.json()
        assert result["status"] == "success", result
        return result["data"]

    def query(self, promql, at=None):
        """[(labels, value)] of an instant query through the HTTP API."""
        data = self.get("query", query=promql, **({"time": at} if at else {}))
        return [(r["metric"], float(r["value"][1])) for r in data["result"]] if data else []

    def value(self, promql):
        """The only value of a query, or None."""
        result = self.query(promql)
        return result[0][1] if len(result) == 1 else None

    def requests(self, selector="http_requests_total"):
        """{(path, method, status, error): count}"""
        result = self.query(f"sum by (path, method, status, error) ({selector})")
        labels = ("path", "method", "status", "error")
        return {tuple(m.get(label, "") for label in labels): v for m, v in result}


def can_connect(port):
    with socket.socket() as s:
        s.settimeout(2)
        return s.connect_ex(("127.0.0.1", port)) == 0


def read_all(s):
    data = b""
    while chunk := s.recv(65536):
        data += chunk
    return data


def connect(port, timeout=20):
    return socket.create_connection(("127.0.0.1", port), timeout=timeout)


def reset(s):
    """Closes with a RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def exchange(port, request, timeout=20):
    """Sends bytes on a fresh connection and returns all that comes back."""
    with connect(port, timeout) as s:
        s.sendall(request)
        return read_all(s)


def answer_of(data):
    """(status, body) of the one answer in `data`, which ends with the connection."""
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


class KeepAlive:
    """A client that stays on one connection, unless the server closes it, and never retries.

    Python's own client reopens a connection that the server has announced to close; a connection
    that breaks without a word is an error, which is what the tests are after.
    """

    def __init__(self, port, timeout=20):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def __call__(self, method, path, body=None, **headers):
        self.connection.request(method, path, body=body, headers=headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def close(self):
        self.connection.close()
