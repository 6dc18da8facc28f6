"""`proxy top` in a real terminal."""

import os
import pty
import re
import signal
import subprocess

import pytest
import requests
from helpers import PROXY, KeepAlive, clean_env, free_port, run, tool, wait_until


class Terminal:
    """A tmux with one window, on a server of its own."""

    def __init__(self, folder, command, width=110, height=24):
        self.base = [tool("tmux"), "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self(
            "new-session",
            "-d",
            "-x",
            str(width),
            "-y",
            str(height),
            f"{command}; echo ENDED $?; cat",
        )

    def __call__(self, *arguments):
        done = subprocess.run(
            [*self.base, *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            env=clean_env(LC_ALL="C.UTF-8", TERM="xterm-256color"),
            check=True,
        )
        return done.stdout

    def keys(self, *keys):
        self("send-keys", *keys)

    def screen(self):
        return self("capture-pane", "-p")

    def shows(self, text, timeout=10.0):
        return wait_until(
            lambda: text in self.screen() and self.screen(), f"{text!r} on the screen", timeout
        )

    def lacks(self, text):
        wait_until(lambda: text not in self.screen(), f"{text!r} is gone")

    def end(self):
        subprocess.run([*self.base, "kill-server"], capture_output=True, timeout=10)

    def pane_pid(self):
        return int(self("list-panes", "-F", "#{pane_pid}"))


@pytest.fixture
def terminal(tmp_path):
    terminals = []

    def start(command, **kwargs):
        folder = tmp_path / f"terminal-{len(terminals)}"
        folder.mkdir()
        terminals.append(Terminal(folder, command, **kwargs))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.end()


@pytest.fixture
def used(gunicorn, proxy):
    sidecar = proxy(gunicorn("gthread").upstream)
    client = KeepAlive(sidecar.port)
    for path, count in (("/ruok", 30), ("/fail", 10), ("/users/7", 5)):
        for _ in range(count):
            client("GET", path)
    wait_until(lambda: sidecar.samples().total("http_requests_total") == 45, "all are counted")
    return sidecar, client


def rows(screen):
    """{path: [rps, count, errors, p50, p95, p99]}"""
    found = re.findall(r"^(\S+) +(/\S*) +(.*)$", screen, re.MULTILINE)
    return {path: numbers.split() for method, path, numbers in found if method == "GET"}


def test_once_prints_one_plain_table(used):
    sidecar, _ = used
    for target in (
        [sidecar.metrics_url + "/metrics"],
        ["--metrics", f"127.0.0.1:{sidecar.metrics_port}"],
    ):
        done = run([PROXY, "top", *target, "--once", "--interval", "300ms"])
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout and "METHOD" in done.stdout
        table = rows(done.stdout)
        assert {path: numbers[1:3] for path, numbers in table.items()} == {
            "/ruok": ["30", "0"],
            "/fail": ["10", "100"],
            "/users/{id}": ["5", "0"],
        }
        assert "45 in all  22% errors" in done.stdout and "failed  app: 5xx 10" in done.stdout
        assert "app up" in done.stdout
    # It is no scraper: nobody waits for it at the end.
    assert sidecar.readyz() == 200


def test_the_screen_shows_traffic_and_obeys_keys(used, terminal):
    sidecar, client = used
    screen = terminal(f"{PROXY} top --metrics 127.0.0.1:{sidecar.metrics_port} --interval 300ms")
    shown = screen.shows("/users/{id}")
    assert rows(shown)["/ruok"][1] == "30"
    for _ in range(12):
        client("GET", "/ruok")
    wait_until(lambda: rows(screen.screen()).get("/ruok", [0, 0])[1] == "42", "12 more requests")

    def order():
        return list(rows(screen.screen()))

    screen.keys("c")
    screen.shows("COUNTv")
    assert order() == ["/ruok", "/fail", "/users/{id}"]
    screen.keys("c")
    screen.shows("COUNT^")
    assert order() == ["/users/{id}", "/fail", "/ruok"]
    screen.keys("e")
    screen.shows("ERR%v")
    assert order()[0] == "/fail"
    screen.keys("/", "u", "s", "e", "r")
    screen.shows("search: user_")
    screen.lacks("/fail ")
    assert order() == ["/users/{id}"]
    screen.keys("Escape")
    screen.shows("/fail")
    screen("resize-window", "-x", "60", "-y", "10")
    screen.shows("ERR%v")
    assert all(len(line) <= 60 for line in screen.screen().splitlines())
    screen.keys("q")
    assert "METHOD" not in screen.shows("ENDED 0"), "the screen is what it was before"


def test_a_tiny_terminal_and_one_without_colours_show_the_figures(used, terminal):
    sidecar, client = used
    command = f"{PROXY} top 127.0.0.1:{sidecar.metrics_port} --interval 300ms"
    coloured = terminal(command)
    red = "\x1b[38;5;9m"

    def fails_in_red():
        client("GET", "/fail")
        return red in coloured("capture-pane", "-pe")

    wait_until(fails_in_red, "errors are red")
    plain = terminal(f"NO_COLOR=1 {command}", width=40, height=10)
    plain.shows("/fail")

    def seen_failing():
        client("GET", "/fail")
        return re.search(r"/fail .* 100$", plain.screen(), re.MULTILINE) and plain.screen()

    shown = wait_until(seen_failing, "the errors are on the small screen")
    assert "failed  app: 5xx" in shown and "ERR%" in shown
    assert all(len(line) <= 40 for line in shown.splitlines())
    assert red not in plain("capture-pane", "-pe")
    plain("resize-window", "-x", "12", "-y", "2")
    plain.lacks("/fail")
    plain("resize-window", "-x", "110", "-y", "24")
    assert rows(plain.shows("/users/{id}"))["/fail"][2] == "100"


def test_a_pipe_is_told_of_once(used):
    sidecar, _ = used
    done = run([PROXY, "top", f"127.0.0.1:{sidecar.metrics_port}"])
    assert done.returncode == 1 and done.stdout == "" and "--once" in done.stderr


def test_a_sidecar_that_is_not_there_is_waited_for(processes, terminal):
    port, listen = free_port(), free_port()
    screen = terminal(f"{PROXY} top :{port} --interval 300ms")
    screen.shows("trying again")
    addresses = [f"--metrics=127.0.0.1:{port}", f"--listen=127.0.0.1:{listen}"]
    processes.spawn("late", [PROXY, *addresses, f"--upstream=127.0.0.1:{free_port()}"])
    screen.lacks("trying again")
    assert requests.get(f"http://127.0.0.1:{listen}/x", timeout=5).status_code == 502
    screen.shows("connection_refused 1 (1)")
    assert "APP DOWN" in screen.screen()


def test_a_signal_gives_the_terminal_back(used, terminal):
    sidecar, _ = used
    for number, key in ((signal.SIGTERM, None), (None, "C-c")):
        screen = terminal(f"{PROXY} top --metrics 127.0.0.1:{sidecar.metrics_port}")
        screen.shows("/users/{id}")
        if key:
            screen.keys(key)
        else:
            shell = screen.pane_pid()
            with open(f"/proc/{shell}/task/{shell}/children") as children:
                os.kill(int(children.read().split()[0]), number)
        assert "METHOD" not in screen.shows("ENDED 0")
        assert screen("display-message", "-p", "#{alternate_on} #{cursor_flag}").split() == [
            "0",
            "1",
        ]
        screen.end()


def test_it_ends_when_its_terminal_is_gone(used, terminal):
    sidecar, _ = used
    screen = terminal(f"{PROXY} top --metrics 127.0.0.1:{sidecar.metrics_port}")
    screen.shows("/users/{id}")
    shell = screen.pane_pid()
    with open(f"/proc/{shell}/task/{shell}/children") as children:
        pid = int(children.read().split()[0])
    screen.end()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the program has ended", 5)


def test_it_ends_when_a_terminal_is_gone_that_is_not_its_own(used, processes):
    """Nobody sends SIGHUP to a process whose session has no terminal."""
    sidecar, _ = used
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [PROXY, "top", sidecar.metrics_url],
        stdin=inner,
        stdout=inner,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    processes.running.append(process)
    os.close(inner)
    # The other screen of the terminal: keys are read from now on.
    wait_until(lambda: b"[?1049h" in os.read(outer, 1 << 16), "the screen is opened", 10)
    os.close(outer)
    wait_until(lambda: process.poll() is not None, "it ends", 10)
