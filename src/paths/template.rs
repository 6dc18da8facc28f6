//! Pinned templates: their syntax, and the tree that finds the one that matches a path.
//!
//! A tree of our own, because the router crates refuse `/users/{id}` beside `/users/{*rest}`, or
//! do not go back from a literal that led nowhere.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use foldhash::fast::RandomState;

use crate::paths::{MAX_LABEL_BYTES, dialect};

/// A pinned path template such as `/users/{id}` or `/files/{*rest}`.
///
/// # Source
///
/// The syntax is `OpenAPI` 3.1's path templating, plus `{*rest}` as the last segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Template(Box<str>);

/// Why a template does not parse.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateError {
    /// Every path begins with a slash.
    #[error("`{0}` must begin with `/`, for example `/users/{{id}}`")]
    NoSlash(String),
    /// Longer than a label may be.
    #[error("a template has at most {MAX_LABEL_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    /// A character that may not stand in a label.
    #[error("`{0}` contains {1:?}; templates are visible ASCII without `?`, `#`, `\"` or `\\`")]
    Character(String, char),
    /// Braces that are unbalanced or empty, or `{*rest}` that is not the whole last segment.
    #[error("`{0}`: {1}")]
    Syntax(String, &'static str),
    /// Another framework's syntax, and what to write instead.
    #[error("`{0}`: {1}")]
    Dialect(String, String),
    /// Two templates that match the same paths.
    #[error("`{0}` and `{1}` match the same paths; keep one")]
    Conflict(Box<str>, Box<str>),
}

impl Template {
    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads what people write for the framework that they know: `/users/:id`, `/users/<int:id>`.
    ///
    /// # Errors
    ///
    /// [`TemplateError`], with the right spelling where the meaning is not clear.
    pub fn read(text: &str) -> Result<Self, TemplateError> {
        dialect::read(text)
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if !text.starts_with('/') {
            return Err(TemplateError::NoSlash(text.to_owned()));
        }
        if text.len() > MAX_LABEL_BYTES {
            return Err(TemplateError::TooLong(text.len()));
        }
        let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '\\');
        if let Some(character) = text.chars().find(|c| !allowed(*c)) {
            return Err(TemplateError::Character(text.to_owned(), character));
        }
        let mut segments = text.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            Pattern::parse(segment, is_last)
                .map_err(|reason| TemplateError::Syntax(text.to_owned(), reason))?;
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one segment of a template matches.
#[derive(PartialEq, Eq, Debug)]
enum Pattern {
    /// This text.
    Literal(Box<str>),
    /// These texts in order, with something between each two: `{base}...{head}`.
    Mixed(Vec<Box<str>>),
    /// Anything but nothing.
    Parameter,
    /// The rest of the path, slashes included, but not nothing, before this text: `{*rest}.css`.
    Rest(Box<str>),
    /// The same before a dot and an extension that is not nothing: `{*rest}.{ext}`.
    RestOfFile,
}

impl Pattern {
    fn parse(segment: &str, is_last: bool) -> Result<Self, &'static str> {
        let mut texts: Vec<Box<str>> = Vec::new();
        let mut rest = segment;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, tail) = after.split_once('}').ok_or("a `{` is not closed")?;
            if before.contains('}') || name.contains('{') {
                return Err("braces must not nest, and each `}` needs a `{`");
            }
            if let Some(name) = name.strip_prefix('*') {
                if name.is_empty() {
                    return Err("`{*}` needs a name, for example `{*rest}`");
                }
                let is_end =
                    !tail.contains(['{', '}']) && (tail.is_empty() || tail.starts_with('.'));
                if !is_last || !before.is_empty() || !(is_end || tail == ".{ext}") {
                    return Err("`{*rest}` must be the last segment, with at most an extension");
                }
                return Ok(if is_end { Self::Rest(tail.into()) } else { Self::RestOfFile });
            }
            if name.is_empty() {
                return Err("`{}` needs a name, for example `{id}`");
            }
            if before.is_empty() && !texts.is_empty() {
                return Err("two parameters need a text between them");
            }
            texts.push(before.into());
            rest = tail;
        }
        if rest.contains('}') {
            return Err("braces must not nest, and each `}` needs a `{`");
        }
        if texts.is_empty() {
            return Ok(Self::Literal(segment.into()));
        }
        texts.push(rest.into());
        let is_bare = texts.len() == 2 && texts.iter().all(|text| text.is_empty());
        Ok(if is_bare { Self::Parameter } else { Self::Mixed(texts) })
    }
}

/// Tells whether a segment consists of `texts` with something between each two.
fn matches_mixed(texts: &[Box<str>], segment: &str) -> bool {
    let Some(((first, last), middle)) = texts.split_first().and_then(|(first, rest)| {
        let (last, middle) = rest.split_last()?;
        Some(((first, last), middle))
    }) else {
        return false;
    };
    let inner = segment.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last));
    let Some(mut inner) = inner else { return false };
    for text in middle {
        // From the second byte on: a parameter is never empty.
        let found = inner.get(1..).and_then(|rest| rest.split_once(&**text));
        let Some((_, rest)) = found else { return false };
        inner = rest;
    }
    !inner.is_empty()
}

/// A tree of templates: literal before mixed before parameter before rest.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    literals: HashMap<Box<str>, Tree, RandomState>,
    mixed: Vec<(Vec<Box<str>>, Tree)>,
    parameter: Option<Box<Tree>>,
    /// By what the rest ends in, the longest first.
    rests: Vec<(Box<str>, usize)>,
    rest_of_file: Option<usize>,
    end: Option<usize>,
}

impl Tree {
    /// Adds a template under a number; returns the number of one that matches the same paths.
    pub(crate) fn insert(&mut self, template: &Template, number: usize) -> Result<(), usize> {
        let mut node = self;
        let mut segments = template.segments().peekable();
        while let Some(segment) = segments.next() {
            // A Template's segments have been parsed before.
            let Ok(pattern) = Pattern::parse(segment, segments.peek().is_none()) else { continue };
            node = match pattern {
                Pattern::Literal(text) => node.literals.entry(text).or_default(),
                Pattern::Parameter => node.parameter.get_or_insert_default(),
                Pattern::Mixed(texts) => node.mixed_mut(texts),
                Pattern::Rest(end) => return node.place_rest(end, number),
                Pattern::RestOfFile => return place(&mut node.rest_of_file, number),
            };
        }
        place(&mut node.end, number)
    }

    fn place_rest(&mut self, end: Box<str>, number: usize) -> Result<(), usize> {
        if let Some((_, taken)) = self.rests.iter().find(|(known, _)| *known == end) {
            return Err(*taken);
        }
        let index = self.rests.partition_point(|(known, _)| known.len() >= end.len());
        self.rests.insert(index, (end, number));
        Ok(())
    }

    /// The template whose rest a path is: the one that says the most of its end.
    fn find_rest(&self, path: &str) -> Option<usize> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_file = name.rfind('.').is_some_and(|dot| dot > 0 && dot + 1 < name.len());
        let of_file = self.rest_of_file.filter(|_| is_file);
        let ends = |end: &str| path.len() > end.len() && path.ends_with(end);
        let matching = |(end, _): &&(Box<str>, usize)| ends(end);
        let found = self.rests.iter().find(matching);
        match found {
            Some((end, number)) if !end.is_empty() || of_file.is_none() => Some(*number),
            _ => of_file,
        }
    }

    fn mixed_mut(&mut self, texts: Vec<Box<str>>) -> &mut Self {
        let index = self.mixed.iter().position(|(known, _)| *known == texts);
        let index = index.unwrap_or_else(|| {
            // More text is the more specific pattern.
            let weight = |texts: &[Box<str>]| texts.iter().map(|text| text.len()).sum::<usize>();
            let own = weight(&texts);
            let index = self.mixed.partition_point(|(known, _)| weight(known) >= own);
            self.mixed.insert(index, (texts, Self::default()));
            index
        });
        #[expect(clippy::indexing_slicing, reason = "found or inserted just above")]
        &mut self.mixed[index].1
    }

    /// Finds the template that matches a path, going back from literals that lead nowhere.
    ///
    /// # Shape
    ///
    /// `path` without its first slash. Visits each node at most once. No allocation.
    pub(crate) fn find(&self, path: Option<&str>) -> Option<usize> {
        let Some(path) = path else { return self.end };
        let (segment, below) = match path.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (path, None),
        };
        let literal = self.literals.get(segment).and_then(|node| node.find(below));
        let mixed = || {
            let mut candidates = self.mixed.iter().filter(|(t, _)| matches_mixed(t, segment));
            candidates.find_map(|(_, node)| node.find(below))
        };
        let parameter = || {
            let node = self.parameter.as_ref().filter(|_| !segment.is_empty())?;
            node.find(below)
        };
        literal.or_else(mixed).or_else(parameter).or_else(|| self.find_rest(path))
    }
}

fn place(slot: &mut Option<usize>, number: usize) -> Result<(), usize> {
    if let Some(taken) = *slot {
        return Err(taken);
    }
    *slot = Some(number);
    Ok(())
}
