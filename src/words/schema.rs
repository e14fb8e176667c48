//! JSON Schema of what people write, made from the types that read it, for editors and for tools that check YAML.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::config::Config;
use super::diagnostic::Validation;
use super::manifest::{Manifest, TemplateHead};

/// A file that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One instance: `instances.d/NAME.yaml`.
    Manifest,
    /// What stands beside the manifests: `fleet.yaml`.
    Fleet,
    /// The daemon's configuration: `instanced.yaml`.
    Config,
    /// What `validate --format json` says.
    Validation,
}

/// What stands beside the manifests, in git: defaults of every instance, and the fleet's own templates.
#[derive(JsonSchema)]
#[schemars(rename = "Fleet")]
#[expect(
    dead_code,
    reason = "resolution reads it in parts; this is its form as a whole"
)]
struct FleetForm {
    /// What every manifest is laid over, its template's values first.
    defaults: Option<Manifest>,
    /// Templates of this fleet, by name.
    #[serde(default)]
    templates: BTreeMap<String, TemplateForm>,
}

/// A partial manifest that others are laid over.
#[derive(JsonSchema)]
#[schemars(rename = "Template")]
#[expect(dead_code, reason = "see above")]
struct TemplateForm {
    #[serde(flatten)]
    head: TemplateHead,
    #[serde(flatten)]
    body: Manifest,
}

/// The schema of a kind of file, in the dialect of draft 7: the one that editors' YAML servers know best.
pub fn schema(kind: Kind) -> Schema {
    let settings = SchemaSettings::draft07()
        .with_transform(RecursiveTransform(close))
        .with_transform(RecursiveTransform(say_no_null));
    let layered = settings.clone().with_transform(RecursiveTransform(let_go));
    match kind {
        Kind::Manifest => layered.into_generator().into_root_schema_for::<Manifest>(),
        Kind::Fleet => layered.into_generator().into_root_schema_for::<FleetForm>(),
        Kind::Config => settings.into_generator().into_root_schema_for::<Config>(),
        Kind::Validation => settings
            .into_generator()
            .into_root_schema_for::<Validation>(),
    }
}

/// An unknown key is an error, as it is to the parser.
fn close(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if object.contains_key("properties") && !object.contains_key("additionalProperties") {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

/// A default of `null` tells nobody anything, and the YAML server that most editors use breaks off the list of keys at
/// the first list whose items have one.
fn say_no_null(schema: &mut Schema) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
}

/// `null` takes away what a layer below says, under whatever key.
fn let_go(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    let or_null = |value: &mut Value| {
        *value = serde_json::json!({ "anyOf": [value.take(), { "type": "null" }] });
    };
    if let Some(values) = object
        .get_mut("additionalProperties")
        .filter(|v| v.is_object())
    {
        or_null(values);
    }
    if let Some(Value::Object(patterns)) = object.get_mut("patternProperties") {
        patterns.values_mut().for_each(or_null);
    }
}
