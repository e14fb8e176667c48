//! One case: a seed becomes a fleet, a weather and a row of happenings; the daemon lives through them; then
//! nothing goes wrong any more, and it must come to rest.

use std::sync::Arc;
use std::time::Duration;

use instanced::doors::engine::ErrorClass;
use instanced::words::config::{Prune, Reconcile, Rollout};
use instanced::words::overrides::Order;
use instanced::words::quantity::{Share, Span};
use tokio::time::timeout;

use super::bugs::Bug;
use super::daemon::{Daemon, Due};
use super::dice::Dice;
use super::ending;
use super::happening::{GRUDGES, Grudge, Happening};
use super::paper::{IMAGES, Paper, SLOTS, Says, Slot, Source};
use super::stage::{Ill, Manner, Stage, Weather, Wish};
use super::witness::Terms;

/// No case lives as long.
const LIFE_LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);
/// No case takes more rounds; one that does goes round and round.
const ROUNDS_MOST: usize = 4_000;

/// What came of a case.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The promise that was broken.
    pub broken: Option<String>,
    pub trace: Vec<String>,
    pub rounds: usize,
    /// Rounds from calm to rest, and the time they took.
    pub settling: usize,
    pub settled_after: Duration,
    /// The most changing calls within an hour, and the most tries of one instance.
    pub changes_an_hour: usize,
    pub tries_an_hour: usize,
    /// The most rounds within an hour.
    pub rounds_an_hour: usize,
}

struct Script {
    source: Source,
    terms: Terms,
    policy: Reconcile,
    weather: Weather,
    /// The fleet stands before anything goes wrong.
    warm: bool,
    span: Duration,
    happenings: Vec<(Duration, Happening)>,
    ill: Option<Ill>,
}

/// Plays a case.
pub fn play(seed: u64, bug: Option<Bug>, trace: bool) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O");
    runtime.block_on(perform(seed, bug, trace))
}

async fn perform(seed: u64, bug: Option<Bug>, trace: bool) -> Verdict {
    let mut dice = Dice::new(seed);
    let script = Script::write(&mut dice);
    let Script { source, terms, .. } = &script;
    let stage = Stage::new(dice, Weather::default(), source.clone(), *terms, trace);
    let stage = Arc::new(stage);
    stage.tell(|| format!("{terms:?} {:?} {:?}", script.weather, source.papers));
    stage.scene().bug = bug;
    stage.fake.add_foreign("somebody-else");
    let mut daemon = Daemon::new(Arc::clone(&stage), script.policy.clone());
    let mut verdict = Verdict::default();
    let lives = async {
        live(&mut daemon, script).await;
        if !is_broken(&stage) {
            settle(&mut daemon, &mut verdict).await;
        }
        if !is_broken(&stage) {
            ending::check(&mut daemon).await;
        }
    };
    // Virtual time jumps here where somebody waits for what never comes.
    if timeout(LIFE_LONGEST, lives).await.is_err() {
        stage.scene().witness.cry(|| "it waits for ever".to_owned());
    }
    let mut scene = stage.scene();
    ending::check_rates(&mut scene.witness);
    verdict.changes_an_hour = ending::most_within_an_hour(&scene.witness.changes);
    let tries = scene.witness.tries.iter();
    verdict.tries_an_hour = tries
        .map(|tries| ending::most_within_an_hour(tries))
        .max()
        .unwrap_or(0);
    verdict.rounds_an_hour = ending::most_within_an_hour(&scene.witness.rounds);
    verdict.broken = scene.witness.broken.take();
    verdict.trace = scene.trace.take().unwrap_or_default();
    verdict.rounds = daemon.rounds;
    verdict
}

fn is_broken(stage: &Stage) -> bool {
    stage.scene().witness.broken.is_some()
}

/// Through everything that happens.
async fn live(daemon: &mut Daemon, script: Script) {
    let stage = Arc::clone(&daemon.stage);
    let mut due = Due::default();
    if script.warm {
        for _ in 0..2 {
            daemon.round(due).await;
            due = Due::default();
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }
    let began = stage.now();
    {
        let mut scene = stage.scene();
        scene.weather = script.weather;
        scene.ill = script.ill;
        scene.witness.ill = script.ill.map(|ill| ill.slot);
        for (after, happening) in script.happenings {
            scene.schedule(began + after, happening);
        }
    }
    let end = began + script.span;
    loop {
        daemon.round(due).await;
        if is_broken(&stage) {
            return;
        }
        if stage.scene().dice.percent(3) {
            daemon.dry_run().await;
        }
        if daemon.rounds.is_multiple_of(256) {
            ending::check_rates(&mut stage.scene().witness);
        }
        if daemon.rounds > ROUNDS_MOST {
            stage
                .scene()
                .witness
                .cry(|| "rounds without end".to_owned());
            return;
        }
        match daemon.wait(end).await {
            Some(next) => due = next,
            None => return,
        }
        if stage.now() >= end {
            return;
        }
    }
}

/// From calm to rest.
async fn settle(daemon: &mut Daemon, verdict: &mut Verdict) {
    let stage = Arc::clone(&daemon.stage);
    stage.calm_down();
    stage.scene().wishes.clear();
    let chance = stage.scene().dice.percent(30);
    if chance || stage.scene().volume_left {
        daemon.restart();
    }
    let began = stage.now();
    loop {
        let before = stage.scene().witness.changes.len();
        daemon.round(Due::default()).await;
        verdict.settling += 1;
        if is_broken(&stage) {
            return;
        }
        // One for which nothing ever works is tried again and again.
        let ill = stage.scene().ill.is_some();
        let quiet = ill || stage.scene().witness.changes.len() == before;
        if quiet && ending::rests(daemon) {
            break;
        }
        let (rounds, after) = (verdict.settling, stage.now() - began);
        let (rounds_most, longest) = if ill {
            (ending::ROUNDS_BESIDE_ILL, ending::TIME_BESIDE_ILL)
        } else {
            (ending::ROUNDS_TO_REST, ending::TIME_TO_REST)
        };
        if rounds > rounds_most || after > longest {
            let open = ending::open(daemon);
            let mut scene = stage.scene();
            scene
                .witness
                .cry(|| format!("no rest after {rounds} rounds in {after:?}: {open}"));
            return;
        }
        daemon.wait(Duration::MAX).await;
    }
    verdict.settled_after = stage.now() - began;
    // What is done about it is the same for all that rest.
    let looks = stage.scene().dice.percent(20);
    if looks && stage.scene().ill.is_none() {
        ending::stays_quiet(daemon).await;
    }
}

impl Script {
    fn write(dice: &mut Dice) -> Self {
        let mut papers = [Paper::Absent; SLOTS];
        for _ in 0..dice.pick(&[0, 1, 1, 1, 2, 2, 2, 3, 3, 5]) {
            papers[dice.below(SLOTS)] = Paper::Says(Says::draw(dice));
        }
        let terms = Terms {
            unavailable_percent: dice.pick(&[10, 10, 34, 50]),
            halt_after: dice.pick(&[2, 2, 1, 0]),
            prune_min: dice.pick(&[1, 1, 3]),
            prune_percent: dice.pick(&[20, 20, 50]),
            prune: dice.percent(95),
        };
        let policy = Reconcile {
            parallelism: dice.pick(&[1, 8, 8]),
            image_refresh: Span::secs(dice.pick(&[3600, 3600, 60])),
            prune: Prune {
                enabled: terms.prune,
                min: terms.prune_min,
                max: Share::Percent(terms.prune_percent),
            },
            replace: Rollout {
                max_unavailable: Share::Percent(terms.unavailable_percent),
                halt_after_failures: terms.halt_after,
            },
            ..Reconcile::default()
        };
        let weather = Weather {
            calls: dice.pick(&[0, 0, 0, 10, 30, 30, 100, 300]),
            notes: dice.pick(&[0, 0, 0, 0, 40]),
            crashes: dice.pick(&[0, 0, 0, 15, 50]),
            deaf: dice.percent(10),
        };
        let source = Source {
            papers,
            away: false,
        };
        let mut script = Self {
            source,
            terms,
            policy,
            weather,
            warm: dice.percent(65),
            span: Duration::from_secs(dice.pick(&[5, 15, 15, 40, 40, 40, 100, 100, 400])),
            happenings: Vec::new(),
            ill: None,
        };
        if dice.percent(12) {
            script.fall_ill(dice);
        }
        if dice.percent(1) {
            script.fight(dice);
        } else {
            for _ in 0..dice.pick(&[0, 1, 1, 2, 2, 3, 4, 6]) {
                let most = script.span.as_millis() as usize;
                let at = Duration::from_millis(dice.below(most) as u64);
                script.happen(dice, at);
            }
        }
        script
    }

    fn push(&mut self, at: Duration, happening: Happening) {
        self.happenings.push((at, happening));
    }

    fn slot(&self, dice: &mut Dice) -> Slot {
        let there: Vec<Slot> = (0..SLOTS)
            .filter(|slot| self.source.papers[*slot] != Paper::Absent)
            .collect();
        if there.is_empty() || dice.percent(10) {
            dice.below(SLOTS)
        } else {
            dice.pick(&there)
        }
    }

    /// The engine refuses, stalls or lies about one instance for ever.
    fn fall_ill(&mut self, dice: &mut Dice) {
        let slot = self.slot(dice);
        let classes = [
            ErrorClass::Permanent,
            ErrorClass::Conflict,
            ErrorClass::Retry,
            ErrorClass::Denied,
            ErrorClass::RateLimited,
            ErrorClass::Stalled,
        ];
        let manner = match dice.below(4) {
            0 => Manner::Refuses(dice.pick(&classes)),
            1 => Manner::Stalls,
            2 => Manner::StallsChanges,
            _ => Manner::Lies,
        };
        self.ill = Some(Ill { slot, manner });
        // A second instance that fails in earnest would halt a rollout rightly.
        if self.terms.halt_after == 1 {
            self.terms.halt_after = 2;
            self.policy.replace.halt_after_failures = 2;
        }
    }

    /// Somebody or something undoes it again and again.
    fn fight(&mut self, dice: &mut Dice) {
        let hour = Duration::from_secs(3600);
        self.span = hour;
        self.weather = Weather {
            crashes: dice.pick(&[0, 10]),
            ..Weather::default()
        };
        let slot = self.slot(dice);
        let every = Duration::from_secs(dice.between(20, 90) as u64);
        let grudge = dice.pick(&GRUDGES);
        let until = self.span;
        self.push(
            Duration::ZERO,
            Happening::Again {
                slot,
                grudge,
                every,
                until,
            },
        );
    }

    fn happen(&mut self, dice: &mut Dice, at: Duration) {
        let slot = self.slot(dice);
        let later = at + Duration::from_millis(dice.between(100, 30_000) as u64);
        match dice.below(30) {
            0..=6 => self.push(at, Happening::Edit(slot)),
            7 => {
                for slot in 0..SLOTS {
                    self.push(at, Happening::Edit(slot));
                }
            }
            8 | 9 => {
                self.push(at, Happening::Paper(slot, Paper::Absent));
                if dice.percent(40) {
                    self.push(later, Happening::Paper(slot, self.source.papers[slot]));
                }
            }
            10 | 11 => {
                let broken = dice.pick(&[Paper::Broken, Paper::Blank, Paper::BeingWritten]);
                self.push(at, Happening::Paper(slot, broken));
                if dice.percent(60) {
                    self.push(later, Happening::Paper(slot, self.source.papers[slot]));
                }
            }
            12 => self.push(at, Happening::Paper(slot, Paper::Says(Says::draw(dice)))),
            13 => {
                self.push(at, Happening::Papers([Paper::Absent; SLOTS]));
                if dice.percent(60) {
                    self.push(later, Happening::Papers(self.source.papers));
                }
            }
            14 => {
                self.push(at, Happening::SourceAway(true));
                if dice.percent(60) {
                    self.push(later, Happening::SourceAway(false));
                }
            }
            15..=17 => {
                let order = dice.pick(&[
                    Order::Restart,
                    Order::Recreate,
                    Order::Stop,
                    Order::Start,
                    Order::Suspend,
                    Order::Resume,
                ]);
                self.push(at, Happening::Wish(Wish::Order(slot, order)));
            }
            18 => self.push(at, Happening::Wish(Wish::Round(None))),
            19 => self.push(at, Happening::Wish(Wish::Round(Some(slot)))),
            20 => self.push(at, Happening::Wish(Wish::ConfirmPrune)),
            21 => {
                let jump = dice.pick(&[-90_000, -3600, -61, 61, 700, 3600, 90_000]);
                self.push(at, Happening::ClockJump(jump));
            }
            22 => self.push(at, Happening::EngineRestart),
            23 => self.push(at, Happening::Retag(dice.pick(&IMAGES))),
            24 => {
                self.push(at, Happening::Foreign(slot));
                if dice.percent(60) {
                    self.push(later, Happening::ForeignLeaves);
                }
            }
            25 if dice.percent(30) => {
                let image = dice.pick(&IMAGES);
                self.push(at, Happening::ImageGone(image));
                self.push(at, Happening::Edit(slot));
            }
            25 if dice.percent(30) => self.push(at, Happening::LoseNotebook),
            25 => self.push(at, Happening::VolumeLeft(slot)),
            26 => {
                // A swap that is cut off by the engine itself.
                self.push(at, Happening::Edit(slot));
                let after = Duration::from_millis(dice.between(1, 4000) as u64);
                self.push(at + after, Happening::EngineRestart);
            }
            _ => {
                let grudge: Grudge = dice.pick(&GRUDGES);
                self.push(at, Happening::Hand(slot, grudge));
            }
        }
    }
}
