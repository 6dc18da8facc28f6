//! What the fuzz targets check holds for every input of the committed corpus.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

#[path = "../../fuzz/checks/framing.rs"]
mod framing;
#[path = "../../fuzz/checks/headers.rs"]
mod headers;
#[path = "../../fuzz/checks/paths.rs"]
mod paths;
#[path = "../../fuzz/checks/texts.rs"]
mod texts;

/// Checks each file of a target's corpus and names the first that fails.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        let data = std::fs::read(&file).unwrap();
        let holds = catch_unwind(AssertUnwindSafe(|| check(&data))).is_ok();
        assert!(holds, "{} fails", file.display());
        inputs += 1;
    }
    assert!(inputs > 20, "{} has {inputs} inputs", folder.display());
}

/// libFuzzer leaves out what is not UTF-8, too.
fn text(check: impl Fn(&str)) -> impl Fn(&[u8]) {
    move |data| str::from_utf8(data).map_or((), &check)
}

#[test]
fn whatever_the_bytes_are_what_is_sent_on_is_a_head() {
    replay("headers", headers::check);
}

#[test]
fn where_a_request_ends_is_the_same_for_every_recipient() {
    replay("framing", framing::check);
    replay("headers", framing::check);
}

#[test]
fn any_path_gets_a_short_and_plain_name() {
    replay("paths", text(paths::check));
}

#[test]
fn texts_of_operators_and_scrapers_parse_or_say_why() {
    replay("texts", text(texts::check));
}
