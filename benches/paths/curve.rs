//! The trade-off: what each setting costs in labels and brings in good names.

use super::plan::Plan;
use super::score::Score;
use super::values::Values;

/// Each line is a setting, as flags of this program: who wants to see more repeats it with them.
const SETTINGS: [&str; 19] = [
    "",
    "--max-paths 100",
    "--max-paths 200",
    "--max-paths 1000",
    "--max-paths 2000",
    "--rule free_words=4 --rule fold_words=10",
    "--rule free_words=16 --rule fold_words=40",
    "--rule free_words=32 --rule fold_words=80",
    "--rule free_words=64 --rule fold_words=160",
    "--rule free_words_below_collection=1 --rule fold_words_below_collection=3",
    "--rule free_words_below_collection=6 --rule fold_words_below_collection=10",
    "--rule free_words_below_collection=12 --rule fold_words_below_collection=20",
    "--rule once_percent=30",
    "--rule once_percent=70",
    "--rule once_percent=90",
    "--rule max_children=100",
    "--rule max_children=1000",
    "--noise 0",
    "--noise 0.2",
];

/// Evaluates a set with every setting, and prints a table in Markdown.
pub(crate) fn print(plan: &Plan, set: &str, values: &mut Values, count: usize) {
    println!("| {set}, {count} requests | labels | homogeneity | completeness | unnamed | flaps |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for setting in SETTINGS {
        let mut plan = plan.clone();
        plan.set(setting.split_whitespace().map(str::to_owned)).unwrap();
        let scores = super::evaluate(&plan, set, values, count);
        let list: Vec<_> = scores.iter().flat_map(|(_, list)| list).map(|(_, s)| *s).collect();
        let name = if setting.is_empty() { "the defaults" } else { setting };
        println!("| {name} | {} |", Score::mean(&list).cells());
    }
    println!();
}
