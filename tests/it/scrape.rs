//! The metrics port, asked and understood.

use std::fmt::Display;
use std::net::SocketAddr;

use redcar::metrics::CATALOGUE;

use crate::backend::eventually;
use crate::client::Client;
use crate::message::Message;

/// Sends a GET with more fields to the metrics port.
pub(crate) fn ask(metrics: SocketAddr, path: &str, fields: &str) -> Message {
    let mut client = Client::connect(metrics);
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n"
    ));
    client.answer()
}

/// As a scraper says who it is: the shutdown waits for one.
const SCRAPER: &str = "User-Agent: Prometheus/3.5.0\r\n";

/// One page of the metrics port.
pub(crate) struct Page(pub(crate) String);

impl Page {
    pub(crate) fn of(metrics: SocketAddr) -> Self {
        let answer = ask(metrics, "/metrics", SCRAPER);
        assert_eq!(answer.status(), 200, "{answer:?}");
        Self(answer.text().to_owned())
    }

    /// Samples as name, labels and value.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            (name, labels.trim_end_matches('}'), value.parse().unwrap())
        })
    }

    /// The sum of the samples of a name whose labels match.
    fn sum(&self, metric: &Metric) -> f64 {
        let matching = self.samples().filter(|(name, labels, _)| {
            let has = |key: &str| labels.split("\",").any(|l| l.starts_with(&format!("{key}=\"")));
            let is = |(key, value): &(&str, String)| {
                labels.split("\",").any(|l| l.trim_end_matches('"') == format!("{key}=\"{value}"))
            };
            *name == metric.name
                && metric.labels.iter().all(is)
                && !metric.absent.iter().any(|k| has(k))
        });
        matching.map(|(_, _, value)| value).sum()
    }

    pub(crate) fn total(&self, name: &'static str) -> f64 {
        self.samples().filter(|(other, _, _)| *other == name).map(|(_, _, value)| value).sum()
    }
}

/// A question about the sum of some samples.
pub(crate) struct Metric {
    address: SocketAddr,
    name: &'static str,
    labels: Vec<(&'static str, String)>,
    absent: Vec<&'static str>,
}

impl Metric {
    pub(crate) fn new(address: SocketAddr, name: &'static str) -> Self {
        let is_known = CATALOGUE.iter().any(|family| name.starts_with(family.name));
        assert!(is_known, "there is no metric {name}");
        Self { address, name, labels: Vec::new(), absent: Vec::new() }
    }

    pub(crate) fn label(mut self, name: &'static str, value: impl Display) -> Self {
        self.labels.push((name, value.to_string()));
        self
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.absent.push(name);
        self
    }

    pub(crate) fn value(&self) -> f64 {
        Page::of(self.address).sum(self)
    }

    /// Waits until the sum is `expected`.
    pub(crate) fn eventually_is(&self, expected: u32) {
        let (name, labels) = (self.name, &self.labels);
        let mut last = f64::NAN;
        let begun = std::time::Instant::now();
        while begun.elapsed() < crate::message::DEADLINE {
            last = self.value();
            if (last - f64::from(expected)).abs() < 0.5 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let page = Page::of(self.address);
        let hot: Vec<_> =
            page.0.lines().filter(|l| l.starts_with("http_requests_total{")).collect();
        panic!("{name} {labels:?} is {last}, not {expected}; counted: {hot:#?}");
    }

    /// Waits until the sum is at least `expected`.
    pub(crate) fn eventually_reaches(&self, expected: u32) {
        eventually(self.name, || self.value() >= f64::from(expected));
    }
}
