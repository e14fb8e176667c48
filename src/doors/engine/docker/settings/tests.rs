use bollard::models::ContainerInspectResponse;
use serde_json::{Value, json};

use super::super::super::settings::NOTES_FORM_NOW;
use super::*;

fn set(json: Value) -> Settings {
    let inspected: ContainerInspectResponse = serde_json::from_value(json).expect("an inspect");
    settings(&inspected)
}

/// What Docker 20.10 says of a hardened container, abridged.
fn docker() -> Value {
    json!({
        "Config": { "Hostname": "alice", "User": "1000:1000", "Env": ["A=1", "B="], "Cmd": null,
            "Entrypoint": ["/tiny"], "WorkingDir": "", "StopTimeout": 10 },
        "HostConfig": {
            "LogConfig": { "Type": "json-file", "Config": { "max-size": "10m", "max-file": "3" } },
            "PortBindings": {}, "CapAdd": ["NET_BIND_SERVICE"], "CapDrop": ["ALL"], "Dns": [], "ExtraHosts": null,
            "IpcMode": "private", "PidMode": "", "UTSMode": "", "UsernsMode": "", "Privileged": false,
            "SecurityOpt": ["no-new-privileges:true"], "ReadonlyRootfs": true, "ShmSize": 67_108_864, "Devices": [],
            "Tmpfs": { "/tmp": "rw,noexec,nosuid,nodev,size=8388608,mode=1777" }, "Init": false,
        },
        "Mounts": [{ "Type": "volume", "Name": "v", "Source": "/var/lib/docker/volumes/v/_data",
            "Destination": "/data", "Driver": "local", "Mode": "z", "RW": true, "Propagation": "" }],
        "NetworkSettings": { "Networks": { "mcp": { "NetworkID": "9ab", "IPAddress": "10.0.0.2" } } },
    })
}

/// What Podman's answer to the same request is like.
fn podman() -> Value {
    json!({
        "Config": { "Hostname": "alice", "User": "1000:1000",
            "Env": ["container=podman", "B=", "A=1", "PATH=/usr/local/bin:/usr/bin:/bin", "TERM=xterm"],
            "Cmd": [], "Entrypoint": ["/tiny"], "WorkingDir": "/", "StopTimeout": 10, "StopSignal": "15" },
        "HostConfig": {
            "LogConfig": { "Type": "k8s-file", "Config": null }, "PortBindings": { "80/tcp": null },
            "CapAdd": [], "CapDrop": ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
                "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"],
            "Dns": [], "ExtraHosts": [], "IpcMode": "private", "PidMode": "private", "UTSMode": "private",
            "Privileged": false, "SecurityOpt": ["no-new-privileges"], "ReadonlyRootfs": true, "ShmSize": 67_108_864,
            "Tmpfs": { "/tmp": "rprivate,nosuid,nodev,noexec,mode=1777,size=8m,tmpcopyup" },
        },
        "Mounts": [
            { "Type": "volume", "Name": "v", "Source": "/var/lib/containers/v", "Destination": "/data", "RW": true },
            { "Type": "tmpfs", "Destination": "/tmp", "RW": true },
        ],
        "NetworkSettings": { "Networks": { "mcp": { "NetworkID": "mcp" } } },
    })
}

#[test]
fn engines_write_one_thing_in_several_ways() {
    let (docker, mut podman) = (set(docker()), set(podman()));
    assert_eq!(docker.beside, []);
    assert_eq!(podman.env.remove("container").as_deref(), Some("podman"));
    podman.env.retain(|key, _| docker.env.contains_key(key));
    // Where its network's id is a name, that is known where ids are compared.
    podman.networks.clone_from(&docker.networks);
    assert_eq!(podman, docker);
    assert_eq!(docker.working_dir, "/");
    assert_eq!(docker.stop_signal, "SIGTERM");
    assert!(docker.capabilities.contains("NET_BIND_SERVICE") && docker.capabilities.len() == 1);
}

#[test]
fn an_engine_that_tells_next_to_nothing_makes_no_drift_of_it() {
    let mut empty = set(json!({}));
    // Without these words of ours it is not hardened, and that is told.
    let told: Vec<_> = empty.beside.drain(..).map(|drift| drift.field).collect();
    assert_eq!(told, ["security_opt.no-new-privileges"]);
    assert_eq!(empty.capabilities.len(), 14, "nothing was dropped");
    assert_eq!((empty.health_check, empty.stop_grace_secs), (None, None));
}

#[test]
fn a_volume_without_a_name_is_anonymous() {
    let mount = |name: &str| {
        let point = json!({ "Type": "volume", "Name": name, "Destination": "/data/", "RW": false });
        set(json!({ "Mounts": [point] })).mounts
    };
    assert_eq!(
        mount(&"0a".repeat(32))["/data"].source,
        MountedSource::Anonymous
    );
    assert_eq!(
        mount("data")["/data"].source,
        MountedSource::Volume("data".to_owned())
    );
    assert!(mount("data")["/data"].read_only);
}

#[test]
fn a_health_check_has_every_default_spelled_out() {
    let check = |json: Value| {
        let config: HealthConfig = serde_json::from_value(json).expect("a check");
        health_check(Some(&config))
    };
    let plain = check(json!({ "Test": ["CMD", "/ping"] })).expect("a check");
    let said = json!({ "Test": ["CMD", "/ping"], "Interval": 30_000_000_000_u64, "Timeout": 30_000_000_000_u64,
        "StartPeriod": 0, "Retries": 3, "StartInterval": 5_000_000_000_u64 });
    assert_eq!(check(said), Some(plain));
    assert_eq!(check(json!({ "Test": ["NONE"] })), None);
    assert_eq!(check(json!({ "Test": [] })), None);
    assert_eq!(check(json!({ "Interval": 5 })), None);
}

#[test]
fn a_signal_is_told_by_its_name() {
    for (written, name) in [
        (None, "SIGTERM"),
        (Some(""), "SIGTERM"),
        (Some("15"), "SIGTERM"),
        (Some("term"), "SIGTERM"),
        (Some("2"), "SIGINT"),
        (Some("SIGRTMIN+3"), "SIGRTMIN+3"),
        (Some("40"), "40"),
    ] {
        assert_eq!(signal(written), name, "{written:?}");
    }
}

#[test]
fn a_memory_file_systems_size_has_units() {
    for (written, size) in [
        ("8388608", Some(8 << 20)),
        ("8m", Some(8 << 20)),
        ("64K", Some(64 << 10)),
        ("10%", None),
    ] {
        assert_eq!(bytes(written), size, "{written}");
    }
}

fn inspected_image(json: Value) -> ImageFacts {
    let inspected: ImageInspect = serde_json::from_value(json).expect("an inspect");
    image(inspected).expect("an id")
}

/// Notes of images outlive the version that wrote them.
#[test]
fn what_an_image_says_changes_only_with_its_form() {
    let facts = inspected_image(json!({
        "Id": "sha256:1",
        "Config": {
            "Entrypoint": ["/tiny"], "Cmd": ["serve"], "Env": ["A=1", "PATH=/bin", "NONE"],
            "Labels": { "team": "qa" }, "WorkingDir": "", "Volumes": { "/data/": {} }, "StopSignal": "15",
            "Healthcheck": { "Test": ["CMD", "/tiny", "ping"], "Interval": 1_500_000_000 },
        },
    }));
    let says = serde_json::to_value(&facts.config).expect("text");
    let form_2 = json!({
        "entrypoint": ["/tiny"], "command": ["serve"], "env": { "A": "1", "PATH": "/bin" },
        "labels": { "team": "qa" }, "working_dir": "/", "volumes": ["/data"], "stop_signal": "SIGTERM",
        "health_check": { "test": ["CMD", "/tiny", "ping"], "interval": "1s500ms", "timeout": "30s",
            "start_period": "0s", "retries": 3 },
    });
    assert_eq!((NOTES_FORM_NOW, says), (2, form_2));
    let again: ImageConfig = serde_json::from_value(json!(facts.config)).expect("read back");
    assert_eq!(again, facts.config);
}

#[test]
fn only_the_digest_of_a_configuration_says_the_same_for_ever() {
    let is_fixed = |driver: Value, descriptor: Value| {
        let json = json!({ "Id": "sha256:1", "GraphDriver": driver, "Descriptor": descriptor });
        inspected_image(json).is_fixed
    };
    let overlay =
        json!({ "Name": "overlay2", "Data": { "UpperDir": "/var/lib/docker/overlay2/1/diff" } });
    let snapshotter = json!({ "Name": "overlayfs", "Data": null });
    let descriptor = json!({ "mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:1", "size": 1 });
    assert!(is_fixed(overlay.clone(), Value::Null));
    assert!(
        !is_fixed(snapshotter.clone(), Value::Null),
        "containerd's store, up to Docker 27"
    );
    assert!(!is_fixed(snapshotter, descriptor.clone()));
    assert!(!is_fixed(overlay, descriptor));
    assert!(!is_fixed(Value::Null, Value::Null));
}
