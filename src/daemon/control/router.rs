//! From a request to an operation, and from its outcome to a response.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body, Bytes};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::{Operations, Outcome};
use crate::daemon::metrics::Form;
use crate::words::control::{PROBLEM_TYPE, Problem};
use crate::words::name::InstanceName;
use crate::words::overrides::Order;

/// What is answered: a text, or a stream.
pub(super) type Answer = UnsyncBoxBody<Bytes, Infallible>;

/// The largest body, in bytes.
const BODY_MAX: usize = 64 << 10;
/// The largest body that may hold a saved plan, of thousands of instances.
const PLAN_MAX: usize = 32 << 20;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a path is for.
enum Route<'p> {
    Health,
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
    Order(&'p str, Order),
}

impl<'p> Route<'p> {
    fn of(path: &'p str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match parts[..] {
            ["health"] => Self::Health,
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
}

/// Performs what a request asks for.
pub(super) async fn respond<O: Operations, B>(
    operations: &O,
    request: Request<B>,
) -> Response<Answer>
where
    B: Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = request.uri().path().to_owned();
    let Some(route) = Route::of(&path) else {
        return refusal(&Problem::not_found(format!(
            "the control API has no {path:?}"
        )));
    };
    let methods = route.methods();
    if !methods
        .split(", ")
        .any(|method| method == request.method().as_str())
    {
        let detail = format!("{path} knows {methods}, not {}", request.method());
        let mut response = refusal(&Problem::method(detail));
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(methods));
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
        Route::Tokens if request.method() == Method::POST => {
            operations.issue_token(body(request, BODY_MAX).await?).await
        }
        Route::Tokens => operations.tokens(instance_of(request.uri().query())?).await,
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
        Route::Metrics | Route::Events => unreachable!("they are no JSON, and are answered before"),
        Route::Plan => operations.plan().await,
        Route::Source => operations.source().await,
        Route::Sync => operations.sync().await,
        Route::Snapshot => operations.snapshot().await,
        Route::Instances => operations.instances().await,
        Route::Instance(text) => operations.instance(name(text)?).await,
        Route::Order(text, order) => operations.order(name(text)?, order).await,
        Route::VncPassword(text) => operations.vnc_password(name(text)?).await,
    }
}

/// A refusal as a response.
pub(super) fn refusal(problem: &Problem) -> Response<Answer> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = serde_json::to_string(problem).unwrap_or_default();
    answer(status, PROBLEM_TYPE, whole(text))
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

/// The `instance` of a query. A name needs no escapes, so none are read.
fn instance_of(query: Option<&str>) -> Result<Option<InstanceName>, Problem> {
    let mut found = None;
    for pair in query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
    {
        match pair.split_once('=') {
            Some(("instance", text)) if found.is_none() => found = Some(name(text)?),
            _ => {
                return Err(Problem::invalid(format!(
                    "the query takes `instance=NAME` once, not {pair:?}"
                )));
            }
        }
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_one_instance_or_none() {
        assert_eq!(instance_of(None).unwrap(), None);
        assert_eq!(instance_of(Some("")).unwrap(), None);
        let alice = instance_of(Some("instance=alice")).unwrap();
        assert_eq!(alice, Some("alice".parse().unwrap()));
        for bad in [
            "instance=",
            "instance=a%20b",
            "name=a",
            "instance=a&instance=b",
            "instance",
        ] {
            assert_eq!(instance_of(Some(bad)).unwrap_err().status, 400, "{bad}");
        }
    }
}
