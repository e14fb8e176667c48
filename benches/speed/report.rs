//! Figures beside their limits.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// How much.
    pub figure: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it must stay below; nothing for what is not promised.
    pub limit: Option<f64>,
    /// How it is taken again.
    pub command: &'static str,
    /// What it is made of.
    pub note: String,
}

/// Two things timed one right after the other, many times, so that a slow moment of the machine meets both.
#[derive(Debug, Default)]
pub struct Pairs {
    pairs: Vec<(f64, f64)>,
    /// What reading the files took before ours, where that is told.
    files: Vec<f64>,
}

impl Pairs {
    /// Adds what ours and the other took.
    pub fn add(&mut self, ours: Duration, other: Duration) {
        self.pairs.push((millis(ours), millis(other)));
    }

    /// The same, and what reading the files took before ours.
    pub fn add_round(&mut self, ours: Duration, files: Duration, other: Duration) {
        self.add(ours, other);
        self.files.push(millis(files));
    }

    /// The median of the pairs' ratios, and a note with what stands behind it.
    pub fn ratio(&self, other: &str) -> (f64, String) {
        let ratios = sorted(self.pairs.iter().map(|(ours, other)| ours / other));
        let ours = sorted(self.pairs.iter().map(|pair| pair.0));
        let theirs = sorted(self.pairs.iter().map(|pair| pair.1));
        let mut note = format!(
            "{} pairs, half of them {:.2} to {:.2}; median {:.2} ms against {:.2} ms {other}",
            ratios.len(),
            at(&ratios, 0.25),
            at(&ratios, 0.75),
            at(&ours, 0.5),
            at(&theirs, 0.5),
        );
        if !self.files.is_empty() {
            let files = sorted(self.files.iter().copied());
            // Writing to a String cannot fail.
            let _ = write!(note, "; the files before it {:.2} ms", at(&files, 0.5));
        }
        (at(&ratios, 0.5), note)
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// In ascending order.
pub fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// What a share of the values stays below.
pub fn at(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into some hundred values"
    )]
    let index = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[index]
}
