//! How good names are.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::traffic::{Sender, Sent};

/// Which requests got which label.
#[derive(Default)]
pub(crate) struct Tally {
    /// Requests by template and label.
    pairs: HashMap<(usize, String), usize>,
    labels: HashMap<String, usize>,
    noise_labels: HashMap<String, usize>,
    /// The label that a path had last.
    last: HashMap<String, String>,
    real: usize,
    unnamed: usize,
    flaps: usize,
    /// Requests of scanners that the app did not know, and their labels.
    scans: usize,
    scan_labels: HashMap<String, usize>,
}

impl Tally {
    pub(crate) fn add(&mut self, sent: &Sent, label: &str) {
        let is_named = !label.starts_with('_');
        if is_named {
            *self.labels.entry(label.to_owned()).or_default() += 1;
        }
        if sent.sender == Sender::Scanner && sent.status == 404 {
            self.scans += 1;
            if is_named {
                *self.scan_labels.entry(label.to_owned()).or_default() += 1;
            }
        }
        let Some(template) = sent.template() else {
            if is_named {
                *self.noise_labels.entry(label.to_owned()).or_default() += 1;
            }
            return;
        };
        self.real += 1;
        let before = self.last.get(&sent.path);
        if before.is_some_and(|before| before != label && !before.starts_with('_')) {
            self.flaps += 1;
        }
        self.last.insert(sent.path.clone(), label.to_owned());
        if is_named {
            *self.pairs.entry((template, label.to_owned())).or_default() += 1;
        } else {
            self.unnamed += 1;
        }
    }

    /// Prints what costs the most: templates over many labels, labels of many templates.
    pub(crate) fn explain(&self, template: impl Fn(usize) -> String) {
        let mut of_template: BTreeMap<usize, Vec<(usize, &str)>> = BTreeMap::new();
        let mut of_label: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        for ((template, label), count) in &self.pairs {
            of_template.entry(*template).or_default().push((*count, label));
            of_label.entry(label).or_default().push((*count, *template));
        }
        let lost = |counts: &[usize]| counts.iter().sum::<usize>() - counts.iter().max().unwrap();
        let mut split: Vec<_> = of_template.into_iter().collect();
        split.sort_by_key(|(_, l)| usize::MAX - lost(&l.iter().map(|x| x.0).collect::<Vec<_>>()));
        for (number, mut labels) in split.into_iter().take(6) {
            labels.sort_unstable_by(|a, b| b.cmp(a));
            let all: usize = labels.iter().map(|x| x.0).sum();
            println!(
                "  split  {all} {} -> {}: {:?}",
                template(number),
                labels.len(),
                &labels[..labels.len().min(6)]
            );
        }
        let mut mixed: Vec<_> = of_label.into_iter().collect();
        mixed.sort_by_key(|(_, t)| usize::MAX - lost(&t.iter().map(|x| x.0).collect::<Vec<_>>()));
        for (label, mut templates) in mixed.into_iter().take(4) {
            templates.sort_unstable_by(|a, b| b.cmp(a));
            let shown = templates.iter().take(5).map(|(n, t)| format!("{n} {}", template(*t)));
            println!("  mixed  {label}: {}", shown.collect::<Vec<_>>().join(", "));
        }
    }

    pub(crate) fn score(self) -> Score {
        let mut of_label: HashMap<&str, usize> = HashMap::new();
        let mut of_template: HashMap<usize, usize> = HashMap::new();
        for ((template, label), count) in &self.pairs {
            let most = of_label.entry(label).or_default();
            *most = (*most).max(*count);
            let most = of_template.entry(*template).or_default();
            *most = (*most).max(*count);
        }
        let share = |count: usize| count as f64 * 100.0 / self.real.max(1) as f64;
        let only_noise = self.noise_labels.keys().filter(|label| !of_label.contains_key(&***label));
        let under_real = self.scan_labels.values().sum::<usize>();
        Score {
            labels: self.labels.len() as f64,
            noise_labels: only_noise.count() as f64,
            homogeneity: share(of_label.values().sum()),
            completeness: share(of_template.values().sum()),
            unnamed: share(self.unnamed),
            flaps: share(self.flaps),
            scans: under_real as f64 * 100.0 / self.scans.max(1) as f64,
            agreement: 100.0,
        }
    }
}

/// The marks; shares in percent of the requests that are not noise.
#[derive(Clone, Copy)]
pub(crate) struct Score {
    labels: f64,
    /// Labels that only noise has.
    noise_labels: f64,
    /// Requests of the template that their label mostly stands for. `_UNMATCHED` and `_OTHER`
    /// stand for none.
    homogeneity: f64,
    /// Requests under the label that most of their template has.
    completeness: f64,
    /// Requests under `_UNMATCHED` and `_OTHER`.
    unnamed: f64,
    /// Requests whose path had another label before.
    flaps: f64,
    /// Of what scanners asked for in vain, what is under labels and not `_UNMATCHED`.
    scans: f64,
    /// Requests whose label is the one that most replicas give to that path.
    pub(crate) agreement: f64,
}

impl Score {
    pub(crate) const HEADER: &str =
        "  labels   noise  homog.  compl. unnamed   flaps   scans  agreed";

    pub(crate) fn is_at_least(&self, percent: f64) -> bool {
        self.homogeneity >= percent && self.completeness >= percent && self.flaps <= 0.0
    }

    fn fold(list: &[Self], f: impl Fn(&mut dyn Iterator<Item = f64>, bool) -> f64) -> Self {
        let column = |get: fn(&Self) -> f64, low| f(&mut list.iter().map(get), low);
        Self {
            labels: column(|s| s.labels, false),
            noise_labels: column(|s| s.noise_labels, false),
            homogeneity: column(|s| s.homogeneity, true),
            completeness: column(|s| s.completeness, true),
            unnamed: column(|s| s.unnamed, false),
            flaps: column(|s| s.flaps, false),
            scans: column(|s| s.scans, false),
            agreement: column(|s| s.agreement, true),
        }
    }

    pub(crate) fn mean(list: &[Self]) -> Self {
        Self::fold(list, |values, _| values.sum::<f64>() / list.len().max(1) as f64)
    }

    /// Of each column the value that one in so many of the list is worse than.
    ///
    /// Whether low or high is bad depends on the column.
    pub(crate) fn tail(list: &[Self], one_in: usize) -> Self {
        let at = list.len() / one_in;
        Self::fold(list, |values, low| {
            let mut values: Vec<_> = values.collect();
            values.sort_unstable_by(f64::total_cmp);
            let at = if low { at } else { values.len().saturating_sub(at + 1) };
            values.get(at).copied().unwrap_or(0.0)
        })
    }

    /// Tells whether both marks are reached.
    pub(crate) fn reaches(&self, homogeneity: f64, completeness: f64) -> bool {
        self.homogeneity >= homogeneity && self.completeness >= completeness
    }

    /// The cells of a Markdown table: labels, homogeneity, completeness, not named, flaps.
    pub(crate) fn cells(&self) -> String {
        let Self { labels, homogeneity, completeness, unnamed, flaps, .. } = self;
        format!("{labels:.0} | {homogeneity:.1} | {completeness:.1} | {unnamed:.1} | {flaps:.2}")
    }
}

/// The mean of each vendor's APIs: `aws-backup` and `azure.com~compute` are of aws and azure.com.
pub(crate) fn by_vendor(named: &[(String, Score)]) -> Vec<Score> {
    let mut vendors: BTreeMap<&str, Vec<Score>> = BTreeMap::new();
    for (name, score) in named {
        let separator = if name.contains('~') { '~' } else { '-' };
        let vendor = name.split(separator).next().unwrap_or(name);
        vendors.entry(vendor).or_default().push(*score);
    }
    vendors.values().map(|scores| Score::mean(scores)).collect()
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:8.0}{:8.0}{:8.1}{:8.1}{:8.1}{:8.2}{:8.1}{:8.1}",
            self.labels,
            self.noise_labels,
            self.homogeneity,
            self.completeness,
            self.unnamed,
            self.flaps,
            self.scans,
            self.agreement
        )
    }
}
