"""Interim answers end to end: 100 and 103 between every pair of protocols, and Chromium."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from apps import CLIENTS, hypercorn, node, open_doors
from browser import chromium
from peers import counts

STYLE, SCRIPT = "</a.css>; rel=preload; as=style", "</b.js>; rel=preload; as=script"


@pytest.fixture(params=["http1", "http2"])
def doors(request, processes, pair):
    """Two sidecars before a Node app of either protocol."""
    return open_doors(processes, pair, node, request.param)


def answers(text):
    """[(status, its Link fields)] of each head that curl prints."""
    heads = [part for part in text.replace("\r", "").split("\n\n") if part.startswith("HTTP/")]
    return [
        (
            int(head.split()[1]),
            [line[5:].strip() for line in head.split("\n") if line.lower().startswith("link:")],
        )
        for head in heads
    ]


def ask_all(doors, path, *flags):
    """{client: curl's output}, all at once."""
    with ThreadPoolExecutor(len(CLIENTS)) as pool:
        done = pool.map(lambda name: doors.curl(name, path, *flags, timeout=25), CLIENTS)
        return dict(zip(CLIENTS, (d.stdout or d.stderr for d in done)))


def test_early_hints_reach_every_client(doors):
    found = {name: answers(out) for name, out in ask_all(doors, "/hints").items()}
    assert found == dict.fromkeys(CLIENTS, [(103, [STYLE]), (103, [SCRIPT]), (200, [])])


def test_early_hints_of_an_asgi_app_reach_every_client(processes, pair):
    """Hypercorn sends them over HTTP/2 alone."""
    doors = open_doors(processes, pair, hypercorn, "http2")
    found = {name: answers(out) for name, out in ask_all(doors, "/hints/").items()}
    assert found == dict.fromkeys(CLIENTS, [(103, [STYLE]), (200, [])])


def test_a_client_that_waits_for_100_gets_it_from_the_app(doors, tmp_path):
    """Whoever waits for 100 for 8 s must not have to."""
    body = tmp_path / "body"
    body.write_bytes(bytes(100_000))
    flags = ["-H", "Expect: 100-continue", "--expect100-timeout", "8", "-w", "\n\n%{time_total}"]
    came = ask_all(doors, "/upload", "--data-binary", f"@{body}", *flags)
    found = {
        name: (answers(out), out.replace("\r", "").split("\n\n")[-2:-1])
        for name, out in came.items()
    }
    assert found == dict.fromkeys(CLIENTS, ([(100, []), (200, [])], ["100000"]))
    times = {name: float(out.rsplit("\n", 1)[1]) for name, out in came.items()}
    assert all(0.3 < seconds < 3 for seconds in times.values()), times


def test_a_client_that_waits_for_100_and_is_refused_sends_no_body(doors, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(bytes(100_000))
    flags = ["-H", "Expect: 100-continue", "--expect100-timeout", "8", "-w", "\n\n%{size_upload}"]
    came = ask_all(doors, "/refused", "--data-binary", f"@{body}", *flags)
    found = {name: (answers(out), out.rsplit("\n", 1)[1]) for name, out in came.items()}
    assert found == dict.fromkeys(CLIENTS, ([(413, [])], "0"))


def test_interim_answers_are_counted_by_nobody(processes, pair):
    doors = open_doors(processes, pair, node)
    ask_all(doors, "/hints")
    for sidecar in doors.both():
        counts(sidecar, {("GET", "200", ""): 2})


@pytest.mark.alone
def test_chromium_fetches_what_early_hints_name_while_it_waits_for_the_page(processes, pair):
    """Over HTTP/2 with TLS, as it listens to them nowhere else."""
    doors = open_doors(processes, pair, node)
    with chromium() as browser:
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(f"https://localhost:{doors.tls.port}/page")
        assert (
            page.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(1, 2, 3)"
        )
        protocol = page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")
    assert protocol == "h2"
    fetched, answered = (
        doors.app.wait_for("begun", "/style.css")[1],
        doors.app.wait_for("answered", "/page")[1],
    )
    assert fetched < answered - 0.5, f"fetched {fetched - answered:.2f} s after the page"
