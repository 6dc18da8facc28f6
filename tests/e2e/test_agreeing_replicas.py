"""Three replicas behind a splitter before a real app, a rollout, and what all of them call paths."""

import json
import random

import pytest
import requests
from apps import App
from helpers import PROXY, KeepAlive, Proxy, free_port, run, wait_until
from memories import MEMORIES, Memory
from test_described_apps import uvicorn

pytestmark = pytest.mark.timeout(120)

ENDPOINTS = {"/shops/{id}", "/shops/{id}/hours", "/files/{id}"}


def words(seed, count):
    """Names of shops that no vocabulary has."""
    letters = random.Random(seed)
    return [
        "".join(letters.choices("bdfklmnprstw", k=1) + letters.choices("aeiou", k=1)) * 3
        + "".join(letters.choices("bdfklmnprst", k=2))
        for _ in range(count)
    ]


class Replicas:
    """Three sidecars before one app, with fixed ports for metrics."""

    def __init__(self, processes, upstream, names_from):
        self.processes, self.upstream = processes, upstream
        self.ports = [free_port() for _ in range(3)]
        self.flags = [
            flag for source in names_from(self.ports) for flag in ("--names-from", source)
        ]
        self.sidecars = [self.start(port) for port in self.ports]
        self.chance = random.Random(7)

    def start(self, port):
        return Proxy(self.processes, self.upstream, *self.flags, metrics=f"127.0.0.1:{port}")

    def serve(self, paths):
        """Splits requests over all at random."""
        clients = [KeepAlive(sidecar.port) for sidecar in self.sidecars]
        for path in paths:
            assert self.chance.choice(clients)("GET", path)[0] == 200

    def replace(self, index):
        """One step of a rollout."""
        old = self.sidecars[index]
        old.signal()
        assert old.wait_for_exit(20) == 0
        self.sidecars[index] = self.start(self.ports[index])

    def labels(self):
        """The labels of each, once nothing waits any more."""
        return [{path for path, *_ in sidecar.samples().requests()} for sidecar in self.sidecars]

    def counted(self):
        return sum(sum(s.samples().requests().values()) for s in self.sidecars)

    def digests(self):
        return {s.samples().total("redcar_paths_digest") for s in self.sidecars}


def traffic(seed, count):
    shops = words(seed, count)
    return [
        path
        for shop in shops
        for path in (f"/shops/{shop}", f"/shops/{shop}/hours", f"/files/{shop}")
    ]


@pytest.fixture
def app(processes):
    return App(processes, uvicorn("described_fastapi"))


@pytest.mark.parametrize("name", MEMORIES)
def test_a_rollout_keeps_the_names_that_a_database_remembers(processes, app, name):
    memory = Memory(processes, name)
    # The database is away when the first replicas start, and nobody waits for it.
    replicas = Replicas(processes, app.upstream, lambda _: [memory.names_from("shop")])
    memory.start({"shop": replicas.ports})
    sent = traffic(1, 40)
    replicas.serve(sent)
    by_path = "sum by (path) (http_requests_total)"
    wait_until(
        lambda: sum(memory.query(by_path, "path").values()) == len(sent),
        "the database has all requests",
        40,
        0.2,
    )
    assert set(memory.query(by_path, "path")) == {(path,) for path in ENDPOINTS}
    for index in range(3):
        replicas.replace(index)
    # One word each, of which a replica alone would make a name.
    late = traffic(2, 1)
    for sidecar in replicas.sidecars:
        client = KeepAlive(sidecar.port)
        for path in late:
            assert client("GET", path)[0] == 200
    wait_until(lambda: replicas.counted() == 9, "all requests have a name", 20, 0.2)
    assert replicas.labels() == [ENDPOINTS] * 3
    assert len(replicas.digests()) == 1
    for sidecar in replicas.sidecars:
        assert sidecar.samples().total("redcar_path_conflicts") == 0
    done = run([PROXY, "paths", "--check", memory.url, "--job", "shop"])
    assert done.returncode == 0, done
    assert "3 names on 3 instances, 0 contradictions" in done.stdout
    done = run([PROXY, "paths", "--check", memory.url, "--job", "nobody"])
    assert done.returncode == 1 and "no paths of job `nobody`" in done.stderr


def test_replicas_ask_each_other_and_a_merged_list_starts_a_fourth(processes, app, tmp_path):
    def urls(ports):
        return [f"http://localhost:{port}/paths" for port in ports]

    replicas = Replicas(processes, app.upstream, urls)
    sent = traffic(3, 40)
    replicas.serve(sent)
    wait_until(lambda: replicas.counted() == len(sent), "all requests have a name", 60, 0.2)
    assert replicas.labels() == [ENDPOINTS] * 3
    assert len(replicas.digests()) == 1
    for index in range(3):
        replicas.replace(index)
    replicas.serve(traffic(4, 3))
    wait_until(lambda: replicas.counted() == 9, "all requests have a name", 20, 0.2)
    assert set().union(*replicas.labels()) == ENDPOINTS
    done = run([PROXY, "paths", "--merge", *urls(replicas.ports)])
    assert done.returncode == 0, done
    merged = json.loads(done.stdout)
    assert {path["template"] for path in merged["paths"]} == ENDPOINTS
    assert all(path["since"] > 1_700_000_000 for path in merged["paths"])
    assert set(merged["folds"]) == {"/shops/{id}", "/files/{id}"}
    file = tmp_path / "names.json"
    file.write_text(done.stdout)
    fourth = Proxy(processes, app.upstream, "--names-from", file)
    client = KeepAlive(fourth.port)
    for path in traffic(5, 1):
        assert client("GET", path)[0] == 200
    wait_until(lambda: sum(fourth.samples().requests().values()) == 3, "it has names")
    assert {path for path, *_ in fourth.samples().requests()} == ENDPOINTS
    done = run([PROXY, "paths", "--merge", f"http://localhost:{free_port()}/paths"])
    assert done.returncode == 1 and "cannot connect" in done.stderr, done


def test_a_word_that_is_a_value_elsewhere_is_told(processes, app):
    memory = Memory(processes, "prometheus-3.5")
    ports = [free_port() for _ in range(2)]
    folded, named = (Proxy(processes, app.upstream, metrics=f"127.0.0.1:{port}") for port in ports)
    memory.start({"shop": ports})
    client = KeepAlive(folded.port)
    for shop in words(6, 30):
        assert client("GET", f"/shops/{shop}")[0] == 200
    client = KeepAlive(named.port)
    assert client("GET", f"/shops/{words(6, 1)[0]}")[0] == 200

    def told():
        done = run([PROXY, "paths", "--check", memory.url, "--job", "shop"])
        return done if "contradictions" in done.stdout and done.returncode == 1 else None

    done = wait_until(told, "the contradiction is told", 20, 0.3)
    assert f"/shops/{words(6, 1)[0]}" in done.stdout, done
    assert "is /shops/{id} on 1 of 2 instances" in done.stdout, done


def test_check_asks_whom_the_sidecar_would_ask(processes, app):
    other = Proxy(processes, app.upstream)
    assert requests.get(f"{other.url}/shops/7", timeout=5).status_code == 200
    flags = ["--upstream", app.upstream, "--listen", ":0", "--metrics", ":0"]
    source = f"http://localhost:{other.metrics_port}/paths"
    done = run([PROXY, "check", *flags, "--names-from", source, "--openapi", "upstream:"])
    assert done.returncode == 0, done
    assert f"--names-from {source} has 1 names" in done.stdout, done
    assert "--openapi upstream: has 3 templates" in done.stdout, done
    done = run([PROXY, "check", *flags, "--openapi", "upstream:/nowhere"])
    assert done.returncode == 1 and "--openapi upstream:/nowhere: it answers 404" in done.stderr
