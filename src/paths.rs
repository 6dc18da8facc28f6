//! Path → template: pinned templates first, then stateless detectors.
//!
//! Answers one question: which label does a raw path get? Guards the invariant that no byte a
//! client chooses reaches a label unless it is a plain word. No I/O, no clock, no `await`, no
//! state: what is learned from traffic, and the caps, live in `series`.

use std::borrow::Cow;

use self::detect::{Segment, classify};
use self::template::Tree;
pub use self::template::{Template, TemplateError};

mod detect;
mod template;

/// Segments kept before the rest of a path becomes `{*rest}`.
pub const MAX_SEGMENTS: usize = 10;

/// Bytes a label may have before the rest of the path becomes `{*rest}`.
///
/// A longer one says nothing more to a reader and costs as many bytes in every line of a scrape.
pub const MAX_LABEL_BYTES: usize = 200;

const REST: &str = "/{*rest}";

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
            if namer.pinned.contains(template) {
                continue;
            }
            namer.tree.insert(template, namer.pinned.len()).map_err(|taken| {
                let other = namer.pinned.get(taken).map_or("", Template::as_str);
                TemplateError::Conflict(other.into(), template.as_str().into())
            })?;
            namer.pinned.push(template.clone());
        }
        Ok(namer)
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
        detect_into(&path, scratch);
        Name::Detected(scratch)
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

/// Writes the template that the detectors make of `path` into the empty `out`.
fn detect_into(path: &str, out: &mut String) {
    let Some(rest) = path.strip_prefix('/') else {
        // `*` of `OPTIONS *`, or a target without a path.
        out.push_str(if path == "*" { "*" } else { "/" });
        return;
    };
    for (index, segment) in rest.split('/').enumerate() {
        let before = out.len();
        out.push('/');
        match classify(segment) {
            Segment::Word => out.push_str(segment),
            Segment::Parameter => out.push_str("{id}"),
            Segment::ParameterThen(suffix) => {
                out.push_str("{id}");
                out.push_str(suffix);
            }
        }
        // A last segment may fill the label to the brim; one that another follows may not.
        if index >= MAX_SEGMENTS || out.len() > MAX_LABEL_BYTES - REST.len() {
            out.truncate(before);
            out.push_str(REST);
            return;
        }
    }
}

#[cfg(test)]
mod tests;
