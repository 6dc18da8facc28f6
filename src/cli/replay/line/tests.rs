use proptest::prelude::*;

use super::*;

fn parse(line: &str) -> Result<Entry, LineError> {
    Reader::default().read(line.as_bytes()).unwrap_or(Err(LineError::NoRequest))
}

/// Lines in the form that the software writes: all say GET /a/7, 404. Behind `## ` is a name.
const FORMATS: &str = include_str!("formats.txt");

fn formats() -> impl Iterator<Item = (&'static str, &'static str)> {
    FORMATS.split("## ").filter_map(|record| record.trim_end().split_once('\n'))
}

#[test]
fn every_format_says_the_same() {
    for (format, line) in formats() {
        let entry = parse(line).unwrap_or_else(|error| panic!("{format}: {error}"));
        assert_eq!((&*entry.method, &*entry.path), ("GET", "/a/7"), "{format}");
        assert_eq!((entry.status, entry.error), (404, None), "{format}");
    }
}

#[test]
fn durations_bytes_and_agents_are_read_where_there_are_some() {
    let of = |format| {
        let (_, line) = formats().find(|(name, _)| *name == format).expect("a format");
        let entry = parse(line).expect("an entry");
        (entry.duration.as_micros(), entry.bytes, entry.user_agent)
    };
    let curl = Some("curl/8".to_owned());
    for (format, expected) in [
        ("common", (0, 5, None)),
        ("combined", (0, 5, curl.clone())),
        ("Envoy's text", (0, 0, curl.clone())),
        ("an application load balancer", (1000, 366, curl.clone())),
        ("a load balancer without a target", (0, 366, curl.clone())),
        ("HAProxy", (109_000, 2750, None)),
        ("this program", (1500, 5, Some("curl/8 \"x\"".to_owned()))),
        ("nginx with both", (2000, 5, None)),
        ("Traefik", (1500, 19, None)),
        ("Caddy", (1500, 10_900, curl.clone())),
        ("Istio", (2000, 5, curl)),
        ("numbers that are none", (0, 0, None)),
        ("logfmt", (1500, 0, None)),
        ("Heroku's router", (18_000, 13, None)),
    ] {
        assert_eq!(of(format), expected, "{format}");
    }
}

#[test]
fn columns_are_those_of_the_fields_line() {
    let mut reader = Reader::default();
    let iis = "#Software: Microsoft Internet Information Services 10.0\n\
        #Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip \
        cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken\n\
        2026-11-22 01:02:03 10.0.0.4 GET /a/7 b=c 443 - 192.0.2.1 curl/8 - 404 0 2 15";
    let cloudfront = "#Version: 1.0\n\
        #Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status \
        cs(Referer) cs(User-Agent) cs-uri-query time-taken\n\
        2026-11-22\t01:02:03\tFRA2\t5\t192.0.2.1\tGET\td1.cloudfront.net\t/a/7\t404\t-\tcurl/8\t\
        b=c\t0.015";
    for text in [iis, cloudfront] {
        let entries: Vec<_> = text.lines().filter_map(|l| reader.read(l.as_bytes())).collect();
        let [Ok(entry)] = &*entries else { panic!("{entries:?}") };
        assert_eq!((&*entry.method, &*entry.path, entry.status), ("GET", "/a/7", 404));
        assert_eq!(entry.duration, Duration::from_millis(15));
        assert_eq!(entry.user_agent.as_deref(), Some("curl/8"));
    }
    let short = reader.read(b"2026-11-22\t01:02:03\tFRA2");
    assert_eq!(short, Some(Err(LineError::Columns)));
}

#[test]
fn who_got_no_answer_counts_as_having_left() {
    for line in [
        r#"1 - - [x] "GET /a HTTP/1.1" - -"#,
        r#"h: c [t] f b/s 10/0/-1/-1/109 -1 0 - - CC-- 1/1/1/1/0 0/0 "GET /a HTTP/1.1""#,
        r#"{"method":"GET","path":"/a","response_code":0}"#,
    ] {
        assert_eq!(parse(line).map(|entry| entry.status), Ok(499), "{line}");
    }
}

#[test]
fn bytes_that_are_no_text_are_part_of_a_path() {
    let line = b"1 - - [x] \"GET /caf\xe9 HTTP/1.1\" 200 5";
    let entry = Reader::default().read(line).expect("a request").expect("an entry");
    assert_eq!(entry.path, "/caf\u{fffd}");
}

#[test]
fn an_error_of_our_own_log_is_an_error() {
    let line = r#"{"method":"GET","path":"/","status":502,"error":"connection_refused"}"#;
    assert_eq!(parse(line).map(|e| e.error), Ok(Some(ErrorToken::ConnectionRefused)));
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
fn what_is_no_request_is_told_with_its_reason() {
    for (line, reason) in [
        ("hello", LineError::NoRequest),
        (r#"1.2.3.4 - - [x] "\x16\x03\x01" 400 0"#, LineError::NoPath),
        (r#"1.2.3.4 - - [x] "-" 408 0"#, LineError::NoPath),
        (r#"1.2.3.4 - - [x] "GET / HTTP/1.1" 000 0"#, LineError::Status),
        (r#"1.2.3.4 - - [x] "GET / HTTP/1.1" "#, LineError::Status),
        (r#"1.2.3.4 - - [x] "G(T / HTTP/1.1" 200 0"#, LineError::Method),
        (r#"1.2.3.4 - - [x] "GET / HTTP/1.1"#, LineError::NoRequest),
        (r#"1.2.3.4 - - [x] "CONNECT a:443 HTTP/1.1" 200 0"#, LineError::NoPath),
        (r#"{"method":"GET","status":200}"#, LineError::NoPath),
        (r#"{"path":"/","status":200}"#, LineError::NoMethod),
        (r#"{"method":"GET","path":"/","status":2}"#, LineError::Status),
        (r#"{"method":"GET","path":"/"}"#, LineError::Status),
        ("{", LineError::Json),
    ] {
        assert_eq!(parse(line), Err(reason), "{line}");
    }
    for line in ["", "  ", "# a comment", "#Version: 1.0"] {
        assert_eq!(Reader::default().read(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn what_is_shown_of_a_line_reaches_no_terminal_as_it_is() {
    assert_eq!(shown(b"\x1b[2Ja\xff"), "\\u{1b}[2Ja\u{fffd}");
    assert_eq!(shown(&[b'x'; 500]).chars().count(), 161);
}

proptest! {
    #[test]
    fn any_line_is_an_entry_or_not(
        line in "(\\{\"|1 - - \\[\\] \"|a=b c=\"|#Fields: )?\\PC{0,80}",
    ) {
        // Must not panic.
        drop(Reader::default().read(line.as_bytes()));
    }

    /// What the proxy logs, this reads.
    #[test]
    fn any_path_survives_the_json_format(path in "/[ -~]{0,40}") {
        let text = serde_json::json!({"method": "GET", "path": path, "status": 200});
        let entry = parse(&text.to_string()).expect("an entry");
        prop_assert_eq!(&*entry.path, path_of(&path));
    }
}
