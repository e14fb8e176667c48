//! What operators say, saved plans, and what holds rounds back: over a real store, opened anew each time.

use instanced::daemon::orders;
use instanced::daemon::round::Ask;
use instanced::decisions::report::{Outcome, Report};
use instanced::decisions::saved::SavedPlan;
use instanced::doors::engine::ErrorClass;
use instanced::words::name::InstanceName;
use instanced::words::overrides::Order;

use super::{Arc, Duration, Lab, Store, outcome};

impl Lab {
    /// As `instanced stop alice` and its like.
    pub(super) async fn order(&self, name: &str, order: Order) -> Report {
        let name: InstanceName = name.parse().expect("a name");
        let ask = {
            let store = Store::open(&self.site.state, Duration::from_secs(5)).expect("the store");
            let now = jiff::Timestamp::now();
            let taken = orders::take(&self.site, &Arc::new(store), &name, order, now).await;
            taken.expect("a known instance").ask
        };
        self.round_for(ask).await
    }

    /// As `instanced reconcile --dry-run --out FILE`.
    async fn save_plan(&self) -> SavedPlan {
        let view = self.look(Ask::default()).await.expect("a look");
        SavedPlan::new(
            view.plan,
            &view.desired,
            &view.observed,
            jiff::Timestamp::now(),
        )
    }

    /// As `instanced reconcile --plan FILE`: by way of the file's text.
    pub(super) async fn perform(&self, plan: &SavedPlan) -> Report {
        let text = serde_json::to_string(plan).expect("a plan");
        let ask = Ask {
            expect: serde_json::from_str(&text).expect("a plan"),
            ..Ask::default()
        };
        self.round_for(ask).await
    }
}

fn refusal(report: &Report) -> &str {
    let refused = report.aborted.as_ref();
    &refused.expect("the plan is refused").message
}

#[tokio::test]
async fn a_stop_lasts_until_it_is_lifted() {
    let lab = Lab::new(&[("alice", "{}"), ("bob", "{}")]);
    lab.round().await;
    lab.order("alice", Order::Stop).await;
    assert_eq!(lab.running(), ["instanced-default-bob-g1"]);
    let later = lab.round().await;
    assert_eq!(*outcome(&later, "alice"), Outcome::Held);
    assert_eq!(lab.running(), ["instanced-default-bob-g1"]);
    lab.order("alice", Order::Start).await;
    assert_eq!(
        lab.running(),
        ["instanced-default-alice-g1", "instanced-default-bob-g1"]
    );
    assert!(lab.round().await.steps.is_empty());
}

#[tokio::test]
async fn what_is_so_already_is_told_and_changes_nothing() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    let name: InstanceName = "alice".parse().expect("a name");
    let at = |second| jiff::Timestamp::from_second(second).expect("a time");
    let store = || Store::open(&lab.site.state, Duration::from_secs(5)).expect("the store");
    let told = async |order, second| {
        let store = Arc::new(store());
        let taken = orders::take(&lab.site, &store, &name, order, at(second)).await;
        taken.expect("a known instance").already
    };
    let kept = || {
        let store = store();
        let overrides = store.overrides().expect("the store").remove(&name);
        let history = store.history(&name).expect("the store");
        (overrides, history)
    };
    for (order, words) in [
        (
            Order::Stop,
            "`alice` is so already: an operator stopped it at 1970-01-01 00:00:10",
        ),
        (
            Order::Suspend,
            "`alice` is so already: an operator suspended it at 1970-01-01 00:00:10",
        ),
    ] {
        assert_eq!(told(order, 10).await, None);
        let before = kept();
        let again = told(order, 20).await.expect("it is so already");
        assert!(again.starts_with(words), "{again}");
        assert_eq!(kept(), before, "{order:?}");
    }
    let (_, history) = kept();
    let words: Vec<_> = history.iter().map(|entry| entry.action.as_str()).collect();
    // In the order of their times.
    assert_eq!(words, ["suspend", "create"]);
    // A stop is one of the manifest as it was.
    lab.write("alice", "owner: alice@example.com");
    assert_eq!(told(Order::Stop, 30).await, None);
    assert!(told(Order::Suspend, 30).await.is_some());
    told(Order::Resume, 40).await;
    assert_eq!(told(Order::Suspend, 50).await, None);
}

#[tokio::test]
async fn a_stop_is_lifted_by_a_change_of_the_manifest_alone() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    lab.order("alice", Order::Stop).await;
    lab.write_fleet("defaults: { owner: somebody }");
    lab.round().await;
    assert_eq!(lab.running(), Vec::<String>::new());
    lab.write("alice", "owner: alice@example.com");
    lab.round().await;
    assert_eq!(lab.running(), ["instanced-default-alice-g1"]);
}

#[tokio::test]
async fn a_suspended_instance_is_left_alone_whatever_becomes_of_its_manifest() {
    let lab = Lab::new(&[("alice", "{}"), ("bob", "{}")]);
    lab.round().await;
    lab.order("alice", Order::Suspend).await;
    lab.engine.clear_journal();
    for text in ["screen: { width: 1600 }", "nonsense: [", "state: stopped"] {
        lab.write("alice", text);
        let report = lab.round().await;
        assert_eq!(*outcome(&report, "alice"), Outcome::Held);
    }
    lab.delete("alice");
    lab.round().await;
    lab.engine.kill("instanced-default-alice-g1");
    lab.round().await;
    assert_eq!(lab.engine.journal(), Vec::<String>::new());
    lab.order("alice", Order::Resume).await;
    assert_eq!(lab.names(), ["instanced-default-bob-g1"]);
}

#[tokio::test]
async fn a_restart_keeps_the_container_and_a_recreation_does_not() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    let before = lab.engine.all().remove(0);
    lab.order("alice", Order::Restart).await;
    let restarted = lab.engine.all().remove(0);
    assert_eq!(restarted.id, before.id);
    assert_ne!(restarted.started, before.started);
    lab.order("alice", Order::Recreate).await;
    assert_eq!(lab.names(), ["instanced-default-alice-g2"]);
    assert!(lab.round().await.steps.is_empty());
}

#[tokio::test]
async fn an_order_for_nobody_is_refused() {
    let lab = Lab::new(&[("alice", "{}")]);
    let store = Store::open(&lab.site.state, Duration::from_secs(5)).expect("the store");
    let store = Arc::new(store);
    let now = jiff::Timestamp::now();
    let refused = async |name: &str, order| {
        let name: InstanceName = name.parse().expect("a name");
        let taken = orders::take(&lab.site, &store, &name, order, now).await;
        let error = taken.expect_err("nobody");
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        error.help().unwrap_or_default().to_owned()
    };
    let help = refused("ghost", Order::Stop).await;
    assert_eq!(help, "`instanced status` shows them all");
    let help = refused("alic", Order::Stop).await;
    assert!(help.starts_with("did you mean `alice`?"), "{help}");
}

#[tokio::test]
async fn a_saved_plan_is_performed_as_it_was_shown() {
    let lab = Lab::new(&[("alice", "{}"), ("bob", "{}")]);
    lab.round().await;
    lab.write("alice", "screen: { width: 1600 }");
    let plan = lab.save_plan().await;
    let report = lab.perform(&plan).await;
    assert_eq!(*outcome(&report, "alice"), Outcome::Done);
    assert_eq!(
        lab.running(),
        ["instanced-default-alice-g2", "instanced-default-bob-g1"]
    );
    // Once: what was observed then is no more.
    assert!(refusal(&lab.perform(&plan).await).contains("containers or images"));
}

#[tokio::test]
async fn a_saved_plan_is_refused_when_its_ground_has_moved() {
    let lab = Lab::new(&[("alice", "{}"), ("bob", "{}")]);
    lab.round().await;
    lab.write("alice", "screen: { width: 1600 }");
    let plan = lab.save_plan().await;
    lab.engine.clear_journal();

    lab.write("bob", "owner: bob@example.com");
    assert!(refusal(&lab.perform(&plan).await).contains("what is desired has changed"));
    lab.write("bob", "{}");
    lab.engine.kill("instanced-default-bob-g1");
    assert!(refusal(&lab.perform(&plan).await).contains("containers or images"));
    assert_eq!(lab.engine.journal(), Vec::<String>::new());
}

#[tokio::test]
async fn a_saved_plan_is_refused_when_an_operator_spoke_since() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    lab.write("alice", "screen: { width: 1600 }");
    let plan = lab.save_plan().await;
    lab.order("alice", Order::Suspend).await;
    assert!(refusal(&lab.perform(&plan).await).contains("other steps"));
}

#[tokio::test]
async fn a_confirmed_prune_is_refused_when_the_removals_have_changed() {
    let names = ["a", "b", "c", "d", "e"];
    let manifests: Vec<_> = names.iter().map(|name| (*name, "{}")).collect();
    let mut lab = Lab::new(&manifests);
    lab.site.config.reconcile.prune.min = 1;
    lab.round().await;
    for gone in ["a", "b", "c"] {
        lab.delete(gone);
    }
    let blocked = lab.round().await;
    let id = blocked
        .steps
        .iter()
        .find_map(|told| match &told.step.reason {
            instanced::decisions::plan::Reason::PruneBlocked { id, .. } => Some(id.clone()),
            _ => None,
        });
    lab.delete("d");
    let confirmed = Ask {
        confirm_prune: Some(id.expect("the prune is blocked")),
        ..Ask::default()
    };
    let report = lab.round_for(confirmed).await;
    for held in ["a", "b", "c", "d"] {
        assert_eq!(*outcome(&report, held), Outcome::Held, "{held}");
    }
    assert_eq!(lab.running().len(), names.len());
}

#[tokio::test]
async fn what_is_changed_back_again_and_again_is_frozen_and_thaws_when_resumed() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    let mut last = Report::default();
    for _ in 0..3 {
        // Somebody makes it anew by hand, from a record of another shape.
        let container = lab.engine.all().remove(0);
        lab.engine.relabel(&container.id, "instanced.spec", "{}");
        last = lab.round().await;
    }
    assert_eq!(*outcome(&last, "alice"), Outcome::Held);
    assert_eq!(lab.running(), ["instanced-default-alice-g3"]);
    lab.engine.clear_journal();
    lab.round().await;
    assert_eq!(lab.engine.journal(), Vec::<String>::new());
    lab.order("alice", Order::Resume).await;
    assert_eq!(lab.running(), ["instanced-default-alice-g4"]);
}

#[tokio::test]
async fn what_another_spec_thawed_can_freeze_again_and_stays_so() {
    let lab = Lab::new(&[("alice", "{}")]);
    let frozen = || {
        let store = Store::open(&lab.site.state, Duration::from_secs(5)).expect("the store");
        let overrides = store.overrides().expect("the store");
        let frozen = overrides.get("alice").and_then(|said| said.frozen.clone());
        frozen.map(|frozen| frozen.since)
    };
    let fight = async || {
        for _ in 0..3 {
            let container = lab.engine.all().remove(0);
            lab.engine.relabel(&container.id, "instanced.spec", "{}");
            lab.round().await;
        }
    };
    lab.round().await;
    fight().await;
    let first = frozen().expect("frozen");
    lab.write("alice", "screen: { width: 1600 }");
    lab.round().await;
    lab.write("alice", "{}");
    fight().await;
    let again = frozen().expect("frozen again");
    assert!(
        again > first,
        "else the change in between would go on thawing it"
    );
}

#[tokio::test]
async fn limits_change_in_place_and_what_the_engine_refuses_replaces() {
    let lab = Lab::new(&[("alice", "{}")]);
    lab.round().await;
    let before = lab.engine.all().remove(0);
    lab.write("alice", "resources: { memory: 2GiB, cpus: 2, pids: 99 }");
    assert_eq!(*outcome(&lab.round().await, "alice"), Outcome::Done);
    let after = lab.engine.all().remove(0);
    assert_eq!((after.id, after.started), (before.id, before.started));
    assert!(lab.round().await.steps.is_empty());

    lab.write("alice", "resources: { memory: 3GiB }");
    lab.engine
        .fail("set_limits", 0, super::Fault::Refuse(ErrorClass::Permanent));
    assert!(matches!(
        outcome(&lab.round().await, "alice"),
        Outcome::Failed(_)
    ));
    assert_eq!(*outcome(&lab.round().await, "alice"), Outcome::Done);
    assert_eq!(lab.running(), ["instanced-default-alice-g2"]);
    assert!(lab.round().await.steps.is_empty());
}

#[tokio::test]
async fn a_container_of_another_daemon_under_our_name_stops_everything() {
    let lab = Lab::new(&[("alice", "{}")]);
    let mut converger = lab.converger();
    let desired = lab.desired().expect("sound");
    let first = converger.look(desired, Ask::default(), true).await;
    let shutdown = super::CancellationToken::new();
    converger
        .perform(&first.expect("a look"), true, &shutdown)
        .await;

    lab.write("bob", "{}");
    lab.as_another_host().round().await;
    lab.engine.clear_journal();
    let refused = converger
        .look(lab.desired().expect("sound"), Ask::default(), true)
        .await;
    let report = refused.expect_err("another daemon is at work");
    let told = refusal(&report);
    assert!(told.contains("instanced-default-bob-g1"), "{told}");
    // Whoever starts anew takes what stands as its own.
    drop(converger);
    assert!(lab.round().await.steps.is_empty());
}

#[tokio::test]
async fn an_image_that_is_always_pulled_is_asked_about_and_replaced_when_it_moved() {
    let mut lab = Lab::new(&[("alice", "pull: always"), ("bob", "{}")]);
    lab.engine.publish_image(super::IMAGE, "sha256:old");
    lab.round().await;
    lab.engine.publish_image(super::IMAGE, "sha256:new");
    assert!(lab.round().await.steps.is_empty(), "nobody asked yet");

    lab.site.config.reconcile.image_refresh = instanced::words::quantity::Span(0);
    let desired = lab.desired().expect("sound");
    lab.engine.clear_journal();
    let asking = lab.converger().refresh(&desired).expect("it is due");
    assert_eq!(asking.await, Vec::<String>::new());
    let pulls = lab.engine.journal();
    assert_eq!(pulls, [format!("pull {}", super::IMAGE)]);
    let report = lab.round().await;
    let alice = report
        .steps
        .iter()
        .find(|told| told.step.instance.as_str() == "alice");
    let reason = &alice.expect("a step").step.reason;
    assert_eq!(
        reason.to_string(),
        "its image has moved from old to new",
        "{report:#?}"
    );
}
