//! HTTP/2 on both sides: a client and a backend by the h2 library, and a client of raw frames for
//! what the library would not send.
#![expect(clippy::disallowed_methods, reason = "tasks of runtimes that have one thread anyway")]

use std::collections::HashMap;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::runtime::Runtime;

use crate::message::DEADLINE;

/// What came on a stream, as far as it came.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
    /// Why it is not whole.
    pub(crate) reset: Option<Reason>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap()
}

async fn read_body(message: &mut Message, mut body: RecvStream) {
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                body.flow_control().release_capacity(data.len()).unwrap();
                message.body.extend_from_slice(&data);
            }
            Err(error) => {
                message.reset = error.reason();
                return;
            }
        }
    }
    match body.trailers().await {
        Ok(trailers) => message.trailers = trailers.unwrap_or_default(),
        Err(error) => message.reset = error.reason(),
    }
}

/// A client that keeps to the rules.
pub(crate) struct Client {
    runtime: Runtime,
    send: SendRequest<Bytes>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = runtime();
        let send = runtime.block_on(in_time(async {
            let socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let (send, connection) = h2::client::handshake(socket).await.unwrap();
            drop(tokio::spawn(connection));
            send
        }));
        Self { runtime, send }
    }

    /// Sends a request, with a body if there are trailers, and reads its answer.
    pub(crate) fn ask(&mut self, request: Request<()>, trailers: Option<HeaderMap>) -> Message {
        let send = self.send.clone();
        self.runtime.block_on(in_time(async {
            let mut send = send.ready().await.unwrap();
            let (response, mut upload) = send.send_request(request, trailers.is_none()).unwrap();
            if let Some(trailers) = trailers {
                upload.send_data(Bytes::from_static(b"hi"), false).unwrap();
                upload.send_trailers(trailers).unwrap();
            }
            let response = match response.await {
                Ok(response) => response,
                Err(error) => {
                    let reset = error.reason().or(Some(Reason::CONNECT_ERROR));
                    return Message { reset, ..Message::default() };
                }
            };
            let status = response.status().as_u16();
            let mut message = Message { status, ..Message::default() };
            read_body(&mut message, response.into_body()).await;
            message
        }))
    }
}

impl Client {
    /// Sends a GET on this connection, if the sidecar still takes one, and tells whether it was
    /// served.
    pub(crate) fn is_served(&mut self, path: &str) -> bool {
        let send = self.send.clone();
        self.runtime.block_on(in_time(async {
            let Ok(mut send) = send.ready().await else { return false };
            let Ok((response, _)) = send.send_request(request("GET", path), true) else {
                return false;
            };
            response.await.is_ok_and(|response| response.status() == 200)
        }))
    }
}

/// A GET or POST of this path.
pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://app{path}")).body(()).unwrap()
}

/// A trailer section of these fields.
pub(crate) fn fields(list: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in list {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, value.parse().unwrap());
    }
    map
}

/// An app that speaks HTTP/2.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Message>>>,
    /// Dropped with the backend, which ends its thread.
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Backend {
    /// Answers each request with this head, body and trailers.
    pub(crate) fn answering(head: HeaderMap, body: &'static str, trailers: HeaderMap) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let received: Arc<Mutex<Vec<Message>>> = Arc::default();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let log = Arc::clone(&received);
        std::thread::spawn(move || {
            let serve = async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let (log, head, trailers) = (Arc::clone(&log), head.clone(), trailers.clone());
                    drop(tokio::spawn(async move {
                        let Ok(mut connection) = h2::server::handshake(socket).await else {
                            return;
                        };
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            let answer = (head.clone(), body, trailers.clone());
                            drop(tokio::spawn(answer_one(
                                request,
                                respond,
                                answer,
                                Arc::clone(&log),
                            )));
                        }
                    }));
                }
            };
            runtime().block_on(async {
                tokio::select! { () = serve => {}, _ = stopped => {} }
            });
        });
        Self { address, received, _stop: stop }
    }

    /// The requests that came whole or broke, once their bodies have ended.
    pub(crate) fn received(&self) -> Vec<Message> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

async fn answer_one(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    (head, body, trailers): (HeaderMap, &'static str, HeaderMap),
    log: Arc<Mutex<Vec<Message>>>,
) {
    let upload = request.into_body();
    let mut message = Message::default();
    read_body(&mut message, upload).await;
    log.lock().unwrap().push(message);
    let mut response = Response::new(());
    *response.headers_mut() = head;
    // The sidecar may have given the request up.
    let Ok(mut stream) = respond.send_response(response, false) else { return };
    let _gone = stream.send_data(Bytes::from_static(body.as_bytes()), trailers.is_empty());
    if !trailers.is_empty() {
        let _gone = stream.send_trailers(trailers);
    }
}

pub(crate) const HEADERS: u8 = 1;
pub(crate) const CONTINUATION: u8 = 9;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
pub(crate) const END_STREAM: u8 = 1;
const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ending {
    pub(crate) status: Option<u16>,
    pub(crate) reset: Option<u32>,
    /// The connection ended instead.
    pub(crate) connection_ended: bool,
}

/// A client that sends any frames.
pub(crate) struct Frames {
    socket: TcpStream,
    pending: Vec<u8>,
    /// What came on each stream so far, and whether that is all.
    came: HashMap<u32, (Ending, bool)>,
    /// The status that came as a literal: an index beyond the static table means it.
    literal: u16,
}

impl Frames {
    /// Connects and says these settings.
    pub(crate) fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let socket = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let (pending, came) = (Vec::new(), HashMap::new());
        let mut frames = Self { socket, pending, came, literal: 0 };
        frames.socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        frames.send(SETTINGS, 0, 0, &payload);
        frames
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // The sidecar may have closed already.
        let _refused = self.socket.write_all(&frame);
    }

    /// A GET of this path, with these fields behind it.
    pub(crate) fn get(&mut self, stream: u32, path: &[u8], more: &[(&str, &[u8])]) {
        let mut fields: Vec<(&str, &[u8])> =
            vec![(":method", b"GET"), (":scheme", b"http"), (":path", path), (":authority", b"a")];
        fields.extend_from_slice(more);
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields));
    }

    /// A block in frames of 16 KiB.
    pub(crate) fn send_block(&mut self, flags: u8, stream: u32, block: &[u8]) {
        let pieces: Vec<_> = block.chunks(16 * 1024).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let last = if number + 1 == pieces.len() { END_HEADERS } else { 0 };
            let (kind, flags) = if number == 0 { (HEADERS, flags) } else { (CONTINUATION, 0) };
            self.send(kind, flags | last, stream, piece);
        }
    }

    fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let head = self.take(9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = self.take(length)?;
        Some((head[3], head[4], u32::from_be_bytes(head[5..9].try_into().unwrap()), payload))
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.pending.len() < count {
            let mut buffer = [0; 16 * 1024];
            match self.socket.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => self.pending.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing came: {error}"),
            }
        }
        let rest = self.pending.split_off(count);
        Some(std::mem::replace(&mut self.pending, rest))
    }

    /// Reads until this stream has ended.
    pub(crate) fn ending(&mut self, stream: u32) -> Ending {
        loop {
            if let Some((ending, true)) = self.came.get(&stream) {
                return *ending;
            }
            let Some((kind, flags, of, payload)) = self.frame() else {
                return Ending { connection_ended: true, ..Ending::default() };
            };
            let (ending, is_over) = self.came.entry(of).or_default();
            match kind {
                GOAWAY if payload[4..8] != [0; 4] => {
                    return Ending { connection_ended: true, ..Ending::default() };
                }
                HEADERS => {
                    if let Some(status) = status(&payload, &mut self.literal) {
                        ending.status = ending.status.or(Some(status));
                    }
                    *is_over |= flags & END_STREAM != 0;
                }
                DATA => *is_over |= flags & END_STREAM != 0,
                RST_STREAM => {
                    ending.reset = Some(u32::from_be_bytes(payload[..4].try_into().unwrap()));
                    *is_over = true;
                }
                SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
                _ => {}
            }
        }
    }
}

/// Fields as literals that nothing indexes.
pub(crate) fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value] {
            let mut left = text.len();
            if left < 127 {
                block.push(u8::try_from(left).unwrap());
            } else {
                block.push(127);
                left -= 127;
                while left >= 128 {
                    block.push(u8::try_from(left % 128).unwrap() | 128);
                    left /= 128;
                }
                block.push(u8::try_from(left).unwrap());
            }
            block.extend_from_slice(text);
        }
    }
    block
}

/// The status at the beginning of a block: from the static table, or a literal of three digits,
/// whose Huffman codes have five or six bits (RFC 7541, Appendices A and B).
fn status(block: &[u8], literal: &mut u16) -> Option<u16> {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size may come first.
    let start = block.iter().position(|byte| byte >> 5 != 1)?;
    match block[start..] {
        [indexed, ..] if indexed & 0x80 != 0 => {
            return match usize::from(indexed & 0x7f) {
                known @ 8..=14 => Some(STATIC[known - 8]),
                62.. => Some(*literal),
                _ => None,
            };
        }
        [_, 3, a, b, c, ..] => *literal = std::str::from_utf8(&[a, b, c]).ok()?.parse().ok()?,
        [_, length, ..] => {
            let bytes = &block[start + 2..start + 2 + usize::from(length & 0x7f)];
            let bits = bytes.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
            let mut left = 8 * bytes.len();
            *literal = 0;
            for _ in 0..3 {
                let five = bits >> (left - 5) & 0x1f;
                let (size, digit) =
                    if five < 3 { (5, five) } else { (6, (bits >> (left - 6) & 0x3f) - 22) };
                left -= size;
                *literal = *literal * 10 + u16::try_from(digit).ok()?;
            }
        }
        _ => return None,
    }
    Some(*literal)
}
