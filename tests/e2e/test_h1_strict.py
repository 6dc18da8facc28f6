"""Every row of `h1_rules`, against the sidecar's port: statuses, endings, what the backend saw."""

import time

import pytest
from h1_rules import CLOSES, NOTHING, RULES, STAYS
from helpers import Processes, Proxy
from peers import Backend, Ended, client

PROBE = b"GET /probe HTTP/1.1\r\nHost: app\r\n\r\n"


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A sidecar before a backend that answers 200 to everything."""
    processes = Processes(tmp_path_factory.mktemp("h1"))
    with Backend() as backend:
        yield Proxy(processes, backend.upstream), backend
    processes.kill_all()


def send(wire, data):
    pieces = data if isinstance(data, list) else [data]
    for number, piece in enumerate(pieces):
        if number:
            time.sleep(0.01)  # So that the pieces arrive apart.
        wire.send(piece)
    return b"".join(pieces)


def expected(statuses):
    """One entry an answer: the statuses that are right for it."""
    if statuses is None:
        return []
    answers = statuses if isinstance(statuses, list) else [statuses]
    return [(status,) if isinstance(status, int) else status for status in answers]


def speak(port, row):
    """Sends the row's bytes, holds the answers and the end against it."""
    _, _, data, statuses, then, _ = row
    got = []
    with client(port, timeout=5) as wire:
        sent = send(wire, data)
        method = sent.lstrip(b"\r\n").split(b" ")[0].decode("latin-1")
        try:
            for right in expected(statuses):
                got.append(wire.answer(method))
                assert got[-1].status in right, f"{got[-1].status} is not in {right}"
            if then == STAYS:
                assert wire.send(PROBE), "the connection is closed"
                assert wire.answer().status == 200
            elif then == CLOSES:
                rest = wire.how_it_ends()[1]
                assert not rest or statuses is None, f"more came: {rest!r}"
        except (Ended, TimeoutError, AssertionError) as error:
            raise AssertionError(f"{error!r}\n  sent {sent[:400]!r}\n  answers {got}") from None


@pytest.mark.parametrize("row", RULES, ids=lambda row: f"{row[0]}: {row[1]}")
def test_rule(chain, row):
    sidecar, backend = chain
    before = [len(stream) for stream in backend.streams]
    speak(sidecar.port, row)
    before += [0] * (len(backend.streams) - len(before))
    new = [bytes(s)[at:] for s, at in zip(backend.streams, before, strict=True)]
    new = b"".join(stream.partition(b"GET /probe ")[0] for stream in new)
    told = f"the backend saw {new!r}\n  sent {row[2]!r:.400}"
    seen = row[5]
    if seen is NOTHING:
        assert not new, told
    elif callable(seen):
        assert seen(new), told
    else:
        missing = [part for part in seen if part not in new]
        assert not missing, f"{missing} is missing: {told}"
