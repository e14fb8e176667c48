//! What goes on inside containers: health checks, and processes that end.

use std::time::Duration;

use instanced::words::manifest::Restart;
use instanced::words::observed::{Health, Phase};

use super::Scene;
use crate::simulation::happening::Happening;
use crate::simulation::witness::{Life, briefs};
use crate::support::fake_containers::FakeContainers;

impl Scene {
    /// A container came up: its check begins, and what is wrong with it shows.
    pub fn came_up(&mut self, id: &str, fake: &FakeContainers, now: Duration, by_engine: bool) {
        let wall = self.wall(now);
        let image = fake.glimpse(|all| {
            let mut found = all.filter(|g| g.facts.id == id);
            found.next().map(|g| g.draft.image.clone())
        });
        let Some(image) = image else { return };
        let checked = image.starts_with("browser");
        fake.adjust(id, |facts| {
            facts.started = Some(wall);
            facts.health = checked.then_some(Health::Starting);
            facts.restarts = if by_engine { facts.restarts + 1 } else { 0 };
        });
        if let Some(life) = self.witness.lives.get_mut(id) {
            life.at_rest = false;
            life.started = wall;
            life.was_healthy = false;
            if by_engine {
                life.unwell = Some(now + Duration::from_secs(30));
            } else if life.unwell == Some(Duration::MAX) {
                life.unwell = Some(now);
            }
        }
        let bad = !self.calm && (image.ends_with('3') || self.dice.percent(2));
        if bad && (!checked || self.dice.percent(50)) {
            let after = Duration::from_millis(self.dice.between(300, 4000) as u64);
            let id = id.to_owned();
            self.schedule(now + after, Happening::Dies { id });
        } else if checked {
            let after = self.dice.between(1, 8) as u64;
            let (verdict, after) = if bad {
                (Health::Unhealthy, after + 15)
            } else {
                (Health::Healthy, after)
            };
            self.health_of(id, verdict, now + Duration::from_secs(after));
        }
    }

    /// Its check will call it healthy, where it has one.
    pub fn mends(&mut self, id: &str, now: Duration) {
        if self.witness.lives.get(id).is_some_and(Life::checked) {
            self.health_of(id, Health::Healthy, now + Duration::from_secs(3));
        }
    }

    pub(super) fn health_of(&mut self, id: &str, verdict: Health, at: Duration) {
        let id = id.to_owned();
        self.schedule(at, Happening::Health { id, verdict });
    }

    pub(super) fn dies(&mut self, id: &str, fake: &FakeContainers, now: Duration) {
        let facts = fake.glimpse(|all| {
            let mut found = all.filter(|g| g.facts.id == id);
            found
                .next()
                .map(|g| (g.facts.phase, g.facts.limits.restart, g.facts.restarts))
        });
        let Some((Phase::Running, policy, restarts)) = facts else {
            return;
        };
        fake.end(id, 1);
        if policy == Restart::No {
            return;
        }
        if let Some(life) = self.witness.lives.get_mut(id) {
            life.unwell = Some(now + Duration::from_secs(120));
        }
        fake.touch(id, |facts| facts.phase = Phase::Restarting);
        let pause = 100_u64 << restarts.min(9);
        let id = id.to_owned();
        self.schedule(
            now + Duration::from_millis(pause),
            Happening::ComesBack { id },
        );
    }

    /// The engine starts it again by itself.
    pub(super) fn comes_back(&mut self, id: &str, fake: &FakeContainers, now: Duration) {
        let waits = briefs(fake)
            .into_iter()
            .any(|brief| brief.id == id && brief.phase == Phase::Restarting);
        if waits && fake.come_up(id) {
            self.came_up(id, fake, now, true);
        }
    }

    /// Its health check says something.
    pub(super) fn judged(
        &mut self,
        id: &str,
        verdict: Health,
        fake: &FakeContainers,
        now: Duration,
    ) {
        fake.verdict(id, verdict);
        let Some(life) = self.witness.lives.get_mut(id) else {
            return;
        };
        match verdict {
            Health::Healthy => {
                life.was_healthy = true;
                if life.unwell == Some(Duration::MAX) {
                    life.unwell = Some(now);
                }
            }
            Health::Unhealthy => life.unwell = Some(Duration::MAX),
            Health::Starting => {}
        }
    }
}
