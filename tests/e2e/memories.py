"""Databases that scrape every second and remember names: Prometheus versions and VictoriaMetrics."""

import json
import os
import re
from pathlib import Path

import requests
from helpers import REPO, can_connect, free_port, tool, wait_until

DEBIAN = REPO / "target" / "e2e-debian"
TRIXIE = DEBIAN / "trixie" / "usr"
MEMORIES = {
    "prometheus-2.42": Path(tool("prometheus")),
    "prometheus-2.53": TRIXIE / "bin" / "prometheus",
    "prometheus-3.5": DEBIAN / "sid" / "usr" / "bin" / "prometheus",
    "victoria-metrics-1.112": TRIXIE / "bin" / "victoria-metrics",
}


class Memory:
    """A database that may be started after those that it scrapes: `Memory(processes, name)`."""

    def __init__(self, processes, name):
        self.processes, self.name, self.port = processes, name, free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def names_from(self, job):
        selector = f'http_requests_total{{job="{job}"}}'
        return f"{self.url}/api/v1/label/path/values?match[]={selector}"

    def start(self, jobs, rules=()):
        """Scrapes these {job: [ports]} from now on; returns after the first scrape of all. Rules of
        these files are evaluated every second, whatever interval they have.
        """
        program, folder = MEMORIES[self.name], self.processes.folder / self.name
        assert program.exists(), f"{program} does not exist: run tests/install"
        folder.mkdir()
        config = folder / "scrape.json"
        scrapes = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{p}" for p in ports]}]}
            for job, ports in jobs.items()
        ]
        settings = {"scrape_interval": "1s", "scrape_timeout": "1s"}
        whole = {"global": settings, "scrape_configs": scrapes}
        if rules:
            settings["evaluation_interval"] = "1s"
            whole["rule_files"] = [path.name for path in rules]
            for path in rules:
                text = re.sub(r"\binterval: \w+", "interval: 1s", path.read_text())
                (folder / path.name).write_text(text)
        config.write_text(json.dumps(whole))
        if "victoria" in self.name:
            flags = [
                *("-promscrape.config", config, "-storageDataPath", folder / "data"),
                *("-httpListenAddr", f"127.0.0.1:{self.port}", "-search.latencyOffset", "0s"),
            ]
        else:
            flags = [
                *(f"--config.file={config}", f"--storage.tsdb.path={folder}/data"),
                f"--web.listen-address=127.0.0.1:{self.port}",
            ]
        libraries = {"LD_LIBRARY_PATH": str(TRIXIE / "lib" / f"{os.uname().machine}-linux-gnu")}
        self.processes.spawn(self.name, [program, *flags], env=libraries)
        targets = sum(len(ports) for ports in jobs.values())
        wait_until(
            lambda: can_connect(self.port) and self.query("sum(up)") == {(): targets},
            f"{self.name} has scraped {targets} targets",
            30,
            0.1,
        )

    def query(self, promql, *labels):
        """{(label values…): value} of an instant query."""
        url = f"{self.url}/api/v1/query"
        answer = requests.get(url, params={"query": promql}, timeout=10)
        if answer.status_code != 200:
            return {}
        result = answer.json()["data"]["result"]
        return {
            tuple(r["metric"].get(label, "") for label in labels): float(r["value"][1])
            for r in result
        }

    def understands(self, promql):
        """Whether an expression can be evaluated, with or without a result."""
        url = f"{self.url}/api/v1/query"
        return requests.get(url, params={"query": promql}, timeout=10).status_code == 200
