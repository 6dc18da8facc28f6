//! What can be tuned.

use super::Folds;

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
    /// The same where most of them are written as programs write names: `chat.postMessage`.
    pub fold_identifiers: u32,
    /// Of the uncommon words, how many must have come only once to fold: percent.
    pub once_percent: u32,
    /// Of the requests for uncommon words, how many must be for ones that came only once, to fold:
    /// percent.
    pub new_percent: u32,
    /// Requests with which an uncommon word is named among many that come again.
    pub named_hits: u32,
    /// Requests with which a word stays one when its siblings fold.
    pub kept_hits: u32,
    /// Extensions at which a place that folds is a store of files.
    pub store_extensions: u32,
    /// The same where most of them are written as people write codes and numbers.
    pub fold_codes: u32,
    /// Whether words that look like values beside others are such from the first on.
    pub knows_alike: bool,
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
            fold_identifiers: 60,
            once_percent: 50,
            new_percent: 25,
            named_hits: 3,
            kept_hits: 4,
            store_extensions: 3,
            fold_codes: 10,
            knows_alike: true,
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
            fold_identifiers: u32::MAX,
            fold_codes: u32::MAX,
            max_children: u32::MAX,
            knows_alike: false,
            ..Self::default()
        }
    }

    /// How a place folds before anything has come.
    pub(super) fn folds(&self) -> Folds {
        Folds { alike: self.knows_alike.then_some(0), ..Folds::default() }
    }
}
