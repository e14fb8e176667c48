//! What commands ask for: of the running daemon where there is one, else done here.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use super::serve::{Start, serve};
use super::site::Acting;
pub use super::site::Site;
pub use log::{Feed, Followed, Heard, follow_log, log};
pub use look::{detail, history, source_status, status, status_with_usage};
pub use running::{has_daemon, health, rounds};
pub use tokens::{
    Issued, issue_ticket, issue_token, list_tokens, revoke_token, rotate_token, vnc_passwords,
};
pub use wait::reconcile;

use super::chain::{chain, failure};
use super::clock::{Clock, jitter};
use super::converge::Converger;
use super::memory::{Memory, blocking};
use super::notebook::Acts;
use super::operate::{self, PlanAnswer};
use super::orders::{self, Taken};
use super::round::{self, Ask, Known, View};
use super::routes;
use super::steps::SLOW;
use crate::decisions::plan::Reason;
use crate::decisions::report::{Failure, Missing, Report, StepReport};
use crate::decisions::saved::SavedPlan;
use crate::decisions::source::unfinished;
use crate::doors::files;
use crate::doors::source;
use crate::doors::source::git::{self, GitError, Mirror};
use crate::doors::store::Store;
use crate::words::control::AskReconcile;
use crate::words::desired::{Desired, Snapshot};
use crate::words::name::InstanceName;
use crate::words::overrides::Order;
use crate::words::resolve::resolve_on;
pub(super) use running::{daemon, read};

mod log;
mod look;
mod running;
mod tokens;
mod wait;

/// How long a command waits for the store of another.
const STORE_WAIT: Duration = Duration::from_secs(5);
/// How long a round of the daemon may take: images are pulled in it.
const ROUND_PATIENCE: Duration = Duration::from_secs(3_600);

/// Manifests that were read, and what came of them.
#[derive(Debug)]
pub struct Checked {
    /// What they come to, with everything that is wrong with them.
    pub desired: Desired,
    /// The files, as a person would name them.
    pub files: Vec<String>,
}

/// Reads and resolves manifests; no engine, no store. `paths` name files or directories, the configured
/// source when empty. A file is read with the `fleet.yaml` that stands beside its directory. Tokens that are over
/// by `now` are told.
///
/// # Errors
/// When there is nothing to read. What is wrong with a file is among the diagnostics.
pub fn validate(site: &Site, paths: &[PathBuf], now: jiff::Timestamp) -> Result<Checked, Failure> {
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let resolved = |snapshot: &Snapshot| {
        let resolved = resolve_on(snapshot, &site.config, Some(today));
        resolved.map_err(|diagnostics| round::unusable(snapshot, diagnostics))
    };
    let (mut all, mut files) = (Desired::default(), Vec::new());
    let snapshots = if paths.is_empty() {
        vec![round::read_source(site)]
    } else {
        paths.iter().map(|path| read_path(path)).collect()
    };
    for snapshot in snapshots {
        if let Ok(snapshot) = &snapshot {
            let read = snapshot.fleet.iter().chain(&snapshot.manifests);
            files.extend(read.map(|file| file.path.clone()));
            all.commit_issue.clone_from(&snapshot.commit_issue);
        }
        match snapshot.and_then(|snapshot| resolved(&snapshot)) {
            Ok(desired) => {
                all.revision = desired.revision;
                all.specs.extend(desired.specs);
                all.unreadable.extend(desired.unreadable);
                all.diagnostics.extend(desired.diagnostics);
            }
            Err(report) if report.diagnostics.is_empty() => {
                let nothing = Failure {
                    message: "nothing was read".to_owned(),
                    help: None,
                };
                let failure = report.aborted.unwrap_or(nothing);
                return Err(Failure {
                    help: git::help_in_a_hook(),
                    ..failure
                });
            }
            Err(report) => all.diagnostics.extend(report.diagnostics),
        }
    }
    all.diagnostics.sort();
    all.diagnostics.dedup();
    Ok(Checked {
        desired: all,
        files,
    })
}

/// The snapshot of a directory, or of the one file in its directory.
fn read_path(path: &Path) -> Result<Snapshot, Box<Report>> {
    let cwd = std::env::current_dir().unwrap_or_default();
    if let Err(error) = path.metadata() {
        let message = format!("cannot read {}: {error}", path.display());
        let help = Some("name manifests or directories of manifests".to_owned());
        return Err(Box::new(Report::aborted(Failure { message, help })));
    }
    let is_file = path.is_file();
    let dir = match path.parent() {
        Some(parent) if is_file && parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) if is_file => parent,
        _ => path,
    };
    let shown = files::shown(dir, &cwd);
    let mut snapshot = source::dir::read(dir, &shown, &BTreeSet::new())
        .map_err(|error| round::source_failed(&error))?;
    if is_file {
        let wanted = path.file_name();
        snapshot
            .manifests
            .retain(|file| Path::new(&file.path).file_name() == wanted);
        let is_fleet = snapshot
            .fleet
            .as_ref()
            .is_some_and(|f| Path::new(&f.path).file_name() == wanted);
        if snapshot.manifests.is_empty() && !is_fleet {
            let message = format!("{} is no manifest", path.display());
            let help = Some("a manifest's name ends in .yaml or .yml".to_owned());
            return Err(Box::new(Report::aborted(Failure { message, help })));
        }
    }
    Ok(snapshot)
}

/// The plan of a round that nobody performs. A running daemon that was given the same makes it, since it has
/// the store; else it is made here. Absent where the round was aborted: the report says why.
pub async fn dry_run(site: &Site, names: &[InstanceName]) -> (Option<SavedPlan>, Report) {
    match plan_of_daemon(site).await {
        Ok(Some(PlanAnswer { saved, report })) => return (Some(saved.only(names)), report),
        Ok(None) => {}
        Err(failure) => return (None, Report::aborted(failure)),
    }
    let snapshot = match fresh_snapshot(site).await {
        Ok(snapshot) => snapshot,
        Err(report) => return (None, *report),
    };
    match look(site, snapshot, names).await {
        Ok(Looked { view, note, .. }) => {
            let now = jiff::Timestamp::now();
            let saved = SavedPlan::new(view.plan, &view.desired, &view.observed, now);
            let report = Report {
                revision: view.desired.revision,
                commit: view.desired.commit,
                commit_issue: view.desired.commit_issue,
                diagnostics: view.desired.diagnostics,
                notes: view.observed.ground.into_iter().chain(note).collect(),
                ..Report::default()
            };
            (Some(saved.only(names)), report)
        }
        Err(report) => (None, *report),
    }
}

async fn plan_of_daemon(site: &Site) -> Result<Option<PlanAnswer>, Failure> {
    let Some(client) = daemon(site).await? else {
        return Ok(None);
    };
    let health: Value = read(client.get("/health").await)?;
    if health.get("fingerprint").and_then(Value::as_str) != Some(&site.fingerprint()) {
        return Ok(None);
    }
    read(client.get("/v1/plan").await).map(Some)
}

/// What a round of this snapshot would find and do.
async fn look(
    site: &Site,
    snapshot: Snapshot,
    names: &[InstanceName],
) -> Result<Looked, Box<Report>> {
    let desired = round::desired(&snapshot, site)?;
    let engine = site
        .observer()
        .map_err(|error| Box::new(round::engine_away(error)))?;
    let (memory, acts, note) = memory_for_dry_run(site).await;
    let ask = Ask {
        names: names.to_vec(),
        ..Ask::default()
    };
    let acts = Arc::new(acts);
    let known = Known {
        policy: &site.config.reconcile,
        memory: &memory,
        acts: &acts,
        keep: None::<&Arc<Store>>,
        now: jiff::Timestamp::now(),
    };
    let view = round::look(&engine, desired, &known, &ask).await?;
    Ok(Looked {
        view,
        memory,
        acts,
        note,
    })
}

/// What was seen, and what was known of it.
struct Looked {
    view: View,
    memory: Memory,
    acts: Arc<Acts>,
    /// What could not be taken into account.
    note: Option<String>,
}

/// The source as it is now. Of a repository, a copy is fetched that goes again: a look leaves nothing behind.
async fn fresh_snapshot(site: &Site) -> Result<Snapshot, Box<Report>> {
    let Some(git) = &site.config.source.git else {
        return round::read_source(site);
    };
    let dir = tempfile::tempdir().map_err(|error| no_room(&error))?;
    let copy = Mirror::new(dir.path(), git);
    let fetched = Box::pin(copy.fetch()).await;
    match fetched.and_then(|()| copy.read()) {
        Ok(head) => Ok(head.snapshot),
        // What is refused now does not undo what is known from before.
        Err(refused @ (GitError::NotSigned { .. } | GitError::NoPath { .. })) => {
            let known = site.mirror().and_then(|mirror| mirror.known().ok());
            known.ok_or_else(|| round::source_failed(&refused.into()))
        }
        Err(error @ GitError::Disk { .. }) => Err(no_room(&error)),
        Err(error) => Err(round::source_failed(&error.into())),
    }
}

/// A directory for the moment that cannot be made or filled. The disk is to blame, or the variable: neither the repository
/// nor its configuration.
fn no_room(error: &dyn Error) -> Box<Report> {
    let holder = std::env::temp_dir();
    let message = format!(
        "failed to fetch into a temporary directory in {}: {}",
        holder.display(),
        chain(error)
    );
    let help =
        "set TMPDIR to a directory that exists and has room for the repository, or free space";
    let aborted = Report::aborted(Failure {
        message,
        help: Some(help.to_owned()),
    });
    Box::new(aborted.for_want_of(Missing::Source))
}

/// A dry run makes no store where there is none, and waits for none that another process holds.
async fn memory_for_dry_run(site: &Site) -> (Memory, Acts, Option<String>) {
    const WITHOUT: &str =
        "secrets are not compared, and what was done or said earlier does not count";
    let without = |why: String| {
        let note = format!("{why}: {WITHOUT}");
        (Memory::default(), Acts::new(), Some(note))
    };
    if !site.state.is_dir() {
        return without("no state directory yet".to_owned());
    }
    let state = site.state.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let store = Store::open(&state, Duration::ZERO)?;
        let memory = Memory::read(&store, jiff::Timestamp::now())?;
        Ok::<_, crate::doors::store::StoreError>((memory, store.acts()?))
    });
    match opened.await {
        Ok(Ok((memory, acts))) => (memory, acts, None),
        Ok(Err(error)) => without(format!("the store cannot be read ({})", chain(&error))),
        Err(_) => without("reading the store was broken off".to_owned()),
    }
}

/// One round: the running daemon's, else our own.
async fn round_once(site: &Site, ask: AskReconcile) -> Report {
    match daemon(site).await {
        Err(failure) => Report::aborted(failure),
        Ok(Some(client)) => {
            let ask = AskReconcile {
                fingerprint: Some(site.fingerprint()),
                ..ask
            };
            let client = client.with_patience(ROUND_PATIENCE);
            match read(client.post("/v1/reconcile", &ask).await) {
                Ok(report) => report,
                Err(failure) => Report::aborted(failure),
            }
        }
        Ok(None) => own_round(site, ask).await,
    }
}

async fn own_round(site: &Site, ask: AskReconcile) -> Report {
    // Nobody carries on what this process leaves: whoever does not wait for health waits for the steps.
    let wait = ask.wait.map(Duration::from).filter(|wait| !wait.is_zero());
    let ask = match operate::ask(ask) {
        Ok(ask) => ask,
        Err(problem) => {
            return Report::aborted(Failure {
                message: problem.detail,
                help: problem.help,
            });
        }
    };
    match open_to_act(site).await {
        Ok((acting, store)) => Box::pin(round_for(site, acting, store, ask, wait)).await,
        Err(failure) => Report::aborted(failure),
    }
}

/// Everything that a round of our own needs.
async fn open_to_act(site: &Site) -> Result<(Acting, Arc<Store>), Failure> {
    let store = open_store(site).await?;
    let author = blocking(&store, Store::author).await;
    let author = author.map_err(|error| failure(&error))?;
    Ok((site.engine(&author)?, store))
}

async fn round_for(
    site: &Site,
    acting: Acting,
    store: Arc<Store>,
    ask: Ask,
    wait: Option<Duration>,
) -> Report {
    let Acting { fleet, sole: _sole } = acting;
    // Whoever asks for one round, and no more, wants that of what is there now.
    if let Some(mirror) = site.mirror()
        && let Err(error) = Box::pin(mirror.fetch()).await
    {
        return *round::source_failed(&error.into());
    }
    let desired = round::read_source(site).and_then(|snapshot| round::desired(&snapshot, site));
    let desired = match desired {
        Ok(desired) => desired,
        Err(report) => return *report,
    };
    let whole = ask.names.is_empty();
    let policy = site.config.reconcile.clone();
    let mut converger = Converger::new(policy, fleet, store, Clock::system(), jitter);
    if let Some(wait) = wait {
        converger = converger.with_patience(wait.max(SLOW));
    }
    match converger.look(desired, ask, false).await {
        Ok(view) => {
            let shutdown = CancellationToken::new();
            let mut report = Box::pin(converger.perform(&view, false, &shutdown)).await;
            converger.finish(&mut report).await;
            routes::complete(site, &*converger.engine, &view, &mut report).await;
            note(site, &report, whole);
            report
        }
        Err(report) => *report,
    }
}

/// What a single round leaves to the next ones, which a daemon would make by itself.
fn more_to_come(report: &Report) -> Option<String> {
    let waits = |told: &&StepReport| matches!(told.step.reason, Reason::RolloutWaits { .. });
    let waiting = match report.steps.iter().filter(waits).count() {
        0 => return None,
        1 => "1 instance waits".to_owned(),
        more => format!("{more} instances wait"),
    };
    Some(format!(
        "{waiting} for others that come first: run `instanced reconcile` again when those are well, or have the daemon go on, \
         `instanced serve`"
    ))
}

/// Notes which commit is in use, and whether the whole fleet is at it.
fn note(site: &Site, report: &Report, whole: bool) {
    let (Some(mirror), Some(commit)) = (site.mirror(), &report.commit) else {
        return;
    };
    let mut noted = mirror.set_current(&commit.id);
    if whole && unfinished(report).is_none() {
        noted = noted.and_then(|()| mirror.set_applied(&commit.id));
    }
    if let Err(error) = noted {
        tracing::warn!(%error, "the commit that the fleet is at could not be noted");
    }
}

/// Says something of one instance: the running daemon takes it, else it is kept and acted on here.
pub async fn order(site: &Site, name: &InstanceName, order: Order) -> Result<Report, Failure> {
    if let Some(client) = daemon(site).await? {
        let verb = serde_json::to_value(order).unwrap_or_default();
        let path = format!("/v1/instances/{name}/{}", verb.as_str().unwrap_or_default());
        let client = client.with_patience(ROUND_PATIENCE);
        return read(client.post(&path, &serde_json::json!({})).await);
    }
    let (acting, store) = open_to_act(site).await?;
    let now = jiff::Timestamp::now();
    let taken = orders::take(site, &store, name, order, now).await;
    let Taken { ask, already } = taken.map_err(|error| Failure {
        help: error.help().map(str::to_owned),
        ..failure(&error)
    })?;
    let mut report = Box::pin(round_for(site, acting, store, ask, None)).await;
    report.notes.extend(already);
    report.notes.extend(more_to_come(&report));
    Ok(report)
}

/// Opens the store, waiting for whoever holds it.
pub async fn open_store(site: &Site) -> Result<Arc<Store>, Failure> {
    let state = site.state.clone();
    match tokio::task::spawn_blocking(move || Store::open(&state, STORE_WAIT)).await {
        Ok(Ok(store)) => Ok(Arc::new(store)),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => Err(Failure {
            message: "opening the store was broken off".into(),
            help: None,
        }),
    }
}

#[cfg(test)]
mod tests;
