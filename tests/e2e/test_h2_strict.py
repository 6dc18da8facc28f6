"""Every rule of `h2_rules` and `h2_message_rules`, against the sidecar's port.

In plain text and inside TLS, before a backend of either protocol.
"""

import ssl

import h2_message_rules  # noqa: F401  Adds its rules.
import pytest
from h2_backend import H2Backend
from h2_frames import Connection
from h2_rules import RULES
from helpers import Processes, Proxy
from peers import Backend, answering
from test_tls import certificate

BODY = b"long enough to split"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + BODY

NAMES = [f"{section} {name}" for section, name, _ in RULES]


def answer(connection, stream, request):
    connection.reply(stream, 200, b"" if request[":method"] == "HEAD" else BODY)


@pytest.fixture(
    scope="module", params=["h2c to http/1", "h2c to h2c", "tls to http/1", "tls to h2c"]
)
def target(request, tmp_path_factory):
    """The port of a sidecar, and how to speak TLS to it."""
    folder = tmp_path_factory.mktemp("h2")
    processes, tls, flags = Processes(folder), None, []
    if request.param.startswith("tls"):
        cert, key = certificate(folder, "app")
        flags = ["--tls-cert", cert, "--tls-key", key]
        tls = ssl.create_default_context(cafile=cert)
        tls.set_alpn_protocols(["h2"])
    http2 = request.param.endswith("to h2c")
    with H2Backend(answer) if http2 else Backend(answering(LONG)) as backend:
        yield Proxy(processes, backend.upstream, *flags).port, tls
    processes.kill_all()


@pytest.mark.parametrize("number", range(len(RULES)), ids=NAMES)
def test_rule(target, number):
    port, tls = target
    opened = []

    def connect(**kwargs):
        opened.append(Connection(port, tls=tls, **kwargs))
        return opened[-1]

    try:
        RULES[number][2](connect)
    finally:
        for connection in opened:
            connection.socket.close()


def test_there_are_as_many_rules_as_strict_suites_have():
    assert len(RULES) >= 146 and len(set(NAMES)) == len(NAMES)
