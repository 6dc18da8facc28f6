//! Conditions of `--fail`, and whether they are met.

use std::fmt;
use std::str::FromStr;

use super::comparison::{Change, Comparison, Figures, growth};
use crate::cli::scrape::quantiles::{QUANTILE_NAMES, QUANTILES, Quantile};

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Measure {
    /// Index of a quantile.
    Quantile(usize),
    Errors,
    Rate,
}

/// On which side of the limit it fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fails {
    Above,
    Below,
}

/// What the measure is held against: seconds, shares, requests per second.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Limit {
    /// What it is afterwards.
    Value(f64),
    /// What it is more than before.
    Difference(f64),
    /// The share by which it grew.
    Growth(f64),
}

/// A condition such as `p95>+20%`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Condition {
    text: String,
    measure: Measure,
    fails: Fails,
    limit: Limit,
}

/// Why a text is no condition.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no condition: write p50, p95, p99, errors or rate, then > or <, then a limit as in `p95>+20%`, `p99>500ms`, `errors>1%`, `errors>+0.5%`, `rate<-30%` or `rate<5`"
)]
pub(crate) struct ConditionError(String);

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        parse(text).ok_or_else(|| ConditionError(text.to_owned()))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse(text: &str) -> Option<Condition> {
    let at = text.find(['<', '>'])?;
    let (name, rest) = text.split_at_checked(at)?;
    let fails = if rest.starts_with('>') { Fails::Above } else { Fails::Below };
    let limit = rest.get(1..)?.trim();
    let measure = match name.trim() {
        "errors" => Measure::Errors,
        "rate" => Measure::Rate,
        name => Measure::Quantile(QUANTILE_NAMES.iter().position(|known| *known == name)?),
    };
    let is_change = limit.starts_with(['+', '-']);
    let split = limit.find(|c: char| !matches!(c, '+' | '-' | '.' | '0'..='9'));
    let (number, unit) = limit.split_at_checked(split.unwrap_or(limit.len()))?;
    let number: f64 = number.parse().ok()?;
    let limit = match (measure, unit.trim(), is_change) {
        (Measure::Quantile(_) | Measure::Rate, "%", true) => Limit::Growth(number / 100.0),
        (Measure::Quantile(_), "ms", true) => Limit::Difference(number / 1000.0),
        (Measure::Quantile(_), "ms", false) => Limit::Value(number / 1000.0),
        (Measure::Quantile(_), "s", true) | (Measure::Rate, "", true) => Limit::Difference(number),
        (Measure::Quantile(_), "s", false) | (Measure::Rate, "", false) => Limit::Value(number),
        // An error ratio has percent for a unit: what is added to it are points.
        (Measure::Errors, "%", true) => Limit::Difference(number / 100.0),
        (Measure::Errors, "%", false) => Limit::Value(number / 100.0),
        (Measure::Quantile(_) | Measure::Errors | Measure::Rate, _, _) => return None,
    };
    Some(Condition { text: text.trim().to_owned(), measure, fails, limit })
}

/// How a condition is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge {
    pub(super) min_requests: f64,
    /// Quantiles are taken at the end of their bucket that speaks for them.
    pub(super) certain: bool,
}

/// What came out of a condition.
#[derive(Debug)]
pub(super) struct Judgement<'a> {
    pub(super) condition: &'a Condition,
    /// Paths, and all together, for which it could be told.
    pub(super) judged: usize,
    /// Of these, where it is met.
    pub(super) met: Vec<&'a Change>,
    /// Where there were too few requests.
    pub(super) too_few: usize,
}

/// Whether a path meets a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Met,
    NotMet,
    TooFew,
    /// It needs a side that is not there.
    Incomparable,
}

impl Judge {
    pub(super) fn judge<'a>(
        self,
        condition: &'a Condition,
        comparison: &'a Comparison,
    ) -> Judgement<'a> {
        let mut judgement = Judgement { condition, judged: 0, met: Vec::new(), too_few: 0 };
        for change in std::iter::once(&comparison.all).chain(&comparison.paths) {
            match self.verdict(condition, change) {
                Verdict::Met => {
                    judgement.judged += 1;
                    judgement.met.push(change);
                }
                Verdict::NotMet => judgement.judged += 1,
                Verdict::TooFew => judgement.too_few += 1,
                Verdict::Incomparable => {}
            }
        }
        judgement
    }

    fn verdict(self, condition: &Condition, change: &Change) -> Verdict {
        let needed = match condition.limit {
            Limit::Value(_) => vec![change.after.as_ref()],
            Limit::Difference(_) | Limit::Growth(_) => {
                vec![change.before.as_ref(), change.after.as_ref()]
            }
        };
        let Some(sides) = needed.into_iter().collect::<Option<Vec<&Figures>>>() else {
            return Verdict::Incomparable;
        };
        if !sides.iter().all(|side| self.is_enough(condition.measure, side)) {
            return Verdict::TooFew;
        }
        let after = self.value(condition, change.after.as_ref(), true);
        let before = self.value(condition, change.before.as_ref(), false);
        let reached = match (condition.limit, before, after) {
            (Limit::Value(limit), _, Some(after)) => Some((after, limit)),
            (Limit::Difference(limit), Some(before), Some(after)) => Some((after - before, limit)),
            (Limit::Growth(limit), Some(before), Some(after)) => {
                growth(before, after).map(|grown| (grown, limit))
            }
            (Limit::Value(_) | Limit::Difference(_) | Limit::Growth(_), _, _) => None,
        };
        match (reached, condition.fails) {
            (None, _) => Verdict::Incomparable,
            (Some((value, limit)), Fails::Above) if value > limit => Verdict::Met,
            (Some((value, limit)), Fails::Below) if value < limit => Verdict::Met,
            (Some(_), Fails::Above | Fails::Below) => Verdict::NotMet,
        }
    }

    fn is_enough(self, measure: Measure, side: &Figures) -> bool {
        let speaking = match measure {
            Measure::Quantile(index) => {
                let quantile = QUANTILES.get(index).copied().unwrap_or(1.0);
                // 1000 requests have 10 beyond their p99, whatever 1 - 0.99 is in binary.
                (side.measured * (1.0 - quantile)).mul_add(1e6, 0.5).floor() / 1e6
            }
            Measure::Errors | Measure::Rate => side.requests,
        };
        speaking >= self.min_requests
    }

    /// The value of a side. What is certainly above a limit is so with the lower end of `after` and
    /// the upper end of `before`.
    fn value(self, condition: &Condition, side: Option<&Figures>, is_after: bool) -> Option<f64> {
        let side = side?;
        match condition.measure {
            Measure::Errors => Some(side.errors),
            Measure::Rate => side.rate,
            Measure::Quantile(index) => {
                let Quantile { estimate, low, high } = side.quantiles.get(index).copied()??;
                let takes_low = is_after == (condition.fails == Fails::Above);
                Some(match (self.certain, takes_low) {
                    (false, _) => estimate,
                    (true, true) => low,
                    (true, false) => high,
                })
            }
        }
    }
}
