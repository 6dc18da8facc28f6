"""`--openapi upstream:`: apps of several frameworks describe themselves through the sidecar."""

import sys

import pytest
import requests
from apps import App
from helpers import HERE, KeepAlive, Processes, Proxy, tool, wait_until
from peers import NODE


def uvicorn(module):
    def described(port, *flags):
        argv = [sys.executable, "-B", "-m", "uvicorn", f"{module}:app", "--app-dir", HERE]
        return [*argv, "--port", port, "--log-level", "info", *flags], {}

    return described


def node(port):
    return [tool("node"), HERE / "node" / "described.js", port], NODE


def use(sidecar):
    client = KeepAlive(sidecar.port)
    for path in ("/shops/ulm", "/shops/berlin", "/shops/ulm/hours"):
        assert client("GET", path)[0] == 200
    expected = {
        ("/shops/{shop}", "GET", "200", ""): 2,
        ("/shops/{shop}/hours", "GET", "200", ""): 1,
    }
    # What the sidecar asks for itself is no traffic.
    samples = sidecar.wait_for_requests(expected)
    assert samples.total("redcar_routes_last_reload_successful") == 1


def pins(sidecar):
    listed = requests.get(
        f"{sidecar.metrics_url}/paths", headers={"Accept": "application/json"}, timeout=5
    ).json()["paths"]
    in_force = (p for p in listed if p["kind"] == "pinned" and p["state"] != "retired")
    return {path["template"] for path in in_force}


@pytest.mark.parametrize(
    ("server", "place"),
    [
        (uvicorn("described_fastapi"), ""),
        (uvicorn("described_fastapi"), "/openapi.json"),
        (uvicorn("described_litestar"), ""),
        (node, ""),
    ],
    ids=["fastapi", "fastapi-told", "litestar", "fastify"],
)
def test_an_app_describes_itself(processes, server, place):
    app = App(processes, server)
    sidecar = Proxy(processes, app.upstream, "--openapi", f"upstream:{place}")
    use(sidecar)
    if server is not node:
        log = app.process.out.read_text()
        assert log.count('"GET /openapi.json') + log.count('"GET /schema/openapi.json') >= 1, log


def test_flask_smorest_on_gunicorn_behind_a_unix_socket(processes, gunicorn):
    app = gunicorn("gthread", bind=f"unix:{processes.folder}/app.sock", app="described_flask:app")
    sidecar = Proxy(processes, app.address, "--openapi", "upstream:")
    use(sidecar)


def test_an_https_app_describes_itself(processes, pair):
    cert, key = pair
    server = uvicorn("described_fastapi")
    app = App(processes, server, "--ssl-certfile", cert, "--ssl-keyfile", key)
    upstream = f"https://localhost:{app.port}"
    use(Proxy(processes, upstream, "--upstream-ca", cert, "--openapi", "upstream:"))


def test_an_app_that_comes_later_and_comes_back_is_asked_again(processes):
    first = Processes(processes.folder)
    try:
        app = App(first, uvicorn("described_fastapi"))
        port = app.port
        app.process.terminate()
        app.process.wait()
        # Nobody is there when the sidecar starts.
        sidecar = Proxy(processes, f"127.0.0.1:{port}", "--openapi", "upstream:")
        assert KeepAlive(sidecar.port)("GET", "/shops/ulm")[0] == 502
        assert pins(sidecar) == set()
        app = App(first, uvicorn("described_fastapi"), port=port)
        wait_until(lambda: "/shops/{shop}" in pins(sidecar), "the app has described itself")
        assert "/files/{path}" in pins(sidecar)
        app.process.terminate()
        app.process.wait()
        wait_until(
            lambda: requests.get(f"{sidecar.url}/shops/ulm", timeout=5).status_code == 502,
            "the app is away",
        )
        # Another version, with other routes.
        App(first, uvicorn("described_litestar"), port=port)
        wait_until(lambda: "/files/{path}" not in pins(sidecar), "the new version is asked")
        assert "/shops/{shop}/hours" in pins(sidecar)
    finally:
        first.kill_all()
