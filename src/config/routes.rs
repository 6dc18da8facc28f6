//! Where pinned templates come from: flags, lists in files and `OpenAPI` documents.
//!
//! Reads the files that the operator named, at the start and again on request; nothing here is
//! reached by a peer.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::net::file;
use crate::paths::{Template, TemplateError};

pub(crate) mod openapi;

/// Everything that pins templates, in the order in which it wins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteSources {
    /// Given one by one.
    pub templates: Vec<Template>,
    /// Lists of templates, one a line.
    pub lists: Vec<PathBuf>,
    /// `OpenAPI` documents.
    pub documents: Vec<Document>,
}

/// Where an `OpenAPI` document is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Document {
    /// In a file.
    File(PathBuf),
    /// With the app itself, at this path or else at a usual one.
    Upstream(Option<String>),
}

impl From<PathBuf> for Document {
    fn from(file: PathBuf) -> Self {
        Self::File(file)
    }
}

impl FromStr for Document {
    type Err = RoutesError;

    fn from_str(text: &str) -> Result<Self, RoutesError> {
        let Some(place) = text.strip_prefix("upstream:") else {
            return Ok(Self::File(text.into()));
        };
        let is_target = |c: char| c.is_ascii_graphic() && c != '#';
        match place {
            "" => Ok(Self::Upstream(None)),
            _ if place.starts_with('/') && place.chars().all(is_target) => {
                Ok(Self::Upstream(Some(place.to_owned())))
            }
            _ => Err(RoutesError::Place(text.to_owned())),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Upstream(place) => write!(f, "upstream:{}", place.as_deref().unwrap_or("")),
        }
    }
}

/// Why the templates cannot be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoutesError {
    /// Two templates on the command line match the same paths.
    #[error("--route: {0}")]
    Flag(TemplateError),
    /// An upstream's document without a path.
    #[error(
        "`{0}`: after `upstream:` comes a path, as in `upstream:/openapi.json`, or nothing for the usual places"
    )]
    Place(String),
    /// A file that cannot be read.
    #[error("cannot read {file}: {reason}")]
    Read {
        /// Which file.
        file: String,
        /// The kernel's words.
        reason: String,
    },
    /// A line, or a whole document, that is wrong.
    #[error("{file}:{line}: {reason}")]
    Line {
        /// Which file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A document without a place to point at.
    #[error("{file}: {reason}")]
    Document {
        /// Which file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl RouteSources {
    /// Whether there is a file that may change while the program runs.
    pub fn has_files(&self) -> bool {
        !self.lists.is_empty() || !self.documents.is_empty()
    }

    /// The places at which the app is asked for its description.
    pub fn upstream_places(&self) -> Vec<Option<String>> {
        let places = self.documents.iter().filter_map(|document| match document {
            Document::Upstream(place) => Some(place.clone()),
            Document::File(_) => None,
        });
        places.collect()
    }

    /// Reads the files and puts all templates together: the first of those that match the same
    /// paths wins. `described` is what the app has said at its places, in their order, if it has.
    ///
    /// Two in flags or lists that differ only by the names of parameters are an error: somebody
    /// wrote both by hand. `OpenAPI` documents may repeat each other and what was pinned by hand.
    ///
    /// # Errors
    ///
    /// [`RoutesError`] with file, line and reason.
    pub fn load(&self, described: &[Vec<Template>]) -> Result<Vec<Template>, RoutesError> {
        let mut described = described.iter();
        let mut merged = Merged::default();
        for template in &self.templates {
            merged.add(template.clone()).map_err(RoutesError::Flag)?;
        }
        for file in &self.lists {
            let text = read(file)?;
            for (index, line) in text.lines().enumerate() {
                let added = parse_line(line).and_then(|t| t.map_or(Ok(()), |t| merged.add(t)));
                added.map_err(|error| RoutesError::Line {
                    file: file.display().to_string(),
                    line: index as u64 + 1,
                    reason: error.to_string(),
                })?;
            }
        }
        for document in &self.documents {
            let templates = match document {
                Document::File(file) => read_document(file)?,
                Document::Upstream(_) => described.next().cloned().unwrap_or_default(),
            };
            for template in templates {
                // One that is known already keeps its first name.
                let _repeated = merged.add(template);
            }
        }
        Ok(merged.templates)
    }
}

fn read_document(file: &Path) -> Result<Vec<Template>, RoutesError> {
    let found = openapi::parse(&read(file)?).map_err(|e| e.in_file(file))?;
    for (path, reason) in &found.left_out {
        let file = file.display();
        tracing::warn!(%file, path, %reason, "a path of the OpenAPI document is left out");
    }
    Ok(found.templates)
}

/// Templates without repetition.
#[derive(Default)]
struct Merged {
    templates: Vec<Template>,
    by_shape: HashMap<String, usize>,
}

impl Merged {
    fn add(&mut self, template: Template) -> Result<(), TemplateError> {
        let next = self.templates.len();
        let index = *self.by_shape.entry(shape(template.as_str())).or_insert(next);
        match self.templates.get(index) {
            None => self.templates.push(template),
            Some(first) if *first == template => {}
            Some(first) => {
                return Err(TemplateError::Conflict(
                    first.as_str().into(),
                    template.as_str().into(),
                ));
            }
        }
        Ok(())
    }
}

/// A template without the names of its parameters: equal for those that match the same paths.
pub fn shape(template: &str) -> String {
    let mut parts = template.split('{');
    let mut out = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (name, text) = part.split_once('}').unwrap_or((part, ""));
        out.push_str(if name.starts_with('*') { "{*}" } else { "{}" });
        out.push_str(text);
    }
    out
}

/// One line of a list: a template, a comment from `#` on, both or nothing.
fn parse_line(line: &str) -> Result<Option<Template>, TemplateError> {
    // A template has no `#`.
    let text = line.split('#').next().unwrap_or("").trim_start_matches('\u{feff}').trim();
    if text.is_empty() { Ok(None) } else { Template::read(text).map(Some) }
}

fn read(path: &Path) -> Result<String, RoutesError> {
    let mut text = String::new();
    let read = file::open(path).and_then(|mut open| open.read_to_string(&mut text));
    read.map(|_bytes| text).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => error.to_string(),
        };
        RoutesError::Read { file: path.display().to_string(), reason }
    })
}

#[cfg(test)]
mod tests;
