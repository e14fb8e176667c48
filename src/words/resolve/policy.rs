//! What the operator's policy says of a spec.

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::words::config::{Config, IdRange, Policy, ResourcePolicy, UserPolicy, Verdict};
use crate::words::diagnostic::Problem;
use crate::words::host_path::{HostRule, Refusal};
use crate::words::manifest::{Auth, Manifest};
use crate::words::name::EndpointName;
use crate::words::secret::{self, SecretSource};
use crate::words::spec::{Resources, Security, Spec, VolumeSource};
use crate::words::template;

/// What the policy allows, its globs compiled: that takes longer than a manifest.
pub(super) struct Allowed {
    images: GlobSet,
    host_paths: HostRule,
    secrets: GlobSet,
    cap_add: GlobSet,
}

impl Allowed {
    /// What a policy allows. A glob that is none allows nothing; reading the configuration told it.
    pub(super) fn by(config: &Config) -> Self {
        let policy = &config.policy;
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
            host_paths: HostRule::of(config),
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
        if let VolumeSource::Host(path) = &volume.source {
            problems.extend(host_path(path, index, &allowed.host_paths));
        }
    }
    user(&spec.security, &policy.users, &mut problems);
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
    // The template's noVNC asks for a password; everything else without a guard is open to everyone.
    for (name, endpoint) in &spec.endpoints {
        if endpoint.auth == Auth::None {
            problems.extend(unguarded(spec, name, policy.auth_none));
        }
    }
    problems
}

/// What it says of an endpoint without a guard.
fn unguarded(spec: &Spec, name: &EndpointName, verdict: Verdict) -> Option<Problem> {
    // A warning is about slips; what is denied must not be had by a trick either.
    if verdict != Verdict::Deny && template::asks_for_password(spec, name) {
        return None;
    }
    let beside = template::beside_screen(spec, name);
    let guards = "`auth: bearer` guards it for clients, `auth: ticket` for people; policy.auth_none says what is allowed";
    let help = match beside.as_deref() {
        Some([]) => return None,
        Some([first, rest @ ..]) => {
            let more = match rest.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!(
                "remove {first}{more}, with which another program may take the place of the screen that asks for a password; or {guards}"
            )
        }
        None => guards.to_owned(),
    };
    let path = ["endpoints", name.as_str(), "auth"];
    let problem = Problem::error(&path, "everyone whom the network lets through may use it");
    let mut problems = Vec::new();
    judged(verdict, problem.with_help(help), &mut problems);
    problems.pop()
}

/// What it says of a directory of the host.
fn host_path(path: &str, index: usize, rule: &HostRule) -> Option<Problem> {
    let at = ["volumes", &index.to_string(), "host"];
    match rule.refusal(path)? {
        Refusal::NotAllowed => Some(denied(&at, path, "policy.host_paths.allow")),
        Refusal::Reserved { path: taken, holds } => Some(
            Problem::error(&at, format!("`{path}` leads to {holds} ({taken})"))
                .with_help("no policy allows it; mount a directory that has no part in it"),
        ),
    }
}

/// What it says of the user that an instance is.
fn user(security: &Security, policy: &UserPolicy, problems: &mut Vec<Problem>) {
    let mut check = |what: &str, id: u32, key: &str, ranges: &[IdRange], is_allowed: bool| {
        if is_allowed {
            return;
        }
        let root = if id == 0 { ", which is root," } else { "" };
        let ranges: Vec<_> = ranges.iter().map(ToString::to_string).collect();
        let message = format!("{what} {id}{root} is not allowed here");
        problems.push(
            Problem::error(&["security", "user"], message).with_help(format!(
                "allowed: {}; the host's operator sets policy.users.{key} in instanced.yaml",
                if ranges.is_empty() {
                    "none".to_owned()
                } else {
                    ranges.join(", ")
                }
            )),
        );
    };
    let (uid, gid) = (security.uid, security.gid);
    check("user", uid, "uids", &policy.uids, policy.has_uid(uid));
    check("group", gid, "gids", &policy.gids, policy.has_gid(gid));
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
