"""Fixtures: the components a test starts. All of them end with the test, whatever happens."""

import signal

import pytest

pytest.register_assert_rewrite("helpers", "peers", "apps", "h2_frames")

from helpers import PROXY, Gunicorn, Nginx, Processes, Prometheus, Proxy
from test_tls import certificate


def pytest_configure(config):
    """Programs start with signals as a login gives them.

    Whoever runs the tests in the background ignores SIGINT, and nohup SIGHUP; programs would inherit
    that. What has a handler here is the default there, and still does nothing to the tests.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_sessionstart(session):
    if not PROXY.is_file():
        pytest.exit(f"{PROXY} does not exist: cargo build --release, or set REDCAR_BIN", 2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows what every component wrote when a test fails."""
    outcome = yield
    report = outcome.get_result()
    processes = item.funcargs.get("processes") if hasattr(item, "funcargs") else None
    if report.failed and processes:
        report.sections += [(f"end of {name}", text) for name, text in processes.tails()]


@pytest.fixture
def processes(tmp_path):
    processes = Processes(tmp_path)
    yield processes
    processes.kill_all()


@pytest.fixture
def gunicorn(processes):
    """Starts the Flask app: `gunicorn("sync")`."""
    return lambda worker_class, *flags, **kwargs: Gunicorn(
        processes, worker_class, *flags, **kwargs
    )


@pytest.fixture
def nginx(processes):
    return Nginx(processes)


@pytest.fixture
def proxy(processes):
    """Starts a sidecar: `proxy(upstream, *flags)`."""
    return lambda upstream, *flags, **kwargs: Proxy(processes, upstream, *flags, **kwargs)


@pytest.fixture
def pair(processes):
    """Certificate and key for `localhost`."""
    return certificate(processes.folder, "localhost")


@pytest.fixture
def prometheus(processes):
    """Starts a Prometheus that scrapes this port, or these {job: port}, every second."""
    return lambda targets, **how: Prometheus(processes, targets, **how)
