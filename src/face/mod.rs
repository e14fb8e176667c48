//! Floor 4: the face. What a person or a script meets: the command line, the log, and how the words and
//! decisions of the lower floors look. It decides nothing itself.

pub mod checkup;
pub mod cli;
pub mod clients;
pub mod comparison;
pub mod connect;
pub mod diagnostics;
pub mod diff;
pub mod exit;
pub mod history;
pub mod link;
pub mod output;
pub mod plan;
pub mod report;
pub mod status;
pub mod step;
pub mod style;
pub mod table;
pub mod telemetry;
pub mod text;
pub mod tokens;
pub mod top;
pub mod words;

#[cfg(test)]
mod tests;
