//! What the daemon does when asked over its control socket.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::attended::Attended;
use super::chain::chain;
use super::control::{Lines, Operations, Outcome};
use super::events::Events;
use super::follow::Syncer;
use super::forward_auth::SharedTable;
use super::memory::Memory;
use super::metrics::Metrics;
use super::notebook::{Acts, Notebook as _};
use super::orders::{self, Taken};
use super::probes::Verdicts;
use super::round::{self, Ask, Known};
use super::round_health::SharedRoundHealth;
use super::site::Site;
use super::snapshots;
use super::spells::Unwell;
use super::steps::InFlight;
use super::tokens::{Rotated, Tokens, TokensError};
use super::vnc;
use super::watch::{self, Sampler};
use crate::decisions::report::{Failure, Report};
use crate::decisions::saved::SavedPlan;
use crate::decisions::source::SourceStatus;
use crate::doors::engine::Observe as _;
use crate::doors::engine::docker::DockerReader;
use crate::doors::engine::fleet::Fleet;
use crate::doors::store::{Store, StoreError};
use crate::words::control::{
    AskReconcile, AskTicket, DaemonHealth, IssueToken, IssuedToken, Problem, RevokedToken,
    RotateToken,
};
use crate::words::name::InstanceName;
use crate::words::observed::Observed;
use crate::words::overrides::Order;
use crate::words::resolve;
use crate::words::watch::{AskLog, AskUsage};
use problems::{
    aborted_problem, engine_problem, failure_problem, order_problem, token_problem, value,
};

mod look;
mod problems;

/// What the next round would do.
#[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct PlanAnswer {
    /// The plan, with the ground that it stands on.
    pub saved: SavedPlan,
    /// What one should know beside.
    pub report: Report,
}

/// A round that somebody waits for.
pub struct AskedRound {
    /// What for.
    pub ask: Ask,
    /// How long to wait for its steps that take long; until they end when absent.
    pub wait: Option<Duration>,
    /// Who waits.
    pub reply: oneshot::Sender<Report>,
}

/// The daemon's side of the control socket.
pub struct Operator {
    /// Where it runs.
    pub site: Site,
    /// Tokens and the table they lead to.
    pub tokens: Arc<Tokens>,
    /// The store.
    pub store: Arc<Store>,
    /// To the loop that runs rounds.
    pub rounds: mpsc::Sender<AskedRound>,
    /// The last round's report.
    pub last: Arc<arc_swap::ArcSwap<Report>>,
    /// For how long instances have not been well, as it found it.
    pub unwell: Arc<Unwell>,
    /// What the daemon's own probes say.
    pub verdicts: Verdicts,
    /// To whoever follows the repository, where the source is one.
    pub syncer: Option<Syncer>,
    /// What happens.
    pub events: Events,
    /// Figures of it.
    pub metrics: Arc<Metrics>,
    /// Who may pass, as the listener knows it.
    pub table: SharedTable,
    /// What instances use.
    pub sampler: Arc<Sampler>,
    /// Steps in progress.
    pub in_flight: InFlight,
    /// Whether rounds complete.
    pub rounds_health: SharedRoundHealth,
    /// When streams end.
    pub ended: CancellationToken,
}

impl Operator {
    async fn with_tokens<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Tokens) -> Result<T, TokensError> + Send + 'static,
    ) -> Result<T, Problem> {
        let tokens = Arc::clone(&self.tokens);
        let result = tokio::task::spawn_blocking(move || call(&tokens)).await;
        match result {
            Ok(done) => done.map_err(|error| token_problem(&error)),
            Err(_) => Err(Problem::internal("a token's change was broken off")),
        }
    }

    /// A round of the loop's, and its report.
    async fn round(&self, ask: Ask, wait: Option<Duration>) -> Result<Report, Problem> {
        let (reply, report) = oneshot::channel();
        let gone = || Problem::unavailable("the daemon is stopping");
        let asked = AskedRound { ask, wait, reply };
        self.rounds.send(asked).await.map_err(|_| gone())?;
        report.await.map_err(|_| gone())
    }

    async fn source_status(&self) -> Result<SourceStatus, Problem> {
        let Some(syncer) = self.syncer.clone() else {
            return Ok(of_directory(&self.site, &self.last.load()));
        };
        let status = tokio::task::spawn_blocking(move || syncer.status()).await;
        let status = status.map_err(|_| Problem::internal("git was broken off"))?;
        status.map_err(|error| Problem::unavailable(error.to_string()))
    }

    /// The engine's fleet, as the daemon sees it.
    fn observer(&self) -> Result<Attended<Fleet<DockerReader>>, Problem> {
        let engine = self.site.observer();
        let engine = engine.map_err(|error| Problem::unavailable(error.to_string()))?;
        Ok(Attended::new(engine, self.verdicts.clone()))
    }

    /// What the store knows.
    async fn recall(&self, now: jiff::Timestamp) -> Result<(Memory, Acts), Problem> {
        let failed = |error: StoreError| Problem::internal(chain(&error));
        let memory = self.store.read(now).await.map_err(failed)?;
        Ok((memory, self.store.acts().await.map_err(failed)?))
    }
}

impl Operations for Operator {
    async fn health(&self) -> Outcome {
        let last = self.last.load();
        let auth = self.table.load().is_some();
        let ready = auth && last.aborted.is_none() && !last.revision.is_empty();
        let aborted = last.aborted.as_ref();
        let reason = match (auth, aborted) {
            (false, _) => {
                Some("nothing is known yet, or the tokens cannot be read: nobody is let in")
            }
            (true, failure) => failure.map(|failure| failure.message.as_str()),
        };
        value(&DaemonHealth {
            live: true,
            ready,
            auth,
            reason: reason.map(str::to_owned),
            revision: last.revision.clone(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint: self.site.fingerprint(),
            rounds: self.rounds_health.now(),
        })
    }

    async fn tokens(&self, instance: Option<InstanceName>) -> Outcome {
        value(
            &self
                .with_tokens(move |tokens| tokens.list(instance.as_ref()))
                .await?,
        )
    }

    async fn issue_token(&self, asked: IssueToken) -> Outcome {
        let now = jiff::Timestamp::now();
        let (record, token) = self
            .with_tokens(move |tokens| tokens.issue(asked, now))
            .await?;
        tracing::info!(instance = %record.instance, id = record.id, label = record.label, "token issued");
        value(&IssuedToken {
            record,
            token: token.expose().to_owned(),
            replaced: None,
        })
    }

    async fn revoke_token(&self, id: String) -> Outcome {
        let revoked = id.clone();
        self.with_tokens(move |tokens| tokens.revoke(&revoked))
            .await?;
        tracing::info!(id, "token revoked");
        value(&RevokedToken { id })
    }

    async fn rotate_token(&self, id: String, asked: RotateToken) -> Outcome {
        let now = jiff::Timestamp::now();
        let rotated = self
            .with_tokens(move |tokens| tokens.rotate(&id, &asked, now))
            .await?;
        let Rotated { old, new, token } = rotated;
        tracing::info!(instance = %new.instance, id = new.id, replaced = old.id, "token rotated");
        value(&IssuedToken {
            record: new,
            token: token.expose().to_owned(),
            replaced: Some(old),
        })
    }

    async fn issue_ticket(&self, name: InstanceName, asked: AskTicket) -> Outcome {
        let now = jiff::Timestamp::now();
        let (record, token) = self
            .with_tokens(move |tokens| tokens.ticket(name, asked, now))
            .await?;
        tracing::info!(instance = %record.instance, id = record.id, label = record.label, "ticket issued");
        value(&IssuedToken {
            record,
            token: token.expose().to_owned(),
            replaced: None,
        })
    }

    async fn reconcile(&self, asked: AskReconcile) -> Outcome {
        if asked
            .fingerprint
            .as_ref()
            .is_some_and(|asked| *asked != self.site.fingerprint())
        {
            let mine = self.site.source_named();
            return Err(Problem::conflict(
                "the running daemon has another configuration or source than this command was given",
            )
            .with_help(format!("the daemon's source is {mine}; give the same --config and --instances")));
        }
        let wait = asked.wait.map(Duration::from);
        value(&self.round(ask(asked)?, wait).await?)
    }

    async fn order(&self, name: InstanceName, order: Order) -> Outcome {
        let now = jiff::Timestamp::now();
        let taken = orders::take(&self.site, &self.store, &name, order, now).await;
        let Taken { ask, already } = taken.map_err(|error| order_problem(&error))?;
        tracing::info!(instance = %name, order = order.as_str(), "an operator's order");
        let mut report = self.round(ask, None).await?;
        report.notes.extend(already);
        value(&report)
    }

    async fn metrics(&self) -> Result<String, Problem> {
        let source = self.source_status().await?;
        let text = self.metrics.encode(&source);
        text.map_err(|error| Problem::internal(error.to_string()))
    }

    fn events(&self) -> Events {
        self.events.clone()
    }

    async fn source(&self) -> Outcome {
        value(&self.source_status().await?)
    }

    async fn sync(&self) -> Outcome {
        let Some(syncer) = &self.syncer else {
            let dir = self.site.source_named();
            let detail = format!("the source is a directory, {dir}: there is nothing to fetch");
            return Err(Problem::conflict(detail).with_help("it is watched, and read at once"));
        };
        let asked = syncer.sync().await;
        asked.map_err(|error| Problem::unavailable(error.to_string()))?;
        self.source().await
    }

    async fn plan(&self) -> Outcome {
        let fetched = match &self.syncer {
            Some(syncer) => syncer.sync().await,
            None => Ok(()),
        };
        let not_fetched = fetched
            .err()
            .map(|error| format!("{error}; what was known stays"));
        let engine = self.observer()?;
        let now = jiff::Timestamp::now();
        let (memory, acts) = self.recall(now).await?;
        let known = Known {
            policy: &self.site.config.reconcile,
            memory: &memory,
            acts: &Arc::new(acts),
            keep: None::<&Arc<Store>>,
            now,
        };
        let desired = round::read_source(&self.site)
            .and_then(|snapshot| round::desired(&snapshot, &self.site))
            .map_err(|report| aborted_problem(&report))?;
        let ask = Ask {
            in_progress: self.in_flight.since(),
            ..Ask::default()
        };
        let view = round::look(&engine, desired, &known, &ask).await;
        let view = view.map_err(|report| aborted_problem(&report))?;
        let saved = SavedPlan::new(view.plan, &view.desired, &view.observed, known.now);
        let report = Report {
            revision: view.desired.revision,
            commit: view.desired.commit,
            commit_issue: view.desired.commit_issue,
            diagnostics: view.desired.diagnostics,
            notes: view
                .observed
                .ground
                .into_iter()
                .chain(not_fetched)
                .collect(),
            ..Report::default()
        };
        value(&PlanAnswer { saved, report })
    }

    async fn snapshot(&self) -> Outcome {
        let engine = self.observer()?;
        let now = jiff::Timestamp::now();
        let (memory, acts) = self.recall(now).await?;
        let taken = snapshots::record(&engine, &self.site, &memory, acts, now).await;
        value(&taken.map_err(|failure| failure_problem(&failure))?)
    }

    async fn instances(&self, usage: AskUsage) -> Outcome {
        value(&self.statuses(usage).await?)
    }

    async fn instance(&self, name: InstanceName) -> Outcome {
        value(&self.detail(&name).await?)
    }

    async fn history(&self, name: InstanceName) -> Outcome {
        value(&self.history_of(&name).await?)
    }

    async fn log(&self, name: InstanceName, ask: AskLog) -> Result<Lines, Problem> {
        let engine = self.observer()?;
        let lines = watch::log(engine, name, ask, self.ended.clone()).await;
        let lines = lines.map_err(|error| engine_problem(&error))?;
        Ok(lines.map_err(|error| engine_problem(&error)).boxed())
    }

    async fn templates(&self) -> Outcome {
        let snapshot = round::read_source(&self.site);
        let snapshot = snapshot.map_err(|report| aborted_problem(&report))?;
        value(&resolve::templates(&snapshot))
    }

    async fn vnc_password(&self, name: InstanceName) -> Outcome {
        let passwords = vnc::passwords(&self.site, Some(&self.store), &name).await;
        value(&passwords.map_err(|failure| Problem::unavailable(failure.message))?)
    }
}

/// What can be told of a source that is a directory.
pub fn of_directory(site: &Site, last: &Report) -> SourceStatus {
    SourceStatus {
        source: site.source_named(),
        revision: last.revision.clone(),
        commit: last.commit.clone(),
        commit_issue: last.commit_issue.clone(),
        ..SourceStatus::default()
    }
}

/// A request for a round, as a round takes it.
///
/// # Errors
/// When its plan is none of ours.
pub fn ask(asked: AskReconcile) -> Result<Ask, Problem> {
    let expect: Option<SavedPlan> = match asked.plan {
        Some(plan) => Some(serde_json::from_value(plan).map_err(|error| {
            Problem::refused(format!("this is no saved plan: {error}"))
                .with_help("save one: instanced reconcile --dry-run --out FILE")
        })?),
        None => None,
    };
    let names = expect.as_ref().map(|saved| saved.names.clone());
    Ok(Ask {
        names: names.unwrap_or(asked.names),
        confirm_prune: asked.confirm_prune,
        expect,
        ..Ask::default()
    })
}

/// The observation without images: who is there, and what it was made from.
pub async fn observe(site: &Site) -> Result<Observed, Failure> {
    let engine = site.observer()?;
    Ok(engine.observe(&BTreeSet::new()).await?)
}
