//! What `--slo` means.

use std::time::Duration;

use super::{ConfigError, parse_duration};
use crate::metrics::slo::Slo;
use crate::paths::{MAX_LABEL_BYTES, PathGlob};

/// Parses `path=/checkout/**,latency=300ms,objective=99.9`, perhaps with `name=checkout`.
///
/// # Errors
///
/// [`ConfigError::Slo`] says what is wrong, with an example.
pub fn parse_slo(text: &str) -> Result<Slo, ConfigError> {
    let wrong = |reason: String| ConfigError::Slo(text.to_owned(), reason);
    let (mut name, mut path, mut latency, mut objective) = (None, None, None, None);
    for part in text.split(',') {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| wrong(format!("`{part}` is not of the form key=value")))?;
        let slot = match key {
            "name" => &mut name,
            "path" => &mut path,
            "latency" => &mut latency,
            "objective" => &mut objective,
            _ => {
                return Err(wrong(format!("`{key}` is none of name, path, latency and objective")));
            }
        };
        if slot.replace(value).is_some() {
            return Err(wrong(format!("`{key}` stands there twice")));
        }
    }
    let objective = objective.ok_or_else(|| wrong("there is no objective".into()))?;
    let objective = parse_share(objective).ok_or_else(|| {
        wrong(format!("the objective `{objective}` is not a percentage between 0 and 100"))
    })?;
    let path = path.unwrap_or("/**");
    let name = name.unwrap_or(path);
    if name.is_empty() || name.len() > MAX_LABEL_BYTES {
        return Err(wrong(format!("a name has 1 to {MAX_LABEL_BYTES} bytes")));
    }
    let latency = latency.map(parse_duration).transpose().map_err(|e| wrong(e.to_string()))?;
    if latency == Some(Duration::ZERO) {
        return Err(wrong(
            "no request takes no time; leave the latency away if any is good".into(),
        ));
    }
    Ok(Slo {
        name: name.into(),
        path: path.parse::<PathGlob>().map_err(|error| wrong(error.to_string()))?,
        latency,
        objective,
    })
}

/// `99.9` is 0.999, as exactly as a double can have it.
fn parse_share(percent: &str) -> Option<f64> {
    let is_plain = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let share: f64 = format!("{percent}e-2").parse().ok().filter(|_| is_plain)?;
    (share > 0.0 && share < 1.0).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_has_a_path_and_perhaps_a_name_and_a_latency() {
        for (text, name, path, millis, objective) in [
            (
                "path=/checkout/**,latency=300ms,objective=99.9",
                "/checkout/**",
                "/checkout/**",
                Some(300),
                0.999,
            ),
            ("objective=99.95", "/**", "/**", None, 0.9995),
            ("objective=95,name=search,path=/s?arch", "search", "/s?arch", None, 0.95),
            ("name=a=b,objective=0.1", "a=b", "/**", None, 0.001),
        ] {
            let slo = parse_slo(text).expect(text);
            assert_eq!((&*slo.name, slo.path.as_str()), (name, path), "{text}");
            assert_eq!(slo.latency, millis.map(Duration::from_millis), "{text}");
            assert!((slo.objective - objective).abs() < f64::EPSILON / 4.0, "{text}");
        }
    }

    #[test]
    fn what_is_no_objective_says_why() {
        for (text, word) in [
            ("", "`` is not of the form"),
            ("path=/a", "there is no objective"),
            ("objective=99.9,objective=99", "twice"),
            ("objective=100", "`100` is not a percentage"),
            ("objective=0", "percentage"),
            ("objective=", "percentage"),
            ("objective=99,9", "`9` is not of the form"),
            ("objective=99.9%", "percentage"),
            ("objective=1e1", "percentage"),
            ("objective=-1", "percentage"),
            ("path=checkout,objective=99", "begins with `/`"),
            ("path=/users/{id},objective=99", "no braces"),
            ("latency=fast,objective=99", "not a duration"),
            ("latency=0s,objective=99", "takes no time"),
            ("name=,objective=99", "1 to 200 bytes"),
            ("slo=x,objective=99", "`slo` is none of name, path"),
            ("path=/a, objective=99", "` objective` is none of"),
        ] {
            let error = parse_slo(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
            assert!(error.contains("give for example"), "{error}");
        }
    }
}
