use proptest::prelude::*;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:method: GET`, `:scheme: http`, `:path: /`.
const REQUEST: &[u8] = &[0x82, 0x86, 0x84];
const OPEN: u8 = END_HEADERS;
const WHOLE: u8 = END_HEADERS | END_STREAM;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut out = length.to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// What is found in these frames behind the preface and an empty SETTINGS.
fn found(frames: &[Vec<u8>]) -> Option<Fault> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frames.concat());
    Frames::new().watch(&mut bytes).err().map(|(_, fault)| fault)
}

fn found_in_block(block: &[u8]) -> Option<Fault> {
    found(&[frame(HEADERS, WHOLE, 1, &[REQUEST, block].concat())])
}

#[test]
fn the_first_frame_is_settings() {
    for first in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, ACK, 0, &[])] {
        let mut bytes = [PREFACE, &first].concat();
        let handed_on = PREFACE.len();
        assert_eq!(Frames::new().watch(&mut bytes), Err((handed_on, Fault::Protocol)));
    }
}

#[test]
fn frames_of_another_length_than_their_type_has_are_frame_size_errors() {
    let wrong = [
        frame(PRIORITY, 0, 1, &[0; 4]),
        frame(RST_STREAM, 0, 1, &[0; 3]),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        frame(PING, 0, 0, &[0; 7]),
        frame(GOAWAY, 0, 0, &[0; 7]),
        frame(WINDOW_UPDATE, 0, 0, &[0; 5]),
        frame(DATA, PADDED, 1, &[]),
        frame(HEADERS, WHOLE | PRIORITISED | PADDED, 1, &[0; 5]),
        frame(99, 0, 0, &vec![0; MAX_PAYLOAD_BYTES + 1]),
    ];
    for frame in wrong {
        assert_eq!(found(std::slice::from_ref(&frame)), Some(Fault::FrameSize), "{frame:?}");
    }
}

#[test]
fn a_window_beyond_the_maximum_is_a_flow_control_error() {
    let at = |value: u32| {
        let entry = [&[0, 1, 0, 0, 0, 0, 0, 4][..], &value.to_be_bytes()].concat();
        found(&[frame(SETTINGS, 0, 0, &entry)])
    };
    assert_eq!(at(1 << 31), Some(Fault::FlowControl));
    assert_eq!(at((1 << 31) - 1), None);
}

#[test]
fn frames_on_a_stream_that_the_client_ended_are_errors() {
    let request = frame(HEADERS, WHOLE, 1, REQUEST);
    let data = frame(DATA, 0, 1, b"x");
    let closed = Some(Fault::StreamClosed);
    assert_eq!(found(&[request.clone(), data.clone()]), closed);
    assert_eq!(found(&[request.clone(), request.clone()]), closed);
    let opened = frame(HEADERS, OPEN, 1, REQUEST);
    let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
    assert_eq!(found(&[opened.clone(), reset.clone(), data.clone()]), closed);
    assert_eq!(found(&[opened.clone(), frame(DATA, END_STREAM, 1, b"x"), data.clone()]), closed);
    // A window update may cross the end; an open stream takes data and trailers.
    assert_eq!(found(&[request, frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), reset]), None);
    assert_eq!(found(&[opened, data, frame(HEADERS, WHOLE, 1, b"\x00\x01x\x01y")]), None);
}

#[test]
fn streams_ended_long_ago_are_the_library_s_to_judge() {
    let mut frames: Vec<_> =
        (0..300).map(|number| frame(HEADERS, WHOLE, 2 * number + 1, REQUEST)).collect();
    frames.push(frame(DATA, 0, 1, b"x"));
    assert_eq!(found(&frames), None);
    frames.push(frame(DATA, 0, 599, b"x"));
    assert_eq!(found(&frames), Some(Fault::StreamClosed));
}

#[test]
fn nothing_comes_between_the_frames_of_a_header_block() {
    let begin = frame(HEADERS, END_STREAM, 1, &REQUEST[..1]);
    let rest = frame(CONTINUATION, END_HEADERS, 1, &REQUEST[1..]);
    assert_eq!(found(&[begin.clone(), rest.clone()]), None);
    for between in [
        frame(99, 0, 0, &[]),
        frame(DATA, 0, 1, &[]),
        frame(HEADERS, WHOLE, 3, REQUEST),
        frame(CONTINUATION, END_HEADERS, 3, &[]),
        frame(CONTINUATION, END_HEADERS, 0, &[]),
    ] {
        assert_eq!(found(&[begin.clone(), between]), Some(Fault::Protocol));
    }
    let whole = frame(HEADERS, WHOLE, 1, REQUEST);
    assert_eq!(found(&[whole, rest.clone()]), Some(Fault::Protocol));
    assert_eq!(found(&[rest]), Some(Fault::Protocol));
}

#[test]
fn a_goaway_is_hidden_wherever_its_head_is_cut() {
    let sent = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(GOAWAY, 0, 0, &[0; 8])].concat();
    let hidden = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(UNASSIGNED, 0, 0, &[0; 8])].concat();
    for piece in 1..sent.len() {
        let mut bytes = sent.clone();
        let mut frames = Frames::new();
        bytes.chunks_mut(piece).for_each(|piece| frames.watch(piece).unwrap());
        assert_eq!(bytes, hidden);
    }
}

#[test]
fn padding_is_not_longer_than_what_it_pads() {
    let padded = |pad: u8| [&[pad][..], REQUEST, &[0; 4]].concat();
    let flags = WHOLE | PADDED;
    assert_eq!(found(&[frame(HEADERS, flags, 1, &padded(4))]), None);
    assert_eq!(found(&[frame(HEADERS, flags, 1, &padded(8))]), Some(Fault::Protocol));
}

#[test]
fn a_colon_begins_no_name_in_trailers() {
    let opened = frame(HEADERS, OPEN, 1, &[REQUEST, b"\x40\x02:x\x01y"].concat());
    let trailers = |block: &[u8]| found(&[opened.clone(), frame(HEADERS, WHOLE, 1, block)]);
    assert_eq!(trailers(b"\x00\x01x\x01y"), None);
    // The static table, a literal, a literal in Huffman's code, and the dynamic table.
    for block in [&b"\x82"[..], b"\x00\x02:x\x01y", b"\x00\x82\xb9\xe7\x01y", b"\xbe"] {
        assert_eq!(trailers(block), Some(Fault::Protocol), "{block:x?}");
    }
}

#[test]
fn header_blocks_that_do_not_decode_are_compression_errors() {
    for block in [
        &b"\x80"[..],
        b"\xbe",
        b"\x7f\x00\x01x",
        b"\x3f\xe2\x1f",
        b"\x21",
        b"\x00\x01x\x84\x49\x50\x9f\xff",
        b"\x00\x01x\x83\x49\x50\x90",
        b"\x00\x01x\x84\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff\xff\xff",
        b"\x40\x1f\x0a",
        b"\x40",
    ] {
        assert_eq!(found_in_block(block), Some(Fault::Compression), "{block:x?}");
    }
}

/// RFC 7541 appendix C.4: texts in Huffman's code, and the table that they fill.
#[test]
fn the_examples_of_the_rfc_decode_to_their_sizes() {
    let blocks = [
        &b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..],
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\
          \x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    let mut all = Blocks::new();
    let mut sizes = Vec::new();
    for block in blocks {
        all.read(block).unwrap();
        assert!(all.end().unwrap());
        sizes.push(all.table_bytes());
    }
    assert_eq!(sizes, [57, 110, 164]);
}

#[test]
fn the_table_forgets_the_oldest_where_it_is_full() {
    let entry = b"\x40\x01x\x01y";
    // Room for two entries of 34 bytes.
    let full = [b"\x3f\x25".as_slice(), entry, entry, entry].concat();
    let with = |end: &[u8]| found(&[frame(HEADERS, WHOLE, 1, &[&full, end].concat())]);
    assert_eq!(with(b"\xbe\xbf"), None);
    assert_eq!(with(b"\xc0"), Some(Fault::Compression));
}

fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let block = prop_oneof![
        Just(REQUEST.to_vec()),
        Just(b"\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x01y".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ];
    (0_u8..11, any::<u8>(), 0_u32..12, block)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
}

proptest! {
    /// Where the bytes are cut changes nothing, and no bytes panic.
    #[test]
    fn pieces_are_judged_like_the_whole(
        frames in proptest::collection::vec(some_frame(), 0..30),
        piece in 1_usize..50,
    ) {
        let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames.concat()].concat();
        let whole = Frames::new().watch(&mut bytes.clone()).err().map(|(_, fault)| fault);
        let mut pieces = Frames::new();
        let found = bytes.chunks_mut(piece).find_map(|piece| pieces.watch(piece).err());
        prop_assert_eq!(whole, found.map(|(_, fault)| fault));
    }

    /// What is handed on before a breach holds no part of it that a decoder could act on.
    #[test]
    fn the_frame_that_is_wrong_is_never_whole(
        frames in proptest::collection::vec(some_frame(), 1..30),
    ) {
        let start = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let bytes = [&start[..], &frames.concat()].concat();
        if let Err((good, _)) = Frames::new().watch(&mut bytes.clone()) {
            let mut end = start.len();
            let wrong = frames.iter().find(|frame| {
                end += frame.len();
                good < end
            });
            prop_assert!(wrong.is_some());
            prop_assert!(Frames::new().watch(&mut bytes.clone()[..good]).is_ok());
            prop_assert!(Frames::new().watch(&mut bytes.clone()[..end]).is_err());
        }
    }
}
