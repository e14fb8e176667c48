//! Planning alone, for a big fleet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use instanced::decisions::plan::{Action, History, Plan, plan};
use instanced::words::act::{Act, Cause, Deed};
use instanced::words::config::{Config, Reconcile, Rollout};
use instanced::words::desired::{Content, Desired, Snapshot, SourceFile};
use instanced::words::name::InstanceName;
use instanced::words::observed::{Applied, Generation, Limits, Observed, Phase};
use instanced::words::quantity::Share;
use instanced::words::resolve::resolve;
use instanced::words::spec::Spec;
use rustix::time::{ClockId, clock_gettime};

use crate::report::{Row, at, sorted};
use crate::tell;

const INSTANCES: usize = 10_000;
const MOST_MS: f64 = 50.0;
const KIB_MOST: f64 = 20.0;
const RUNS: usize = 31;
const PAGE_KIB: f64 = 4.0;

/// All rows.
pub fn measure() -> Vec<Row> {
    tell(format_args!("plans for {INSTANCES} instances"));
    let policy = Config::default().reconcile;
    let before = resident_kib();
    let desired = desired("acme/metabase:1");
    let observed = observed(&desired);
    let history = history(&desired);
    let idle = plan(&desired, &observed, &history, &policy);
    let grown = resident_kib() - before;
    assert_eq!(idle.unchanged, INSTANCES, "{:?}", idle.steps.first());
    drop(idle);

    let mut rows = vec![timed(
        "all as they shall be",
        (&desired, &observed, &history, &policy),
        |plan| plan.steps.is_empty(),
    )];
    let nothing = (Observed::default(), History::default());
    rows.push(timed(
        "all to be created",
        (&desired, &nothing.0, &nothing.1, &policy),
        |plan| of_kind(plan, |action| matches!(action, Action::Create { .. })) == INSTANCES,
    ));
    let other = self::desired("acme/metabase:2");
    let all = Reconcile {
        replace: Rollout {
            max_unavailable: Share::Percent(100),
            ..policy.replace.clone()
        },
        ..policy.clone()
    };
    rows.push(timed(
        "all to be replaced",
        (&other, &observed, &history, &all),
        |plan| of_kind(plan, |action| matches!(action, Action::Replace { .. })) == INSTANCES,
    ));
    #[expect(clippy::cast_precision_loss, reason = "ten thousand")]
    let each = grown / INSTANCES as f64;
    rows.push(Row {
        what: format!("memory an instance, of {INSTANCES}"),
        figure: each,
        unit: "KiB",
        limit: Some(KIB_MOST),
        command: "benches/speed: plan",
        note: "growth of what is resident: desired, observed, history, plan, and what reading them left"
            .to_owned(),
    });
    rows
}

fn of_kind(plan: &Plan, kind: impl Fn(&Action) -> bool) -> usize {
    plan.steps.iter().filter(|step| kind(&step.action)).count()
}

fn timed(
    what: &str,
    (desired, observed, history, policy): (&Desired, &Observed, &History, &Reconcile),
    expected: impl Fn(&Plan) -> bool,
) -> Row {
    let (mut runs, mut walls) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (began, busy) = (Instant::now(), on_processor_ms());
        let plan = plan(desired, observed, history, policy);
        runs.push(on_processor_ms() - busy);
        walls.push(began.elapsed().as_secs_f64() * 1000.0);
        assert!(expected(&plan), "{what}: {:?}", plan.steps.first());
    }
    let (runs, walls) = (sorted(runs.into_iter()), sorted(walls.into_iter()));
    Row {
        what: format!("plan for {INSTANCES}, {what}"),
        figure: at(&runs, 0.5),
        unit: "ms",
        limit: Some(MOST_MS),
        command: "benches/speed: plan",
        note: format!(
            "median on the processor; {} runs, {:.1} to {:.1} ms; by the wall clock {:.1} ms, best {:.1} ms",
            runs.len(),
            runs[0],
            runs[runs.len() - 1],
            at(&walls, 0.5),
            walls[0],
        ),
    }
}

fn desired(image: &str) -> Desired {
    let manifests = (0..INSTANCES).map(|number| {
        let stem = format!("i{number:05}");
        SourceFile {
            path: format!("instances.d/{stem}.yaml"),
            content: Content::Text(format!(
                "template: mcp-http\nimage: {image}\nowner: team-{}@example.com\n\
                 env: {{ LANG: C.UTF-8, TENANT: \"{number}\" }}\nlabels: {{ team: qa }}\n\
                 resources: {{ memory: 512MiB, cpus: 0.5, pids: 64 }}\n",
                number % 100
            )),
            stem,
        }
    });
    let snapshot = Snapshot {
        revision: "bench".to_owned(),
        commit: None,
        commit_issue: None,
        fleet: None,
        manifests: manifests.collect(),
    };
    let mut config = Config::default();
    config.policy.max_instances = INSTANCES;
    let desired = resolve(&snapshot, &config).expect("manifests of our own");
    assert_eq!(
        desired.specs.len(),
        INSTANCES,
        "{:?}",
        desired.diagnostics.first()
    );
    desired
}

/// Everything runs as it shall.
fn observed(desired: &Desired) -> Observed {
    let instances = desired.specs.iter().map(|(name, spec)| {
        // As from an engine: read from a label, and nothing shared.
        let text = serde_json::to_string(spec).expect("a spec is plain data");
        let applied: Arc<Spec> = serde_json::from_str(&text).expect("a spec");
        let generation = Generation {
            id: blake3::hash(name.as_str().as_bytes()).to_hex().to_string(),
            name: format!("instanced-default-{name}-g1"),
            number: 1,
            limits: Limits::of(spec),
            applied: Applied::Spec(applied),
            phase: Phase::Running,
            health: None,
            image_id: format!("sha256:{}", blake3::hash(b"image").to_hex()),
            address: Some([10, 0, 0, 1].into()),
            started: Some(jiff::Timestamp::UNIX_EPOCH),
            drift: Vec::new(),
            author: Some("0123456789abcdef".to_owned()),
            restarts: 0,
        };
        (name.clone(), vec![generation])
    });
    let image = desired
        .specs
        .values()
        .next()
        .expect("there are some")
        .image
        .clone();
    Observed {
        instances: instances.collect(),
        images: BTreeMap::from([(image, format!("sha256:{}", blake3::hash(b"image").to_hex()))]),
        ..Observed::default()
    }
}

/// Each was created once, long ago, and updated since.
fn history(desired: &Desired) -> History {
    let act = |spec: &Spec, deed| Act {
        at: jiff::Timestamp::UNIX_EPOCH,
        deed,
        cause: Cause::Desired,
        generation: 1,
        spec: spec.digest(),
        fields: Vec::new(),
        revision: desired.revision.clone(),
        served: None,
        done: Some(true),
    };
    let acts: BTreeMap<InstanceName, Vec<Act>> = desired
        .specs
        .iter()
        .map(|(name, spec)| {
            let acts = vec![act(spec, Deed::Create), act(spec, Deed::Update)];
            (name.clone(), acts)
        })
        .collect();
    History {
        now: "2026-11-23T12:00:00Z".parse().expect("a time"),
        acts: Arc::new(acts),
        ..History::default()
    }
}

/// For how long this thread was on a processor: a busy machine is no slow plan.
fn on_processor_ms() -> f64 {
    let now = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
    now.expect("no thread ran for less than nothing")
        .as_secs_f64()
        * 1000.0
}

fn resident_kib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc is there");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.expect("statm has numbers") * PAGE_KIB
}
