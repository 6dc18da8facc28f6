//! Which times flags accept.

use std::time::Duration;

use super::{ConfigError, Timeouts};

/// The longest time that a flag takes: a year. Any moment so far ahead can be represented.
pub const LONGEST: Duration = Duration::from_hours(366 * 24);

/// What 0 means for a flag that takes a time, in the words of `--help` and docs/flags.md.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Zero {
    /// Nothing could be done in no time.
    Refused,
    /// There is no limit.
    Off,
    /// What it says.
    Means(&'static str),
}

impl Zero {
    /// The words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Refused => "0 is refused",
            Self::Off => "0 is off",
            Self::Means(words) => words,
        }
    }
}

/// A flag that takes a time.
#[derive(Clone, Copy, Debug)]
pub struct TimeFlag {
    /// With its dashes.
    pub name: &'static str,
    /// What 0 means.
    pub zero: Zero,
    value: fn(&Timeouts) -> Option<Duration>,
}

const fn flag(
    name: &'static str,
    zero: Zero,
    value: fn(&Timeouts) -> Option<Duration>,
) -> TimeFlag {
    TimeFlag { name, zero, value }
}

/// Every flag of running that takes a time.
pub const TIME_FLAGS: [TimeFlag; 7] = [
    flag("--connect-timeout", Zero::Refused, |times| Some(times.connect)),
    flag("--header-timeout", Zero::Refused, |times| Some(times.header)),
    flag("--idle-timeout", Zero::Refused, |times| Some(times.idle)),
    flag("--response-timeout", Zero::Off, |times| times.response),
    flag("--upstream-idle-timeout", Zero::Means("0: none is used twice"), |times| {
        Some(times.upstream_idle)
    }),
    flag("--shutdown-delay", Zero::Means("0: none"), |times| Some(times.shutdown_delay)),
    flag("--shutdown-timeout", Zero::Means("0: all are cut off at once"), |times| {
        Some(times.shutdown)
    }),
];

impl Timeouts {
    /// Refuses what no flag accepts.
    pub(super) fn validate(self) -> Result<Self, ConfigError> {
        for TimeFlag { name, zero, value } in TIME_FLAGS {
            let Some(time) = value(&self) else { continue };
            if time > LONGEST || (time.is_zero() && zero == Zero::Refused) {
                let range = "more than 0 and at most 366 days";
                let value = format!("{time:?}");
                return Err(ConfigError::Range { flag: name, range, value });
            }
        }
        Ok(Self { response: self.response.filter(|time| !time.is_zero()), ..self })
    }
}

/// Parses `500ms`, `3s`, `1m 30s`, up to [`LONGEST`].
///
/// # Errors
///
/// [`ConfigError::Duration`] for anything else, [`ConfigError::TooLong`] for more.
pub fn parse_duration(text: &str) -> Result<Duration, ConfigError> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= LONGEST => Ok(time),
        Ok(_) | Err(humantime::DurationError::NumberOverflow) => {
            Err(ConfigError::TooLong(text.to_owned()))
        }
        Err(_) => Err(ConfigError::Duration(text.to_owned())),
    }
}

/// The same, but 0 is refused.
///
/// # Errors
///
/// Those, and [`ConfigError::NoTime`].
pub fn parse_some_time(text: &str) -> Result<Duration, ConfigError> {
    match parse_duration(text)? {
        Duration::ZERO => Err(ConfigError::NoTime(text.to_owned())),
        time => Ok(time),
    }
}
