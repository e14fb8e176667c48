//! The daemon in miniature: rounds when they are due, when something is heard, and when somebody asks. It may
//! die at every await, and goes on with what the notebook and the engine still hold.

mod mistake;
mod mortal;
mod reported;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use instanced::daemon::clock::Clock;
use instanced::daemon::converge::{Converger, LateStep};
use instanced::daemon::notebook::Notebook as _;
use instanced::daemon::orders;
use instanced::daemon::round::{self, Ask, Known, View};
use instanced::daemon::steps::SLOW;
use instanced::decisions::plan::{Action, Reason};
use instanced::decisions::report::{Failure, Outcome, Report};
use instanced::doors::engine::Engine as _;
use instanced::doors::engine::fleet::Fleet;
use instanced::words::config::{Network, Reconcile};
use instanced::words::desired::Desired;
use instanced::words::overrides::{Order, Overrides};
use instanced::words::quantity::Span;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bugs::Bug;
use super::ending::ROUND_MOST;
use super::engine::Calls;
use super::hands::Hands;
use super::notes::Notes;
use super::paper::{SLOTS, Slot, name_of, slot_of};
use super::stage::{Stage, Wish};
use super::witness::{Round, Want};
use mistake::mistake;
use mortal::Mortal;
use reported::{blocked, told};

const EVENTS_COALESCE: Duration = Duration::from_millis(100);

pub struct Daemon {
    pub stage: Arc<Stage>,
    pub notes: Notes,
    policy: Reconcile,
    converger: Option<Converger<Hands, Notes>>,
    /// Registries are asked beside the rounds.
    refreshing: JoinSet<Vec<String>>,
    ears: Fleet<Calls>,
    cursor: Option<String>,
    last: Report,
    stale: Option<View>,
    /// The prune that the last round of all told to be blocked.
    blocked: Option<(String, BTreeSet<Slot>)>,
    pub rounds: usize,
}

/// A round for whoever asked, or the daemon's own.
#[derive(Debug, Default)]
pub struct Due {
    asked: Option<Ask>,
    confirmed: BTreeSet<Slot>,
}

fn fleet(stage: &Arc<Stage>, author: String) -> Fleet<Calls> {
    let calls = Calls {
        stage: Arc::clone(stage),
    };
    let manager = "default".parse().expect("a name");
    Fleet::new(calls, manager, Network::default()).with_author(author)
}

impl Daemon {
    pub fn new(stage: Arc<Stage>, policy: Reconcile) -> Self {
        let notes = Notes::new(Arc::clone(&stage));
        let ears = fleet(&stage, String::new());
        Self {
            stage,
            notes,
            policy,
            converger: None,
            refreshing: JoinSet::new(),
            ears,
            cursor: None,
            last: Report::default(),
            stale: None,
            blocked: None,
            rounds: 0,
        }
    }

    fn bug(&self) -> Option<Bug> {
        self.stage.scene().bug
    }

    /// A new process.
    fn start(&mut self) {
        if std::mem::take(&mut self.stage.scene().lose_notebook) {
            self.stage.tell(|| "the state directory is lost".to_owned());
            self.notes.burn();
            self.stage.scene().witness.lost_notebook();
        }
        let bug = self.bug();
        let fleet = fleet(&self.stage, self.notes.author());
        self.ears = fleet.clone();
        let hands = Hands { fleet, bug };
        let clock = {
            let stage = Arc::clone(&self.stage);
            Clock::new(move || stage.wall())
        };
        let mut policy = self.policy.clone();
        if bug == Some(Bug::RollsOutAtOnce) {
            policy.replace.max_unavailable = instanced::words::quantity::Share::Percent(100);
        }
        let notes = self.notes.clone();
        let stage = Arc::clone(&self.stage);
        let jitter = move || stage.scene().dice.share();
        let converger = Converger::new(policy, hands, notes, clock, jitter);
        self.converger = Some(if bug == Some(Bug::WaitsForEveryStep) {
            converger
        } else {
            converger.with_patience(SLOW)
        });
        self.cursor = None;
        // From now on.
        self.hear();
    }

    /// Whether something was heard. The stream of events may break off, which is as good as news.
    fn hear(&mut self) -> bool {
        !self.stage.scene().weather.deaf
            && self.ears.changed(&mut self.cursor).now_or_never().is_some()
    }

    /// One round, unless the daemon dies in it.
    pub async fn round(&mut self, due: Due) {
        self.rounds += 1;
        if self.converger.is_none() || self.bug() == Some(Bug::ForgetsActs) {
            self.start();
        }
        let left = {
            let mut scene = self.stage.scene();
            let often = scene.weather.crashes;
            (often > 0 && scene.dice.percent(often)).then(|| scene.dice.between(1, 90))
        };
        self.stage.catch_up();
        self.hear();
        self.stage.tell(|| format!("round {due:?}"));
        let began = self.stage.now();
        let round = Mortal {
            left,
            future: Box::pin(self.one_round(due)),
        };
        let Some(report) = round.await else {
            self.stage.tell(|| "  the daemon dies".to_owned());
            self.stage.scene().witness.died();
            self.end();
            let pause = self.stage.scene().dice.between(0, 20) as u64;
            tokio::time::sleep(Duration::from_secs(pause * pause / 4)).await;
            self.last = Report::default();
            return;
        };
        self.stage.tell(|| told(&report));
        let took = self.stage.now() - began;
        let is_calm = {
            let weather = self.stage.scene().weather;
            weather.calls == 0 && weather.notes == 0
        };
        if is_calm && took > ROUND_MOST {
            let mut scene = self.stage.scene();
            scene
                .witness
                .cry(|| format!("a round takes {took:?}: one instance takes the time of all"));
        }
        let of_all = {
            let mut scene = self.stage.scene();
            let round = scene.witness.round.take();
            let running = report.steps.iter();
            let running = running.filter(|step| matches!(step.outcome, Outcome::Running { .. }));
            for step in running {
                let slot = slot_of(step.step.instance.as_str()).expect("one of ours");
                // One that was in progress before belongs to the round that began it.
                if scene.witness.carried[slot].is_none() {
                    scene.witness.carried[slot].clone_from(&round);
                }
            }
            round.is_some_and(|round| round.only.is_none())
        };
        if of_all {
            self.blocked = blocked(&report);
        }
        self.last = report;
    }

    async fn one_round(&mut self, due: Due) -> Report {
        let watched = due.asked.is_none();
        let ask = due.asked.unwrap_or_default();
        self.stage.catch_up();
        let source = self.stage.scene().source.clone();
        let bug = self.bug();
        let Some(mut desired) = source.desired() else {
            if bug != Some(Bug::AwayIsEmpty) {
                let message = "the directory cannot be listed".to_owned();
                return Report::aborted(Failure {
                    message,
                    help: None,
                });
            }
            let empty = Desired {
                revision: "nothing".to_owned(),
                ..Desired::default()
            };
            self.begin(&empty, &source, watched, &ask, BTreeSet::new());
            return self.work(empty, Ask::default(), watched).await;
        };
        self.begin(&desired, &source, watched, &ask, due.confirmed);
        if bug == Some(Bug::UnreadableIsAbsent) {
            desired.unreadable.clear();
        }
        let mut ask = ask;
        if bug == Some(Bug::AsksForAll) {
            ask.names.clear();
        }
        self.work(desired, ask, watched).await
    }

    fn begin(
        &self,
        desired: &Desired,
        source: &super::paper::Source,
        watched: bool,
        ask: &Ask,
        confirmed: BTreeSet<Slot>,
    ) {
        let mut manifests: [String; SLOTS] = Default::default();
        for (name, origins) in &desired.origins {
            let slot = slot_of(name.as_str()).expect("one of ours");
            manifests[slot].clone_from(&origins.manifest);
        }
        let now = self.stage.now();
        let wall = self.stage.wall();
        let wants = if source.away {
            // Nothing is known of anybody.
            [Want::Held; SLOTS]
        } else {
            source.papers.map(Want::from)
        };
        self.stage.scene().witness.begin(Round {
            wants,
            manifests,
            source_empty: source.is_empty(),
            watched,
            only: ask.names.first().and_then(|name| slot_of(name.as_str())),
            order: ask.orders.values().next().copied(),
            confirmed,
            began: now,
            wall,
            overrides: std::array::from_fn(|_| Overrides::default()),
            touched: [false; SLOTS],
            census: None,
            swapped: BTreeSet::new(),
            ordered: false,
            held: [false; SLOTS],
            unnoted: false,
        });
    }

    async fn work(&mut self, desired: Desired, mut ask: Ask, watched: bool) -> Report {
        let bug = self.bug();
        let shutdown = CancellationToken::new();
        let converger = self.converger.as_mut().expect("started before");
        if bug == Some(Bug::PerformsStalePlans)
            && let Some(view) = self.stale.take()
        {
            return converger.perform(&view, watched, &shutdown).await;
        }
        while self.refreshing.try_join_next().is_some() {}
        if self.refreshing.is_empty()
            && let Some(asking) = converger.refresh(&desired)
        {
            self.refreshing.spawn(asking);
        }
        let believes = watched && bug != Some(Bug::BelievesAbsence);
        if bug == Some(Bug::ConfirmsPrunes) {
            ask.confirm_prune = self.blocked.as_ref().map(|(id, _)| id.clone());
        }
        let looked = converger.look(desired, ask, believes).await;
        // What ended since the last round must not be taken for a step that this one begins.
        let ended: Vec<LateStep> = std::iter::from_fn(|| converger.take_ended()).collect();
        for ended in &ended {
            self.end_step(ended);
        }
        let mut view = match looked {
            Ok(view) => view,
            Err(report) => return *report,
        };
        let converger = self.converger.as_mut().expect("started before");
        self.stage.scene().witness.planned();
        for step in &view.plan.steps {
            let of_rollout = matches!(
                step.reason,
                Reason::RolloutWaits { .. } | Reason::RolloutHalted { .. }
            );
            if let (Action::Held, false) = (&step.action, of_rollout)
                && let Some(round) = &mut self.stage.scene().witness.round
            {
                round.held[slot_of(step.instance.as_str()).expect("one of ours")] = true;
            }
        }
        mistake(&mut view, bug, &self.stage);
        let waits = watched && bug != Some(Bug::NoBackoff);
        let report = converger.perform(&view, waits, &shutdown).await;
        if bug == Some(Bug::PerformsStalePlans) && report.has_failures() {
            self.stale = Some(view);
        }
        report
    }

    /// How long until a round is due if nothing happens.
    fn next_due(&self) -> Duration {
        let next = self.converger.as_ref().map(|c| c.next_due(&self.last));
        next.unwrap_or(Duration::ZERO)
    }

    /// Until a round is due, at most until `end`; `None` when that comes first.
    pub async fn wait(&mut self, end: Duration) -> Option<Due> {
        let due_at = self.stage.now() + self.next_due();
        loop {
            self.stage.catch_up();
            if let Some(due) = self.wish().await {
                return Some(due);
            }
            if std::mem::take(&mut self.stage.scene().source_moved) {
                return Some(Due::default());
            }
            if self.hear() {
                tokio::time::sleep(EVENTS_COALESCE).await;
                return Some(Due::default());
            }
            let now = self.stage.now();
            if now >= due_at {
                return Some(Due::default());
            }
            if now >= end {
                return None;
            }
            let happens = self.stage.next_happening().unwrap_or(Duration::MAX);
            let pause = happens.min(due_at - now).min(end - now);
            // The clock of the runtime knows milliseconds.
            let pause = pause.max(Duration::from_millis(1));
            if self.sleep(pause).await {
                return Some(Due::default());
            }
        }
    }

    /// Lets time pass, at most until a step that goes on beside the rounds has ended, or the daemon dies. Says whether
    /// that makes a round due.
    async fn sleep(&mut self, pause: Duration) -> bool {
        let converger = self.converger.as_mut().filter(|one| one.has_steps());
        let Some(converger) = converger else {
            tokio::time::sleep(pause).await;
            return false;
        };
        let dies_after = {
            let mut scene = self.stage.scene();
            let often = scene.weather.crashes;
            let most = usize::try_from(pause.as_millis())
                .unwrap_or(usize::MAX)
                .min(60_000);
            (often > 0 && scene.dice.percent(often))
                .then(|| Duration::from_millis(scene.dice.below(most + 1) as u64))
        };
        tokio::select! {
            biased;
            ended = converger.ended() => {
                self.end_step(&ended);
                true
            }
            () = tokio::time::sleep(dies_after.unwrap_or(Duration::MAX)) => {
                self.stage.tell(|| "  the daemon dies".to_owned());
                self.stage.scene().witness.died();
                self.end();
                self.last = Report::default();
                true
            }
            () = tokio::time::sleep(pause) => false,
        }
    }

    /// Takes the end of a step that went on beside the rounds.
    fn end_step(&mut self, ended: &LateStep) {
        let name = &ended.instance;
        let slot = slot_of(name.as_str()).expect("one of ours");
        self.stage.scene().witness.carried[slot] = None;
        match &ended.report {
            Some(step) => self.last.conclude(step, ended.since),
            None => self.last.withdraw(name, ended.since),
        }
        let outcome = ended.report.as_ref().map(|step| &step.outcome);
        self.stage
            .tell(|| format!("  {name}: its step has ended: {outcome:?}"));
    }

    async fn wish(&mut self) -> Option<Due> {
        let wish = self.stage.scene().wishes.pop_front()?;
        self.stage.tell(|| format!("asked: {wish:?}"));
        let due = |asked| Due {
            asked: Some(asked),
            confirmed: BTreeSet::new(),
        };
        match wish {
            Wish::Round(slot) => Some(due(Ask {
                names: slot.map(name_of).into_iter().collect(),
                ..Ask::default()
            })),
            Wish::ConfirmPrune => {
                let (id, confirmed) = self.blocked.clone()?;
                Some(Due {
                    asked: Some(Ask {
                        confirm_prune: Some(id),
                        ..Ask::default()
                    }),
                    confirmed,
                })
            }
            Wish::Order(slot, order) => {
                let desired = self.stage.scene().source.desired()?;
                let (name, now) = (name_of(slot), self.stage.wall());
                let taken = orders::take_of(&desired, &self.notes, &name, order, now).await;
                if order == Order::Resume {
                    // What was done before then no longer counts.
                    self.stage.scene().witness.forgetful = true;
                }
                taken.ok().map(|taken| due(taken.ask))
            }
        }
    }

    /// What a dry run shows: it must change nothing.
    pub async fn dry_run(&mut self) -> Option<View> {
        let desired = self.stage.scene().source.desired()?;
        let before = (self.notes.writes(), self.stage.fake.journal().len());
        let bug = self.bug();
        let engine = fleet(&self.stage, self.notes.author());
        let now = self.stage.wall();
        let memory = self.notes.read(now).await.ok()?;
        let acts = Arc::new(self.notes.acts().await.ok()?);
        let known = Known {
            policy: &self.policy,
            memory: &memory,
            acts: &acts,
            keep: None::<&Notes>,
            now,
        };
        let view = round::look(&engine, desired, &known, &Ask::default()).await;
        if bug == Some(Bug::DryRunTidies)
            && let Ok(view) = &view
        {
            let _ = engine.tidy(&view.observed.leftovers).await;
        }
        let after = (self.notes.writes(), self.stage.fake.journal().len());
        if before != after {
            let mut scene = self.stage.scene();
            scene
                .witness
                .cry(|| "a dry run changes something".to_owned());
        }
        view.ok()
    }

    /// Whether nothing but events makes it look again: it asks no registry often.
    pub fn listens(&self) -> bool {
        // One that begins anew with every round knows nothing.
        self.bug() != Some(Bug::ForgetsActs) && self.policy.image_refresh > Span::secs(600)
    }

    pub fn last(&self) -> &Report {
        &self.last
    }

    /// The process ends.
    fn end(&mut self) {
        self.converger = None;
        self.refreshing = JoinSet::new();
    }

    /// The daemon stops and starts again.
    pub fn restart(&mut self) {
        self.end();
        self.stage.scene().witness.died();
    }
}
