//! The daemon: watches the source, listens to the engine, runs rounds, answers `ForwardAuth` and the control
//! socket, until it is told to stop. Stopping leaves every container running.
//!
//! Events only say that a round is due; every round looks at everything anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attended::Attended;
use super::chain::failure;
use super::clock::Clock;
use super::control::ControlSocket;
use super::converge::{Converger, ENGINE_RETRY};
use super::events::Events;
use super::follow::Syncer;
use super::forward_auth::{self, ForwardAuth};
use super::guards::Guards;
use super::memory::blocking;
use super::metrics::Metrics;
use super::operate::{AskedRound, Operator};
use super::ops::open_store;
use super::probes::Probes;
use super::round::{self, Ask};
use super::routes::Routes;
use super::site::{ActError, Acting, Site};
use super::source::Source;
use super::tokens::Tokens;
use super::webhook::{self, Webhook};
use crate::decisions::access::AccessPolicy;
use crate::decisions::event;
use crate::decisions::plan::Reason;
use crate::decisions::report::{Failure, Outcome, Report};
use crate::decisions::source::being_written;
use crate::doors::engine::Engine;
use crate::doors::engine::docker::Docker;
use crate::doors::engine::fleet::Fleet;
use crate::doors::sole::Sole;
use crate::doors::store::Store;
use crate::words::config::Isolation;
use crate::words::desired::Desired;
use crate::words::diagnostic::Severity;

/// How long to wait before routes that could not be written are tried again.
const ROUTES_RETRY: Duration = Duration::from_secs(5);
/// Several engine events in a row make one round.
const EVENTS_COALESCE: Duration = Duration::from_millis(100);
/// How long a round may go on once the daemon is told to stop.
const GRACE: Duration = Duration::from_secs(8);
/// Asked rounds that may wait.
const ASKED_MAX: usize = 16;

/// Runs until SIGTERM or SIGINT. `ready` is told once everything listens.
///
/// # Errors
/// What keeps the daemon from starting: a port or a store in use, a source that cannot be watched.
pub async fn serve(site: Site, ready: impl FnOnce(&str)) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    let engine_due = Arc::new(Notify::new());
    stop_on_signals(&shutdown)?;
    let listener = forward_auth::bind(site.config.listen.auth).map_err(|error| failure(&error))?;
    let store = open_store(&site).await?;
    let control = ControlSocket::bind(&site.state)
        .await
        .map_err(|error| failure(&error))?;
    let events = Events::new(shutdown.clone());
    let metrics = Arc::new(Metrics::default());
    let source = Source::follow(&site, &events).map_err(|error| failure(&error))?;
    look_on_hangup(source.syncer(), &engine_due)?;
    let webhook = webhook(&site, &source).await?;
    let author = blocking(&store, Store::author).await;
    let author = author.map_err(|error| failure(&error))?;
    let acting = match site.engine(&author) {
        Ok(acting) => Some(acting),
        // One that is away is waited for; a second daemon has no business here.
        Err(ActError::Engine(_)) => None,
        Err(error @ ActError::Sole(_)) => return Err(error.into()),
    };

    if site.config.network.isolation == Isolation::Shared {
        tracing::warn!(
            network = site.config.network.name,
            "isolation is shared: instances reach each other's ports, VNC and MCP without a token among them"
        );
    }
    let guards = Arc::new(Guards::default());
    let uses = Arc::<super::uses::Uses>::default();
    let tokens = Arc::new(Tokens::new(Arc::clone(&store), uses, publisher(&guards)));
    let last = Arc::new(ArcSwap::from_pointee(Report::default()));
    let (rounds, asked) = mpsc::channel(ASKED_MAX);
    let probes = Probes::new(Arc::clone(&engine_due));
    let operator = Arc::new(Operator {
        site: site.clone(),
        tokens: Arc::clone(&tokens),
        store: Arc::clone(&store),
        rounds,
        last: Arc::clone(&last),
        verdicts: probes.verdicts(),
        syncer: source.syncer(),
        events: events.clone(),
        metrics: Arc::clone(&metrics),
    });

    let config = &site.config;
    let policy = AccessPolicy::new(&config.trusted_proxies, &config.origins);
    let listen = listener.local_addr().unwrap_or(config.listen.auth);
    let mut tasks = JoinSet::new();
    let until = shutdown.clone();
    let auth = ForwardAuth::new(policy, guards.table());
    tasks.spawn(async move { auth.serve(listener, until).await });
    if let Some(webhook) = webhook {
        let until = shutdown.clone();
        tasks.spawn(async move { webhook.serve(until).await });
    }
    let until = shutdown.clone();
    let socket = control.path().display().to_string();
    tasks.spawn(async move { control.serve(operator, until).await });
    ready(&format!(
        "watching {}, answering ForwardAuth on {listen}, control socket {socket}",
        site.source_named()
    ));

    let mut rounds = Rounds {
        routes: Routes::new(&site, Arc::clone(&engine_due)),
        probes,
        site,
        store,
        guards,
        tokens,
        source,
        last,
        asked,
        author,
        sole: None,
        converger: None,
        engine_due,
        listening: JoinSet::new(),
        events,
        metrics,
        told: BTreeSet::new(),
        shutdown,
    };
    if let Some(acting) = acting {
        rounds.act_on(acting);
    }
    rounds.run().await;
    while tasks.join_next().await.is_some() {}
    tracing::info!("stopped; every container runs on");
    Ok(())
}

fn stop_on_signals(shutdown: &CancellationToken) -> Result<(), Failure> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signal = signal(kind).map_err(|error| failure(&error))?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            signal.recv().await;
            tracing::info!("stopping");
            shutdown.cancel();
        });
    }
    Ok(())
}

/// The webhook, where the source has one.
async fn webhook(site: &Site, source: &Source) -> Result<Option<Webhook>, Failure> {
    let git = site.config.source.git.as_ref();
    let (Some(hook), Some(syncer)) = (git.and_then(|git| git.webhook.as_ref()), source.syncer())
    else {
        return Ok(None);
    };
    let webhook = Webhook::bind(site.config.listen.admin, &hook.secret_file, syncer).await?;
    let at = webhook.address().map(|at| at.to_string());
    tracing::info!(at, path = webhook::PATH, "listening for webhooks");
    Ok(Some(webhook))
}

/// SIGHUP: whatever the source is, it is looked at now.
fn look_on_hangup(syncer: Option<Syncer>, due: &Arc<Notify>) -> Result<(), Failure> {
    let mut signal = signal(SignalKind::hangup()).map_err(|error| failure(&error))?;
    let due = Arc::clone(due);
    tokio::spawn(async move {
        while signal.recv().await.is_some() {
            match &syncer {
                Some(syncer) => syncer.poke(),
                None => due.notify_one(),
            }
        }
    });
    Ok(())
}

fn publisher(guards: &Arc<Guards>) -> super::tokens::Changed {
    let guards = Arc::clone(guards);
    Box::new(move |tokens| {
        if let Err(error) = tokens {
            tracing::error!(
                "tokens cannot be read, so nobody is let in: {}",
                super::chain::chain(error)
            );
        }
        guards.publish(tokens.ok());
    })
}

/// The loop that runs rounds.
struct Rounds {
    site: Site,
    store: Arc<Store>,
    guards: Arc<Guards>,
    tokens: Arc<Tokens>,
    source: Source,
    last: Arc<ArcSwap<Report>>,
    asked: mpsc::Receiver<AskedRound>,
    author: String,
    /// Absent, like the converger, until the engine was reached for the first time.
    sole: Option<Sole>,
    converger: Option<Converger<Attended<Fleet<Docker>>, Arc<Store>>>,
    /// A round is due: something happened on the engine, or a probe says something else.
    engine_due: Arc<Notify>,
    probes: Probes,
    /// Where files carry them.
    routes: Option<Routes>,
    /// To the engine's events.
    listening: JoinSet<()>,
    /// What happens here, for whoever listens to us.
    events: Events,
    metrics: Arc<Metrics>,
    /// What was said already and still holds: it is not said again every round.
    told: BTreeSet<String>,
    shutdown: CancellationToken,
}

impl Rounds {
    async fn run(&mut self) {
        let mut asked: Option<AskedRound> = None;
        tokio::select! {
            () = self.source.ready() => {}
            () = self.shutdown.cancelled() => {}
        }
        while !self.shutdown.is_cancelled() {
            let ask = asked.as_ref().map(|asked| asked.ask.clone());
            let shutdown = self.shutdown.clone();
            let began = Instant::now();
            let report = tokio::select! {
                report = self.round(ask) => report,
                // Calls in flight may finish, a pull of minutes may not: what it left, the next start mends.
                () = async {
                    shutdown.cancelled().await;
                    tokio::time::sleep(GRACE).await;
                } => {
                    tracing::warn!("stopping in the middle of a round");
                    return;
                }
            };
            let whole = asked
                .as_ref()
                .is_none_or(|asked| asked.ask.names.is_empty());
            let next = self.next_due(&report);
            self.metrics.count(&report, began.elapsed());
            self.tell(&report);
            if whole {
                self.source.note(&report);
            }
            self.last.store(Arc::new(report.clone()));
            if let Some(AskedRound { reply, .. }) = asked.take() {
                // Whoever asked may be gone; the round was run all the same.
                let _ = reply.send(report);
            }
            asked = self.wait(next).await;
        }
    }

    /// Until a round is due. An asked one comes with who asked.
    async fn wait(&mut self, next: Duration) -> Option<AskedRound> {
        let engine_due = Arc::clone(&self.engine_due);
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            asked = self.asked.recv() => asked,
            () = self.source.changed() => None,
            () = async {
                engine_due.notified().await;
                tokio::time::sleep(EVENTS_COALESCE).await;
            } => None,
            () = tokio::time::sleep(next) => {
                if let Err(error) = self.source.rearm() {
                    tracing::warn!("{}", super::chain::chain(&error));
                }
                None
            }
        }
    }

    async fn round(&mut self, asked: Option<Ask>) -> Report {
        let note = match &asked {
            Some(_) => self.source.sync().await,
            None => None,
        };
        let mut report = self.round_as_known(asked).await;
        report.notes.extend(note);
        report
    }

    async fn round_as_known(&mut self, asked: Option<Ask>) -> Report {
        let read = tokio::task::block_in_place(|| self.source.read(&self.site));
        let snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(error) => return *round::source_failed(&error),
        };
        let desired = match round::desired(&snapshot, &self.site) {
            Ok(desired) => desired,
            Err(report) => {
                // Verdicts go on from what was known.
                self.publish().await;
                return *report;
            }
        };
        self.guards.update(&desired, None);
        self.publish().await;
        match Box::pin(self.round_on_engine(desired, asked)).await {
            Ok(report) => report,
            Err(report) => *report,
        }
    }

    async fn round_on_engine(
        &mut self,
        desired: Desired,
        asked: Option<Ask>,
    ) -> Result<Report, Box<Report>> {
        let watched = asked.is_none();
        self.connect()
            .map_err(|failure| round::aborted(&desired, failure))?;
        let converger = self.converger.as_mut().expect("connected just now");
        let mut notes = converger.refresh_images(&desired).await;
        let ask = asked.unwrap_or_default();
        let view = converger.look(desired, ask, watched).await?;
        self.guards.update(&view.desired, Some(&view.observed));
        self.publish().await;
        self.probes.follow(&view.desired, &view.observed);
        let converger = self.converger.as_mut().expect("connected just now");
        let engine = converger.engine.clone();
        let perform = Box::pin(converger.perform(&view, watched, &self.shutdown));
        let mut report = match &mut self.routes {
            Some(routes) => routes.beside(&engine, &view, perform).await,
            None => perform.await,
        };
        report.notes.append(&mut notes);
        Ok(report)
    }

    /// How long until a round is due if nothing happens.
    fn next_due(&self, report: &Report) -> Duration {
        let next = match &self.converger {
            Some(converger) => converger.next_due(report),
            None => ENGINE_RETRY,
        };
        if report.routes.is_empty() {
            next
        } else {
            next.min(ROUTES_RETRY)
        }
    }

    async fn publish(&self) {
        let tokens = Arc::clone(&self.tokens);
        // What went wrong is told where the table is made.
        let _ = tokio::task::spawn_blocking(move || tokens.refresh(jiff::Timestamp::now())).await;
    }

    /// Connects at need: an engine that is away at start is waited for.
    fn connect(&mut self) -> Result<(), Failure> {
        if self.converger.is_none() {
            let acting = self.site.engine(&self.author)?;
            self.act_on(acting);
        }
        Ok(())
    }

    fn act_on(&mut self, Acting { fleet, sole }: Acting) {
        let (listening, due) = (fleet.clone(), Arc::clone(&self.engine_due));
        self.listening
            .spawn(async move { listen(listening, due).await });
        self.sole = Some(sole);
        self.converger = Some(Converger::new(
            self.site.config.reconcile.clone(),
            Attended::new(fleet, self.probes.verdicts()),
            Arc::clone(&self.store),
            Clock::system(),
            jitter,
        ));
    }

    /// Logs what is new in a report.
    fn tell(&mut self, report: &Report) {
        let mut now_told = BTreeSet::new();
        let mut news = report.clone();
        news.steps.retain(|step| match &step.outcome {
            Outcome::Held if is_being_written(&step.step.reason) => false,
            Outcome::Held => {
                let key = format!("{} {}", step.step.instance, step.step.reason);
                let new = !self.told.contains(&key);
                now_told.insert(key);
                new
            }
            Outcome::Done | Outcome::Failed(_) | Outcome::Waiting { .. } => true,
        });
        if let Some(failure) = &report.aborted {
            if self.told.contains(&failure.message) {
                news.aborted = None;
            }
            now_told.insert(failure.message.clone());
        }
        for note in &report.notes {
            if !self.told.contains(note) {
                tracing::warn!("{note}");
            }
            now_told.insert(note.clone());
        }
        for Failure { message, help } in &report.routes {
            if !self.told.contains(message) {
                tracing::error!(help = help.as_deref(), "{message}");
            }
            now_told.insert(message.clone());
        }
        for diagnostic in &report.diagnostics {
            let text = diagnostic.to_string();
            if !self.told.contains(&text) {
                let revision = report.revision.as_str();
                match diagnostic.severity {
                    Severity::Error => tracing::error!(revision, "{text}"),
                    Severity::Warning => tracing::warn!(revision, "{text}"),
                    Severity::Note => tracing::debug!(revision, "{text}"),
                }
            }
            now_told.insert(text);
        }
        self.told = now_told;
        round::log(&news);
        for event in event::of_round(report, &news, jiff::Timestamp::now()) {
            self.events.tell(event);
        }
    }
}

/// Held for a moment, as every file is that was just saved.
fn is_being_written(reason: &Reason) -> bool {
    matches!(reason, Reason::Unreadable { diagnostics } if being_written(diagnostics))
}

/// Makes a round due for every change on the engine, and after every loss of its events.
async fn listen(engine: Fleet<Docker>, due: Arc<Notify>) {
    let mut cursor = None;
    let mut away = false;
    loop {
        match engine.changed(&mut cursor).await {
            Ok(()) => away = false,
            Err(error) => {
                if !away {
                    tracing::warn!(%error, "the engine's events broke off; listening again");
                }
                away = true;
                tokio::time::sleep(ENGINE_RETRY).await;
            }
        }
        due.notify_one();
    }
}

/// Spreads retries of many instances; a system without randomness spreads none.
pub(super) fn jitter() -> f64 {
    let mut byte = [128_u8; 1];
    let _ = getrandom::fill(&mut byte);
    f64::from(byte[0]) / 255.0
}
