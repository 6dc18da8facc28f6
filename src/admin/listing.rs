//! `/paths`: the names that paths have, as a list that `--routes-file` reads, or as JSON.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::vec::IntoIter;

use crate::config::routes::shape;
use crate::metrics::VERSION;
use crate::metrics::store::{ListedPath, PathKind, PathState, meaning_of};
use crate::paths::Template;

/// Bytes after which a piece is handed over.
const PIECE_BYTES: usize = 64 * 1024;

/// Columns for a template before its comment.
const WIDTH: usize = 40;

/// What a listener knows of paths.
pub(super) struct Listed {
    /// Its name, where there are several.
    pub(super) listener: Option<Arc<str>>,
    pub(super) paths: Vec<ListedPath>,
    /// Places whose words are values; in JSON only.
    pub(super) folds: Vec<String>,
}

/// A list under way: an iterator over its pieces.
pub(super) struct Listing {
    paths: IntoIter<(Option<Arc<str>>, ListedPath)>,
    folds: BTreeSet<String>,
    is_json: bool,
    /// Whose the last path was.
    listener: Option<Arc<str>>,
    stage: Stage,
    /// What a list may hold once: templates that match the same paths.
    pinnable: HashSet<String>,
    /// How many lists are being sent, this one included.
    under_way: Rc<Cell<usize>>,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Begin,
    First,
    Next,
    Done,
}

impl Listing {
    /// Lists the paths of listeners. Where two of one match the same, the pinned one wins.
    pub(super) fn new(lists: Vec<Listed>, is_json: bool, under_way: &Rc<Cell<usize>>) -> Self {
        let is_pin =
            |path: &ListedPath| path.kind == PathKind::Pinned && path.state != PathState::Retired;
        let (mut paths, mut folds) = (Vec::new(), BTreeSet::new());
        for list in lists {
            let (pinned, others): (Vec<_>, Vec<_>) = list.paths.into_iter().partition(is_pin);
            let of_list = pinned.into_iter().chain(others);
            paths.extend(of_list.map(|path| (list.listener.clone(), path)));
            folds.extend(list.folds);
        }
        under_way.set(under_way.get() + 1);
        Self {
            paths: paths.into_iter(),
            folds,
            is_json,
            listener: None,
            stage: Stage::Begin,
            pinnable: HashSet::new(),
            under_way: Rc::clone(under_way),
        }
    }

    fn advance(&mut self, out: &mut String) {
        if self.stage == Stage::Begin {
            self.stage = Stage::First;
            return if self.is_json { out.push_str("{\"paths\":[") } else { self.begin_text(out) };
        }
        match self.paths.next() {
            Some((listener, path)) if self.is_json => self.json(out, listener.as_deref(), &path),
            Some((listener, path)) => {
                if let Some(name) = listener.as_deref().filter(|_| listener != self.listener) {
                    let _ = writeln!(out, "# listener {name}");
                }
                self.listener = listener;
                self.text(out, &path);
            }
            None => {
                if self.is_json {
                    // Writing to a String cannot fail.
                    let _ = writeln!(out, "\n],\"folds\":{}}}", serde_json::json!(self.folds));
                }
                self.stage = Stage::Done;
            }
        }
    }

    fn begin_text(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "# redcar {VERSION}: {} names of paths. Save this as a file for --routes-file to pin \
             them.\n{:WIDTH$} # kind, state, requests",
            self.paths.len(),
            "# template"
        );
    }

    fn text(&mut self, out: &mut String, path: &ListedPath) {
        let name = &*path.template;
        let is_pinnable = path.state != PathState::Retired
            && name.parse::<Template>().is_ok()
            && self.pinnable.insert(shape(name));
        // What cannot be pinned, or is already, is for the reader only.
        let name = if is_pinnable { name.to_owned() } else { format!("# {name}") };
        let (kind, state) = (kind(path.kind), state(path.state));
        let meaning = meaning_of(&path.template).map(|m| format!(": {m}")).unwrap_or_default();
        let _ = writeln!(out, "{name:WIDTH$} # {kind}, {state}, {}{meaning}", path.hits);
    }

    fn json(&mut self, out: &mut String, listener: Option<&str>, path: &ListedPath) {
        out.push_str(if self.stage == Stage::First { "\n" } else { ",\n" });
        self.stage = Stage::Next;
        let mut entry = serde_json::json!({
            "template": &*path.template,
            "kind": kind(path.kind),
            "state": state(path.state),
            "hits": path.hits,
            "since": path.since_seconds,
        });
        if let (Some(listener), Some(entry)) = (listener, entry.as_object_mut()) {
            entry.insert("listener".to_owned(), listener.into());
        }
        let _ = write!(out, "{entry}");
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.under_way.set(self.under_way.get() - 1);
    }
}

impl Iterator for Listing {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut out = String::new();
        while out.len() < PIECE_BYTES && self.stage != Stage::Done {
            self.advance(&mut out);
        }
        if out.is_empty() { None } else { Some(out) }
    }
}

fn kind(kind: PathKind) -> &'static str {
    match kind {
        PathKind::Pinned => "pinned",
        PathKind::Learned => "learned",
        PathKind::Reserved => "reserved",
    }
}

fn state(state: PathState) -> &'static str {
    match state {
        PathState::Provisional => "provisional",
        PathState::Published => "published",
        PathState::Folded => "folded",
        PathState::Retired => "retired",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(template: &str, kind: PathKind) -> ListedPath {
        let since_seconds = Some(1_764_000_000);
        let (template, state) = (template.into(), PathState::Published);
        ListedPath { template, kind, state, hits: 7, since_seconds }
    }

    fn whole(paths: &[ListedPath], is_json: bool) -> String {
        let under_way = Rc::default();
        let folds = vec!["/a/{id}".to_owned()];
        let list = Listed { listener: None, paths: paths.to_vec(), folds };
        let text = Listing::new(vec![list], is_json, &under_way).collect();
        assert_eq!(under_way.get(), 0);
        text
    }

    #[test]
    fn a_list_as_text_is_a_routes_file() {
        let paths = [
            listed("/a/{id}", PathKind::Learned),
            listed("/a/{name}", PathKind::Pinned),
            ListedPath { state: PathState::Retired, ..listed("/b/{c}", PathKind::Pinned) },
            listed("/\u{e9}\"", PathKind::Learned),
            listed("/{id}.js", PathKind::Learned),
            listed("_OTHER", PathKind::Reserved),
        ];
        let text = whole(&paths, false);
        let pinned: Vec<_> = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or("").trim())
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(pinned, ["/a/{name}", "/{id}.js"]);
        assert!(text.contains("# reserved, published, 7: came after --max-paths"), "{text}");
        assert!(text.contains("# _OTHER") && text.contains("# pinned, published, 7\n"), "{text}");
    }

    #[test]
    fn a_list_as_json_has_everything() {
        for count in [0, 1, 3000] {
            let paths: Vec<_> =
                (0..count).map(|n| listed(&format!("/{n}\""), PathKind::Learned)).collect();
            let value: serde_json::Value =
                serde_json::from_str(&whole(&paths, true)).expect("JSON");
            let listed = value["paths"].as_array().expect("an array");
            assert_eq!(value["folds"], serde_json::json!(["/a/{id}"]));
            assert_eq!(listed.len(), count);
            assert!(listed.iter().all(|path| path["kind"] == "learned" && path["hits"] == 7));
            assert!(listed.iter().all(|path| path["since"] == 1_764_000_000));
        }
    }
}
