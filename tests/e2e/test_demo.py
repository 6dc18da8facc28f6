"""`proxy demo`: the first thing a newcomer runs."""

import re

import requests
from helpers import PROXY, Samples, free_port, wait_until


def test_the_demo_fills_the_metrics_within_seconds_and_ends_by_itself(processes):
    metrics, listen = free_port(), free_port()
    demo = processes.spawn(
        "demo",
        [PROXY, "demo", "--duration", "3s", "--listen", f"127.0.0.1:{listen}"]
        + ["--metrics", f"127.0.0.1:{metrics}"],
    )

    def samples():
        try:
            return Samples(requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=5).text)
        except requests.ConnectionError:
            assert demo.poll() is None, demo.err.read_text()
            return None

    def full():
        now = samples()
        counted = now.requests() if now else {}
        return len(counted) >= 5 and sum(counted.values()) >= 20 and now

    page = wait_until(full, "the metrics fill", 3)
    paths = {path for (path, *_) in page.requests()}
    assert {"/users/{id}", "/"} <= paths, paths
    answer = requests.get(f"http://127.0.0.1:{listen}/ruok", timeout=5)
    assert (answer.status_code, answer.text.strip()) == (200, "imok")
    wait_until(lambda: demo.poll() is not None, "the demo ends", 6)
    assert demo.returncode == 0
    said = demo.out.read_text()
    assert re.search(rf"localhost:{metrics}/metrics", said) and f"localhost:{listen}" in said
    assert "panicked" not in demo.err.read_text()
