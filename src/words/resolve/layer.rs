//! What one layer may not say, whatever lies above or below it: a manifest, the fleet's defaults, a template.
//!
//! Each layer is checked where it is written, so that a fault of `fleet.yaml` is reported there and not at every manifest.

use crate::words::bounds::{self, Bounds};
use crate::words::diagnostic::Problem;
use crate::words::manifest::{self, HealthPart, Manifest, ResourcesPart};
use crate::words::quantity::Span;
use crate::words::reference;
use crate::words::text::{self, Use};

/// Everything that is wrong with the fields of a layer that begins at `base`.
pub(super) fn problems(base: &[&str], layer: &Manifest) -> Vec<Problem> {
    let mut found = Vec::new();
    let at = |path: &[&str]| -> Vec<String> {
        let whole = base.iter().chain(path);
        whole.map(|segment| (*segment).to_owned()).collect()
    };
    let mut put = |problem: Problem| {
        let path: Vec<_> = problem.path.iter().map(String::as_str).collect();
        let path = at(&path);
        found.push(Problem { path, ..problem });
    };
    // A blank one is none: the merged manifest is checked for that.
    let image = layer
        .image
        .as_deref()
        .filter(|image| !image.trim().is_empty());
    if let Some(Err(fault)) = image.map(reference::check) {
        put(fault.at(&["image"]));
    }
    for (name, endpoint) in &layer.endpoints {
        if let Some(Err(fault)) = endpoint
            .path
            .as_deref()
            .map(|path| text::check_path(path, false))
        {
            put(fault.at(&["endpoints", name.as_str(), "path"]));
        }
    }
    if let Some(part) = &layer.health {
        health(part, &mut put);
    }
    if let Some(part) = &layer.resources {
        resources(part, &mut put);
    }
    for (path, size) in layer.security.iter().flat_map(|security| &security.tmpfs) {
        let at = ["security", "tmpfs", path.as_str()];
        let help = "name a size that the host has, such as 256MiB";
        bounds::SIZE.check(&at, *size, help).map(&mut put);
    }
    found
}

fn health(part: &HealthPart, put: &mut impl FnMut(Problem)) {
    if let Some(Err(fault)) = part
        .path
        .as_deref()
        .map(|path| text::check_path(path, true))
    {
        put(fault.at(&["health", "path"]));
    }
    let spans: [(&str, Option<Span>, Bounds<Span>, &str); 3] = [
        (
            "interval",
            part.interval,
            bounds::HEALTH_INTERVAL,
            "10s is the default",
        ),
        (
            "timeout",
            part.timeout,
            bounds::HEALTH_TIMEOUT,
            "3s is the default",
        ),
        (
            "start_period",
            part.start_period,
            bounds::HEALTH_START_PERIOD,
            "20s is the default",
        ),
    ];
    for (key, span, bounds, help) in spans {
        let problem = span.and_then(|span| bounds.check(&["health", key], span, help));
        problem.map(&mut *put);
    }
    let retries = part
        .retries
        .map(std::num::NonZero::get)
        .and_then(|retries| {
            bounds::HEALTH_RETRIES.check(&["health", "retries"], retries, "3 is the default")
        });
    retries.map(put);
}

fn resources(part: &ResourcesPart, put: &mut impl FnMut(Problem)) {
    let at = |key| ["resources", key];
    let memory = part
        .memory
        .and_then(|memory| bounds::MEMORY.check(&at("memory"), memory, "512MiB is the default"));
    let shm = part
        .shm
        .and_then(|shm| bounds::SIZE.check(&at("shm"), shm, "64MiB is the default"));
    let cpus = part
        .cpus
        .and_then(|cpus| bounds::CPUS.check(&at("cpus"), cpus, "1 is the default"));
    let pids = part.pids.map(std::num::NonZero::get);
    let pids = pids.and_then(|pids| bounds::PIDS.check(&at("pids"), pids, "256 is the default"));
    [memory, cpus, pids, shm]
        .into_iter()
        .flatten()
        .for_each(put);
}

/// What a manifest's text at this path is used for.
pub(super) fn use_of(path: &[&str]) -> Use {
    match manifest::within(path) {
        ["env" | "labels" | "command" | "entrypoint", _] => Use::Value,
        _ => Use::Line,
    }
}
