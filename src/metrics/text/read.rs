//! Reads what the rest of `exposition` writes: samples of a text page, of a stranger's too.

use std::borrow::Cow;

/// One line of a page.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample<'a> {
    /// The name, with `_bucket`, `_sum` or `_count` where it has one.
    pub name: &'a str,
    /// Labels in the order of the line.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// The value.
    pub value: f64,
}

impl Sample<'_> {
    /// The value of a label; an absent label is empty, as in Prometheus.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

/// The samples of a page in text 0.0.4 or `OpenMetrics`, exemplars left out.
///
/// # Shape
///
/// Any text; a line that is no sample is left out. At most [`MAX_LABELS`] labels are read of a
/// line. Cost: linear; allocates per line. Never panics.
pub fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter_map(sample)
}

/// Labels that are read of one line. Ours have five; a hostile page has as many as it likes.
pub(crate) const MAX_LABELS: usize = 32;

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' ']).filter(|end| *end > 0 && !line.starts_with('#'))?;
    let (name, rest) = line.split_at_checked(end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // What follows the value is a time or an exemplar.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Reads `a="b",c="d"}` and returns what follows.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((found, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let end = end_of_value(after)?;
        let (value, after) = after.split_at_checked(end)?;
        if found.len() < MAX_LABELS {
            found.push((name, unescaped(value)));
        }
        rest = after.strip_prefix('"')?;
    }
}

/// Where the quote is that is not escaped.
fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some(escaped @ ('\\' | '"'))) => text.push(escaped),
            _ => {
                text.push(c);
                continue;
            }
        }
        chars.next();
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Float, label, sample as write_sample};
    use super::*;

    #[test]
    fn lines_of_both_formats_are_read() {
        let page = "# HELP a b\n# TYPE a counter\na 1\nb{} 2\nc{x=\"1\",y=\"\"} +Inf 1700\n\
            d_bucket{le=\"0.5\"} 3 # {trace_id=\"4b\"} 0.2 17.5\n# EOF\n";
        let read: Vec<_> = samples(page).map(|s| (s.name, s.labels.len(), s.value)).collect();
        assert_eq!(
            read,
            [("a", 0, 1.0), ("b", 0, 2.0), ("c", 2, f64::INFINITY), ("d_bucket", 1, 3.0)]
        );
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        for line in
            ["", " ", "a", "a{", "a{b", "a{b=\"", "a{b=\"\\\"} 1", "a{b=\"c\"}", "{} 1", "a x"]
        {
            assert_eq!(samples(line).count(), 0, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            name in "[a-z_]{1,10}", key in "[a-z_]{1,10}", value in any::<String>(), number: f64,
        ) {
            prop_assume!(!number.is_nan());
            let (mut labels, mut page) = (String::new(), String::new());
            label(&mut labels, &key, &value);
            write_sample(&mut page, &name, &labels, Float(number));
            let read: Vec<_> = samples(&page).collect();
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(read[0].name, &name);
            prop_assert_eq!(read[0].label(&key), &value);
            prop_assert_eq!(read[0].value.to_bits(), number.to_bits());
        }

        #[test]
        fn any_page_is_read(page in any::<String>(), line in "[a{}=\",\\\\ 1#]{0,40}") {
            for text in [page, line] {
                prop_assert!(samples(&text).count() <= text.len());
            }
        }
    }
}
