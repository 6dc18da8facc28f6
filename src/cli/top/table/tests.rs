use std::time::Duration;

use proptest::prelude::*;
use ratatui::style::Color;
use tokio::time::Instant;

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

fn drawn(figures: &Figures, view: &mut View, (width, height): (u16, u16)) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw("127.0.0.1:9464/metrics", figures, view, (area, &mut buffer));
    buffer
}

fn shown(view: &mut View, size: (u16, u16)) -> Vec<String> {
    let lines: Vec<_> = text(&drawn(&figures(), view, size)).collect();
    lines.join("\n").trim_end().lines().map(str::to_owned).collect()
}

#[test]
fn the_table_says_what_the_page_says() {
    assert_eq!(
        shown(&mut View::default(), (95, 30)),
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
    let nothing = shown(&mut of(Sort::Rate, false, "zzz"), (80, 9));
    assert_eq!(nothing.last().map(String::as_str), Some("Nothing matches the search."));
}

#[test]
fn a_table_without_a_screen_is_whole() {
    let mut view = View::default();
    let row = |i| Figure { path: format!("/\u{6f22}/{i:0>300}"), ..Figure::default() };
    let figures = Figures { rows: (0..600).map(row).collect(), ..Figures::default() };
    let text = plain("x", &figures, &mut view);
    assert_eq!(text.lines().count(), usize::from(HEAD_LINES) + 600);
    let rows = text.lines().skip(usize::from(HEAD_LINES));
    for (line, row) in rows.zip(&figures.rows) {
        assert!(line.contains(&format!(" {} ", row.path)), "{line}");
    }
    assert!(plain("x", &Figures::default(), &mut view).ends_with("No request yet.\n"));
}

#[test]
fn the_chosen_row_is_on_the_screen() {
    let mut view = View::default();
    view.rows.select_last();
    let last = shown(&mut view, (80, 5)).pop().expect("a row");
    assert!(last.contains("\\u{202e}"), "{last}");
}

#[test]
fn trouble_stands_in_the_first_line() {
    let problem = Some("no page\u{7}; trying again".to_owned());
    let mut view = View { problem, ..View::default() };
    let buffer = drawn(&Figures::default(), &mut view, (60, 9));
    assert_eq!(text(&buffer).next().as_deref(), Some("redcar  no page\\u{7}; trying again"));
    assert_eq!(buffer.cell((0, 0)).map(|cell| cell.fg), Some(Color::LightRed));
}

proptest! {
    #[test]
    fn it_is_drawn_on_any_screen(width in 0_u16..200, height in 0_u16..12, first in 0_usize..5) {
        let mut view = View::default();
        *view.rows.offset_mut() = first;
        let buffer = drawn(&figures(), &mut view, (width, height));
        prop_assert!(!text(&buffer).any(|line| line.contains(char::is_control)));
    }
}
