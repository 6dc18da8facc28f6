//! Where the backend may be, and where clients may come from.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use redcar::config::{ListenAddr, Upstream};
use redcar::http::Forwarded;

use crate::backend::{Backend, OK};
use crate::client::Client;
use crate::sidecar::{Sidecar, address};

#[test]
fn the_upstream_may_be_a_unix_socket() {
    let directory = std::env::temp_dir().join(format!("redcar-it-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("app.sock");
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            while socket.read(&mut request).is_ok_and(|count| count > 0) {
                socket.write_all(OK.as_bytes()).unwrap();
            }
        }
    });
    let sidecar = Sidecar::to(Upstream::Unix(path), |_| {});
    let mut client = sidecar.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "ok");
    }
    sidecar.metric("redcar_upstream_requests_reused_total").eventually_is(2);
    sidecar.ends_after(3);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_missing_unix_socket_is_a_503() {
    let sidecar = Sidecar::to(Upstream::Unix("/nonexistent/app.sock".into()), |_| {});
    assert_eq!(sidecar.client().get("/").status(), 503);
    sidecar.ends_with(503, "destination_unavailable");
}

#[test]
fn the_upstream_may_be_a_host_name() {
    let backend = Backend::answering(OK);
    let upstream = Upstream::Tcp { host: "localhost".into(), port: backend.address.port() };
    let sidecar = Sidecar::to(upstream, |_| {});
    assert_eq!(sidecar.client().get("/").text(), "ok");
    sidecar.ends_after(1);
}

#[test]
fn a_name_that_does_not_resolve_is_a_502() {
    // RFC 6761 §6.4: `.invalid` never resolves.
    let upstream = Upstream::Tcp { host: "app.invalid".into(), port: 80 };
    let sidecar = Sidecar::to(upstream, |config| {
        config.timeouts.connect = std::time::Duration::from_secs(10);
    });
    assert_eq!(sidecar.client().get("/").status(), 502);
    sidecar.ends_with(502, "dns_error");
}

#[test]
fn the_upstream_may_be_reached_by_ipv6() {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let backend = Backend::on(listener, |connection| {
        while connection.request().is_some() {
            connection.send(OK);
        }
    });
    let sidecar = Sidecar::before(&backend);
    assert_eq!(sidecar.client().get("/").text(), "ok");
    sidecar.ends_after(1);
}

#[test]
fn an_upstream_without_a_host_is_this_machine_in_either_family() {
    for ip in [IpAddr::from(Ipv6Addr::LOCALHOST), IpAddr::from(Ipv4Addr::LOCALHOST)] {
        let backend = Backend::on(TcpListener::bind((ip, 0)).unwrap(), |connection| {
            while connection.request().is_some() {
                connection.send(OK);
            }
        });
        let port = backend.address.port();
        let sidecar = Sidecar::to(format!(":{port}").parse().unwrap(), |_| {});
        let mut client = sidecar.client();
        // A request that names no host gets the one that `:8000` always meant.
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.answer().text(), "ok", "{ip}");
        sidecar.metric("redcar_upstream_up").eventually_is(1);
        sidecar.ends_after(1);
        assert_eq!(backend.count(&format!("\r\nHost: 127.0.0.1:{port}\r\n")), 1, "{ip}");
    }
}

#[test]
fn a_client_may_come_by_ipv6() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| {
        config.listen = ListenAddr::Socket(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)));
        config.forwarded = Forwarded::Append;
    });
    assert_eq!(sidecar.client().get("/").text(), "ok");
    sidecar.ends_after(1);
    assert_eq!(backend.count("\r\nX-Forwarded-For: ::1\r\n"), 1);
}

#[test]
fn a_bare_port_takes_both_families_and_names_an_ipv4_peer_as_such() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| {
        config.listen = ListenAddr::Port(0);
        config.forwarded = Forwarded::Append;
    });
    let port = sidecar.address.port();
    for ip in ["127.0.0.1", "::1"] {
        let mut client = Client::connect(SocketAddr::new(ip.parse().unwrap(), port));
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(backend.count(&format!("\r\nX-Forwarded-For: {ip}\r\n")), 1);
    }
    sidecar.ends_after(2);
}

#[test]
fn a_backend_that_comes_back_is_found_without_a_restart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let sidecar = Sidecar::to(address(at), |_| {});
    assert_eq!(sidecar.client().get("/").status(), 502);
    let backend = Backend::on(TcpListener::bind(at).unwrap(), |connection| {
        while connection.request().is_some() {
            connection.send(OK);
        }
    });
    assert_eq!(sidecar.client().get("/").status(), 200);
    sidecar.metric("redcar_upstream_up").eventually_is(1);
    sidecar.ends_after(2);
    drop(backend);
}

#[test]
fn connections_spread_over_the_workers() {
    let backend = Backend::answering(OK);
    let sidecar = Sidecar::with(&backend, |config| config.threads = 4);
    let mut clients: Vec<_> = (0..16).map(|_| sidecar.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "ok");
    }
    // One to see whether the upstream is there, then one for each worker's own pool.
    sidecar.metric("redcar_upstream_connects_total").label("result", "ok").eventually_is(5);
    sidecar.ends_after(16);
}
