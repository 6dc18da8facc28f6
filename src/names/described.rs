//! What the app says of itself: `--openapi upstream:/openapi.json`.
//!
//! Asked for through the upstream, on a connection of its own that no request is counted on, when
//! the app can be connected to for the first time, when it has been away, and when the files of
//! routes are read again.

use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::ReadError;
use super::http::{Question, get};
use crate::config::Upstream;
use crate::config::routes::openapi;
use crate::metrics::Reachability;
use crate::net::connect::Dialer;
use crate::net::tls::Alpn;
use crate::net::transport::Socket;
use crate::paths::Template;

/// Where apps have their description if nobody says where: as `FastAPI` and many others have it,
/// springdoc, ASP.NET, Swagger 2, `NestJS`, Litestar, Fastify.
pub(crate) const USUAL_PLACES: [&str; 7] = [
    "/openapi.json",
    "/v3/api-docs",
    "/swagger/v1/swagger.json",
    "/swagger.json",
    "/api-json",
    "/schema/openapi.json",
    "/documentation/json",
];

/// How long the app may take: many make their description when it is asked for the first time.
const LIMIT: Duration = Duration::from_secs(10);

/// Twice what the largest public descriptions have.
const MAX_BYTES: usize = 32 << 20;

/// Times after which an app is asked once more that can be connected to but has no description yet.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// How long paths wait for a description after the app can be connected to.
const PATIENCE: Duration = Duration::from_secs(2);

/// An app that can be asked to describe itself.
pub struct App {
    dialer: Dialer,
    authority: String,
    places: Vec<Option<String>>,
}

impl App {
    /// Asks through this dialer, at each of `places`.
    pub fn new(upstream: &Upstream, dialer: Dialer, places: Vec<Option<String>>) -> Self {
        Self { dialer, authority: upstream.authority(), places }
    }

    /// The places at which it is asked.
    pub fn places(&self) -> &[Option<String>] {
        &self.places
    }

    /// The templates of a description, at `place` or at the first of the usual ones that has one.
    ///
    /// # Errors
    ///
    /// [`ReadError`], of the first place.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn describe(&self, place: Option<&str>) -> Result<Vec<Template>, ReadError> {
        let asked = async {
            let Some(place) = place else {
                let mut first = None;
                for place in USUAL_PLACES {
                    match self.describe_at(place).await {
                        Err(error) => first = first.or(Some(error)),
                        found => return found,
                    }
                }
                return Err(first.unwrap_or(ReadError::Target));
            };
            self.describe_at(place).await
        };
        tokio::time::timeout(LIMIT, asked).await.unwrap_or(Err(ReadError::Slow(LIMIT)))
    }

    async fn describe_at(&self, place: &str) -> Result<Vec<Template>, ReadError> {
        let question = Question {
            authority: self.authority.clone(),
            target: place.to_owned(),
            purpose: "openapi",
            accept: "application/json, application/yaml;q=0.9, */*;q=0.1",
            authorization: None,
            max_bytes: MAX_BYTES,
        };
        let dialled = self.dialer.dial(&[Alpn::Http1]).await;
        let bytes = match dialled.map_err(|error| ReadError::Upstream(error.to_string()))?.socket {
            Socket::Tcp(stream) => get(stream, &question).await?,
            Socket::Unix(stream) => get(stream, &question).await?,
            Socket::TlsClient(stream) => get(stream, &question).await?,
            Socket::TlsServer(stream) => get(stream, &question).await?,
            #[cfg(test)]
            Socket::Memory(stream) => get(stream, &question).await?,
        };
        // A large document takes a second to read.
        let parsed = tokio::task::spawn_blocking(move || {
            let text =
                String::from_utf8(bytes).map_err(|_| ReadError::Form("it is not UTF-8 text"))?;
            openapi::parse(&text).map_err(|error| ReadError::Document(error.reason))
        });
        let found = parsed.await.map_err(|_| ReadError::Form("reading it failed"))??;
        for (path, reason) in &found.left_out {
            tracing::debug!(path, %reason, "a path of the app's OpenAPI document is left out");
        }
        Ok(found.templates)
    }
}

/// Has the app describe itself whenever there is a reason, for as long as it is polled.
///
/// `pin` takes the templates of all places, in their order, or `None` where the app does not
/// describe itself; `is_described` turns true after the first time, or when it takes too long.
pub(crate) async fn follow(
    app: &App,
    upstream: &Reachability,
    again: &Notify,
    is_described: &watch::Sender<bool>,
    mut pin: impl AsyncFnMut(Option<Vec<Vec<Template>>>),
) {
    loop {
        let arrival = upstream.arrives_after(0).await;
        let described = async {
            pin(describe_all(app, upstream).await).await;
        };
        let mut described = std::pin::pin!(described);
        if tokio::time::timeout(PATIENCE, &mut described).await.is_err() {
            is_described.send_replace(true);
            described.await;
        }
        is_described.send_replace(true);
        tokio::select! {
            _arrivals = upstream.arrives_after(arrival) => {}
            () = again.notified() => {}
        }
    }
}

/// Asks for all descriptions, and again while one is missing and the app is there.
async fn describe_all(app: &App, upstream: &Reachability) -> Option<Vec<Vec<Template>>> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let mut all = Vec::new();
        let mut failed = None;
        for place in &app.places {
            match app.describe(place.as_deref()).await {
                Ok(templates) => all.push(templates),
                Err(error) => failed = failed.or(Some((place, error))),
            }
        }
        let Some((place, error)) = failed else { return Some(all) };
        let place = place.as_deref().unwrap_or("");
        let Some(pause) = pauses.next().filter(|_| upstream.is_up()) else {
            tracing::error!(
                %error,
                "the app does not describe itself at --openapi upstream:{place}; the routes stay"
            );
            return None;
        };
        tracing::debug!(%error, place, "the app does not describe itself yet");
        tokio::time::sleep(pause).await;
    }
}
