//! Judges each request head that comes on standard input: a length of four bytes, big endian, and
//! the head. Prints a line for each: its tier and the reason.

use std::io::{self, Read};

use http_desync_guardian::request_analyzer::HttpRequestData;

fn main() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut length = [0; 4];
    while input.read_exact(&mut length).is_ok() {
        let mut head = vec![0; u32::from_be_bytes(length) as usize];
        input.read_exact(&mut head)?;
        let verdict = HttpRequestData::analyze_raw_request(&head);
        println!("{:?} {:?}", verdict.tier, verdict.reason);
    }
    Ok(())
}
