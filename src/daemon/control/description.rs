//! The control API written down as `OpenAPI`: what there is to ask, from the types that are read and written.

use std::sync::LazyLock;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use calls::{Call, JSON, calls};

use crate::decisions::admission::Needs;
use crate::words::control::{PROBLEM_TYPE, Problem};
use crate::words::name::InstanceName;

mod calls;

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
        let name_of = |one: &Value| one["name"].as_str().unwrap().to_owned();
        let asked: Vec<_> = tail.as_array().unwrap().iter().map(name_of).collect();
        assert_eq!(asked, ["name", "follow", "since", "tail"]);
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
