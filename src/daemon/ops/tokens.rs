//! Tokens and passwords, of the running daemon where there is one, else of the store.

use std::sync::Arc;

use serde_json::Value;

use super::{daemon, open_store, read, validate};
use crate::daemon::chain::failure;
use crate::daemon::operate;
use crate::daemon::site::Site;
use crate::daemon::tokens::{Tokens, TokensError};
use crate::decisions::report::Failure;
use crate::words::control::IssueToken;
use crate::words::name::InstanceName;
use crate::words::token::{ListedToken, TokenRecord};

/// Makes a token for an instance that the source names, or that stands.
pub async fn issue_token(site: &Site, ask: IssueToken) -> Result<(TokenRecord, String), Failure> {
    refuse_unknown(site, &ask.instance).await?;
    if let Some(client) = daemon(site).await? {
        #[derive(serde::Deserialize)]
        struct Issued {
            record: TokenRecord,
            token: String,
        }
        let issued: Issued = read(client.post("/v1/tokens", &ask).await)?;
        return Ok((issued.record, issued.token));
    }
    let tokens = own_tokens(site).await?;
    let (record, token) = on_blocking(move || tokens.issue(ask, jiff::Timestamp::now())).await?;
    Ok((record, token.expose().to_owned()))
}

/// A token for a name that is nowhere opens nothing: most likely it is mistyped.
async fn refuse_unknown(site: &Site, name: &InstanceName) -> Result<(), Failure> {
    let desired = validate(site, &[], jiff::Timestamp::now())?.desired;
    if desired.names(name) || !desired.diagnostics.is_empty() && desired.is_empty() {
        return Ok(());
    }
    let stands = operate::observe(site)
        .await
        .is_ok_and(|seen| seen.instances.contains_key(name));
    if stands {
        return Ok(());
    }
    let known: Vec<_> = desired.specs.keys().map(InstanceName::as_str).collect();
    Err(Failure {
        message: format!("there is no instance `{name}`"),
        help: Some(if known.is_empty() {
            format!("write {} first", site.manifest_of(name))
        } else {
            format!("known: {}", known.join(", "))
        }),
    })
}

/// All tokens, or one instance's.
pub async fn list_tokens(
    site: &Site,
    instance: Option<&InstanceName>,
) -> Result<Vec<ListedToken>, Failure> {
    if let Some(client) = daemon(site).await? {
        let path = instance.map_or("/v1/tokens".to_owned(), |name| {
            format!("/v1/tokens?instance={name}")
        });
        return read(client.get(&path).await);
    }
    let tokens = own_tokens(site).await?;
    let instance = instance.cloned();
    on_blocking(move || tokens.list(instance.as_ref())).await
}

/// Ends a token, and returns what it was.
pub async fn revoke_token(site: &Site, id: &str) -> Result<TokenRecord, Failure> {
    let unknown = || Failure {
        message: format!("there is no token with the id `{id}`"),
        help: Some("`instanced token list` shows the ids".to_owned()),
    };
    if !crate::words::token::is_token_id(id) {
        return Err(unknown());
    }
    if let Some(client) = daemon(site).await? {
        let all: Vec<TokenRecord> = read(client.get("/v1/tokens").await)?;
        let record = all
            .into_iter()
            .find(|token| token.id == id)
            .ok_or_else(unknown)?;
        let _: Value = read(client.delete(&format!("/v1/tokens/{id}")).await)?;
        return Ok(record);
    }
    let tokens = own_tokens(site).await?;
    let wanted = id.to_owned();
    let revoked = on_blocking(move || {
        let all = tokens.list(None)?.into_iter();
        let mut records = all.map(|listed| listed.record);
        let record = records.find(|token| token.id == wanted);
        tokens.revoke(&wanted)?;
        Ok(record)
    });
    revoked.await?.ok_or_else(unknown)
}

/// The VNC password of an instance, where it has one.
pub async fn vnc_password(site: &Site, name: &InstanceName) -> Result<Option<String>, Failure> {
    if let Some(client) = daemon(site).await? {
        let answer: Value = read(
            client
                .get(&format!("/v1/instances/{name}/vnc-password"))
                .await,
        )?;
        return Ok(answer
            .get("password")
            .and_then(Value::as_str)
            .map(str::to_owned));
    }
    let store = if site.state.is_dir() {
        Some(open_store(site).await?)
    } else {
        None
    };
    operate::vnc_password(site, store.as_ref(), name).await
}

async fn own_tokens(site: &Site) -> Result<Tokens, Failure> {
    Ok(Tokens::new(
        open_store(site).await?,
        Arc::default(),
        Box::new(|_| {}),
    ))
}

async fn on_blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, TokensError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(call).await {
        Ok(done) => done.map_err(|error| failure(&error)),
        Err(_) => Err(Failure {
            message: "it was broken off".into(),
            help: None,
        }),
    }
}
