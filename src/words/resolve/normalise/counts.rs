//! How much of a kind one instance may have: what it has costs every round, and the edge.

use crate::words::bounds;
use crate::words::diagnostic::Problem;
use crate::words::manifest::Manifest;

/// Every count of the merged manifest that is beyond its bounds.
pub(super) fn problems(manifest: &Manifest) -> Vec<Problem> {
    let length = |list: Option<usize>| list.unwrap_or(0);
    let tmpfs = manifest.security.as_ref().map(|part| part.tmpfs.len());
    let counts = [
        ("endpoints", manifest.endpoints.len(), bounds::ENDPOINTS),
        (
            "volumes",
            length(manifest.volumes.as_ref().map(Vec::len)),
            bounds::VOLUMES,
        ),
        (
            "command",
            length(manifest.command.as_ref().map(Vec::len)),
            bounds::ARGUMENTS,
        ),
        (
            "entrypoint",
            length(manifest.entrypoint.as_ref().map(Vec::len)),
            bounds::ARGUMENTS,
        ),
        ("security.tmpfs", length(tmpfs), bounds::TMPFS),
        ("secrets", manifest.secrets.len(), bounds::SECRETS),
        (
            "tokens",
            length(manifest.tokens.as_ref().map(Vec::len)),
            bounds::TOKENS,
        ),
        ("env", manifest.env.len(), bounds::VARIABLES),
        ("labels", manifest.labels.len(), bounds::VARIABLES),
    ];
    let mut found: Vec<Problem> = counts
        .into_iter()
        .filter_map(|(key, count, bounds)| {
            let path: Vec<_> = key.split('.').collect();
            bounds.check(&path, count, "this counts entries; split the instance")
        })
        .collect();
    let owner = manifest.owner.as_deref().unwrap_or_default();
    found.extend(bounds::OWNER_LENGTH.check(
        &["owner"],
        owner.chars().count(),
        "this counts characters; name a person or a team",
    ));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::manifest::{EndpointPart, SecretFrom};

    #[test]
    fn each_kind_has_its_bound() {
        let mut manifest = Manifest::default();
        assert_eq!(problems(&manifest), []);
        manifest.owner = Some("ä".repeat(200));
        let names = |count: usize| (0..count).map(|n| format!("n{n}"));
        manifest.endpoints = names(32)
            .map(|name| (name.parse().expect("a name"), EndpointPart::default()))
            .collect();
        manifest.secrets = names(129)
            .map(|name| {
                (
                    name.parse().expect("a name"),
                    SecretFrom::FromEnv("KEY".to_owned()),
                )
            })
            .collect();
        let found = problems(&manifest);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].message, "129 is not from 0 to 128");
        manifest.owner = Some("a".repeat(201));
        assert_eq!(problems(&manifest).len(), 2);
    }
}
