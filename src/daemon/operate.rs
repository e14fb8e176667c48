//! What the daemon does when asked over its control socket.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::attended::Attended;
use super::chain::chain;
use super::control::{Operations, Outcome};
use super::events::Events;
use super::follow::Syncer;
use super::forward_auth::SharedTable;
use super::memory::{Memory, blocking};
use super::metrics::Metrics;
use super::notebook::{Acts, Notebook as _};
use super::orders::{self, OrderError};
use super::probes::Verdicts;
use super::round::{self, Ask, Known};
use super::site::Site;
use super::snapshots;
use super::tokens::{Rotated, Tokens, TokensError};
use crate::decisions::report::{Failure, Report};
use crate::decisions::saved::SavedPlan;
use crate::decisions::source::SourceStatus;
use crate::decisions::status::{InstanceStatus, status, status_without_engine};
use crate::doors::engine::docker::DockerReader;
use crate::doors::engine::fleet::Fleet;
use crate::doors::engine::{EngineError, ErrorClass, Observe};
use crate::doors::store::{Store, StoreError};
use crate::words::control::{
    AskReconcile, AskTicket, IssueToken, Problem, RotateToken, VncPasswords,
};
use crate::words::name::InstanceName;
use crate::words::observed::Observed;
use crate::words::overrides::Order;
use crate::words::secret;

/// How long whoever asks for the status waits for an engine that hangs.
const STATUS_WAIT: Duration = Duration::from_secs(5);

/// What the next round would do.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
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
    async fn round(&self, ask: Ask) -> Result<Report, Problem> {
        let (reply, report) = oneshot::channel();
        let gone = || Problem::unavailable("the daemon is stopping");
        let asked = AskedRound { ask, reply };
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

    /// How all instances stand, as far as the engine can tell now.
    async fn statuses(&self) -> Result<Vec<InstanceStatus>, Problem> {
        let last = self.last.load_full();
        let snapshot = round::read_source(&self.site);
        let desired = snapshot.and_then(|snapshot| round::desired(&snapshot, &self.site));
        let observed = match self.site.observer() {
            Ok(engine) => {
                let engine = Attended::new(engine, self.verdicts.clone());
                let no_images = BTreeSet::new();
                let looking = Box::pin(engine.observe(&no_images));
                within(STATUS_WAIT, looking).await
            }
            Err(error) => Err(error),
        };
        let desired = desired.map_err(|report| aborted_problem(&report))?;
        let public = &self.site.config.public;
        Ok(match observed {
            Ok(observed) => status(&desired, &observed, &last, public),
            Err(error) => status_without_engine(&desired, &error.to_string(), public),
        })
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
        Ok(json!({
            "live": true,
            "ready": ready,
            "auth": auth,
            "reason": reason,
            "revision": last.revision,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "fingerprint": self.site.fingerprint(),
        }))
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
        Ok(json!({ "record": record, "token": token.expose() }))
    }

    async fn revoke_token(&self, id: String) -> Outcome {
        let revoked = id.clone();
        self.with_tokens(move |tokens| tokens.revoke(&revoked))
            .await?;
        tracing::info!(id, "token revoked");
        Ok(json!({ "id": id }))
    }

    async fn rotate_token(&self, id: String, asked: RotateToken) -> Outcome {
        let now = jiff::Timestamp::now();
        let rotated = self
            .with_tokens(move |tokens| tokens.rotate(&id, &asked, now))
            .await?;
        let Rotated { old, new, token } = rotated;
        tracing::info!(instance = %new.instance, id = new.id, replaced = old.id, "token rotated");
        Ok(json!({ "record": new, "token": token.expose(), "replaced": old }))
    }

    async fn issue_ticket(&self, name: InstanceName, asked: AskTicket) -> Outcome {
        let now = jiff::Timestamp::now();
        let (record, token) = self
            .with_tokens(move |tokens| tokens.ticket(name, asked, now))
            .await?;
        tracing::info!(instance = %record.instance, id = record.id, label = record.label, "ticket issued");
        Ok(json!({ "record": record, "token": token.expose() }))
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
        value(&self.round(ask(asked)?).await?)
    }

    async fn order(&self, name: InstanceName, order: Order) -> Outcome {
        let now = jiff::Timestamp::now();
        let ask = orders::take(&self.site, &self.store, &name, order, now).await;
        let ask = ask.map_err(|error| order_problem(&error))?;
        tracing::info!(instance = %name, ?order, "an operator's order");
        value(&self.round(ask).await?)
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
        let view = round::look(&engine, desired, &known, &Ask::default()).await;
        let view = view.map_err(|report| aborted_problem(&report))?;
        let saved = SavedPlan::new(view.plan, &view.desired, &view.observed, known.now);
        let report = Report {
            revision: view.desired.revision,
            commit: view.desired.commit,
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

    async fn instances(&self) -> Outcome {
        value(&self.statuses().await?)
    }

    async fn instance(&self, name: InstanceName) -> Outcome {
        let all = self.statuses().await?;
        match all.into_iter().find(|status| status.name == name) {
            Some(status) => value(&status),
            None => Err(unknown(&name)),
        }
    }

    async fn vnc_password(&self, name: InstanceName) -> Outcome {
        let passwords = vnc_passwords(&self.site, Some(&self.store), &name).await;
        value(&passwords.map_err(|failure| Problem::unavailable(failure.message))?)
    }
}

/// What can be told of a source that is a directory.
pub fn of_directory(site: &Site, last: &Report) -> SourceStatus {
    SourceStatus {
        source: site.source_named(),
        revision: last.revision.clone(),
        commit: last.commit.clone(),
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
            Problem::invalid(format!("this is no saved plan: {error}"))
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

fn order_problem(error: &OrderError) -> Problem {
    let detail = chain(error);
    match error {
        OrderError::Unknown(_) => Problem::not_found(detail).with_help("see `instanced status`"),
        OrderError::Source(_) => Problem::unavailable(detail),
        OrderError::Store(_) => Problem::internal(detail),
    }
}

/// The VNC passwords that an instance uses now; the store's, where it runs not yet.
///
/// # Errors
/// When neither engine nor store can tell.
pub async fn vnc_passwords(
    site: &Site,
    store: Option<&Arc<Store>>,
    name: &InstanceName,
) -> Result<VncPasswords, Failure> {
    let password = secret_in_use(site, store, name, secret::VNC_PASSWORD).await?;
    let view_password = secret_in_use(site, store, name, secret::VNC_VIEW_PASSWORD).await?;
    Ok(VncPasswords {
        password,
        view_password,
    })
}

/// A secret's first line, which is what counts of a password.
async fn secret_in_use(
    site: &Site,
    store: Option<&Arc<Store>>,
    name: &InstanceName,
    secret: &str,
) -> Result<Option<String>, Failure> {
    let secret: secret::SecretName = secret.parse().expect("a secret's name");
    let used = match site.observer() {
        Ok(engine) => engine.read_secret(name, &secret).await,
        Err(error) => Err(error),
    };
    let value = match (used, store) {
        (Ok(Some(value)), _) => Some(value),
        (used, Some(store)) => {
            let of = name.clone();
            let kept = blocking(store, move |store| store.secret(&of, &secret)).await;
            match (kept, used) {
                (Ok(Some(kept)), _) => Some(kept),
                (_, Err(error)) => return Err(error.into()),
                (Err(error), _) => return Err(super::chain::failure(&error)),
                (Ok(None), Ok(_)) => None,
            }
        }
        (Err(error), None) => return Err(error.into()),
        (Ok(None), None) => None,
    };
    let text = value.map(|value| String::from_utf8_lossy(value.expose()).into_owned());
    Ok(text.and_then(|text| Some(text.lines().next()?.trim_end().to_owned())))
}

/// The observation without images: who is there, and what it was made from.
pub async fn observe(site: &Site) -> Result<Observed, Failure> {
    let engine = site.observer()?;
    Ok(engine.observe(&BTreeSet::new()).await?)
}

async fn within<T>(
    limit: Duration,
    asked: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let answer = tokio::time::timeout(limit, asked).await;
    answer.unwrap_or_else(|_| {
        let detail = format!("no answer within {} s", limit.as_secs());
        Err(EngineError::new("ask the engine", ErrorClass::Away, detail))
    })
}

fn value<T: serde::Serialize>(of: &T) -> Outcome {
    serde_json::to_value(of).map_err(|error| Problem::internal(error.to_string()))
}

fn unknown(name: &InstanceName) -> Problem {
    Problem::not_found(format!("there is no instance `{name}`")).with_help("see `instanced status`")
}

fn aborted_problem(report: &Report) -> Problem {
    match &report.aborted {
        Some(failure) => failure_problem(failure),
        None => Problem::unavailable("the round was aborted"),
    }
}

fn failure_problem(failure: &Failure) -> Problem {
    let problem = Problem::unavailable(&failure.message);
    match &failure.help {
        Some(help) => problem.with_help(help),
        None => problem,
    }
}

fn token_problem(error: &TokensError) -> Problem {
    let detail = chain(error);
    match error {
        TokensError::Label(_) | TokensError::Past(_) | TokensError::Lasting { .. } => {
            Problem::invalid(detail)
        }
        TokensError::LabelTaken { .. }
        | TokensError::NotBearer { .. }
        | TokensError::Expired { .. }
        | TokensError::Replaced { .. }
        | TokensError::Spent(_) => Problem::conflict(detail),
        TokensError::Unknown(_) => {
            Problem::not_found(detail).with_help("see `instanced token list`")
        }
        TokensError::Random(_) | TokensError::Store(_) => {
            // Whoever asked may be a program: the operator shall see it, too.
            tracing::error!("tokens: {detail}");
            Problem::internal(detail)
        }
    }
}
