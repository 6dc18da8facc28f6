//! libFuzzer looks for bytes in which `checks/framing.rs` finds two different requests.
#![no_main]

#[path = "../checks/framing.rs"]
mod framing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| framing::check(data));
