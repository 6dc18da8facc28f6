//! One line of an access log: common, combined or JSON.

use std::borrow::Cow;
use std::time::Duration;

use http::Method;
use redcar::metrics::labels::ErrorToken;
use serde::Deserialize;

/// What a line says of a request.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry<'a> {
    pub(super) method: Cow<'a, str>,
    /// Without the query.
    pub(super) path: Cow<'a, str>,
    pub(super) status: u16,
    pub(super) error: Option<ErrorToken>,
    /// 0 where the format has none.
    pub(super) duration: Duration,
    pub(super) bytes: u64,
    pub(super) user_agent: Option<Cow<'a, str>>,
}

/// Understands a line in any of the formats; `None` for another text.
///
/// # Source
///
/// Apache httpd `mod_log_config`, which nginx follows; `access_log` for our own JSON.
pub(super) fn parse(line: &str) -> Option<Entry<'_>> {
    let line = line.trim();
    if line.starts_with('{') { json(line) } else { combined(line) }
}

/// `host ident user [time] "method target protocol" status bytes "referer" "agent"`, of which the
/// last two may be missing.
fn combined(line: &str) -> Option<Entry<'_>> {
    let (_, rest) = line.split_once('"')?;
    let (request, rest) = quoted(rest)?;
    let (method, rest_of_request) = request.split_once(' ')?;
    let (target, protocol) = rest_of_request.rsplit_once(' ')?;
    if !protocol.starts_with("HTTP/") {
        return None;
    }
    let mut words = rest.split_ascii_whitespace();
    let status = words.next()?.parse().ok()?;
    let bytes = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    // Behind the third quote stands the referer, behind the fifth the agent.
    let agent = rest.split_once('"').and_then(|(_, rest)| quoted(rest)).and_then(|(_, rest)| {
        let (_, rest) = rest.split_once('"')?;
        quoted(rest).map(|(agent, _)| agent)
    });
    entry(method.into(), target.into(), status, agent.map(Cow::from)).map(|e| Entry { bytes, ..e })
}

/// Text up to the next quote that no backslash stands before, and what comes after it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let is_end = |c: char| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end
    };
    text.split_once(is_end)
}

/// Our own fields, and what others call them.
#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow, alias = "request_method")]
    method: Cow<'a, str>,
    #[serde(borrow, alias = "request_uri", alias = "uri")]
    path: Cow<'a, str>,
    status: Status,
    #[serde(default)]
    error: Option<Cow<'a, str>>,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    duration_seconds: f64,
    #[serde(default, borrow, alias = "http_user_agent")]
    user_agent: Option<Cow<'a, str>>,
}

/// nginx has no numbers in its JSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum Status {
    Number(u16),
    Text(String),
}

fn json(line: &str) -> Option<Entry<'_>> {
    let json: Json<'_> = serde_json::from_str(line).ok()?;
    let status = match json.status {
        Status::Number(status) => status,
        Status::Text(text) => text.parse().ok()?,
    };
    let error = json.error.unwrap_or_default();
    Some(Entry {
        error: ErrorToken::ALL.into_iter().find(|token| token.as_str() == error),
        duration: Duration::try_from_secs_f64(json.duration_seconds).unwrap_or_default(),
        bytes: json.bytes,
        ..entry(json.method, json.path, status, json.user_agent)?
    })
}

fn entry<'a>(
    method: Cow<'a, str>,
    target: Cow<'a, str>,
    status: u16,
    user_agent: Option<Cow<'a, str>>,
) -> Option<Entry<'a>> {
    Method::from_bytes(method.as_bytes()).ok()?;
    // A request whose head did not parse has no path.
    if target == "-" {
        return None;
    }
    Some(Entry {
        method,
        path: match target {
            Cow::Borrowed(target) => path_of(target).into(),
            Cow::Owned(target) => path_of(&target).to_owned().into(),
        },
        status: Some(status).filter(|status| (100..=999).contains(status))?,
        error: None,
        duration: Duration::ZERO,
        bytes: 0,
        user_agent,
    })
}

/// The path of a target in any form, as the proxy sees it.
fn path_of(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
        }
        _ => target,
    };
    path.split(['?', '#']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COMMON: &str =
        r#"192.0.2.1 - - [22/Nov/2026:01:02:03 +0000] "GET /a/7?b=c HTTP/1.1" 404 5"#;

    #[test]
    fn the_three_formats_say_the_same() {
        let combined = format!(r#"{COMMON} "-" "curl/8 \"x\"""#);
        let json = concat!(
            r#"{"time":"2026-11-22T01:02:03.000Z","peer":"192.0.2.1","method":"GET","#,
            r#""path":"/a/7","#,
            r#""route":"/a/{id}","protocol":"HTTP/1.1","status":404,"error":"","bytes":5,"#,
            r#""duration_seconds":0.001500,"user_agent":"curl/8 \u0022x\u0022"}"#
        );
        let nginx = r#"{"request_method": "GET", "request_uri": "/a/7?b=c", "status": "404"}"#;
        for line in [COMMON, &*combined, json, nginx] {
            let entry = parse(line).expect(line);
            assert_eq!((&*entry.method, &*entry.path), ("GET", "/a/7"), "{line}");
            assert_eq!((entry.status, entry.error), (404, None), "{line}");
        }
        let agent = |line| parse(line).and_then(|entry| entry.user_agent).map(Cow::into_owned);
        assert_eq!(agent(COMMON), None);
        assert_eq!(agent(&combined).as_deref(), Some(r#"curl/8 \"x\""#));
        assert_eq!(agent(json).as_deref(), Some(r#"curl/8 "x""#));
        assert_eq!(parse(json).map(|e| e.duration), Some(Duration::from_micros(1500)));
        assert_eq!(parse(COMMON).map(|e| e.bytes), Some(5));
        let failed = json.replace("\"error\":\"\"", "\"error\":\"connection_refused\"");
        assert_eq!(parse(&failed).and_then(|e| e.error), Some(ErrorToken::ConnectionRefused));
    }

    #[test]
    fn a_target_in_absolute_form_has_a_path() {
        for (target, path) in [
            ("http://a:80/b/c?d", "/b/c"),
            ("http://a", "/"),
            ("*", "*"),
            ("/a?u=http://b/c", "/a"),
            ("//a//b", "//a//b"),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }

    #[test]
    fn what_is_no_request_is_not_understood() {
        for line in [
            "",
            "hello",
            r#"1.2.3.4 - - [x] "\x16\x03\x01" 400 0"#,
            r#"1.2.3.4 - - [x] "-" 408 0"#,
            r#"1.2.3.4 - - [x] "GET / HTTP/1.1" 000 0"#,
            r#"1.2.3.4 - - [x] "GET / HTTP/1.1" "#,
            r#"1.2.3.4 - - [x] "G(T / HTTP/1.1" 200 0"#,
            r#"1.2.3.4 - - [x] "GET / HTTP/1.1"#,
            r#"{"method":"GET"}"#,
            r#"{"method":"GET","path":"/","status":2}"#,
            "{",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_an_entry_or_not(line in "(\\{\"|1 - - \\[\\] \")?\\PC{0,80}") {
            // Must not panic.
            drop(parse(&line));
        }

        /// What the proxy logs, this reads.
        #[test]
        fn any_path_survives_the_json_format(path in "/[ -~]{0,40}") {
            let text = serde_json::json!({"method": "GET", "path": path, "status": 200});
            let text = text.to_string();
            let entry = parse(&text).expect("an entry");
            prop_assert_eq!(&*entry.path, path_of(&path));
        }
    }
}
