//! The daemon: watches the source, listens to the engine, runs rounds, answers `ForwardAuth` and the control
//! socket, until it is told to stop, or until the next daemon takes its place. Stopping leaves every
//! container running.
//!
//! Events only say that a round is due; every round looks at everything anew.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::chain::{chain, failure};
use super::control::{Admin, ControlSocket};
use super::edge::Edge;
use super::events::Events;
use super::follow::Syncer;
use super::guards::Guards;
use super::memory::blocking;
use super::metrics::Metrics;
use super::notices::{self, NoticeCounts};
use super::operate::Operator;
use super::ops::open_store;
use super::probes::Probes;
use super::round;
use super::round_health::SharedRoundHealth;
use super::routes::Routes;
use super::site::{ActError, Acting, Site};
use super::source::Source;
use super::spells::Unwell;
use super::steps::InFlight;
use super::tokens::{Published, Tokens};
use super::uses::{self, Uses};
use super::watch::Sampler;
use super::webhook::{self, Webhook};
use crate::decisions::report::{Failure, Report};
use crate::doors::handover::{Offer, Other, Word};
use crate::doors::host;
use crate::doors::store::Store;
use crate::doors::systemd;
use crate::words::config::Isolation;
use rounds::{Access, Due, Refresh, Rounds, Waiting};
use takeover::{Before, broken, given, hand_over};

mod rounds;
mod takeover;

/// Asked rounds that may wait.
const ASKED_MAX: usize = 16;
/// How long to rest when a next daemon could not be answered.
const OFFER_REST: Duration = Duration::from_millis(200);
/// How long a store may be in use by what has not ended yet.
const RELEASE: Duration = Duration::from_secs(10);

/// How it starts.
#[derive(Debug, Default)]
pub struct Start {
    /// Whether to take the place of a daemon that runs.
    pub take_over: bool,
    /// A listening socket that the service manager has opened.
    pub socket: Option<TcpListener>,
}

/// Runs until SIGTERM or SIGINT, or until the next daemon has taken over. `ready` is told once everything
/// listens.
///
/// # Errors
/// What keeps the daemon from starting: a port or a store in use, a source that cannot be watched.
pub async fn serve(site: Site, start: Start, ready: impl FnOnce(&str)) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    stop_on_signals(&shutdown)?;
    match host::raise_file_limit() {
        Ok(limit) => tracing::debug!(limit, "limit of open files"),
        Err(error) => tracing::warn!(%error, "failed to raise the limit of open files"),
    }
    let mut before = if start.take_over {
        Before::find(&site).await?
    } else {
        None
    };
    let handed = match &mut before {
        Some(before) => Some(before.socket.take().ok_or_else(|| broken("no socket"))?),
        None => start.socket,
    };
    if site.config.network.isolation == Isolation::Shared {
        tracing::warn!(
            network = site.config.network.name,
            "isolation is shared: instances reach each other's ports, VNC and MCP without a token among them"
        );
    }
    let mut edge = Edge::new(&site, handed)?;
    let mut ready = Some(ready);
    loop {
        let session = Session::begin(&site, &mut edge, &shutdown).await?;
        if let Some(before) = before.take() {
            before.release().await;
        }
        let next = session.run(&mut edge, &mut ready).await?;
        let Some(next) = next else {
            edge.close().await;
            tracing::info!("stopped; every container runs on");
            return Ok(());
        };
        match hand_over(next).await {
            Ok(mut next) => {
                tracing::info!("another daemon serves now");
                systemd::stopping();
                edge.close().await;
                // It may have stopped waiting.
                let _ = next.say(Word::Drained).await;
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(%error, "the daemon that asked to take over did not: going on");
            }
        }
    }
}

/// The daemon with its store open: all of it but the edge, which outlives it.
struct Session {
    store: Arc<Store>,
    rounds: Rounds,
    tasks: JoinSet<()>,
    offer: Offer,
    end: CancellationToken,
    told: String,
}

impl Session {
    /// Opens what it needs, and has the edge answer from the store alone.
    async fn begin(
        site: &Site,
        edge: &mut Edge,
        shutdown: &CancellationToken,
    ) -> Result<Self, Failure> {
        let end = shutdown.child_token();
        let store = open_store(site).await?;
        let uses = Arc::<Uses>::default();
        let guards = guards(site, edge, &uses);
        let publish = publisher(&guards);
        let tokens = Arc::new(Tokens::new(Arc::clone(&store), Arc::clone(&uses), publish));
        answer_from_the_store(site, &store, &guards, &tokens).await;
        edge.open()?;
        edge.redeem_at(Some(Arc::clone(&tokens)));

        let control = control_socket(site).await?;
        let offer = Offer::bind(&site.state).map_err(|error| failure(&error))?;
        let engine_due = Arc::new(Notify::new());
        let events = Events::new(end.clone());
        let told = Arc::<NoticeCounts>::default();
        let (table, counts, faults) = (edge.table(), edge.counts(), store.faults());
        let metrics = Arc::new(Metrics::new(table, counts, faults, Arc::clone(&told)));
        let source = Source::follow(site, &events).map_err(|error| failure(&error))?;
        let admin = admin(site, &source).await?;
        let author = blocking(&store, Store::author);
        let author = author.await.map_err(|error| failure(&error))?;
        let acting = acting(site, &author)?;
        metrics.reach(acting.is_some());
        let last = Arc::new(ArcSwap::from_pointee(Report::default()));
        let (unwell, in_flight) = (Arc::<Unwell>::default(), InFlight::default());
        let round_health = SharedRoundHealth::default();
        let (asks, asked) = mpsc::channel(ASKED_MAX);
        let probes = Probes::new(Arc::clone(&engine_due));
        let sampler = Arc::<Sampler>::default();
        let operator = Arc::new(Operator {
            site: site.clone(),
            tokens: Arc::clone(&tokens),
            store: Arc::clone(&store),
            rounds: asks,
            last: Arc::clone(&last),
            unwell: Arc::clone(&unwell),
            verdicts: probes.verdicts(),
            syncer: source.syncer(),
            events: events.clone(),
            metrics: Arc::clone(&metrics),
            table: edge.table(),
            sampler: Arc::clone(&sampler),
            in_flight: in_flight.clone(),
            rounds_health: round_health.clone(),
            ended: end.clone(),
        });

        let mut tasks = JoinSet::new();
        let whom = (&site.config.notify, &site.config.manager);
        let notices = notices::start(whom, &store, source.syncer(), told, &mut tasks, &end).await?;
        let due = Arc::clone(&engine_due);
        tasks.spawn(look_on_hangup(source.syncer(), due, end.clone())?);
        tasks.spawn(uses::keep(uses, Arc::clone(&store), end.clone()));
        let admin_at = admin.address().unwrap_or(site.config.listen.admin);
        let told = site.announcement(&edge.address(), control.path(), admin_at);
        let (operations, until) = (Arc::clone(&operator), end.clone());
        tasks.spawn(async move { admin.serve(operations, until).await });
        let until = end.clone();
        tasks.spawn(async move { control.serve(operator, until).await });

        let mut rounds = Rounds {
            routes: Routes::new(site, Arc::clone(&engine_due), in_flight.clone()),
            probes,
            sampler,
            site: site.clone(),
            store: Arc::clone(&store),
            access: Arc::new(Access::new(site, guards, tokens, &store)),
            source,
            last,
            unwell,
            asked,
            author,
            sole: None,
            converger: None,
            due: Due::new(engine_due),
            listening: JoinSet::new(),
            events,
            metrics,
            notices,
            told: BTreeSet::new(),
            standing: None,
            in_flight,
            waiting: Waiting::default(),
            next: Instant::now(),
            refresh: Refresh::default(),
            health: round_health,
            shutdown: end.clone(),
        };
        if let Some(acting) = acting {
            rounds.act_on(acting);
        }
        Ok(Self {
            store,
            rounds,
            tasks,
            offer,
            end,
            told,
        })
    }

    /// Runs rounds until the end, and closes the store. Returns the next daemon, where that asked for it.
    async fn run(
        self,
        edge: &mut Edge,
        ready: &mut Option<impl FnOnce(&str)>,
    ) -> Result<Option<Other>, Failure> {
        let Self {
            store,
            mut rounds,
            mut tasks,
            offer,
            end,
            told,
        } = self;
        if let Some(ready) = ready.take() {
            ready(&told);
            systemd::ready(&told);
        } else {
            tracing::info!("{told}");
        }
        let (socket, broken_off) = (edge.socket(), edge.ended());
        let asked = async {
            loop {
                match given(&offer, socket).await {
                    Ok(next) => break next,
                    Err(error) => {
                        tracing::warn!(%error, "nobody could be given the listening socket");
                        // It may be for want of file descriptors, which passes.
                        tokio::time::sleep(OFFER_REST).await;
                    }
                }
            }
        };
        let ending = async {
            let next = tokio::select! {
                next = asked => {
                    tracing::info!("handing over to the daemon that asked for it");
                    Some(next)
                }
                () = end.cancelled() => None,
                () = broken_off.cancelled() => None,
            };
            end.cancel();
            next
        };
        let (next, ()) = tokio::join!(ending, rounds.run());
        while tasks.join_next().await.is_some() {}
        drop((rounds, offer));
        edge.redeem_at(None);
        release(store).await?;
        if broken_off.is_cancelled() {
            return Err(Failure {
                message: "the auth listener ended: see the log".to_owned(),
                help: Some("start the daemon again; the containers run on".to_owned()),
            });
        }
        Ok(next)
    }
}

/// Closes the store: whoever had it has ended, but for what is just answered.
async fn release(mut store: Arc<Store>) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + RELEASE;
    loop {
        match Arc::try_unwrap(store) {
            Ok(store) => {
                // sled writes as it closes.
                let _ = tokio::task::spawn_blocking(move || drop(store)).await;
                return Ok(());
            }
            Err(_) if tokio::time::Instant::now() > deadline => {
                return Err(Failure {
                    message: "the store is still in use".to_owned(),
                    help: None,
                });
            }
            Err(shared) => {
                store = shared;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Who may pass, as far as the store and the files of the source know: before any engine was seen. What was revoked
/// while no daemon ran opens nothing.
async fn answer_from_the_store(
    site: &Site,
    store: &Arc<Store>,
    guards: &Arc<Guards>,
    tokens: &Arc<Tokens>,
) {
    let (store, guards, tokens) = (Arc::clone(store), Arc::clone(guards), Arc::clone(tokens));
    let site = site.clone();
    let recall = move || {
        match guards.recall(&store) {
            // What went wrong is told where the table is made.
            Ok(true) => {
                if let Ok(snapshot) = round::read_source(&site) {
                    guards.take_in(&snapshot, &site.config);
                }
                drop(tokens.refresh(jiff::Timestamp::now()));
            }
            Ok(false) => {}
            Err(error) => tracing::error!(
                "who may pass is not known before the first round: {}",
                chain(&error)
            ),
        }
    };
    // Nothing in it panics that would not panic in the first round, too.
    let _ = tokio::task::spawn_blocking(recall).await;
}

fn stop_on_signals(shutdown: &CancellationToken) -> Result<(), Failure> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signal = signal(kind).map_err(|error| failure(&error))?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            signal.recv().await;
            tracing::info!("stopping");
            systemd::stopping();
            shutdown.cancel();
        });
    }
    Ok(())
}

/// What acts on the engine. One that is away is waited for; a second daemon has no business here.
fn acting(site: &Site, author: &str) -> Result<Option<Acting>, Failure> {
    match site.engine(author) {
        Ok(acting) => Ok(Some(acting)),
        Err(ActError::Engine(_)) => Ok(None),
        Err(error @ ActError::Sole(_)) => Err(error.into()),
    }
}

async fn control_socket(site: &Site) -> Result<ControlSocket, Failure> {
    let group = site.config.control.group.as_deref();
    let bound = ControlSocket::bind(&site.state, group).await;
    bound.map_err(|error| failure(&error))
}

/// `listen.admin`, with the webhook where the source has one.
async fn admin(site: &Site, source: &Source) -> Result<Admin, Failure> {
    let git = site.config.source.git.as_ref();
    let hook = git.and_then(|git| git.webhook.as_ref());
    let webhook = match (hook, source.syncer()) {
        (Some(hook), Some(syncer)) => Some(Webhook::new(&hook.secret_file, syncer)?),
        _ => None,
    };
    let (address, has_webhook) = (site.config.listen.admin, webhook.is_some());
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "listen.admin can be reached from elsewhere, and speaks plain HTTP: put TLS before it"
        );
    }
    let (hosts, tokens) = (&site.config.listen.admin_hosts, &site.config.control.tokens);
    let bound = Admin::bind(address, hosts, tokens, webhook).await;
    let admin = bound.map_err(|error| failure(&error))?;
    if has_webhook {
        let at = admin.address().map(|at| at.to_string());
        tracing::info!(at, path = webhook::PATH, "listening for webhooks");
    }
    Ok(admin)
}

/// SIGHUP: whatever the source is, it is looked at now.
fn look_on_hangup(
    syncer: Option<Syncer>,
    due: Arc<Notify>,
    end: CancellationToken,
) -> Result<impl Future<Output = ()> + Send, Failure> {
    let mut signal = signal(SignalKind::hangup()).map_err(|error| failure(&error))?;
    Ok(async move {
        loop {
            tokio::select! {
                hung = signal.recv() => {
                    if hung.is_none() {
                        return;
                    }
                    systemd::reloading();
                    match &syncer {
                        Some(syncer) => syncer.poke(),
                        None => due.notify_one(),
                    }
                    systemd::reloaded();
                }
                () = end.cancelled() => return,
            }
        }
    })
}

/// The guards that the edge answers from.
fn guards(site: &Site, edge: &Edge, uses: &Arc<Uses>) -> Arc<Guards> {
    let (table, counts, uses) = (edge.table(), edge.counts(), Arc::clone(uses));
    Arc::new(Guards::new(table, counts, uses, &site.config.policy))
}

fn publisher(guards: &Arc<Guards>) -> super::tokens::Changed {
    let guards = Arc::clone(guards);
    Box::new(move |published| match published {
        Ok(Published { tokens, retired }) => guards.publish(Some(tokens), retired),
        Err(error) => {
            tracing::error!(
                error = %chain(error),
                "failed to read tokens; denying all requests"
            );
            guards.publish(None, &BTreeSet::new());
        }
    })
}
