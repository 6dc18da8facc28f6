//! Variables of the environment that look like settings and are none.

use std::collections::BTreeSet;

/// What the names of all settings begin with.
const PREFIX: &str = "REDCAR_";

/// Less alike, a name is no slip of the fingers: a third of the letters may differ.
const ALIKE: f64 = 0.67;

/// A variable that belongs to no flag.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) name: String,
    /// The setting that was probably meant.
    pub(crate) meant: Option<String>,
}

/// Which of `names` begin as settings do but are none of `command` and its sub-commands.
pub(crate) fn unknown(
    command: &clap::Command,
    names: impl Iterator<Item = String>,
) -> Vec<Unknown> {
    let mut known = BTreeSet::new();
    collect(command, &mut known);
    let strange = |name: &String| {
        name.starts_with(PREFIX) && !known.contains(name) && !is_of_kubernetes(name)
    };
    let mut found: Vec<_> = names.filter(strange).map(|name| with_meant(name, &known)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn with_meant(name: String, known: &BTreeSet<String>) -> Unknown {
    let likeness = |known: &String| {
        let [name, known] = [&name, known].map(|name| name.trim_start_matches(PREFIX));
        strsim::normalized_damerau_levenshtein(name, known)
    };
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    Unknown { meant: nearest.filter(|known| likeness(known) >= ALIKE).cloned(), name }
}

fn collect(command: &clap::Command, known: &mut BTreeSet<String>) {
    let twins = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    known.extend(twins.map(str::to_owned));
    for command in command.get_subcommands() {
        collect(command, known);
    }
}

/// Kubernetes sets these in every pod for each Service whose name begins with `redcar`.
fn is_of_kubernetes(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    rest == "PORT"
        || rest.ends_with("SERVICE_HOST")
        || rest.ends_with("_PORT")
        || rest.contains("PORT_")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn a_mistyped_setting_is_found_and_what_kubernetes_sets_is_not() {
        let names = [
            "REDCAR_LITSEN",
            "REDCAR_MAX_PATH",
            "REDCAR_COLOUR",
            "REDCAR_LISTEN",
            "REDCAR_PORT",
            "REDCAR_PORT_9464_TCP_ADDR",
            "REDCAR_SERVICE_HOST",
            "REDCAR_METRICS_SERVICE_PORT_HTTP",
            "REDCAR_METRICS_PORT",
            "PATH",
        ];
        let found = unknown(&Cli::command(), names.map(str::to_owned).into_iter());
        let found: Vec<_> = found.iter().map(|u| (&*u.name, u.meant.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("REDCAR_COLOUR", None),
                ("REDCAR_LITSEN", Some("REDCAR_LISTEN")),
                ("REDCAR_MAX_PATH", Some("REDCAR_MAX_PATHS")),
            ]
        );
    }
}
