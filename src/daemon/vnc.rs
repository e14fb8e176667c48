//! The passwords that an instance's VNC server asks for.

use std::sync::Arc;

use super::memory::blocking;
use super::site::Site;
use crate::decisions::report::Failure;
use crate::doors::engine::Observe as _;
use crate::doors::store::Store;
use crate::words::control::VncPasswords;
use crate::words::name::InstanceName;
use crate::words::secret;

/// The VNC passwords that an instance uses now; the store's, where it runs not yet.
///
/// # Errors
/// When neither engine nor store can tell.
pub async fn passwords(
    site: &Site,
    store: Option<&Arc<Store>>,
    name: &InstanceName,
) -> Result<VncPasswords, Failure> {
    let password = secret_in_use(site, store, name, secret::VNC_PASSWORD).await?;
    let view_password = secret_in_use(site, store, name, secret::VNC_VIEW_PASSWORD).await?;
    Ok(VncPasswords {
        password,
        view_password,
    })
}

/// A secret's first line, which is what counts of a password.
async fn secret_in_use(
    site: &Site,
    store: Option<&Arc<Store>>,
    name: &InstanceName,
    secret: &str,
) -> Result<Option<String>, Failure> {
    let secret: secret::SecretName = secret.parse().expect("a secret's name");
    let used = match site.observer() {
        Ok(engine) => engine.read_secret(name, &secret).await,
        Err(error) => Err(error),
    };
    let value = match (used, store) {
        (Ok(Some(value)), _) => Some(value),
        (used, Some(store)) => {
            let of = name.clone();
            let kept = blocking(store, move |store| store.secret(&of, &secret)).await;
            match (kept, used) {
                (Ok(Some(kept)), _) => Some(kept),
                (_, Err(error)) => return Err(error.into()),
                (Err(error), _) => return Err(super::chain::failure(&error)),
                (Ok(None), Ok(_)) => None,
            }
        }
        (Err(error), None) => return Err(error.into()),
        (Ok(None), None) => None,
    };
    let text = value.map(|value| String::from_utf8_lossy(value.expose()).into_owned());
    Ok(text.and_then(|text| Some(text.lines().next()?.trim_end().to_owned())))
}
