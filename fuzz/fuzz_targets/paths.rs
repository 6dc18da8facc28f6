//! libFuzzer looks for an input that `checks/paths.rs` panics at.
#![no_main]

#[path = "../checks/paths.rs"]
mod paths;

libfuzzer_sys::fuzz_target!(|path: &str| paths::check(path));
