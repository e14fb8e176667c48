//! Where a command runs: the configuration, and what the command line says otherwise.

use std::env;
use std::path::{Path, PathBuf};

use super::Globals;
use crate::daemon::ops::Site;
use crate::decisions::checkup::facts::Configured;
use crate::decisions::report::Failure;
use crate::decisions::status::{InstancePhase, InstanceStatus};
use crate::doors::files::{LoadedConfig, default_config, load_config, read_text, shown};
use crate::face::diagnostics::{self, github, junit, sarif};
use crate::face::output::{Format, Output};
use crate::words::config::Source;
use crate::words::diagnostic::Diagnostic;
use crate::words::name::InstanceName;

/// Finds it. `None` when the configuration cannot be used, which is told by then.
pub(super) fn find(globals: &Globals, out: &mut Output) -> Result<Option<Site>, Failure> {
    let cwd = working_directory()?;
    let loaded = match load_config(globals.config.as_deref(), &cwd) {
        Ok(loaded) => loaded,
        Err(error) => {
            tell(&error.diagnostics(), out);
            return Ok(None);
        }
    };
    Ok(Some(settled(loaded, globals, &cwd)))
}

/// The same where the configuration cannot be used: then every key has its default, and what is wrong is told beside it.
pub(super) fn find_anyhow(globals: &Globals) -> Result<(Site, Configured), Failure> {
    let cwd = working_directory()?;
    let (loaded, diagnostics) = match load_config(globals.config.as_deref(), &cwd) {
        Ok(loaded) => {
            let warnings = loaded.warnings.clone();
            (loaded, warnings)
        }
        Err(error) => (default_config(&cwd), error.diagnostics()),
    };
    let path = loaded.path.as_ref().map(|path| shown(path, &cwd));
    let configured = Configured { path, diagnostics };
    Ok((settled(loaded, globals, &cwd), configured))
}

/// A configuration, with what the command line says otherwise.
fn settled(loaded: LoadedConfig, globals: &Globals, cwd: &Path) -> Site {
    let mut config = loaded.config;
    if let Some(dir) = &globals.instances {
        config.source = Source {
            dir: cwd.join(dir),
            git: None,
        };
    }
    let state = globals
        .state
        .as_ref()
        .map_or(loaded.state, |dir| cwd.join(dir));
    Site {
        config,
        config_path: loaded.path,
        state,
        warnings: loaded.warnings,
    }
}

/// Tells diagnostics, to whomever results are written for.
pub(super) fn tell(diagnostics: &[Diagnostic], out: &mut Output) {
    if diagnostics.is_empty() {
        return;
    }
    match out.format() {
        Format::Human | Format::Markdown => out.tell(diagnostics::draw(diagnostics, |path| {
            read_text(Path::new(path)).ok()
        })),
        Format::Json => out.tell(serde_json::json!({ "diagnostics": diagnostics })),
        Format::Sarif | Format::Junit | Format::Github => report(diagnostics, &[], out),
    }
}

/// The result of `validate`, in a format that is made for such. `sound` are files that nothing is wrong with.
pub(super) fn report(diagnostics: &[Diagnostic], sound: &[String], out: &mut Output) {
    match out.format() {
        Format::Sarif => out.json(&sarif::render(diagnostics)),
        Format::Junit => out.result(junit::render(diagnostics, sound)),
        Format::Github => out.result(github::render(diagnostics)),
        Format::Human | Format::Json | Format::Markdown => {}
    }
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// That no instance has a name.
/// Whether these instances are there, or any where none is named, and it can be told how they stand.
pub(super) fn known(all: &[InstanceStatus], names: &[InstanceName]) -> Result<(), Failure> {
    for name in names {
        if !all.iter().any(|one| one.name == *name) {
            return Err(unknown(name));
        }
    }
    let unseen = all.iter().find(|one| {
        one.phase == InstancePhase::Unknown && (names.is_empty() || names.contains(&one.name))
    });
    unseen.map_or(Ok(()), |one| {
        Err(Failure {
            message: one.reason.clone(),
            help: Some("`instanced doctor` looks closer".to_owned()),
        })
    })
}

pub(super) fn unknown(name: &InstanceName) -> Failure {
    Failure {
        message: format!("there is no instance `{name}`"),
        help: Some("`instanced status` shows them all".to_owned()),
    }
}

pub(super) fn working_directory() -> Result<PathBuf, Failure> {
    env::current_dir().map_err(|error| Failure {
        message: format!("cannot tell the working directory: {error}"),
        help: Some("change to a directory that is there".to_owned()),
    })
}
