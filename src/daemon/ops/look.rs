//! How instances stand, and what was done to them: as the running daemon says, else as engine and store do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{daemon, look, open_store, read};
use crate::daemon::chain::failure;
use crate::daemon::follow::status_without_daemon;
use crate::daemon::memory::blocking;
use crate::daemon::notebook::Acts;
use crate::daemon::operate;
use crate::daemon::round::{self, View};
use crate::daemon::site::Site;
use crate::daemon::standing;
use crate::daemon::watch::Sampler;
use crate::decisions::plan::Action;
use crate::decisions::report::{Failure, Outcome, Report, StepReport};
use crate::decisions::source::SourceStatus;
use crate::decisions::status::{self, InstanceDetail, InstanceStatus, note_revisions};
use crate::doors::store::Store;
use crate::words::history::Entry;
use crate::words::name::InstanceName;
use crate::words::overrides::Overrides;
use crate::words::watch::AskUsage;

/// How every instance stands.
pub async fn status(site: &Site) -> Result<Vec<InstanceStatus>, Failure> {
    if let Some(client) = daemon(site).await? {
        return read(client.get("/v1/instances").await);
    }
    Ok(own_sight(site).await?.statuses(site))
}

/// How every instance stands, with what it uses. `sampler` remembers the look before, where there was one. Where no
/// daemon runs, nothing was seen recently: then that is not told, as the engine takes seconds for it.
pub async fn status_with_usage(
    site: &Site,
    sampler: &Sampler,
    usage: AskUsage,
) -> Result<Vec<InstanceStatus>, Failure> {
    if let Some(client) = daemon(site).await? {
        let usage = serde_json::to_value(usage).unwrap_or_default();
        let usage = usage.as_str().unwrap_or_default();
        return read(client.get(&format!("/v1/instances?usage={usage}")).await);
    }
    let sight = own_sight(site).await?;
    let mut all = sight.statuses(site);
    sight.add_usage(&mut all, site, sampler, usage).await?;
    Ok(all)
}

/// One instance in full, with what it uses as [`status_with_usage`] tells it.
pub async fn detail(
    site: &Site,
    name: &InstanceName,
    sampler: &Sampler,
    usage: AskUsage,
) -> Result<InstanceDetail, Failure> {
    if let Some(client) = daemon(site).await? {
        let told = client.get(&format!("/v1/instances/{name}")).await;
        let mut detail: InstanceDetail = read(told)?;
        if usage == AskUsage::Now {
            let all = status_with_usage(site, sampler, usage).await?;
            let one = all.into_iter().find(|one| one.name == *name);
            detail.status.usage = one.and_then(|one| one.usage);
        }
        return Ok(detail);
    }
    let sight = own_sight(site).await?;
    let mut all = sight.statuses(site);
    let nobody = Failure::no_instance(name, all.iter().map(|one| &one.name));
    all.retain(|one| one.name == *name);
    sight.add_usage(&mut all, site, sampler, usage).await?;
    let one = all.pop().ok_or(nobody)?;
    let engine = site.observer()?;
    let observed = &sight.view.observed;
    let overrides = sight.overrides.get(name).cloned().unwrap_or_default();
    let history = own_history(site, name).await.unwrap_or_default();
    let detail = standing::detail(
        one,
        observed,
        Some(&engine),
        &overrides,
        history,
        &sight.report,
    );
    Ok(detail.await)
}

/// What is seen where no daemon runs.
struct Sight {
    view: View,
    report: Report,
    acts: Arc<Acts>,
    overrides: BTreeMap<InstanceName, Overrides>,
}

impl Sight {
    fn statuses(&self, site: &Site) -> Vec<InstanceStatus> {
        let (desired, observed) = (&self.view.desired, &self.view.observed);
        let (public, now) = (&site.config.public, jiff::Timestamp::now());
        let mut all = status::status(desired, observed, &self.report, public, now);
        note_revisions(&mut all, &self.acts);
        all
    }

    async fn add_usage(
        &self,
        all: &mut [InstanceStatus],
        site: &Site,
        sampler: &Sampler,
        usage: AskUsage,
    ) -> Result<(), Failure> {
        if usage == AskUsage::Now {
            let (engine, observed) = (site.observer()?, &self.view.observed);
            standing::add_usage(all, observed, &engine, sampler, usage).await;
        }
        Ok(())
    }
}

async fn own_sight(site: &Site) -> Result<Sight, Failure> {
    let nothing = || Failure {
        message: "nothing was read".to_owned(),
        help: None,
    };
    let failed = |report: Box<Report>| report.aborted.unwrap_or_else(nothing);
    let snapshot = round::read_source(site).map_err(failed)?;
    let looked = look(site, snapshot, &[]).await.map_err(failed)?;
    let (view, acts) = (looked.view, looked.acts);
    let overrides = looked.memory.overrides;
    let held = view
        .plan
        .steps
        .iter()
        .filter(|step| step.action == Action::Held);
    let report = Report {
        steps: held
            .map(|step| StepReport {
                step: step.clone(),
                outcome: Outcome::Held,
                millis: 0,
                failure: None,
            })
            .collect(),
        ..Report::default()
    };
    Ok(Sight {
        view,
        report,
        acts,
        overrides,
    })
}

/// What was ever done to an instance, oldest first, as far as it is kept.
pub async fn history(site: &Site, name: &InstanceName) -> Result<Vec<Entry>, Failure> {
    if let Some(client) = daemon(site).await? {
        return read(client.get(&format!("/v1/instances/{name}/history")).await);
    }
    let history = own_history(site, name).await?;
    if history.is_empty() {
        let desired = round::read_source(site).and_then(|read| round::desired(&read, site));
        if let Ok(desired) = desired
            && !desired.names(name)
        {
            return Err(Failure::no_instance(name, desired.all_names()));
        }
    }
    Ok(history)
}

async fn own_history(site: &Site, name: &InstanceName) -> Result<Vec<Entry>, Failure> {
    if !site.state.is_dir() {
        return Ok(Vec::new());
    }
    let (store, of) = (open_store(site).await?, name.clone());
    let read = blocking(&store, move |store: &Store| {
        let acts = store.acts()?.remove(&of).unwrap_or_default();
        Ok::<_, crate::doors::store::StoreError>(standing::history(store.history(&of)?, &acts))
    });
    read.await.map_err(|error| failure(&error))
}

/// At which revision the fleet is, how far behind its source, and why.
pub async fn source_status(site: &Site) -> Result<SourceStatus, Failure> {
    if let Some(client) = daemon(site).await? {
        return read(client.get("/v1/source").await);
    }
    if let Some(mirror) = site.mirror() {
        return status_without_daemon(&mirror).map_err(|error| failure(&error));
    }
    let read = round::read_source(site).map(|snapshot| Report {
        revision: snapshot.revision,
        commit: snapshot.commit,
        commit_issue: snapshot.commit_issue,
        ..Report::default()
    });
    let read = read.unwrap_or_else(|report| *report);
    Ok(operate::of_directory(site, &read))
}
