//! The files of routes, kept as they shall be: after each round, and as soon as a new generation answers.
//!
//! Only where `traefik.provider` names a directory. A swap of `start-first` switches its route itself, in the
//! midst of its step; what is written here is everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::attended::Attended;
use super::round::View;
use super::site::Site;
use super::steps::InFlight;
use crate::decisions::plan::{Action, Reason, Step};
use crate::decisions::report::{Failure, Outcome, Report};
use crate::decisions::routing::{Routing, Standing, route};
use crate::doors::edge::{RouteFile, RouteFileError, RouteFiles};
use crate::doors::engine::Observe;
use crate::doors::probe::Target;
use crate::words::config::Config;
use crate::words::desired::{AccessLimit, Desired};
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Generation, Observed, Phase};
use crate::words::resolve::denied_endpoints;
use crate::words::spec::Spec;

/// How often one that does not answer yet is asked at first, and in the end.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// While a round is on, files follow no more often.
const SETTLE_EVERY: Duration = Duration::from_millis(250);
/// How long a command that runs one round waits for new generations to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// The routes of one daemon.
pub struct Routes {
    files: RouteFiles,
    config: Config,
    in_flight: InFlight,
    /// Those that were seen answering, each to be led to in the next round.
    answered: Arc<Mutex<BTreeSet<Newcomer>>>,
    /// Told when there is a new one among them: a round is due.
    due: Arc<Notify>,
    /// The same, for who settles routes while a round is on.
    news: Arc<Notify>,
    watch: JoinSet<()>,
    /// Whom it asks.
    waiting: Vec<Newcomer>,
}

/// A generation that no route leads to yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Newcomer {
    instance: InstanceName,
    generation: u64,
    address: SocketAddr,
}

/// What is to be done to the directory.
#[derive(Debug, Default)]
struct Work {
    write: Vec<(InstanceName, RouteFile)>,
    remove: Vec<InstanceName>,
    /// Not before they answer.
    waiting: Vec<(Newcomer, Target)>,
}

impl Routes {
    /// The routes of a site; `None` where labels carry them. `due` is told when a round has something to write.
    /// `in_flight` tells which steps in progress change their instance.
    pub fn new(site: &Site, due: Arc<Notify>, in_flight: InFlight) -> Option<Self> {
        let files = site.edge().files()?.clone();
        Some(Self {
            files,
            config: site.config.clone(),
            in_flight,
            answered: Arc::default(),
            due,
            news: Arc::default(),
            watch: JoinSet::new(),
            waiting: Vec::new(),
        })
    }

    /// Performs, and meanwhile leads to whoever answers: one slow step keeps no other's route waiting.
    pub async fn beside<O: Observe>(
        &mut self,
        engine: &Attended<O>,
        view: &View,
        perform: impl Future<Output = Report>,
    ) -> Report {
        engine.begin();
        let over = CancellationToken::new();
        let news = Arc::clone(&self.news);
        let performing = async {
            let report = perform.await;
            over.cancel();
            report
        };
        let settling = async {
            loop {
                tokio::select! {
                    () = over.cancelled() => return,
                    () = engine.news() => {}
                    () = news.notified() => {}
                }
                // One whose step ends while the engine is asked is seen half changed: the next look has it.
                let ended = engine.all_over();
                if let Ok(observed) = engine.observe(&BTreeSet::new()).await {
                    // Only those whom no step of this round touches now. What fails is told after it.
                    let in_flight = self.in_flight.clone();
                    let untouched = |name: &InstanceName| match step_of(view, name) {
                        None => true,
                        Some(step) if fetches(step) => !in_flight.is_acting(name),
                        Some(_) => false,
                    };
                    let at_rest = |name: &InstanceName| {
                        ended.contains(name) || (!engine.is_over(name) && untouched(name))
                    };
                    let mut untold = Report::default();
                    self.settle(&view.desired, &observed, &at_rest, &mut untold)
                        .await;
                }
                tokio::select! {
                    () = over.cancelled() => return,
                    () = sleep(SETTLE_EVERY) => {}
                }
            }
        };
        let (mut report, ()) = tokio::join!(performing, settling);
        self.follow(engine, view, &mut report).await;
        report
    }

    /// After a round: files follow. What fails is added to the report.
    pub async fn follow<O: Observe>(&mut self, engine: &O, view: &View, report: &mut Report) {
        let acted = |outcome: &Outcome| {
            matches!(
                outcome,
                Outcome::Done | Outcome::Failed(_) | Outcome::Running { .. }
            )
        };
        // A step has its route in its own hands once it changes something. While it waits for an image, the old
        // generation may go, and another instance may get its address.
        let in_flight = self.in_flight.clone();
        let at_rest = |name: &InstanceName| !in_flight.is_acting(name);
        if report.steps.iter().any(|step| acted(&step.outcome)) {
            match engine.observe(&BTreeSet::new()).await {
                Ok(observed) => {
                    self.settle(&view.desired, &observed, &at_rest, report)
                        .await;
                }
                Err(error) => report.routes.push(error.into()),
            }
        } else {
            self.settle(&view.desired, &view.observed, &at_rest, report)
                .await;
        }
    }

    /// Makes the directory what it shall be, as far as those concerned answer; watches the others.
    async fn settle(
        &mut self,
        desired: &Desired,
        observed: &Observed,
        concerns: &(dyn Fn(&InstanceName) -> bool + Sync),
        report: &mut Report,
    ) {
        let files = self.files.clone();
        let stands = match blocking(move || files.all()).await {
            Ok(stands) => stands,
            Err(error) => return report.routes.push(error),
        };
        let answered = {
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *answered)
        };
        let work = self.work(desired, observed, concerns, &stands, &answered);
        let files = self.files.clone();
        let Work {
            write,
            remove,
            waiting,
        } = work;
        let failed = blocking(move || Ok(apply(&files, &write, &remove))).await;
        report
            .routes
            .extend(failed.unwrap_or_else(|error| vec![error]));
        self.watch_for(waiting);
    }

    /// A held instance's spec with the routes that remain, where its manifest or policy takes some away.
    fn limited(
        &self,
        desired: &Desired,
        name: &InstanceName,
        generations: &[Generation],
    ) -> Option<Spec> {
        if desired.specs.contains_key(name) {
            return None;
        }
        let newest = generations.iter().rev();
        let newest = newest.filter(|generation| generation.phase == Phase::Running);
        let Some(Applied::Spec(record)) = newest.map(|generation| &generation.applied).next()
        else {
            return None;
        };
        let limit = desired.access_limits.get(name).cloned();
        let limit = limit.unwrap_or_default().and(AccessLimit {
            denied: denied_endpoints(record, &self.config),
            ..AccessLimit::default()
        });
        limit.routes(record)
    }

    fn work(
        &self,
        desired: &Desired,
        observed: &Observed,
        concerns: &(dyn Fn(&InstanceName) -> bool + Sync),
        stands: &BTreeMap<InstanceName, RouteFile>,
        answered: &BTreeSet<Newcomer>,
    ) -> Work {
        let mut work = Work::default();
        let names: BTreeSet<_> = observed.instances.keys().chain(stands.keys()).collect();
        // Of one that the engine says nothing of, the route stays.
        let is_known = |name: &&InstanceName| !observed.unobserved.contains_key(*name);
        for name in names
            .into_iter()
            .filter(is_known)
            .filter(|name| concerns(name))
        {
            let generations = observed.instances.get(name).map_or(&[][..], Vec::as_slice);
            let file = stands.get(name);
            let standing = file.map(|file| Standing {
                generation: file.generation,
                address: file.address,
            });
            let limited = self.limited(desired, name, generations);
            match route(
                desired.spec(name).or(limited.as_ref()),
                generations,
                standing,
            ) {
                Routing::Said(lead) => {
                    let draft = self.files.draft(lead.spec, lead.generation, lead.address);
                    if file != Some(&draft) {
                        work.write.push((name.clone(), draft));
                    }
                }
                Routing::Due {
                    lead,
                    gone_meanwhile,
                } => {
                    let Some(target) = Target::of(lead.spec, lead.address) else {
                        continue;
                    };
                    let newcomer = Newcomer {
                        instance: name.clone(),
                        generation: lead.generation,
                        address: target.address,
                    };
                    if answered.contains(&newcomer) {
                        let draft = self.files.draft(lead.spec, lead.generation, lead.address);
                        work.write.push((name.clone(), draft));
                        continue;
                    }
                    if gone_meanwhile {
                        work.remove.push(name.clone());
                    }
                    work.waiting.push((newcomer, target));
                }
                Routing::Gone if file.is_some() => work.remove.push(name.clone()),
                Routing::Gone | Routing::Kept => {}
            }
        }
        work
    }

    /// Asks them until they answer, and nobody else any more.
    fn watch_for(&mut self, waiting: Vec<(Newcomer, Target)>) {
        self.watch.abort_all();
        while self.watch.try_join_next().is_some() {}
        self.waiting = waiting
            .iter()
            .map(|(newcomer, _)| newcomer.clone())
            .collect();
        if waiting.is_empty() {
            return;
        }
        let answered = Arc::clone(&self.answered);
        let tell = [&self.due, &self.news].map(Arc::clone);
        self.watch.spawn(async move {
            let ask = |(newcomer, target): (Newcomer, Target)| {
                let (answered, tell) = (&answered, &tell);
                async move {
                    let mut pause = ASK_EVERY.0;
                    while let Err(why) = target.ask().await {
                        let Newcomer { instance, address, .. } = &newcomer;
                        tracing::debug!(%instance, %address, why, "no route yet: it does not answer");
                        sleep(pause).await;
                        pause = (pause * 5 / 4).min(ASK_EVERY.1);
                    }
                    let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
                    answered.insert(newcomer);
                    for waiting in tell {
                        waiting.notify_one();
                    }
                }
            };
            // All at once: one that never answers must not keep another waiting.
            let all: FuturesUnordered<_> = waiting.into_iter().map(ask).collect();
            all.collect::<()>().await;
        });
    }
}

/// What is under way for an instance in this round.
fn step_of<'v>(view: &'v View, name: &InstanceName) -> Option<&'v Step> {
    let mut steps = view.plan.steps.iter();
    steps.find(|step| {
        let in_progress = matches!(step.reason, Reason::InProgress { .. });
        step.instance == *name && (step.action != Action::Held || in_progress)
    })
}

/// Whether it may be waiting for an image. Any other step of this round may touch its instance at any moment.
fn fetches(step: &Step) -> bool {
    matches!(
        step.action,
        Action::Create { .. } | Action::Replace { .. } | Action::Held
    )
}

/// After the one round of a command: as [`Routes::follow`], but whoever is new is waited for, within limits.
pub async fn complete<O: Observe>(site: &Site, engine: &O, view: &View, report: &mut Report) {
    let due = Arc::new(Notify::new());
    let Some(mut routes) = Routes::new(site, Arc::clone(&due), InFlight::default()) else {
        return;
    };
    let deadline = Instant::now() + ANSWERS_WITHIN;
    routes.follow(engine, view, report).await;
    while !routes.waiting.is_empty() && report.routes.is_empty() {
        if tokio::time::timeout_at(deadline, due.notified())
            .await
            .is_err()
        {
            report.routes.extend(routes.waiting.iter().map(silent));
            return;
        }
        match engine.observe(&BTreeSet::new()).await {
            Ok(observed) => {
                routes
                    .settle(&view.desired, &observed, &|_| true, report)
                    .await;
            }
            Err(error) => report.routes.push(error.into()),
        }
    }
}

fn silent(newcomer: &Newcomer) -> Failure {
    let Newcomer {
        instance,
        generation,
        address,
    } = newcomer;
    Failure {
        message: format!(
            "no route leads to generation {generation} of {instance}: it does not answer at {address}"
        ),
        help: Some(
            "its log may tell why; the next `instanced reconcile`, or `instanced serve`, asks again"
                .to_owned(),
        ),
    }
}

/// Everything that can be done is done; what fails is told.
fn apply(
    files: &RouteFiles,
    write: &[(InstanceName, RouteFile)],
    remove: &[InstanceName],
) -> Vec<Failure> {
    let mut failed = Vec::new();
    for (instance, file) in write {
        let (generation, address) = (file.generation, file.address);
        match files.write(instance, file) {
            Ok(true) => tracing::info!(%instance, generation, %address, "route written"),
            Ok(false) => {}
            Err(error) => failed.push(told(&error)),
        }
    }
    for instance in remove {
        match files.remove(instance) {
            Ok(true) => tracing::info!(%instance, "route removed"),
            Ok(false) => {}
            Err(error) => failed.push(told(&error)),
        }
    }
    failed
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, RouteFileError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(call).await {
        Ok(done) => done.map_err(|error| told(&error)),
        Err(_) => Err(Failure {
            message: "writing routes was broken off".to_owned(),
            help: None,
        }),
    }
}

fn told(error: &RouteFileError) -> Failure {
    Failure {
        message: error.to_string(),
        help: Some(error.help()),
    }
}
