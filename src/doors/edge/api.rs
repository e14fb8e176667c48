//! Traefik's API: what it serves.

use std::time::Duration;

use hyper::Uri;
use serde::Deserialize;

use crate::decisions::checkup::facts::{RouterSeen, TraefikSeen};
use crate::doors::web::{self, Get, WebError};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(2);
/// No router and no service is described in more bytes.
const ANSWER_MAX: usize = 256 << 10;
/// So many routers are asked for at once; a fleet has fewer.
const ROUTERS_MAX: usize = 10_000;
/// All of them are described in fewer bytes.
const LIST_MAX: usize = 16 << 20;

/// Where Traefik's API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    authority: String,
    /// What stands before `/api`; empty, or without a slash at its end.
    base: String,
}

/// Why the API tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// It does not answer.
    #[error("no answer")]
    Web(#[from] WebError),
    /// Something else answers, or the API is guarded.
    #[error("status {0}")]
    Status(u16),
    /// Something else answers.
    #[error("the answer is none of Traefik's API")]
    Strange(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Router {
    status: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    name: String,
    #[serde(default)]
    provider: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    error: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    load_balancer: Option<LoadBalancer>,
}

#[derive(Deserialize)]
struct LoadBalancer {
    #[serde(default)]
    servers: Vec<Server>,
}

#[derive(Deserialize)]
struct Server {
    #[serde(default)]
    url: String,
}

impl Api {
    /// The API at a URL such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// What is wrong with the URL, to stand behind it in a sentence.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "is no URL")?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("is https; the API is asked over plain HTTP, on loopback"),
            _ => return Err("is no HTTP address"),
        }
        let authority = uri.authority().ok_or("names no host")?;
        if authority.as_str().contains('@') {
            return Err("holds a user; an API that asks for one cannot be used");
        }
        if uri.query().is_some() {
            return Err("has a query");
        }
        let host = authority.host();
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self {
            authority: format!("{host}:{port}"),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Whether a router (`name@provider`) is enabled and its service, which has the same name, leads to `server`.
    pub(super) async fn serves(&self, router: &str, server: &str) -> Result<bool, ApiError> {
        let found: Option<Router> = self
            .ask(&format!("/api/http/routers/{router}"), ANSWER_MAX)
            .await?;
        if found.is_none_or(|found| found.status != "enabled") {
            return Ok(false);
        }
        let found: Option<Service> = self
            .ask(&format!("/api/http/services/{router}"), ANSWER_MAX)
            .await?;
        let servers = found
            .and_then(|service| service.load_balancer)
            .map(|balancer| balancer.servers);
        Ok(servers.is_some_and(|servers| servers.iter().any(|found| found.url == server)))
    }

    /// What Traefik says of itself, and of all routers whose names begin so.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn seen(&self, prefix: &str) -> Result<TraefikSeen, ApiError> {
        let path = format!("/api/http/routers?search={prefix}&per_page={ROUTERS_MAX}");
        let listed: Option<Vec<Listed>> = self.ask(&path, LIST_MAX).await?;
        let routers = listed.unwrap_or_default().into_iter();
        let router = |listed: Listed| {
            let (name, _) = listed.name.split_once('@').unwrap_or((&listed.name, ""));
            name.starts_with(prefix).then(|| RouterSeen {
                name: name.to_owned(),
                enabled: listed.status == "enabled",
                errors: listed.error,
                provider: listed.provider,
            })
        };
        let version: Option<Version> = self.ask("/api/version", ANSWER_MAX).await.ok().flatten();
        Ok(TraefikSeen {
            version: version.map(|version| version.version),
            routers: routers.filter_map(router).collect(),
        })
    }

    /// `None` for what is not there (yet).
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body_max: usize,
    ) -> Result<Option<T>, ApiError> {
        let request = Get {
            host: &self.authority,
            path: &format!("{}{path}", self.base),
            headers: &[],
            within: WITHIN,
            body_max,
        };
        match web::get(&self.authority, request).await? {
            (200, body) => Ok(Some(serde_json::from_slice(&body)?)),
            // Its own 404 is JSON; another server's would mean that this is no API at all.
            (404, body) => {
                let _: serde_json::Value = serde_json::from_slice(&body)?;
                Ok(None)
            }
            (status, _) => Err(ApiError::Status(status)),
        }
    }
}
