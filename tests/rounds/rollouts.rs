//! A change of many: a few at a time, and no further when new generations fail.

use std::collections::BTreeMap;

use instanced::decisions::plan::Reason;
use instanced::decisions::report::{Outcome, Report};
use instanced::words::observed::{Health, Phase};

use super::Lab;

const FLEET: usize = 30;
/// A tenth of the fleet, as `reconcile.replace.max_unavailable` says when nothing else does.
const MOST: usize = 3;

impl Lab {
    /// Thirty instances of a fleet's own template, all healthy.
    async fn fleet() -> Self {
        let names: Vec<String> = (0..FLEET).map(|n| format!("i{n:02}")).collect();
        let manifests: Vec<_> = names.iter().map(|name| (name.as_str(), "{}")).collect();
        let lab = Self::new(&manifests);
        for version in 1..=3 {
            let image = tool(version);
            lab.engine.tag_image(&image, &format!("sha256:{version}"));
            lab.engine.check_image(&image, Health::Starting);
        }
        lab.template(1);
        lab.round().await;
        lab.all_well();
        assert_eq!(lab.serving(), FLEET);
        lab
    }

    fn template(&self, version: usize) {
        let image = tool(version);
        self.write_fleet(&format!(
            "defaults: {{ template: tool }}\ntemplates: {{ tool: {{ image: '{image}', \
             endpoints: {{ mcp: {{ port: 8080, path: /mcp, auth: bearer }} }} }} }}"
        ));
    }

    fn serving(&self) -> usize {
        let all = self.engine.all().into_iter();
        all.filter(|c| c.phase == Phase::Running && c.health == Some(Health::Healthy))
            .count()
    }

    /// What is still starting turns out to be well.
    fn all_well(&self) {
        self.judge(Health::Healthy);
    }

    fn judge(&self, verdict: Health) {
        for container in self.engine.all() {
            if container.health == Some(Health::Starting) {
                self.engine.set_health(&container.id, Some(verdict));
            }
        }
    }

    /// How many instances run each image.
    fn images(&self) -> BTreeMap<String, usize> {
        let mut images = BTreeMap::new();
        for container in self.engine.all() {
            *images.entry(container.image_id).or_default() += 1;
        }
        images
    }
}

fn tool(version: usize) -> String {
    format!("acme/tool:{version}")
}

fn replaced(report: &Report) -> usize {
    let done = report
        .steps
        .iter()
        .filter(|told| told.outcome == Outcome::Done);
    done.count()
}

#[tokio::test]
async fn a_changed_template_reaches_thirty_a_tenth_at_a_time() {
    let lab = Lab::fleet().await;
    lab.template(2);
    let mut rounds = 0;
    while lab.images().get("sha256:2") != Some(&FLEET) || lab.serving() < FLEET {
        rounds += 1;
        assert!(rounds <= 2 * FLEET, "no end: {:?}", lab.images());
        let report = lab.round().await;
        assert!(replaced(&report) <= MOST, "{report:#?}");
        assert!(
            lab.serving() >= FLEET - MOST,
            "only {} serve",
            lab.serving()
        );
        // A round while the new ones are still starting takes no further ones.
        assert_eq!(replaced(&lab.round().await), 0);
        lab.all_well();
    }
    assert_eq!(rounds, FLEET / MOST);
    assert!(lab.round().await.steps.is_empty());
}

#[tokio::test]
async fn an_image_that_fails_stops_the_rollout_and_leaves_the_rest_untouched() {
    let lab = Lab::fleet().await;
    lab.template(2);
    lab.round().await;
    lab.judge(Health::Unhealthy);
    let before = lab.images();
    for _ in 0..5 {
        let report = lab.round().await;
        assert_eq!(replaced(&report), 0, "{report:#?}");
        let halted = |reason: &Reason| matches!(reason, Reason::RolloutHalted { failing, .. } if failing.len() == MOST);
        let held = report.steps.iter().filter(|told| halted(&told.step.reason));
        assert_eq!(held.count(), FLEET - MOST);
    }
    assert_eq!(lab.images(), before);
    assert_eq!(lab.serving(), FLEET - MOST);

    // The mended image goes to those that fail first, and on from there.
    lab.template(3);
    let report = lab.round().await;
    assert_eq!(replaced(&report), MOST);
    assert_eq!(lab.images().get("sha256:2"), None);
    for _ in 0..FLEET {
        lab.all_well();
        lab.round().await;
        assert!(lab.serving() >= FLEET - MOST);
    }
    assert_eq!(
        lab.images(),
        BTreeMap::from([("sha256:3".to_owned(), FLEET)])
    );
}

#[tokio::test]
async fn an_image_that_cannot_be_had_costs_nobody_anything() {
    let lab = Lab::fleet().await;
    lab.template(9);
    for _ in 0..4 {
        lab.round().await;
    }
    assert_eq!(lab.serving(), FLEET);
    let report = lab.round().await;
    let failed = report
        .steps
        .iter()
        .filter(|told| matches!(told.outcome, Outcome::Failed(_)));
    assert!(failed.count() <= MOST, "{report:#?}");
}

#[tokio::test]
async fn an_engine_that_tells_something_otherwise_fells_no_fleet() {
    let lab = Lab::fleet().await;
    for _ in 0..FLEET {
        for container in lab.engine.all() {
            lab.engine.relabel(&container.id, "of.the.engine", "2");
        }
        let report = lab.round().await;
        assert!(replaced(&report) <= MOST, "{report:#?}");
        assert!(lab.serving() >= FLEET - MOST);
        lab.all_well();
    }
    // Twice in vain, and the others were spared.
    let names = lab.names();
    let made_anew = |name: &&String| !name.ends_with("-g1");
    assert_eq!(names.iter().filter(made_anew).count(), MOST, "{names:?}");
    assert_eq!(lab.serving(), FLEET);
}

#[tokio::test]
async fn what_hands_changed_on_many_is_set_right_a_few_at_a_time() {
    let lab = Lab::fleet().await;
    for container in lab.engine.all() {
        lab.engine.relabel(&container.id, "by.hand", "2");
    }
    let mut rounds = 0;
    while !lab.round().await.steps.is_empty() {
        rounds += 1;
        assert!(rounds <= 2 * FLEET, "no end: {:?}", lab.names());
        assert!(lab.serving() >= FLEET - MOST);
        lab.all_well();
    }
    assert_eq!(rounds, FLEET / MOST);
    assert_eq!(lab.serving(), FLEET);
}
