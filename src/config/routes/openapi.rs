//! The paths of an `OpenAPI` document: 3.0, 3.1 or Swagger 2, as JSON or YAML.
//!
//! Only what names a path is kept while reading; a document of many megabytes costs no tree.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;

use super::RoutesError;
use crate::paths::{Template, TemplateError};

/// What a document pins.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of the document, under each server's path.
    pub templates: Vec<Template>,
    /// Paths that are no templates, and why: a document is often not its reader's to mend.
    pub left_out: Vec<(String, TemplateError)>,
}

/// Why a text is not an `OpenAPI` document, and in which line if that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DocumentError {
    /// From 1.
    pub line: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

impl DocumentError {
    fn whole(reason: &str) -> Self {
        Self { line: None, reason: reason.to_owned() }
    }

    pub(super) fn in_file(self, file: &Path) -> RoutesError {
        let (file, reason) = (file.display().to_string(), self.reason);
        match self.line {
            Some(line) => RoutesError::Line { file, line, reason },
            None => RoutesError::Document { file, reason },
        }
    }
}

/// Finds the templates of a document.
///
/// # Errors
///
/// [`DocumentError`] for what is neither JSON nor YAML, not `OpenAPI`, or has no usable path.
///
/// # Source
///
/// `OpenAPI` 3.1 §4.8.8 (paths are appended to the server's URL, path and operation servers
/// override), Swagger 2.0 (`basePath`).
pub fn parse(text: &str) -> Result<Found, DocumentError> {
    let text = text.trim_start_matches('\u{feff}');
    let document: Document =
        if text.trim_start().starts_with('{') { from_json(text)? } else { from_yaml(text)? };
    if document.openapi.is_none() && document.swagger.is_none() {
        return Err(DocumentError::whole(
            "this is no OpenAPI document: it has neither an `openapi` nor a `swagger` field",
        ));
    }
    let Some(Paths(paths)) = document.paths else {
        return Err(DocumentError::whole("the document has no `paths`"));
    };
    let base = document.base_path.map(|base| vec![Server { url: base, variables: None }]);
    let servers = document.servers.or(base.filter(|_| document.swagger.is_some()));
    let mut found = Found::default();
    for (path, item) in &paths {
        let end = path.find(['?', '#']).unwrap_or(path.len());
        let path = path.get(..end).unwrap_or(path);
        for prefix in prefixes(servers.as_deref(), item.as_ref()) {
            let whole = format!("{prefix}{path}");
            // Without a slash of its own it would be glued to the server's last segment.
            let parsed = if path.starts_with('/') {
                whole.parse()
            } else {
                Err(TemplateError::NoSlash(path.to_owned()))
            };
            match parsed {
                Ok(template) => found.templates.push(template),
                Err(reason) => found.left_out.push((whole, reason)),
            }
        }
    }
    if found.templates.is_empty() {
        let reason = found.left_out.first().map(|(_, reason)| format!(": {reason}"));
        let reason = reason.unwrap_or_default();
        return Err(DocumentError::whole(&format!("`paths` has no usable path{reason}")));
    }
    Ok(found)
}

fn from_json(text: &str) -> Result<Document, DocumentError> {
    serde_json::from_str(text).map_err(|error| {
        let all = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let reason = all.strip_suffix(&place).unwrap_or(&all).to_owned();
        DocumentError { line: Some(error.line() as u64).filter(|line| *line > 0), reason }
    })
}

fn from_yaml(text: &str) -> Result<Document, DocumentError> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::FirstWins,
        // The file is the operator's own; large APIs have millions of nodes.
        budget: serde_saphyr::budget! {
            max_depth: 128,
            max_events: 50_000_000,
            max_nodes: 50_000_000,
            max_total_scalar_bytes: 1 << 30,
            // One answer that all operations share is usual.
            enforce_alias_anchor_ratio: false,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let all = error.to_string();
        // The place stands before the reason in what users see.
        let reason = all.split('\n').next().and_then(|line| line.split(" at line ").next());
        let reason = reason.unwrap_or("not YAML").to_owned();
        DocumentError { line: error.location().map(|at| at.line()), reason }
    })
}

#[derive(Deserialize)]
struct Document {
    openapi: Option<IgnoredAny>,
    swagger: Option<IgnoredAny>,
    #[serde(rename = "basePath")]
    base_path: Option<String>,
    servers: Option<Vec<Server>>,
    paths: Option<Paths>,
}

#[derive(Deserialize)]
struct Server {
    url: String,
    variables: Option<BTreeMap<String, Variable>>,
}

#[derive(Deserialize)]
struct Variable {
    default: Option<Scalar>,
}

/// Documents write numbers where the specification wants text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Whole(i64),
    Other(IgnoredAny),
}

/// The keys of `paths` in the order of the document.
struct Paths(Vec<(String, Option<Item>)>);

#[derive(Deserialize)]
struct Item {
    servers: Option<Vec<Server>>,
    get: Option<Operation>,
    put: Option<Operation>,
    post: Option<Operation>,
    delete: Option<Operation>,
    options: Option<Operation>,
    head: Option<Operation>,
    patch: Option<Operation>,
    trace: Option<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    servers: Option<Vec<Server>>,
}

impl Item {
    fn operations(&self) -> impl Iterator<Item = &Operation> {
        let all = [
            &self.get,
            &self.put,
            &self.post,
            &self.delete,
            &self.options,
            &self.head,
            &self.patch,
            &self.trace,
        ];
        all.into_iter().flatten()
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Paths;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map from paths to operations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Paths, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = map.next_key::<String>()? {
                    // Extensions may have values of any kind.
                    if path.starts_with("x-") {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        paths.push((path, map.next_value()?));
                    }
                }
                Ok(Paths(paths))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The URL paths under which a path is served: its operations' servers, else its own, else the
/// document's, else the root.
fn prefixes(of_document: Option<&[Server]>, item: Option<&Item>) -> Vec<String> {
    let of_path = item.and_then(|item| item.servers.as_deref()).or(of_document);
    let mut lists: Vec<Option<&[Server]>> = item
        .iter()
        .flat_map(|item| item.operations())
        .map(|operation| operation.servers.as_deref().or(of_path))
        .collect();
    if lists.is_empty() {
        lists.push(of_path);
    }
    let mut prefixes = Vec::new();
    for list in lists {
        let list = list.unwrap_or_default();
        let none = list.is_empty().then(String::new);
        for prefix in list.iter().map(url_path).chain(none) {
            if !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
        }
    }
    prefixes
}

/// The path of a server's URL, without its last slash.
fn url_path(server: &Server) -> String {
    let mut url = server.url.trim().to_owned();
    for (name, variable) in server.variables.iter().flatten() {
        let default = match &variable.default {
            Some(Scalar::Text(text)) => text.clone(),
            Some(Scalar::Whole(number)) => number.to_string(),
            Some(Scalar::Other(_)) | None => continue,
        };
        url = url.replace(&format!("{{{name}}}"), &default);
    }
    let after_scheme = url.split_once("://").map(|(_, rest)| rest).or(url.strip_prefix("//"));
    let path = match after_scheme {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => url.trim_start_matches("./"),
    };
    let end = path.find(['?', '#']).unwrap_or(path.len());
    let path = path.get(..end).unwrap_or(path).trim_matches('/');
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests;
