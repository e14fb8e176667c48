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
use super::desired::{Content, Desired, Snapshot, SourceFile, Unreadable};
use super::diagnostic::{Diagnostic, Problem, Severity};
use super::document::{self, Document, Segment};
use super::manifest::{Manifest, TemplateHead, TokenPart};
use super::name::InstanceName;
use super::origin::{Origin, Origins};
use super::spec::Spec;
use super::spread::spread;
use super::template;
use super::template::ListedTemplate;
use super::text;

pub use normalise::auth_url;

mod across;
mod files;
mod layer;
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
    let names = files::Names(&snapshot.manifests);
    let resolved = spread(&snapshot.manifests, |file| {
        let name = names.instance(file)?;
        let resolved = resolve_one(&name, file, &ground);
        Ok::<_, files::Misnamed>((name, resolved))
    });
    let (mut files, mut miswritten) = (BTreeMap::new(), Vec::new());
    for (file, resolved) in snapshot.manifests.iter().zip(resolved) {
        let (name, resolved) = match resolved {
            Ok(resolved) => resolved,
            Err((diagnostic, meant)) => {
                miswritten.extend(meant.map(|name| (name, diagnostic.clone())));
                desired.diagnostics.push(diagnostic);
                continue;
            }
        };
        if desired.names(&name) {
            let diagnostic = Diagnostic::of_file(
                &file.path,
                format!("a second manifest for `{name}`"),
                Some("keep one of the two files"),
            );
            hold(&mut desired, &name, vec![diagnostic]);
            continue;
        }
        match resolved {
            Ok((spec, origins, warnings)) => {
                desired.diagnostics.extend(warnings);
                desired.specs.insert(name.clone(), Arc::new(spec));
                desired.origins.insert(name.clone(), origins);
                files.insert(name, file);
            }
            Err(diagnostics) => hold(&mut desired, &name, diagnostics),
        }
    }
    for (name, diagnostic) in miswritten {
        if !desired.names(&name) {
            hold(&mut desired, &name, vec![diagnostic]);
        }
    }
    for (name, problem) in across::problems(&desired.specs, config) {
        // Few have such a problem: their documents are read again rather than all kept.
        let Some(Ok(document)) = files.get(&name).map(|file| parse(file)) else {
            continue;
        };
        let diagnostic = document.place(problem);
        if diagnostic.is_error() {
            hold(&mut desired, &name, vec![diagnostic]);
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

fn hold(desired: &mut Desired, name: &InstanceName, diagnostics: Vec<Diagnostic>) {
    desired.specs.remove(name);
    desired.origins.remove(name);
    desired.diagnostics.extend(diagnostics.iter().cloned());
    desired
        .unreadable
        .entry(name.clone())
        .or_default()
        .extend(diagnostics);
}

type Resolved = (Spec, Origins, Vec<Diagnostic>);

fn resolve_one(
    name: &InstanceName,
    file: &SourceFile,
    ground: &Ground<'_>,
) -> Result<Resolved, Vec<Diagnostic>> {
    let document = parse(file).map_err(|diagnostic| vec![diagnostic])?;
    let decoded = document.decode_at::<Manifest>(&[], without_nulls(document.value().clone()));
    let said = decoded.rest(document.value().clone());
    let mut diagnostics = decoded.diagnostics;
    let mut problems = text::problems(document.value(), layer::use_of);
    let manifest = decoded.value;
    problems.extend(
        manifest
            .iter()
            .flat_map(|manifest| layer::problems(&[], manifest)),
    );
    diagnostics.extend(document.place_all(problems));
    // What is said without the faulty fields is checked, too: one look finds everything. A fault must not be reported
    // a second time for what it took away.
    let faulty: Vec<String> = diagnostics
        .iter()
        .map(|found| found.field.clone())
        .collect();
    let is_new = |found: &Diagnostic| !faulty.iter().any(|field| is_about(&found.field, field));
    let Some(manifest) = manifest.filter(|_| !faulty.iter().any(|field| field == "template"))
    else {
        return Err(diagnostics);
    };
    let layered = match ground.fleet.lay_over(said, manifest.template.as_deref()) {
        Ok(layered) => layered,
        Err(problem) => {
            diagnostics.push(document.place(problem));
            return Err(diagnostics);
        }
    };
    let (spec, mut problems) = normalise::normalise(name, &layered, ground.config);
    if let Some(spec) = &spec {
        let broken = policy::problems(spec, &layered.merged, ground.config, &ground.allowed);
        problems.extend(broken);
        problems.extend(ground.today.iter().flat_map(|today| expired(spec, *today)));
    }
    diagnostics.extend(document.place_all(problems).into_iter().filter(is_new));
    match spec {
        Some(spec) if !diagnostics.iter().any(Diagnostic::is_error) => {
            Ok((spec, layered.origins, diagnostics))
        }
        _ => Err(diagnostics),
    }
}

/// Whether two fields are one, or one within the other.
fn is_about(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    within(one, other) || within(other, one)
}

/// Tokens that a manifest still grants, and that open nothing any more.
fn expired(spec: &Spec, today: Date) -> Vec<Problem> {
    let over = |(index, token): (usize, &TokenPart)| {
        let expires = token.expires.filter(|day| *day <= today)?;
        let message = format!(
            "the token `{}` has opened nothing since {expires}",
            token.label
        );
        let problem = Problem::error(&["tokens", &index.to_string(), "expires"], message);
        Some(
            problem
                .as_warning()
                .with_help("remove it, or grant another one in its place"),
        )
    };
    spec.tokens.iter().enumerate().filter_map(over).collect()
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
        if let Some(misnamed) = files::misnamed_fleet(file) {
            return Err(vec![misnamed]);
        }
        let document = match &file.content {
            Content::Text(text) => Document::parse(&file.path, text).map_err(|d| vec![d])?,
            _ => return Err(parse(file).err().into_iter().collect()),
        };
        let mut fleet = Self::default();
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

    fn lay_over(&self, manifest: Value, reference: Option<&str>) -> Result<Layered, Problem> {
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
