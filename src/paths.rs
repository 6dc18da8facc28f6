//! Path → template: pinned templates first, then stateless detectors, then what was learned.
//!
//! Answers one question: which label does a raw path get? Guards the invariant that no byte a
//! client chooses reaches a label unless it is a plain word. No I/O, no clock, no `await`, no
//! lock: when the learner is asked, and the caps, are in `series`.

use std::borrow::Cow;
use std::fmt::Write;

use self::detect::{Segment, classify, is_rpc, is_secret, is_value_behind};
use self::files::StaticFile;
pub use self::glob::{GlobError, PathGlob};
pub use self::known::{Found, Known};
pub use self::learn::{Decision, Learner, Place, Rules};
pub use self::names::{Learnable, NameSet, Since, digest, learnable};
use self::template::Tree;
pub use self::template::{Template, TemplateError};

mod detect;
mod dialect;
mod files;
mod glob;
mod known;
mod learn;
mod locales;
mod names;
mod random;
mod template;
mod vocabulary;

/// Segments kept before the rest of a path becomes `{*rest}`.
pub const MAX_SEGMENTS: usize = 14;

/// Bytes a label may have before the rest of the path becomes `{*rest}`.
///
/// A longer one says nothing more to a reader and costs as many bytes in every line of a scrape.
pub const MAX_LABEL_BYTES: usize = 200;

const REST: &str = "/{*rest}";

/// What stands for every value.
const ID: &str = "{id}";

/// Where path labels come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PathMode {
    /// Pinned templates, then detectors and what is learned from traffic.
    #[default]
    Learn,
    /// Pinned templates only.
    Pinned,
    /// Pinned templates, then the path as it came, within the limits.
    Raw,
    /// No paths: everything has one label.
    Off,
}

/// What a path is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name<'a> {
    /// The pinned template with this index.
    Pinned(usize),
    /// What the detectors made of the path.
    Detected(&'a str),
}

/// Names paths. Immutable: the same path always gets the same name.
#[derive(Debug, Default)]
pub struct Namer {
    tree: Tree,
    pinned: Vec<Template>,
    mode: PathMode,
    rules: Rules,
}

impl Namer {
    /// Builds a namer from pinned templates; an exact repetition is ignored.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Conflict`] names two templates that differ only in parameter names.
    pub fn new(templates: &[Template]) -> Result<Self, TemplateError> {
        let mut namer = Self::default();
        for template in templates {
            match namer.tree.insert(template, namer.pinned.len()) {
                Ok(()) => namer.pinned.push(template.clone()),
                Err(taken) => match namer.pinned.get(taken) {
                    Some(same) if same == template => {}
                    other => {
                        let other = other.map_or("", Template::as_str);
                        return Err(TemplateError::Conflict(
                            other.into(),
                            template.as_str().into(),
                        ));
                    }
                },
            }
        }
        Ok(namer)
    }

    /// The same namer in another mode.
    #[must_use]
    pub fn with_mode(self, mode: PathMode) -> Self {
        Self { mode, ..self }
    }

    /// The same namer with other rules for learning.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// The rules for learning.
    pub fn rules(&self) -> Rules {
        if self.mode == PathMode::Raw { Rules::raw() } else { self.rules }
    }

    /// Where names of paths that are not pinned come from.
    pub fn mode(&self) -> PathMode {
        self.mode
    }

    /// The pinned templates, in the order of [`Name::Pinned`].
    pub fn pinned(&self) -> &[Template] {
        &self.pinned
    }

    /// Names a raw path: never decoded, case and trailing slash kept, `//` collapsed.
    ///
    /// Two spellings that may reach different handlers keep different names; what is not a plain
    /// word becomes `{id}`, so that neither secrets nor control characters enter a label.
    ///
    /// # Shape
    ///
    /// `path`: any bytes of a request target before `?`. The result borrows `scratch` and has at
    /// most [`MAX_LABEL_BYTES`]. O(length), no allocation once `scratch` has grown. Never panics.
    pub fn name<'a>(&self, path: &str, scratch: &'a mut String) -> Name<'a> {
        scratch.clear();
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let path = path.get(..end).unwrap_or(path);
        let path = if path.contains("//") {
            collapse_slashes(path, scratch);
            Cow::Owned(std::mem::take(scratch))
        } else {
            Cow::Borrowed(path)
        };
        if !self.pinned.is_empty()
            && let Some(number) = path.strip_prefix('/').and_then(|path| self.tree.find(Some(path)))
        {
            return Name::Pinned(number);
        }
        if self.mode == PathMode::Raw {
            write_name(&path, scratch, push_raw);
        } else {
            detect(&path, scratch);
        }
        Name::Detected(scratch)
    }
}

/// Writes what the detectors make of a path into the empty `out`.
fn detect(path: &str, out: &mut String) {
    if is_rpc(path) {
        out.push_str(path);
    } else if let Some(file) = StaticFile::of(path) {
        write_name(file.folder, out, push_detected);
        out.push_str(REST);
        out.push_str(file.extension);
    } else {
        write_name(path, out, push_detected);
    }
}

fn collapse_slashes(path: &str, out: &mut String) {
    let mut previous = ' ';
    for c in path.chars() {
        if c != '/' || previous != '/' {
            out.push(c);
        }
        previous = c;
    }
}

/// Writes a name for `path` into the empty `out`, segment by segment.
fn write_name(path: &str, out: &mut String, push: fn(&str, &mut String)) {
    let Some(rest) = path.strip_prefix('/') else {
        // `*` of `OPTIONS *`, or a target without a path.
        out.push_str(if path == "*" { "*" } else { "/" });
        return;
    };
    // Folding may turn each segment into `{id}`; the label must not become too long by that.
    let mut folded_bytes = 0;
    for (index, segment) in rest.split('/').enumerate() {
        let before = out.len();
        out.push('/');
        push(segment, out);
        folded_bytes += (out.len() - before).max(1 + ID.len());
        // A last segment may fill the label to the brim; one that another follows may not.
        if index >= MAX_SEGMENTS || folded_bytes > MAX_LABEL_BYTES - REST.len() {
            out.truncate(before);
            out.push_str(REST);
            return;
        }
    }
}

fn push_detected(segment: &str, out: &mut String) {
    match classify(segment) {
        Segment::Word if is_value_behind(out, segment) => out.push_str(ID),
        Segment::Word => out.push_str(segment),
        Segment::Parameter => out.push_str(ID),
        Segment::ParameterThen(suffix) => {
            out.push_str(ID);
            out.push_str(suffix);
        }
    }
}

/// Tells whether a redirect leads to the same path in another spelling: with TLS, on another
/// host, with or without a slash at the end, in other capitals.
///
/// # Shape
///
/// `location`: the value of the field as it came. Never panics.
pub fn is_respelling(path: &str, location: &str) -> bool {
    let without_host = match location.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => location,
    };
    let bare = |path: &str| {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        path.get(..end).unwrap_or(path).trim_end_matches('/').len()
    };
    let (own, other) = (path.get(..bare(path)), without_host.get(..bare(without_host)));
    without_host.starts_with('/')
        && own.zip(other).is_some_and(|(own, other)| own.eq_ignore_ascii_case(other))
}

/// A path for a log: as it came, but what may be a secret or personal is `{id}`.
pub fn without_secrets(path: &str) -> String {
    let segments = path.split('/').map(|segment| if is_secret(segment) { ID } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// As it came, but secrets are hidden here, too, and what a label may not hold is encoded.
fn push_raw(segment: &str, out: &mut String) {
    if is_secret(segment) {
        return out.push_str(ID);
    }
    for byte in segment.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'{' | b'}') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests;
