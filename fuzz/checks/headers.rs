//! Whatever the bytes are: what is sent on is a head, ends where it says, and has nothing
//! hop-by-hop in it.

use redcar::http::{
    Decoder, Field, Forwarded, Peer, Persistence, Recipient, Version, parse_request,
    parse_response, prepare_request, slots, write_forwarded,
};

fn count(fields: &[Field<'_>], name: &str) -> usize {
    fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count()
}

fn request(data: &[u8]) {
    let mut room = slots();
    let Ok(Some((head, _))) = parse_request(data, &mut room) else { return };
    let peer = Peer {
        address: "192.0.2.1",
        scheme: "http",
        forwarded: Forwarded::Append,
        via: true,
        upstream: "app:8080",
    };
    let mut sent = Vec::new();
    if prepare_request(&head, peer, &mut sent).is_err() {
        return;
    }
    let mut room = slots();
    match parse_request(&sent, &mut room) {
        Ok(Some((again, size))) => {
            assert_eq!((size, again.body), (sent.len(), head.body));
            for name in ["keep-alive", "proxy-connection", "content_length"] {
                assert_eq!(count(again.fields, name), 0, "{name}");
            }
            assert!(count(again.fields, "host") <= 1);
        }
        // Our own fields may be the ones too many.
        Err(redcar::http::HeadError::TooLarge) => {}
        other => panic!("{other:?}: {:?}", String::from_utf8_lossy(&sent)),
    }
}

fn response(data: &[u8]) {
    let mut room = slots();
    let Ok(Some((head, _))) = parse_response(data, &mut room, false) else { return };
    let mut sent = Vec::new();
    let to = Recipient { version: Version::Http11, to_head: false };
    write_forwarded(&head, to, |_| Persistence::Close, || "now".into(), &mut sent);
    let mut room = slots();
    let (again, size) = match parse_response(&sent, &mut room, false) {
        // Our own fields may be the ones too many.
        Err("it has too many fields") => return,
        parsed => parsed.expect("a head").expect("complete"),
    };
    assert_eq!((size, again.status), (sent.len(), head.status));
    assert_eq!(count(again.fields, "connection"), 1);
    let framings = ["content-length", "transfer-encoding"].map(|name| count(again.fields, name));
    assert!(framings.iter().sum::<usize>() <= 1, "{framings:?}");
}

fn chunks(data: &[u8]) {
    let mut decoder = Decoder::new(64 * 1024);
    let mut rest = data;
    while !rest.is_empty() && !decoder.is_done() {
        let Ok(step) = decoder.step(rest) else { return };
        assert!(step.consumed > 0 && step.data.end <= step.consumed);
        rest = &rest[step.consumed..];
    }
}

/// Panics if that does not hold for these bytes.
pub(crate) fn check(data: &[u8]) {
    request(data);
    response(data);
    chunks(data);
}
