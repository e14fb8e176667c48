//! `fleet.yaml`, and a manifest laid over what it stands on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::{files, layer, parse};
use crate::words::desired::{Content, SourceFile};
use crate::words::diagnostic::{Diagnostic, Problem};
use crate::words::document::{self, Document, Segment};
use crate::words::manifest::{Manifest, TemplateHead};
use crate::words::origin::{Origin, Origins};
use crate::words::template;
use crate::words::text;

/// A manifest laid over what it stands on.
pub(super) struct Layered {
    /// The template's name with its version.
    pub(super) template: String,
    /// Variables that the template demands.
    pub(super) required_env: Vec<String>,
    /// Everything together.
    pub(super) merged: Manifest,
    /// Who says what.
    pub(super) origins: Origins,
}

/// What a template's manifests stand on.
pub(super) struct Base {
    /// The template's name with its version.
    template: String,
    /// Its layers, merged.
    pub(super) merged: Value,
    /// Variables that it demands.
    required_env: Vec<String>,
    /// What each layer says, the one that counts most first.
    says: Vec<(Origin, Arc<BTreeSet<String>>)>,
}

/// `fleet.yaml`, read.
#[derive(Default)]
pub(super) struct Fleet {
    defaults: Value,
    pub(super) default_template: Option<String>,
    pub(super) templates: BTreeMap<String, (TemplateHead, Value)>,
    /// Nodes and bytes of its text, aliases unfolded: each manifest may take all of them.
    pub(super) unfolded: usize,
    /// Bases that manifests asked for: most share one.
    bases: Mutex<BTreeMap<String, Arc<Base>>>,
}

impl Fleet {
    pub(super) fn read(
        file: Option<&SourceFile>,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let Some(file) = file else {
            return Ok((Self::default(), Vec::new()));
        };
        if let Some(misnamed) = files::misnamed_fleet(file) {
            return Err(vec![misnamed]);
        }
        let document = match &file.content {
            Content::Text(text) => Document::parse(&file.path, text).map_err(|d| vec![d])?,
            _ => return Err(parse(file).err().into_iter().collect()),
        };
        let mut fleet = Self {
            unfolded: document.unfolded,
            ..Self::default()
        };
        let mut diagnostics = document.place_all(text::problems(document.value(), layer::use_of));
        let top = match document.value() {
            Value::Null => return Ok((fleet, diagnostics)),
            Value::Object(top) => top,
            _ => {
                let problem =
                    Problem::error(&[], "expected a mapping with `defaults` and `templates`");
                return Err(vec![document.place(problem)]);
            }
        };
        for (key, value) in top {
            if document.is_enough(&mut diagnostics) {
                break;
            }
            let at = [Segment::Key(key.clone())];
            match key.as_str() {
                "defaults" => {
                    let defaults =
                        document.decode_at::<Manifest>(&at, without_nulls(value.clone()));
                    diagnostics.extend(defaults.diagnostics);
                    let layer = defaults.value.unwrap_or_default();
                    diagnostics.extend(document.place_all(layer::problems(&[key], &layer)));
                    fleet.default_template = layer.template;
                    fleet.defaults = value.clone();
                }
                "templates" => fleet.read_templates(&document, value, &mut diagnostics),
                _ => diagnostics.push(
                    document.place(
                        Problem::error(&[key], format!("unknown key `{key}`"))
                            .with_help("known here: defaults, templates"),
                    ),
                ),
            }
        }
        if let Some(reference) = &fleet.default_template
            && let Err(problem) = fleet.template(reference)
        {
            diagnostics.push(document.place(Problem {
                path: vec!["defaults".into(), "template".into()],
                ..problem
            }));
        }
        if diagnostics.iter().any(Diagnostic::is_error) {
            Err(diagnostics)
        } else {
            Ok((fleet, diagnostics))
        }
    }

    fn read_templates(&mut self, document: &Document, value: &Value, told: &mut Vec<Diagnostic>) {
        let Value::Object(templates) = value else {
            let problem = Problem::error(&["templates"], "expected a mapping of name to template");
            return told.push(document.place(problem));
        };
        for (name, value) in templates {
            if document.is_enough(told) {
                break;
            }
            let path = ["templates", name];
            if template::is_reserved(name) || name.contains('@') {
                told.push(
                    document.place(
                        Problem::error(
                            &path,
                            format!("`{name}` is the name of a built-in template"),
                        )
                        .with_help("a built-in template never changes; choose another name"),
                    ),
                );
                continue;
            }
            let Value::Object(fields) = value else {
                told.push(document.place(Problem::error(&path, "expected a mapping")));
                continue;
            };
            let is_head = |key: &String| ["description", "required_env"].contains(&key.as_str());
            let (head, body): (Map<_, _>, Map<_, _>) = fields
                .clone()
                .into_iter()
                .partition(|(key, _)| is_head(key));
            let at = path.map(|segment| Segment::Key(segment.to_owned()));
            let head = document.decode_at::<TemplateHead>(&at, Value::Object(head));
            let layer =
                document.decode_at::<Manifest>(&at, without_nulls(Value::Object(body.clone())));
            told.extend(head.diagnostics.into_iter().chain(layer.diagnostics));
            let layer = layer.value.unwrap_or_default();
            told.extend(document.place_all(layer::problems(&path, &layer)));
            if body.contains_key("template") {
                told.push(document.place(Problem::error(
                    &["templates", name, "template"],
                    "a template stands on no other template",
                )));
            }
            self.templates.insert(
                name.clone(),
                (head.value.unwrap_or_default(), Value::Object(body)),
            );
        }
    }

    /// What stands under every manifest of a template.
    pub(super) fn base(&self, reference: &str) -> Result<Arc<Base>, Problem> {
        // Whoever panicked while holding it had not begun to change it.
        let known = || self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(reference) {
            return Ok(Arc::clone(known));
        }
        let (template, layers, required_env) = self.template(reference)?;
        let mut merged = Value::Object(Map::new());
        let mut says = Vec::new();
        for (origin, layer) in layers.into_iter().filter(|(_, layer)| !layer.is_null()) {
            says.push((origin, Arc::new(paths(&layer))));
            merge(&mut merged, layer);
        }
        says.reverse();
        let base = Arc::new(Base {
            template,
            merged,
            required_env,
            says,
        });
        known().insert(reference.to_owned(), Arc::clone(&base));
        Ok(base)
    }

    /// The layers of a template, lowest first, with its full name and what it demands.
    fn template(&self, reference: &str) -> Result<Layers, Problem> {
        let defaults = (Origin::Defaults, self.defaults.clone());
        if let Some(built_in) = template::find(reference) {
            let document = Document::parse(built_in.name, built_in.text)
                .expect("a built-in template is sound: the tests read each");
            let layers = vec![(Origin::Template, document.value().clone()), defaults];
            return Ok((built_in.reference(), layers, Vec::new()));
        }
        if let Some((head, body)) = self.templates.get(reference) {
            let layers = vec![defaults, (Origin::Template, body.clone())];
            return Ok((reference.to_owned(), layers, head.required_env.clone()));
        }
        let known: Vec<_> = template::built_in()
            .iter()
            .map(|t| t.name)
            .chain(self.templates.keys().map(String::as_str))
            .collect();
        let help = match document::nearest(reference, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        Err(Problem::error(&["template"], format!("no template `{reference}`")).with_help(help))
    }

    pub(super) fn lay_over(
        &self,
        manifest: Value,
        reference: Option<&str>,
    ) -> Result<Layered, Problem> {
        let reference = reference
            .or(self.default_template.as_deref())
            .unwrap_or(template::DEFAULT);
        let base = self.base(reference)?;
        let mut merged = base.merged.clone();
        let mut says = vec![(Origin::Manifest, Arc::new(paths(&manifest)))];
        says.extend(base.says.iter().cloned());
        let origins = Origins::new(says, digest(&manifest));
        merge(&mut merged, manifest);
        let merged = serde_json::from_value(without_nulls(merged))
            .map_err(|error| Problem::error(&[], format!("with its template: {error}")))?;
        Ok(Layered {
            template: base.template.clone(),
            required_env: base.required_env.clone(),
            merged,
            origins,
        })
    }
}

/// A template's full name, its layers, lowest first, and the variables that it demands.
type Layers = (String, Vec<(Origin, Value)>, Vec<String>);

/// Names what a manifest says, in 16 hexadecimal digits.
fn digest(manifest: &Value) -> String {
    blake3::hash(manifest.to_string().as_bytes()).to_hex()[..16].to_owned()
}

/// Dotted paths of everything that a layer says; a `null` says something, too.
fn paths(layer: &Value) -> BTreeSet<String> {
    fn walk(at: &str, value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, below) in map {
                    let dot = if at.is_empty() { "" } else { "." };
                    walk(&format!("{at}{dot}{key}"), below, found);
                }
            }
            _ if at.is_empty() => {}
            _ => {
                found.insert(at.to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk("", layer, &mut found);
    found
}

/// Lays `over` on `base`: maps deeply, everything else whole.
pub(super) fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(below) => merge(below, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// `null` takes away what a layer below says; to the layer itself it is as if the key were not there.
pub(super) fn without_nulls(mut value: Value) -> Value {
    drop_nulls(&mut value);
    value
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, below| !below.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}
