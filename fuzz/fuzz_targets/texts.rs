//! libFuzzer looks for an input that `checks/texts.rs` panics at.
#![no_main]

#[path = "../checks/texts.rs"]
mod texts;

libfuzzer_sys::fuzz_target!(|text: &str| texts::check(text));
