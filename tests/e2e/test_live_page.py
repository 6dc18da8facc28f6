"""The live page in a real Chromium: true numbers, nothing foreign, usable by everybody."""

import json
import re

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from browser import LivePage, chromium
from helpers import KeepAlive, can_connect, free_port, run, tool, wait_until


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def look(browser):
    """Opens the page: `look(url)`. In the end it must have had nothing to complain about."""
    pages = []

    def open_page(url, **kwargs):
        pages.append(LivePage(browser, url, **kwargs))
        return pages[-1]

    yield open_page
    complaints = [complaint for page in pages for complaint in page.complaints]
    for page in pages:
        page.context.close()
    assert complaints == []


def answering(page_text, state=None):
    """A route that answers every poll with a page of our choice."""
    state = state if state is not None else {"text": page_text}

    def answer(route):
        if state.get("status", 200) != 200:
            route.fulfill(status=state["status"], body="two scrapes are under way already\n")
        else:
            route.fulfill(status=200, content_type="text/plain; version=0.0.4", body=state["text"])

    return answer


def escaped(value):
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def metrics(rows, started=1000, profile="default", **cold):
    """A metrics page with `rows` = [(method, path, status, error, count, seconds)]."""
    name, keys = {
        "default": ("http_request_duration_seconds", ("method", "path", "status", "error")),
        "flask": ("flask_http_request_duration_seconds", ("method", "path", "status", "")),
        "otel": (
            "http_server_request_duration_seconds",
            ("http_request_method", "http_route", "http_response_status_code", "error_type"),
        ),
    }[profile]
    lines = [f"# TYPE {name} histogram", f"process_start_time_seconds {started}"]
    for method, path, status, error, count, seconds in rows:
        pairs = [(k, v) for k, v in zip(keys, (method, path, status, error)) if k and v]
        labels = ",".join(f'{key}="{escaped(value)}"' for key, value in pairs)
        if profile == "default":
            lines.append(f"http_requests_total{{{labels}}} {count}")
        for bound in (0.1, 1.0, "+Inf"):
            within = count if bound == "+Inf" or seconds <= bound else 0
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {within}')
        lines.append(f"{name}_count{{{labels}}} {count}")
    lines += [f"{key} {value}" for key, value in cold.items()]
    return "\n".join(lines) + "\n"


def test_the_numbers_are_those_of_the_traffic(gunicorn, proxy, look):
    app = gunicorn("gthread")
    sidecar = proxy(app.upstream)
    live = look(sidecar.metrics_url)
    live.wait_for_text("#state", "live")
    client = KeepAlive(sidecar.port)
    for _ in range(30):
        client("GET", "/ruok")
    for _ in range(10):
        client("GET", "/fail")
    for number in range(5):
        client("GET", f"/users/{number}")
    live.wait_for(
        "() => [...document.querySelectorAll('#rows .total')].map(c => +c.innerText).sort().join() === '10,30,5'"
    )
    rows = live.rows()
    assert rows["GET", "/ruok"][1] == "0%" and rows["GET", "/ruok"][5] == "30"
    assert rows["GET", "/fail"][1] == "100%" and rows["GET", "/fail"][5] == "10"
    assert rows["GET", "/users/{id}"][5] == "5"
    # 10 of 45 failed, in the window and since the start.
    assert live.text("#errors") == "22%"
    live.page.get_by_label("since start").check()
    live.wait_for_text("#errors", "22%")
    assert "answered 5xx by itself\t10\t10" in live.text("#failed")
    words = live.text("#legend").split()
    counts = dict(zip(words[::2], words[1::2]))
    assert counts == {"2xx": "35", "3xx": "0", "4xx": "0", "5xx": "10"}
    assert live.text("#in-flight") == "0"
    # Quantiles are those of Prometheus' formula over the same buckets.
    buckets = sidecar.samples().table("http_request_duration_seconds_bucket", "le")
    bounds = sorted((float(le), count) for (le,), count in buckets.items())
    rank, below, lower = 0.95 * bounds[-1][1], 0, 0
    for bound, count in bounds:
        if count >= rank:
            expected = lower + (bound - lower) * (rank - below) / (count - below)
            break
        below, lower = count, bound
    number, unit = re.match(r"([0-9.]+)\s*(ms|s)", live.text("#p95")).groups()
    seconds = float(number) * {"ms": 0.001, "s": 1}[unit]
    # Shown to a tenth of a millisecond.
    assert seconds == pytest.approx(expected, rel=0.02, abs=0.00006)


def test_an_app_that_is_down_is_told_in_words(proxy, look):
    sidecar = proxy(f"127.0.0.1:{free_port()}")
    assert requests.get(f"{sidecar.url}/x", timeout=5).status_code == 502
    live = look(sidecar.metrics_url)
    live.wait_for_text("#notices", "The app is down")
    live.wait_for_text("#failed", "refused the connection: nothing listens on --upstream")


HOSTILE = [
    "/<script>alert(1)</script>",
    "/<img src=x onerror=alert(1)>",
    "/\"'`&lt;",
    "/\u202e\u2066reversed\u202c",
    "/\u0000\u001b[2J\u200b",
    "/" + "long" * 2000,
    "/__proto__",
]


def test_hostile_paths_are_text_and_break_nothing(look, proxy):
    sidecar = proxy(f"127.0.0.1:{free_port()}")
    rows = [
        (method, path, "200", "", 7, 0.05) for path in HOSTILE for method in ("GET", "__proto__")
    ]
    rows += [("GET", "/", "200", "constructor", 1, 0.05), ("GET", "/", "502", "<b>", 1, 0.05)]
    for width in (1200, 360):
        live = look(
            sidecar.metrics_url,
            route=answering(metrics(rows)),
            viewport={"width": width, "height": 800},
        )
        live.wait_for("() => document.querySelectorAll('#rows tr').length === 15")
        assert live.page.locator("#rows script, #rows img, #failed b").count() == 0
        paths = live.order()
        assert "/<script>alert(1)</script>" in paths and "/\\u202e\\u2066reversed\\u202c" in paths
        assert "/\\u0000\\u001b[2J\\u200b" in paths
        assert "<b>" in live.text("#failed")
        assert live.overflow() <= 0
        height = live.page.evaluate(
            "Math.max(...[...document.querySelectorAll('#rows tr')].map(r => r.offsetHeight))"
        )
        assert height < 100, "a long path takes no more than some lines"


def test_the_page_speaks_to_nobody_else_and_runs_nothing_else(proxy, look):
    sidecar = proxy(f"127.0.0.1:{free_port()}")
    live = look("about:blank")
    asked = []
    live.page.on("request", lambda request: asked.append(request.url))
    live.page.goto(sidecar.metrics_url)
    live.wait_for_text("#state", "live")
    foreign = [url for url in asked if not url.startswith((sidecar.metrics_url, "data:"))]
    assert foreign == []
    # An injected script is refused; that refusal is the one complaint of this page.
    live.page.evaluate(
        "() => { const script = document.createElement('script');"
        " for (const set of [() => { script.src = 'data:,window.ran=1' },"
        " () => { script.append('window.ran=1') }, () => document.body.append(script)])"
        " try { set() } catch { /* refused */ } }"
    )
    assert live.page.evaluate("window.ran") is None
    wait_until(lambda: live.page.title() and live.complaints, "the refusal")
    assert all("Content Security Policy" in c or "TrustedScript" in c for c in live.complaints)
    live.complaints.clear()


def test_the_table_is_sorted_and_searched_by_keyboard(proxy, look):
    sidecar = proxy(f"127.0.0.1:{free_port()}")
    rows = [
        ("GET", "/a", "200", "", 5, 0.05),
        ("GET", "/b", "500", "", 9, 0.5),
        ("PUT", "/c", "200", "", 7, 0.05),
    ]
    live = look(sidecar.metrics_url, route=answering(metrics(rows)))
    live.wait_for("() => document.querySelectorAll('#rows tr').length === 3")
    keyboard = live.page.keyboard
    live.page.locator("#heads button", has_text="Total").focus()
    keyboard.press("Enter")
    assert live.order() == ["/b", "/c", "/a"]
    sorted_by = "th[aria-sort]"
    assert live.page.get_attribute(sorted_by, "aria-sort") == "descending"
    keyboard.press("Space")
    assert live.order() == ["/a", "/c", "/b"]
    assert live.page.get_attribute(sorted_by, "aria-sort") == "ascending"
    assert live.page.locator(sorted_by).count() == 1
    live.page.locator("#heads button", has_text="Errors").focus()
    keyboard.press("Enter")
    assert live.order()[0] == "/b"
    keyboard.press("/")
    keyboard.type("put")
    live.wait_for("() => document.querySelectorAll('#rows tr').length === 1")
    assert live.order() == ["/c"] and live.text("#shown") == "1 of 3"
    keyboard.type("zzz")
    live.wait_for_text("#empty", "Nothing matches")


def test_a_busy_a_broken_and_a_restarted_sidecar_are_survived(proxy, look):
    sidecar = proxy(f"127.0.0.1:{free_port()}")
    state = {"text": metrics([("GET", "/", "200", "", 100, 0.05)])}
    live = look(sidecar.metrics_url, route=answering(None, state))
    live.wait_for_text("#rows", "100")
    state["status"] = 503
    live.page.wait_for_timeout(1500)
    assert "answers" not in live.text("#state"), "a busy port is no failure"
    state["status"] = 500
    live.wait_for_text("#state", "The sidecar answers 500")
    state |= {"status": 200, "text": metrics([("GET", "/", "200", "", 3, 0.05)], started=2000)}
    live.wait_for_text("#rows .total", "3")
    live.wait_for_text("#state", "live")
    assert live.rows()["GET", "/"][0] == "\u2013", "no rate out of a counter that fell"
    # The browser itself reports answers like 500; nothing else was said.
    assert all("Failed to load resource" in complaint for complaint in live.complaints)
    live.complaints.clear()


def test_a_hidden_page_and_a_paused_one_do_not_ask(proxy, look):
    sidecar = proxy(f"127.0.0.1:{free_port()}")
    polls = []
    text = metrics([("GET", "/", "200", "", 1, 0.05)])

    def count(route):
        polls.append(route.request.headers)
        answering(text)(route)

    live = look(sidecar.metrics_url, route=count)
    wait_until(lambda: live.page.title() and len(polls) >= 2, "two polls")
    assert polls[0]["redcar-viewer"] == "page"
    for stop, go_on in (
        ("document.querySelector('#pause').click()",) * 2,
        tuple(
            f"Object.defineProperty(document, 'hidden', {{configurable: true, value: {value}}});"
            "document.dispatchEvent(new Event('visibilitychange'))"
            for value in ("true", "false")
        ),
    ):
        live.page.evaluate(stop)
        live.page.wait_for_timeout(300)
        before = len(polls)
        live.page.wait_for_timeout(2500)
        assert len(polls) == before
        live.page.evaluate(go_on)
        wait_until(lambda: live.page.title() and len(polls) > before, "it goes on")


@pytest.mark.parametrize("profile", ["default", "flask", "otel"])
def test_every_naming_profile_is_understood(proxy, look, profile):
    sidecar = proxy(f"127.0.0.1:{free_port()}")
    rows = [("GET", "/a", "200", "", 6, 0.05), ("GET", "/a", "500", "", 2, 0.05)]
    live = look(sidecar.metrics_url, route=answering(metrics(rows, profile=profile)))
    live.wait_for_text("#rows .total", "8")
    assert live.rows()["GET", "/a"][1] == "25%"
    live.wait_for_text("#failed", "answered 5xx by itself")


def test_it_works_below_a_path_and_shows_how_to_be_scraped(nginx, proxy, look, processes):
    sidecar = proxy(nginx.upstream)
    outer = free_port()
    config = processes.folder / "outer.conf"
    config.write_text(
        f"daemon off; master_process off; pid {processes.folder}/outer.pid; error_log stderr;"
        "events {} http { access_log off; server { "
        f"listen 127.0.0.1:{outer}; location /sidecar/ {{ proxy_pass {sidecar.metrics_url}/; }} "
        f"location = /sidecar {{ proxy_pass {sidecar.metrics_url}/; }} }} }}"
    )
    processes.spawn("outer", [tool("nginx"), "-c", config, "-p", processes.folder])
    wait_until(lambda: can_connect(outer), "the outer nginx listens")
    for path in ("/sidecar/", "/sidecar"):
        live = look(f"http://127.0.0.1:{outer}{path}")
        live.wait_for_text("#state", "live")
        live.page.click("#scrape summary")
        text = live.text("#static")
        assert f"targets: ['127.0.0.1:{outer}']" in text
        assert "metrics_path: '/sidecar/metrics'" in text
        assert "kind: PodMonitor" in live.text("#monitor")
    live.context.grant_permissions(["clipboard-read", "clipboard-write"])
    live.page.click("[data-copy=static]")
    live.wait_for_text("#copied", "Copied.")
    assert live.page.evaluate("navigator.clipboard.readText()").strip() == text.strip()
    # Prometheus itself takes what was copied.
    scrape = processes.folder / "copied.yml"
    scrape.write_text(text + "\n")
    assert run([tool("promtool"), "check", "config", scrape]).returncode == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_axe_finds_nothing_and_a_phone_needs_no_sideways_scrolling(proxy, look, scheme, width):
    sidecar = proxy(f"127.0.0.1:{free_port()}")
    rows = [
        ("GET", "/users/{id}", "200", "", 50, 0.05),
        ("POST", "/orders", "500", "", 5, 0.5),
        ("GET", "/gone", "499", "downstream_aborted", 2, 0.5),
    ]
    state = {"text": metrics(rows, redcar_draining=1, redcar_path_overflow_total=3)}
    live = look(
        sidecar.metrics_url,
        route=answering(None, state),
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    live.wait_for("() => document.querySelectorAll('#rows tr').length === 3")
    # With traffic in the window, too.
    state["text"] = metrics(
        [(m, p, s, e, n + 20, t) for m, p, s, e, n, t in rows], redcar_draining=1
    )
    live.wait_for("() => document.querySelectorAll('#rows .failing').length === 1")
    live.page.click("#scrape summary")
    assert live.overflow() <= 0
    found = Axe().run(live.page).response["violations"]
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == [], json.dumps(found)[
        :3000
    ]
    assert (
        live.page.evaluate("getComputedStyle(document.querySelector('#state .dot')).animationName")
        == "none"
    )


def test_reserved_labels_are_explained_where_they_are_seen(proxy, look):
    rows = [("GET", "/a", "200", "", 5, 0.05), ("GET", "_UNMATCHED", "404", "", 3, 0.05)]
    live = look(proxy(f"127.0.0.1:{free_port()}").metrics_url, route=answering(metrics(rows)))
    live.wait_for_text("#reserved", "_UNMATCHED")
    assert "that no answer has shown to exist" in live.text("#reserved")
    assert "_OTHER" not in live.text("#reserved")
    assert live.page.get_by_role("link", name="paths", exact=True).get_attribute("href") == "paths"


def test_a_long_path_is_cut_in_the_middle_and_told_whole(proxy, look):
    path = "/organisations/{id}/" + "very-" * 20 + "long/members"
    text = metrics([("GET", path, "200", "", 5, 0.05)])
    live = look(proxy(f"127.0.0.1:{free_port()}").metrics_url, route=answering(text))
    live.wait_for_text("#rows .path", "\u2026")
    shown = live.text("#rows .path")
    assert shown.startswith("/organisations/{id}/") and shown.endswith("long/members")
    assert live.page.locator("#rows .path").get_attribute("title") == path


def test_polls_that_failed_are_a_gap_and_no_wide_bar(proxy, look):
    state = {"text": metrics([("GET", "/", "200", "", 100, 0.05)])}
    live = look(proxy(f"127.0.0.1:{free_port()}").metrics_url, route=answering(None, state))
    live.wait_for_text("#rows", "100")
    state["status"] = 500
    live.wait_for_text("#state", "Next try in 4 s")
    state |= {"status": 200, "text": metrics([("GET", "/", "200", "", 900, 0.05)])}
    live.wait_for_text("#rows", "900")
    state["text"] = metrics([("GET", "/", "200", "", 905, 0.05)])
    live.wait_for_text("#rows", "905")
    live.wait_for("() => document.querySelector('#strip path.c2').getAttribute('d').length > 0")
    bars = live.page.locator("#strip path.c2").get_attribute("d")
    widths = [float(h) - float(m) for m, h in re.findall(r"M([\d.]+) .*?H([\d.]+)", bars)]
    # 10 to a second; the 800 requests between are in the total only.
    assert widths and max(widths) < 25, bars
    live.complaints.clear()
