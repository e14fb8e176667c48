//! The verdict on the instances.

use super::super::instances::instances;
use super::*;
use crate::decisions::status::InstanceStatus;

fn one(name: &str, phase: &str, reason: &str) -> InstanceStatus {
    serde_json::from_value(serde_json::json!({
        "name": name, "phase": phase, "reason": reason, "endpoints": [],
    }))
    .expect("a status")
}

#[test]
fn instances_that_somebody_should_look_at_are_named() {
    let well = [
        one("alice", "running", ""),
        one("bob", "starting", ""),
        one("carol", "stopped", "an operator stopped it"),
    ];
    let found = instances(&Ok(well.to_vec()), true);
    assert_eq!(found.len(), 1);
    is(&found[0], Grade::Ok, "3 instances: all well, none held");
    // Nobody asked who would know what is held.
    let found = instances(&Ok(well.to_vec()), false);
    is(
        &found[0],
        Grade::Ok,
        "3 instances: the engine finds none unwell",
    );

    let ill = [
        one("alice", "held", "it is not well; the next try waits"),
        one("bob", "running", ""),
        one("carol", "unhealthy", "its health check fails"),
        one("dora", "failed", "cannot pull the image"),
    ];
    let found = instances(&Ok(ill.to_vec()), true);
    assert_eq!(found.len(), 3);
    is(
        &found[0],
        Grade::Problem,
        "carol is not well: its health check fails",
    );
    is(
        &found[1],
        Grade::Problem,
        "dora is not as it shall be: cannot pull",
    );
    is(
        &found[2],
        Grade::Warning,
        "alice is held: it is not well; the next",
    );
    assert_eq!(found[0].help.as_deref(), Some("instanced status carol"));
}

#[test]
fn many_instances_that_are_not_well_are_told_in_a_few_lines() {
    let name = |n| format!("a{n:02}");
    let mut all: Vec<_> = (0..20)
        .map(|n| one(&name(n), "held", "it is protected"))
        .collect();
    all.push(one("z", "unhealthy", "it ends by itself"));
    let found = instances(&Ok(all), true);
    assert_eq!(found.len(), 9);
    is(&found[0], Grade::Problem, "z is not well");
    is(&found[1], Grade::Warning, "a00 is held");
    is(&found[8], Grade::Warning, "and 13 more");
}

#[test]
fn of_instances_that_cannot_be_seen_that_is_said() {
    let away = [one("alice", "unknown", "the engine is away")];
    let found = instances(&Ok(away.to_vec()), true);
    assert_eq!(found.len(), 1);
    is(&found[0], Grade::Warning, "the engine is away");
    let found = instances(&Err(failure("no such file")), true);
    is(&found[0], Grade::Warning, "no such file");
}
