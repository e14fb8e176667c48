//! The control API written down as `OpenAPI`: what there is to ask, from the types that are read and written.

use std::sync::LazyLock;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::query;
use super::router::LINES_TYPE;
use crate::daemon::metrics::Form;
use crate::daemon::operate::PlanAnswer;
use crate::decisions::admission::Needs;
use crate::decisions::event::Event;
use crate::decisions::report::Report;
use crate::decisions::source::SourceStatus;
use crate::decisions::status::{InstanceDetail, InstanceStatus};
use crate::words::control::{
    AskReconcile, AskTicket, DaemonHealth, IssueToken, IssuedToken, Live, PROBLEM_TYPE, Problem,
    Ready, RevokedToken, RotateToken, VncPasswords,
};
use crate::words::history::Entry;
use crate::words::name::InstanceName;
use crate::words::template::ListedTemplate;
use crate::words::token::ListedToken;
use crate::words::watch::LogLine;

const JSON: &str = "application/json";

/// One call of the API.
struct Call {
    method: &'static str,
    path: &'static str,
    /// What generated clients call it.
    id: &'static str,
    summary: &'static str,
    needs: Needs,
    query: Option<Of>,
    body: Option<Of>,
    needs_body: bool,
    answer: Answer,
}

/// Makes the schema of a type.
type Of = fn(&mut SchemaGenerator) -> Schema;

struct Answer {
    /// The forms that it may have; which, the asker says.
    media_types: Vec<&'static str>,
    schema: Of,
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
fn calls() -> Vec<Call> {
    let mut calls = vec![
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
    ];
    calls.extend(ORDERS.map(|(path, id, summary)| post(path, id, summary, json::<Report>())));
    calls
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

/// The description, as JSON.
pub fn text() -> String {
    static TEXT: LazyLock<String> = LazyLock::new(|| described().to_string());
    TEXT.clone()
}

fn described() -> Value {
    let here = |settings: SchemaSettings| {
        settings
            .with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
            .into_generator()
    };
    // What is read may leave out what has a default; what is written has it.
    let mut read = here(SchemaSettings::draft2020_12().for_deserialize());
    let mut written = here(SchemaSettings::draft2020_12().for_serialize());
    let mut paths: Map<String, Value> = Map::new();
    for call in calls() {
        let told = call.described(&mut read, &mut written);
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        path[call.method] = told;
    }
    let mut schemas = read.take_definitions(true);
    schemas.extend(written.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "instanced",
            "summary": "The control API of the instance daemon",
            "description": "On a unix socket in the state directory, and on `listen.admin` with an admin token. \
                What is added to an answer breaks no client; what is taken away or changed gets another version in the path.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "adminToken": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "adminToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "One whose hash `control.tokens` in instanced.yaml names. With `access: read` it may \
                        look; with `access: full`, everything.",
                },
            },
            "responses": {
                "problem": {
                    "description": "Why it was not done (RFC 9457)",
                    "content": { PROBLEM_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
                },
            },
        },
    })
}

impl Call {
    fn described(&self, read: &mut SchemaGenerator, written: &mut SchemaGenerator) -> Value {
        // Every refusal is one.
        written.subschema_for::<Problem>();
        let problem = json!({ "$ref": "#/components/responses/problem" });
        let schema = (self.answer.schema)(written);
        let forms = self.answer.media_types.iter();
        let content: Map<String, Value> = forms
            .map(|form| ((*form).to_owned(), json!({ "schema": schema })))
            .collect();
        let mut told = json!({
            "operationId": self.id,
            "summary": self.summary,
            "responses": {
                "200": {
                    "description": self.summary,
                    "content": content,
                },
                "4XX": problem,
                "5XX": problem,
            },
        });
        let parameters = self.parameters(read);
        if !parameters.is_empty() {
            told["parameters"] = parameters.into();
        }
        if let Some(body) = self.body {
            // No body counts as `{}`, which says enough where every field may be left out.
            let schema = body(read);
            told["requestBody"] = json!({
                "required": self.needs_body,
                "content": { JSON: { "schema": schema } },
            });
        }
        match self.needs {
            Needs::Nothing => told["security"] = json!([]),
            // Also without one, from this host.
            Needs::Near => told["security"] = json!([{}, { "adminToken": [] }]),
            Needs::Read => {}
            Needs::Full => told["description"] = "Needs a token with `access: full`.".into(),
        }
        told
    }

    fn parameters(&self, read: &mut SchemaGenerator) -> Vec<Value> {
        let mut parameters = Vec::new();
        if self.path.contains("{name}") {
            parameters.push(json!({
                "name": "name", "in": "path", "required": true,
                "description": "The instance",
                "schema": read.subschema_for::<InstanceName>(),
            }));
        }
        if self.path.contains("{id}") {
            parameters.push(json!({
                "name": "id", "in": "path", "required": true,
                "description": "The token's id, as lists show it",
                "schema": { "type": "string" },
            }));
        }
        let Some(query) = self.query else {
            return parameters;
        };
        // Each of its fields is a parameter of its own. What is left out is absent: nobody writes `null` there.
        let mut schema = query(read);
        let fields = schema.ensure_object().remove("properties");
        let fields = fields.as_ref().and_then(Value::as_object);
        for (name, field) in fields.into_iter().flatten() {
            let mut field = field.clone();
            let description = field["description"].take();
            let field = given(field);
            parameters.push(json!({
                "name": name, "in": "query", "required": false,
                "description": description, "schema": field,
            }));
        }
        parameters
    }
}

/// A schema without `null` and without what is said of the field elsewhere.
fn given(mut schema: Value) -> Value {
    if let Some(all) = schema["anyOf"].as_array_mut() {
        all.retain(|one| one["type"] != "null");
        if let [one] = &all[..] {
            return one.clone();
        }
    }
    let Some(fields) = schema.as_object_mut() else {
        return schema;
    };
    fields.retain(|key, value| !(value.is_null() || key == "default" || key == "anyOf"));
    if let Some(Value::Array(types)) = fields.get("type").cloned() {
        let mut types = types.into_iter().filter(|one| one != "null");
        if let Some(first) = types.next() {
            fields.insert("type".to_owned(), first);
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::router;
    use super::*;

    #[test]
    fn the_server_answers_what_is_described_and_describes_what_it_answers() {
        let mut described = BTreeSet::new();
        for call in calls() {
            let path = call.path.replace("{name}", "alice").replace("{id}", "x");
            let method = call.method.to_uppercase();
            let known = router::methods(&path).unwrap_or_else(|| panic!("no route for {path}"));
            assert!(
                known.split(", ").any(|one| one == method),
                "{method} {path}"
            );
            let needs = router::needs(&path, &method).unwrap();
            assert_eq!(needs, call.needs, "{method} {path}");
            assert!(described.insert((method, call.path)), "{} twice", call.path);
        }
        let ids: BTreeSet<_> = calls().iter().map(|call| call.id).collect();
        assert_eq!(ids.len(), described.len());
        // Each route of the server with each of its methods.
        assert_eq!(described.len(), router::CALLS);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let described = described();
        let mut references = Vec::new();
        collect(&described, &mut references);
        assert!(references.len() > 50, "{}", references.len());
        for reference in references {
            let path = reference.strip_prefix('#').unwrap();
            assert!(described.pointer(path).is_some(), "{reference}");
        }
        let tail = &described["paths"]["/v1/instances/{name}/logs"]["get"]["parameters"];
        let named = |one: &Value| one["name"].as_str().unwrap().to_owned();
        let names: Vec<_> = tail.as_array().unwrap().iter().map(named).collect();
        assert_eq!(names, ["name", "follow", "since", "tail"]);
    }

    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    found.push(reference.clone());
                }
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(all) => all.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
}
