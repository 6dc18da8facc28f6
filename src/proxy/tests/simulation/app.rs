//! The app of a conversation.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::client::{TRAILER, http2_piece, last_chunk, send_piece};
use super::reader::{Content, Event, Reader};
use super::script::{Exchange, Fate, Framing, Kind, Ms, Speaks};
use super::{Attempt, World, ms};
use crate::net::transport::memory::{MemorySocket, MemoryUpstream};
use crate::proxy::tests::stage::settled;

/// Takes connections as long as it lives.
pub(super) async fn app(world: Rc<World>, upstream: Rc<RefCell<MemoryUpstream>>) {
    loop {
        let socket = poll_fn(|cx| {
            let mut upstream = upstream.borrow_mut();
            match upstream.waiting.pop_front() {
                Some(socket) => std::task::Poll::Ready(socket),
                None => {
                    upstream.acceptor = Some(cx.waker().clone());
                    std::task::Poll::Pending
                }
            }
        });
        let socket = socket.await;
        drop(tokio::task::spawn_local(serve(Rc::clone(&world), socket)));
    }
}

/// Serves a connection in the protocol that it begins with.
async fn serve(world: Rc<World>, socket: MemorySocket) {
    let speaks_http2 = matches!(world.script.speaks, Speaks::Http2 | Speaks::FoundBoth);
    if socket.view().peek(4).await == b"PRI " && speaks_http2 {
        http2(world, socket).await;
    } else {
        http1(&world, &socket).await;
    }
}

/// One request, as the app sees it.
struct Work<'a> {
    world: &'a World,
    exchange: Rc<Exchange>,
    index: usize,
    fate: Fate,
    /// All of the body was read.
    whole: Event,
    /// A client that switched protocols has ended its side.
    ended: Event,
}

/// What becomes of an HTTP/1 connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Keeps,
    Closes,
    /// The connection ends at once.
    Breaks,
}

impl<'a> Work<'a> {
    fn begin(world: &'a World, target: &str, is_reused: bool) -> Option<Self> {
        let exchange = world.exchange_of(target)?;
        let mut saw = world.app_saw.borrow_mut();
        let attempts = &mut saw[exchange.id];
        attempts.push(Attempt { is_reused, ..Attempt::default() });
        let index = attempts.len() - 1;
        let spared = exchange.answer.once && index > 0;
        let fate = if spared { Fate::Whole } else { exchange.answer.fate };
        let (whole, ended) = (Event::default(), Event::default());
        Some(Self { world, exchange, index, fate, whole, ended })
    }

    fn saw<T>(&self, note: impl FnOnce(&mut Attempt) -> T) -> T {
        note(&mut self.world.app_saw.borrow_mut()[self.exchange.id][self.index])
    }

    fn data(&self, content: &mut Content, bytes: &[u8]) {
        content.check(bytes);
        self.saw(|saw| (saw.bytes, saw.is_intact) = (content.count, content.is_intact));
    }

    fn is_whole(&self, trailers: Vec<(String, String)>) {
        let now = self.world.now();
        self.saw(|saw| (saw.whole_at, saw.trailers) = (Some(now), trailers));
        self.whole.set();
    }

    fn is_left(&self) {
        let now = self.world.now();
        self.saw(|saw| saw.left_at = saw.left_at.or(Some(now)));
    }

    fn sent(&self, bytes: usize) {
        let sent = self.saw(|saw| {
            saw.sent += bytes;
            saw.sent
        });
        let got = self.world.client_saw.borrow()[self.exchange.id].bytes;
        let most = &self.world.most_held;
        most.set(most.get().max(sent.saturating_sub(got)));
    }

    /// Says the interim answers and waits for the moment of the head.
    async fn before_the_head(&self, mut says: impl AsyncFnMut(u16)) {
        let mut passed: Ms = 0;
        for (at, status) in &self.exchange.answer.interim {
            sleep(ms(at - passed)).await;
            passed = *at;
            says(*status).await;
        }
        if !self.exchange.answer.is_early {
            self.whole.wait().await;
        }
        sleep(ms(self.exchange.answer.delay)).await;
    }

    /// Runs the answer beside the reading of the body, which ends when the client has left.
    async fn answers<T>(
        &self,
        answer: impl Future<Output = T>,
        reading: impl Future<Output = ()>,
        gone: T,
    ) -> T {
        let mut answer = pin!(answer);
        tokio::select! {
            biased;
            () = reading => {}
            then = &mut answer => return then,
        }
        self.is_left();
        match self.exchange.answer.gives_up {
            Some(after) => timeout(ms(after), answer).await.unwrap_or(gone),
            None => answer.await,
        }
    }
}

async fn http1(world: &World, socket: &MemorySocket) {
    let mut reader = Reader::new(socket);
    let mut is_reused = false;
    loop {
        let idle = world.script.app_idle.filter(|_| is_reused).unwrap_or(1_000_000);
        let Ok(Ok(head)) = timeout(ms(idle), reader.head()).await else {
            return;
        };
        if head.line.starts_with("PRI ") {
            let _gone =
                socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
            return;
        }
        let target = head.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let Some(work) = Work::begin(world, &target, is_reused) else {
            // One of a burst: it was cancelled, and nobody waits for this.
            let _gone = reader.more().await;
            return;
        };
        if !head.line.starts_with(&work.exchange.method) || !head.line.ends_with(" HTTP/1.1") {
            world.blames(work.exchange.id, &format!("the app got {}", head.line));
        }
        let framing = head.framing(Framing::None);
        match http1_answer(&work, socket, &mut reader, framing).await {
            Then::Keeps => is_reused = true,
            Then::Closes => {
                let rest = async { while reader.more().await.is_ok() {} };
                let _elapsed = timeout(ms(60_000), rest).await;
                return;
            }
            Then::Breaks => return,
        }
    }
}

async fn http1_answer(
    work: &Work<'_>,
    socket: &MemorySocket,
    reader: &mut Reader<'_>,
    framing: (Framing, usize),
) -> Then {
    let reading = async {
        sleep(ms(work.exchange.answer.reads_after)).await;
        let mut content = Content::new(work.exchange.id, 0);
        match reader.body(framing, None, &mut |bytes| work.data(&mut content, bytes)).await {
            Ok(trailers) => work.is_whole(trailers),
            Err(_) => return,
        }
        if matches!(work.exchange.kind, Kind::Upgrade(..)) {
            // What comes next is no HTTP, but not before the 101.
            let mut content = Content::new(work.exchange.id, 2);
            let mut check = |bytes: &[u8]| work.data(&mut content, bytes);
            if reader.body((Framing::UntilClose, 0), None, &mut check).await.is_ok() {
                work.is_left();
                work.ended.set();
                std::future::pending::<()>().await;
            }
            return;
        }
        if reader.has_some() || reader.more().await.is_ok() {
            work.world.blames(work.exchange.id, "bytes behind a request");
        }
    };
    let mut reading = pin!(reading);
    let answer = http1_sends(work, socket);
    let then = work.answers(answer, &mut reading, Then::Breaks).await;
    if then == Then::Breaks || work.saw(|saw| saw.left_at.is_some()) {
        return Then::Breaks;
    }
    if then == Then::Closes {
        socket.shutdown();
    }
    if !work.whole.is_set() {
        // The rest of the body, before the next request or the end: what comes behind the answer
        // has come, too.
        tokio::select! {
            biased;
            () = work.whole.wait() => {}
            () = &mut reading => {
                if then == Then::Keeps {
                    work.is_left();
                }
                return Then::Breaks;
            }
        }
    }
    then
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("")
}

async fn http1_sends(work: &Work<'_>, socket: &MemorySocket) -> Then {
    let (exchange, answer) = (&work.exchange, &work.exchange.answer);
    work.before_the_head(async |status| {
        let head = format!("HTTP/1.1 {status} {}\r\n\r\n", reason(status));
        let _gone = socket.write_all(head.as_bytes()).await;
    })
    .await;
    match work.fate {
        Fate::NoHead(reset) | Fate::InHead(reset) => {
            if work.fate == Fate::InHead(reset) {
                let _gone = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await;
            }
            if reset {
                socket.abort();
            }
            return Then::Breaks;
        }
        Fate::Garbage => {
            let _gone = socket.write_all(b"It is no HTTP\r\n\r\n").await;
            return Then::Breaks;
        }
        Fate::Whole | Fate::InBody(..) | Fate::Refused => {}
    }
    let mut head = format!("HTTP/1.1 {} {}\r\nDate: x\r\n", answer.status, reason(answer.status));
    match answer.body.framing {
        _ if matches!(answer.status, 101 | 204 | 304) => {}
        Framing::None | Framing::Length => {
            head.push_str("Content-Length: ");
            head.push_str(&answer.body.len().to_string());
            head.push_str("\r\n");
        }
        Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
        Framing::UntilClose => {}
    }
    match &exchange.kind {
        Kind::EventStream => head += "Content-Type: text/event-stream\r\n",
        Kind::Upgrade(..) => head += "Connection: Upgrade\r\nUpgrade: websocket\r\n",
        Kind::Grpc(_) | Kind::Plain => {}
    }
    let keeps = answer.keeps && answer.body.framing != Framing::UntilClose;
    if !keeps && answer.status != 101 {
        head += "Connection: close\r\n";
    }
    let _gone = socket.write_all((head + "\r\n").as_bytes()).await;
    if let (Kind::Upgrade(_, pieces), 101) = (&exchange.kind, answer.status) {
        let mut content = Content::new(exchange.id, 3);
        for (delay, bytes) in pieces {
            sleep(ms(*delay)).await;
            let _gone = send_piece(socket, &mut content, false, *bytes, |_| {}).await;
        }
        socket.shutdown();
        work.ended.wait().await;
        return Then::Breaks;
    }
    let is_chunked = answer.body.framing == Framing::Chunked;
    let mut content = Content::new(exchange.id, 1);
    for (index, (delay, bytes)) in answer.body.pieces.iter().enumerate() {
        sleep(ms(*delay)).await;
        if let Fate::InBody(at, reset) = work.fate
            && at == index
        {
            if reset {
                socket.abort();
            }
            return Then::Breaks;
        }
        let sent = send_piece(socket, &mut content, is_chunked, *bytes, |n| work.sent(n)).await;
        if sent.is_err() {
            return Then::Breaks;
        }
    }
    if is_chunked && exchange.method != "HEAD" {
        let last = last_chunk(answer.body.trailers, &[TRAILER]);
        let _gone = socket.write_all(&last).await;
    }
    if keeps { Then::Keeps } else { Then::Closes }
}

async fn http2(world: Rc<World>, socket: MemorySocket) {
    let mut builder = h2::server::Builder::new();
    builder
        .max_send_buffer_size(16 * 1024)
        .max_concurrent_streams(100)
        // Only streams hold the proxy back; and who has little room allows few small frames.
        .initial_connection_window_size((1 << 31) - 1);
    let Ok(mut connection) = builder.handshake(socket).await else {
        return;
    };
    let (mut is_reused, mut served) = (false, 0);
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return world.noted("the app's", &error),
        };
        let others = Rc::clone(&world);
        drop(tokio::task::spawn_local(async move {
            http2_stream(&others, request, respond, is_reused).await;
        }));
        is_reused = true;
        served += 1;
        if world.script.app_sends_away == Some(served) {
            connection.graceful_shutdown();
        }
    }
}

/// The app's side of a stream.
enum Side {
    Respond(h2::server::SendResponse<Bytes>),
    Send(Rc<RefCell<h2::SendStream<Bytes>>>),
}

async fn http2_stream(
    world: &World,
    request: http::Request<h2::RecvStream>,
    respond: h2::server::SendResponse<Bytes>,
    is_reused: bool,
) {
    let Some(work) = Work::begin(world, request.uri().path(), is_reused) else {
        let mut respond = respond;
        let _reset = poll_fn(|cx| respond.poll_reset(cx)).await;
        return;
    };
    if request.method().as_str() != work.exchange.method {
        world.blames(work.exchange.id, &format!("the app got {}", request.method()));
    }
    let side = RefCell::new(Side::Respond(respond));
    let mut body = request.into_body();
    let reading = async {
        sleep(ms(work.exchange.answer.reads_after)).await;
        let mut content = Content::new(work.exchange.id, 0);
        while let Some(data) = body.data().await {
            let Ok(data) = data else { return };
            work.data(&mut content, &data);
            let _gone = body.flow_control().release_capacity(data.len());
        }
        let Ok(trailers) = body.trailers().await else { return };
        let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
        let trailers = trailers.unwrap_or_default();
        work.is_whole(trailers.iter().map(|(n, v)| (n.to_string(), text(v))).collect());
        poll_fn(|cx| match &mut *side.borrow_mut() {
            Side::Respond(respond) => respond.poll_reset(cx).map(drop),
            Side::Send(send) => send.borrow_mut().poll_reset(cx).map(drop),
        })
        .await;
    };
    let mut reading = pin!(reading);
    let answer = http2_sends(&work, &side);
    let is_done = work.answers(answer, &mut reading, false).await;
    if is_done && !work.whole.is_set() && work.saw(|saw| saw.left_at.is_none()) {
        tokio::select! {
            biased;
            () = work.whole.wait() => {}
            () = &mut reading => work.is_left(),
        }
    }
}

fn reset(side: &RefCell<Side>, reason: h2::Reason) {
    match &mut *side.borrow_mut() {
        Side::Respond(respond) => respond.send_reset(reason),
        Side::Send(send) => send.borrow_mut().send_reset(reason),
    }
}

/// Tells whether it went well.
async fn http2_sends(work: &Work<'_>, side: &RefCell<Side>) -> bool {
    let (exchange, answer) = (&work.exchange, &work.exchange.answer);
    work.before_the_head(async |status| {
        if let Side::Respond(respond) = &mut *side.borrow_mut() {
            let interim = http::Response::builder().status(status).body(()).expect("a head");
            let _gone = respond.send_informational(interim);
        }
    })
    .await;
    match work.fate {
        Fate::NoHead(is_cancel) => {
            let reason = if is_cancel { h2::Reason::CANCEL } else { h2::Reason::INTERNAL_ERROR };
            reset(side, reason);
            return false;
        }
        Fate::Refused => {
            reset(side, h2::Reason::REFUSED_STREAM);
            return false;
        }
        Fate::Whole | Fate::InBody(..) | Fate::InHead(_) | Fate::Garbage => {}
    }
    let mut head = http::Response::builder().status(answer.status).header("date", "x");
    if answer.body.framing == Framing::Length && !matches!(answer.status, 204 | 304) {
        head = head.header("content-length", answer.body.len());
    }
    let mut ended = answer.body.pieces.is_empty() && !answer.body.trailers;
    match &exchange.kind {
        Kind::EventStream => head = head.header("content-type", "text/event-stream"),
        Kind::Grpc(status) => {
            head = head.header("content-type", "application/grpc");
            if answer.body.framing == Framing::None {
                head = head.header("grpc-status", status.to_string());
            }
        }
        Kind::Plain | Kind::Upgrade(..) => {}
    }
    if exchange.method == "HEAD" {
        ended = true;
    }
    let head = head.body(()).expect("a head");
    let sent = match &mut *side.borrow_mut() {
        Side::Respond(respond) => respond.send_response(head, ended),
        Side::Send(_) => return false,
    };
    let Ok(send) = sent else { return false };
    let send = Rc::new(RefCell::new(send));
    *side.borrow_mut() = Side::Send(Rc::clone(&send));
    if ended {
        return true;
    }
    let mut content = Content::new(exchange.id, 1);
    let count = answer.body.pieces.len();
    for (index, (delay, bytes)) in answer.body.pieces.iter().enumerate() {
        sleep(ms(*delay)).await;
        if let Fate::InBody(at, is_cancel) = work.fate
            && at == index
        {
            settled().await;
            let reason = if is_cancel { h2::Reason::CANCEL } else { h2::Reason::INTERNAL_ERROR };
            send.borrow_mut().send_reset(reason);
            return false;
        }
        let is_last = index + 1 == count && !answer.body.trailers;
        let sent = http2_piece(&send, &mut content, *bytes, is_last, |n| work.sent(n)).await;
        if sent.is_err() {
            return false;
        }
    }
    if answer.body.trailers {
        let mut trailers = http::HeaderMap::new();
        match exchange.kind {
            Kind::Grpc(status) => {
                trailers.insert("grpc-status", status.to_string().parse().expect("a value"));
            }
            _ => {
                trailers.insert(TRAILER.0, TRAILER.1.parse().expect("a value"));
            }
        }
        return send.borrow_mut().send_trailers(trailers).is_ok();
    }
    true
}
