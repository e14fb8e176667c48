//! Where a value comes from: which layer said it last.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who says a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The instance's manifest.
    Manifest,
    /// Its template.
    Template,
    /// The fleet's defaults.
    Defaults,
    /// The host's `instanced.yaml`.
    Host,
    /// Whoever moved the image's tag.
    Image,
    /// A hand on the container.
    Outside,
    /// A file or variable that holds a secret.
    Secret,
    /// Nobody says it any more.
    Nobody,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Template => "template",
            Self::Defaults => "fleet defaults",
            Self::Host => "instanced.yaml",
            Self::Image => "image",
            Self::Outside => "changed outside",
            Self::Secret => "secret",
            Self::Nobody => "no longer said",
        })
    }
}

/// What each layer of one instance says, the one that counts most first. Layers that instances share are
/// kept once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origins {
    layers: Vec<(Origin, Arc<BTreeSet<String>>)>,
    /// Names what the manifest itself says, whatever it stands on.
    pub manifest: String,
}

impl Origins {
    /// Layers of dotted paths, the one that counts most first.
    pub fn new(layers: Vec<(Origin, Arc<BTreeSet<String>>)>, manifest: String) -> Self {
        Self { layers, manifest }
    }

    /// Who says a field of a spec.
    pub fn of(&self, field: &str) -> Origin {
        let first = field.split('.').next().unwrap_or(field);
        match first {
            "edge" | "allowed_hosts" | "network" => return Origin::Host,
            "endpoints" if field.rsplit('.').next() == Some("host") => return Origin::Host,
            "secrets" if field.contains(".print") => return Origin::Secret,
            _ => {}
        }
        let written = match in_manifest(field) {
            // Where no password is named, the endpoint's guard asks for one.
            VIEW_PASSWORD
                if !self
                    .layers
                    .iter()
                    .any(|(_, paths)| says(paths, VIEW_PASSWORD)) =>
            {
                "endpoints.vnc.auth"
            }
            written => written,
        };
        let said = self.layers.iter().find(|(_, paths)| says(paths, written));
        said.map_or(Origin::Nobody, |(origin, _)| *origin)
    }
}

const VIEW_PASSWORD: &str = "vnc.view_password";

/// How a manifest writes what a spec keeps under another name.
fn in_manifest(field: &str) -> &str {
    match field {
        "security.uid" | "security.gid" => "security.user",
        _ if field.starts_with("secrets.vnc_password") => "vnc",
        _ if field.starts_with("secrets.vnc_view_password") => VIEW_PASSWORD,
        _ => field,
    }
}

/// A layer says a field when it says the field itself, something in it, or what it lies in.
fn says(paths: &BTreeSet<String>, field: &str) -> bool {
    let from = (Bound::Included(field), Bound::Unbounded);
    let holds = paths
        .range::<str, _>(from)
        .map_while(|path| path.strip_prefix(field))
        .any(|rest| rest.is_empty() || rest.starts_with('.'));
    let lies_in = field
        .match_indices('.')
        .any(|(at, _)| paths.contains(&field[..at]));
    holds || lies_in
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(paths: &[&str]) -> Arc<BTreeSet<String>> {
        Arc::new(paths.iter().map(|path| (*path).to_owned()).collect())
    }

    #[test]
    fn the_first_layer_that_says_a_field_is_its_origin() {
        let origins = Origins::new(
            vec![
                (
                    Origin::Manifest,
                    layer(&["resources.memory", "security.user", "endpoints.vnc.auth"]),
                ),
                (
                    Origin::Template,
                    layer(&["resources.memory", "resources.cpus", "command"]),
                ),
            ],
            String::new(),
        );
        for (field, origin) in [
            ("resources.memory", Origin::Manifest),
            ("resources.cpus", Origin::Template),
            ("resources", Origin::Manifest),
            ("command", Origin::Template),
            ("security.uid", Origin::Manifest),
            ("env.GONE", Origin::Nobody),
            ("endpoints.mcp.host", Origin::Host),
            ("secrets.key.print.hash", Origin::Secret),
            ("secrets.vnc_view_password", Origin::Manifest),
        ] {
            assert_eq!(origins.of(field), origin, "{field}");
        }
    }
}
