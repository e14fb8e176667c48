//! What happens from outside: files, operators, clocks, other people's hands.

use std::time::Duration;

use instanced::words::label;
use instanced::words::manifest::Restart;
use instanced::words::observed::{Health, Phase};
use instanced::words::quantity::Bytes;

use super::{Scene, image_config};
use crate::simulation::happening::{Grudge, Happening};
use crate::simulation::paper::{NAMES, Paper, Slot};
use crate::simulation::witness::{Brief, briefs};
use crate::support::fake_containers::FakeContainers;

impl Scene {
    pub(super) fn happen(&mut self, happening: Happening, fake: &FakeContainers, now: Duration) {
        self.tell(now, || format!("* {happening:?}"));
        match happening {
            Happening::Health { id, verdict } => self.judged(&id, verdict, fake, now),
            Happening::Dies { id } => self.dies(&id, fake, now),
            Happening::ComesBack { id } => self.comes_back(&id, fake, now),
            Happening::Paper(slot, paper) => {
                self.source.papers[slot] = paper;
                self.source_moved = true;
            }
            Happening::Papers(papers) => {
                self.source.papers = papers;
                self.source_moved = true;
            }
            Happening::SourceAway(away) => {
                self.source.away = away;
                self.source_moved = true;
            }
            Happening::Edit(slot) => {
                if let Paper::Says(says) = self.source.papers[slot] {
                    self.source.papers[slot] = Paper::Says(says.edited(&mut self.dice));
                    self.source_moved = true;
                }
            }
            Happening::Wish(wish) => self.wishes.push_back(wish),
            Happening::ClockJump(seconds) => {
                self.wall_off += jiff::SignedDuration::from_secs(seconds);
                self.jumped = true;
            }
            Happening::LoseNotebook => self.lose_notebook = true,
            Happening::EngineRestart => self.engine_restarts(fake, now),
            Happening::Retag(image) => self.retag(image, fake),
            Happening::ImageGone(image) => self.image_goes(image, fake),
            Happening::Foreign(slot) => self.take_name(slot, fake),
            Happening::ForeignLeaves => self.foreign_leave(fake),
            Happening::VolumeLeft(slot) => {
                let name = format!("instanced-default-{}-g99-secrets", NAMES[slot]);
                let labels = [(label::MANAGER.to_owned(), "default".to_owned())];
                fake.leave_volume(&name, labels.into());
                self.volume_left = true;
            }
            Happening::Hand(slot, grudge) => self.hand(slot, grudge, fake, now),
            Happening::Again {
                slot,
                grudge,
                every,
                until,
            } => {
                self.hand(slot, grudge, fake, now);
                if now + every < until {
                    self.schedule(
                        now + every,
                        Happening::Again {
                            slot,
                            grudge,
                            every,
                            until,
                        },
                    );
                }
            }
        }
    }

    fn engine_restarts(&mut self, fake: &FakeContainers, now: Duration) {
        self.witness.touch_all();
        let revived = fake.restart_engine();
        self.witness.revived(&revived, fake);
        for id in revived {
            self.came_up(&id, fake, now, false);
        }
    }

    fn image_goes(&mut self, image: &'static str, fake: &FakeContainers) {
        self.witness.touch_all();
        let here = fake.image_now(image);
        let id = here.or_else(|| self.published.get(image).cloned());
        fake.forget_image(image);
        self.published.extend(id.map(|id| (image, id)));
    }

    /// A foreign container takes the name of the next generation.
    fn take_name(&mut self, slot: Slot, fake: &FakeContainers) {
        let all = briefs(fake);
        let numbers = all.iter().filter(|brief| brief.slot == slot);
        let next = numbers.map(|brief| brief.number).max().unwrap_or(0) + 1;
        let name = format!("instanced-default-{}-g{next}", NAMES[slot]);
        if fake.glimpse(|mut all| all.all(|g| g.facts.name != name)) {
            self.witness.touch(slot);
            fake.add_foreign(&name);
        }
    }

    fn foreign_leave(&mut self, fake: &FakeContainers) {
        let ids = fake.glimpse(|all| -> Vec<String> {
            all.filter(|g| g.draft.image == "foreign:1" && g.facts.name != "somebody-else")
                .map(|g| g.facts.id.clone())
                .collect()
        });
        for id in ids {
            fake.remove_by_force(&id);
        }
        self.witness.touch_all();
    }

    fn retag(&mut self, image: &'static str, fake: &FakeContainers) {
        self.retags += 1;
        let id = format!("sha256:{image}-{}", self.retags);
        self.witness.touch_all();
        self.causes.iter_mut().for_each(|count| *count += 1);
        fake.publish_image(image, &id);
        fake.set_image_config(&id, image_config(image));
        if self.dice.percent(70) {
            fake.tag_image(image, &id);
        }
        self.published.insert(image, id);
    }

    fn hand(&mut self, slot: Slot, grudge: Grudge, fake: &FakeContainers, now: Duration) {
        let all = briefs(fake).into_iter().filter(|brief| brief.slot == slot);
        let Some(Brief {
            id,
            phase,
            health,
            number,
            ..
        }) = all.max_by_key(|brief| brief.number)
        else {
            return;
        };
        self.witness.touch(slot);
        self.causes[slot] += 1;
        match grudge {
            Grudge::Kill => fake.end(&id, 137),
            Grudge::Crash => self.dies(&id, fake, now),
            Grudge::Remove => fake.remove_by_force(&id),
            Grudge::Pause if phase == Phase::Running => {
                fake.touch(&id, |facts| facts.phase = Phase::Paused);
            }
            Grudge::Rename => {
                if let Some(life) = self.witness.lives.get_mut(&id) {
                    life.excused = true;
                }
                // Of every other generation, to the name that its next one would have.
                let next = format!("instanced-default-{}-g{}", NAMES[slot], number + 1);
                let is_free = fake.glimpse(|mut all| all.all(|g| g.facts.name != next));
                fake.touch(&id, |facts| {
                    facts.name = if number % 2 == 1 && is_free {
                        next
                    } else {
                        format!("somebodys-{:.8}-{slot}", &facts.id[56..])
                    };
                });
            }
            Grudge::Disconnect => {
                if let Some(life) = self.witness.lives.get_mut(&id) {
                    life.excused = true;
                }
                fake.disconnect(&id, "mcp_instances");
            }
            Grudge::Relimit => {
                if let Some(life) = self.witness.lives.get_mut(&id) {
                    life.excused = true;
                }
                fake.touch(&id, |facts| {
                    facts.limits.memory = Some(Bytes::mib(77));
                    facts.limits.memory_swap = Some(Bytes::mib(77));
                });
            }
            Grudge::Repolicy => {
                if let Some(life) = self.witness.lives.get_mut(&id) {
                    life.excused = true;
                    life.at_rest = false;
                }
                self.witness.mess[slot] = true;
                fake.touch(&id, |facts| facts.limits.restart = Restart::UnlessStopped);
            }
            Grudge::Start if phase != Phase::Created => {
                self.witness.mess[slot] = true;
                if phase != Phase::Running && fake.come_up(&id) {
                    self.came_up(&id, fake, now, false);
                }
            }
            // Nothing to pause, or to start.
            Grudge::Pause | Grudge::Start => {}
            Grudge::Unwell => {
                if phase == Phase::Running && health.is_some() {
                    fake.verdict(&id, Health::Unhealthy);
                    if let Some(life) = self.witness.lives.get_mut(&id) {
                        life.unwell = Some(Duration::MAX);
                    }
                    let after = self.dice.between(5, 400) as u64;
                    self.health_of(&id, Health::Healthy, now + Duration::from_secs(after));
                }
            }
        }
    }
}
