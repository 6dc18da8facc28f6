//! Patterns of raw paths.

use std::str::FromStr;

use fast_glob::glob_match;

/// A pattern of raw paths: `*` stays within a segment, `**` crosses them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathGlob(Box<str>);

/// Why a text is no pattern, or none that does what is meant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}`: {1}")]
pub struct GlobError(String, &'static str);

impl PathGlob {
    /// Tells whether a path is one of those. `/shops/**` is `/shops`, too, as in Spring or Ant: who
    /// names a part of an API means its root as well.
    ///
    /// # Shape
    ///
    /// `path` without the query, as sent. Takes at most the product of both lengths. Never panics.
    pub fn matches(&self, path: &str) -> bool {
        let root = self.0.strip_suffix("/**").filter(|root| !root.is_empty());
        glob_match(&*self.0, path) || root.is_some_and(|root| glob_match(root, path))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathGlob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let wrong = |reason| Err(GlobError(text.to_owned(), reason));
        if !text.starts_with(['/', '*']) {
            return wrong("a path begins with `/`; give for example `/health*` or `/static/**`");
        }
        // In a glob `{id}` would mean the word `id`, which is hardly what is meant.
        if text.contains(['{', '}']) {
            return wrong("there are no braces; give `*` for one segment, or repeat the flag");
        }
        if !is_closed(text) {
            return wrong("a `[` has no `]`");
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stays_in_its_segment_and_two_cross_them() {
        for (glob, path, expected) in [
            ("/health*", "/health", true),
            ("/health*", "/healthz", true),
            ("/health*", "/healthz/live", false),
            ("/health*", "/Health", false),
            ("/static/**", "/static/js/a.js", true),
            ("/static/**", "/static", true),
            ("/static/**", "/statics", false),
            ("/users/*/avatar", "/users/7/avatar", true),
            ("/users/*/avatar", "/users/7/8/avatar", false),
            ("/a?c", "/abc", true),
            ("/a?c", "/a/c", false),
            ("/a?c", "", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
        ] {
            let found = glob.parse::<PathGlob>().expect("a glob").matches(path);
            assert_eq!(found, expected, "{glob} {path}");
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
    }

    proptest! {
        #[test]
        fn any_glob_matches_any_path_or_not(
            glob in "/[ab*?\\[\\]\\\\/!^-]{0,30}",
            path in "/[ab/]{0,60}",
        ) {
            if let Ok(glob) = glob.parse::<PathGlob>() {
                // Must neither panic nor take for ever.
                let _either = glob.matches(&path);
            }
        }
    }
}
