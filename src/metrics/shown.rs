//! What of the numbers is shown, and in which form.

use std::str::FromStr;

use super::buckets::Histograms;
use super::catalogue::Family;
use super::labels::MethodId;
use super::profiles::Naming;
use super::store::{Key, RouteId};

/// What a page has of what was recorded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shown {
    /// In which form scrapers that take protobuf get histograms.
    pub histograms: Histograms,
    /// Whether `OpenMetrics` has a line for the birth of each counter and histogram.
    pub created_lines: bool,
    /// What request durations are split by, in the profile of our own names.
    pub duration_labels: DurationLabels,
    /// Families that are left out.
    pub without: Without,
}

/// A label that can split request durations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DurationLabel {
    /// `method`.
    Method,
    /// `path`.
    Path,
    /// `status`.
    Status,
    /// `status_class`: `2xx`.
    StatusClass,
    /// `error`.
    Error,
    /// `grpc_status`.
    GrpcStatus,
}

impl DurationLabel {
    /// Every label, in the order in which a series has them.
    pub const ALL: [Self; 6] =
        [Self::Method, Self::Path, Self::Status, Self::StatusClass, Self::Error, Self::GrpcStatus];

    /// The label's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Path => "path",
            Self::Status => "status",
            Self::StatusClass => "status_class",
            Self::Error => "error",
            Self::GrpcStatus => "grpc_status",
        }
    }
}

/// The labels of request durations; `Default` are those of the request counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DurationLabels(u8);

impl Default for DurationLabels {
    fn default() -> Self {
        Self(
            [
                DurationLabel::Method,
                DurationLabel::Path,
                DurationLabel::Status,
                DurationLabel::Error,
                DurationLabel::GrpcStatus,
            ]
            .into_iter()
            .fold(0, |labels, label| labels | 1 << label as u8),
        )
    }
}

impl DurationLabels {
    /// Tells whether durations are split by this label.
    pub fn has(self, label: DurationLabel) -> bool {
        self.0 & 1 << label as u8 != 0
    }

    /// A key in which only what the labels tell apart is left.
    pub(super) fn reduce(self, key: Key) -> Key {
        let keep = |label| self.has(label);
        Key {
            route: if keep(DurationLabel::Path) { key.route } else { RouteId::ALL },
            method: if keep(DurationLabel::Method) { key.method } else { MethodId::OTHER },
            status: match (keep(DurationLabel::Status), keep(DurationLabel::StatusClass)) {
                (true, _) => key.status,
                (false, true) => key.status / 100 * 100,
                (false, false) => 0,
            },
            error: key.error.filter(|_| keep(DurationLabel::Error)),
            grpc: key.grpc.filter(|_| keep(DurationLabel::GrpcStatus)),
            wire: None,
        }
    }
}

/// Why a list of labels or families is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShownError {
    /// No label of request durations.
    #[error(
        "--duration-labels: `{0}` is none of method, path, status, status_class, error and grpc_status; give some of them, or `none`"
    )]
    Label(String),
    /// Labels of a profile that has its own.
    #[error("--duration-labels is for the default --naming: other dashboards ask for their labels")]
    Naming,
    /// No family of the page.
    #[error("--without: there is no metric `{0}`; docs/metrics.md has the names")]
    Family(String),
}

impl FromStr for DurationLabels {
    type Err = ShownError;

    fn from_str(text: &str) -> Result<Self, ShownError> {
        if text == "none" {
            return Ok(Self(0));
        }
        text.split(',').try_fold(Self(0), |labels, name| {
            let mut known = DurationLabel::ALL.into_iter();
            let label = known.find(|label| label.as_str() == name.trim());
            let label = label.ok_or_else(|| ShownError::Label(name.to_owned()))?;
            Ok(Self(labels.0 | 1 << label as u8))
        })
    }
}

/// Families that are left out of a page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Without(Vec<&'static str>);

impl Without {
    /// Takes names of families of this profile.
    ///
    /// # Errors
    ///
    /// [`ShownError::Family`] for what is none.
    pub fn new(names: &[String], naming: Naming) -> Result<Self, ShownError> {
        let find = |name: &String| {
            let known = naming.families().find(|family| family.name == name);
            known.map(|family| family.name).ok_or_else(|| ShownError::Family(name.clone()))
        };
        names.iter().map(find).collect::<Result<_, _>>().map(Self)
    }

    /// Tells whether a family is left out.
    pub(super) fn has(&self, family: &Family) -> bool {
        self.0.contains(&family.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::labels::ErrorToken;

    #[test]
    fn labels_are_a_list_or_say_which_word_is_wrong() {
        let labels: DurationLabels = "path, status_class".parse().expect("a list");
        let has = DurationLabel::ALL.map(|label| labels.has(label));
        assert_eq!(has, [false, true, false, true, false, false]);
        assert_eq!("method,path,status,error,grpc_status".parse(), Ok(DurationLabels::default()));
        assert_eq!("none".parse(), Ok(DurationLabels(0)));
        for (text, word) in [("", ""), ("path,", ""), ("path,code", "code"), ("Path", "Path")] {
            assert_eq!(text.parse::<DurationLabels>(), Err(ShownError::Label(word.to_owned())));
        }
    }

    #[test]
    fn a_reduced_key_tells_apart_what_the_labels_do() {
        let error = Some(ErrorToken::DnsError);
        let key = |status| Key {
            route: RouteId::UNPARSED,
            method: MethodId(3),
            status,
            error,
            grpc: None,
            wire: None,
        };
        let reduced = |labels: &str, status| {
            labels.parse::<DurationLabels>().expect("a list").reduce(key(status))
        };
        assert_eq!(DurationLabels::default().reduce(key(404)), key(404));
        assert_eq!(reduced("path,status_class", 404), reduced("path,status_class", 400));
        assert_ne!(reduced("path,status_class", 404), reduced("path,status_class", 500));
        assert_ne!(reduced("path,status,status_class", 404), reduced("path,status", 400));
        assert_eq!(reduced("none", 404), reduced("none", 500));
    }

    #[test]
    fn only_families_that_there_are_can_be_left_out() {
        let name = "http_time_to_response_seconds".to_owned();
        let names = std::slice::from_ref(&name);
        assert!(Without::new(names, Naming::Default).is_ok());
        assert_eq!(Without::new(names, Naming::Otel), Err(ShownError::Family(name.clone())));
    }
}
