//! From a request to an operation, and from its outcome to a response.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::server::Gate;
use super::{Operations, Outcome, description, query};
use crate::daemon::metrics::Form;
use crate::decisions::admission::Needs;
use crate::words::control::{PROBLEM_TYPE, Problem};
use crate::words::name::InstanceName;
use crate::words::overrides::Order;

/// What is answered: a text, or a stream.
pub(super) type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// JSON objects, one a line.
pub(super) const LINES_TYPE: &str = "application/x-ndjson";
/// The largest body, in bytes.
const BODY_MAX: usize = 64 << 10;
/// The largest body that may hold a saved plan, of thousands of instances.
const PLAN_MAX: usize = 32 << 20;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a path is for.
enum Route<'p> {
    Health,
    Live,
    Ready,
    Description,
    Templates,
    Tokens,
    Token(&'p str),
    Rotate(&'p str),
    Reconcile,
    Plan,
    Metrics,
    Events,
    Source,
    Sync,
    Snapshot,
    Instances,
    Instance(&'p str),
    VncPassword(&'p str),
    Tickets(&'p str),
    History(&'p str),
    Log(&'p str),
    Order(&'p str, Order),
}

impl<'p> Route<'p> {
    fn of(path: &'p str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match parts[..] {
            ["health"] => Self::Health,
            ["health", "live"] => Self::Live,
            ["health", "ready"] => Self::Ready,
            ["v1", "openapi.json"] => Self::Description,
            ["v1", "templates"] => Self::Templates,
            ["v1", "tokens"] => Self::Tokens,
            ["v1", "tokens", id] => Self::Token(id),
            ["v1", "tokens", id, "rotate"] => Self::Rotate(id),
            ["v1", "reconcile"] => Self::Reconcile,
            ["v1", "plan"] => Self::Plan,
            ["metrics"] => Self::Metrics,
            ["v1", "events"] => Self::Events,
            ["v1", "source"] => Self::Source,
            ["v1", "sync"] => Self::Sync,
            ["v1", "snapshot"] => Self::Snapshot,
            ["v1", "instances"] => Self::Instances,
            ["v1", "instances", name] => Self::Instance(name),
            ["v1", "instances", name, "vnc-password"] => Self::VncPassword(name),
            ["v1", "instances", name, "tickets"] => Self::Tickets(name),
            ["v1", "instances", name, "history"] => Self::History(name),
            ["v1", "instances", name, "logs"] => Self::Log(name),
            ["v1", "instances", name, verb] => {
                let order = serde_json::from_value(verb.into()).ok()?;
                Self::Order(name, order)
            }
            _ => return None,
        })
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Tokens => "GET, POST",
            Self::Token(_) => "DELETE",
            Self::Reconcile | Self::Sync | Self::Order(..) | Self::Rotate(_) | Self::Tickets(_) => {
                "POST"
            }
            _ => "GET",
        }
    }

    /// What a request for it needs. Whatever changes something or shows a secret needs everything.
    fn needs(&self, method: &Method) -> Needs {
        match self {
            Self::Live | Self::Ready => Needs::Nothing,
            Self::Health | Self::Metrics | Self::Description => Needs::Near,
            Self::VncPassword(_) => Needs::Full,
            _ if method == Method::GET => Needs::Read,
            _ => Needs::Full,
        }
    }
}

/// So many calls there are: paths, each with each of its methods.
#[cfg(test)]
pub(super) const CALLS: usize = 28;

/// The methods that a path knows.
#[cfg(test)]
pub(super) fn methods(path: &str) -> Option<&'static str> {
    Some(Route::of(path)?.methods())
}

/// What a call needs.
#[cfg(test)]
pub(super) fn needs(path: &str, method: &str) -> Option<Needs> {
    Some(Route::of(path)?.needs(&method.parse().ok()?))
}

/// The same, while everything else is busy: whether the daemon lives is answered, nothing else.
pub(super) async fn respond_while_busy<O: Operations, B>(
    operations: &O,
    gate: &Gate,
    request: Request<B>,
) -> Response<Answer>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let is_health = matches!(
        Route::of(request.uri().path()),
        Some(Route::Health | Route::Live | Route::Ready)
    );
    let mut response = match gate.knows_host(&request) {
        Ok(()) if is_health => respond(operations, gate, request).await,
        Ok(()) => {
            let problem = Problem::unavailable("all connections are busy with other requests");
            refusal(&problem.with_help("try again, or end what follows logs and events"))
        }
        Err(problem) => refusal(&problem),
    };
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Performs what a request asks for.
pub(super) async fn respond<O: Operations, B>(
    operations: &O,
    gate: &Gate,
    request: Request<B>,
) -> Response<Answer>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = request.uri().path().to_owned();
    let route = Route::of(&path);
    // A HEAD is a GET whose answer has no body (RFC 9110, 9.3.2): the server leaves it out.
    let method = match request.method() {
        &Method::HEAD => &Method::GET,
        method => method,
    };
    // Who may not ask learns nothing, not even what there is.
    let needs = route
        .as_ref()
        .map_or(Needs::Read, |route| route.needs(method));
    if let Err(problem) = gate.admits(needs, request.headers()) {
        return refusal(&problem);
    }
    let Some(route) = route else {
        return refusal(&Problem::not_found(format!(
            "the control API has no {path:?}"
        )));
    };
    let methods = route.methods();
    if !methods.split(", ").any(|known| known == method.as_str()) {
        let allowed = methods.replace("GET", "GET, HEAD");
        let detail = format!("{path} knows {allowed}, not {}", request.method());
        let mut response = refusal(&Problem::method(detail));
        if let Ok(allowed) = HeaderValue::from_str(&allowed) {
            response.headers_mut().insert(ALLOW, allowed);
        }
        return response;
    }
    match route {
        Route::Metrics => match operations.metrics().await {
            Ok(figures) => {
                let accept = request.headers().get(ACCEPT);
                let form = Form::wanted(accept.and_then(|value| value.to_str().ok()));
                answer(
                    StatusCode::OK,
                    form.media_type(),
                    whole(form.write(figures)),
                )
            }
            Err(problem) => refusal(&problem),
        },
        Route::Events => {
            let stream = StreamBody::new(operations.events().listen());
            answer(StatusCode::OK, "text/event-stream", Answer::new(stream))
        }
        Route::Description => answer(
            StatusCode::OK,
            "application/json",
            whole(description::text()),
        ),
        Route::Log(text) => match log(operations, text, request.uri().query()).await {
            Ok(lines) => answer(
                StatusCode::OK,
                LINES_TYPE,
                Answer::new(StreamBody::new(lines)),
            ),
            Err(problem) => refusal(&problem),
        },
        Route::Ready => match operations.health().await {
            Ok(health) if health["ready"] == true => answer(
                StatusCode::OK,
                "application/json",
                whole(json!({ "ready": true }).to_string()),
            ),
            Ok(health) => {
                let reason = health["reason"].as_str().unwrap_or("it is not known why");
                refusal(&Problem::unavailable(reason))
            }
            Err(problem) => refusal(&problem),
        },
        route => match perform(operations, route, request).await {
            Ok(value) => answer(StatusCode::OK, "application/json", whole(value.to_string())),
            Err(problem) => refusal(&problem),
        },
    }
}

async fn perform<O: Operations, B>(operations: &O, route: Route<'_>, request: Request<B>) -> Outcome
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match route {
        Route::Health => operations.health().await,
        Route::Live => Ok(json!({ "live": true })),
        Route::Templates => operations.templates().await,
        Route::Tokens if request.method() == Method::POST => {
            operations.issue_token(body(request, BODY_MAX).await?).await
        }
        Route::Tokens => {
            let query::Tokens { instance } = query::read(request.uri().query())?;
            operations.tokens(instance).await
        }
        Route::Token(id) => operations.revoke_token(id.to_owned()).await,
        Route::Rotate(id) => {
            let asked = body(request, BODY_MAX).await?;
            operations.rotate_token(id.to_owned(), asked).await
        }
        Route::Tickets(text) => {
            let name = name(text)?;
            let asked = body(request, BODY_MAX).await?;
            operations.issue_ticket(name, asked).await
        }
        Route::Reconcile => operations.reconcile(body(request, PLAN_MAX).await?).await,
        Route::Metrics | Route::Events | Route::Description | Route::Log(_) | Route::Ready => {
            unreachable!("they are answered before")
        }
        Route::Plan => operations.plan().await,
        Route::Source => operations.source().await,
        Route::Sync => operations.sync().await,
        Route::Snapshot => operations.snapshot().await,
        Route::Instances => {
            let query::Instances { usage } = query::read(request.uri().query())?;
            operations.instances(usage).await
        }
        Route::Instance(text) => operations.instance(name(text)?).await,
        Route::History(text) => operations.history(name(text)?).await,
        Route::Order(text, order) => operations.order(name(text)?, order).await,
        Route::VncPassword(text) => operations.vnc_password(name(text)?).await,
    }
}

/// A refusal as a response.
pub(super) fn refusal(problem: &Problem) -> Response<Answer> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = serde_json::to_string(problem).unwrap_or_default();
    let mut response = answer(status, PROBLEM_TYPE, whole(text));
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

fn whole(text: String) -> Answer {
    Answer::new(Full::new(Bytes::from(text)))
}

fn answer(status: StatusCode, media_type: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn name(text: &str) -> Result<InstanceName, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid(format!("{error}")))
}

/// A log as it is sent: a JSON object a line. One that broke off ends with the problem as its last line.
async fn log<O: Operations>(
    operations: &O,
    text: &str,
    asked: Option<&str>,
) -> Result<impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + use<O>, Problem> {
    let asked: query::Log = query::read(asked)?;
    let lines = operations.log(name(text)?, asked.into()).await?;
    Ok(lines.map(|line| {
        let told = match line {
            Ok(line) => serde_json::to_string(&line),
            Err(problem) => serde_json::to_string(&problem),
        };
        let told = told.unwrap_or_default() + "\n";
        Ok(Frame::data(Bytes::from(told)))
    }))
}

/// What became of a webhook's call.
pub(super) fn webhook(called: Result<(), Problem>) -> Response<Answer> {
    match called {
        Ok(()) => {
            let text = json!({ "sync": "asked" }).to_string();
            answer(StatusCode::ACCEPTED, "application/json", whole(text))
        }
        Err(problem) => refusal(&problem),
    }
}

/// A request's JSON body; an empty one counts as `{}`.
async fn body<T: DeserializeOwned, B>(request: Request<B>, most: usize) -> Result<T, Problem>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Some(value) = request.headers().get(CONTENT_TYPE) {
        let media_type = value
            .to_str()
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case("application/json") {
            return Err(Problem::media_type(format!(
                "{media_type:?} is not `application/json`"
            )));
        }
    }
    let collected = tokio::time::timeout(
        BODY_TIMEOUT,
        Limited::new(request.into_body(), most).collect(),
    )
    .await
    .map_err(|_| Problem::too_slow("the body did not arrive in time"))?;
    let bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Problem::too_large(format!(
                "the body has at most {most} bytes"
            )));
        }
        Err(_) => return Err(Problem::invalid("the body broke off")),
    };
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text))
        .map_err(|error| Problem::invalid(told(&error)))
}

fn told(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    match error.path().to_string().as_str() {
        "." => format!("the body: {}", error.inner()),
        path => format!("`{path}`: {}", error.inner()),
    }
}
