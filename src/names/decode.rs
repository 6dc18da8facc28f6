//! What sources answer: the list of a replica, the values of a label, or lines of templates.

use serde::Deserialize;

use super::ReadError;
use crate::paths::{NameSet, Since, Template};

/// What an answer says.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The names in it.
    pub names: NameSet,
    /// Entries that are no templates, and are left out.
    pub left_out: usize,
    /// Whether the answer could tell which places fold.
    pub tells_folds: bool,
}

/// The JSON of `GET /paths`, which `proxy paths --merge` writes, too, or of a Prometheus.
#[derive(Deserialize)]
struct Answer {
    paths: Option<Vec<Listed>>,
    folds: Option<Vec<String>>,
    data: Option<Vec<String>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    template: String,
    kind: Option<String>,
    state: Option<String>,
    since: Option<u64>,
}

/// Reads an answer, whatever form it has. Never panics.
///
/// # Errors
///
/// [`ReadError`] for what is none of the forms, or an answer that says that it is an error.
pub fn decode(answer: &[u8]) -> Result<Decoded, ReadError> {
    let text = std::str::from_utf8(answer).map_err(|_| ReadError::Form("it is not UTF-8 text"))?;
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with('{') { decode_json(text) } else { decode_lines(text) }
}

fn decode_json(text: &str) -> Result<Decoded, ReadError> {
    let answer: Answer =
        serde_json::from_str(text).map_err(|error| ReadError::Json(error.to_string()))?;
    if let Some(error) = answer.error {
        return Err(ReadError::Told(error));
    }
    let mut decoded = Decoded::default();
    if let Some(values) = answer.data {
        for value in &values {
            decoded.add(value, Since::UNKNOWN);
        }
        return Ok(decoded);
    }
    let Some(paths) = answer.paths else {
        return Err(ReadError::Form("the JSON has neither `paths` nor `data`"));
    };
    for path in paths {
        // What is not published may get another name; what is retired is used no more.
        let is_published = path.state.is_none_or(|state| matches!(&*state, "published" | "folded"));
        if is_published && path.kind.is_none_or(|kind| kind != "reserved") {
            decoded.add(&path.template, path.since.map_or(Since::UNKNOWN, Since::seconds));
        }
    }
    if let Some(folds) = answer.folds {
        decoded.tells_folds = true;
        for place in folds {
            match place.parse() {
                Ok(place) => decoded.names.insert_fold(place),
                Err(_) => decoded.left_out += 1,
            }
        }
    }
    Ok(decoded)
}

/// A list as `--routes-file` reads it: a template a line, `#` begins a comment.
fn decode_lines(text: &str) -> Result<Decoded, ReadError> {
    let mut decoded = Decoded::default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if !line.is_empty() {
            decoded.add(line, Since::UNKNOWN);
        }
    }
    if decoded.names.is_empty() && decoded.left_out > 0 {
        return Err(ReadError::Form("no line of it is a template, and it is no JSON"));
    }
    Ok(decoded)
}

impl Decoded {
    fn add(&mut self, name: &str, since: Since) {
        // `_OTHER` and the like are labels, but no names; neither is the path of `OPTIONS *`.
        if name.starts_with('_') || name == "*" {
            return;
        }
        match name.parse::<Template>() {
            Ok(template) => self.names.insert(template, since),
            Err(_) => self.left_out += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(decoded: &Decoded) -> Vec<(String, Option<u64>)> {
        decoded.names.iter().map(|(name, since)| (name.to_string(), since.known())).collect()
    }

    #[test]
    fn the_list_of_a_replica_has_ages_and_folds() {
        let answer = br#"{"paths":[
            {"template":"/a","kind":"learned","state":"published","hits":1,"since":7},
            {"template":"/b/{id}","kind":"pinned","state":"folded","since":9},
            {"template":"/c","kind":"learned","state":"provisional","since":null},
            {"template":"/d","kind":"pinned","state":"retired","since":1},
            {"template":"_OTHER","kind":"reserved","state":"published","since":null},
            {"template":"no slash","kind":"learned","state":"published","since":3}
        ],"folds":["/b/{id}"]}"#;
        let decoded = decode(answer).expect("a list");
        assert_eq!(names(&decoded), [("/a".to_owned(), Some(7)), ("/b/{id}".to_owned(), Some(9))]);
        assert_eq!((decoded.left_out, decoded.tells_folds), (1, true));
        assert_eq!(decoded.names.folds().count(), 1);
    }

    #[test]
    fn a_prometheus_tells_values_and_its_errors() {
        let answer = br#"{"status":"success","data":["/a","_OTHER","*","/b/{id}","x"]}"#;
        let decoded = decode(answer).expect("values");
        assert_eq!(names(&decoded), [("/a".to_owned(), None), ("/b/{id}".to_owned(), None)]);
        assert_eq!((decoded.left_out, decoded.tells_folds), (1, false));
        let error = decode(br#"{"status":"error","errorType":"bad_data","error":"parse error"}"#);
        assert!(matches!(error, Err(ReadError::Told(text)) if text == "parse error"));
    }

    #[test]
    fn a_list_of_templates_is_one_too() {
        let decoded = decode(b"\xef\xbb\xbf# names\n/a\n\n/b/{id}   # learned\n").expect("a list");
        assert_eq!(names(&decoded), [("/a".to_owned(), None), ("/b/{id}".to_owned(), None)]);
        assert!(decode(b"").expect("an empty list").names.is_empty());
    }

    #[test]
    fn everything_else_is_refused() {
        for answer in [
            "<!doctype html><p>Sign in</p>",
            "{\"paths\":",
            "{}",
            "{\"data\":{\"resultType\":\"vector\"}}",
            "{\"data\":[1,2]}",
            "\u{1}\u{2}",
        ] {
            assert!(decode(answer.as_bytes()).is_err(), "{answer}");
        }
        assert!(decode(&[0xff, 0xfe]).is_err());
        let deep = format!("{{\"data\":{}", "[".repeat(100_000));
        assert!(decode(deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(
            bytes: Vec<u8>,
            text in "\\{?[\"a-z:,\\[\\]{}/_0-9 ]{0,60}",
        ) {
            let _decoded = decode(&bytes);
            let _decoded = decode(text.as_bytes());
        }
    }
}
