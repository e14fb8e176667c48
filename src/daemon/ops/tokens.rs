//! Tokens and passwords, of the running daemon where there is one, else of the store.

use std::sync::Arc;

use serde_json::Value;

use super::{daemon, open_store, read, validate};
use crate::daemon::chain::failure;
use crate::daemon::operate;
use crate::daemon::site::Site;
use crate::daemon::tokens::{Rotated, Tokens, TokensError};
use crate::daemon::vnc;
use crate::decisions::report::Failure;
use crate::words::control::{AskTicket, IssueToken, RotateToken, VncPasswords};
use crate::words::manifest::Auth;
use crate::words::name::{EndpointName, InstanceName};
use crate::words::observed::Applied;
use crate::words::spec::Spec;
use crate::words::token::{ListedToken, Token, TokenRecord, is_token_id};

/// A token that was just made: the only place that has its plain text.
#[derive(serde::Deserialize)]
pub struct Issued {
    /// What is kept of it.
    pub record: TokenRecord,
    /// The token itself.
    pub token: String,
    /// The token that it replaces, as that one ends.
    #[serde(default)]
    pub replaced: Option<TokenRecord>,
}

impl From<(TokenRecord, Token)> for Issued {
    fn from((record, token): (TokenRecord, Token)) -> Self {
        Self {
            record,
            token: token.expose().to_owned(),
            replaced: None,
        }
    }
}

/// Makes a token for an instance that the source names, or that stands.
pub async fn issue_token(site: &Site, ask: IssueToken) -> Result<Issued, Failure> {
    let spec = spec_of(site, &ask.instance).await?;
    if let Some(spec) = spec {
        refuse_endpoints(&spec, &ask.endpoints, Auth::Bearer)?;
    }
    if let Some(client) = daemon(site).await? {
        return read(client.post("/v1/tokens", &ask).await);
    }
    let tokens = own_tokens(site).await?;
    let issued = on_blocking(move || tokens.issue(ask, jiff::Timestamp::now())).await?;
    Ok(issued.into())
}

/// Makes a token in place of another.
pub async fn rotate_token(site: &Site, id: &str, ask: RotateToken) -> Result<Issued, Failure> {
    if !is_token_id(id) {
        return Err(unknown(id));
    }
    if let Some(client) = daemon(site).await? {
        let path = format!("/v1/tokens/{id}/rotate");
        return read(client.post(&path, &ask).await);
    }
    let tokens = own_tokens(site).await?;
    let wanted = id.to_owned();
    let rotated = on_blocking(
        move || match tokens.rotate(&wanted, &ask, jiff::Timestamp::now()) {
            Err(TokensError::Unknown(_)) => Ok(None),
            rotated => rotated.map(Some),
        },
    );
    let Rotated { old, new, token } = rotated.await?.ok_or_else(|| unknown(id))?;
    Ok(Issued {
        replaced: Some(old),
        ..Issued::from((new, token))
    })
}

/// Makes a ticket for an endpoint that is guarded by tickets.
pub async fn issue_ticket(
    site: &Site,
    instance: &InstanceName,
    ask: AskTicket,
) -> Result<Issued, Failure> {
    if let Some(spec) = spec_of(site, instance).await? {
        refuse_endpoints(&spec, std::slice::from_ref(&ask.endpoint), Auth::Ticket)?;
    }
    if let Some(client) = daemon(site).await? {
        let path = format!("/v1/instances/{instance}/tickets");
        return read(client.post(&path, &ask).await);
    }
    let tokens = own_tokens(site).await?;
    let instance = instance.clone();
    let issued = on_blocking(move || tokens.ticket(instance, ask, jiff::Timestamp::now()));
    Ok(issued.await?.into())
}

/// The instance that a token is asked for, where it can be read what it is. A token for a name that is nowhere
/// opens nothing: most likely it is mistyped.
async fn spec_of(site: &Site, name: &InstanceName) -> Result<Option<Arc<Spec>>, Failure> {
    let mut desired = validate(site, &[], jiff::Timestamp::now())?.desired;
    if let Some(spec) = desired.specs.remove(name) {
        return Ok(Some(spec));
    }
    if desired.names(name) || !desired.diagnostics.is_empty() && desired.is_empty() {
        return Ok(None);
    }
    let stands = operate::observe(site).await.ok();
    let stands = stands.and_then(|mut seen| seen.instances.remove(name)?.pop());
    if let Some(generation) = stands {
        return Ok(match generation.applied {
            Applied::Spec(spec) => Some(spec),
            _ => None,
        });
    }
    let nobody = Failure::no_instance(name, desired.all_names());
    let first = format!("write {} first", site.manifest_of(name));
    Err(if desired.is_empty() {
        let help = Some(first);
        Failure { help, ..nobody }
    } else {
        nobody
    })
}

/// What is limited to endpoints that it cannot open opens nothing.
fn refuse_endpoints(spec: &Spec, asked: &[EndpointName], guard: Auth) -> Result<(), Failure> {
    let (name, by) = (&spec.name, guarded(guard));
    let known = spec.endpoints.iter();
    let known = known.filter(|(_, endpoint)| endpoint.auth == guard);
    let known: Vec<_> = known.map(|(name, _)| name.as_str()).collect();
    for endpoint in asked {
        let message = match spec.endpoints.get(endpoint) {
            Some(found) if found.auth == guard => continue,
            Some(found) => format!(
                "endpoint `{endpoint}` of `{name}` is {}, not {by}",
                guarded(found.auth)
            ),
            None => format!("`{name}` has no endpoint `{endpoint}`"),
        };
        let help = if known.is_empty() {
            format!("none of its endpoints is {by}: `auth` in its manifest says how each is")
        } else {
            format!("{by}: {}", known.join(", "))
        };
        let help = Some(help);
        return Err(Failure { message, help });
    }
    Ok(())
}

fn guarded(by: Auth) -> &'static str {
    match by {
        Auth::Bearer => "guarded by tokens",
        Auth::Ticket => "guarded by tickets",
        Auth::None => "open to all",
    }
}

fn unknown(id: &str) -> Failure {
    Failure {
        message: format!("there is no token with the id `{id}`"),
        help: Some("`instanced token list` shows the ids".to_owned()),
    }
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
    if !is_token_id(id) {
        return Err(unknown(id));
    }
    if let Some(client) = daemon(site).await? {
        let all: Vec<TokenRecord> = read(client.get("/v1/tokens").await)?;
        let record = all
            .into_iter()
            .find(|token| token.id == id)
            .ok_or_else(|| unknown(id))?;
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
    revoked.await?.ok_or_else(|| unknown(id))
}

/// The VNC passwords of an instance, as far as it has any.
pub async fn vnc_passwords(site: &Site, name: &InstanceName) -> Result<VncPasswords, Failure> {
    if let Some(client) = daemon(site).await? {
        let path = format!("/v1/instances/{name}/vnc-password");
        return read(client.get(&path).await);
    }
    let store = if site.state.is_dir() {
        Some(open_store(site).await?)
    } else {
        None
    };
    vnc::passwords(site, store.as_ref(), name).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::config::Config;
    use crate::words::desired::{Snapshot, SourceFile};
    use crate::words::resolve::resolve;

    fn spec(text: &str) -> Arc<Spec> {
        let snapshot = Snapshot {
            revision: "r1".to_owned(),
            manifests: vec![SourceFile::of_text("instances.d/alice.yaml", text)],
            ..Snapshot::default()
        };
        let desired = resolve(&snapshot, &Config::default()).unwrap();
        assert!(!desired.has_errors(), "{:#?}", desired.diagnostics);
        desired.specs.into_values().next().unwrap()
    }

    #[test]
    fn endpoints_that_a_token_could_not_open_are_refused_with_those_it_could() {
        let spec = spec("template: playwright-browser\n");
        let names = |names: &[&str]| -> Vec<EndpointName> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        refuse_endpoints(&spec, &[], Auth::Bearer).unwrap();
        refuse_endpoints(&spec, &names(&["mcp"]), Auth::Bearer).unwrap();
        let refused = |asked: &[&str], guard| {
            let failure = refuse_endpoints(&spec, &names(asked), guard).unwrap_err();
            (failure.message, failure.help.unwrap())
        };
        let (message, help) = refused(&["mcp", "ssh"], Auth::Bearer);
        assert_eq!(message, "`alice` has no endpoint `ssh`");
        assert_eq!(help, "guarded by tokens: mcp");
        let (message, _) = refused(&["vnc"], Auth::Bearer);
        assert_eq!(
            message,
            "endpoint `vnc` of `alice` is open to all, not guarded by tokens"
        );
        let (_, help) = refused(&["vnc"], Auth::Ticket);
        assert!(help.starts_with("none of its endpoints is guarded by tickets"));
    }
}
