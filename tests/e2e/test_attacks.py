"""No client can kill, starve or lock out: each attack at the shipped limit of 128 MiB.

The same is done to HAProxy and nginx; what they do is in the report, `target/attacks/report.md`.
"""

import select
import sys
import time

import h2_frames as f
import pytest
from attacks import (
    MIB,
    PEERS,
    App,
    Attackers,
    Bystander,
    Redcar,
    ask,
    get,
    http2_port,
    indexed_heads,
    report,
)
from helpers import connect, wait_until

pytestmark = pytest.mark.alone

SUBJECTS = [Redcar, *PEERS]
MOST = 96 * MIB
WINDOW = (1 << 31) - 1


@pytest.fixture
def app(processes):
    return App(processes)


@pytest.fixture(params=SUBJECTS, ids=lambda subject: subject.name)
def subject(request, processes, app):
    found = request.param(processes, app)
    yield found
    found.close()


def judge(attack, subject, before, meanwhile, more="", floor=25):
    """Writes the row; what is promised is promised of redcar alone."""
    report(attack, subject, before, meanwhile, more)
    if subject.name != "redcar":
        return
    assert subject.alive(), "it died"
    assert subject.highest() < MOST, f"{subject.highest() / MIB:.1f} MiB"
    assert not meanwhile.failed, meanwhile
    # Below the floor the machine is measured, and what else it does: at a load of 11 on two
    # processors 13 ms beside all attacks but the waves (26, where 8 were before).
    assert meanwhile.p99 <= max(5 * before.p99, floor), (before, meanwhile)


def ended(sidecar):
    """All that was counted as started has ended, once the attackers have left."""
    wait_until(lambda: sidecar.in_flight() == 0, "no request is in flight", 20)
    wait_until(
        lambda: sidecar.samples().total("redcar_buffered_bytes") < MIB, "what was kept is gone", 20
    )


def test_f2_heads_that_are_a_few_bytes_on_the_wire(subject):
    before = ask(subject.port)
    with Attackers() as attackers:
        bystander = Bystander(subject.port, 4)
        for _ in range(100):
            s = attackers.connect(http2_port(subject))
            attackers.send(s, f.PREFACE + f.frame(f.SETTINGS))
            # What redcar takes of such a head, and what it refuses as others do.
            times = 3 if subject.name == "redcar" else 15
            attackers.send(s, indexed_heads("/hang", 100, times))
        judge("F2 heads by reference", subject, before, bystander.result(), "100 × 100 streams")
    if subject.name == "redcar":
        ended(subject.sidecar)


def test_f3_answers_that_nobody_reads(subject):
    before = ask(subject.port)
    with Attackers() as attackers:
        bystander = Bystander(subject.port, 4)
        opening = f.PREFACE + f.frame(f.SETTINGS, payload=f.setting((f.INITIAL_WINDOW, WINDOW)))
        opening += f.window_update(0, WINDOW - 65535)
        for _ in range(100):
            s = attackers.connect(http2_port(subject), receive_buffer=4096)
            heads = [
                f.frame(f.HEADERS, f.END_STREAM | f.END_HEADERS, 2 * n + 1, f.block(get("/big")))
                for n in range(30)
            ]
            attackers.send(s, opening + b"".join(heads))
        judge(
            "F3 answers that nobody reads",
            subject,
            before,
            bystander.result(),
            "100 × 30 × 128 KiB",
        )
    if subject.name == "redcar":
        ended(subject.sidecar)


HEADS = {
    # How many, of how many bytes, and how many of those at a time.
    "2,000 × 63 KB": (2000, 63_000, 63_000),
    "2,000 × 32 KB": (2000, 32_000, 32_000),
    "3,000 × 16 KB": (3000, 16_000, 16_000),
    "2,000 × 63 KB, 4 KB at a time": (2000, 63_000, 4000),
}


def part_of_head(size):
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: "
    return start + b"v" * (size - len(start))


@pytest.mark.parametrize("heads", HEADS)
def test_f4_heads_that_never_end(subject, heads):
    count, size, piece = HEADS[heads]
    before = ask(subject.port)
    head = part_of_head(size)
    with Attackers() as attackers:
        bystander = Bystander(subject.port, 6)
        if piece < size:
            for _ in range(count):
                attackers.connect(subject.port)
        for at in range(0, size, piece):
            for n in range(count):
                s = attackers.sockets[n] if piece < size else attackers.connect(subject.port)
                attackers.send(s, head[at : at + piece])
        judge(f"F4 heads that never end, {heads}", subject, before, bystander.result())
    if subject.name == "redcar":
        ended(subject.sidecar)


@pytest.mark.parametrize("threads", [1, 2])
def test_f4_waves_of_heads(processes, app, threads):
    """What the one wave has given back is there for the next."""
    subject = Redcar(processes, app, "--threads", str(threads))
    before = ask(subject.port)
    bystander = Bystander(subject.port, 4)
    for _ in range(3):
        with Attackers() as attackers:
            for _ in range(2000):
                attackers.send(attackers.connect(subject.port), part_of_head(63_000))
    attack = f"F4 waves of heads, threads: {threads}"
    # Thousands of connections in a second are work for the machine, whoever takes them.
    judge(attack, subject, before, bystander.result(), "3 × 2,000 × 63 KB", floor=100)
    ended(subject.sidecar)
    subject.close()


def test_requests_behind_one_that_hangs(processes, app):
    """Each client keeps a little, and they are many."""
    subject = Redcar(processes, app)
    before = ask(subject.port)
    request = b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n" + part_of_head(14_000)
    with Attackers() as attackers:
        bystander = Bystander(subject.port, 6)
        for _ in range(6000):
            attackers.send(attackers.connect(subject.port), request)
        found = bystander.result()
        attack, more = "requests behind one that hangs", "6,000 × 14 KB"
        judge(attack, subject, before, found, more, floor=100)
    subject.close()


def upload(stream, path="/sink", length=None):
    """The head of an upload."""
    fields = [(":method", "POST"), *get(path)[1:]]
    fields += [("content-length", str(length))] if length else []
    return f.frame(f.HEADERS, f.END_HEADERS, stream, f.block(fields))


def test_f9_uploads_that_the_app_does_not_read_hold_up_no_other(processes, app):
    subject = Redcar(processes, app)
    with f.Connection(subject.port) as c:
        for stream in (1, 3, 5, 7):
            c.send(upload(stream, "/never", 1 << 20))
            c.send(*[f.frame(f.DATA, 0, stream, bytes(16000)) for _ in range(4)])
        c.send(upload(9, "/sink", 64_000))
        for n in range(4):
            c.send(f.frame(f.DATA, f.END_STREAM if n == 3 else 0, 9, bytes(16_000)))
        c.gets_answer(9, 200)
    subject.close()


class Flood:
    """A process that sends one frame again and again, on eight connections."""

    CODE = """
import socket, sys, threading
port, block = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
opening = b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes.fromhex("000000040000000000")
def flood():
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
                s.sendall(opening)
                while True:
                    s.sendall(block * 4096)
        except OSError:
            pass
for _ in range(8):
    threading.Thread(target=flood).start()
"""

    def __init__(self, processes, port, frame):
        argv = [sys.executable, "-c", self.CODE, str(port), frame.hex()]
        self.process = processes.spawn("flood", argv)

    def stop(self):
        self.process.kill()
        self.process.wait()


FRAMES = {
    "WINDOW_UPDATE": f.window_update(0, 1),
    "unknown": f.frame(0xFA, 0, 0, b""),
    "SETTINGS ACK": f.frame(f.SETTINGS, f.ACK),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_f10_frames_that_carry_nothing(subject, processes, kind):
    before = ask(subject.port, 1)
    flood = Flood(processes, http2_port(subject), FRAMES[kind])
    time.sleep(0.3)  # Until it is under way.
    meanwhile = ask(subject.port, 2)
    flood.stop()
    share = meanwhile.count / 2 / before.count
    report(f"F10 {kind}", subject, before, meanwhile, f"{share:.2f} of the rate")
    if subject.name == "redcar":
        assert subject.alive() and not meanwhile.failed
        # The flood itself needs one of two processors, and a new connection again and again.
        assert share > 0.2, (before, meanwhile)


def test_a_client_that_floods_is_told_so(processes, app):
    sidecar = Redcar(processes, app).sidecar
    with f.Connection(sidecar.port) as c:
        for _ in range(50):
            c.send(f.frame(0xFA, 0, 0, b"") * 100)
        c.fails(f.ENHANCE_YOUR_CALM)
        assert c.seen[-1].code() == f.ENHANCE_YOUR_CALM
        c.is_closed()
    wait_until(
        lambda: sidecar.samples().total("redcar_shed_total", reason="flood") == 1, "it is counted"
    )


def test_f11_streams_do_not_take_all_descriptors(processes, app):
    """As many as fit; the others get 503, newcomers are served, and the metrics port answers."""
    subject = Redcar(processes, app, within=["prlimit", "--nofile=2000:2000"])
    before = ask(subject.port)
    with Attackers() as attackers:
        for _ in range(25):
            s = attackers.connect(subject.port)
            heads = [
                f.frame(f.HEADERS, f.END_STREAM | f.END_HEADERS, 2 * n + 1, f.block(get("/hang")))
                for n in range(100)
            ]
            attackers.send(s, f.PREFACE + f.frame(f.SETTINGS) + b"".join(heads))
        wait_until(lambda: subject.sidecar.in_flight() >= 1000, "they have what there is")
        meanwhile = ask(subject.port, 2)
        began = time.monotonic()
        assert subject.sidecar.readyz() == 200
        assert time.monotonic() - began < 1
        # Each on a connection of its own.
        for _ in range(50):
            with connect(subject.port) as s:
                s.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
                assert s.recv(100).startswith(b"HTTP/1.1 200")
        limit = "connection_limit_reached"
        wait_until(
            lambda: subject.sidecar.samples().total("http_requests_total", error=limit) >= 1000,
            "the others get 503",
        )
        judge("F11 streams beyond the descriptors", subject, before, meanwhile, "25 × 100 of 2,000")
    ended(subject.sidecar)
    subject.close()


def test_f12_idle_connections_give_way(processes, app):
    most = 200
    subject = Redcar(processes, app, "--max-connections", str(most))
    with Attackers() as attackers:
        idle = [attackers.connect(subject.port) for _ in range(most)]
        for s in idle:
            s.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
            assert s.recv(1000).startswith(b"HTTP/1.1 200")
        for _ in range(20):
            s = attackers.connect(subject.port)
            s.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
            assert s.recv(1000).startswith(b"HTTP/1.1 200")
        # Those of the oldest have gone, with a FIN and nothing else.
        gone = select.select(idle, [], [], 0)[0]
        assert len(gone) == 20 and set(gone) <= set(idle[:60])
        assert [s.recv(100) for s in gone] == [b""] * 20
        idle[-1].sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle[-1].recv(1000).startswith(b"HTTP/1.1 200")
    samples = subject.sidecar.samples()
    assert samples.total("redcar_shed_total", reason="idle") == 20
    assert samples.requests() == {("/ok", "GET", "200", ""): most + 21}
    subject.close()


UPLOAD = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as s:
    s.sendall(b"POST /sink HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 1000000000000\\r\\n\\r\\n")
    block = bytes(1 << 20)
    while True:
        s.sendall(block)
"""


def test_f14_an_upload_at_full_speed(subject, processes):
    before = ask(subject.port, 1)
    process = processes.spawn("upload", [sys.executable, "-c", UPLOAD, str(subject.port)])
    time.sleep(0.3)  # Until it is under way.
    meanwhile = ask(subject.port, 2)
    process.kill()
    process.wait()
    judge("F14 an upload at full speed", subject, before, meanwhile)


def test_b6_an_http2_upload_that_stops_has_a_time_limit(processes, app):
    sidecar = Redcar(processes, app, "--idle-timeout", "1s").sidecar
    with f.Connection(sidecar.port) as c:
        c.send(upload(1, "/sink", 1000))
        began = time.monotonic()
        c.wait_for(lambda x: x.kind == f.RST_STREAM and x.stream == 1, "the end of the stream")
        assert 0.9 < time.monotonic() - began < 1.6
        # A call, in which it may be the app's turn, has none.
        call = [(":method", "POST"), *get("/sink")[1:], ("content-type", "application/grpc")]
        c.send(f.frame(f.HEADERS, f.END_HEADERS, 3, f.block([*call, ("te", "trailers")])))
        with pytest.raises(TimeoutError):
            c.next(timeout=1.6)
    sidecar.wait_for_requests(
        {
            ("/sink", "POST", "408", "downstream_timeout"): 1,
            ("/sink", "POST", "499", "downstream_aborted"): 1,
        }
    )
