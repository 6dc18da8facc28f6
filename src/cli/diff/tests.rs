use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::comparison::Change;
use super::*;

const BOUNDS: [&str; 4] = ["0.1", "0.2", "0.4", "+Inf"];

/// Path, requests in the four buckets, failed ones.
type Path<'a> = (&'a str, [u32; 4], u32);

/// A page as the profiles write it: counter, buckets, labels method, path, status.
fn page_named(names: (&str, &str, [&str; 3]), started: u32, paths: &[Path<'_>]) -> String {
    let (counter, histogram, [method, path_label, status]) = names;
    let mut text = format!("process_start_time_seconds {started}.25\n");
    for (path, counts, failed) in paths {
        let route = format!("{method}=\"GET\",{path_label}=\"{path}\"");
        let total: u32 = counts.iter().sum();
        for (code, count) in [("200", total - failed), ("500", *failed)] {
            writeln!(text, "{counter}{{{route},{status}=\"{code}\"}} {count}").unwrap();
        }
        let mut sum = 0;
        for (bound, count) in BOUNDS.iter().zip(counts) {
            sum += count;
            writeln!(text, "{histogram}_bucket{{{route},le=\"{bound}\"}} {sum}").unwrap();
        }
    }
    text
}

const DEFAULT: (&str, &str, [&str; 3]) =
    ("http_requests_total", "http_request_duration_seconds", ["method", "path", "status"]);

fn page(started: u32, paths: &[Path<'_>]) -> String {
    page_named(DEFAULT, started, paths)
}

fn side_of(text: &str, at: u64) -> Side {
    Side {
        name: "test".into(),
        page: Page::of(text, Instant::now()),
        at: Some(UNIX_EPOCH + Duration::from_secs(at)),
    }
}

fn comparison(before: &[Path<'_>], after: &[Path<'_>]) -> Comparison {
    Comparison::of(side_of(&page(100, before), 200), side_of(&page(300, after), 350), None)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

#[test]
fn two_processes_are_compared_since_their_starts() {
    let found = comparison(
        &[("/a", [100, 0, 0, 0], 0), ("/gone", [1, 0, 0, 0], 0)],
        &[("/a", [0, 0, 50, 0], 5), ("/new", [2, 0, 0, 0], 0)],
    );
    assert!(!found.is_one_process);
    let names: Vec<_> = found.paths.iter().map(|change| &*change.path).collect();
    assert_eq!(names, ["/a", "/new", "/gone"]);
    let [a, new, gone] = &*found.paths else { panic!("three paths") };
    let (before, after) = (a.before.as_ref().unwrap(), a.after.as_ref().unwrap());
    // 99.75 and 49.75 seconds.
    assert!(near(before.rate.unwrap(), 100.0 / 99.75) && near(after.rate.unwrap(), 50.0 / 49.75));
    assert!(near(before.errors, 0.0) && near(after.errors, 0.1));
    let (before, after) = a.quantile(1).unwrap();
    assert!(near(before.estimate, 0.095) && near(before.low, 0.0) && near(before.high, 0.1));
    assert!(near(after.estimate, 0.39) && near(after.low, 0.2) && near(after.high, 0.4));
    assert!(new.before.is_none() && gone.after.is_none());
    let text = text::report(&found, &[]);
    for part in ["GET /new  (new)", "GET /gone  (gone)", "390ms 200ms..400ms", "+311%", "+10.0"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_path_of_options_is_not_all() {
    let found = comparison(&[("*", [4, 0, 0, 0], 0)], &[("*", [4, 0, 0, 0], 0)]);
    assert!(found.all.is_all() && !found.paths.iter().any(Change::is_all));
    assert!(text::report(&found, &[]).contains("\nGET *\n"));
}

#[test]
fn of_one_process_only_what_came_in_between_is_after() {
    let before = page(100, &[("/a", [100, 0, 0, 0], 0), ("/quiet", [9, 0, 0, 0], 0)]);
    let after = page(
        100,
        &[("/a", [100, 0, 20, 0], 10), ("/quiet", [9, 0, 0, 0], 0), ("/new", [1, 0, 0, 0], 0)],
    );
    let found = Comparison::of(side_of(&before, 200), side_of(&after, 210), None);
    assert!(found.is_one_process && near(found.after.requests, 21.0));
    let of = |path: &str| found.paths.iter().find(|change| change.path == path).unwrap();
    let a = of("/a").after.as_ref().unwrap();
    assert!(near(a.rate.unwrap(), 2.0) && near(a.errors, 0.5), "{a:?}");
    assert!(near(of("/a").quantile(0).unwrap().1.low, 0.2));
    assert!(of("/quiet").after.is_none() && of("/new").before.is_none());
    // A counter that fell is another process, whatever it says of its start.
    let fallen = page(100, &[("/a", [99, 0, 0, 0], 0)]);
    assert!(!Comparison::of(side_of(&before, 200), side_of(&fallen, 210), None).is_one_process);
}

#[test]
fn a_time_that_is_not_known_gives_no_rate_and_a_flag_gives_it() {
    let text = page(100, &[("/a", [10, 0, 0, 0], 0)]);
    let unknown = |duration| {
        let side = || Side { at: None, ..side_of(&text, 1) };
        Comparison::of(side(), side(), duration).all.before.unwrap().rate
    };
    assert_eq!(unknown(None), None);
    assert!(near(unknown(Some(Duration::from_secs(5))).unwrap(), 2.0));
    // A file that is older than the process it is of.
    let early = Comparison::of(side_of(&text, 50), side_of(&text, 50), None);
    assert_eq!(early.all.before.unwrap().rate, None);
}

#[test]
fn the_names_of_every_profile_say_the_same() {
    let paths: &[Path<'_>] = &[("/a", [60, 30, 10, 0], 4), ("/b", [0, 0, 0, 7], 7)];
    let expected = comparison(paths, paths);
    for names in [
        (
            "http_server_request_duration_seconds_count",
            "http_server_request_duration_seconds",
            ["http_request_method", "http_route", "http_response_status_code"],
        ),
        (
            "flask_http_request_duration_seconds_count",
            "flask_http_request_duration_seconds",
            ["method", "path", "status"],
        ),
    ] {
        let named = |started| page_named(names, started, paths);
        let found = Comparison::of(side_of(&named(100), 200), side_of(&named(300), 350), None);
        assert_eq!(found.paths, expected.paths, "{names:?}");
        // One side may have other names than the other.
        let mixed =
            Comparison::of(side_of(&page(100, paths), 200), side_of(&named(300), 350), None);
        assert_eq!(mixed.paths, expected.paths, "{names:?}");
    }
}

/// Of the paths `/a` alone: met, judged, too few; all together counts, too.
fn judged(condition: &str, judge: Judge, before: [u32; 4], after: [u32; 4], failed: u32) -> String {
    let found = comparison(&[("/a", before, 0)], &[("/a", after, failed)]);
    let condition = condition.parse().unwrap();
    let judgement = judge.judge(&condition, &found);
    let Judgement { judged, met, too_few, .. } = judgement;
    format!("{} of {judged}, {too_few}", met.len())
}

#[test]
fn conditions_are_judged() {
    let estimates = Judge { min_requests: 10.0, certain: false };
    let certain = Judge { certain: true, ..estimates };
    let (quick, slower, slow) = ([1000, 0, 0, 0], [900, 100, 0, 0], [0, 0, 1000, 0]);
    for (condition, judge, after, failed, expected) in [
        // 95 ms and 150 ms: more than half more, but the buckets touch at 100 ms.
        ("p95>+20%", estimates, slower, 0, "2 of 2, 0"),
        ("p95>+20%", certain, slower, 0, "0 of 2, 0"),
        ("p95>+60%", estimates, slower, 0, "0 of 2, 0"),
        ("p95>+50ms", estimates, slower, 0, "2 of 2, 0"),
        ("p95>+0.06s", estimates, slower, 0, "0 of 2, 0"),
        ("p95>140ms", estimates, slower, 0, "2 of 2, 0"),
        ("p95>140ms", certain, slower, 0, "0 of 2, 0"),
        ("p50>+50%", certain, slow, 0, "2 of 2, 0"),
        ("p50>0.1s", certain, slow, 0, "2 of 2, 0"),
        ("p50<+0%", estimates, slow, 0, "0 of 2, 0"),
        ("errors>1%", estimates, quick, 20, "2 of 2, 0"),
        ("errors>2%", estimates, quick, 20, "0 of 2, 0"),
        ("errors > +1.5%", estimates, quick, 20, "2 of 2, 0"),
        // 10.03 per second, then 20.1.
        ("rate>+90%", estimates, quick, 0, "2 of 2, 0"),
        ("rate<-10%", estimates, quick, 0, "0 of 2, 0"),
        ("rate<21", estimates, quick, 0, "2 of 2, 0"),
        // Nine requests are beyond the 99th percentile of 900.
        ("p99>+20%", estimates, [0, 0, 900, 0], 0, "0 of 0, 2"),
        ("p99>+20%", estimates, [0, 0, 1000, 0], 0, "2 of 2, 0"),
        ("errors>1%", estimates, [9, 0, 0, 0], 9, "0 of 0, 2"),
    ] {
        let found = judged(condition, judge, quick, after, failed);
        assert_eq!(found, expected, "{condition} {after:?}");
    }
}

#[test]
fn a_new_path_is_held_against_values_alone() {
    let found = comparison(&[("/a", [100, 0, 0, 0], 0)], &[("/b", [0, 0, 100, 0], 0)]);
    let judge = Judge { min_requests: 10.0, certain: false };
    let (value, growth) = ("p50>100ms".parse().unwrap(), "p50>+1%".parse().unwrap());
    assert_eq!(judge.judge(&value, &found).judged, 2);
    // All together.
    assert_eq!(judge.judge(&growth, &found).judged, 1);
}

#[test]
fn what_is_no_condition_is_refused() {
    for text in [
        "",
        "p95",
        "p95>",
        "p95>20",
        "p95>20%",
        "p42>1ms",
        ">1",
        "errors>1",
        "errors>+1ms",
        "rate>5%",
        "p95>>1ms",
        "p95>+-1ms",
        "p95>1 year",
        "p95=1ms",
        "p\u{e9}>1",
    ] {
        let error = text.parse::<Condition>().expect_err(text).to_string();
        assert!(error.contains("p95>+20%"), "{error}");
    }
}

#[test]
fn what_is_asked_and_what_is_opened() {
    for name in [":9464", "http://a", "https://a/metrics", "a:9464", "[::1]:1", "a:1/metrics"] {
        assert!(is_address(name), "{name}");
    }
    for name in ["-", "a.prom", "./a:1", "/tmp/a:1", "a:b", "C:", "before"] {
        assert!(!is_address(name), "{name}");
    }
}

#[test]
fn nothing_of_a_page_is_markup_or_a_command_to_a_terminal() {
    let hostile = "/<script>&\u{1b}[2J\u{202e}";
    let found = comparison(&[(hostile, [1, 0, 0, 0], 0)], &[(hostile, [1, 0, 0, 1], 0)]);
    let picture = svg::picture(&found);
    assert!(!picture.contains("<script") && picture.contains("&lt;script"), "{picture}");
    let text = text::report(&found, &[]);
    for out in [&picture, &text] {
        assert!(!out.contains('\u{1b}') && !out.contains('\u{202e}'), "{out}");
    }
}

#[test]
fn the_document_has_ranges_and_no_bound_above_the_last() {
    let found = comparison(&[("/a", [10, 0, 0, 0], 0)], &[("/a", [0, 0, 0, 10], 0)]);
    let condition: Condition = "p50>+20%".parse().unwrap();
    let judge = Judge { min_requests: 1.0, certain: false };
    let document = json::document(&found, &[judge.judge(&condition, &found)]);
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    let path = &document["paths"][0];
    assert_eq!(path["after"]["p95"]["above"], 0.4);
    assert!(path["after"]["p95"]["at_most"].is_null());
    assert_eq!(path["before"]["p95"]["at_most"], 0.1);
    assert_eq!(path["certainly_changed"], serde_json::json!(["p50", "p95", "p99"]));
    assert_eq!(document["conditions"][0]["met"][1]["path"], "/a");
}

#[test]
fn absurd_durations_make_no_absurd_picture() {
    let page = |low: f64| {
        format!(
            "http_requests_total{{path=\"/\"}} 1\n\
             http_request_duration_seconds_bucket{{path=\"/\",le=\"{low}\"}} 0\n\
             http_request_duration_seconds_bucket{{path=\"/\",le=\"+Inf\"}} 1\n"
        )
    };
    let found = Comparison::of(side_of(&page(2.8e-305), 1), side_of(&page(2.5e298), 2), None);
    assert!(svg::picture(&found).len() < 20_000);
}

proptest! {
    #[test]
    fn any_two_pages_are_compared(
        a: String, b: String,
        numbers in prop::collection::vec(any::<f64>(), 8),
    ) {
        let lines = |numbers: &[f64]| {
            let [count, low, high, end] = numbers else { panic!("four numbers") };
            format!(
                "http_requests_total{{path=\"/\"}} {count}\n\
                 http_request_duration_seconds_bucket{{path=\"/\",le=\"{low}\"}} {high}\n\
                 http_request_duration_seconds_bucket{{path=\"/\",le=\"+Inf\"}} {end}\n"
            )
        };
        let (first, second) = numbers.split_at(4);
        for (a, b) in [(a, b), (lines(first), lines(second))] {
            let found = Comparison::of(side_of(&a, 1), side_of(&b, 2), None);
            let _text = text::report(&found, &[]);
            let _document = json::document(&found, &[]);
            let picture = svg::picture(&found);
            prop_assert!(picture.len() < 100_000 && !picture.contains("NaN"), "{picture}");
        }
    }
}
