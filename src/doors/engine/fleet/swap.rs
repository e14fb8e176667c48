//! A new generation takes over from the old ones.
//!
//! With `stop-first` the old ones stop before it starts. With `start-first` it starts beside them; only when it
//! is healthy and Traefik serves it do they drain, stop and go. Until then they are not touched, and whatever
//! goes wrong ends with the new one removed.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::observe::{applied, generation_number};
use super::{Fleet, STOP_SECS, ok_if_gone, unrouted};
use crate::decisions::plan::Retired;
use crate::decisions::probe::Judgement;
use crate::doors::engine::containers::{ChangeContainers, Container, Summary};
use crate::doors::engine::{EngineError, ErrorClass, Secrets};
use crate::doors::probe::{Target, probe_of};
use crate::words::label;
use crate::words::manifest::{ReplaceOrder, Restart};
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Health, Phase};
use crate::words::quantity::Span;
use crate::words::redact::Redactor;
use crate::words::route::Provider;
use crate::words::secret::{DIRECTORY, SecretValue};
use crate::words::spec::Spec;

/// How long a new generation may take until its health check calls it healthy.
const HEALTHY_WITHIN: Duration = Duration::from_secs(90);
/// The longest that may take, whatever its start period says: its rollout waits for it.
const HEALTHY_MOST: Duration = Duration::from_secs(300);
/// How often health is asked meanwhile.
const HEALTH_EVERY: Duration = Duration::from_millis(250);
/// What is under way on the old generation when the new one serves may take so long.
const DRAIN: Duration = Duration::from_secs(3);
/// How many of its last lines a failed generation is told with.
const LAST_LINES: usize = 10;
/// No line is told in more characters.
const LINE_MAX: usize = 300;

/// What a replacement is made of.
#[derive(Clone, Copy)]
pub(super) struct Swap<'a> {
    pub(super) instance: &'a InstanceName,
    pub(super) retire: &'a [Retired],
    pub(super) generation: u64,
    pub(super) spec: &'a Spec,
}

impl<C: ChangeContainers> Fleet<C> {
    /// Makes the new generation and lets it take over.
    pub(super) async fn replace(
        &self,
        swap: Swap<'_>,
        secrets: &Secrets,
    ) -> Result<(), EngineError> {
        let id = self.create(swap.spec, swap.generation, secrets).await?;
        if swap.spec.replace == ReplaceOrder::StartFirst {
            self.start_first(swap, &id, Some(secrets)).await?;
            return self.discard(swap.instance, swap.retire).await;
        }
        let started = async {
            // Making it may have taken long. What is refused now would be refused when the old one is down.
            self.check_mounts(swap.spec).await?;
            self.leave(swap.instance, swap.retire).await?;
            for old in swap.retire {
                // The policy too: should we end here, the engine must not run two generations.
                ok_if_gone(self.containers.set_restart(&old.id, Restart::No).await)?;
                self.containers.stop(&old.id, STOP_SECS).await?;
            }
            self.start(&id, swap.spec).await
        };
        match started.await {
            Ok(()) => self.discard(swap.instance, swap.retire).await,
            // Nothing can be taken back on an engine that does not answer.
            Err(error) if error.class.is_unclear() => Err(error),
            Err(error) => {
                // Every try makes one: an instance that cannot be replaced would pile them up.
                self.drop_quietly(&id).await;
                self.drop_secrets(swap.instance, swap.generation).await;
                Err(error)
            }
        }
    }

    /// Goes on with a `start-first` swap that was broken off: `old` is about to be removed. Does nothing where
    /// none of them serves.
    pub(super) async fn resume(
        &self,
        instance: &InstanceName,
        old: &[Retired],
    ) -> Result<(), EngineError> {
        let mut labels = self.labels();
        labels.push((label::INSTANCE.to_owned(), instance.to_string()));
        let mut standing = self.containers.list(&labels).await?;
        let is_old = |found: &Summary| old.iter().any(|old| old.id == found.id);
        let serves = |found: &Summary| {
            let served = |old: &Retired| old.id == found.id && old.number > 0;
            found.phase == Phase::Running && old.iter().any(served)
        };
        let serves = standing.iter().any(serves);
        standing.retain(|found| !is_old(found));
        let newest = standing
            .into_iter()
            .max_by_key(|found| generation_number(&found.labels));
        let Some(newest) = newest.filter(|_| serves) else {
            return Ok(());
        };
        match applied(&newest.labels) {
            Applied::Spec(spec) if spec.replace == ReplaceOrder::StartFirst => {
                let swap = Swap {
                    instance,
                    retire: old,
                    generation: generation_number(&newest.labels),
                    spec: &spec,
                };
                let secrets = self.secrets_of(&spec, &newest.id).await;
                self.start_first(swap, &newest.id, secrets.as_ref()).await
            }
            _ => Ok(()),
        }
    }

    /// From a new generation, started or not, until the old ones may stop. On failure it is gone.
    async fn start_first(
        &self,
        swap: Swap<'_>,
        id: &str,
        secrets: Option<&Secrets>,
    ) -> Result<(), EngineError> {
        let Err(error) = self.serve_beside(swap, id).await else {
            sleep(DRAIN).await;
            return Ok(());
        };
        // Where its secrets are not known, they cannot be left out of what it wrote.
        let output = match secrets {
            Some(secrets) => self.last_output(id, secrets).await,
            None => Vec::new(),
        };
        self.drop_quietly(id).await;
        self.drop_secrets(swap.instance, swap.generation).await;
        Err(EngineError { output, ..error })
    }

    /// Starts it, and waits until it is healthy and served.
    async fn serve_beside(&self, swap: Swap<'_>, id: &str) -> Result<(), EngineError> {
        let checked = self.containers.inspect(id).await?;
        let checked = checked.is_some_and(|made| made.settings.health_check.is_some());
        if !checked {
            can_be_asked(swap.spec, id)?;
        }
        self.start(id, swap.spec).await?;
        let address = if checked {
            self.until_checked(id).await?
        } else {
            None
        };
        // Where a file leads to it, it is also asked by ourselves: what its check says is not what clients see.
        let address = if !checked || swap.spec.edge.provider == Provider::File {
            self.until_it_answers(swap, id).await?
        } else {
            address
        };
        let Some(address) = address else {
            return Ok(());
        };
        let routed = |error| unrouted(swap.instance, &error);
        let before = self
            .edge
            .lead(swap.spec, swap.generation, address)
            .await
            .map_err(routed)?;
        let served = self.edge.until_served(swap.spec, swap.generation, address);
        let Err(error) = served.await else {
            return Ok(());
        };
        if let Err(error) = self.edge.lead_back(swap.instance, before).await {
            tracing::warn!(instance = %swap.instance, %error, "the route leads to a generation that goes");
        }
        Err(routed(error))
    }

    /// Until the engine's check calls it healthy. Returns its address.
    async fn until_checked(&self, id: &str) -> Result<Option<IpAddr>, EngineError> {
        let began = Instant::now();
        loop {
            let container = self.running(id).await?;
            match container.health {
                Some(Health::Healthy) => return Ok(self.address(&container)),
                Some(Health::Unhealthy) => {
                    return Err(not_healthy(id, "its health check says: unhealthy"));
                }
                Some(Health::Starting) | None => {}
            }
            if began.elapsed() > HEALTHY_WITHIN {
                let detail = format!("not healthy within {} s", HEALTHY_WITHIN.as_secs());
                return Err(not_healthy(id, &detail));
            }
            sleep(HEALTH_EVERY).await;
        }
    }

    /// Until our own probe calls it healthy. Returns its address; `None` where nothing of it can be asked.
    async fn until_it_answers(
        &self,
        swap: Swap<'_>,
        id: &str,
    ) -> Result<Option<IpAddr>, EngineError> {
        let probe = probe_of(swap.spec);
        let mut judgement = Judgement::default();
        let began = Instant::now();
        let limit = Duration::from(probe.start_period)
            .saturating_add(HEALTHY_WITHIN)
            .min(HEALTHY_MOST);
        loop {
            if began.elapsed() > limit {
                let detail = format!("not ready within {} s", limit.as_secs());
                return Err(not_healthy(id, &detail));
            }
            let container = self.running(id).await?;
            let Some(address) = self.address(&container) else {
                return Err(not_healthy(id, "it has no address on the fleet's network"));
            };
            let Some(target) = Target::of(swap.spec, address) else {
                return Ok(None);
            };
            let asked = target.ask().await;
            let age = Span(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
            judgement = judgement.after(asked.is_ok(), age, &probe);
            match (judgement.health(), asked) {
                (Health::Healthy, _) => return Ok(Some(address)),
                (Health::Unhealthy, Err(why)) => {
                    let detail = format!("{} does not answer well: {why}", target.address);
                    return Err(not_healthy(id, &detail));
                }
                _ if age < probe.start_period => sleep(HEALTH_EVERY).await,
                _ => sleep(judgement.pause(age, &probe).into()).await,
            }
        }
    }

    /// The container, which must run.
    async fn running(&self, id: &str) -> Result<Container, EngineError> {
        match self.containers.inspect(id).await? {
            Some(container) if container.phase == Phase::Running => Ok(container),
            Some(container) => {
                let detail = format!("it is {:?}", container.phase).to_lowercase();
                Err(not_healthy(id, &detail))
            }
            None => Err(not_healthy(id, "it vanished")),
        }
    }

    fn address(&self, container: &Container) -> Option<IpAddr> {
        container.addresses.get(&self.network.name).copied()
    }

    /// The values that a generation was given; `None` when one of them cannot be read.
    async fn secrets_of(&self, spec: &Spec, id: &str) -> Option<Secrets> {
        let mut values = Secrets::new();
        for name in spec.secrets.keys() {
            let path = format!("{DIRECTORY}/{name}");
            let value = self.containers.read_file(id, &path).await.ok()?;
            values.insert(name.clone(), SecretValue::new(value));
        }
        Some(values)
    }

    /// The last lines of a generation that failed, without its secrets.
    async fn last_output(&self, id: &str, secrets: &Secrets) -> Vec<String> {
        let lines = match self.containers.logs(id, LAST_LINES).await {
            Ok(lines) => lines,
            Err(error) => {
                tracing::debug!(%error, "failed to read the output of a failed generation");
                return Vec::new();
            }
        };
        let redactor = Redactor::new(secrets.values().map(SecretValue::expose));
        let lines = lines.iter().map(|line| readable(line, &redactor));
        lines.filter(|line| !line.is_empty()).collect()
    }
}

/// A line of somebody else's program, without secrets of ours and not without end. The writer shows what would control a
/// terminal.
fn readable(line: &str, redactor: &Redactor) -> String {
    let line = redactor.line(line);
    let short: String = line.chars().take(LINE_MAX).collect();
    short.trim_end().to_owned()
}

/// Without a check of the engine's, Traefik sends clients to a container before it listens, unless a file leads
/// them there.
fn can_be_asked(spec: &Spec, id: &str) -> Result<(), EngineError> {
    let detail = if spec.endpoints.is_empty() {
        "its image has no health check, and it has no endpoint that could be asked"
    } else if spec.edge.provider == Provider::Labels {
        "its image has no health check, so Traefik would send clients to it before it listens"
    } else {
        return Ok(());
    };
    Err(EngineError::new(
        format!("start container {id:.12} beside the old one"),
        ErrorClass::Permanent,
        detail,
    )
    .with_help(
        "write `replace: stop-first`, or give the image a HEALTHCHECK; with `traefik.provider: { file: DIR }` \
         an instance with endpoints needs none",
    ))
}

fn not_healthy(id: &str, detail: &str) -> EngineError {
    let operation = format!("start container {id:.12}");
    EngineError::new(operation, ErrorClass::Retry, detail)
        .with_help("the old generation still serves; `instanced status NAME` shows what the new one wrote last")
}
