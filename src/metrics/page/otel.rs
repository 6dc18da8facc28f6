//! The metrics of requests under the names of `OpenTelemetry`'s semantic conventions.

use super::{Items, Page, Part};
use crate::metrics;
use crate::metrics::labels::CLIENT_CLOSED_REQUEST;
use crate::metrics::labels::ErrorToken;
use crate::metrics::store::Key;

pub(super) const PARTS: &[Part] = &[
    Part {
        of: metrics::OTEL_DURATION,
        items: Items::Groups,
        write: |page, out, index| {
            let key = page.group(Items::Groups, index).next()?.0;
            page.otel_labels(key);
            page.durations(out, index);
            Some(())
        },
    },
    Part {
        of: metrics::OTEL_ACTIVE,
        items: Items::Once,
        write: |page, out, _| {
            page.labels.clear();
            page.labels.push("url_scheme", page.sources.scheme);
            out.sample(&page.labels, page.in_flight(), None);
            Some(())
        },
    },
];

/// Nobody received this status: the client was gone before there was a head.
fn is_unanswered(key: Key) -> bool {
    key.status == CLIENT_CLOSED_REQUEST && key.error.is_some()
}

/// Which error a row's label tells: one that is a failure of the server, or that left the request
/// without an answer. A client that leaves during a 200 is no error of the server.
pub(super) fn error_type(key: Key) -> Option<ErrorToken> {
    key.error.filter(|_| key.status >= 500 || is_unanswered(key))
}

impl Page {
    /// `error_type` is our token, or the status where the app itself answered with one from 500 on.
    fn otel_labels(&mut self, key: Key) {
        let status = key.status.to_string();
        let error = match error_type(key) {
            Some(token) => Some(token.as_str()),
            None => (key.status >= 500).then_some(&*status),
        };
        let pairs = [
            ("http_request_method", Some(self.sources.methods.name(key.method))),
            ("http_route", Some(self.view.snapshot.route_name(key.route))),
            ("http_response_status_code", (!is_unanswered(key)).then_some(&*status)),
            ("url_scheme", Some(self.sources.scheme)),
            ("error_type", error),
        ];
        self.labels.clear();
        for (name, value) in pairs {
            if let Some(value) = value {
                self.labels.push(name, value);
            }
        }
    }
}
