//! The verdict on what confines instances, as the kernel says, and on what they lose when they are replaced.

use super::facts::ProcessSeen;
use super::{Area, Finding, count};
use crate::words::name::InstanceName;
use crate::words::spec::Spec;

/// So many are named.
const NAMED: usize = 3;

/// The kernel's capabilities, by number (`linux/capability.h`).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What confines the processes of instances. What the kernel did not show is not claimed.
pub fn confinement(seen: &[ProcessSeen]) -> Vec<Finding> {
    let area = Area::Engine;
    let missing = |what: &str, help: &str, lacks: &dyn Fn(&ProcessSeen) -> bool| {
        let names = named(
            seen.iter()
                .filter(|one| lacks(one))
                .map(|one| &one.instance),
        )?;
        Some(area.warning(format!("{names} without {what}, says the kernel"), help))
    };
    let profile = |one: &ProcessSeen| one.profile.as_deref().map(str::trim).map(str::to_owned);
    let mut all: Vec<_> = [
        missing(
            "AppArmor or SELinux: the process is unconfined",
            "install the package apparmor, which holds apparmor_parser, restart the engine, and recreate the instances",
            &|one| profile(one).is_some_and(|text| text.is_empty() || text.starts_with("unconfined")),
        ),
        missing(
            "a seccomp filter",
            "remove `seccomp-profile: unconfined` from daemon.json, and recreate the instances",
            &|one| one.seccomp.is_some_and(|mode| mode != 2),
        ),
        missing(
            "no-new-privileges",
            "look for a runtime of the engine's that ignores it; recreate the instances",
            &|one| one.no_new_privs == Some(false),
        ),
        missing(
            "a bound on capabilities: they have more than their manifests say",
            "look for a runtime of the engine's that adds some; recreate the instances",
            &|one| one.capabilities.is_some_and(|have| have & !allowed(&one.cap_add) != 0),
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    let unseen = seen
        .iter()
        .filter(|one| one.profile.is_none() && one.seccomp.is_none() && one.capabilities.is_none());
    if let Some(names) = named(unseen.map(|one| &one.instance)) {
        all.push(area.note(
            format!("what confines {names} could not be read from the kernel"),
            "run this as root on the engine's host",
        ));
    }
    if all.is_empty() && !seen.is_empty() {
        let number = count(seen.len(), "instance");
        let told = format!(
            "{number}: seccomp, no-new-privileges, capabilities and a profile in force, says the kernel"
        );
        // A kernel without AppArmor and SELinux shows no profile at all.
        if seen.iter().all(|one| one.profile.is_some()) {
            all.push(area.ok(told));
        } else {
            all.push(area.note(
                "the kernel has neither AppArmor nor SELinux; seccomp and no-new-privileges are in force",
                "a kernel with AppArmor confines instances further",
            ));
        }
    }
    all
}

fn allowed(cap_add: &[String]) -> u64 {
    let bits = CAPABILITIES.iter().enumerate();
    let bits = bits.filter(|(_, name)| cap_add.iter().any(|cap| cap == *name || cap == "ALL"));
    bits.map(|(bit, _)| 1 << bit).sum()
}

fn named<'n>(names: impl Iterator<Item = &'n InstanceName>) -> Option<String> {
    let names: Vec<_> = names.map(InstanceName::as_str).collect();
    let more = names.len().saturating_sub(NAMED);
    let first = names.get(..NAMED).unwrap_or(&names).join(", ");
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(first),
        (false, more) => Some(format!("{first} and {more} more")),
    }
}

/// The paths that an image declares as volumes and at which a spec mounts nothing: their content goes with each
/// generation.
pub fn unkept(spec: &Spec, declared: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_kept = |path: &String| {
        let mut volumes = spec.volumes.iter();
        volumes.any(|volume| volume.target == *path) || spec.security.tmpfs.contains_key(path)
    };
    declared.into_iter().filter(|path| !is_kept(path)).collect()
}

/// What instances lose when they are replaced. `unkept` are those paths by instance.
pub fn losses(unkept: &[(InstanceName, Vec<String>)]) -> Vec<Finding> {
    let of = |(name, paths): &(InstanceName, Vec<String>)| {
        let first = paths.first()?;
        let found = format!(
            "{name} loses {} at every replacement: its image declares a volume there, and its manifest names none",
            paths.join(", ")
        );
        let help = format!("volumes: [{{ name: data, target: {first} }}] keeps it");
        Some(Area::Instances.warning(found, help))
    };
    unkept.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    fn confined(name: &str) -> ProcessSeen {
        ProcessSeen {
            instance: name.parse().expect("a name"),
            cap_add: vec!["NET_BIND_SERVICE".to_owned()],
            profile: Some("docker-default (enforce)\n".to_owned()),
            seccomp: Some(2),
            no_new_privs: Some(true),
            capabilities: Some(1 << 10),
        }
    }

    #[test]
    fn what_the_kernel_confirms_is_said() {
        let found = confinement(&[confined("a")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].grade, Grade::Ok, "{found:?}");
        assert_eq!(confinement(&[]), []);
    }

    #[test]
    fn what_is_missing_is_named_with_the_instance_and_the_remedy() {
        type Change = fn(&mut ProcessSeen);
        let cases: [(Change, &str, &str); 5] = [
            (
                |one| one.profile = Some("unconfined\n".into()),
                "AppArmor",
                "package apparmor",
            ),
            (
                |one| one.profile = Some(String::new()),
                "AppArmor",
                "package apparmor",
            ),
            (|one| one.seccomp = Some(0), "seccomp", "daemon.json"),
            (
                |one| one.no_new_privs = Some(false),
                "no-new-privileges",
                "recreate",
            ),
            (
                |one| one.capabilities = Some(1 << 21),
                "capabilities",
                "recreate",
            ),
        ];
        for (change, what, help) in cases {
            let mut one = confined("bob");
            change(&mut one);
            let found = confinement(&[confined("a"), one]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].grade, Grade::Warning);
            assert!(found[0].found.starts_with("bob without"), "{found:?}");
            assert!(found[0].found.contains(what), "{found:?}");
            assert!(
                found[0]
                    .help
                    .as_ref()
                    .is_some_and(|text| text.contains(help))
            );
        }
    }

    #[test]
    fn what_the_kernel_does_not_show_is_not_claimed() {
        let unseen = ProcessSeen {
            profile: None,
            seccomp: None,
            no_new_privs: None,
            capabilities: None,
            ..confined("a")
        };
        let found = confinement(&[unseen]);
        assert!(found.iter().all(|one| one.grade != Grade::Ok), "{found:?}");
        let without_lsm = ProcessSeen {
            profile: None,
            ..confined("a")
        };
        let found = confinement(&[without_lsm]);
        assert_eq!(found[0].grade, Grade::Note, "{found:?}");
    }

    #[test]
    fn many_are_counted() {
        let all: Vec<_> = ["a", "b", "c", "d", "e"]
            .map(|name| ProcessSeen {
                seccomp: Some(0),
                ..confined(name)
            })
            .into();
        assert!(
            confinement(&all)[0]
                .found
                .starts_with("a, b, c and 2 more without")
        );
    }

    #[test]
    fn a_loss_names_the_volume_that_prevents_it() {
        let name: InstanceName = "a".parse().expect("a name");
        let found = losses(&[(name, vec!["/data".to_owned()])]);
        assert_eq!(found[0].grade, Grade::Warning);
        assert_eq!(
            found[0].help.as_deref(),
            Some("volumes: [{ name: data, target: /data }] keeps it")
        );
        assert_eq!(losses(&[]), []);
    }
}
