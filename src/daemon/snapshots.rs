//! Snapshots of the fleet: taken where engine and store are, and planned from where neither is.
//!
//! Planning from one touches nothing but the manifests: no engine, no store, no socket, no secret.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::chain::failure;
use super::memory::{Memory, blocking};
use super::notebook::Acts;
use super::ops;
use super::round::{self, Ask, Known};
use super::seal::{Sealed, seal};
use super::site::Site;
use crate::decisions::report::{Failure, Report};
use crate::decisions::saved::SavedPlan;
use crate::doors::engine::Observe;
use crate::doors::files;
use crate::doors::store::Store;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Observed};
use crate::words::snapshot::{FORMAT, FleetSnapshot, Remembered, uncompared};

/// The largest snapshot that is read, in bytes: thousands of instances.
const LENGTH_MAX: usize = 64 << 20;

/// Takes one: a running daemon does it, since it has the store; else it is done here.
pub async fn take(site: &Site) -> Result<FleetSnapshot, Failure> {
    if let Some(client) = ops::daemon(site).await? {
        let health: Value = ops::read(client.get("/health").await)?;
        if health.get("fingerprint").and_then(Value::as_str) != Some(&site.fingerprint()) {
            // It holds the store, and a snapshot without what the store knows would lie.
            return Err(Failure {
                message: "the running daemon has another configuration or source than this command was given"
                    .to_owned(),
                help: Some("give the same --config and --instances as the daemon has".to_owned()),
            });
        }
        return ops::read(client.get("/v1/snapshot").await);
    }
    let engine = site.observer()?;
    let now = jiff::Timestamp::now();
    if !site.state.is_dir() {
        let mut taken = record(&engine, site, &Memory::default(), Acts::new(), now).await?;
        taken.notes.push(
            "there was no state directory: secrets are not compared, and what was done or said earlier does not count"
                .to_owned(),
        );
        return Ok(taken);
    }
    let store = ops::open_store(site).await?;
    let read = blocking(&store, move |store| {
        Ok((Memory::read(store, now)?, store.acts()?))
    });
    let (memory, acts) = read.await.map_err(|error| failure(&error))?;
    record(&engine, site, &memory, acts, now).await
}

/// Records what the engine says, beside what the store said.
pub async fn record<O: Observe>(
    engine: &O,
    site: &Site,
    memory: &Memory,
    acts: Acts,
    now: jiff::Timestamp,
) -> Result<FleetSnapshot, Failure> {
    let mut notes = Vec::new();
    let desired = round::read_source(site).and_then(|snapshot| round::desired(&snapshot, site));
    // What is under review may be the very thing that mends the source.
    let mut desired = desired.unwrap_or_else(|report| {
        let why = report.aborted.map_or_else(String::new, |f| f.message);
        notes.push(format!(
            "the host's own source could not be used ({why}): secrets are not compared"
        ));
        Desired::default()
    });
    let contested = desired.contested.values().map(|contest| &contest.spec);
    let specs = desired.specs.values().chain(contested);
    let mut images: BTreeSet<String> = specs.map(|s| s.image.clone()).collect();
    let mut observed = engine.observe(&images).await?;
    // Another revision may go back to what stands: whether its image has moved is asked of those, too.
    let standing = images_of(&observed);
    if !standing.is_subset(&images) {
        images.extend(standing);
        observed = engine.observe(&images).await?;
    }
    desired.admit_incumbents(&observed);
    let sealed = seal(
        &mut desired,
        &observed,
        engine,
        memory.key.as_ref(),
        None::<&Arc<Store>>,
    );
    let sealed = sealed.await.map_err(|error| failure(&error))?;
    let specs = desired
        .specs
        .iter()
        .filter(|(_, spec)| !spec.secrets.is_empty());
    Ok(FleetSnapshot {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        taken: now,
        manager: site.config.manager.clone(),
        rules: site.rules(),
        notes,
        observed,
        remembered: Remembered {
            overrides: memory.overrides.clone(),
            acts,
            removals: memory.removals.clone(),
            protected: memory.protected.clone(),
            released: memory.released.clone(),
        },
        secrets: specs
            .map(|(name, spec)| (name.clone(), spec.secrets.clone()))
            .collect(),
        secrets_unreadable: sealed.unreadable,
    })
}

fn images_of(observed: &Observed) -> BTreeSet<String> {
    let generations = observed.instances.values().flatten();
    let images = generations.filter_map(|generation| match &generation.applied {
        Applied::Spec(spec) => Some(spec.image.clone()),
        Applied::Newer(_) | Applied::Unreadable(_) => None,
    });
    images.collect()
}

/// Reads one, and refuses what is none of this fleet's.
///
/// # Errors
/// When the file cannot be read, is no snapshot, or one of another format or manager.
pub fn read(path: &Path, site: &Site) -> Result<FleetSnapshot, Failure> {
    let again = "take it again, on the host: instanced snapshot --out FILE";
    let wrong = |why: String, help: &str| Failure {
        message: format!("cannot plan from {}: {why}", path.display()),
        help: Some(help.to_owned()),
    };
    let text = files::read_text_within(path, LENGTH_MAX)
        .map_err(|error| wrong(error.problem.to_string(), again))?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| wrong(format!("it is no JSON: {error}"), again))?;
    let format = value.get("format").and_then(Value::as_u64);
    if value.get("observed").is_none() || format.is_none() {
        return Err(wrong("it is no snapshot of a fleet".to_owned(), again));
    }
    if format != Some(u64::from(FORMAT)) {
        let (format, by) = (format.unwrap_or_default(), &value["version"]);
        let why = format!(
            "it is of format {format}, written by instanced {}, and this version ({}) reads format {FORMAT}",
            by.as_str().unwrap_or("of an unknown version"),
            env!("CARGO_PKG_VERSION"),
        );
        return Err(wrong(
            why,
            "let host and CI use the same version of instanced",
        ));
    }
    let snapshot: FleetSnapshot = serde_json::from_value(value)
        .map_err(|error| wrong(format!("it is damaged: {error}"), again))?;
    let (theirs, ours) = (&snapshot.manager, &site.config.manager);
    if theirs != ours {
        let why = format!(
            "it is of the fleet of manager `{theirs}`, and the configuration's is `{ours}`"
        );
        return Err(wrong(why, "give the host's instanced.yaml with --config"));
    }
    Ok(snapshot)
}

/// The plan that a dry run would have made on the host when the snapshot was taken, for the manifests as they are
/// here. Absent where the round was aborted: the report says why.
pub fn dry_run(
    site: &Site,
    snapshot: &FleetSnapshot,
    names: &[InstanceName],
) -> (Option<SavedPlan>, Report) {
    let desired = round::read_source(site).and_then(|source| round::desired(&source, site));
    let mut desired = match desired {
        Ok(desired) => desired,
        Err(report) => return (None, *report),
    };
    desired.admit_incumbents(&snapshot.observed);
    let sealed = Sealed {
        unreadable: snapshot.seal(&mut desired),
        ..Sealed::default()
    };
    let observed = snapshot.observed_for(&desired);
    let mut notes: Vec<String> = observed
        .ground
        .iter()
        .chain(&snapshot.notes)
        .cloned()
        .collect();
    notes.extend(other_rules(site, snapshot));
    notes.extend(blind(&uncompared(&desired, &observed)));

    let Remembered {
        overrides,
        acts,
        removals,
        protected,
        released,
    } = snapshot.remembered.clone();
    let memory = Memory {
        removals,
        protected,
        released,
        overrides,
        ..Memory::default()
    };
    let known = Known {
        policy: &site.config.reconcile,
        memory: &memory,
        acts: &Arc::new(acts),
        keep: None::<&Arc<Store>>,
        now: snapshot.taken,
    };
    let ask = Ask {
        names: names.to_vec(),
        ..Ask::default()
    };
    match round::settle(desired, observed, sealed, &known, &ask) {
        Ok(view) => {
            let saved = SavedPlan::new(view.plan, &view.desired, &view.observed, snapshot.taken);
            let report = Report {
                revision: view.desired.revision,
                diagnostics: view.desired.diagnostics,
                notes,
                ..Report::default()
            };
            (Some(saved.only(names)), report)
        }
        Err(report) => (None, *report),
    }
}

fn other_rules(site: &Site, snapshot: &FleetSnapshot) -> Option<String> {
    let (theirs, ours) = (&snapshot.version, env!("CARGO_PKG_VERSION"));
    if theirs != ours {
        return Some(format!(
            "instanced {theirs} took the snapshot, and this is {ours}: what changed between them may show as changes"
        ));
    }
    (snapshot.rules != site.rules()).then(|| {
        "the configuration is not the one that the snapshot was taken with: the difference may show as changes; \
         give the host's with --config"
            .to_owned()
    })
}

fn blind(names: &[&InstanceName]) -> Option<String> {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "secrets of {} are not compared, and count as unchanged: the snapshot has no hash of them under the key \
             that their containers were made with",
            names.join(", ")
        )
    })
}
