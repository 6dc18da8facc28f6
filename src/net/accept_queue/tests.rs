use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use socket2::{Domain, Socket, Type};

use super::*;

fn listener(address: &str, backlog: i32, v6_only: bool) -> (TcpListener, u16) {
    let address: SocketAddr = address.parse().expect("an address");
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    if address.is_ipv6() {
        socket.set_only_v6(v6_only).expect("an option");
    }
    socket.bind(&address.into()).expect("a port");
    socket.listen(backlog).expect("a listener");
    let listener = TcpListener::from(socket);
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

fn queue(upstream: &str) -> AcceptQueue {
    AcceptQueue::new(upstream.parse().expect("an upstream"))
}

fn look(queue: &mut AcceptQueue) -> (u64, u64) {
    let Waiting { connections, limit, .. } = queue.look().expect("a queue");
    (connections, limit)
}

#[test]
fn who_waits_is_seen_and_who_is_accepted_does_not_wait() {
    let (listener, port) = listener("127.0.0.1:0", 17, false);
    let mut queue = queue(&format!("127.0.0.1:{port}"));
    assert_eq!(look(&mut queue), (0, 17));
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    let _waiting = [connect(), connect(), connect()];
    assert_eq!(look(&mut queue), (3, 17));
    let _accepted = listener.accept().expect("one of them");
    assert_eq!(look(&mut queue), (2, 17));
    drop(listener);
    assert!(matches!(queue.look(), Err(Unseen::NobodyListens)));
}

#[test]
fn whatever_takes_connections_to_the_upstream_is_found() {
    for (bound, v6_only, upstream, is_found) in [
        ("0.0.0.0:0", false, "127.0.0.1:", true),
        ("0.0.0.0:0", false, ":", true),
        ("127.0.0.1:0", false, "localhost:", true),
        ("127.0.0.1:0", false, ":", true),
        ("[::1]:0", false, ":", true),
        ("[::]:0", false, "127.0.0.1:", true),
        ("[::]:0", true, "127.0.0.1:", false),
        ("[::]:0", true, "[::1]:", true),
        ("127.0.0.1:0", false, "[::1]:", false),
        ("127.0.0.2:0", false, "127.0.0.1:", false),
    ] {
        let (_listener, port) = listener(bound, 5, v6_only);
        let found = queue(&format!("{upstream}{port}")).look();
        assert_eq!(found.is_ok(), is_found, "{bound} {v6_only} {upstream}: {found:?}");
    }
}

#[test]
fn connections_that_the_kernel_drops_are_counted_from_the_first_look_on() {
    let (_listener, port) = listener("127.0.0.1:0", 0, false);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut queue = queue(&format!("127.0.0.1:{port}"));
    assert_eq!(queue.look().expect("a queue").dropped, Some(0));
    // One may wait beyond a limit of 0; the next ones are dropped without a word.
    let _waits = TcpStream::connect(address).expect("a connection");
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let moment = std::time::Duration::from_millis(50);
    let _in_vain = socket.connect_timeout(&address.into(), moment).expect_err("a full queue");
    assert!(queue.look().expect("a queue").dropped > Some(0));
    let other = queue.look().expect("a queue");
    assert_eq!((other.connections, other.limit), (1, 0));
    // A sidecar that starts now has not seen them.
    let upstream = queue.upstream.clone();
    assert_eq!(AcceptQueue::new(upstream).look().expect("a queue").dropped, Some(0));
}

#[test]
fn a_unix_socket_has_a_queue_and_is_found_again_after_a_restart() {
    let folder = std::env::temp_dir().join(format!("redcar-queue-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("app.sock");
    let upstream = format!("unix:{}", path.display());
    let mut queue = queue(&upstream);
    assert!(matches!(queue.look(), Err(Unseen::NobodyListens)));
    for waiting in [2, 3] {
        let listener = UnixListener::bind(&path).expect("a listener");
        let connect = |_| UnixStream::connect(&path).expect("a connection");
        let _waiting: Vec<_> = (0..waiting).map(connect).collect();
        for _ in 0..2 {
            let found = queue.look().expect("a queue");
            assert_eq!((found.connections, found.dropped), (waiting, None));
            assert!(found.limit > 3);
        }
        std::fs::remove_file(&path).expect("the file");
        drop(listener);
    }
    assert!(matches!(queue.look(), Err(Unseen::NobodyListens)));
    std::fs::remove_dir(&folder).expect("the folder");
}

#[test]
fn what_is_elsewhere_is_not_seen() {
    // An address for documentation.
    let elsewhere = queue("192.0.2.1:80").look();
    assert!(matches!(elsewhere, Err(Unseen::Elsewhere(_))), "{elsewhere:?}");
}
