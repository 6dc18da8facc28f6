"""The command line, as a person types it."""

import json
import socket
import tempfile
from pathlib import Path

import pytest
from helpers import PROXY, KeepAlive, free_port, run, wait_until


def proxy_says(*argv, code, env=None):
    """Runs the program to its end and returns what it printed on standard error."""
    done = run([PROXY, *argv], timeout=10, env=env)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.strip(), "an error without a word"
    assert "panicked" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        (["no-such-command"], "no-such-command"),
        (["--listen", ":70000"], "70000"),
        (["--listen", ":-1"], ":-1"),
        (["--listen", "nonsense"], "nonsense"),
        (["--upstream", ":0"], "0"),
        (["--upstream", "app:70000"], "70000"),
        (["--upstream", ""], "upstream"),
        (["--upstream", "http://app:8000/path"], "path"),
        (["--upstream", "https://app:8443/path"], "path"),
        (["--upstream", "app:8000", "--upstream-ca", "ca.pem"], "https upstream"),
        (["--tls-cert", "cert.pem"], "--tls-key"),
        (["--tls-key", "key.pem"], "--tls-cert"),
        (["--upstream", "unix:"], "unix:"),
        (["--listen", ":7001", "--upstream", ":7001"], "loop"),
        (["--listen", "127.0.0.1:7001", "--upstream", "localhost:7001"], "loop"),
        (["--metrics", ":9464", "--upstream", ":9464"], "loop"),
        (["--listen", ":7001", "--metrics", ":7001"], "different ports"),
        (["--route", "users"], "must begin with"),
        (["--route", "/users/{"], "/users/{"),
        (["--route", "/{a}{b}"], "/{a}{b}"),
        (["--route", "/{*rest}/more"], "/{*rest}/more"),
        (["--route", "/users/{id}", "--route", "/users/{name}"], "same paths"),
        (["--routes-file", "/no/such/file"], "/no/such/file"),
        (["--openapi", "/no/such/file"], "/no/such/file"),
        (["--naming", "statsd"], "statsd"),
        (["--paths", "some"], "some"),
        (["--exclude-path", "health"], "begins with `/`"),
        (["--exclude-path", "/users/{id}"], "no braces"),
        (["--exclude-path", "/a[b"], "/a[b"),
        (["--exclude-user-agent", ""], "--exclude-user-agent"),
        (["paths"], "FILE"),
        (["paths", "-", "--max-series", "1"], "--max-series"),
        (["--buckets", "1,0.5"], "0.5"),
        (["--buckets", ""], "buckets"),
        (["--buckets", "1,1"], "1"),
        (["--buckets", "0.1,x"], "x"),
        (["--buckets", "0.1,NaN"], "NaN"),
        (["--threads", "0"], "--threads"),
        (["--max-series", "1"], "--max-series"),
        (["--max-paths", "-1"], "-1"),
        (["--header-timeout", "soon"], "soon"),
        (["--max-header-bytes", "64XB"], "64XB"),
        (["--known-methods", "GET,(x)"], "(x)"),
        (["--access-log", "xml"], "xml"),
        (["--listen"], "--listen"),
        (["completions", "cmd"], "cmd"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_exits_with_2_and_names_what_is_wrong(argv, says):
    assert says in proxy_says(*argv, code=2)


def test_wrong_usage_by_environment_exits_with_2_and_names_what_is_wrong():
    said = proxy_says("--metrics", ":0", env={"REDCAR_LISTEN": ":70000"}, code=2)
    assert "70000" in said and "--listen" in said


@pytest.mark.parametrize("flag", ["--listen", "--metrics"])
def test_a_port_in_use_exits_with_1_and_names_the_flag(flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"--listen": "127.0.0.1:0", "--metrics": "127.0.0.1:0"}
        ports[flag] = f"127.0.0.1:{taken.getsockname()[1]}"
        argv = [word for pair in ports.items() for word in pair]
        said = proxy_says(*argv, "--upstream", ":1", code=1)
    assert flag in said and ports[flag] in said


def test_a_bare_port_that_is_in_use_on_ipv4_alone_exits_with_1():
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        said = proxy_says("--listen", f":{port}", "--metrics", "127.0.0.1:0", code=1)
    assert "--listen" in said


def test_a_bare_port_answers_on_ipv4_and_ipv6(nginx, proxy):
    port = free_port()
    sidecar = proxy(nginx.upstream, listen=f":{port}")
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), timeout=5) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert s.recv(100).startswith(b"HTTP/1.1 200")
    assert sidecar.samples().total("http_requests_total", status="200") == 2


def test_flag_beats_environment_beats_default(nginx, proxy):
    by_environment = proxy(
        nginx.upstream, listen=None, env={"REDCAR_LISTEN": "127.0.0.1:0", "REDCAR_MAX_PATHS": "7"}
    )
    assert KeepAlive(by_environment.port)("GET", "/")[0] == 200
    samples = by_environment.samples()
    assert samples.total("redcar_paths_limit") == 7
    assert samples.total("redcar_series_limit") == 5000

    taken = str(by_environment.port)
    by_flag = proxy(
        nginx.upstream,
        *("--max-paths", "9"),
        env={"REDCAR_LISTEN": f"127.0.0.1:{taken}", "REDCAR_MAX_PATHS": "7"},
    )
    assert by_flag.port != by_environment.port
    assert by_flag.samples().total("redcar_paths_limit") == 9


def test_every_flag_has_its_environment_twin_in_the_help():
    text = run([PROXY, "--help"]).stdout
    flags = [line.split()[0] for line in text.splitlines() if line.startswith("      --")]
    assert len(flags) > 20
    for flag in flags:
        twin = "REDCAR_" + flag.removeprefix("--").replace("-", "_").upper()
        assert f"[env: {twin}=" in text, flag


def test_variables_that_kubernetes_sets_for_a_service_called_redcar_do_no_harm(nginx, proxy):
    sidecar = proxy(
        nginx.upstream,
        env={
            "REDCAR_PORT": "tcp://10.0.0.1:7001",
            "REDCAR_PORT_7001_TCP": "tcp://10.0.0.1:7001",
            "REDCAR_SERVICE_HOST": "10.0.0.1",
            "REDCAR_SERVICE_PORT": "7001",
        },
    )
    assert KeepAlive(sidecar.port)("GET", "/")[0] == 200


def test_healthcheck_tells_ready_from_not_ready_and_from_not_there(gunicorn, proxy):
    app = gunicorn("sync")
    sidecar = proxy(app.upstream, "--shutdown-delay", "20s")
    metrics = f"127.0.0.1:{sidecar.metrics_port}"

    def code(*flags):
        return run([PROXY, "healthcheck", "--metrics", metrics, *flags]).returncode

    assert code() == 0
    assert KeepAlive(sidecar.port)("GET", "/ruok")[0] == 200
    assert code("--upstream") == 0
    assert run([PROXY, "healthcheck"], env={"REDCAR_METRICS": metrics}).returncode == 0
    app.stop()
    assert KeepAlive(sidecar.port)("GET", "/ruok")[0] == 502
    assert (code(), code("--upstream")) == (0, 1)
    sidecar.signal()
    wait_until(lambda: sidecar.readyz() == 503, "/readyz says 503")
    assert code() == 1
    sidecar.signal()
    sidecar.wait_for_exit()
    assert code() == 1


def test_healthcheck_gives_up_on_a_port_that_says_nothing():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        metrics = f"127.0.0.1:{silent.getsockname()[1]}"
        said = proxy_says("healthcheck", "--metrics", metrics, "--timeout", "300ms", code=1)
    assert metrics in said


def test_check_says_whether_the_flags_are_valid_and_the_upstream_is_there(nginx):
    argv = [PROXY, "check", "--listen", ":0", "--metrics", ":0", "--upstream"]
    up = run([*argv, nginx.upstream, "--route", "/users/{id}"])
    assert up.returncode == 0 and nginx.upstream in up.stdout, up.stderr
    down = run([*argv, f"127.0.0.1:{free_port()}"])
    assert down.returncode == 1 and down.stderr
    assert run([*argv, nginx.upstream, "--route", "users"]).returncode == 2


@pytest.mark.parametrize(
    ("argv", "contains"),
    [
        (["--help"], "--upstream"),
        (["--version"], "0."),
        (["completions", "bash"], "complete -F"),
        (["completions", "zsh"], "#compdef"),
        (["completions", "fish"], "complete -c proxy"),
        (["man"], ".TH"),
    ],
)
def test_what_a_person_asks_for_is_printed(argv, contains):
    done = run([PROXY, *argv])
    assert done.returncode == 0 and contains in done.stdout and done.stderr == ""


def test_the_bash_completion_is_valid_bash():
    script = run([PROXY, "completions", "bash"]).stdout
    assert run(["bash", "-n", "-c", script]).returncode == 0


def test_the_programs_own_log_is_json_with_a_level_and_a_time(nginx, proxy):
    for line in proxy(nginx.upstream, log_level="debug").log():
        assert {"timestamp", "level", "message"} <= set(line), json.dumps(line)


def test_environment_that_does_not_parse_is_named_by_the_demo_as_well():
    said = proxy_says(
        *("demo", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--duration", "1s"),
        env={"REDCAR_BUCKETS": "nonsense"},
        code=2,
    )
    assert "nonsense" in said or "REDCAR_BUCKETS" in said or "--buckets" in said


def test_a_sub_command_may_stand_behind_the_flags(proxy, gunicorn):
    app = gunicorn("sync", workers=1)
    flags = ["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--upstream", app.upstream]
    before, behind = run([PROXY, *flags, "check"]), run([PROXY, "check", *flags])
    assert (before.returncode, before.stdout) == (0, behind.stdout), before.stderr
    wrong = run([PROXY, "--route", "/a", "healthcheck"])
    assert wrong.returncode == 2 and "--route" in wrong.stderr


def test_a_mistyped_variable_is_told_with_what_was_meant():
    answer = run([PROXY, "check", "--upstream", ":1"], env={"REDCAR_LITSEN": ":7001"})
    assert "REDCAR_LITSEN is no setting" in answer.stderr
    assert "did you mean REDCAR_LISTEN?" in answer.stderr


def test_check_tries_both_ports():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        answer = run([PROXY, "check", "--listen", address, "--metrics", "127.0.0.1:0"])
        assert f"note: {address} (--listen) is in use now" in answer.stdout
    answer = run([PROXY, "check", "--metrics", "192.0.2.1:1"])
    assert answer.returncode == 1 and "does not have that address" in answer.stderr


def test_the_program_goes_by_the_name_that_it_is_called():
    with tempfile.TemporaryDirectory() as folder:
        second = Path(folder) / "redcar"
        second.symlink_to(PROXY.resolve())
        assert run([second, "--version"]).stdout.startswith("redcar ")
        assert "Usage: redcar" in run([second, "--help"]).stdout
        assert "complete -c redcar" in run([second, "completions", "fish"]).stdout
        manual = run([second, "man"]).stdout
        for section in ("ENVIRONMENT", "SIGNALS", "EXIT STATUS", "EXAMPLES"):
            assert f'.SH "{section}"' in manual or f".SH {section}" in manual
        assert "redcar paths access.log" in manual
