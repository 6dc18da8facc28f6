//! Numbers and hostile text, made fit for a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Requests per second.
pub(crate) fn rate(rate: f64) -> String {
    if rate <= 0.0 {
        "0".to_owned()
    } else if rate < 0.1 {
        "<0.1".to_owned()
    } else {
        format!("{rate:.*}", usize::from(rate < 9.95))
    }
}

/// A share as percent, without the sign.
pub(crate) fn share(share: f64) -> String {
    if share <= 0.0 {
        "0".to_owned()
    } else if share < 0.001 {
        "<0.1".to_owned()
    } else {
        format!("{:.*}", usize::from(share < 0.0995), share * 100.0)
    }
}

/// A duration. At the highest bound nobody knows how much longer it was.
pub(crate) fn seconds(seconds: Option<f64>, highest: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "-".to_owned() };
    let sign = if highest.is_some_and(|highest| seconds >= highest) { ">=" } else { "" };
    if seconds < 0.0095 {
        format!("{sign}{:.1}ms", seconds * 1000.0)
    } else if seconds < 0.9995 {
        format!("{sign}{:.0}ms", seconds * 1000.0)
    } else {
        format!("{sign}{seconds:.*}s", if seconds < 9.95 { 2 } else { 0 })
    }
}

/// A duration of hours and days.
pub(crate) fn uptime(time: std::time::Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => format!("{}s", time.as_secs()),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h{minutes:02}m"),
        (days, hours, _) => format!("{days}d{hours:02}h"),
    }
}

/// Writes what a terminal would obey or hide, or what turns its neighbours round, as a code.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = c.is_control()
            || c.width().unwrap_or(0) == 0
            || matches!(c, '\u{2028}'..='\u{202f}' | '\u{2060}'..='\u{206f}' | '\u{a0}' | '\u{ad}');
        if hidden { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// Cuts to a number of columns: the middle goes, since both ends tell more.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let fits = |room: usize| {
        let mut used = 0;
        move |c: &char| {
            used += c.width().unwrap_or(0);
            used <= room
        }
    };
    let tail: Vec<char> = text.chars().rev().take_while(fits(room / 2)).collect();
    let head = text.chars().take_while(fits(room - room / 2));
    head.chain(['~']).take(columns).chain(tail.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.05, 1.23, 9.96, 1234.5].map(rate), ["0", "<0.1", "1.2", "10", "1234"]);
        assert_eq!([0.0, 0.0001, 0.021, 0.5, 1.0].map(share), ["0", "<0.1", "2.1", "50", "100"]);
        let times = [0.0012, 0.249, 0.9996, 2.134, 60.0].map(|s| seconds(Some(s), Some(60.0)));
        assert_eq!(times, ["1.2ms", "249ms", "1.00s", "2.13s", ">=60s"]);
        assert_eq!(seconds(None, None), "-");
        let uptimes = [5, 300, 11_520, 180_000].map(|s| uptime(std::time::Duration::from_secs(s)));
        assert_eq!(uptimes, ["5s", "5m", "3h12m", "2d02h"]);
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_its_code() {
        assert_eq!(visible("/a\u{1b}[2J\u{202e}b\t"), "/a\\u{1b}[2J\\u{202e}b\\u{9}");
        assert_eq!(visible("/caf\u{e9}/\u{6f22}"), "/caf\u{e9}/\u{6f22}");
    }

    #[test]
    fn long_text_keeps_both_ends() {
        assert_eq!(cut("/api/v1/users/{id}/orders", 15), "/api/v1~/orders");
        assert_eq!(["/users", "/orders"].map(|text| cut(text, 6)), ["/users", "/or~rs"]);
        assert_eq!(["", "~"], [cut("/users", 0), cut("/users", 1)].each_ref().map(String::as_str));
    }

    proptest! {
        #[test]
        fn any_text_fits_and_has_nothing_hidden(text: String, columns in 0_usize..40) {
            let shown = cut(&visible(&text), columns);
            prop_assert!(shown.width() <= columns);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
