//! Which requests are forwarded without being measured.

use super::ConfigError;
use crate::paths::PathGlob;

/// Requests to leave out of the metrics: by path, or by who asks.
#[derive(Clone, Debug)]
pub struct Exclusions {
    paths: Box<[PathGlob]>,
    user_agents: Box<[Box<[u8]>]>,
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
        by_agent || self.paths.iter().any(|glob| glob.matches(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclusions(globs: &[&str], agents: &[&str]) -> Exclusions {
        let globs: Vec<PathGlob> = globs.iter().map(|g| g.parse().expect("a glob")).collect();
        let agents: Vec<String> = agents.iter().map(|&agent| agent.into()).collect();
        Exclusions::new(&globs, &agents).expect("exclusions").expect("some")
    }

    #[test]
    fn any_pattern_of_several_leaves_a_path_out() {
        let by_path = exclusions(&["/health*", "/static/**"], &[]);
        for (path, expected) in
            [("/healthz", true), ("/static/a/b.js", true), ("/static", true), ("/statics", false)]
        {
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
    fn a_prefix_of_everything_is_refused() {
        assert!(Exclusions::new(&[], &[String::new()]).is_err());
        assert!(Exclusions::new(&[], &[]).expect("nothing").is_none());
    }
}
