//! One GET, bounded by size; its caller bounds the time. What answers is not trusted.

use std::error::Error as _;
use std::io;
use std::pin::pin;

use http::{HeaderValue, Request, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::ReadError;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Host and port, for the Host field.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// Whose question it is, for User-Agent.
    pub purpose: &'static str,
    /// What is understood.
    pub accept: &'static str,
    /// Who is asking, if that is to be said.
    pub authorization: Option<HeaderValue>,
    /// Bytes that an answer may have.
    pub max_bytes: usize,
}

/// Asks over a connection, which closes then, and returns the body of a 200.
///
/// Redirects are not followed and nothing is decompressed.
///
/// # Errors
///
/// [`ReadError`].
///
/// # Cancel safety
///
/// Dropping the future closes the connection.
pub(crate) async fn get<S>(stream: S, question: &Question) -> Result<Vec<u8>, ReadError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let mut connection = pin!(connection);
    let mut exchange = pin!(exchange(sender, question));
    tokio::select! {
        result = &mut exchange => result,
        // What came before the end of the connection is still there.
        _ended = &mut connection => exchange.await,
    }
}

async fn exchange(
    mut sender: SendRequest<String>,
    question: &Question,
) -> Result<Vec<u8>, ReadError> {
    let agent = format!("redcar/{} ({})", crate::metrics::VERSION, question.purpose);
    let mut request = Request::get(&question.target)
        .header(header::HOST, &question.authority)
        .header(header::USER_AGENT, agent)
        .header(header::ACCEPT, question.accept)
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close");
    if let Some(authorization) = &question.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(String::new()).map_err(|_| ReadError::Target)?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    if response.status() != StatusCode::OK {
        return Err(ReadError::Status(response.status()));
    }
    let coding = response.headers().get(header::CONTENT_ENCODING);
    if let Some(coding) = coding.filter(|coding| *coding != "identity") {
        return Err(ReadError::Compressed(String::from_utf8_lossy(coding.as_bytes()).into_owned()));
    }
    collect(response.into_body(), question.max_bytes).await
}

async fn collect(body: Incoming, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(ReadError::TooLarge(max_bytes));
    }
    let (mut body, mut bytes) = (pin!(body), Vec::new());
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        if bytes.len() + data.len() > max_bytes {
            return Err(ReadError::TooLarge(max_bytes));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The library's own words say only which layer failed.
fn broken(error: &hyper::Error) -> ReadError {
    let cause =
        error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    ReadError::Broken(io::Error::other(cause))
}
