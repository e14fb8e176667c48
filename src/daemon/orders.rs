//! What an operator says of one instance: kept in the store where it lasts, and a round for it.

use std::collections::BTreeMap;

use super::chain::chain;
use super::notebook::Notebook;
use super::operate;
use super::round::{self, Ask};
use super::site::Site;
use crate::decisions::plan::Reason;
use crate::decisions::report::{Report, meant};
use crate::doors::store::StoreError;
use crate::words::act::Cause;
use crate::words::desired::Desired;
use crate::words::history::{Entry, EntryResult};
use crate::words::name::InstanceName;
use crate::words::overrides::{Order, Overrides, Stopped};

/// Why an order was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// No manifest names the instance, or it cannot be used.
    #[error("there is no instance `{name}` whose manifest can be used")]
    Unknown {
        /// The name.
        name: InstanceName,
        /// The way out.
        help: String,
    },
    /// Nothing has this name: no manifest, no container, no history.
    #[error("there is no instance `{name}`, and never was")]
    Nobody {
        /// The name.
        name: InstanceName,
        /// The way out.
        help: String,
    },
    /// The source could not be read.
    #[error("{}", .0.aborted.as_ref().map_or("the source cannot be read", |failure| failure.message.as_str()))]
    Source(Box<Report>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OrderError {
    /// The way out, where one can be named.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Unknown { help, .. } | Self::Nobody { help, .. } => Some(help),
            Self::Source(_) | Self::Store(_) => None,
        }
    }
}

/// An order that was taken.
#[derive(Debug)]
pub struct Taken {
    /// What is asked of the next round.
    pub ask: Ask,
    /// That it was so before, where it was: nothing was changed then.
    pub already: Option<String>,
}

/// Takes an order of what the source says now: what it changes for longer is kept, with a word in the history, and
/// what is asked of the next round is returned.
pub async fn take(
    site: &Site,
    notebook: &impl Notebook,
    name: &InstanceName,
    order: Order,
    now: jiff::Timestamp,
) -> Result<Taken, OrderError> {
    let mut desired = round::read_source(site)
        .and_then(|snapshot| round::desired(&snapshot, site))
        .map_err(OrderError::Source)?;
    if desired.contested.contains_key(name)
        && let Ok(observed) = operate::observe(site).await
    {
        desired.admit_incumbents(&observed);
    }
    if is_for_any(order) && !is_known(site, notebook, &desired, name).await? {
        let help = meant(name, desired.all_names());
        let name = name.clone();
        return Err(OrderError::Nobody { name, help });
    }
    let taken = take_of(&desired, notebook, name, order, now).await?;
    let entry = entry(order, desired.revision, now);
    if let (Some(entry), None) = (entry, &taken.already) {
        let entries = vec![(name.clone(), entry)];
        // For people's eyes: what was said counts without it.
        if let Err(error) = notebook.note_history(entries).await {
            tracing::warn!("the history could not be written: {}", chain(&error));
        }
    }
    Ok(taken)
}

/// A suspension holds whatever stands, also what has no manifest any more, or a broken one.
fn is_for_any(order: Order) -> bool {
    matches!(order, Order::Suspend | Order::Resume)
}

/// Whether there is, or was, an instance of this name: a word mistyped shall not be kept for ever.
async fn is_known(
    site: &Site,
    notebook: &impl Notebook,
    desired: &Desired,
    name: &InstanceName,
) -> Result<bool, OrderError> {
    if desired.names(name) || notebook.acts().await?.contains_key(name) {
        return Ok(true);
    }
    // A store that was lost knows nothing of what stands. An engine that cannot say denies nothing.
    let stands = operate::observe(site).await.ok();
    Ok(stands.is_none_or(|observed| observed.has(name)))
}

/// Takes an order of what is desired.
pub async fn take_of(
    desired: &Desired,
    notebook: &impl Notebook,
    name: &InstanceName,
    order: Order,
    now: jiff::Timestamp,
) -> Result<Taken, OrderError> {
    if !is_for_any(order) && !desired.specs.contains_key(name) {
        let help = meant(name, desired.all_names());
        let name = name.clone();
        return Err(OrderError::Unknown { name, help });
    }
    let mut ask = Ask {
        names: vec![name.clone()],
        ..Ask::default()
    };
    if matches!(order, Order::Restart | Order::Recreate) {
        ask.orders = BTreeMap::from([(name.clone(), order)]);
        let already = None;
        return Ok(Taken { ask, already });
    }
    let memory = notebook.read(now).await?;
    let before = memory.overrides.get(name).cloned().unwrap_or_default();
    let origins = desired.origins.get(name);
    let manifest = origins.map(|o| o.manifest.as_str()).unwrap_or_default();
    let already = already(&before, order, manifest);
    let already = already.map(|reason| format!("`{name}` is so already: {reason}"));
    if already.is_none() {
        let after = with(before, order, manifest, now);
        notebook.set_overrides(name.clone(), after).await?;
    }
    Ok(Taken { ask, already })
}

/// What holds an instance already as an order wants it held. A stop is one of the manifest as it was then.
fn already(before: &Overrides, order: Order, manifest: &str) -> Option<Reason> {
    match order {
        Order::Stop => {
            let stopped = before.stopped.as_ref();
            let stopped = stopped.filter(|stopped| stopped.manifest == manifest)?;
            let since = stopped.since;
            Some(Reason::StoppedByOperator { since })
        }
        Order::Suspend => {
            let since = before.suspended?;
            Some(Reason::Suspended { since })
        }
        Order::Restart | Order::Recreate | Order::Start | Order::Resume => None,
    }
}

/// An operator's word as the history has it, where no step of a plan says the same.
fn entry(order: Order, revision: String, at: jiff::Timestamp) -> Option<Entry> {
    let action = match order {
        Order::Suspend => "suspend",
        Order::Resume => "resume",
        Order::Restart | Order::Recreate | Order::Stop | Order::Start => return None,
    };
    Some(Entry {
        at,
        action: action.to_owned(),
        cause: Cause::Operator,
        reason: "an operator asked for it".to_owned(),
        generation: None,
        fields: Vec::new(),
        revision,
        commit: None,
        result: EntryResult::Done,
        millis: None,
    })
}

fn with(before: Overrides, order: Order, manifest: &str, now: jiff::Timestamp) -> Overrides {
    match order {
        Order::Stop => Overrides {
            stopped: Some(Stopped {
                since: now,
                manifest: manifest.to_owned(),
            }),
            ..before
        },
        Order::Start => Overrides {
            stopped: None,
            resumed: Some(now),
            ..before
        },
        Order::Suspend => Overrides {
            suspended: Some(now),
            ..before
        },
        Order::Resume => Overrides {
            suspended: None,
            frozen: None,
            resumed: Some(now),
            ..before
        },
        Order::Restart | Order::Recreate => before,
    }
}
