"""The systemd units, as far as systemd can judge them without being the init of this machine, and
a restart with its sockets."""

import http.client
import re
import shlex
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from artefacts import EXAMPLES
from helpers import PROXY, clean_env, free_port, run, tool, wait_until

UNIT = EXAMPLES / "systemd" / "redcar.service"
SOCKETS = [EXAMPLES / "systemd" / name for name in ("redcar.socket", "redcar-metrics.socket")]


def verify(folder, text):
    unit = folder / "redcar.service"
    unit.write_text(text.replace("/usr/local/bin/proxy", str(PROXY)))
    units = [unit, *(folder / socket_unit.name for socket_unit in SOCKETS)]
    for socket_unit in SOCKETS:
        (folder / socket_unit.name).write_text(socket_unit.read_text())
    return run([tool("systemd-analyze"), "verify", "--man=no", *units])


def test_systemd_accepts_the_units_without_a_word(tmp_path):
    answer = verify(tmp_path, UNIT.read_text())
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_systemd_would_notice_a_wrong_key(tmp_path):
    answer = verify(tmp_path, UNIT.read_text().replace("ProtectClock=", "ProtectClok="))
    assert "ProtectClok" in answer.stderr


def test_what_the_unit_leaves_the_sidecar_is_little():
    """Exposure from 0 to 10, ten times as large for the threshold; over it is an error."""
    flags = ["--offline=true", "--threshold=15", "--no-pager"]
    answer = run([tool("systemd-analyze"), "security", *flags, UNIT])
    assert answer.returncode == 0, answer.stdout[-300:] + answer.stderr


def test_the_flags_of_the_unit_are_flags_of_the_program():
    command = re.search(r"^ExecStart=(.+)$", UNIT.read_text(), re.MULTILINE)[1]
    answer = run([PROXY, "check", *shlex.split(command)[1:]])
    assert "flags are valid" in answer.stdout, answer.stderr


def test_the_sockets_have_the_names_and_ports_that_the_sidecar_knows():
    texts = [socket_unit.read_text() for socket_unit in SOCKETS]
    names = [re.search(r"^FileDescriptorName=(.+)$", text, re.MULTILINE)[1] for text in texts]
    assert names == ["listen", "metrics"]
    ports = [re.search(r"^ListenStream=.*?(\d+)$", text, re.MULTILINE)[1] for text in texts]
    assert ports == ["7001", "9464"]


# What systemd does with a service and its sockets: they stay open, and one process follows the
# other. systemd-socket-activate alone starts one process only.
SUPERVISOR = """
while :; do
    sh -c 'export LISTEN_PID=$$; echo $$ >"$0.new"; mv "$0.new" "$0"; exec "$@"' "$1" "${@:2}"
    echo "$?" >>"$1.codes"
done
"""


class Activated:
    """A sidecar with sockets of systemd-socket-activate, which are there before and after it."""

    def __init__(self, processes, upstream, *flags, names="listen:metrics"):
        self.port, self.metrics_port = free_port(), free_port()
        self.pid_file = processes.folder / "sidecar.pid"
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(processes.folder / "notify"))
        self.told.settimeout(10)
        program = [PROXY, "--upstream", upstream, "--log-format", "json", *flags]
        # Nobody listens on the ports of these flags: the sockets win.
        program += ["--listen", "127.0.0.1:1", "--metrics", "127.0.0.1:2"]
        sockets = [f"--listen=127.0.0.1:{port}" for port in (self.port, self.metrics_port)]
        # By order where there are no names; the program exists only after the first connection.
        named = [f"--fdname={names}"] if names else []
        notify = f"--setenv=NOTIFY_SOCKET={processes.folder / 'notify'}"
        supervisor = ["bash", "-c", SUPERVISOR, "supervisor", self.pid_file]
        self.process = processes.spawn(
            "activated",
            [tool("systemd-socket-activate"), *sockets, *named, notify, *supervisor, *program],
        )
        wait_until(lambda: self.answers("/readyz") == 200, "the sidecar serves", 20)

    def answers(self, path):
        try:
            return requests.get(
                f"http://127.0.0.1:{self.metrics_port}{path}", timeout=10
            ).status_code
        except requests.exceptions.ConnectionError:
            return None

    @property
    def pid(self):
        return int(self.pid_file.read_text())

    def restart(self):
        """As `systemctl restart`: one ends in good order, and the next one follows."""
        before = self.pid
        run(["kill", str(before)])
        wait_until(lambda: self.pid != before, "the next process", 20)

    def codes(self):
        return Path(f"{self.pid_file}.codes").read_text().split()


@pytest.mark.parametrize("names", ["listen:metrics", None])
def test_a_restart_with_sockets_of_systemd_loses_no_request(gunicorn, processes, names):
    sidecar = Activated(processes, gunicorn("gthread").upstream, names=names)
    assert sidecar.told.recv(100) == b"READY=1\n"
    stop = threading.Event()

    def visit():
        """Keeps a connection for as long as it may, and opens another: no request is sent twice."""
        count, client = 0, None
        while not stop.is_set():
            client = client or http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=20)
            client.request("GET", "/ruok")
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, b"imok")
            count += 1
            if answer.headers.get("Connection", "").lower() == "close":
                client.close()
                client = None
        return count

    def connect_anew():
        """A connection for each request."""
        count = 0
        while not stop.is_set():
            answer = requests.get(f"http://127.0.0.1:{sidecar.port}/ruok", timeout=20)
            assert (answer.status_code, answer.content) == (200, b"imok")
            count += 1
        return count

    def probe():
        """The metrics port is late meanwhile, and never away."""
        count = 0
        while not stop.is_set():
            assert sidecar.answers("/livez") == 200
            count += 1
            time.sleep(0.05)  # The pace of the probe.
        return count

    with ThreadPoolExecutor(9) as pool:
        visitors = [pool.submit(visit) for _ in range(4)]
        visitors += [pool.submit(connect_anew) for _ in range(4)]
        visitors += [pool.submit(probe)]
        try:
            for _ in range(3):
                sidecar.restart()
                assert sidecar.told.recv(100) == b"STOPPING=1\n"
                assert sidecar.told.recv(100) == b"READY=1\n"
                if any(visitor.done() for visitor in visitors):
                    break
        finally:
            stop.set()
        counts = [visitor.result(20) for visitor in visitors]
    assert sidecar.codes() == ["0", "0", "0"]
    assert min(counts) > 3, counts


def test_sockets_that_nobody_can_place_are_an_error():
    names = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "listen:smtp"}
    answer = run([PROXY, "--upstream", ":1"], env=clean_env(**names))
    assert (
        answer.returncode == 1 and "name them `listen`, `metrics` and `map-PORT`" in answer.stderr
    )
