//! Where pinned templates come from: flags, lists in files and `OpenAPI` documents.
//!
//! Reads the files that the operator named, at the start and again on request; nothing here is
//! reached by a peer.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::net::file;
use crate::paths::{Template, TemplateError};

pub mod openapi;

/// Everything that pins templates, in the order in which it wins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteSources {
    /// Given one by one.
    pub templates: Vec<Template>,
    /// Lists of templates, one a line.
    pub lists: Vec<PathBuf>,
    /// `OpenAPI` documents.
    pub documents: Vec<PathBuf>,
}

/// Why the templates cannot be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoutesError {
    /// Two templates on the command line match the same paths.
    #[error("--route: {0}")]
    Flag(TemplateError),
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

    /// Reads the files and puts all templates together: the first of those that match the same
    /// paths wins.
    ///
    /// Two in flags or lists that differ only by the names of parameters are an error: somebody
    /// wrote both by hand. `OpenAPI` documents may repeat each other and what was pinned by hand.
    ///
    /// # Errors
    ///
    /// [`RoutesError`] with file, line and reason.
    pub fn load(&self) -> Result<Vec<Template>, RoutesError> {
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
        for file in &self.documents {
            let found = openapi::parse(&read(file)?).map_err(|e| e.in_file(file))?;
            for (path, reason) in &found.left_out {
                let file = file.display();
                tracing::warn!(%file, path, %reason, "a path of the OpenAPI document is left out");
            }
            for template in found.templates {
                // One that is known already keeps its first name.
                let _repeated = merged.add(template);
            }
        }
        Ok(merged.templates)
    }
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
