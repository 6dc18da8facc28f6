//! The metrics of requests under the names of `OpenTelemetry`'s semantic conventions 1.44.

use super::sheet::{Number, Sheet};
use super::{Items, Page, Part};
use crate::metrics;
use crate::metrics::labels::{ErrorToken, MethodId};
use crate::metrics::store::{Key, RouteId};
use crate::metrics::wire::Scheme;

pub(super) const PARTS: &[Part] = &[
    Part {
        of: metrics::OTEL_DURATION,
        items: Items::Groups,
        write: |page, out, index| {
            let key = page.group(Items::Groups, index).next()?.0;
            page.otel_labels(reduce(key));
            page.durations(out, index);
            Some(())
        },
    },
    Part {
        of: metrics::OTEL_ACTIVE,
        items: Items::Once,
        write: |page, out, _| {
            page.active(out);
            Some(())
        },
    },
    Part {
        of: metrics::OTEL_TARGET,
        items: Items::Once,
        write: |page, out, _| {
            page.labels.clear();
            for (name, value) in page.sources.resource.labels() {
                page.labels.push(name, value);
            }
            out.sample(&page.labels, Number::Whole(1), None);
            Some(())
        },
    },
];

/// A key in which only what the labels tell apart is left.
pub(super) fn reduce(key: Key) -> Key {
    let route = if key.route.is_reserved() { RouteId::OTHER } else { key.route };
    let status = if is_answered(key) { key.status } else { 0 };
    Key { route, status, error: error_type(key), grpc: None, ..key }
}

/// Whether the status was sent, and not only recorded.
fn is_answered(key: Key) -> bool {
    key.wire.is_none_or(|wire| wire.is_answered)
}

/// Which error of ours a row's label tells: what kept a request from being answered whole. An
/// answer with a status below 500 that blames the client was one.
fn error_type(key: Key) -> Option<ErrorToken> {
    let is_answer = |error| {
        is_answered(key)
            && key.status < 500
            && matches!(error, ErrorToken::HttpRequestError | ErrorToken::DownstreamBodyError)
    };
    key.error.filter(|error| !is_answer(*error))
}

impl Page {
    /// Labels of a reduced key. `error_type` is our token, or the status where the app itself
    /// answered with one from 500 on.
    fn otel_labels(&mut self, key: Key) {
        let status = key.status.to_string();
        let error = match key.error {
            Some(token) => Some(token.as_str()),
            None => (key.status >= 500).then_some(&*status),
        };
        let route = (!key.route.is_reserved()).then(|| self.view.snapshot.route_name(key.route));
        let scheme = key.wire.map_or(self.sources.scheme, |wire| wire.scheme.as_str());
        let pairs = [
            ("http_request_method", Some(self.sources.methods.name(key.method))),
            ("http_route", route),
            ("http_response_status_code", (key.status > 0).then_some(&*status)),
            ("network_protocol_version", key.wire.map(|wire| wire.version.as_str())),
            ("url_scheme", Some(scheme)),
            ("error_type", error),
        ];
        self.labels.clear();
        for (name, value) in pairs {
            if let Some(value) = value {
                self.labels.push(name, value);
            }
        }
    }

    /// Requests under way, of each method and scheme that there ever was.
    fn active(&mut self, out: &mut Sheet) {
        let methods = self.sources.methods.clone();
        for method in methods.ids() {
            for scheme in Scheme::ALL {
                if let Some(count) = self.active_of(method, scheme) {
                    self.labels.clear();
                    self.labels.push("http_request_method", methods.name(method));
                    self.labels.push("url_scheme", scheme.as_str());
                    out.sample(&self.labels, Number::Whole(count), None);
                }
            }
        }
    }

    fn active_of(&self, method: MethodId, scheme: Scheme) -> Option<u64> {
        let workers = self.view.site.workers.iter();
        workers.filter_map(|worker| worker.active.count(method, scheme)).reduce(|a, b| a + b)
    }
}
