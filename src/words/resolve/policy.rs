//! What the operator's policy says of a spec.

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::words::config::{Config, Policy, ResourcePolicy, Verdict};
use crate::words::diagnostic::Problem;
use crate::words::manifest::{Auth, Manifest};
use crate::words::secret::{self, SecretSource};
use crate::words::spec::{Resources, Spec, VolumeSource};

/// What the policy allows, its globs compiled: that takes longer than a manifest.
pub(super) struct Allowed {
    images: GlobSet,
    host_paths: GlobSet,
    secrets: GlobSet,
    cap_add: GlobSet,
}

impl Allowed {
    /// What a policy allows. A glob that is none allows nothing; reading the configuration told it.
    pub(super) fn by(policy: &Policy) -> Self {
        let compiled = |globs: &[String]| {
            let mut set = GlobSetBuilder::new();
            globs
                .iter()
                .flat_map(|glob| Glob::new(glob))
                .for_each(|glob| {
                    set.add(glob);
                });
            set.build().unwrap_or_default()
        };
        Self {
            images: compiled(&policy.images.allow),
            host_paths: compiled(&policy.host_paths.allow),
            secrets: compiled(&policy.secrets.allow),
            cap_add: compiled(&policy.cap_add.allow),
        }
    }
}

/// Every way in which `spec` breaks policy.
pub(super) fn problems(
    spec: &Spec,
    merged: &Manifest,
    config: &Config,
    allowed: &Allowed,
) -> Vec<Problem> {
    let policy = &config.policy;
    let mut problems = Vec::new();
    image(&spec.image, policy, allowed, &mut problems);
    resources(&spec.resources, &policy.resources, &mut problems);
    for (index, volume) in spec.volumes.iter().enumerate() {
        if let VolumeSource::Host(path) = &volume.source
            && !matches(&allowed.host_paths, path)
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
        if !matches(&allowed.secrets, &subject) {
            let base: &[&str] = match name.as_str() {
                written if merged.secrets.contains_key(name) => &["secrets", written],
                secret::VNC_VIEW_PASSWORD => &["vnc", "view_password"],
                _ => &["vnc", "password"],
            };
            let path = [base, &[key]].concat();
            problems.push(denied(&path, &subject, "policy.secrets.allow"));
        }
    }
    for capability in &spec.security.cap_add {
        if !matches(&allowed.cap_add, capability) {
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
                    .with_help("`auth: bearer` guards it for clients, `auth: ticket` for people; policy.auth_none says what is allowed");
            judged(policy.auth_none, problem, &mut problems);
        }
    }
    problems
}

/// What it says of an image.
pub(super) fn image(image: &str, policy: &Policy, allowed: &Allowed, problems: &mut Vec<Problem>) {
    let policy = &policy.images;
    if !matches(&allowed.images, image) {
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

fn resources(asked: &Resources, most: &ResourcePolicy, problems: &mut Vec<Problem>) {
    let mut check = |field: &str, over: Option<(String, String)>| {
        if let Some((asked, most)) = over {
            let message = format!("{asked} is more than the {most} that are allowed here");
            problems.push(Problem::error(&["resources", field], message).with_help(format!(
                "the host's operator sets the limit under policy.resources.{field} in instanced.yaml"
            )));
        }
    };
    check("memory", over(&asked.memory, most.memory.as_ref()));
    check("cpus", over(&asked.cpus, most.cpus.as_ref()));
    check("pids", over(&asked.pids, most.pids.as_ref()));
    check("shm", over(&asked.shm, most.shm.as_ref()));
}

/// Both in words, where the one is more than the other.
fn over<T: PartialOrd + ToString>(asked: &T, most: Option<&T>) -> Option<(String, String)> {
    let most = most.filter(|most| asked > *most)?;
    Some((asked.to_string(), most.to_string()))
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
fn matches(globs: &GlobSet, subject: &str) -> bool {
    let climbs = subject.split('/').any(|part| part == "..");
    !climbs && globs.is_match(subject)
}
