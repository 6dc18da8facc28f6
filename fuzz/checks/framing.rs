//! Whatever the bytes are: where a request that is forwarded ends, every recipient agrees. The same
//! bytes go to our parser, to hyper's server, and to a model of RFC 9112 that judges framing alone.
//!
//! Whoever refuses a request agrees with everybody about what came before it: refusing more than
//! others is what a proxy is for, and what others refuse of what it takes goes no further there.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use redcar::http::{BodyLength, Decoder, Named, forwarded_trailers, parse_request, slots};
use tokio::io::AsyncWriteExt;

/// A request as its recipient understands it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Message {
    method: String,
    body: Vec<u8>,
    /// All of the body came.
    is_whole: bool,
}

/// Requests one after the other, as long as they are understood.
type Messages = Vec<Message>;

/// What the proxy would forward.
fn ours(data: &[u8]) -> Messages {
    let (mut messages, mut rest) = (Vec::new(), data);
    loop {
        while let Some(behind) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
            rest = behind;
        }
        let mut room = slots();
        let Ok(Some((head, size))) = parse_request(rest, &mut room) else { return messages };
        let (method, length) = (head.method.to_owned(), head.body);
        rest = &rest[size..];
        let (body, used, is_whole) = match length {
            BodyLength::None | BodyLength::UntilClose => (Vec::new(), 0, true),
            BodyLength::Known(bytes) => {
                let here = usize::try_from(bytes).unwrap_or(usize::MAX).min(rest.len());
                (rest[..here].to_vec(), here, here as u64 == bytes)
            }
            BodyLength::Chunked => match chunks(rest) {
                Some(chunks) => chunks,
                None => return messages,
            },
        };
        rest = &rest[used..];
        messages.push(Message { method, body, is_whole });
        if !is_whole {
            return messages;
        }
    }
}

/// The data of chunks, how many bytes they take, and whether their end came; `None`: malformed.
fn chunks(data: &[u8]) -> Option<(Vec<u8>, usize, bool)> {
    let (mut decoder, mut at, mut body) = (Decoder::new(64 * 1024), 0, Vec::new());
    while at < data.len() && !decoder.is_done() {
        let step = decoder.step(&data[at..]).ok()?;
        body.extend_from_slice(&data[at..][step.data]);
        at += step.consumed;
    }
    // Trailers that are no fields end a body as a malformed chunk does.
    let is_refused = forwarded_trailers(decoder.trailers(), &Named::new()).is_err();
    if decoder.is_done() && is_refused { None } else { Some((body, at, decoder.is_done())) }
}

/// The same by a few lines of RFC 9112: lines end with LF, perhaps behind a CR.
fn model(data: &[u8]) -> Messages {
    let (mut messages, mut at) = (Vec::new(), 0);
    while let Some((message, end)) = model_message(data, at) {
        let is_whole = message.is_whole;
        messages.push(message);
        at = end;
        if !is_whole {
            break;
        }
    }
    messages
}

fn line(data: &[u8], at: &mut usize) -> Option<Vec<u8>> {
    let rest = &data[*at..];
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    *at += end + 1;
    let line = &rest[..end];
    Some(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

fn model_message(data: &[u8], mut at: usize) -> Option<(Message, usize)> {
    let mut first = line(data, &mut at)?;
    while first.is_empty() {
        first = line(data, &mut at)?;
    }
    let method = first.split(|byte| *byte == b' ').next().unwrap_or_default();
    let method = String::from_utf8_lossy(method).into_owned();
    let (mut lengths, mut codings) = (Vec::new(), Vec::new());
    loop {
        let field = line(data, &mut at)?;
        if field.is_empty() {
            break;
        }
        let colon = field.iter().position(|byte| *byte == b':')?;
        let (name, value) = (field[..colon].to_ascii_lowercase(), &field[colon + 1..]);
        let items = value.split(|byte| *byte == b',').map(|item| item.trim_ascii().to_vec());
        match &*name {
            b"content-length" => lengths.extend(items),
            b"transfer-encoding" => codings.extend(items.map(|item| item.to_ascii_lowercase())),
            _ => {}
        }
    }
    codings.retain(|coding| !coding.is_empty());
    if codings.last().is_some_and(|last| last == b"chunked") {
        return model_chunks(data, at, method);
    }
    let mut known = 0;
    for (index, length) in lengths.iter().enumerate() {
        let length = std::str::from_utf8(length).ok()?.parse::<u64>().ok()?;
        if index > 0 && length != known {
            return None;
        }
        known = length;
    }
    let rest = &data[at..];
    let here = usize::try_from(known).unwrap_or(usize::MAX).min(rest.len());
    let is_whole = here as u64 == known;
    Some((Message { method, body: rest[..here].to_vec(), is_whole }, at + here))
}

fn model_chunks(data: &[u8], mut at: usize, method: String) -> Option<(Message, usize)> {
    let mut body = Vec::new();
    loop {
        let Some(size) = line(data, &mut at) else {
            return Some((Message { method, body, is_whole: false }, data.len()));
        };
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&size[..digits]).ok()?;
        let size = usize::try_from(u64::from_str_radix(size, 16).ok()?).ok()?;
        if size == 0 {
            break;
        }
        let here = size.min(data.len() - at);
        body.extend_from_slice(&data[at..at + here]);
        at += here;
        if here < size || line(data, &mut at).is_none() {
            return Some((Message { method, body, is_whole: false }, data.len()));
        }
    }
    loop {
        match line(data, &mut at) {
            None => return Some((Message { method, body, is_whole: false }, data.len())),
            Some(field) if field.is_empty() => break,
            Some(_) => {}
        }
    }
    Some((Message { method, body, is_whole: true }, at))
}

/// What a service behind hyper's server gets.
fn hypers(data: &[u8]) -> Messages {
    let messages = Arc::new(Mutex::new(Vec::new()));
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let seen = Arc::clone(&messages);
    let service = service_fn(move |request| read(request, Arc::clone(&seen)));
    let mut builder = hyper::server::conn::http1::Builder::new();
    let serving = builder.half_close(true).serve_connection(TokioIo::new(server), service);
    let talk = async {
        // It fits: the largest input has 4 KiB.
        let _sent = client.write_all(data).await;
        let _closed = client.shutdown().await;
        let _served = serving.await;
    };
    let mut talk = pin!(talk);
    let mut cx = Context::from_waker(Waker::noop());
    // Everything is in memory, so nothing is waited for; a few turns are enough.
    for _ in 0..1000 {
        if talk.as_mut().poll(&mut cx).is_ready() {
            break;
        }
    }
    let messages = messages.lock().expect("no panic");
    messages.clone()
}

type Answer = Result<hyper::Response<String>, std::convert::Infallible>;

async fn read(request: hyper::Request<Incoming>, messages: Arc<Mutex<Messages>>) -> Answer {
    let method = request.method().as_str().to_owned();
    let mut body = request.into_body();
    let mut message = Message { method, body: Vec::new(), is_whole: true };
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => message.body.extend_from_slice(&data),
            Ok(Err(_trailers)) => {}
            Err(error) if is_cut(&error) => message.is_whole = false,
            // It is refused, which agrees with everybody.
            Err(_) => return Ok(hyper::Response::new(String::new())),
        }
    }
    messages.lock().expect("no panic").push(message);
    Ok(hyper::Response::new(String::new()))
}

/// Tells whether a body ended before its end.
fn is_cut(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let hyper = error.downcast_ref::<hyper::Error>();
    io == Some(std::io::ErrorKind::UnexpectedEof)
        || hyper.is_some_and(hyper::Error::is_incomplete_message)
        || error.source().is_some_and(is_cut)
}

/// Panics if two recipients see other requests in the same bytes.
pub(crate) fn check(data: &[u8]) {
    let ours = ours(data);
    for (whose, theirs) in [("hyper", hypers(data)), ("the model", model(data))] {
        for (index, (own, other)) in ours.iter().zip(&theirs).enumerate() {
            if own.method == "CONNECT" {
                // It is answered with 501 and ends the connection; for hyper a tunnel begins.
                break;
            }
            // Of a body that is cut there may be more or less.
            let agrees = own.method == other.method
                && own.is_whole == other.is_whole
                && (!own.is_whole || own.body == other.body);
            assert!(
                agrees,
                "request {index} is {own:?} for us and {other:?} for {whose}: {:?}",
                String::from_utf8_lossy(data)
            );
        }
    }
}
