//! Whether an HTTP/2 connection to the upstream lives.
//!
//! One that has died in silence takes what is given to it like any other. So a request gets a
//! connection only if a byte came lately, or comes now.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::counted::{Counted, Use};
use crate::net::transport::{Hearing, Transport};

/// How often a connection is looked at.
const BEAT: Duration = Duration::from_millis(500);

/// Beats without a byte after which a connection has to give a sign before it gets a request: half
/// a second to a second. As long as an HTTP/1 connection counts as fresh.
const QUIET_BEATS: u8 = 2;

/// How long a request waits for that sign before another connection is opened. A round trip takes
/// less, unless the app is busy, and then a new connection costs nobody anything.
const SIGN_WAIT: Duration = Duration::from_millis(250);

/// After how much silence a connection is asked whose requests wait.
const PING_AFTER: Duration = Duration::from_secs(5);

/// How long the answer to a PING may take before the connection is given up. Not short, since an
/// app that is busy computing cannot answer; Gunicorn, too, gives a worker 30 s. What the kernel
/// knows to be lost is lost earlier.
const PING_LIMIT: Duration = Duration::from_secs(30);

/// PINGs without a message in between. gRPC servers end a connection at the fourth
/// (`too_many_pings`; gRPC proposal A8).
const MAX_UNANSWERED_PINGS: u8 = 2;

/// Why a connection is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leave {
    /// It carried nothing for `--upstream-idle-timeout`.
    Idle,
    /// It does not answer.
    Dead,
}

/// What is known of one connection.
pub(super) struct Life {
    pub(super) hearing: Rc<Hearing>,
    transport: Rc<Transport>,
    /// It takes no more streams.
    closed: Cell<bool>,
    /// It gave no sign when it was asked; until it does, it gets no request.
    late: Cell<bool>,
    streams: Cell<usize>,
    /// It carried a stream since the last beat.
    used: Cell<bool>,
    asked: Notify,
    counted: RefCell<Option<Counted>>,
}

/// PINGs of a connection.
trait Pings {
    /// Sends one.
    fn send(&mut self);

    /// Ready when it was answered; an error when the connection has ended.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>>;
}

impl Pings for PingPong {
    fn send(&mut self) {
        // An error means that the connection has ended, which its own task tells.
        let _sent = self.send_ping(Ping::opaque());
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.poll_pong(cx).map_ok(|_pong| ())
    }
}

impl Life {
    pub(super) fn new(transport: &Rc<Transport>, counted: Counted) -> Rc<Self> {
        Rc::new(Self {
            hearing: Rc::default(),
            transport: Rc::clone(transport),
            closed: Cell::new(false),
            late: Cell::new(false),
            streams: Cell::new(0),
            used: Cell::new(true),
            asked: Notify::new(),
            counted: RefCell::new(Some(counted)),
        })
    }

    /// It takes no more streams.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// It has ended.
    pub(super) fn end(&self) {
        self.close();
        self.counted.borrow_mut().take();
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    pub(super) fn stream_begins(&self) {
        self.streams.set(self.streams.get() + 1);
        self.used.set(true);
        self.set_use(Use::Active);
    }

    pub(super) fn stream_ends(&self) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            self.set_use(Use::Idle);
        }
    }

    fn set_use(&self, now: Use) {
        if let Some(counted) = &*self.counted.borrow() {
            counted.set(now);
        }
    }

    /// The upstream may leave what is sent unread.
    pub(super) fn be_patient(&self) {
        self.transport.be_patient();
    }

    /// Tells whether a byte came lately.
    pub(super) fn is_proven(&self) -> bool {
        self.hearing.quiet_beats() < QUIET_BEATS
    }

    /// Tells whether it may be asked for a sign.
    pub(super) fn may_be_asked(&self) -> bool {
        !self.closed.get() && (!self.late.get() || self.is_proven())
    }

    /// Asks for a sign of life. `false`: none came in time.
    ///
    /// # Cancel safety
    ///
    /// Safe: the question has gone out, and the answer counts.
    pub(super) async fn gives_a_sign(&self) -> bool {
        self.asked.notify_one();
        let sign = timeout(SIGN_WAIT, self.hearing.next()).await;
        self.late.set(sign.is_err());
        sign.is_ok() && !self.closed.get()
    }

    /// Watches until the connection is to be left.
    pub(super) async fn watch(&self, pings: PingPong, idle_limit: Duration) -> Leave {
        self.watch_with(pings, idle_limit).await
    }

    async fn watch_with(&self, mut pings: impl Pings, idle_limit: Duration) -> Leave {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut heard, mut used) = (Instant::now(), Instant::now());
        // When the PING that is out was sent.
        let mut sent: Option<Instant> = None;
        loop {
            let mut is_asked = false;
            tokio::select! {
                now = beat.tick() => {
                    if self.hearing.beat() == 1 {
                        heard = now;
                    }
                    if self.used.replace(false) || self.streams.get() > 0 {
                        used = now;
                    }
                }
                () = self.asked.notified() => is_asked = true,
                _answer = poll_fn(|cx| pings.poll_answer(cx)), if sent.is_some() => {
                    sent = None;
                    continue;
                }
            }
            let now = Instant::now();
            if sent.is_some_and(|sent| now - sent.max(heard) >= PING_LIMIT) {
                return Leave::Dead;
            }
            let waits = self.streams.get() > 0;
            if !waits && now - used >= idle_limit {
                return Leave::Idle;
            }
            let is_due = is_asked || (waits && now - heard >= PING_AFTER);
            if is_due && sent.is_none() && self.hearing.count_ping() <= MAX_UNANSWERED_PINGS {
                pings.send();
                sent = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
