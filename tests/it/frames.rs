//! HTTP/2 on either side of the sidecar, in a test's own thread: an app that follows paths, and a
//! client that reads only what it is told to.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::{Builder, SendResponse};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, LocalOptions, LocalRuntime};
use tokio::time::timeout;

use crate::backend::Tally;
use crate::message::DEADLINE;

/// What `/big` is answered with: more than a stream's window.
pub(crate) const BIG_BYTES: usize = 1 << 20;

fn local_runtime() -> LocalRuntime {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().build_local(LocalOptions::default()).unwrap()
}

/// Runs a test's client.
pub(crate) fn run<T>(client: impl Future<Output = T>) -> T {
    local_runtime().block_on(async { timeout(DEADLINE, client).await.expect("in time") })
}

/// An app that speaks HTTP/2 with prior knowledge only.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    /// Connections that carried a stream, or a preface.
    pub(crate) connections: Tally,
    /// Of these, those that have ended.
    pub(crate) ended: Tally,
    /// The most streams that one connection carried at a time.
    pub(crate) most: Arc<AtomicUsize>,
}

impl App {
    /// Answers `/big` with [`BIG_BYTES`], `/wait` never, anything else with `ok`.
    pub(crate) fn start(max_streams: u32) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let app = Self {
            address: listener.local_addr().unwrap(),
            connections: Tally::default(),
            ended: Tally::default(),
            most: Arc::default(),
        };
        let (connections, ended, most) =
            (app.connections.clone(), app.ended.clone(), Arc::clone(&app.most));
        std::thread::spawn(move || {
            local_runtime().block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((socket, _)) = listener.accept().await {
                    let (connections, ended, most) =
                        (connections.clone(), ended.clone(), Arc::clone(&most));
                    tokio::task::spawn_local(async move {
                        let mut builder = Builder::new();
                        builder.max_concurrent_streams(max_streams);
                        // A connection that only looks whether somebody is there fails here.
                        if let Ok(connection) = builder.handshake(socket).await {
                            connections.add(1);
                            serve(connection, &most).await;
                            ended.add(1);
                        }
                    });
                }
            });
        });
        app
    }
}

async fn serve(mut connection: h2::server::Connection<TcpStream, Bytes>, most: &Arc<AtomicUsize>) {
    let now = Arc::new(AtomicUsize::new(0));
    while let Some(Ok((request, respond))) = connection.accept().await {
        most.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
        let now = Arc::clone(&now);
        tokio::task::spawn_local(async move {
            answer(request.uri().path(), respond).await;
            now.fetch_sub(1, Relaxed);
        });
    }
}

async fn answer(path: &str, mut respond: SendResponse<Bytes>) {
    let body = match path {
        "/big" => vec![b'x'; BIG_BYTES],
        "/wait" => {
            let _reset = poll_fn(|cx| respond.poll_reset(cx)).await;
            return;
        }
        _ => b"ok".to_vec(),
    };
    if let Ok(mut stream) = respond.send_response(http::Response::new(()), false) {
        let _gone = stream.send_data(body.into(), true);
    }
}

/// A client on one connection.
#[derive(Clone)]
pub(crate) struct Client {
    send: SendRequest<Bytes>,
    authority: String,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(64 * 1024).initial_connection_window_size(64 << 20);
        let (send, connection) = builder.handshake(socket).await.unwrap();
        tokio::task::spawn_local(async move {
            let _ended = connection.await;
        });
        Self { send, authority: address.to_string() }
    }

    pub(crate) async fn begin(&self, path: &str) -> ResponseFuture {
        let uri = format!("http://{}{path}", self.authority);
        let request = http::Request::builder().uri(uri).body(()).unwrap();
        let mut send = self.send.clone().ready().await.unwrap();
        send.send_request(request, true).unwrap().0
    }

    /// Asks, and waits for status and body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let (head, body) = self.begin(path).await.await.unwrap().into_parts();
        (head.status.as_u16(), String::from_utf8_lossy(&read(body).await).into_owned())
    }
}

pub(crate) async fn read(mut body: RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        let _connection_is_gone = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    bytes
}
