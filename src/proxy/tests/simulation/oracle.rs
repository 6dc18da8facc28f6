//! What a conversation must lead to: a model of what the proxy promises, not of how it works.
//!
//! Nothing here knows the engine. Each exchange has moments that follow from the script: when the
//! request is whole, when the answer's head and its end are due, when the client leaves, when a
//! limit is over. What comes first decides. Where two come at once, either may.

use super::script::{Connection, Exchange, Fate, Framing, IDLE_MS, Kind, Leave, Ms, Script};
use super::{Attempt, ClientSaw, Counted, Sight};
use crate::net::transport::memory::Reception;

/// `--connect-timeout`.
const CONNECT_MS: Ms = 3000;
/// How long the proxy waits for the app's word before it says 100 itself.
const CONTINUE_MS: Ms = 1000;
/// How long a draining connection may still send a request.
const DRAIN_GRACE_MS: Ms = 1000;
const NEVER: Ms = Ms::MAX / 4;
const LEFT: u16 = 499;

/// One way in which an exchange may rightly end.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    status: u16,
    error: &'static str,
    /// From the request's head, from and to.
    at: (Ms, Ms),
    sees: Sees,
    attempts: usize,
    /// Whether the app got the whole request, if that is certain.
    is_whole: Option<bool>,
    /// When the app learns that its client has left.
    learns_at: Option<Ms>,
    /// The status of the call, if that is certain.
    call: Option<u8>,
}

/// What the client may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sees {
    /// All of the app's answer.
    Whole,
    /// Not all of it, and no end that looks like one.
    Cut,
    /// An answer of the proxy's own.
    Own(u16),
    /// The same, or only the end of the connection.
    OwnOrNothing(u16),
    /// The client is not there to see.
    Anything,
}

/// One exchange and what its surroundings did.
pub(super) struct Case<'a> {
    pub(super) script: &'a Script,
    pub(super) connection: &'a Connection,
    pub(super) exchange: &'a Exchange,
    pub(super) client: &'a ClientSaw,
    pub(super) attempts: &'a [Attempt],
    pub(super) counted: &'a [Counted],
    /// When the request's head was sent.
    pub(super) began: Ms,
    /// When the client's connection was opened.
    pub(super) opened: Ms,
}

/// The moments of one exchange, from its head on.
#[derive(Clone, Copy, Debug)]
struct Moments {
    /// The client may send its body.
    told: Ms,
    /// The request is whole.
    whole: Ms,
    head: Ms,
    end: Ms,
}

impl Case<'_> {
    /// Everything that is not as it should be.
    pub(super) fn faults(&self) -> Vec<String> {
        if self.is_unserved() {
            return Vec::new();
        }
        let expected = self.expected();
        let faults: Vec<Vec<String>> = expected.iter().map(|one| self.against(one)).collect();
        if faults.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        let pairs = expected.iter().zip(faults);
        pairs.map(|(one, faults)| format!("{}\n    expected {one:?}", faults.join("; "))).collect()
    }

    /// A request that a draining proxy did not take: nobody saw or counted it.
    fn is_unserved(&self) -> bool {
        let Some(drain) = self.script.drain_at else { return false };
        let grace = if self.connection.is_http2 { 0 } else { DRAIN_GRACE_MS };
        self.attempts.is_empty()
            && self.counted.is_empty()
            && self.began >= drain + grace
            && matches!(self.client.sight, Sight::Nothing | Sight::Waits)
    }

    fn via_http2(&self) -> bool {
        self.script.goes_by_http2(self.connection, self.exchange)
    }

    /// When the client leaves, for one reason or the other.
    fn leaves(&self) -> Option<(Ms, Leave)> {
        let drops = self.connection.drops_at.map(|at| self.opened + at);
        let drops = drops.and_then(|at| at.checked_sub(self.began)).map(|at| (at, Leave::Reset));
        self.exchange.leaves.into_iter().chain(drops).min_by_key(|(at, _)| *at)
    }

    fn moments(&self) -> Moments {
        let (body, answer) = (&self.exchange.body, &self.exchange.answer);
        let last_interim = answer.interim.last().map_or(0, |(at, _)| *at);
        let says_100 = answer.interim.iter().find(|(_, status)| *status == 100).map(|(at, _)| *at);
        let told = says_100.unwrap_or(NEVER).min(CONTINUE_MS);
        let early_head = last_interim + answer.delay;
        let unasked = self.exchange.expects.map_or(NEVER, |patience| patience + body.time());
        let whole = match self.exchange.expects {
            None => body.time(),
            // It is answered instead of being asked for the body.
            Some(_) if answer.is_early && early_head < told => NEVER,
            Some(patience) => (told.min(patience) + body.time()).max(told),
        };
        // A FIN behind a body that was sent unasked says that there is no need to ask.
        let whole = match self.leaves() {
            Some((at, Leave::HalfClose | Leave::Close)) if at >= unasked => whole.min(at),
            _ => whole,
        };
        let head = if answer.is_early {
            early_head
        } else {
            whole.max(last_interim).max(answer.reads_after) + answer.delay
        };
        Moments { told, whole, head, end: head + answer.body.time() }
    }

    /// Whatever may rightly happen.
    fn expected(&self) -> Vec<Expected> {
        if self.script.reception != Reception::Accept {
            return vec![self.unreachable()];
        }
        let mut moments = self.moments();
        let mut fate = self.exchange.answer.fate;
        let mut attempts = 1;
        let leaves = self.leaves();
        let limit = self.response_limit(&moments);
        let fails_at = moments.head;
        let is_retried = self.may_retry(&moments)
            && leaves.is_none_or(|(at, _)| at > fails_at)
            && limit.is_none_or(|at| at > fails_at);
        if is_retried {
            attempts = 2;
            moments.head += fails_at;
            moments.end += fails_at;
            if self.exchange.answer.once {
                fate = Fate::Whole;
            }
        }
        // From the last attempt on.
        let begun = if is_retried { fails_at } else { 0 };
        let limit = self.script.response_limit.map(|limit| moments.whole.max(begun) + limit);
        let race = Race { case: self, moments, fate, attempts };
        let mut expected = race.ends(leaves, limit);
        // What happens at the same instant may happen in either order.
        if let Some((at, how)) = leaves {
            for shifted in [at.saturating_sub(1), at + 1] {
                let other = race.ends(Some((shifted, how)), limit);
                if other
                    .iter()
                    .zip(&expected)
                    .any(|(a, b)| (a.status, a.error) != (b.status, b.error))
                    && race.is_tied(at)
                {
                    expected.extend(other.into_iter().map(|one| one.widened(1)));
                }
            }
        }
        if let Some(at) = limit.filter(|at| *at == moments.head) {
            expected.extend(race.ends(leaves, Some(at - 1)).into_iter().map(|one| one.widened(1)));
        }
        expected
    }

    fn response_limit(&self, moments: &Moments) -> Option<Ms> {
        self.script.response_limit.map(|limit| moments.whole.saturating_add(limit))
    }

    fn unreachable(&self) -> Expected {
        let base = Expected {
            status: 502,
            error: "connection_refused",
            at: (0, 0),
            sees: Sees::Own(502),
            attempts: 0,
            is_whole: None,
            learns_at: None,
            call: None,
        };
        if self.script.reception == Reception::Refuse {
            return self.as_call(base);
        }
        match self.leaves() {
            Some((at, Leave::Close | Leave::Reset)) if at < CONNECT_MS => Expected {
                status: LEFT,
                error: "downstream_aborted",
                at: (at, at),
                sees: Sees::Anything,
                ..base
            },
            _ => self.as_call(Expected {
                status: 504,
                error: "connection_timeout",
                at: (CONNECT_MS, CONNECT_MS),
                sees: Sees::Own(504),
                ..base
            }),
        }
    }

    /// A call learns of the proxy's errors by a status of gRPC.
    fn as_call(&self, own: Expected) -> Expected {
        if !matches!(self.exchange.kind, Kind::Grpc(_)) {
            return own;
        }
        let call = if own.status == 504 { 4 } else { 14 };
        Expected { status: 200, sees: Sees::Own(200), call: Some(call), ..own }
    }

    /// Tells whether the app's failure lets the request be sent once more: RFC 9110 §9.2.2 and RFC
    /// 9113 §8.7.
    fn may_retry(&self, moments: &Moments) -> bool {
        let has_body = self.exchange.body.framing != Framing::None;
        let is_idempotent = self.exchange.method != "POST";
        let nothing_came = !self.exchange.answer.interim.iter().any(|(at, _)| *at <= moments.head);
        let is_reused = self.attempts.first().is_some_and(|attempt| attempt.is_reused);
        match (self.exchange.answer.fate, self.via_http2()) {
            (Fate::NoHead(_), false) => is_reused && nothing_came && is_idempotent && !has_body,
            // The app says that it did nothing with it.
            (Fate::Refused, true) => !has_body,
            _ => false,
        }
    }

    /// Compares one way with what was.
    fn against(&self, expected: &Expected) -> Vec<String> {
        let mut faults = Vec::new();
        self.against_counts(expected, &mut faults);
        self.against_client(expected, &mut faults);
        self.against_app(expected, &mut faults);
        faults
    }

    fn against_counts(&self, expected: &Expected, faults: &mut Vec<String>) {
        let [one] = self.counted else {
            return faults.push(format!("counted {:?}", self.counted));
        };
        if (one.status, &*one.error) != (expected.status, expected.error) || one.requests != 1 {
            faults.push(format!("counted {one:?}"));
        }
        let (from, to) = expected.at;
        let is_lasting = matches!(self.exchange.kind, Kind::Upgrade(..) | Kind::EventStream)
            && expected.status == self.exchange.answer.status;
        let begun = self.moments_of(expected).head;
        let (times, from, to) = if is_lasting {
            (one.lasting.as_slice(), from.saturating_sub(begun), to.saturating_sub(begun))
        } else {
            (one.durations.as_slice(), from, to)
        };
        let others = if is_lasting { &one.durations } else { &one.lasting };
        // Whoever had left before an event stream began has seen none of it.
        let is_unseen = self.exchange.kind == Kind::EventStream
            && expected.status == LEFT
            && one.durations.is_empty()
            && one.lasting == [0];
        match times {
            _ if is_unseen => {}
            [time] if (from..=to).contains(time) && others.is_empty() => {}
            _ => faults.push(format!(
                "took {:?} and lasted {:?}, not {from} to {to}",
                one.durations, one.lasting
            )),
        }
        if let Some(call) = expected.call
            && one.call != Some(call)
        {
            faults.push(format!("the call ended with {:?}", one.call));
        }
        let is_certain = expected.sees == Sees::Whole
            && expected.is_whole == Some(true)
            && !matches!(self.exchange.kind, Kind::Upgrade(..));
        let bytes = (self.exchange.body.len(), self.answer_bytes());
        if is_certain && one.bytes != bytes {
            faults.push(format!("counted bytes {:?}, not {bytes:?}", one.bytes));
        }
    }

    fn moments_of(&self, expected: &Expected) -> Moments {
        let mut moments = self.moments();
        if expected.attempts == 2 {
            let again = moments.head;
            moments.head += again;
            moments.end += again;
        }
        moments
    }

    fn answer_bytes(&self) -> usize {
        if self.exchange.method == "HEAD" { 0 } else { self.exchange.answer.body.len() }
    }

    fn against_client(&self, expected: &Expected, faults: &mut Vec<String>) {
        let client = self.client;
        let fits = match expected.sees {
            Sees::Anything => true,
            Sees::Whole => {
                client.sight == Sight::Whole && client.status == self.exchange.answer.status
            }
            Sees::Cut => {
                let never = self.connection.is_http2 && client.sight == Sight::Nothing;
                client.sight == Sight::Cut || never
            }
            Sees::Own(status) => client.sight == Sight::Whole && client.status == status,
            Sees::OwnOrNothing(status) => {
                client.sight == Sight::Nothing
                    || client.sight == Sight::Whole && client.status == status
            }
        };
        if !fits {
            faults.push(format!("the client saw {:?} {}", client.sight, client.status));
        }
        let is_own = matches!(expected.sees, Sees::Own(_) | Sees::OwnOrNothing(_));
        let is_apps = !is_own && client.status == self.exchange.answer.status;
        if is_apps && client.bytes > 0 && !client.is_intact {
            faults.push("the client got other bytes".to_owned());
        }
        if expected.sees == Sees::Whole {
            self.against_answer(faults);
        }
    }

    fn against_answer(&self, faults: &mut Vec<String>) {
        let (client, answer) = (self.client, &self.exchange.answer);
        let bytes = match &self.exchange.kind {
            Kind::Upgrade(_, app) => app.iter().map(|(_, bytes)| bytes).sum(),
            _ => self.answer_bytes(),
        };
        if client.bytes != bytes {
            faults.push(format!("the client got {} of {bytes} bytes", client.bytes));
        }
        let trailer = client
            .trailers
            .iter()
            .any(|(name, value)| (&**name, &**value) == super::client::TRAILER);
        let has_trailers = answer.body.trailers && !matches!(self.exchange.kind, Kind::Grpc(_));
        if trailer != (has_trailers && !self.exchange.is_http10) {
            faults.push(format!("trailers: {:?}", client.trailers));
        }
        if let Kind::Grpc(status) = self.exchange.kind
            && !client.trailers.contains(&("grpc-status".to_owned(), status.to_string()))
        {
            faults.push(format!("no grpc-status: {:?}", client.trailers));
        }
        let interim = self.interim();
        // The proxy's own 100 and the answer at the same instant: either may be first.
        let is_tied = self.exchange.expects.is_some() && self.moments().head == CONTINUE_MS;
        let is_known = self.connection.looks_away.is_none() && !is_tied;
        if is_known && client.interim != interim {
            faults.push(format!("interim answers {:?}, not {interim:?}", client.interim));
        }
        self.against_connection(faults);
    }

    /// What the client gets of interim answers: the app's, and exactly one 100 if it waits for one.
    fn interim(&self) -> Vec<(Ms, u16)> {
        let exchange = self.exchange;
        if exchange.is_http10 {
            return Vec::new();
        }
        let mut interim = exchange.answer.interim.clone();
        let first = interim.iter().position(|(_, status)| *status == 100);
        let is_late = first.is_none_or(|at| interim[at].0 > CONTINUE_MS);
        if exchange.expects.is_some() && is_late && self.moments().whole != NEVER {
            if let Some(at) = first {
                interim.remove(at);
            }
            let at = interim.iter().take_while(|(at, _)| *at < CONTINUE_MS).count();
            interim.insert(at, (CONTINUE_MS, 100));
        }
        let again = self.moments().head;
        let attempts = (0..self.attempts.len() as Ms).map(|index| self.began + index * again);
        let of = |begun| interim.iter().map(move |(at, status)| (begun + at, *status));
        attempts.flat_map(of).collect()
    }

    /// Whether the answer says that the connection ends.
    fn against_connection(&self, faults: &mut Vec<String>) {
        let (exchange, moments) = (self.exchange, self.moments());
        if self.connection.is_http2
            || exchange.is_http10
            || self.leaves().is_some()
            || matches!(exchange.kind, Kind::Upgrade(..))
            || self.attempts.len() != 1
            || exchange.stalls.is_some()
        {
            return;
        }
        let head = self.began + moments.head;
        let drains = self.script.drain_at.is_some_and(|at| at < head);
        let may_drain = self.script.drain_at == Some(head);
        let app_keeps = self.via_http2()
            || exchange.answer.keeps && exchange.answer.body.framing != Framing::UntilClose;
        let is_held = moments.whole == NEVER;
        let closes = drains || is_held || moments.whole > moments.head && !app_keeps;
        if !may_drain && moments.whole != moments.head && self.client.closes != closes {
            faults.push(format!("Connection: close is {}, not {closes}", self.client.closes));
        }
    }

    fn against_app(&self, expected: &Expected, faults: &mut Vec<String>) {
        if self.attempts.len() != expected.attempts {
            return faults.push(format!("sent {} times", self.attempts.len()));
        }
        let Some(last) = self.attempts.last() else { return };
        if last.bytes > 0 && !last.is_intact {
            faults.push("the app got other bytes".to_owned());
        }
        match (expected.is_whole, last.whole_at) {
            (Some(true), None) => faults.push("the app did not get the whole request".to_owned()),
            (Some(false), Some(_)) => faults.push("an end was invented for the app".to_owned()),
            _ => {}
        }
        let bytes = match &self.exchange.kind {
            Kind::Upgrade(client, _) => client.iter().map(|(_, bytes)| bytes).sum(),
            _ => self.exchange.body.len(),
        };
        if expected.is_whole == Some(true) && expected.sees == Sees::Whole && last.bytes != bytes {
            faults.push(format!("the app got {} of {bytes} bytes", last.bytes));
        }
        let trailers =
            last.trailers.iter().any(|(name, value)| (&**name, &**value) == super::client::TRAILER);
        if last.whole_at.is_some() && trailers != self.exchange.body.trailers {
            faults.push(format!("the app got trailers {:?}", last.trailers));
        }
        if let Some(at) = expected.learns_at
            && last.left_at != Some(self.began + at)
        {
            let learned = last.left_at.map(|at| at.saturating_sub(self.began));
            faults.push(format!("the app learned at {learned:?}, not {at}"));
        }
    }
}

/// What comes first.
struct Race<'a> {
    case: &'a Case<'a>,
    moments: Moments,
    fate: Fate,
    attempts: usize,
}

/// What ends an exchange.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Cause {
    Left,
    GaveUp,
    Late,
    Failed,
    Done,
}

impl Expected {
    fn widened(self, by: Ms) -> Self {
        let (from, to) = self.at;
        Self { at: (from.saturating_sub(by), to + by), learns_at: None, is_whole: None, ..self }
    }
}

impl Race<'_> {
    /// Tells whether something else happens when the client leaves.
    fn is_tied(&self, at: Ms) -> bool {
        let Moments { told, whole, head, end } = self.moments;
        let mut passed = head;
        let pieces = self.case.exchange.answer.body.pieces.iter().map(|(delay, _)| {
            passed += delay;
            passed
        });
        [told, whole, head, end, self.fails_at()].contains(&at)
            || pieces.into_iter().any(|p| p == at)
    }

    fn fails_at(&self) -> Ms {
        match self.fate {
            Fate::Whole => NEVER,
            Fate::NoHead(_) | Fate::InHead(_) | Fate::Garbage | Fate::Refused => self.moments.head,
            Fate::InBody(count, _) => {
                let pieces = &self.case.exchange.answer.body.pieces;
                self.moments.head
                    + pieces.iter().take(count + 1).map(|(delay, _)| delay).sum::<Ms>()
            }
        }
    }

    fn expect(&self, status: u16, error: &'static str, at: Ms, sees: Sees) -> Expected {
        let (attempts, is_whole) = (self.attempts, None);
        Expected {
            status,
            error,
            at: (at, at),
            sees,
            attempts,
            is_whole,
            learns_at: None,
            call: None,
        }
    }

    fn own(&self, status: u16, error: &'static str, at: Ms) -> Expected {
        self.case.as_call(self.expect(status, error, at, Sees::Own(status)))
    }

    /// All ways, where a client leaves at one moment and the limit strikes at another.
    fn ends(&self, leaves: Option<(Ms, Leave)>, limit: Option<Ms>) -> Vec<Expected> {
        let exchange = self.case.exchange;
        let Moments { whole, head, end, .. } = self.moments;
        let status = exchange.answer.status;
        // A FIN behind a whole request is the app's to judge, where it can be told of it.
        let is_passed = leaves
            .is_some_and(|(at, how)| how != Leave::Reset && at >= whole && !self.case.via_http2());
        let left_at = leaves.map_or(NEVER, |(at, _)| at);
        let gives_up = exchange.answer.gives_up.filter(|_| is_passed);
        let done = if self.fate == Fate::Whole { end } else { NEVER };
        let causes = [
            (if is_passed { NEVER } else { left_at }, Cause::Left),
            (gives_up.map_or(NEVER, |after| left_at + after), Cause::GaveUp),
            (limit.filter(|at| *at < head).unwrap_or(NEVER), Cause::Late),
            (self.fails_at(), Cause::Failed),
            (done, Cause::Done),
        ];
        let (at, cause) = causes.into_iter().min().expect("five causes");
        let left = |is_whole| {
            let status = if left_at < head { LEFT } else { status };
            let left = self.expect(status, "downstream_aborted", left_at, Sees::Anything);
            let learns_at = Some(left_at).filter(|_| exchange.answer.reads_after == 0);
            Expected { is_whole, learns_at, ..left }
        };
        let is_half = matches!(leaves, Some((_, Leave::HalfClose)));
        let is_gone = is_passed && left_at <= at && !is_half;
        let mut all = match cause {
            Cause::Left if whole > left_at => return vec![left(Some(false))],
            Cause::Left => return vec![left(None)],
            // Whoever ends its answer with its connection cannot give up visibly.
            Cause::GaveUp if is_half && at > head && self.is_until_close() => {
                return vec![self.expect(status, "", at, Sees::Anything)];
            }
            Cause::GaveUp => return vec![left(Some(true))],
            Cause::Late | Cause::Done if is_gone => return vec![left(Some(true))],
            Cause::Late => vec![self.own(504, "http_response_timeout", at)],
            Cause::Failed if is_passed && left_at < at => match self.fate {
                Fate::Garbage if is_half => vec![self.own(502, "http_protocol_error", at)],
                _ => vec![left(Some(true))],
            },
            Cause::Failed => self.failed(at),
            Cause::Done => self.done(leaves),
        };
        self.with_pauses(&mut all);
        all
    }

    fn is_until_close(&self) -> bool {
        self.case.exchange.answer.body.framing == Framing::UntilClose
    }

    fn failed(&self, at: Ms) -> Vec<Expected> {
        let status = self.case.exchange.answer.status;
        let cut = || {
            let sees = Sees::Cut;
            self.expect(status, "http_response_incomplete", at, sees)
        };
        // A byte of an answer has come, or none.
        let begun = !self.case.exchange.answer.interim.is_empty() && !self.case.via_http2();
        let error = if begun { "http_response_incomplete" } else { "connection_terminated" };
        let none = || self.own(502, error, at);
        match self.fate {
            Fate::Whole => Vec::new(),
            Fate::NoHead(_) | Fate::Refused => vec![none()],
            Fate::InHead(_) => vec![self.own(502, "http_response_incomplete", at)],
            Fate::Garbage => vec![self.own(502, "http_protocol_error", at)],
            // The library of an app may take back a head with the reset behind it.
            Fate::InBody(0, _) if self.case.via_http2() => vec![cut(), none()],
            Fate::InBody(..) => vec![cut()],
        }
    }

    fn done(&self, leaves: Option<(Ms, Leave)>) -> Vec<Expected> {
        let exchange = self.case.exchange;
        let Moments { whole, head, end, .. } = self.moments;
        let mut expected = self.expect(exchange.answer.status, "", end, Sees::Whole);
        expected.is_whole = (whole <= head).then_some(true);
        if let Kind::Grpc(status) = exchange.kind {
            expected.call = Some(status);
        }
        if let Kind::Upgrade(client, app) = &exchange.kind {
            let time = |pieces: &[(Ms, usize)]| pieces.iter().map(|(delay, _)| delay).sum::<Ms>();
            let end = head + time(client).max(time(app));
            expected.at = (end, end);
        }
        let mut all = vec![expected];
        // An answered client that leaves within the rest of its body has its answer, or has left.
        if let Some((at, _)) = leaves.filter(|(at, _)| *at < whole) {
            let left =
                self.expect(exchange.answer.status, "downstream_aborted", end, Sees::Anything);
            all[0].sees = Sees::Anything;
            all.push(Expected { at: (end, at), ..left });
        }
        self.with_stalls(&mut all);
        all
    }

    /// Who reads nothing for a while delays the end; who does so for too long is given up, within
    /// twice the limit.
    fn with_stalls(&self, all: &mut Vec<Expected>) {
        let (exchange, connection) = (self.case.exchange, self.case.connection);
        let Moments { head, end, .. } = self.moments;
        let status = exchange.answer.status;
        if let Some((after, pause)) = exchange.stalls {
            let length = exchange.answer.body.len();
            let mut slow = self.expect(status, "downstream_timeout", 0, Sees::Cut);
            slow.at = (head + IDLE_MS, head + 2 * IDLE_MS + 1);
            if length > after {
                all[0].at.1 = end.max(head + pause);
            }
            if pause > IDLE_MS && length > after {
                // A client's library that takes all of it leaves nothing to wait for.
                let takes_all = connection.is_http2 && connection.window_bytes as usize >= length;
                if !takes_all {
                    all.clear();
                }
                all.push(slow);
            }
        }
        let mut passed = 0;
        for (delay, _) in &exchange.body.pieces {
            if *delay > IDLE_MS {
                let from = passed + IDLE_MS;
                let slow = self.expect(408, "downstream_timeout", from, Sees::OwnOrNothing(408));
                if !connection.is_http2 {
                    all.clear();
                }
                all.push(Expected { at: (from, passed + 2 * IDLE_MS + 1), ..slow });
            }
            passed += delay;
        }
    }

    /// While a client reads nothing of its socket, what it gets is late.
    fn with_pauses(&self, all: &mut [Expected]) {
        let case = self.case;
        let Some((from, pause)) = case.connection.looks_away else { return };
        let ends = (case.opened + from + pause).saturating_sub(case.began);
        let Moments { head, end, .. } = self.moments;
        for one in all {
            one.at.1 = one.at.1.max(ends + (end - head));
        }
    }
}
