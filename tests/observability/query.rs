//! Just enough of `PromQL` to see what a query asks for: whether it is well formed is for Prometheus' own program to say.

use std::collections::{BTreeMap, BTreeSet};

/// What there is: samples by name, with each label's values.
pub type Samples = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// What a query asks for.
#[derive(Debug, Default)]
pub struct Query {
    /// Metrics with their matchers: label, operator, value.
    pub metrics: Vec<(String, Vec<[String; 3]>)>,
    /// Labels that results are grouped or joined by.
    pub groups: Vec<String>,
}

/// What Prometheus itself adds to what it scrapes.
const TARGET: [&str; 2] = ["job", "instance"];
/// Metrics of Prometheus' own, with their labels.
const OTHERS: [(&str, &[&str]); 2] = [
    ("up", &[]),
    ("ALERTS", &["alertname", "alertstate", "severity"]),
];
const KEYWORDS: [&str; 11] = [
    "by",
    "without",
    "on",
    "ignoring",
    "and",
    "or",
    "unless",
    "offset",
    "bool",
    "group_left",
    "group_right",
];

/// Reads figures, in either form.
pub fn samples(figures: &str) -> Samples {
    let mut samples = Samples::new();
    for line in figures.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).expect("a sample");
        let labels = samples.entry(line[..end].to_owned()).or_default();
        for [label, _, value] in matchers(&line[end..]).0 {
            labels.entry(label).or_default().insert(value);
        }
    }
    samples
}

/// Reads `{label="value",…}` at the beginning of a text; also how long it is.
fn matchers(text: &str) -> (Vec<[String; 3]>, usize) {
    let mut found = Vec::new();
    if !text.starts_with('{') {
        return (found, 0);
    }
    let mut at = 1;
    loop {
        let rest = &text[at..];
        let skipped = rest.len() - rest.trim_start_matches([',', ' ', '\n']).len();
        at += skipped;
        if text[at..].starts_with('}') {
            return (found, at + 1);
        }
        let opens = at + text[at..].find('"').expect("a value");
        let label = text[at..opens].trim_end_matches(['=', '~', '!']);
        let operator = &text[at + label.len()..opens];
        let mut ends = opens + 1;
        while !text[ends..].starts_with('"') {
            ends += if text[ends..].starts_with('\\') { 2 } else { 1 };
        }
        let value = text[opens + 1..ends].to_owned();
        found.push([label.trim().to_owned(), operator.to_owned(), value]);
        at = ends + 1;
    }
}

impl Query {
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        let mut at = 0;
        let mut listed = false;
        while at < text.len() {
            let rest = &text[at..];
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let first = rest.chars().next().expect("not at the end");
            if first == '[' {
                at += rest.find(']').expect("a range ends");
            } else if first.is_ascii_digit() {
                // A number, or a duration.
                at += rest
                    .find(|c: char| !is_name(c) && c != '.')
                    .unwrap_or(rest.len());
                continue;
            } else if first == ')' {
                listed = false;
            } else if is_name(first) {
                let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                let (name, after) = rest.split_at(length);
                at += length;
                if KEYWORDS.contains(&name) {
                    let lists = ["by", "without", "on", "ignoring"].contains(&name);
                    listed = lists && after.trim_start().starts_with('(');
                } else if listed {
                    query.groups.push(name.to_owned());
                } else if !after.trim_start().starts_with('(') && !is_aggregation(after) {
                    let (matchers, length) = matchers(after);
                    query.metrics.push((name.to_owned(), matchers));
                    at += length;
                }
                continue;
            }
            at += first.len_utf8();
        }
        query
    }

    /// What it asks for and is not there. `shown` are labels of its results that are shown by name.
    pub fn wrong(&self, samples: &Samples, shown: &[String]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut labels: BTreeSet<&str> = TARGET.into_iter().collect();
        for (name, matchers) in &self.metrics {
            let other = OTHERS.iter().find(|(other, _)| other == name);
            let Some(known) = samples.get(name) else {
                match other {
                    Some((_, more)) => labels.extend(*more),
                    None => wrong.push(format!("there is no `{name}`")),
                }
                continue;
            };
            labels.extend(known.keys().map(String::as_str));
            for [label, operator, value] in matchers {
                if TARGET.contains(&label.as_str()) {
                    continue;
                }
                let Some(values) = known.get(label) else {
                    wrong.push(format!("`{name}` has no label `{label}`"));
                    continue;
                };
                let asked: Vec<&str> = match operator.as_str() {
                    "=" | "!=" => vec![value],
                    _ => value.split('|').collect(),
                };
                let absent = asked.iter().filter(|asked| !values.contains(**asked));
                wrong.extend(absent.map(|value| format!("no `{name}` has {label}=\"{value}\"")));
            }
        }
        if self.metrics.is_empty() {
            wrong.push("it asks for nothing".to_owned());
        }
        let named = self.groups.iter().chain(shown);
        let absent = named.filter(|label| !labels.contains(label.as_str()));
        wrong.extend(absent.map(|label| format!("nothing that it asks for has a label `{label}`")));
        wrong
    }
}

/// `sum by (…) (…)`: what stands before a grouping is a function.
fn is_aggregation(after: &str) -> bool {
    let after = after.trim_start();
    ["by (", "without ("]
        .iter()
        .any(|word| after.starts_with(word))
}
