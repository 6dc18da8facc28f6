//! The bodies of the metrics port's answers.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame};
use tokio::time::Instant;

use super::Admin;
use super::listing::Listing;
use super::places::Place;
use crate::metrics::page::Page;

pub(super) enum AdminBody {
    Text(Option<&'static str>),
    Scrape(Box<ScrapeBody>),
    Paths(Box<Listing>),
}

/// Who reads a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reader {
    /// Comes regularly, and once more at the end.
    Scraper,
    /// Takes a page as scrapers do, and may never come again: curl, a script.
    Passer,
    /// A person who watches.
    Viewer,
    /// Wants the list of paths.
    Lister,
}

/// An answer that tells the place of its connection when it is made.
pub(super) struct Placed {
    body: AdminBody,
    place: Rc<Place>,
}

impl Placed {
    pub(super) fn new(body: AdminBody, place: &Rc<Place>) -> Self {
        Self { body, place: Rc::clone(place) }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.place.answered();
    }
}

impl Body for Placed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// A page on its way: rendered piece by piece, as fast as the scraper reads.
pub(super) struct ScrapeBody {
    pub(super) page: Page,
    pub(super) gzip: Option<GzEncoder<Vec<u8>>>,
    pub(super) admin: Rc<Admin>,
    pub(super) reader: Reader,
    pub(super) busy: Duration,
    pub(super) complete: bool,
    /// Pieces until the next turn of others.
    pub(super) left: usize,
}

/// Pieces of a page that are made before the others of the metrics port get a turn, and before
/// what was made is sent: the library sends when there is nothing more to take.
const PIECES_PER_TURN: usize = 8;

impl ScrapeBody {
    /// Makes a piece; pending between two turns, the first of which has one piece only.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while self.left > 0 {
            self.left -= 1;
            // Requests that came meanwhile go first where their worker shares the core. A scheduler
            // may let a thread that was woken wait for milliseconds otherwise.
            std::thread::yield_now();
            match self.next_piece() {
                Some(piece) if piece.is_empty() => {}
                piece => return Poll::Ready(piece),
            }
        }
        self.left = PIECES_PER_TURN;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let begun = Instant::now();
        let piece = self.encode_next();
        self.busy += begun.elapsed();
        piece
    }

    /// The next bytes, of which there may be none yet; `None` at the end.
    fn encode_next(&mut self) -> Option<Bytes> {
        let piece = self.page.next();
        self.complete |= piece.is_none();
        let Some(encoder) = &mut self.gzip else {
            return piece.map(Bytes::from);
        };
        let Some(piece) = piece else {
            // Writing to a Vec cannot fail.
            let rest = self.gzip.take().and_then(|encoder| encoder.finish().ok());
            return rest.map(Bytes::from);
        };
        let _infallible = encoder.write_all(&piece);
        Some(std::mem::take(encoder.get_mut()).into())
    }
}

impl Drop for ScrapeBody {
    fn drop(&mut self) {
        self.admin.scrape_ended(self.reader, self.complete, self.busy);
    }
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Self::Text(text) => text.take().map(Bytes::from),
            Self::Scrape(scrape) => ready!(scrape.poll_next(cx)),
            Self::Paths(listing) => listing.next().map(Bytes::from),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Text(None))
    }
}

/// A short answer.
pub(super) fn text(status: StatusCode, text: &'static str) -> Response<AdminBody> {
    let mut response = Response::new(AdminBody::Text(Some(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
