//! What a conversation is: everything that its clients, its app and the network between do.
//!
//! All of it is drawn from one seed, before anything runs. Times are milliseconds. Those of clients
//! are multiples of 100, an app's first delay ends in another digit, and whoever leaves does so at
//! a 5: so things happen at the same instant where that is drawn on purpose, and else do not.

use serde::{Deserialize, Serialize};

use crate::net::transport::memory::Reception;

/// Milliseconds of the stopped clock.
pub(super) type Ms = u64;

/// `--idle-timeout` of all conversations: longer than any pause that is not drawn to exceed it.
pub(super) const IDLE_MS: Ms = 5000;

/// One conversation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Script {
    pub(super) speaks: Speaks,
    pub(super) reception: Reception,
    /// `--response-timeout`.
    pub(super) response_limit: Option<Ms>,
    /// What is on the way to the app and to the proxy, and what one call moves.
    pub(super) app_ends: [(usize, usize); 2],
    /// The app closes a connection that has carried nothing for so long.
    pub(super) app_idle: Option<Ms>,
    /// The app sends its HTTP/2 connections away once they have carried so many requests.
    pub(super) app_sends_away: Option<usize>,
    pub(super) connections: Vec<Connection>,
    pub(super) drain_at: Option<Ms>,
    pub(super) scrapes: Vec<Ms>,
}

/// What the app speaks, and what the proxy knows of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Speaks {
    Http1,
    Http2,
    /// HTTP/1.1 only, and the proxy has to find out.
    FoundHttp1,
    /// Both, and the proxy has to find out.
    FoundBoth,
}

/// One client's connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Connection {
    pub(super) is_http2: bool,
    pub(super) opens_at: Ms,
    /// What is on the way to the client and to the proxy, and what one call moves.
    pub(super) ends: [(usize, usize); 2],
    /// HTTP/1: one after the other. HTTP/2: at the same time.
    pub(super) exchanges: Vec<Exchange>,
    /// HTTP/2: what the client takes on a stream before it has read.
    pub(super) window_bytes: u32,
    /// HTTP/2: for how long, and from when, nothing is read from the socket.
    pub(super) looks_away: Option<(Ms, Ms)>,
    /// HTTP/2: when so many requests come in one segment, each cancelled at once.
    pub(super) burst: Option<(Ms, usize)>,
    /// HTTP/2: when the connection ends, whatever it carries.
    pub(super) drops_at: Option<Ms>,
}

/// One request and its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Exchange {
    pub(super) id: usize,
    /// Its path has no template.
    pub(super) learned: bool,
    /// HTTP/1: behind the last answer. HTTP/2: behind the connection's beginning.
    pub(super) gap: Ms,
    pub(super) method: String,
    pub(super) is_http10: bool,
    pub(super) kind: Kind,
    pub(super) body: Body,
    /// The client waits for a 100, for so long.
    pub(super) expects: Option<Ms>,
    /// When the client leaves, counted from its head, and how.
    pub(super) leaves: Option<(Ms, Leave)>,
    /// Behind so many bytes of the answer the client reads nothing for so long.
    pub(super) stalls: Option<(usize, Ms)>,
    pub(super) answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Plain,
    EventStream,
    /// The call ends with this status.
    Grpc(u8),
    /// Another protocol behind a 101: what the client sends and when, and the app.
    Upgrade(Vec<(Ms, usize)>, Vec<(Ms, usize)>),
}

/// A message's body: pieces, each so long behind the one before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) framing: Framing,
    pub(super) pieces: Vec<(Ms, usize)>,
    pub(super) trailers: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Framing {
    None,
    Length,
    Chunked,
    /// By the end of the connection; in HTTP/2 like chunks.
    UntilClose,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Leave {
    /// A FIN; the client waits for its answer.
    HalfClose,
    /// The socket is closed.
    Close,
    /// A reset of the connection, or of the stream.
    Reset,
}

/// What the app does with a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// It does not read the body for so long.
    pub(super) reads_after: Ms,
    /// It does not wait for the body's end.
    pub(super) is_early: bool,
    /// Interim answers, counted from the head.
    pub(super) interim: Vec<(Ms, u16)>,
    /// Behind the body, or behind the last interim answer.
    pub(super) delay: Ms,
    pub(super) status: u16,
    pub(super) body: Body,
    pub(super) fate: Fate,
    /// Only the first attempt is ill-fated.
    pub(super) once: bool,
    pub(super) keeps: bool,
    /// How long behind its client's leaving it gives up, if it does.
    pub(super) gives_up: Option<Ms>,
}

/// How the app's answer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Fate {
    Whole,
    /// The connection (or stream) ends instead of a head; with a reset, or not.
    NoHead(bool),
    /// Within the head. HTTP/1 only.
    InHead(bool),
    /// Behind so many pieces.
    InBody(usize, bool),
    /// It is no HTTP.
    Garbage,
    /// HTTP/2: it was not processed.
    Refused,
}

impl Body {
    pub(super) fn len(&self) -> usize {
        self.pieces.iter().map(|(_, bytes)| bytes).sum()
    }

    pub(super) fn time(&self) -> Ms {
        self.pieces.iter().map(|(delay, _)| delay).sum()
    }

    fn none() -> Self {
        Self { framing: Framing::None, pieces: Vec::new(), trailers: false }
    }
}

impl Script {
    pub(super) fn exchanges(&self) -> impl Iterator<Item = (&Connection, &Exchange)> {
        let of = |connection| move |exchange| (connection, exchange);
        self.connections.iter().flat_map(move |c: &Connection| c.exchanges.iter().map(of(c)))
    }

    /// Tells whether a request goes to the app in HTTP/2.
    pub(super) fn goes_by_http2(&self, connection: &Connection, exchange: &Exchange) -> bool {
        let is_upgrade = matches!(exchange.kind, Kind::Upgrade(..));
        goes_by_http2(self.speaks, connection.is_http2) && !is_upgrade
    }
}

impl Script {
    /// Conversations that lack something of this one.
    pub(super) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut without = |change: &dyn Fn(&mut Self)| {
            let mut smaller = self.clone();
            change(&mut smaller);
            let exchanges = smaller.connections.iter_mut().flat_map(|c| &mut c.exchanges);
            for (id, exchange) in exchanges.enumerate() {
                exchange.id = id;
                if let Fate::InBody(at, _) = &mut exchange.answer.fate {
                    *at = (*at).min(exchange.answer.body.pieces.len() - 1);
                }
            }
            if format!("{smaller:?}") != format!("{self:?}") {
                all.push(smaller);
            }
        };
        for at in 0..self.connections.len() {
            if self.connections.len() > 1 {
                without(&|script| drop(script.connections.remove(at)));
            }
            without(&|script| script.connections[at].burst = None);
            without(&|script| script.connections[at].looks_away = None);
            without(&|script| script.connections[at].drops_at = None);
            without(&|script| script.connections[at].ends = [(64 * 1024, usize::MAX); 2]);
            let count = self.connections[at].exchanges.len();
            for which in 0..count {
                if count > 1 {
                    without(&|script| drop(script.connections[at].exchanges.remove(which)));
                }
                let exchange = |script: &mut Self, change: &dyn Fn(&mut Exchange)| {
                    change(&mut script.connections[at].exchanges[which]);
                };
                without(&|script| exchange(script, &|e| e.answer.interim.clear()));
                without(&|script| exchange(script, &|e| e.leaves = None));
                without(&|script| exchange(script, &|e| e.body.pieces.truncate(1)));
                without(&|script| exchange(script, &|e| e.answer.body.pieces.truncate(1)));
            }
        }
        without(&|script| script.drain_at = None);
        without(&|script| script.scrapes.clear());
        without(&|script| script.app_idle = None);
        without(&|script| script.app_sends_away = None);
        without(&|script| script.response_limit = None);
        without(&|script| script.app_ends = [(64 * 1024, usize::MAX); 2]);
        all
    }
}

fn goes_by_http2(speaks: Speaks, is_http2: bool) -> bool {
    match speaks {
        Speaks::Http1 | Speaks::FoundHttp1 => false,
        Speaks::Http2 => true,
        Speaks::FoundBoth => is_http2,
    }
}

/// The generator `SplitMix64`.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, but without, `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn size(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below a usize")
    }

    /// Once in so many.
    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.size(from.len())]
    }
}

/// What all exchanges of a conversation have in common while they are drawn.
struct Frame {
    speaks: Speaks,
    response_limit: Option<Ms>,
    /// It is the only one: the connection to the app may break under it.
    is_alone: bool,
}

/// Draws the conversation of a seed.
pub(super) fn draw(seed: u64) -> Script {
    let d = &mut Draw::new(seed);
    let speaks = d.of(&[
        Speaks::Http1,
        Speaks::Http1,
        Speaks::Http2,
        Speaks::Http2,
        Speaks::FoundHttp1,
        Speaks::FoundBoth,
    ]);
    let response_limit = d.one_in(4).then_some(700);
    let count = if d.one_in(3) { 2 } else { 1 };
    let mut script = Script {
        speaks,
        reception: Reception::Accept,
        response_limit,
        app_ends: [ends(d), ends(d)],
        app_idle: d.one_in(4).then_some(777),
        app_sends_away: d.one_in(5).then(|| 1 + d.size(4)),
        connections: Vec::new(),
        drain_at: d.one_in(4).then(|| 25 + 10 * d.below(300)),
        scrapes: (0..d.below(4)).map(|_| 35 + 10 * d.below(400)).collect(),
    };
    let mut id = 0;
    if d.one_in(60) {
        script.connections.push(crowd(d));
        script.response_limit = None;
        return script;
    }
    for _ in 0..count {
        let frame = Frame { speaks, response_limit, is_alone: count == 1 };
        script.connections.push(connection(d, &frame, &mut id));
    }
    let mut learned = script.connections.iter_mut().flat_map(|c| &mut c.exchanges);
    for another in learned.by_ref().filter(|e| e.learned).skip(1) {
        another.learned = false;
    }
    let away = script.connections.iter().find_map(|c| Some((c.opens_at, c.looks_away?)));
    if let Some((opens_at, (from, pause))) = away.filter(|_| d.one_in(2)) {
        // The end of an answer is on its way to somebody who does not look.
        script.drain_at = Some(opens_at + from + 3 + 10 * d.below(pause / 10));
    }
    if id == 1 && script.connections[0].burst.is_none() && d.one_in(12) {
        nobody_home(d, &mut script);
    }
    script
}

/// The app cannot be connected to.
fn nobody_home(d: &mut Draw, script: &mut Script) {
    script.reception = d.of(&[Reception::Refuse, Reception::Silence]);
    script.drain_at = None;
    let exchange = &mut script.connections[0].exchanges[0];
    if exchange.leaves.is_some() {
        exchange.body = Body::none();
        exchange.method = "GET".to_owned();
        exchange.expects = None;
    }
}

/// How much is on the way, and in which pieces it moves.
fn ends(d: &mut Draw) -> (usize, usize) {
    let capacity = d.of(&[4096, 16 * 1024, 64 * 1024, 64 * 1024]);
    (capacity, d.of(&[usize::MAX, usize::MAX, usize::MAX, 1000, 77]))
}

fn connection(d: &mut Draw, frame: &Frame, id: &mut usize) -> Connection {
    let is_http2 = d.one_in(2);
    let count = if is_http2 { 1 + d.size(6) * d.size(2) } else { 1 + d.size(3) };
    let mut connection = Connection {
        is_http2,
        opens_at: 100 * d.below(5),
        ends: [ends(d), ends(d)],
        exchanges: Vec::new(),
        window_bytes: d.of(&[64 * 1024, 64 * 1024, 1 << 20, (1 << 31) - 1]),
        looks_away: (is_http2 && d.one_in(8))
            .then(|| (100 * d.below(10) + 2, 500 + 100 * d.below(30))),
        burst: (is_http2 && d.one_in(10)).then(|| (100 * d.below(10) + 3, 1 + d.size(90))),
        drops_at: (is_http2 && d.one_in(12)).then(|| 100 * d.below(20) + 5),
    };
    if connection.burst.is_some() {
        connection.ends[1] = (64 * 1024, usize::MAX);
    }
    let frame = &Frame { is_alone: frame.is_alone && count == 1, ..*frame };
    for _ in 0..count {
        let mut next = exchange(d, frame, &connection);
        next.id = *id;
        *id += 1;
        connection.exchanges.push(next);
    }
    if is_http2 && d.one_in(6) {
        slow_readers(d, &mut connection);
    }
    calm(&mut connection);
    connection
}

/// Most streams of a connection are not read for a while; the others must not notice.
fn slow_readers(d: &mut Draw, connection: &mut Connection) {
    for exchange in &mut connection.exchanges {
        let is_plain = exchange.kind == Kind::Plain && exchange.method != "HEAD";
        if is_plain && !d.one_in(3) && exchange.answer.fate == Fate::Whole {
            exchange.leaves = None;
            exchange.answer.status = 200;
            exchange.answer.body = Body {
                framing: Framing::Length,
                pieces: vec![(0, 100_000 + d.size(250_000))],
                trailers: false,
            };
            exchange.stalls = Some((d.size(1000), 1000 + 100 * d.below(20)));
        }
    }
}

/// Many large bodies of which nobody takes the end, one way or the other, and a small exchange
/// beside them that must not notice.
fn crowd(d: &mut Draw) -> Connection {
    let (uploads, count) = (d.one_in(2), 4 + d.size(4));
    let end = (64 * 1024, usize::MAX);
    let large = |d: &mut Draw| Body {
        framing: Framing::Length,
        pieces: vec![(0, 450_000 + d.size(100_000))],
        trailers: false,
    };
    let exchanges = (0..=count).map(|id| {
        let mut exchange = plain(id);
        if id == count {
            exchange.gap = 500;
            exchange.method = "PUT".to_owned();
            exchange.body = Body { pieces: vec![(0, 2000)], ..large(d) };
            exchange.answer.body = Body { pieces: vec![(0, 2000)], ..large(d) };
        } else if uploads {
            exchange.method = "PUT".to_owned();
            exchange.body = large(d);
            exchange.answer.reads_after = 2000 + 100 * d.below(10);
        } else {
            exchange.answer.body = large(d);
            exchange.stalls = Some((d.size(1000), 2000 + 100 * d.below(10)));
        }
        exchange
    });
    Connection {
        is_http2: true,
        opens_at: 0,
        ends: [end, end],
        exchanges: exchanges.collect(),
        window_bytes: 64 * 1024,
        looks_away: None,
        burst: None,
        drops_at: None,
    }
}

/// `GET` and an empty answer, both at once.
fn plain(id: usize) -> Exchange {
    Exchange {
        id,
        learned: false,
        gap: 0,
        method: "GET".to_owned(),
        is_http10: false,
        kind: Kind::Plain,
        body: Body::none(),
        expects: None,
        leaves: None,
        stalls: None,
        answer: Answer {
            reads_after: 0,
            is_early: false,
            interim: Vec::new(),
            delay: 10,
            status: 200,
            body: Body { framing: Framing::Length, ..Body::none() },
            fate: Fate::Whole,
            once: false,
            keeps: true,
            gives_up: None,
        },
    }
}

/// Takes out what would leave open how long something takes.
fn calm(connection: &mut Connection) {
    if connection.drops_at.is_some() {
        connection.looks_away = None;
    }
    for exchange in &mut connection.exchanges {
        if connection.drops_at.is_some() || connection.looks_away.is_some() {
            exchange.stalls = None;
        }
        if connection.looks_away.is_some() {
            // Windows for the body, and the 100, could not come; and whoever takes nothing in is
            // not heard by a library that has to answer first.
            exchange.leaves = None;
            exchange.body.pieces.truncate(1);
            exchange.body.pieces.iter_mut().for_each(|(_, bytes)| *bytes = (*bytes).min(5000));
            exchange.expects = None;
        }
    }
}

fn pieces(d: &mut Draw, longest_ms: u64) -> Vec<(Ms, usize)> {
    let count = 1 + d.size(4);
    let largest = d.of(&[2, 100, 5000, 5000, 40_000, 150_000]);
    let waits = d.one_in(2);
    let piece = |d: &mut Draw| {
        let delay = if waits { 100 * d.below(longest_ms / 100) } else { 0 };
        (delay, 1 + d.size(largest))
    };
    (0..count).map(|_| piece(d)).collect()
}

fn exchange(d: &mut Draw, frame: &Frame, connection: &Connection) -> Exchange {
    let is_http2 = connection.is_http2;
    let method = d.of(&["GET", "GET", "GET", "HEAD", "DELETE", "POST", "POST", "PUT", "PUT"]);
    let has_body = matches!(method, "POST" | "PUT") && !d.one_in(8);
    let framing = d.of(&[Framing::Length, Framing::Chunked]);
    let body = if has_body {
        let trailers = framing == Framing::Chunked && d.one_in(3);
        Body { framing, pieces: pieces(d, 600), trailers }
    } else {
        Body::none()
    };
    let is_http10 = !is_http2 && framing != Framing::Chunked && d.one_in(10);
    let mut exchange = Exchange {
        id: 0,
        learned: false,
        gap: 100 * d.below(8) * d.below(2),
        method: method.to_owned(),
        is_http10,
        kind: Kind::Plain,
        expects: (has_body && !is_http10 && d.one_in(3))
            .then(|| d.of(&[300, 100_000, 100_000, 100_000])),
        body,
        leaves: None,
        stalls: None,
        answer: answer(d, frame, method),
    };
    match d.below(10) {
        0 => event_stream(d, &mut exchange),
        1 if is_http2 && goes_by_http2(frame.speaks, is_http2) => grpc(d, &mut exchange),
        1 | 2 if !is_http2 && !is_http10 => upgrade(d, &mut exchange),
        _ => {}
    }
    interims(d, &mut exchange);
    fates(d, goes_by_http2(frame.speaks, is_http2), &mut exchange);
    leaves(d, is_http2, &mut exchange);
    stalls(d, frame, &mut exchange);
    exchange
}

fn answer(d: &mut Draw, frame: &Frame, method: &str) -> Answer {
    let status = d.of(&[200, 200, 200, 201, 404, 500, 204, 304]);
    let framing = d.of(&[Framing::Length, Framing::Length, Framing::Chunked, Framing::UntilClose]);
    let is_empty = matches!(status, 204 | 304) || d.one_in(8);
    let body = match framing {
        _ if is_empty => Body { framing: Framing::Length, ..Body::none() },
        _ if method == "HEAD" => Body { framing: Framing::Length, ..Body::none() },
        Framing::Chunked => Body { framing, pieces: pieces(d, 900), trailers: d.one_in(3) },
        _ => Body { framing, pieces: pieces(d, 900), trailers: false },
    };
    let late = match frame.response_limit {
        // Just before the limit, exactly then, and just behind it.
        Some(limit) if d.one_in(4) => d.of(&[limit - 1, limit, limit + 1, limit + 500]),
        _ => 10 * d.below(10) + 100 * d.below(20) * d.below(2),
    };
    Answer {
        reads_after: 0,
        is_early: d.one_in(6),
        interim: Vec::new(),
        delay: late,
        status,
        body,
        fate: Fate::Whole,
        once: false,
        keeps: !d.one_in(6),
        gives_up: d.one_in(2).then(|| 10 * d.below(30) + 2),
    }
}

fn event_stream(d: &mut Draw, exchange: &mut Exchange) {
    exchange.kind = Kind::EventStream;
    exchange.method = "GET".to_owned();
    exchange.body = Body::none();
    exchange.expects = None;
    exchange.is_http10 = false;
    exchange.answer.status = 200;
    exchange.answer.body = Body {
        framing: d.of(&[Framing::Chunked, Framing::UntilClose]),
        pieces: (0..=d.size(5)).map(|_| (100 * d.below(40), 1 + d.size(200))).collect(),
        trailers: false,
    };
}

fn grpc(d: &mut Draw, exchange: &mut Exchange) {
    exchange.kind = Kind::Grpc(d.of(&[0, 0, 5, 13]));
    exchange.method = "POST".to_owned();
    if exchange.body.framing != Framing::Chunked {
        exchange.body = Body { framing: Framing::Chunked, pieces: pieces(d, 300), trailers: false };
    }
    exchange.body.trailers = false;
    exchange.answer.status = 200;
    let trailers_only = d.one_in(3);
    exchange.answer.body = if trailers_only {
        Body { framing: Framing::None, ..Body::none() }
    } else {
        Body { framing: Framing::Chunked, pieces: pieces(d, 900), trailers: true }
    };
}

fn upgrade(d: &mut Draw, exchange: &mut Exchange) {
    let side = |d: &mut Draw| -> Vec<(Ms, usize)> {
        let count = 1 + d.size(4);
        (0..count).map(|_| (100 * d.below(15), 1 + d.size(9000))).collect()
    };
    exchange.learned = d.one_in(2);
    let (client, app) = (side(d), side(d).into_iter().map(|(at, n)| (at + 30, n)).collect());
    exchange.kind = Kind::Upgrade(client, app);
    exchange.method = "GET".to_owned();
    exchange.body = Body::none();
    exchange.expects = None;
    exchange.answer.status = 101;
    exchange.answer.body = Body::none();
}

/// Interim answers; the 100 that a client waits for mostly comes, early or late.
fn interims(d: &mut Draw, exchange: &mut Exchange) {
    let mut interim = Vec::new();
    if exchange.expects.is_some() && !d.one_in(4) {
        let at = d.of(&[0, 0, 10, 250, 700, 990, 1000, 1010, 1500]);
        interim.push((at, 100));
    }
    while d.one_in(4) {
        interim.push((100 * d.below(8), d.of(&[103, 103, 102])));
    }
    interim.sort_unstable();
    exchange.answer.interim = interim;
    match &mut exchange.expects {
        // Whoever has not begun when the answer comes does not begin.
        Some(patience) if exchange.answer.is_early => *patience = 100_000,
        // What is sent unasked is on the way until somebody asks.
        Some(300) => {
            exchange.body.pieces.iter_mut().for_each(|(_, bytes)| *bytes = *bytes % 500 + 1);
        }
        Some(_) | None => {}
    }
}

fn fates(d: &mut Draw, goes_by_http2: bool, exchange: &mut Exchange) {
    if !d.one_in(4) || matches!(exchange.kind, Kind::Upgrade(..)) {
        return;
    }
    let has_answer_body = !exchange.answer.body.pieces.is_empty();
    let reset = d.one_in(2);
    let answer = &mut exchange.answer;
    answer.fate = match d.below(6) {
        1 if !goes_by_http2 => Fate::InHead(reset),
        2 if !goes_by_http2 => Fate::Garbage,
        3 if goes_by_http2 => {
            // With a body, only once it was sent: then it cannot be sent again.
            answer.is_early &= exchange.body.framing == Framing::None;
            Fate::Refused
        }
        4 | 5 if has_answer_body && answer.body.framing != Framing::UntilClose => {
            Fate::InBody(d.size(answer.body.pieces.len()), reset)
        }
        _ => Fate::NoHead(reset),
    };
    answer.once = d.one_in(2);
}

fn leaves(d: &mut Draw, is_http2: bool, exchange: &mut Exchange) {
    if !d.one_in(4) || exchange.is_http10 || matches!(exchange.kind, Kind::Upgrade(..)) {
        return;
    }
    let kind = if is_http2 {
        Leave::Reset
    } else {
        d.of(&[Leave::HalfClose, Leave::Close, Leave::Close, Leave::Reset])
    };
    let late = 100 * d.below(30) * d.below(2);
    exchange.leaves = Some((100 * d.below(10) + late + 5, kind));
}

/// Somebody does not go on for a while, or for longer than anybody waits.
fn stalls(d: &mut Draw, frame: &Frame, exchange: &mut Exchange) {
    let is_calm = exchange.leaves.is_none()
        && exchange.answer.fate == Fate::Whole
        && frame.response_limit.is_none()
        && exchange.expects.is_none()
        && exchange.kind == Kind::Plain;
    if !is_calm {
        return;
    }
    match d.below(24) {
        // The app leaves the body unread.
        0 | 1 if exchange.body.framing != Framing::None && !exchange.answer.is_early => {
            for piece in &mut exchange.body.pieces {
                *piece = (0, piece.1 + d.size(60_000));
            }
            exchange.answer.reads_after = 100 * d.below(40);
        }
        // The client stops within its body, for too long.
        2 if exchange.body.framing != Framing::None && frame.is_alone => {
            exchange.answer.is_early = false;
            let at = d.size(exchange.body.pieces.len());
            exchange.body.pieces[at].0 = 20_000;
        }
        // The client reads nothing of much, for a while or for too long.
        3 | 4 if exchange.method != "HEAD" => {
            let (length, pause) = if frame.is_alone && d.one_in(2) {
                (1_300_000, 30_000)
            } else {
                (d.size(400_000), 1000 + 100 * d.below(20))
            };
            exchange.answer.status = 200;
            exchange.answer.is_early = false;
            exchange.is_http10 = false;
            exchange.answer.body =
                Body { framing: Framing::Length, pieces: vec![(0, length + 1)], trailers: false };
            exchange.stalls = Some((d.size(1000), pause));
        }
        _ => {}
    }
}
