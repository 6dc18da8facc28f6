"""compose.yaml: by the real Compose, which needs no daemon for this, and by our own rules.

What its services do together is tested without Docker, in test_stack.py.
"""

import json
import re

import pytest
import yaml
from artefacts import EXAMPLES
from helpers import REPO, run

FOLDER = EXAMPLES / "compose"
FILE = FOLDER / "compose.yaml"
COMPOSE = REPO / "target" / "e2e-venv" / "bin" / "docker-compose"
# Nobody waits for it.
WITHOUT_HEALTHCHECK = {"load"}


def config(text=None, tmp_path=None):
    path = FILE
    if text:
        path = tmp_path / "compose.yaml"
        path.write_text(text)
    return run([COMPOSE, "-f", path, "config", "--format", "json"], timeout=60)


@pytest.fixture(scope="module")
def services():
    return json.loads(config().stdout)["services"]


def test_the_real_compose_accepts_it_without_a_word():
    answer = run([COMPOSE, "-f", FILE, "config", "-q"], timeout=60)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_the_real_compose_would_notice_a_wrong_key(tmp_path):
    answer = config(FILE.read_text().replace("healthcheck:", "helthcheck:", 1), tmp_path)
    assert answer.returncode != 0 and "helthcheck" in answer.stderr


def test_the_file_is_of_today():
    text = yaml.safe_load(FILE.read_text())
    assert text["name"] == "redcar-example" and "version" not in text


def test_every_service_is_confined(services):
    assert set(services) == {
        *("app", "sidecar", "load", "prometheus", "alertmanager", "webhook"),
        *("node-exporter", "grafana"),
    }
    for name, service in services.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service and service["stop_grace_period"], name


def test_ports_are_published_on_loopback_only(services):
    published = {p["published"]: p for s in services.values() for p in s.get("ports", [])}
    assert set(published) == {"7001", "9464", "9090", "9093", "9095", "3000"}
    assert {p["host_ip"] for p in published.values()} == {"127.0.0.1"}
    assert "ports" not in services["app"], "clients must not go around the sidecar"


def test_images_are_pinned(services):
    for service in services.values():
        if "build" not in service:
            tag = service["image"].rpartition(":")[2]
            assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-slim)?", tag), service["image"]


def test_services_wait_for_the_health_of_what_they_need(services):
    for name, service in services.items():
        assert ("healthcheck" in service) == (name not in WITHOUT_HEALTHCHECK), name
        for other, condition in service.get("depends_on", {}).items():
            assert condition["condition"] == "service_healthy", (name, other)
    assert services["load"]["depends_on"]["sidecar"]["restart"] is True


def test_every_file_that_is_mounted_exists():
    for name, source in json.loads(config().stdout)["configs"].items():
        assert (FOLDER / source["file"]).is_file(), name
    assert (EXAMPLES / "gunicorn" / "Dockerfile").is_file()


def test_the_sidecar_may_take_its_time_to_drain(services):
    assert services["sidecar"]["stop_grace_period"] == "40s"
    assert "--shutdown-delay=5s" in services["sidecar"]["command"]


def test_the_app_has_no_metrics_code_and_two_workers():
    app = (EXAMPLES / "gunicorn" / "app.py").read_text().partition('"""\n')[2]
    assert "prometheus" not in app and "metric" not in app
    assert '"--workers", "2"' in (EXAMPLES / "gunicorn" / "Dockerfile").read_text()


def test_names_in_the_configurations_are_services(services):
    for file in (
        "compose/prometheus.yml",
        "prometheus/alertmanager.yml",
        "grafana/provisioning/datasources/prometheus.yml",
    ):
        text = "".join(line.partition("#")[0] for line in (EXAMPLES / file).open())
        for host in re.findall(r"([a-z-]+):9\d{3}\b", text):
            assert host in services, f"{host} in {file}"
