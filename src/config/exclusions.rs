//! Which requests are forwarded without being measured.

use fast_glob::glob_match;

use super::ConfigError;

/// Requests to leave out of the metrics: by path, or by who asks.
#[derive(Clone, Debug)]
pub struct Exclusions {
    paths: Box<[PathGlob]>,
    user_agents: Box<[Box<[u8]>]>,
}

/// A pattern of `--exclude-path` that has been looked at.
#[derive(Clone, Debug)]
pub struct PathGlob(Box<str>);

impl std::str::FromStr for PathGlob {
    type Err = ConfigError;

    /// `*` stays within a segment, `**` crosses them.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let wrong = |reason: &str| ConfigError::Glob(text.to_owned(), reason.to_owned());
        if !text.starts_with(['/', '*']) {
            return Err(wrong(
                "a path begins with `/`; give for example `/health*` or `/static/**`",
            ));
        }
        // In a glob `{id}` would mean the word `id`, which is hardly what is meant.
        if text.contains(['{', '}']) {
            return Err(wrong("there are no braces; give `*` for one segment, or repeat the flag"));
        }
        if !is_closed(text) {
            return Err(wrong("a `[` has no `]`"));
        }
        Ok(Self(text.into()))
    }
}

/// Tells whether each `[` has a `]` with something in between, and each `\` something after it.
fn is_closed(glob: &str) -> bool {
    let mut rest = glob.chars();
    while let Some(c) = rest.next() {
        let closed = match c {
            '\\' => rest.next().is_some(),
            '[' => rest.next().is_some() && rest.any(|c| c == ']'),
            _ => true,
        };
        if !closed {
            return false;
        }
    }
    true
}

impl Exclusions {
    /// `None` if nothing is left out, so that the request path pays one branch.
    ///
    /// # Errors
    ///
    /// [`ConfigError::EmptyUserAgent`] for a prefix of everything.
    pub fn new(paths: &[PathGlob], user_agents: &[String]) -> Result<Option<Self>, ConfigError> {
        if paths.is_empty() && user_agents.is_empty() {
            return Ok(None);
        }
        // Every User-Agent begins with nothing: all requests would be gone.
        if user_agents.iter().any(String::is_empty) {
            return Err(ConfigError::EmptyUserAgent);
        }
        let user_agents = user_agents.iter().map(|prefix| prefix.as_bytes().into()).collect();
        Ok(Some(Self { paths: paths.into(), user_agents }))
    }

    /// Tells whether a request is left out.
    ///
    /// # Shape
    ///
    /// `path` without the query, as sent; `user_agent` as sent. One look per pattern, each at most
    /// the product of both lengths. Never panics.
    pub fn excludes(&self, path: &str, user_agent: Option<&[u8]>) -> bool {
        let by_agent = user_agent
            .is_some_and(|agent| self.user_agents.iter().any(|prefix| agent.starts_with(prefix)));
        by_agent || self.paths.iter().any(|PathGlob(glob)| glob_match(&**glob, path))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exclusions(globs: &[&str], agents: &[&str]) -> Exclusions {
        let globs: Vec<PathGlob> = globs.iter().map(|g| g.parse().expect("a glob")).collect();
        let agents: Vec<String> = agents.iter().map(|&agent| agent.into()).collect();
        Exclusions::new(&globs, &agents).expect("exclusions").expect("some")
    }

    #[test]
    fn a_star_stays_in_its_segment_and_two_cross_them() {
        let by_path = exclusions(&["/health*", "/static/**", "/users/*/avatar", "/a?c"], &[]);
        for (path, expected) in [
            ("/health", true),
            ("/healthz", true),
            ("/healthz/live", false),
            ("/Health", false),
            ("/static/js/a.js", true),
            ("/static", false),
            ("/users/7/avatar", true),
            ("/users/7/8/avatar", false),
            ("/abc", true),
            ("/a/c", false),
            ("/", false),
            ("", false),
        ] {
            assert_eq!(by_path.excludes(path, None), expected, "{path}");
        }
    }

    #[test]
    fn a_user_agent_is_matched_from_its_beginning() {
        let by_agent = exclusions(&[], &["kube-probe/", "ELB-HealthChecker"]);
        for (agent, expected) in [
            (Some("kube-probe/1.29"), true),
            (Some("ELB-HealthChecker/2.0"), true),
            (Some("curl kube-probe/"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(by_agent.excludes("/", agent.map(str::as_bytes)), expected, "{agent:?}");
        }
    }

    #[test]
    fn what_would_not_do_what_is_meant_is_refused() {
        for (glob, word) in [
            ("health", "begins with `/`"),
            ("", "begins with `/`"),
            ("/users/{id}", "no braces"),
            ("/a[b", "has no `]`"),
            ("/a[]", "has no `]`"),
            ("/a\\", "has no `]`"),
        ] {
            let error = glob.parse::<PathGlob>().expect_err(glob).to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(Exclusions::new(&[], &[String::new()]).is_err());
        assert!(Exclusions::new(&[], &[]).expect("nothing").is_none());
    }

    proptest! {
        #[test]
        fn any_glob_matches_any_path_or_not(
            glob in "/[ab*?\\[\\]\\\\/!^-]{0,30}",
            path in "/[ab/]{0,60}",
        ) {
            if let Ok(glob) = glob.parse::<PathGlob>() {
                let all = Exclusions::new(&[glob], &[]).expect("exclusions").expect("some");
                // Must neither panic nor take for ever.
                let _either = all.excludes(&path, None);
            }
        }
    }
}
