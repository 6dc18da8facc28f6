//! What holds for the whole of an HTTP/2 connection from a client, frame by frame.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::{Peer, ms, played, played_with, settled};
use crate::config::{Config, UpstreamProtocol};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// `GET /` (`POST /` without an end) of `http://a` in HPACK's static table.
fn request(stream: u32, has_body: bool) -> Vec<u8> {
    let method = if has_body { 0x83 } else { 0x82 };
    let flags = END_HEADERS | if has_body { 0 } else { END_STREAM };
    frame(HEADERS, flags, stream, &[method, 0x86, 0x84, 0x41, 1, b'a'])
}

/// The beginning of a connection whose client takes as much as can be said.
fn opening() -> Vec<u8> {
    let window = 0x7fff_ffff_u32.to_be_bytes();
    let mut settings = vec![0, 4];
    settings.extend_from_slice(&window);
    let more = (0x7fff_ffff_u32 - 65_535).to_be_bytes();
    [PREFACE, &frame(SETTINGS, 0, 0, &settings), &frame(WINDOW_UPDATE, 0, 0, &more)].concat()
}

/// The next frame: its kind, flags, stream and payload. `None`: the end.
async fn next(client: &mut Peer) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    client.socket.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    client.socket.read_exact(&mut payload).await.expect("a whole frame");
    Some((kind, flags, u32::from_be_bytes(stream), payload))
}

/// Reads the answer on a stream to its end: how many bytes of body it has.
async fn body_of(client: &mut Peer, stream: u32) -> usize {
    let mut bytes = 0;
    loop {
        let (kind, flags, id, payload) = next(client).await.expect("the end of the stream first");
        if kind == GOAWAY {
            assert_eq!(payload[4..8], [0; 4], "an error ends the connection");
        }
        if id == stream && kind == DATA {
            bytes += payload.len();
            if flags & END_STREAM != 0 {
                return bytes;
            }
        }
        assert!(id != stream || kind != RST_STREAM, "reset");
    }
}

fn answer(length: usize) -> String {
    let head = format!("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: {length}\r\n\r\n");
    head + &"x".repeat(length)
}

fn http1(config: &mut Config) {
    config.upstream_protocol = UpstreamProtocol::Http1;
}

#[test]
fn as_many_requests_as_streams_are_cancelled_at_once_and_a_download_goes_on() {
    for cancelled in [30, 90, 99] {
        played_with(http1, async |stage| {
            let mut client = stage.client().await;
            client.sends([opening(), request(1, false)].concat()).await;
            let mut app = stage.app().await;
            app.reads_head().await;
            let whole = answer(20);
            let (first, rest) = whole.split_at(whole.len() - 10);
            app.sends(first).await;
            let ids = (0..cancelled).map(|index| 3 + 2 * index);
            let frames = ids.flat_map(|id| [request(id, false), frame(RST_STREAM, 0, id, &CANCEL)]);
            client.sends(frames.collect::<Vec<_>>().concat()).await;
            stage.at(ms(100)).await;
            app.sends(rest).await;
            assert_eq!(body_of(&mut client, 1).await, 20);
        });
    }
}

#[test]
fn requests_that_are_taken_back_at_once_do_not_cost_the_app_its_connection() {
    let http2 = |config: &mut Config| config.upstream_protocol = UpstreamProtocol::Http2;
    played_with(http2, async |stage| {
        let mut client = stage.client().await;
        client.sends([opening(), request(1, false)].concat()).await;
        // Servers of this library end a connection for 20 resets of what they have not looked at.
        let mut app = stage.http2_app().await;
        let ids = (0..30).map(|index| 3 + 2 * index);
        let frames = ids.flat_map(|id| [request(id, false), frame(RST_STREAM, 0, id, &CANCEL)]);
        client.sends(frames.collect::<Vec<_>>().concat()).await;
        stage.at(ms(100)).await;
        let mut body = app.respond.send_response(http::Response::new(()), false).expect("a stream");
        body.send_data(Bytes::from_static(b"hello"), true).expect("a body");
        assert_eq!(body_of(&mut client, 1).await, 5);
        let cancelled = [(499, "downstream_aborted", ms(0)); 30];
        stage.counted(&[&cancelled[..], &[(200, "", ms(100))]].concat()).await;
    });
}

#[test]
fn requests_that_are_cancelled_without_end_are_not_served_without_end() {
    played_with(http1, async |stage| {
        let mut client = stage.client().await;
        client.sends(opening()).await;
        let ids = (0..5000).map(|index| 1 + 2 * index);
        let frames = ids.flat_map(|id| [request(id, false), frame(RST_STREAM, 0, id, &CANCEL)]);
        client.sends_if_it_can(frames.collect::<Vec<_>>().concat()).await;
        loop {
            let (kind, _, _, payload) = next(&mut client).await.expect("a GOAWAY");
            if kind == GOAWAY {
                assert_eq!(payload[4..8], [0, 0, 0, 11], "ENHANCE_YOUR_CALM");
                break;
            }
        }
    });
}

#[test]
fn neither_a_drain_nor_an_idle_limit_cuts_what_a_client_has_not_read_yet() {
    const LENGTH: usize = 40_000;
    for drains in [true, false] {
        let idle = |config: &mut Config| {
            http1(config);
            config.timeouts.idle = ms(500);
        };
        played_with(idle, async |stage| {
            // Less room in the kernel than in the library.
            let mut client = stage.client_with_buffers(4096).await;
            client.sends([opening(), request(1, false)].concat()).await;
            let mut app = stage.app().await;
            app.reads_head().await;
            app.sends(answer(LENGTH)).await;
            stage.at(ms(10)).await;
            stage.counted(&[(200, "", ms(0))]).await;
            if drains {
                stage.worker.drain.start();
                stage.at(ms(3000)).await;
            } else {
                // Nothing is heard of the client for as long as it may be idle.
                stage.at(ms(990)).await;
            }
            assert_eq!(body_of(&mut client, 1).await, LENGTH);
            while next(&mut client).await.is_some() {}
        });
    }
}

#[test]
fn a_stream_that_waits_while_another_of_its_connection_is_read_is_not_idle() {
    const EACH: usize = 120_000;
    let idle = |config: &mut Config| {
        http1(config);
        config.timeouts.idle = ms(2000);
    };
    played_with(idle, async |stage| {
        let mut client = stage.client().await;
        // Each stream may have all, and the connection little.
        let windows = frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
        client.sends([PREFACE, &windows, &request(1, false), &request(3, false)].concat()).await;
        let mut apps = [stage.app().await, stage.app().await];
        for app in &mut apps {
            app.reads_head().await;
            app.sends(answer(EACH)).await;
        }
        let (mut granted, mut got, mut seconds) = (65_535, 0, 0);
        while got < 2 * EACH {
            // The library may keep a few bytes of the window for a stream that has nothing yet.
            while got < (granted - 100).min(2 * EACH) {
                let (kind, _, _, payload) = next(&mut client).await.expect("more");
                assert_ne!(kind, RST_STREAM, "after {seconds} s");
                got += if kind == DATA { payload.len() } else { 0 };
            }
            seconds += 1;
            stage.at(ms(1000 * seconds)).await;
            client.sends(frame(WINDOW_UPDATE, 0, 0, &10_000_u32.to_be_bytes())).await;
            granted += 10_000;
        }
    });
}

#[test]
fn uploads_that_nobody_reads_hold_up_no_other() {
    // A body that waits for a 100 is not read meanwhile, and the clock stands still.
    let mut expects = vec![0x83, 0x86, 0x84, 0x41, 1, b'a', 0, 6];
    expects.extend_from_slice(b"expect\x0c100-continue");
    played_with(http1, async |stage| {
        let mut client = stage.client().await;
        client.sends(opening()).await;
        let piece = vec![b'x'; 15 * 1024];
        for id in (1..41).step_by(2) {
            client.sends(frame(HEADERS, END_HEADERS, id, &expects)).await;
            client.sends(frame(DATA, 0, id, &piece).repeat(4)).await;
        }
        let mut apps = Vec::new();
        for _ in 0..20 {
            apps.push(stage.app().await);
        }
        client.sends([request(41, true), frame(DATA, END_STREAM, 41, b"hi")].concat()).await;
        let mut app = stage.app().await;
        app.reads_head().await;
        app.reads("2\r\nhi\r\n0\r\n\r\n").await;
        app.sends(answer(5)).await;
        assert_eq!(body_of(&mut client, 41).await, 5);
        stage.is_at(ms(0));
    });
}

#[test]
fn a_stream_that_ends_with_its_connection_is_counted_then() {
    played(async |stage| {
        let mut client = stage.client().await;
        client.socket.write_all(&[opening(), request(1, false)].concat()).await.expect("sent");
        settled().await;
        let app = stage.app().await;
        stage.at(ms(400)).await;
        drop(client);
        stage.at(ms(401)).await;
        drop(app);
        stage.at(ms(450)).await;
        stage.counted(&[(499, "downstream_aborted", ms(400))]).await;
    });
}
