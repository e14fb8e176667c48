//! The table of all calls.

use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

use crate::daemon::control::query;
use crate::daemon::control::router::LINES_TYPE;
use crate::daemon::metrics::Form;
use crate::daemon::operate::PlanAnswer;
use crate::decisions::admission::Needs;
use crate::decisions::event::Event;
use crate::decisions::report::Report;
use crate::decisions::source::SourceStatus;
use crate::decisions::status::{InstanceDetail, InstanceStatus};
use crate::words::control::{
    AskReconcile, AskTicket, DaemonHealth, IssueToken, IssuedToken, Live, Ready, RevokedToken,
    RotateToken, VncPasswords,
};
use crate::words::history::Entry;
use crate::words::template::ListedTemplate;
use crate::words::token::ListedToken;
use crate::words::watch::LogLine;

pub(super) const JSON: &str = "application/json";

/// One call of the API.
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What generated clients call it.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) needs: Needs,
    pub(super) query: Option<Of>,
    pub(super) body: Option<Of>,
    pub(super) needs_body: bool,
    pub(super) answer: Answer,
}

/// Makes the schema of a type.
pub(super) type Of = fn(&mut SchemaGenerator) -> Schema;

pub(super) struct Answer {
    /// The forms that it may have; which, the asker says.
    pub(super) media_types: Vec<&'static str>,
    pub(super) schema: Of,
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn text_of(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "string" })
}

fn json<T: JsonSchema>() -> Answer {
    Answer {
        media_types: vec![JSON],
        schema: of::<T>,
    }
}

/// A call that needs nothing but its path.
fn get(path: &'static str, id: &'static str, summary: &'static str, answer: Answer) -> Call {
    Call {
        method: "get",
        path,
        id,
        summary,
        needs: Needs::Read,
        query: None,
        body: None,
        needs_body: true,
        answer,
    }
}

fn post(path: &'static str, id: &'static str, summary: &'static str, answer: Answer) -> Call {
    Call {
        method: "post",
        needs: Needs::Full,
        ..get(path, id, summary, answer)
    }
}

/// Everything that there is to ask.
pub(super) fn calls() -> Vec<Call> {
    let orders = ORDERS.map(|(path, id, summary)| post(path, id, summary, json::<Report>()));
    [
        of_daemon(),
        of_instances(),
        orders.into(),
        of_fleet(),
        of_tokens(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn of_daemon() -> Vec<Call> {
    vec![
        Call {
            needs: Needs::Near,
            ..get(
                "/health",
                "health",
                "Whether the daemon lives and is ready, and why not",
                json::<DaemonHealth>(),
            )
        },
        Call {
            needs: Needs::Nothing,
            ..get(
                "/health/live",
                "live",
                "That the daemon lives",
                json::<Live>(),
            )
        },
        Call {
            needs: Needs::Nothing,
            ..get(
                "/health/ready",
                "ready",
                "That the daemon knows its fleet; 503 as long as it does not",
                json::<Ready>(),
            )
        },
        Call {
            needs: Needs::Near,
            ..get(
                "/metrics",
                "metrics",
                "Figures for Prometheus",
                Answer {
                    media_types: vec![Form::Text.media_type(), Form::OpenMetrics.media_type()],
                    schema: text_of,
                },
            )
        },
        Call {
            needs: Needs::Near,
            ..get(
                "/v1/openapi.json",
                "openapi",
                "This description",
                json::<Map<String, Value>>(),
            )
        },
    ]
}

fn of_instances() -> Vec<Call> {
    vec![
        Call {
            query: Some(query::Instances::json_schema),
            ..get(
                "/v1/instances",
                "instances",
                "How all instances stand",
                json::<Vec<InstanceStatus>>(),
            )
        },
        get(
            "/v1/instances/{name}",
            "instance",
            "One instance in full",
            json::<InstanceDetail>(),
        ),
        get(
            "/v1/instances/{name}/history",
            "history",
            "What was ever done to an instance, oldest first, as far as it is kept",
            json::<Vec<Entry>>(),
        ),
        Call {
            query: Some(query::Log::json_schema),
            ..get(
                "/v1/instances/{name}/logs",
                "logs",
                "What an instance has written: one JSON object a line. Where it breaks off, the last line is a problem",
                Answer {
                    media_types: vec![LINES_TYPE],
                    schema: of::<LogLine>,
                },
            )
        },
        Call {
            needs: Needs::Full,
            ..get(
                "/v1/instances/{name}/vnc-password",
                "vncPassword",
                "What an instance's VNC server asks for",
                json::<VncPasswords>(),
            )
        },
        Call {
            body: Some(of::<AskTicket>),
            ..post(
                "/v1/instances/{name}/tickets",
                "issueTicket",
                "A ticket that opens a session in a browser, once; told here and never again",
                json::<IssuedToken>(),
            )
        },
    ]
}

fn of_fleet() -> Vec<Call> {
    vec![
        get(
            "/v1/events",
            "events",
            "What happens from now on, as server-sent events",
            Answer {
                media_types: vec!["text/event-stream"],
                schema: of::<Event>,
            },
        ),
        get(
            "/v1/plan",
            "plan",
            "What the next round would do",
            json::<PlanAnswer>(),
        ),
        Call {
            body: Some(of::<AskReconcile>),
            needs_body: false,
            ..post(
                "/v1/reconcile",
                "reconcile",
                "One round, and its report",
                json::<Report>(),
            )
        },
        get(
            "/v1/source",
            "source",
            "At which revision the fleet is, how far behind its source, and why",
            json::<SourceStatus>(),
        ),
        post(
            "/v1/sync",
            "sync",
            "Asks the repository for news, and tells how the fleet stands to it then",
            json::<SourceStatus>(),
        ),
        get(
            "/v1/snapshot",
            "snapshot",
            "What a dry run elsewhere must know; docs/json.md has its fields",
            json::<Map<String, Value>>(),
        ),
        get(
            "/v1/templates",
            "templates",
            "The templates that manifests may name",
            json::<Vec<ListedTemplate>>(),
        ),
    ]
}

fn of_tokens() -> Vec<Call> {
    vec![
        Call {
            query: Some(query::Tokens::json_schema),
            ..get(
                "/v1/tokens",
                "tokens",
                "All tokens, without their plain texts, which nobody has",
                json::<Vec<ListedToken>>(),
            )
        },
        Call {
            body: Some(of::<IssueToken>),
            ..post(
                "/v1/tokens",
                "issueToken",
                "A new token; told here and never again",
                json::<IssuedToken>(),
            )
        },
        Call {
            method: "delete",
            ..post(
                "/v1/tokens/{id}",
                "revokeToken",
                "Revokes a token, from the next request on",
                json::<RevokedToken>(),
            )
        },
        Call {
            body: Some(of::<RotateToken>),
            needs_body: false,
            ..post(
                "/v1/tokens/{id}/rotate",
                "rotateToken",
                "A new token in place of another, which goes on for a while",
                json::<IssuedToken>(),
            )
        },
    ]
}

/// What an operator may ask of one instance; answered by the report of the round that it led to.
const ORDERS: [(&str, &str, &str); 6] = [
    (
        "/v1/instances/{name}/restart",
        "restart",
        "The same container, down and up; sessions end",
    ),
    (
        "/v1/instances/{name}/recreate",
        "recreate",
        "A new generation of the same spec; sessions end",
    ),
    (
        "/v1/instances/{name}/stop",
        "stop",
        "Stands still until it is started or its manifest changes",
    ),
    ("/v1/instances/{name}/start", "start", "Lifts a stop"),
    (
        "/v1/instances/{name}/suspend",
        "suspend",
        "Nothing is done to it until it is resumed",
    ),
    (
        "/v1/instances/{name}/resume",
        "resume",
        "Lifts a suspension, and thaws what is frozen",
    ),
];
