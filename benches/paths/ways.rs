//! Other ways to name paths, to compare with.

use std::collections::HashMap;

/// A way of naming paths.
pub(crate) trait Direction {
    /// The label of a path, now.
    fn name(&mut self, path: &str) -> String;
}

/// The path as it is.
pub(crate) struct Raw;

impl Direction for Raw {
    fn name(&mut self, path: &str) -> String {
        path.to_owned()
    }
}

/// Segments with a digit become `?`, as Datadog's tracers quantise URLs by default.
pub(crate) struct Digits;

impl Direction for Digits {
    fn name(&mut self, path: &str) -> String {
        let hide = |s: &str| {
            let has_digit = s.bytes().any(|b| b.is_ascii_digit());
            let is_version = s.len() <= 3 && s.starts_with('v');
            if has_digit && !is_version { "?".to_owned() } else { s.to_owned() }
        };
        path.split('/').map(hide).collect::<Vec<_>>().join("/")
    }
}

/// A trie over the detectors' names; a node with too many children makes them one.
pub(crate) struct Trie {
    limit: usize,
    nodes: Vec<HashMap<String, usize>>,
}

impl Trie {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, nodes: vec![HashMap::new()] }
    }
}

impl Direction for Trie {
    fn name(&mut self, path: &str) -> String {
        let (mut node, mut label) = (0, String::new());
        for segment in path.split('/').skip(1) {
            let folded = self.nodes[node].len() > self.limit;
            let name = if folded { "{id}" } else { segment };
            let known = self.nodes[node].get(name).copied();
            let next = known.unwrap_or(self.nodes.len());
            if known.is_none() {
                self.nodes.push(HashMap::new());
                self.nodes[node].insert(name.to_owned(), next);
            }
            label.push('/');
            label.push_str(name);
            node = next;
        }
        label
    }
}
