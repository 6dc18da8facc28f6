use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;
use unicode_width::UnicodeWidthStr;

use crate::cli::scrape::page::Page;
use crate::cli::top::history::History;

use super::*;

fn page(at: Instant, scale: u32) -> Page {
    let row = |method: &str, path: &str, status: &str, count: u32| {
        let (labels, count) =
            (format!("method=\"{method}\",path=\"{path}\",{status}"), count * scale);
        format!(
            "http_requests_total{{{labels}}} {count}\n\
             http_request_duration_seconds_bucket{{{labels},le=\"0.1\"}} {count}\n\
             http_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {count}\n",
        )
    };
    let text = [
        row("GET", "/users/{id}", "status=\"200\"", 30),
        row("POST", "/orders", "status=\"500\"", 5),
        row("POST", "/orders", "status=\"201\"", 5),
        row("GET", "/a\u{1b}[2J\u{202e}", "status=\"499\",error=\"downstream_aborted\"", 1),
        "redcar_upstream_up 1\nhttp_requests_in_flight 2\n".to_owned(),
    ];
    Page::of(&text.concat(), at)
}

fn figures() -> Figures {
    let begun = Instant::now();
    let mut history = History::default();
    history.add(page(begun, 1));
    history.add(page(begun + Duration::from_secs(1), 2));
    history.figures(false)
}

fn shown(view: &View, size: (usize, usize)) -> Vec<String> {
    let lines = lines("127.0.0.1:9464/metrics", &figures(), view, size);
    lines.into_iter().map(|line| line.text.trim_end().to_owned()).collect()
}

#[test]
fn the_table_says_what_the_page_says() {
    assert_eq!(
        shown(&View::default(), (95, 30)),
        [
            "redcar  127.0.0.1:9464/metrics  app up",
            "41 req/s  82 in all  12% errors  p50 50ms  p95 95ms  p99 99ms  2 in flight  (over 1 s)",
            "failed  app: 5xx 5 (10) | client: downstream_aborted 1 (2)",
            "METHOD   PATH                                 RPSv      COUNT   ERR%      P50      P95      P99",
            "GET      /users/{id}                            30         60      0     50ms     95ms     99ms",
            "POST     /orders                                10         20     50     50ms     95ms     99ms",
            "GET      /a\\u{1b}[2J\\u{202e}                   1.0          2      0     50ms     95ms     99ms",
        ]
    );
}

#[test]
fn rows_are_searched_and_ordered() {
    let paths = |view: View| -> Vec<String> {
        let figures = figures();
        matching(&figures, &view).iter().map(|row| visible(&row.path)).collect()
    };
    let of = |sort, reversed, search: &str| View {
        sort,
        reversed,
        search: search.to_owned(),
        ..View::default()
    };
    let hostile = "/a\\u{1b}[2J\\u{202e}";
    assert_eq!(paths(of(Sort::Errors, false, "")), ["/orders", "/users/{id}", hostile]);
    assert_eq!(paths(of(Sort::Rate, true, "")), [hostile, "/orders", "/users/{id}"]);
    assert_eq!(paths(of(Sort::Path, false, "")), [hostile, "/orders", "/users/{id}"]);
    assert_eq!(paths(of(Sort::Rate, false, "post")), ["/orders"]);
    assert_eq!(paths(of(Sort::Rate, false, "USERS")), ["/users/{id}"]);
    let nothing = shown(&of(Sort::Rate, false, "zzz"), (80, 9));
    assert_eq!(nothing.last().map(String::as_str), Some("Nothing matches the search."));
}

#[test]
fn trouble_stands_in_the_first_line() {
    let view = View { problem: Some("no page\u{7}; trying again".to_owned()), ..View::default() };
    let lines = lines("x", &Figures::default(), &view, (60, 9));
    let first = lines.first().map(|line| (line.style, line.text.trim_end()));
    assert_eq!(first, Some((Style::Bad, "redcar  no page\\u{7}; trying again")));
}

proptest! {
    #[test]
    fn the_lines_fit_any_screen(width in 0_usize..200, height in 0_usize..12, first in 0_usize..5) {
        let view = View { first, ..View::default() };
        let lines = lines("127.0.0.1:9464/metrics", &figures(), &view, (width, height));
        prop_assert!(lines.len() <= height);
        let least = METHOD_COLUMNS + 1 + LEAST_PATH_COLUMNS + 16;
        for line in lines.iter().skip(HEAD_LINES - 1) {
            prop_assert_eq!(line.text.width(), width.max(least), "{}", line.text);
        }
    }
}
