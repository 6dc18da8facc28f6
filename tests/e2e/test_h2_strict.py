"""Every rule of `h2_rules` and `h2_message_rules`, against the sidecar's port."""

import h2_message_rules  # noqa: F401  Adds its rules.
import pytest
from h2_frames import Connection
from h2_rules import RULES
from helpers import Processes, Proxy
from peers import Backend, answering

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nlong enough to split"

NAMES = [f"{section} {name}" for section, name, _ in RULES]


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """The port of a sidecar."""
    processes = Processes(tmp_path_factory.mktemp("h2"))
    with Backend(answering(LONG)) as backend:
        yield Proxy(processes, backend.upstream).port
    processes.kill_all()


@pytest.mark.parametrize("number", range(len(RULES)), ids=NAMES)
def test_rule(target, number):
    opened = []

    def connect(**kwargs):
        opened.append(Connection(target, **kwargs))
        return opened[-1]

    try:
        RULES[number][2](connect)
    finally:
        for connection in opened:
            connection.socket.close()


def test_there_are_as_many_rules_as_strict_suites_have():
    assert len(RULES) >= 146 and len(set(NAMES)) == len(NAMES)
