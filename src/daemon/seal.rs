//! Secrets of the desired instances: read, compared by fingerprint, ready to be handed to the engine.
//!
//! A generated password that the store has lost is read back from the instance that uses it: a lost state
//! directory recreates nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::chain::chain;
use super::notebook::Notebook;
use crate::doors::engine::{EngineError, ErrorClass, Observe, Secrets};
use crate::doors::store::StoreError;
use crate::doors::vault;
use crate::words::desired::Desired;
use crate::words::name::InstanceName;
use crate::words::observed::{Applied, Observed};
use crate::words::secret::{
    self, FingerprintKey, SecretName, SecretSource, SecretValue, VNC_PASSWORD_COUNTS,
};

/// How long a round waits for a password to be read back from its instance.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Letters and digits that nobody mistakes for one another when typing.
const GENERATED_FROM: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The secrets of a round.
#[derive(Debug, Default)]
pub struct Sealed {
    /// Values by instance.
    pub values: BTreeMap<InstanceName, Secrets>,
    /// Instances with a secret that cannot be read, and why.
    pub unreadable: BTreeMap<InstanceName, String>,
}

/// Why sealing stopped altogether.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The engine failed while a password was read back.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Reads every secret and notes its fingerprint in `desired`. With a `keep`, generated ones that are
/// missing are read back or made and kept; without, nothing is written anywhere.
pub async fn seal<O: Observe>(
    desired: &mut Desired,
    observed: &Observed,
    engine: &O,
    key: Option<&FingerprintKey>,
    keep: Option<&impl Notebook>,
) -> Result<Sealed, SealError> {
    let mut sealed = Sealed::default();
    for (instance, spec) in &mut desired.specs {
        if spec.secrets.is_empty() {
            continue;
        }
        let mut values = Secrets::new();
        for (name, secret) in &mut Arc::make_mut(spec).secrets {
            let value = match &secret.from {
                SecretSource::Generated => match keep {
                    Some(store) => match generated(instance, name, observed, engine, store).await {
                        Ok(value) => Some(value),
                        // What its engine cannot read of one instance holds that one alone.
                        Err(SealError::Engine(error)) if error.class != ErrorClass::Away => {
                            let why = format!("secret {name}: {}", chain(&error));
                            sealed.unreadable.insert(instance.clone(), why);
                            None
                        }
                        Err(error) => return Err(error),
                    },
                    None => None,
                },
                outside => match vault::read(outside) {
                    Ok(value) => value,
                    Err(error) => {
                        let why = format!("secret {name}: {}", chain(&error));
                        sealed.unreadable.insert(instance.clone(), why);
                        None
                    }
                },
            };
            if let Some(value) = value {
                secret.print = key.map(|key| key.print(&value));
                values.insert(name.clone(), value);
            }
        }
        if let Some(why) = typing_by_looking(&values) {
            sealed.unreadable.insert(instance.clone(), why);
        }
        sealed.values.insert(instance.clone(), values);
    }
    Ok(sealed)
}

/// Why whoever may look could also type: VNC goes by the password alone.
fn typing_by_looking(values: &Secrets) -> Option<String> {
    let of = |wanted: &str| {
        let mut found = values.iter().filter(|(name, _)| name.as_str() == wanted);
        found.next().map(|(_, value)| value)
    };
    let (all, view) = (of(secret::VNC_PASSWORD)?, of(secret::VNC_VIEW_PASSWORD)?);
    all.is_same_vnc_password(view).then(|| {
        let (all, view) = (secret::VNC_PASSWORD, secret::VNC_VIEW_PASSWORD);
        format!(
            "secret {view}: it begins with the same {VNC_PASSWORD_COUNTS} characters as {all}, and VNC counts no more: \
             whoever may look could also type"
        )
    })
}

async fn generated<O: Observe>(
    instance: &InstanceName,
    name: &SecretName,
    observed: &Observed,
    engine: &O,
    store: &impl Notebook,
) -> Result<SecretValue, SealError> {
    if let Some(kept) = store.secret(instance.clone(), name.clone()).await? {
        return Ok(kept);
    }
    // It may have one that is in use.
    if let Some(why) = observed.unobserved.get(instance) {
        let operation = format!("read secret {name} of {instance} back");
        let error = EngineError::new(operation, ErrorClass::Stalled, why);
        return Err(SealError::Engine(error));
    }
    // A password that came from a file was somebody's own: dropping the file means to drop it.
    let newest = observed.instances.get(instance).and_then(|all| all.last());
    let was_generated = newest.is_some_and(|generation| match &generation.applied {
        Applied::Spec(spec) => spec
            .secrets
            .get(name)
            .is_some_and(|secret| secret.from == SecretSource::Generated),
        Applied::Newer(_) | Applied::Unreadable(_) => false,
    });
    let used = if was_generated {
        let read = tokio::time::timeout(READ_LIMIT, engine.read_secret(instance, name));
        read.await.unwrap_or_else(|_| {
            let detail = format!("no answer within {} s", READ_LIMIT.as_secs());
            let operation = format!("read secret {name} of {instance} back");
            Err(EngineError::new(operation, ErrorClass::Stalled, detail))
        })?
    } else {
        None
    };
    let value = match used.filter(|value| !value.expose().is_empty()) {
        Some(value) => {
            tracing::info!(%instance, secret = %name, "read back from the instance: the store had lost it");
            value
        }
        None => generate()?,
    };
    store
        .put_secret(instance.clone(), name.clone(), value.clone())
        .await?;
    Ok(value)
}

fn generate() -> Result<SecretValue, SealError> {
    let mut random = [0_u8; VNC_PASSWORD_COUNTS];
    getrandom::fill(&mut random).map_err(SealError::Random)?;
    // 256 is a multiple of 32: every character is equally likely.
    let text = random
        .iter()
        .map(|byte| GENERATED_FROM[usize::from(byte % 32)])
        .collect();
    Ok(SecretValue::new(text))
}
