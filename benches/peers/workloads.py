"""The catalogue of workloads, and the limit of open files that they need."""

import resource

from loads import H2, Fairness, Grpc, Latency, SystemCalls, Wrk
from processes import Failure
from situations import Beside, Flask, Idle, IdleH2, Scrape, Stuck


def raise_open_files():
    """As many open files as the system gives; what is started inherits it. Returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in [max(65536, hard), hard]:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            pass  # only the privileged may go over the hard limit
    raise Failure("the limit of open files cannot be set")


def most_idle(open_files):
    """Idle connections at most: a proxy may hold two descriptors for each, and some more."""
    return min(10_000, (open_files - 1000) // 2)


UPLOAD = 'wrk.method = "POST"\nwrk.body = string.rep("x", 1048576)\n'


def catalogue():
    """Every workload by name, in the order of the report."""
    found = [
        Wrk("small", "small GET, 64 keep-alive connections", "/"),
        Wrk("10k", "10 KB down, 64 connections", "/10k"),
        Wrk("100k", "100 KB down, 64 connections", "/100k"),
        Wrk("1m", "1 MB down, 64 connections", "/1m"),
        Wrk("1m-up", "1 MB up, 64 connections", "/upload", script=UPLOAD),
        Wrk(
            "connect",
            "a connection for each request, 64 at a time",
            "/",
            headers=["Connection: close"],
        ),
        H2("h2c", "HTTP/2 on both sides, 10 connections of 10 streams"),
        Grpc("grpc", "unary gRPC, 10 connections of 10 streams"),
        Latency("latency", "small GET at a fixed rate"),
        Fairness("fairness", "64 connections in a closed loop"),
        SystemCalls("syscalls", "system calls, small GET, 64 connections"),
        Idle("idle", "idle keep-alive connections"),
        IdleH2("idle-h2", "idle HTTP/2 connections"),
        Stuck("stuck", "recipients that ask for 64 MB and read nothing"),
        Beside("beside", "small GET at a fixed rate beside two uploads at full speed"),
        Scrape("scrape", "a scrape of many series"),
        Flask("flask", "Flask on Gunicorn, two sync workers, 16 connections, one core", []),
        Flask(
            "flask-threads",
            "Flask on Gunicorn, two workers of 8 threads, 16 connections, one core",
            ["--worker-class", "gthread", "--threads", "8"],
        ),
    ]
    return {workload.name: workload for workload in found}
