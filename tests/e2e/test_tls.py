"""TLS to the upstream, asked by `proxy check`, against OpenSSL as the other side."""

import socket
import ssl
import threading

import pytest
import requests
from helpers import PROXY, run, tool, wait_until

OPENSSL = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def certificate(folder, name, host="localhost", ca="FALSE"):
    """Makes a certificate that signed itself, for one host; returns certificate and key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    argv = [tool("openssl"), *OPENSSL, "-out", cert, "-keyout", key, "-days", "2"]
    argv += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{host}"]
    made = run([*argv, "-addext", f"basicConstraints=critical,CA:{ca}"])
    assert made.returncode == 0, made.stderr
    key.chmod(0o600)
    return cert, key


class Upstream:
    """Accepts one connection after another and does the handshake with each."""

    def __init__(self, cert, key, version=None):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        if version:
            # What is obsolete has to be asked for.
            self.context.set_ciphers("ALL:@SECLEVEL=0")
            self.context.minimum_version = self.context.maximum_version = version
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.versions = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                plain, _ = self.socket.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(plain, server_side=True) as secure:
                    self.versions.append(secure.version())
            except OSError:
                self.versions.append("failed")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


def check(*flags):
    return run([PROXY, "check", "--listen", ":0", "--metrics", ":0", *map(str, flags)])


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        (ssl.TLSVersion.TLSv1_3, True),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_1, False),
    ],
)
def test_an_upstream_speaks_tls_1_2_or_later(tmp_path, version, accepted):
    cert, key = certificate(tmp_path, "app")
    with Upstream(cert, key, version) as upstream:
        done = check("--upstream", f"https://localhost:{upstream.port}", "--upstream-ca", cert)
    assert (done.returncode == 0) == accepted, done.stderr
    if accepted:
        assert "its certificate is valid" in done.stdout
        assert upstream.versions == [version.name.replace("_", ".")]
    else:
        assert "TLS" in done.stderr and upstream.versions == ["failed"]


@pytest.mark.parametrize(
    ("host", "ca", "trusted", "says"),
    [
        ("app.example", "FALSE", "app", "not for `localhost` but for app.example"),
        ("localhost", "FALSE", "other", "not signed by a certificate of"),
        ("localhost", "TRUE", "app", "CA:TRUE"),
    ],
)
def test_an_upstream_that_cannot_be_verified_is_refused_with_advice(
    tmp_path, host, ca, trusted, says
):
    pair = {name: certificate(tmp_path, name, host, ca) for name in ("app", "other")}
    with Upstream(*pair["app"]) as upstream:
        url = f"https://localhost:{upstream.port}"
        done = check("--upstream", url, "--upstream-ca", pair[trusted][0])
    assert done.returncode == 1 and says in done.stderr, done.stderr


def test_a_plain_upstream_is_told_from_one_with_tls(nginx, tmp_path):
    cert, _ = certificate(tmp_path, "app")
    done = check("--upstream", f"https://{nginx.upstream}", "--upstream-ca", cert)
    assert done.returncode == 1 and "TLS" in done.stderr, done.stderr


def test_certificates_of_the_listener_are_checked_with_the_flags(tmp_path):
    cert, key = certificate(tmp_path, "app")
    _, other = certificate(tmp_path, "other")
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        flags = ["--upstream", f"127.0.0.1:{upstream.getsockname()[1]}", "--tls-cert", cert]
        good = check(*flags, "--tls-key", key)
        bad = check(*flags, "--tls-key", other)
    assert good.returncode == 0 and "certificate of --listen valid until 20" in good.stdout, (
        good.stderr
    )
    assert bad.returncode == 1 and "not the private key of --tls-cert" in bad.stderr
    assert str(other) in bad.stderr and str(cert) in bad.stderr


def test_otel_names_tell_the_scheme_that_clients_use(nginx, proxy, tmp_path):
    cert, key = certificate(tmp_path, "listener")
    tls = ("--tls-cert", cert, "--tls-key", key)
    for flags, scheme in (((), "http"), (tls, "https")):
        sidecar = proxy(nginx.upstream, "--naming", "otel", *flags)
        url = f"{scheme}://localhost:{sidecar.port}/"
        assert requests.get(url, verify=str(cert), timeout=5).status_code == 200
        name = "http_server_request_duration_seconds_count"
        wait_until(lambda: sidecar.samples().total(name) == 1, "a request is counted")
        assert sidecar.samples().table(name, "url_scheme") == {(scheme,): 1}


def secured(proxy, upstream, cert, key, *flags):
    """A sidecar that serves HTTPS."""
    return proxy(upstream, "--tls-cert", str(cert), "--tls-key", str(key), *flags)


def curl(sidecar, cert, *flags):
    argv = [
        tool("curl"),
        "-sS",
        "--cacert",
        cert,
        "-o",
        "/dev/null",
        "-w",
        "%{http_version} %{http_code}",
    ]
    return run([*argv, *flags, f"https://localhost:{sidecar.port}/"], timeout=20)


@pytest.mark.parametrize(("flag", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_clients_speak_either_protocol_over_tls(nginx, proxy, tmp_path, flag, version):
    cert, key = certificate(tmp_path, "app")
    sidecar = secured(proxy, nginx.upstream, cert, key)
    done = curl(sidecar, cert, flag)
    assert done.stdout == f"{version} 200", done.stderr
    wait_until(lambda: 'status="200"' in sidecar.page().text, "the request is counted")
    assert 'redcar_tls_handshakes_total{result="ok"} 1' in sidecar.page().text


def test_an_https_upstream_is_spoken_to_and_verified(nginx, proxy, tmp_path):
    cert, key = certificate(tmp_path, "app")
    other, _ = certificate(tmp_path, "other")
    inner = secured(proxy, nginx.upstream, cert, key)
    outer = proxy(f"https://localhost:{inner.port}", "--upstream-ca", str(cert))
    for _ in range(3):
        assert requests.get(outer.url, timeout=10).status_code == 200
    doubter = proxy(f"https://localhost:{inner.port}", "--upstream-ca", str(other))
    assert requests.get(doubter.url, timeout=10).status_code == 502
    wait_until(
        lambda: 'error="tls_certificate_error"' in doubter.page().text, "the reason is counted"
    )


def test_a_renewed_certificate_is_served_and_no_connection_is_dropped(nginx, proxy, tmp_path):
    cert, key = certificate(tmp_path, "app")
    old = cert.read_bytes()
    sidecar = secured(proxy, nginx.upstream, cert, key)
    address = ("127.0.0.1", sidecar.port)
    context = ssl.create_default_context(cadata=old.decode())
    with context.wrap_socket(
        socket.create_connection(address), server_hostname="localhost"
    ) as kept:
        certificate(tmp_path, "app")
        assert cert.read_bytes() != old
        served = lambda: ssl.get_server_certificate(address).strip() == cert.read_text().strip()
        wait_until(served, "the new certificate is served", 15)
        kept.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert kept.recv(100).startswith(b"HTTP/1.1 200")


def test_plain_http_at_the_tls_port_is_told_so_and_the_next_client_served(nginx, proxy, tmp_path):
    cert, key = certificate(tmp_path, "app")
    sidecar = secured(proxy, nginx.upstream, cert, key)
    told = requests.get(f"http://127.0.0.1:{sidecar.port}/", timeout=10)
    assert told.status_code == 400 and "speaks HTTPS" in told.text
    assert len(told.content) == int(told.headers["content-length"])
    assert curl(sidecar, cert).stdout.endswith(" 200")
    assert 'redcar_tls_handshakes_total{result="failed"} 1' in sidecar.page().text
