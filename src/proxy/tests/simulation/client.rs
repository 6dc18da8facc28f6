//! The clients of a conversation.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::reader::{Content, Event, Head, Reader};
use super::script::{Connection, Exchange, Framing, Kind, Leave};
use super::{ClientSaw, Sight, World, ms};
use crate::net::transport::memory::{MemorySocket, MemoryView};
use crate::proxy::tests::stage::settled;

pub(super) const TRAILER: (&str, &str) = ("x-checksum", "1234");

pub(super) fn path(exchange: &Exchange) -> String {
    if exchange.learned { "/live/socket".to_owned() } else { format!("/e{}", exchange.id) }
}

/// What a client knows of its exchange while it goes on.
struct Talk<'a> {
    world: &'a World,
    exchange: &'a Exchange,
    begun: Event,
    /// A 100 has come.
    continued: Event,
    /// The answer has begun, or there will be none.
    answered: Event,
    /// Nothing more is to be sent.
    stopped: Cell<bool>,
}

impl<'a> Talk<'a> {
    fn new(world: &'a World, exchange: &'a Exchange) -> Self {
        let (begun, continued, answered) = (Event::default(), Event::default(), Event::default());
        Self { world, exchange, begun, continued, answered, stopped: Cell::new(false) }
    }

    fn saw<T>(&self, note: impl FnOnce(&mut ClientSaw) -> T) -> T {
        note(&mut self.world.client_saw.borrow_mut()[self.exchange.id])
    }

    fn begin(&self) {
        let now = self.world.now();
        self.saw(|saw| saw.began = Some(now));
        self.begun.set();
    }

    fn ends(&self, sight: Sight) {
        let now = self.world.now();
        self.saw(|saw| (saw.sight, saw.ended) = (sight, now));
    }

    fn interim(&self, status: u16) {
        let now = self.world.now();
        self.saw(|saw| saw.interim.push((now, status)));
        if status == 100 {
            self.continued.set();
        }
    }

    fn data(&self, content: &mut Content, bytes: &[u8]) {
        content.check(bytes);
        self.saw(|saw| (saw.bytes, saw.is_intact) = (content.count, content.is_intact));
    }

    /// Waits until the body may be sent. `false`: it is not.
    async fn may_send(&self) -> bool {
        if let Some(patience) = self.exchange.expects {
            let told = async {
                tokio::select! {
                    biased;
                    () = self.continued.wait() => {}
                    () = self.answered.wait() => {}
                }
            };
            let told = timeout(ms(patience), told).await;
            return told.is_err() || self.continued.is_set();
        }
        true
    }

    /// Waits until the client leaves.
    async fn leaves(&self) -> Leave {
        self.begun.wait().await;
        match self.exchange.leaves {
            Some((at, leave)) => {
                sleep(ms(at)).await;
                leave
            }
            None => std::future::pending().await,
        }
    }
}

/// Serves one connection's script.
pub(super) async fn client(world: Rc<World>, connection: Connection, socket: MemorySocket) {
    if connection.is_http2 {
        http2(world, connection, socket).await;
    } else {
        http1(&world, &connection, socket).await;
    }
}

async fn http1(world: &World, connection: &Connection, socket: MemorySocket) {
    let mut reader = Reader::new(&socket);
    for exchange in &connection.exchanges {
        match timeout(ms(exchange.gap), reader.more()).await {
            Err(_elapsed) => {}
            Ok(Ok(())) => return world.blames(exchange.id, "bytes that nobody asked for"),
            Ok(Err(_)) => return,
        }
        if !http1_exchange(&Talk::new(world, exchange), &socket, &mut reader).await {
            return;
        }
    }
}

fn http1_head(exchange: &Exchange) -> String {
    let version = if exchange.is_http10 { "1.0" } else { "1.1" };
    let mut head = format!("{} {} HTTP/{version}\r\nHost: a\r\n", exchange.method, path(exchange));
    match exchange.body.framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length => {
            head.push_str("Content-Length: ");
            head.push_str(&exchange.body.len().to_string());
            head.push_str("\r\n");
        }
        Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
    }
    if exchange.expects.is_some() {
        head += "Expect: 100-continue\r\n";
    }
    if matches!(exchange.kind, Kind::Upgrade(..)) {
        head += "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    }
    head + "\r\n"
}

/// Sends a body in HTTP/1; ends early where the peer is gone.
pub(super) async fn send_piece(
    socket: &MemorySocket,
    content: &mut Content,
    is_chunked: bool,
    mut bytes: usize,
    mut sent: impl FnMut(usize),
) -> std::io::Result<()> {
    while bytes > 0 {
        let piece = content.next(bytes.min(16 * 1024));
        if is_chunked {
            socket.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        }
        socket.write_all(piece).await?;
        if is_chunked {
            socket.write_all(b"\r\n").await?;
        }
        bytes -= piece.len();
        sent(piece.len());
    }
    Ok(())
}

async fn http1_send(talk: &Talk<'_>, socket: &MemorySocket) -> std::io::Result<()> {
    let exchange = talk.exchange;
    let head = http1_head(exchange);
    // In one go as far as others see: the last byte is what the clock counts from.
    socket.write_all(head.as_bytes()).await?;
    talk.begin();
    if !talk.may_send().await {
        return Ok(());
    }
    let is_chunked = exchange.body.framing == Framing::Chunked;
    let mut content = Content::new(exchange.id, 0);
    for (delay, bytes) in &exchange.body.pieces {
        sleep(ms(*delay)).await;
        if talk.stopped.get() {
            return Ok(());
        }
        send_piece(socket, &mut content, is_chunked, *bytes, |_| {}).await?;
    }
    if is_chunked {
        socket.write_all(&last_chunk(exchange.body.trailers, &[TRAILER])).await?;
    }
    Ok(())
}

pub(super) fn last_chunk(has_trailers: bool, trailers: &[(&str, &str)]) -> Vec<u8> {
    let fields = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let fields = if has_trailers { fields.collect() } else { String::new() };
    format!("0\r\n{fields}\r\n").into_bytes()
}

/// Reads an answer. Tells whether the connection goes on.
async fn http1_read(talk: &Talk<'_>, socket: &MemorySocket, reader: &mut Reader<'_>) -> bool {
    let exchange = talk.exchange;
    let head = loop {
        let Ok(head) = reader.head().await else {
            talk.ends(Sight::Nothing);
            talk.stopped.set(true);
            talk.answered.set();
            return false;
        };
        let status = status(&head);
        if status == 101 || status >= 200 {
            break head;
        }
        talk.interim(status);
    };
    let (status, closes) = (status(&head), head.connection("close"));
    talk.saw(|saw| (saw.status, saw.closes) = (status, closes));
    if closes {
        talk.stopped.set(true);
    }
    talk.answered.set();
    if status == 101 {
        tunnel(talk, socket, reader).await;
        return false;
    }
    let framing = match status {
        _ if exchange.method == "HEAD" => (Framing::None, 0),
        204 | 304 => (Framing::None, 0),
        _ => head.framing(Framing::UntilClose),
    };
    let mut content = Content::new(exchange.id, 1);
    let mut check = |bytes: &[u8]| talk.data(&mut content, bytes);
    match reader.body(framing, exchange.stalls, &mut check).await {
        Ok(trailers) => {
            talk.saw(|saw| saw.trailers = trailers);
            talk.ends(Sight::Whole);
            let keeps = if exchange.is_http10 { head.connection("keep-alive") } else { !closes };
            keeps && framing.0 != Framing::UntilClose
        }
        Err(_) => {
            talk.ends(Sight::Cut);
            false
        }
    }
}

fn status(head: &Head) -> u16 {
    assert!(head.line.starts_with("HTTP/1."), "{}", head.line);
    let status = head.line.split(' ').nth(1).unwrap_or_default();
    status.parse().expect("a status")
}

async fn tunnel(talk: &Talk<'_>, socket: &MemorySocket, reader: &mut Reader<'_>) {
    let Kind::Upgrade(pieces, _) = &talk.exchange.kind else {
        return talk.world.blames(talk.exchange.id, "an upgrade that nobody asked for");
    };
    let sending = async {
        let mut content = Content::new(talk.exchange.id, 2);
        for (delay, bytes) in pieces {
            sleep(ms(*delay)).await;
            let _gone = send_piece(socket, &mut content, false, *bytes, |_| {}).await;
        }
        socket.shutdown();
    };
    let mut content = Content::new(talk.exchange.id, 3);
    let mut check = |bytes: &[u8]| talk.data(&mut content, bytes);
    let reading = async {
        let end = reader.body((Framing::UntilClose, 0), None, &mut check).await;
        talk.ends(if end.is_ok() { Sight::Whole } else { Sight::Cut });
    };
    tokio::join!(sending, reading);
}

async fn http1_exchange(talk: &Talk<'_>, socket: &MemorySocket, reader: &mut Reader<'_>) -> bool {
    let talks = async {
        let mut sending = pin!(http1_send(talk, socket));
        let mut reading = pin!(http1_read(talk, socket, reader));
        tokio::select! {
            biased;
            goes_on = &mut reading => {
                // What is left of an answered body goes out, if the connection is to go on.
                if goes_on && !talk.stopped.get() {
                    return sending.await.is_ok();
                }
                goes_on
            }
            _sent = &mut sending => reading.await,
        }
    };
    let mut talks = pin!(talks);
    let leave = tokio::select! {
        biased;
        goes_on = &mut talks => return goes_on,
        leave = talk.leaves() => leave,
    };
    match leave {
        Leave::HalfClose => {
            talk.stopped.set(true);
            socket.shutdown();
            talks.await;
        }
        Leave::Close => {}
        Leave::Reset => socket.abort(),
    }
    false
}

type SendRequest = h2::client::SendRequest<Bytes>;

async fn http2(world: Rc<World>, connection: Connection, socket: MemorySocket) {
    let view = socket.view();
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(connection.window_bytes)
        .initial_connection_window_size((1 << 31) - 1)
        .max_concurrent_reset_streams(1000);
    let (send, driver) = builder.handshake(socket).await.expect("a handshake");
    let driver = tokio::task::spawn_local(driver);
    settled().await;
    let mut tasks = Vec::new();
    for exchange in &connection.exchanges {
        let (world, exchange, send) = (Rc::clone(&world), exchange.clone(), send.clone());
        tasks.push(tokio::task::spawn_local(async move {
            sleep(ms(exchange.gap)).await;
            http2_exchange(&Talk::new(&world, &exchange), send).await;
        }));
    }
    if let Some((at, pause)) = connection.looks_away {
        let view = view.clone();
        tasks.push(tokio::task::spawn_local(async move {
            sleep(ms(at)).await;
            view.pause(true);
            sleep(ms(pause)).await;
            view.pause(false);
        }));
    }
    if let Some((at, count)) = connection.burst {
        tasks.push(tokio::task::spawn_local(burst(ms(at), count, send.clone(), view.clone())));
    }
    drop(send);
    let talks = async {
        for task in tasks {
            task.await.expect("no panic");
        }
    };
    match connection.drops_at {
        Some(at) => {
            tokio::select! {
                biased;
                () = talks => {}
                () = sleep(ms(at)) => driver.abort(),
            }
        }
        None => talks.await,
    }
    // The library says goodbye; who does not take it is not waited for.
    if let Ok(Err(error)) = driver.await {
        world.noted("a client's", &error);
    }
}

/// Many requests that are cancelled at once, in one segment.
async fn burst(at: std::time::Duration, count: usize, mut send: SendRequest, view: MemoryView) {
    sleep(at).await;
    view.cork(true);
    let mut streams = Vec::new();
    for _ in 0..count {
        let request = http::Request::builder().uri("http://a/burst").body(()).expect("a request");
        if poll_fn(|cx| send.poll_ready(cx)).await.is_err() {
            break;
        }
        if let Ok((_response, mut stream)) = send.send_request(request, true) {
            // One after the other onto the wire, so that the library forgets none.
            settled().await;
            stream.send_reset(h2::Reason::CANCEL);
            streams.push(stream);
        }
    }
    settled().await;
    view.cork(false);
}

fn http2_request(exchange: &Exchange) -> http::Request<()> {
    let uri = format!("http://a{}", path(exchange));
    let mut request = http::Request::builder().method(&*exchange.method).uri(uri);
    if exchange.body.framing == Framing::Length {
        request = request.header("content-length", exchange.body.len());
    }
    if exchange.expects.is_some() {
        request = request.header("expect", "100-continue");
    }
    if matches!(exchange.kind, Kind::Grpc(_)) {
        request = request.header("content-type", "application/grpc").header("te", "trailers");
    }
    request.body(()).expect("a request")
}

async fn http2_exchange(talk: &Talk<'_>, mut send: SendRequest) {
    let exchange = talk.exchange;
    let has_body = exchange.body.framing != Framing::None;
    if poll_fn(|cx| send.poll_ready(cx)).await.is_err() {
        return;
    }
    let Ok((response, stream)) = send.send_request(http2_request(exchange), !has_body) else {
        return;
    };
    drop(send);
    talk.begin();
    let stream = RefCell::new(stream);
    let talks = async {
        let sending = http2_send(talk, &stream);
        let reading = http2_read(talk, response);
        let mut sending = pin!(sending);
        let mut reading = pin!(reading);
        tokio::select! {
            biased;
            is_whole = &mut reading => {
                // Who has not been asked for its body does not send it behind the answer.
                if is_whole && (exchange.expects.is_none() || talk.continued.is_set()) {
                    let _gone = sending.await;
                }
            }
            _sent = &mut sending => { reading.await; }
        }
    };
    tokio::select! {
        biased;
        () = talks => {}
        _leave = talk.leaves() => stream.borrow_mut().send_reset(h2::Reason::CANCEL),
    }
}

async fn http2_send(
    talk: &Talk<'_>,
    stream: &RefCell<h2::SendStream<Bytes>>,
) -> Result<(), h2::Error> {
    let exchange = talk.exchange;
    if exchange.body.framing == Framing::None || !talk.may_send().await {
        return Ok(());
    }
    let mut content = Content::new(exchange.id, 0);
    let count = exchange.body.pieces.len();
    for (index, (delay, bytes)) in exchange.body.pieces.iter().enumerate() {
        sleep(ms(*delay)).await;
        let is_last = index + 1 == count && !exchange.body.trailers;
        http2_piece(stream, &mut content, *bytes, is_last, |_| {}).await?;
    }
    if exchange.body.trailers {
        let mut trailers = http::HeaderMap::new();
        trailers.insert(TRAILER.0, TRAILER.1.parse().expect("a value"));
        stream.borrow_mut().send_trailers(trailers)?;
    }
    Ok(())
}

/// Sends data as fast as the windows allow.
pub(super) async fn http2_piece(
    stream: &RefCell<h2::SendStream<Bytes>>,
    content: &mut Content,
    mut bytes: usize,
    is_last: bool,
    mut sent: impl FnMut(usize),
) -> Result<(), h2::Error> {
    while bytes > 0 {
        let most = bytes.min(16 * 1024);
        stream.borrow_mut().reserve_capacity(most);
        // The library tells of more room only, not of what is left.
        let mut room = stream.borrow().capacity();
        if room == 0 {
            let more = poll_fn(|cx| stream.borrow_mut().poll_capacity(cx)).await;
            room = more.ok_or(h2::Reason::CANCEL)??;
        }
        let piece = content.next(most.min(room));
        bytes -= piece.len();
        stream.borrow_mut().send_data(Bytes::from_static(piece), is_last && bytes == 0)?;
        sent(piece.len());
    }
    Ok(())
}

/// Reads an answer; tells whether it was whole.
async fn http2_read(talk: &Talk<'_>, mut response: h2::client::ResponseFuture) -> bool {
    let exchange = talk.exchange;
    let answered = poll_fn(|cx| {
        while let std::task::Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            talk.interim(interim.status().as_u16());
        }
        Pin::new(&mut response).poll(cx)
    });
    let answered = answered.await;
    drop(response);
    let Ok(answered) = answered else {
        talk.ends(Sight::Nothing);
        talk.answered.set();
        return false;
    };
    let status = answered.status().as_u16();
    let call = answered.headers().get("grpc-status").cloned();
    talk.saw(|saw| saw.status = status);
    talk.answered.set();
    let (mut content, mut stall) = (Content::new(exchange.id, 1), exchange.stalls);
    let mut body = answered.into_body();
    loop {
        if let Some((_, pause)) = stall.filter(|(after, _)| *after <= content.count) {
            sleep(ms(pause)).await;
            stall = None;
        }
        match body.data().await {
            Some(Ok(data)) => {
                talk.data(&mut content, &data);
                let _gone = body.flow_control().release_capacity(data.len());
            }
            Some(Err(_)) => {
                talk.ends(Sight::Cut);
                return false;
            }
            None => break,
        }
    }
    let Ok(trailers) = body.trailers().await else {
        talk.ends(Sight::Cut);
        return false;
    };
    let trailers = trailers.unwrap_or_default();
    let mut fields: Vec<_> = call.into_iter().map(|call| ("grpc-status".into(), call)).collect();
    fields.extend(trailers.iter().map(|(name, value)| (name.to_string(), value.clone())));
    let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
    talk.saw(|saw| saw.trailers = fields.iter().map(|(n, v)| (n.clone(), text(v))).collect());
    talk.ends(Sight::Whole);
    true
}
