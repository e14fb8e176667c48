//! Where a command runs: the configuration, and what the command line says otherwise.

use std::env;
use std::path::{Path, PathBuf};

use super::Globals;
use crate::daemon::ops::Site;
use crate::decisions::checkup::facts::Configured;
use crate::decisions::report::Failure;
use crate::decisions::status::{InstancePhase, InstanceStatus};
use crate::doors::files::{LoadedConfig, default_config, load_config, read_text_beside, shown};
use crate::doors::source::git::reviewed::are_in_one_tree;
use crate::face::diagnostics::{self, github, junit, sarif};
use crate::face::output::{Format, Output};
use crate::words::config::Source;
use crate::words::diagnostic::{Diagnostic, Severity};
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
    let (loaded, wrong) = match load_config(globals.config.as_deref(), &cwd) {
        Ok(loaded) => (loaded, None),
        Err(error) => (default_config(&cwd), Some(error.diagnostics())),
    };
    let site = settled(loaded, globals, &cwd);
    let configured = Configured {
        path: site.config_path.as_ref().map(|path| shown(path, &cwd)),
        diagnostics: wrong.unwrap_or_else(|| site.warnings.clone()),
    };
    Ok((site, configured))
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
    let mut warnings = loaded.warnings;
    let found = loaded.path.as_ref().filter(|_| globals.config.is_none());
    warnings.extend(found.and_then(|path| of_the_manifests(path, &config.source, cwd)));
    let state = globals
        .state
        .as_ref()
        .map_or(loaded.state, |dir| cwd.join(dir));
    Site {
        config,
        config_path: loaded.path,
        state,
        warnings,
    }
}

/// That a configuration which nobody named is in the repository of the manifests.
fn of_the_manifests(path: &Path, source: &Source, cwd: &Path) -> Option<Diagnostic> {
    let is_theirs = source.git.is_none() && are_in_one_tree(path, &source.dir);
    is_theirs.then(|| Diagnostic {
        severity: Severity::Warning,
        ..Diagnostic::of_file(
            &shown(path, cwd),
            "the configuration is part of the repository of the manifests, so a commit can change the policy",
            Some("name the host's own with --config; to keep this one, name it with --config as well"),
        )
    })
}

/// The configuration in use, as a line of a plan or a check.
pub(super) fn configuration(site: &Site) -> String {
    match &site.config_path {
        Some(path) => {
            let cwd = env::current_dir().unwrap_or_default();
            format!("configuration: {}", shown(path, &cwd))
        }
        None => "configuration: none, every key has its default".to_owned(),
    }
}

/// Tells diagnostics, to whomever results are written for.
pub(super) fn tell(diagnostics: &[Diagnostic], out: &mut Output) {
    if diagnostics.is_empty() {
        return;
    }
    match out.format() {
        Format::Human | Format::Markdown => out.tell(&diagnostics::draw(diagnostics, |path| {
            read_text_beside(Path::new(path)).ok()
        })),
        Format::Json => {
            out.tell_json(&serde_json::json!({ "diagnostics": diagnostics }));
        }
        Format::Sarif | Format::Junit | Format::Github => report(diagnostics, &[], out),
    }
}

/// The result of `validate`, in a format that is made for such. `sound` are files that nothing is wrong with.
pub(super) fn report(diagnostics: &[Diagnostic], sound: &[String], out: &mut Output) {
    match out.format() {
        Format::Sarif => out.json(&sarif::render(diagnostics)),
        Format::Junit => out.document(&junit::render(diagnostics, sound)),
        Format::Github => out.document(&github::render(diagnostics)),
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

/// Whether these instances are there, or any where none is named, and it can be told how they stand.
pub(super) fn known(all: &[InstanceStatus], names: &[InstanceName]) -> Result<(), Failure> {
    for name in names {
        if !all.iter().any(|one| one.name == *name) {
            return Err(unknown(name, all));
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

/// That no instance has a name.
pub(super) fn unknown(name: &InstanceName, all: &[InstanceStatus]) -> Failure {
    Failure::no_instance(name, all.iter().map(|one| &one.name))
}

pub(super) fn working_directory() -> Result<PathBuf, Failure> {
    env::current_dir().map_err(|error| Failure {
        message: format!("cannot tell the working directory: {error}"),
        help: Some("change to a directory that is there".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_of_one_that_is_not_there_or_cannot_be_seen() {
        let one = |name: &str, phase: &str, reason: &str| -> InstanceStatus {
            serde_json::from_value(serde_json::json!({
                "name": name, "phase": phase, "reason": reason, "endpoints": [],
            }))
            .expect("a status")
        };
        let name = |text: &str| -> InstanceName { text.parse().expect("a name") };
        let all = [one("alice", "running", ""), one("bob", "pending", "")];
        assert_eq!(known(&all, &[]), Ok(()));
        assert_eq!(known(&all, &[name("bob")]), Ok(()));
        let nobody = known(&all, &[name("alice"), name("bbo")]);
        let nobody = nobody.expect_err("there is none");
        assert_eq!(nobody.message, "there is no instance `bbo`");
        let help = nobody.help.unwrap_or_default();
        assert!(help.contains("did you mean `bob`?"), "{help}");
        let away = [one("alice", "unknown", "the engine is away")];
        for names in [&[][..], &[name("alice")]] {
            let failure = known(&away, names).expect_err("nothing is known");
            assert_eq!(failure.message, "the engine is away");
        }
    }
}
