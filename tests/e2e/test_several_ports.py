"""A pod with HTTP and gRPC on two ports, behind one sidecar: each has its numbers, one page has both."""

import signal
import ssl
import urllib.request

import grpc
import pytest
import requests
from grpc_app import SERVICE, Client, Server
from helpers import PROXY, Proxy, free_port, run, wait_until


@pytest.fixture
def service():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def both(gunicorn, service, processes):
    """A sidecar in front of a Flask app and a gRPC service; `grpc_port` and the listeners' names."""
    app, port = gunicorn("sync"), free_port()
    sidecar = Proxy(processes, app.upstream, "--map", f"127.0.0.1:{port}={service.upstream}")
    sidecar.grpc_port = port
    sidecar.names = [f"127.0.0.1:{p}" for p in (sidecar.port, port)]
    return sidecar


def counted(sidecar, listener, **labels):
    return sidecar.samples().total("http_requests_total", listener=listener, **labels)


def test_http_and_grpc_are_counted_apart(both):
    web, calls = both.names
    for user in (1, 2, 3):
        assert requests.get(f"{both.url}/users/{user}", timeout=10).status_code == 200
    with Client(both.grpc_port) as client:
        assert client.unary("Echo", b"a") == b"a"
        assert client.unary("Empty") == b""
        with pytest.raises(grpc.RpcError):
            client.unary("Status", b"5 no such thing")
    wait_until(lambda: counted(both, web) == 3, "the web app's requests")
    wait_until(lambda: counted(both, calls) == 3, "the service's calls")
    assert counted(both, web, path="/users/{id}", status="200") == 3
    assert counted(both, calls, path=f"/{SERVICE}/Echo", grpc_status="OK") == 1
    assert counted(both, web, grpc_status="OK") == 0
    samples = both.samples()
    for name in (web, calls):
        assert samples.total("redcar_upstream_up", listener=name) == 1
    assert (
        samples.total(
            "redcar_downstream_connections_accepted_total", listener=calls, protocol="http2"
        )
        == 1
    )
    listed = requests.get(
        f"{both.metrics_url}/paths", headers={"Accept": "application/json"}, timeout=5
    ).json()
    whose = {p["template"]: p["listener"] for p in listed["paths"] if p["kind"] == "learned"}
    assert whose["/users/{id}"] == web and whose[f"/{SERVICE}/Echo"] == calls


def test_an_app_that_is_away_is_told_by_its_port(both, service):
    web, calls = both.names
    ready = [PROXY, "healthcheck", "--upstream", "--metrics", f"127.0.0.1:{both.metrics_port}"]
    wait_until(lambda: run(ready).returncode == 0, "both apps are there")
    service.stop()
    with Client(both.grpc_port) as client, pytest.raises(grpc.RpcError):
        client.unary("Empty")
    wait_until(
        lambda: both.samples().total("redcar_upstream_up", listener=calls) == 0, "it is away"
    )
    assert both.samples().total("redcar_upstream_up", listener=web) == 1
    assert run(ready).returncode == 1
    assert requests.get(f"{both.url}/ruok", timeout=10).text == "imok"
    both.signal(signal.SIGTERM)
    assert both.wait_for_exit() == 0


def test_tls_is_spoken_on_each_port(gunicorn, processes, pair):
    cert, key = pair
    app, port = gunicorn("sync"), free_port()
    flags = ["--map", f"127.0.0.1:{port}={app.upstream}", "--tls-cert", cert, "--tls-key", key]
    sidecar = Proxy(processes, app.upstream, *flags)
    trusting = ssl.create_default_context(cafile=str(cert))
    for listener in (sidecar.port, port):
        with urllib.request.urlopen(
            f"https://localhost:{listener}/ruok", context=trusting, timeout=10
        ) as answer:
            assert answer.read() == b"imok"
    wait_until(
        lambda: sidecar.samples().total("http_requests_total", path="/ruok") == 2,
        "both are counted",
    )


def test_check_tries_each_app_and_says_what_is_wrong(gunicorn, service):
    app, port = gunicorn("sync"), free_port()
    flags = ["--listen", f":{free_port()}", "--metrics", f":{free_port()}"]
    flags += ["--upstream", app.upstream]
    said = run([PROXY, "check", *flags, "--map", f":{port}={service.upstream}"])
    assert said.returncode == 0, said.stderr
    assert f"  map       :{port} -> {service.upstream}\n" in said.stdout
    said = run([PROXY, "check", *flags, "--map", f":{port}=127.0.0.1:{free_port()}"])
    assert said.returncode == 1 and f"--map :{port}" in said.stderr, said.stdout + said.stderr
    said = run([PROXY, "check", *flags, "--map", "7002"])
    assert said.returncode == 2 and "`:7002=:8080`" in said.stderr, said.stderr
    said = run([PROXY, "check", *flags], env={"REDCAR_MAP": f":{port}={service.upstream}"})
    assert said.returncode == 0 and f"map       :{port} ->" in said.stdout, said.stdout


def test_top_shows_which_port_a_path_is_of(both):
    requests.get(f"{both.url}/users/1", timeout=10)
    with Client(both.grpc_port) as client:
        client.unary("Empty")
    wait_until(lambda: both.samples().total("http_requests_total") == 2, "both are counted")
    flags = ["--metrics", f"127.0.0.1:{both.metrics_port}", "--once"]
    said = run([PROXY, "top", *flags])
    assert said.returncode == 0, said.stderr
    web, calls = both.names
    assert f"{web} /users/{{id}}" in said.stdout and f"{calls} /{SERVICE}/Empty" in said.stdout
