//! What can be tuned.

/// The numbers that learning depends on, chosen by the evaluation in `benches/paths`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rules {
    /// Uncommon words that a node names without further evidence.
    pub free_words: u32,
    /// The same below a collection, such as `/users`: there, words are rather values.
    pub free_words_below_collection: u32,
    /// Uncommon words at which a node is looked at, and folds if most came only once.
    pub fold_words: u32,
    /// The same below a collection.
    pub fold_words_below_collection: u32,
    /// Of the uncommon words, how many must have come only once to fold: percent.
    pub once_percent: u32,
    /// Requests with which an uncommon word is named among many that come again.
    pub named_hits: u32,
    /// Children at which a node folds whatever they are.
    pub max_children: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            free_words: 8,
            free_words_below_collection: 3,
            fold_words: 20,
            fold_words_below_collection: 5,
            once_percent: 50,
            named_hits: 3,
            max_children: 300,
        }
    }
}

impl Rules {
    /// Every word is named at once, and no node folds.
    pub fn raw() -> Self {
        Self {
            free_words: u32::MAX,
            free_words_below_collection: u32::MAX,
            fold_words: u32::MAX,
            fold_words_below_collection: u32::MAX,
            max_children: u32::MAX,
            ..Self::default()
        }
    }
}
