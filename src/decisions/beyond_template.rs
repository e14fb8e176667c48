//! What a spec says beyond its template: what a reader of a new instance has to see.

use serde_json::{Map, Value};

use crate::words::config::Config;
use crate::words::desired::{Snapshot, SourceFile};
use crate::words::resolve::resolve;
use crate::words::spec::Spec;
use crate::words::template;

/// The built-in template that adds nothing but an endpoint. A fleet's own template counts as part of the instance:
/// the commit that adds the instance may have written it.
const PLAIN: &str = "mcp-http";

/// The fields that differ from those of an instance of which only the template is given, by name. A field that is
/// gone is `null`.
pub fn fields(spec: &Spec) -> Map<String, Value> {
    let (all, bare) = (object(spec), object(&bare(spec)));
    let gone = bare.keys().filter(|field| !all.contains_key(*field));
    let gone: Vec<_> = gone.map(|field| (field.clone(), Value::Null)).collect();
    let differs = |(field, value): &(String, Value)| bare.get(field) != Some(value);
    all.into_iter().filter(differs).chain(gone).collect()
}

/// The same instance, if its manifest said no more than its template. What the host's configuration decides is taken
/// from the spec.
fn bare(spec: &Spec) -> Spec {
    let known = template::find(&spec.template).map(|_| spec.template.as_str());
    let template = known.unwrap_or(PLAIN);
    let manifest = |image: &str| {
        SourceFile::of_text(
            &format!("{}.yaml", spec.name),
            format!("template: \"{template}\"\n{image}"),
        )
    };
    let resolved = |image: &str| {
        let snapshot = Snapshot {
            revision: String::new(),
            manifests: vec![manifest(image)],
            ..Snapshot::default()
        };
        let desired = resolve(&snapshot, &Config::default());
        let mut desired = desired.expect("there is no fleet.yaml");
        desired.specs.remove(&spec.name)
    };
    let bare = resolved("").or_else(|| resolved("image: localhost/none:1\n"));
    let bare = bare.expect("a built-in template needs no more than an image");
    Spec {
        edge: spec.edge.clone(),
        network: spec.network.clone(),
        allowed_hosts: spec.allowed_hosts.clone(),
        ..(*bare).clone()
    }
}

fn object(spec: &Spec) -> Map<String, Value> {
    match serde_json::to_value(spec) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Spec {
        let snapshot = Snapshot {
            revision: String::new(),
            manifests: vec![SourceFile::of_text("i/a.yaml", text)],
            ..Snapshot::default()
        };
        let mut config = Config {
            domain: "mcp.example.com".parse().expect("a name"),
            ..Config::default()
        };
        config.policy.host_paths.allow = vec!["*".to_owned()];
        config.policy.cap_add.allow = vec!["*".to_owned()];
        let desired = resolve(&snapshot, &config).expect("no fleet");
        let found = desired.specs.get("a");
        (**found.unwrap_or_else(|| panic!("{:?}", desired.diagnostics))).clone()
    }

    fn names(text: &str) -> Vec<String> {
        fields(&spec(text))
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn an_instance_of_its_template_alone_says_nothing_but_where_it_is() {
        assert_eq!(names("{}"), ["endpoints"], "their hosts");
    }

    /// One manifest for each of its keys. A new key does not compile until it is named here.
    #[test]
    fn whatever_a_manifest_says_is_beyond_its_template() {
        use crate::words::manifest::Manifest;
        let Manifest {
            template: _,
            owner: _,
            state: _,
            image: _,
            entrypoint: _,
            command: _,
            env: _,
            secrets: _,
            screen: _,
            resources: _,
            endpoints: _,
            vnc: _,
            health: _,
            restart: _,
            replace: _,
            pull: _,
            volumes: _,
            security: _,
            labels: _,
            tokens: _,
            protect: _,
        } = Manifest::default();
        let hash = "0".repeat(64);
        let token = format!("tokens: [{{ label: ci, hash: \"blake3:{hash}\" }}]");
        for (text, field) in [
            ("owner: me", "owner"),
            ("state: stopped", "state"),
            ("image: acme/x:1", "image"),
            ("entrypoint: [x]", "entrypoint"),
            ("command: [x]", "command"),
            ("env: { A: b }", "env"),
            ("secrets: { k: { from_file: /run/secrets/k } }", "secrets"),
            ("screen: { width: 800 }", "screen"),
            ("screen: null", "screen"),
            ("resources: { pids: 7 }", "resources"),
            ("endpoints: { vnc: null }", "endpoints"),
            ("vnc: null", "secrets"),
            ("health: { retries: 9 }", "health"),
            ("restart: \"no\"", "restart"),
            ("replace: start-first", "replace"),
            ("pull: always", "pull"),
            ("volumes: [{ host: /srv/x, target: /x }]", "volumes"),
            ("security: { read_only: false }", "security"),
            ("security: { cap_add: [NET_ADMIN] }", "security"),
            ("labels: { a: b }", "labels"),
            (token.as_str(), "tokens"),
            ("protect: true", "protect"),
        ] {
            let names = names(text);
            assert!(names.iter().any(|name| name == field), "{text}: {names:?}");
        }
    }
}
