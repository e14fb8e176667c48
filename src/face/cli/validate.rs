//! `instanced validate`: all problems of all files at once; no engine needed.

use std::path::PathBuf;

use super::site;
use crate::daemon::ops::{self, Checked, Site};
use crate::decisions::report::Failure;
use crate::doors::source::git::reviewed::check_attributes;
use crate::face::exit::Exit;
use crate::face::output::{Format, Output};
use crate::face::style::{Label, paint};
use crate::face::words::count;
use crate::words::diagnostic::{Diagnostic, Severity, Validation};

/// Tell whether the manifests and the configuration are sound, and everything that is wrong with them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced validate                        every manifest of the source
  instanced validate instances.d/bob.yaml   one of them
  instanced validate --format json          for a program; also sarif, junit and github
  instanced validate --strict               warnings are errors

Exits with 1 when there is an error; warnings alone exit with 0.")]
pub(super) struct Args {
    /// Manifests, or directories of them, in place of the source
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

/// Runs it.
pub(super) fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let Checked { desired, files } = ops::validate(site, &args.paths, jiff::Timestamp::now())?;
    let mut diagnostics = site.warnings.clone();
    diagnostics.extend(desired.diagnostics);
    diagnostics.extend(desired.commit_issue);
    diagnostics.extend(attributes(args, site));
    if args.strict {
        let warnings = diagnostics
            .iter_mut()
            .filter(|d| d.severity == Severity::Warning);
        warnings.for_each(|warning| warning.severity = Severity::Error);
    }
    let errors = diagnostics.iter().filter(|d| d.is_error()).count();
    let valid = desired.specs.len();
    match out.format() {
        Format::Human | Format::Markdown => {
            out.say(site::configuration(site));
            tell(&diagnostics, valid, errors, out);
        }
        Format::Json => out.json(&Validation {
            valid: errors == 0,
            manifests: valid + desired.unreadable.len(),
            errors,
            warnings: diagnostics.len() - errors,
            diagnostics,
        }),
        Format::Sarif | Format::Junit | Format::Github => site::report(&diagnostics, &files, out),
    }
    Ok(if errors == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// What makes the files here differ from those that a review shows.
fn attributes(args: &Args, site: &Site) -> Vec<Diagnostic> {
    let mut wrong = if !args.paths.is_empty() {
        let of_paths = args.paths.iter().flat_map(|path| check_attributes(path));
        of_paths.collect()
    } else if site.mirror().is_none() {
        check_attributes(site.source_dir())
    } else {
        // A mirror is read from its objects.
        Vec::new()
    };
    wrong.sort();
    wrong.dedup();
    wrong
}

fn tell(diagnostics: &[Diagnostic], valid: usize, errors: usize, out: &mut Output) {
    site::tell(diagnostics, out);
    if errors > 0 {
        return;
    }
    let ok = paint(Label::Good, "ok");
    match valid {
        0 => out.say(format_args!("{ok}: there are no manifests yet")),
        1 => out.say(format_args!("{ok}: 1 manifest is valid")),
        n => out.say(format_args!("{ok}: {} are valid", count(n, "manifest"))),
    }
}
