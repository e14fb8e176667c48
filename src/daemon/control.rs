//! The control API's server: whoever may, asks the daemon, over its unix socket as the command line does, or over
//! `listen.admin` with a token. It reads requests and writes answers; what they mean is [`Operations`].
//!
//! Bodies are JSON, refusals [`Problem`]s (RFC 9457). Answers may hold secrets (a new token, a VNC
//! password), so none of them is logged or may be cached. What there is to ask is written down as `OpenAPI`, which the
//! API itself tells ([`description`]).

use futures_util::stream::BoxStream;
use serde_json::Value;

use super::events::Events;
use crate::words::control::{AskReconcile, AskTicket, IssueToken, Problem, RotateToken};
use crate::words::name::InstanceName;
use crate::words::overrides::Order;
use crate::words::watch::{AskLog, AskUsage, LogLine};

pub use admin::{Admin, AdminError};
pub use socket::{ControlError, ControlSocket};

mod admin;
pub mod description;
mod query;
mod router;
mod server;
mod slots;
mod socket;

/// Lines of a log, as they are written. They end where the log does, or with what went wrong.
pub type Lines = BoxStream<'static, Result<LogLine, Problem>>;

/// What became of a request.
pub type Outcome = Result<Value, Problem>;

/// What the daemon does when asked. One method for each path and method of the API.
///
/// When the asker goes away, the future is dropped at its next await. What must be finished then, such as
/// a round, runs in a task of the daemon's own, and the method waits for it.
pub trait Operations: Send + Sync + 'static {
    /// `GET /health`: whether the daemon lives and is ready, and why not.
    fn health(&self) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/tokens`: all tokens, or those of `?instance=`.
    fn tokens(&self, instance: Option<InstanceName>) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/tokens`: a new token; the answer is the only place that ever holds its plain text.
    fn issue_token(&self, asked: IssueToken) -> impl Future<Output = Outcome> + Send;

    /// `DELETE /v1/tokens/{id}`: revokes a token.
    fn revoke_token(&self, id: String) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/tokens/{id}/rotate`: a new token in place of this one, which goes on for a while; the answer is
    /// the only place that ever holds the new one's plain text.
    fn rotate_token(&self, id: String, asked: RotateToken) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/instances/{name}/tickets`: a ticket for a session in a browser; the answer is the only place
    /// that ever holds its plain text.
    fn issue_ticket(
        &self,
        name: InstanceName,
        asked: AskTicket,
    ) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/reconcile`: one round, and its report.
    fn reconcile(&self, asked: AskReconcile) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/instances/{name}/{restart,recreate,stop,start,suspend,resume}`: the report of the round
    /// that it led to.
    fn order(&self, name: InstanceName, order: Order) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/plan`: what the next round would do.
    fn plan(&self) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/source`: at which revision the fleet is, how far behind, and why.
    fn source(&self) -> impl Future<Output = Outcome> + Send;

    /// `POST /v1/sync`: has a repository asked for news, and tells how the fleet stands to it then.
    fn sync(&self) -> impl Future<Output = Outcome> + Send;

    /// `GET /metrics`: figures for Prometheus.
    fn metrics(&self) -> impl Future<Output = Result<String, Problem>> + Send;

    /// `GET /v1/events`: what happens from now on, as server-sent events.
    fn events(&self) -> Events;

    /// `GET /v1/snapshot`: what a dry run elsewhere must know.
    fn snapshot(&self) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/instances`: all of them, in short; with `usage`, also what they use.
    fn instances(&self, usage: AskUsage) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/instances/{name}`: one in full.
    fn instance(&self, name: InstanceName) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/instances/{name}/history`: everything that was ever done to it, oldest first, as far as it is kept.
    fn history(&self, name: InstanceName) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/instances/{name}/logs`: what it has written, a JSON object a line.
    fn log(
        &self,
        name: InstanceName,
        ask: AskLog,
    ) -> impl Future<Output = Result<Lines, Problem>> + Send;

    /// `GET /v1/templates`: the templates that manifests may name.
    fn templates(&self) -> impl Future<Output = Outcome> + Send;

    /// `GET /v1/instances/{name}/vnc-password`: for whoever shall see the screen; with that for looking alone.
    fn vnc_password(&self, name: InstanceName) -> impl Future<Output = Outcome> + Send;
}
