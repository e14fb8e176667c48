//! From the files of a source to what is desired: parse, lay template, defaults and manifest over one
//! another, normalise, check. Every problem of every file is told; a manifest with an error holds its
//! instance and spoils no other.
//!
//! Later layers win: built-in template, the fleet's defaults, the fleet's own template, manifest. Maps
//! merge deeply, lists are replaced whole, `null` takes away what a layer below says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use serde_json::Value;

use super::config::Config;
use super::desired::{AccessLimit, Content, Desired, Snapshot, SourceFile, Unreadable};
use super::diagnostic::{Diagnostic, Problem, Severity};
use super::document::Document;
use super::manifest::Manifest;
use super::name::InstanceName;
use super::origin::Origins;
use super::spec::Spec;
use super::spread::spread;
use super::template;
use super::template::ListedTemplate;
use super::text;

use fleet::{Fleet, Layered, without_nulls};
pub use limit::{access_limits, denied_endpoints};
pub use normalise::auth_url;

mod across;
mod files;
mod fleet;
mod layer;
mod limit;
mod normalise;
mod policy;
#[cfg(test)]
mod tests;

/// Resolves everything that a source says.
///
/// # Errors
/// The diagnostics of `fleet.yaml`, when it cannot be used, or of a source with too many manifests: then nothing can be
/// said of any instance.
pub fn resolve(snapshot: &Snapshot, config: &Config) -> Result<Desired, Vec<Diagnostic>> {
    resolve_on(snapshot, config, None)
}

/// The same, on a day (UTC): tokens of manifests that are over by then are told, too.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_on(
    snapshot: &Snapshot,
    config: &Config,
    today: Option<Date>,
) -> Result<Desired, Vec<Diagnostic>> {
    let (fleet, warnings) = Fleet::read(snapshot.fleet.as_ref())?;
    limit::check_size(snapshot, &fleet, config).map_err(|refused| vec![refused])?;
    let mut desired = Desired {
        revision: snapshot.revision.clone(),
        commit: snapshot.commit.clone(),
        diagnostics: warnings,
        ..Desired::default()
    };
    let ground = Ground {
        fleet,
        config,
        allowed: policy::Allowed::by(config),
        today,
    };
    let names = files::Names::of(&snapshot.manifests);
    let resolved = spread(&snapshot.manifests, |file| {
        let name = names.instance(file)?;
        let resolved = resolve_one(&name, file, &ground);
        Ok::<_, files::Misnamed>((name, resolved))
    });
    let (mut files, mut miswritten) = (BTreeMap::new(), Vec::new());
    for (file, resolved) in snapshot.manifests.iter().zip(resolved) {
        let (name, resolved) = match resolved {
            Ok(resolved) => resolved,
            Err((diagnostic, meant)) => {
                miswritten.extend(meant.map(|name| (name, diagnostic.clone())));
                desired.diagnostics.push(diagnostic);
                continue;
            }
        };
        if desired.names(&name) {
            let limit = match &resolved {
                Ok((spec, ..)) => AccessLimit::of(spec),
                Err((_, limit)) => limit.clone(),
            };
            let diagnostic = Diagnostic::of_file(
                &file.path,
                format!("a second manifest for `{name}`"),
                Some("keep one of the two files"),
            );
            desired.hold(&name, vec![diagnostic]);
            desired.limit(&name, limit);
            continue;
        }
        match resolved {
            Ok((spec, origins, warnings)) => {
                desired.diagnostics.extend(warnings);
                desired.specs.insert(name.clone(), Arc::new(spec));
                desired.origins.insert(name.clone(), origins);
                desired.paths.insert(name.clone(), file.path.clone());
                files.insert(name, file);
            }
            Err((diagnostics, limit)) => {
                desired.hold(&name, diagnostics);
                desired.limit(&name, limit);
            }
        }
    }
    for (name, diagnostic) in miswritten {
        if !desired.names(&name) {
            desired.hold(&name, vec![diagnostic]);
        }
    }
    desired.instance_limit = limit::instances(&desired, &files, config);
    for (name, problems) in across::problems(&desired.specs, config) {
        // Few have such problems: their documents are read again, once, rather than all kept.
        let Some(Ok(document)) = files.get(&name).map(|file| parse(file)) else {
            continue;
        };
        let (problems, claims): (_, Vec<_>) = problems.into_iter().unzip();
        let placed = document.place_all(problems).into_iter();
        let (errors, warnings): (Vec<_>, Vec<_>) = placed.partition(Diagnostic::is_error);
        desired.diagnostics.extend(warnings);
        if !errors.is_empty() {
            desired.contest(&name, claims.into_iter().flatten());
            desired.hold(&name, errors);
        }
    }
    desired.diagnostics.sort();
    desired.diagnostics.dedup();
    Ok(desired)
}

/// What all manifests of a source stand on.
struct Ground<'a> {
    fleet: Fleet,
    config: &'a Config,
    allowed: policy::Allowed,
    today: Option<Date>,
}

impl Ground<'_> {
    /// The manifest on its layers, where its template is known. Without one, only its image can be judged.
    fn lay_over(
        &self,
        said: Value,
        manifest: &Manifest,
        is_known: bool,
    ) -> Result<Layered, Vec<Problem>> {
        let mut problems = Vec::new();
        if is_known {
            match self.fleet.lay_over(said, manifest.template.as_deref()) {
                Ok(layered) => return Ok(layered),
                Err(problem) => problems.push(problem),
            }
        }
        if let Some(image) = &manifest.image {
            policy::image(image, &self.config.policy, &self.allowed, &mut problems);
        }
        Err(problems)
    }
}

/// Why an instance is held, and what its manifest says of access all the same.
type Held = (Vec<Diagnostic>, AccessLimit);
type Resolved = (Spec, Origins, Vec<Diagnostic>);

fn resolve_one(
    name: &InstanceName,
    file: &SourceFile,
    ground: &Ground<'_>,
) -> Result<Resolved, Held> {
    // A file that is no YAML says nothing of access either: what was known last stays.
    let document = parse(file).map_err(|d| (vec![d], AccessLimit::default()))?;
    let broken = || limit::of_broken(&document, Some(&ground.fleet));
    let decoded = document.decode_at::<Manifest>(&[], without_nulls(document.value().clone()));
    let said = decoded.rest(document.value().clone());
    let mut diagnostics = decoded.diagnostics;
    let mut problems = text::problems(document.value(), layer::use_of);
    let manifest = decoded.value;
    problems.extend(
        manifest
            .iter()
            .flat_map(|manifest| layer::problems(&[], manifest)),
    );
    diagnostics.extend(document.place_all(problems));
    // What is said without the faulty fields is checked, too: one look finds everything. A fault must not be reported
    // a second time for what it took away.
    let faulty: Vec<String> = diagnostics
        .iter()
        .map(|found| found.field.clone())
        .collect();
    let is_new = |found: &Diagnostic| !faulty.iter().any(|field| is_about(&found.field, field));
    let Some(manifest) = manifest else {
        return Err((diagnostics, broken()));
    };
    let is_known = !faulty.iter().any(|field| field == "template");
    let layered = match ground.lay_over(said, &manifest, is_known) {
        Ok(layered) => layered,
        Err(problems) => {
            diagnostics.extend(document.place_all(problems).into_iter().filter(is_new));
            return Err((diagnostics, broken()));
        }
    };
    let mut denied = BTreeSet::new();
    let (spec, mut problems) = normalise::normalise(name, &layered, ground.config);
    if let Some(spec) = &spec {
        let denials = policy::problems(spec, &layered.merged, ground.config, &ground.allowed);
        denied = limit::denied(&denials);
        problems.extend(denials);
        problems.extend(
            ground
                .today
                .iter()
                .flat_map(|today| limit::expired(spec, *today)),
        );
    }
    diagnostics.extend(document.place_all(problems).into_iter().filter(is_new));
    match spec {
        Some(spec) if !diagnostics.iter().any(Diagnostic::is_error) => {
            Ok((spec, layered.origins, diagnostics))
        }
        _ => {
            let limit = broken();
            Err((diagnostics, AccessLimit { denied, ..limit }))
        }
    }
}

/// Whether two fields are one, or one within the other.
fn is_about(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    within(one, other) || within(other, one)
}

fn parse(file: &SourceFile) -> Result<Document, Diagnostic> {
    let text = match &file.content {
        Content::Text(text) => text,
        Content::Unreadable(Unreadable { why, help, at }) => {
            let mut told = Diagnostic::of_file(&file.path, why.as_str(), help.as_deref());
            (told.place.line, told.place.column) = *at;
            return Err(told);
        }
        Content::BeingWritten => {
            let waits = Diagnostic::of_file(&file.path, "still being written", None);
            return Err(Diagnostic {
                severity: Severity::Note,
                ..waits
            });
        }
    };
    let document = Document::parse(&file.path, text)?;
    if document.value().is_null() {
        return Err(Diagnostic::of_file(
            &file.path,
            if text.is_empty() {
                "the file is empty"
            } else {
                "the file says nothing"
            },
            Some(
                "write `{}` for an instance of the default template; delete the file to remove it",
            ),
        ));
    }
    Ok(document)
}

/// All templates that manifests may name: those that come with the program, and the fleet's own as far as they can be
/// read.
pub fn templates(snapshot: &Snapshot) -> Vec<ListedTemplate> {
    let own = Fleet::read(snapshot.fleet.as_ref()).map(|(fleet, _)| fleet.templates);
    let own = own.unwrap_or_default().into_iter();
    let own = own.map(|(name, (head, _))| ListedTemplate {
        name,
        description: head.description.unwrap_or_default(),
        built_in: false,
        required_env: head.required_env,
    });
    let built_in = template::built_in().iter().map(ListedTemplate::from);
    built_in.chain(own).collect()
}
