//! HTTP/2 messages: the maps of the library, and what they say in terms of HTTP/1.

use http::header::{CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Response, StatusCode, Uri};

use super::h1::{BodyLength, Field, Target, Version, length, request_line};
use super::head::{Fields, RequestLine, RequestWriter, ResponseWriter};
use super::rewrite::{RequestError, is_for_http1_only};

impl Fields for HeaderMap {
    /// Appends a field. One that HTTP/2 could not carry is dropped, which cannot happen to fields
    /// that the HTTP/1 parser accepted.
    fn field(&mut self, name: &str, value: &[u8]) {
        if is_for_http1_only(name) {
            return;
        }
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            self.append(name, value);
        }
    }

    fn end(&mut self) {}
}

impl Fields for Request<()> {
    fn field(&mut self, name: &str, value: &[u8]) {
        self.headers_mut().field(name, value);
    }

    fn end(&mut self) {}
}

impl RequestWriter for Request<()> {
    fn request_line(&mut self, line: RequestLine<'_>) -> Result<(), RequestError> {
        let path = [if line.target.slash { &b"/"[..] } else { b"" }, line.target.text].concat();
        let mut uri = http::uri::Parts::default();
        uri.scheme = line.scheme.parse().ok();
        uri.authority = Authority::try_from(line.authority).ok();
        uri.path_and_query = PathAndQuery::try_from(path).ok();
        let method = Method::from_bytes(line.method.as_bytes());
        let (Ok(uri), Ok(method)) = (Uri::from_parts(uri), method) else {
            return Err(RequestError::TargetInvalid);
        };
        *self.uri_mut() = uri;
        *self.method_mut() = method;
        *self.version_mut() = http::Version::HTTP_2;
        Ok(())
    }
}

impl Fields for Response<()> {
    fn field(&mut self, name: &str, value: &[u8]) {
        self.headers_mut().field(name, value);
    }

    fn end(&mut self) {}
}

impl ResponseWriter for Response<()> {
    fn status_line(&mut self, _version: Version, status: StatusCode, _reason: &[u8]) {
        *self.status_mut() = status;
    }
}

/// The field lines of a map.
pub(crate) fn fields(map: &HeaderMap) -> impl Iterator<Item = Field<'_>> {
    map.iter().map(|(name, value)| Field { name: name.as_str(), value: value.as_bytes() })
}

/// All cookies of a request in one value: HTTP/1 knows no crumbs (RFC 9113 §8.2.3).
pub(crate) fn cookie(map: &HeaderMap) -> Option<Vec<u8>> {
    let crumbs = map.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let crumbs: Vec<&[u8]> = crumbs.collect();
    (!crumbs.is_empty()).then(|| crumbs.join(&b"; "[..]))
}

/// The field lines of a request, its cookies as one.
pub(crate) fn request_fields<'a>(map: &'a HeaderMap, cookie: Option<&'a [u8]>) -> Vec<Field<'a>> {
    let others = map.iter().filter(|(name, _)| **name != COOKIE);
    let others = others.map(|(name, value)| Field { name: name.as_str(), value: value.as_bytes() });
    others.chain(cookie.map(|value| Field { name: "cookie", value })).collect()
}

/// How the body of a request is delimited; `ended`: its head has ended the stream.
///
/// A Content-Length that is no number, which the rewriting refuses, counts as none.
pub(crate) fn request_body(map: &HeaderMap, ended: bool) -> BodyLength {
    match map.get(CONTENT_LENGTH).and_then(|value| length(value.as_bytes())) {
        _ if ended => BodyLength::None,
        Some(bytes) => BodyLength::Known(bytes),
        None => BodyLength::Chunked,
    }
}

/// How the body of a response is delimited; `ended`: its head has ended the stream.
///
/// # Errors
///
/// In words, why the response cannot be forwarded.
pub(crate) fn response_body(
    status: StatusCode,
    map: &HeaderMap,
    to_head: bool,
    ended: bool,
) -> Result<BodyLength, &'static str> {
    match map.get(CONTENT_LENGTH).map(|value| length(value.as_bytes())) {
        // The library takes an empty one for 0.
        Some(None) => Err("its Content-Length is invalid"),
        _ if to_head || matches!(status.as_u16(), 204 | 304) => Ok(BodyLength::None),
        _ if ended => Ok(BodyLength::Known(0)),
        Some(Some(bytes)) => Ok(BodyLength::Known(bytes)),
        None => Ok(BodyLength::Chunked),
    }
}

/// The size of a field section as RFC 9113 §10.5.1 counts it.
pub(crate) fn list_bytes(map: &HeaderMap) -> usize {
    const OVERHEAD: usize = 32;
    map.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD).sum()
}

/// A response's head in HPACK, in a form that neither reads nor changes the compression's state: it
/// may go before what the library sends (RFC 7541 §6.2.2).
pub(crate) fn stateless_block(response: &Response<()>) -> Vec<u8> {
    /// Literal without indexing, with the name of static entry 8: `:status`.
    const STATUS: u8 = 0x08;
    /// Literal without indexing, with a name of its own.
    const NEW_NAME: u8 = 0x00;
    let mut block = vec![STATUS];
    push_string(&mut block, response.status().as_str().as_bytes());
    for field in fields(response.headers()) {
        block.push(NEW_NAME);
        push_string(&mut block, field.name.as_bytes());
        push_string(&mut block, field.value);
    }
    block
}

/// A string without Huffman coding: its length in 7 bits and more (RFC 7541 §5.1 and §5.2).
fn push_string(block: &mut Vec<u8>, text: &[u8]) {
    const PREFIX: usize = 0x7f;
    let low = |length: usize| {
        let [low, ..] = (length & PREFIX).to_le_bytes();
        low
    };
    if text.len() < PREFIX {
        block.push(low(text.len()));
    } else {
        block.push(low(PREFIX));
        let mut rest = text.len() - PREFIX;
        while rest > PREFIX {
            block.push(low(rest) | 0x80);
            rest >>= 7;
        }
        block.push(low(rest));
    }
    block.extend_from_slice(text);
}

/// A request's head in HTTP/1, for an upstream that turned out not to speak HTTP/2.
pub(crate) fn to_http1(request: &Request<()>, body: BodyLength) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let text = request.uri().path_and_query().map_or("/", PathAndQuery::as_str).as_bytes();
    let target = Target { authority: None, slash: false, text };
    request_line(&mut out, request.method().as_str(), target);
    if let Some(authority) = request.uri().authority() {
        out.field("Host", authority.as_str().as_bytes());
    }
    if body == BodyLength::Chunked {
        out.field("Transfer-Encoding", b"chunked");
    }
    if request.headers().contains_key(TE) {
        out.field("Connection", b"TE");
    }
    for field in fields(request.headers()) {
        out.field(field.name, field.value);
    }
    out.end();
    out
}

#[cfg(test)]
mod tests;
