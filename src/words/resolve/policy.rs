//! What the operator's policy says of a spec.

use globset::Glob;

use crate::words::config::{Config, Verdict};
use crate::words::diagnostic::Problem;
use crate::words::manifest::{Auth, Manifest};
use crate::words::secret::SecretSource;
use crate::words::spec::{Spec, VolumeSource};

/// Every way in which `spec` breaks policy.
pub(super) fn problems(spec: &Spec, merged: &Manifest, config: &Config) -> Vec<Problem> {
    let policy = &config.policy;
    let mut problems = Vec::new();
    image(&spec.image, config, &mut problems);
    for (index, volume) in spec.volumes.iter().enumerate() {
        if let VolumeSource::Host(path) = &volume.source
            && !allowed(&policy.host_paths.allow, path)
        {
            let at = index.to_string();
            problems.push(denied(
                &["volumes", &at, "host"],
                path,
                "policy.host_paths.allow",
            ));
        }
    }
    for (name, secret) in &spec.secrets {
        let (subject, key) = match &secret.from {
            SecretSource::File(path) => (path.clone(), "from_file"),
            SecretSource::Env(variable) => (format!("env:{variable}"), "from_env"),
            SecretSource::Generated => continue,
        };
        if !allowed(&policy.secrets.allow, &subject) {
            let written = merged.secrets.contains_key(name);
            let base: &[&str] = if written {
                &["secrets", name.as_str()]
            } else {
                &["vnc", "password"]
            };
            let path = [base, &[key]].concat();
            problems.push(denied(&path, &subject, "policy.secrets.allow"));
        }
    }
    for capability in &spec.security.cap_add {
        if !allowed(&policy.cap_add.allow, capability) {
            problems.push(denied(
                &["security", "cap_add"],
                capability,
                "policy.cap_add.allow",
            ));
        }
    }
    // noVNC asks for a password of its own; everything else without a guard is open to everyone.
    for (name, endpoint) in &spec.endpoints {
        if endpoint.auth == Auth::None && name.as_str() != "vnc" {
            let path = ["endpoints", name.as_str(), "auth"];
            let problem =
                Problem::error(&path, "everyone whom the network lets through may use it")
                    .with_help("`auth: bearer` guards it; policy.auth_none says what is allowed");
            judged(policy.auth_none, problem, &mut problems);
        }
    }
    problems
}

fn image(image: &str, config: &Config, problems: &mut Vec<Problem>) {
    let policy = &config.policy.images;
    if !allowed(&policy.allow, image) {
        problems.push(denied(&["image"], image, "policy.images.allow"));
    }
    if image.contains('@') {
        return;
    }
    if policy.require_digest {
        problems.push(
            Problem::error(&["image"], format!("`{image}` has no digest"))
                .with_help("write image@sha256:…; policy.images.require_digest demands it"),
        );
    }
    let tag = image
        .rsplit('/')
        .next()
        .and_then(|last| last.split_once(':'))
        .map(|(_, tag)| tag);
    if matches!(tag, None | Some("latest")) {
        let problem = Problem::error(&["image"], format!("`{image}` names no fixed version"))
            .with_help("name a tag that stays, or a digest");
        judged(policy.latest, problem, problems);
    }
}

fn judged(verdict: Verdict, problem: Problem, problems: &mut Vec<Problem>) {
    match verdict {
        Verdict::Allow => {}
        Verdict::Warn => problems.push(problem.as_warning()),
        Verdict::Deny => problems.push(problem),
    }
}

fn denied(path: &[&str], subject: &str, key: &str) -> Problem {
    Problem::error(path, format!("`{subject}` is not allowed here")).with_help(format!(
        "the host's operator allows it under {key} in instanced.yaml"
    ))
}

/// A path with `..` matches nothing: it does not lead where it seems to.
fn allowed(globs: &[String], subject: &str) -> bool {
    let climbs = subject.split('/').any(|part| part == "..");
    !climbs
        && globs
            .iter()
            .any(|glob| Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(subject)))
}
