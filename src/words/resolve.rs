//! From the files of a source to what is desired: parse, lay template, defaults and manifest over one
//! another, normalise, check. Every problem of every file is told; a manifest with an error holds its
//! instance and spoils no other.
//!
//! Later layers win: built-in template, the fleet's defaults, the fleet's own template, manifest. Maps
//! merge deeply, lists are replaced whole, `null` takes away what a layer below says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::civil::Date;
use serde_json::{Map, Value};

use super::config::Config;
use super::desired::{AccessLimit, Content, Desired, Snapshot, SourceFile, Unreadable};
use super::diagnostic::{Diagnostic, Problem, Severity};
use super::document::{self, Document, Segment};
use super::manifest::{Manifest, TemplateHead};
use super::name::{InstanceName, NameError};
use super::origin::{Origin, Origins};
use super::spec::Spec;
use super::spread::spread;
use super::template;
use super::template::ListedTemplate;

pub use limit::{access_limits, denied_endpoints};
pub use normalise::auth_url;

mod across;
mod limit;
mod normalise;
mod policy;
#[cfg(test)]
mod tests;

/// Resolves everything that a source says.
///
/// # Errors
/// The diagnostics of `fleet.yaml`, when it cannot be used: then nothing can be said of any instance.
pub fn resolve(snapshot: &Snapshot, config: &Config) -> Result<Desired, Vec<Diagnostic>> {
    resolve_on(snapshot, config, None)
}

/// The same, on a day (UTC): tokens of manifests that are over by then are told, too.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_on(
    snapshot: &Snapshot,
    config: &Config,
    today: Option<Date>,
) -> Result<Desired, Vec<Diagnostic>> {
    let (fleet, warnings) = Fleet::read(snapshot.fleet.as_ref())?;
    let mut desired = Desired {
        revision: snapshot.revision.clone(),
        commit: snapshot.commit.clone(),
        diagnostics: warnings,
        ..Desired::default()
    };
    let ground = Ground {
        fleet,
        config,
        allowed: policy::Allowed::by(&config.policy),
        today,
    };
    let resolved = spread(&snapshot.manifests, |file| {
        let name = file.stem.parse::<InstanceName>()?;
        let resolved = resolve_one(&name, file, &ground);
        Ok::<_, NameError>((name, resolved))
    });
    let (mut files, mut miswritten) = (BTreeMap::new(), Vec::new());
    for (file, resolved) in snapshot.manifests.iter().zip(resolved) {
        let (name, resolved) = match resolved {
            Ok(resolved) => resolved,
            Err(error) => {
                let diagnostic = Diagnostic::of_file(
                    &file.path,
                    error.to_string(),
                    Some("the file's name is the instance's: rename it, such as alice.yaml"),
                );
                // `Alice.yaml` is no wish that alice goes.
                let meant = file.stem.to_ascii_lowercase().parse::<InstanceName>();
                miswritten.extend(meant.ok().map(|name| (name, diagnostic.clone())));
                desired.diagnostics.push(diagnostic);
                continue;
            }
        };
        if desired.names(&name) {
            let limit = match &resolved {
                Ok((spec, ..)) => AccessLimit::of(spec),
                Err((_, limit)) => limit.clone(),
            };
            let diagnostic = Diagnostic::of_file(
                &file.path,
                format!("a second manifest for `{name}`"),
                Some("keep one of the two files"),
            );
            desired.hold(&name, vec![diagnostic]);
            desired.limit(&name, limit);
            continue;
        }
        match resolved {
            Ok((spec, origins, warnings)) => {
                desired.diagnostics.extend(warnings);
                desired.specs.insert(name.clone(), Arc::new(spec));
                desired.origins.insert(name.clone(), origins);
                files.insert(name, file);
            }
            Err((diagnostics, limit)) => {
                desired.hold(&name, diagnostics);
                desired.limit(&name, limit);
            }
        }
    }
    for (name, diagnostic) in miswritten {
        if !desired.names(&name) {
            desired.hold(&name, vec![diagnostic]);
        }
    }
    desired.instance_limit = limit::instances(&desired, &files, config);
    for (name, problem, claim) in across::problems(&desired.specs, config) {
        // Few have such a problem: their documents are read again rather than all kept.
        let Some(Ok(document)) = files.get(&name).map(|file| parse(file)) else {
            continue;
        };
        let diagnostic = document.place(problem);
        if diagnostic.is_error() {
            desired.contest(&name, claim);
            desired.hold(&name, vec![diagnostic]);
        } else {
            desired.diagnostics.push(diagnostic);
        }
    }
    desired.diagnostics.sort();
    desired.diagnostics.dedup();
    Ok(desired)
}

/// What all manifests of a source stand on.
struct Ground<'a> {
    fleet: Fleet,
    config: &'a Config,
    allowed: policy::Allowed,
    today: Option<Date>,
}

impl Ground<'_> {
    /// What can be told of a manifest that does not decode in whole: whoever mends it shall not find more only then.
    fn beside_errors(&self, manifest: &Value) -> Vec<Problem> {
        let text = |key: &str| manifest.get(key).and_then(Value::as_str);
        let template = text("template").map(|name| self.fleet.template(name));
        let mut problems: Vec<Problem> = template.and_then(Result::err).into_iter().collect();
        if let Some(image) = text("image") {
            policy::image(image, &self.config.policy, &self.allowed, &mut problems);
        }
        problems
    }
}

/// Why an instance is held, and what its manifest says of access all the same.
type Held = (Vec<Diagnostic>, AccessLimit);
type Resolved = (Spec, Origins, Vec<Diagnostic>);

fn resolve_one(
    name: &InstanceName,
    file: &SourceFile,
    ground: &Ground<'_>,
) -> Result<Resolved, Held> {
    // A file that is no YAML says nothing of access either: what was known last stays.
    let document = parse(file).map_err(|d| (vec![d], AccessLimit::default()))?;
    let broken = || limit::of_broken(&document, Some(&ground.fleet));
    let (manifest, mut diagnostics) =
        document.decode_at::<Manifest>(&[], without_nulls(document.value().clone()));
    let manifest = match manifest {
        Some(manifest) if !diagnostics.iter().any(Diagnostic::is_error) => manifest,
        _ => {
            let more = ground.beside_errors(document.value());
            diagnostics.extend(document.place_all(more));
            return Err((diagnostics, broken()));
        }
    };
    let layered = ground
        .fleet
        .lay_over(&document, manifest.template.as_deref())
        .map_err(|problem| (vec![document.place(problem)], broken()))?;
    let mut denied = BTreeSet::new();
    let (spec, mut problems) = normalise::normalise(name, &layered, ground.config);
    if let Some(spec) = &spec {
        let denials = policy::problems(spec, &layered.merged, ground.config, &ground.allowed);
        denied = limit::denied(&denials);
        problems.extend(denials);
        problems.extend(
            ground
                .today
                .iter()
                .flat_map(|today| limit::expired(spec, *today)),
        );
    }
    diagnostics.extend(document.place_all(problems));
    match spec {
        Some(spec) if !diagnostics.iter().any(Diagnostic::is_error) => {
            Ok((spec, layered.origins, diagnostics))
        }
        _ => {
            let limit = broken();
            Err((diagnostics, AccessLimit { denied, ..limit }))
        }
    }
}

fn parse(file: &SourceFile) -> Result<Document, Diagnostic> {
    let text = match &file.content {
        Content::Text(text) => text,
        Content::Unreadable(Unreadable { why, help, at }) => {
            let mut told = Diagnostic::of_file(&file.path, why.as_str(), help.as_deref());
            (told.place.line, told.place.column) = *at;
            return Err(told);
        }
        Content::BeingWritten => {
            let waits = Diagnostic::of_file(&file.path, "still being written", None);
            return Err(Diagnostic {
                severity: Severity::Note,
                ..waits
            });
        }
    };
    let document = Document::parse(&file.path, text)?;
    if document.value().is_null() {
        return Err(Diagnostic::of_file(
            &file.path,
            if text.is_empty() {
                "the file is empty"
            } else {
                "the file says nothing"
            },
            Some(
                "write `{}` for an instance of the default template; delete the file to remove it",
            ),
        ));
    }
    Ok(document)
}

/// All templates that manifests may name: those that come with the program, and the fleet's own as far as they can be
/// read.
pub fn templates(snapshot: &Snapshot) -> Vec<ListedTemplate> {
    let own = Fleet::read(snapshot.fleet.as_ref()).map(|(fleet, _)| fleet.templates);
    let own = own.unwrap_or_default().into_iter();
    let own = own.map(|(name, (head, _))| ListedTemplate {
        name,
        description: head.description.unwrap_or_default(),
        built_in: false,
        required_env: head.required_env,
    });
    let built_in = template::built_in().iter().map(ListedTemplate::from);
    built_in.chain(own).collect()
}

/// A manifest laid over what it stands on.
struct Layered {
    /// The template's name with its version.
    template: String,
    /// Variables that the template demands.
    required_env: Vec<String>,
    /// Everything together.
    merged: Manifest,
    /// Who says what.
    origins: Origins,
}

/// What a template's manifests stand on.
struct Base {
    /// The template's name with its version.
    template: String,
    /// Its layers, merged.
    merged: Value,
    /// Variables that it demands.
    required_env: Vec<String>,
    /// What each layer says, the one that counts most first.
    says: Vec<(Origin, Arc<BTreeSet<String>>)>,
}

/// `fleet.yaml`, read.
#[derive(Default)]
struct Fleet {
    defaults: Value,
    default_template: Option<String>,
    templates: BTreeMap<String, (TemplateHead, Value)>,
    /// Bases that manifests asked for: most share one.
    bases: Mutex<BTreeMap<String, Arc<Base>>>,
}

impl Fleet {
    fn read(file: Option<&SourceFile>) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let Some(file) = file else {
            return Ok((Self::default(), Vec::new()));
        };
        let document = match &file.content {
            Content::Text(text) => Document::parse(&file.path, text).map_err(|d| vec![d])?,
            _ => return Err(parse(file).err().into_iter().collect()),
        };
        let mut fleet = Self::default();
        let mut diagnostics = Vec::new();
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
                    let (defaults, problems) =
                        document.decode_at::<Manifest>(&at, without_nulls(value.clone()));
                    diagnostics.extend(problems);
                    fleet.default_template = defaults.and_then(|d: Manifest| d.template);
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
            let (head, head_problems) =
                document.decode_at::<TemplateHead>(&at, Value::Object(head));
            let (_, body_problems) =
                document.decode_at::<Manifest>(&at, without_nulls(Value::Object(body.clone())));
            told.extend(head_problems.into_iter().chain(body_problems));
            if body.contains_key("template") {
                told.push(document.place(Problem::error(
                    &["templates", name, "template"],
                    "a template stands on no other template",
                )));
            }
            self.templates.insert(
                name.clone(),
                (head.unwrap_or_default(), Value::Object(body)),
            );
        }
    }

    /// What stands under every manifest of a template.
    fn base(&self, reference: &str) -> Result<Arc<Base>, Problem> {
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

    fn lay_over(&self, manifest: &Document, reference: Option<&str>) -> Result<Layered, Problem> {
        let reference = reference
            .or(self.default_template.as_deref())
            .unwrap_or(template::DEFAULT);
        let base = self.base(reference)?;
        let mut merged = base.merged.clone();
        merge(&mut merged, manifest.value().clone());
        let merged = serde_json::from_value(without_nulls(merged))
            .map_err(|error| Problem::error(&[], format!("with its template: {error}")))?;
        let mut says = vec![(Origin::Manifest, Arc::new(paths(manifest.value())))];
        says.extend(base.says.iter().cloned());
        Ok(Layered {
            template: base.template.clone(),
            required_env: base.required_env.clone(),
            merged,
            origins: Origins::new(says, digest(manifest.value())),
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
fn merge(base: &mut Value, over: Value) {
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
fn without_nulls(mut value: Value) -> Value {
    drop_nulls(&mut value);
    value
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, below| !below.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}
