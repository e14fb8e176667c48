//! What a person can do to a container on a real engine and no draft of ours can say.

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use instanced::doors::engine::containers::ReadContainers as _;
use serde_json::{Value, json};

use crate::fleet_lab::{RICH, create, fleet, look_anew, spec, told};
use crate::lab::Lab as _;
use crate::real::{DockerLab, TINY_CHECKED, docker, in_lab, must};

/// A container as somebody could ask for it, from what inspect says.
async fn request(name: &str) -> Value {
    let output = docker(&["inspect", name]).await;
    let inspected: Value = serde_json::from_slice(&output.stdout).expect("an inspect");
    let mut body = inspected[0]["Config"].clone();
    body["HostConfig"] = inspected[0]["HostConfig"].clone();
    body
}

/// Puts a container in place of another one. It is not started.
async fn put(name: &str, body: Value) {
    must(&["rm", "--force", name]).await;
    // A person's client, not ours.
    let client = bollard::Docker::connect_with_defaults().expect("the engine");
    let body: ContainerCreateBody = serde_json::from_value(body).expect("a request");
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    let created = client.create_container(Some(options), body).await;
    created.expect("created by hand");
}

#[tokio::test]
async fn what_no_draft_says_is_found_and_named() {
    in_lab(async |lab| {
        let spec = spec(lab, "a", RICH);
        create::<DockerLab>(&fleet(lab), &spec).await;
        let name = look_anew(lab).await.name;
        let base = request(&name).await;
        put(&name, base.clone()).await;
        assert_eq!(told(&look_anew(lab).await.drift), [""; 0], "the same is the same");
        let cases: [(&str, Value, &[&str]); 17] = [
            ("/HostConfig/Privileged", json!(true), &["privileged true"]),
            ("/HostConfig/SecurityOpt", json!([]), &["security_opt.no-new-privileges false"]),
            ("/HostConfig/SecurityOpt", json!(["no-new-privileges", "seccomp=unconfined"]), &["security_opt [\"seccomp=unconfined\"]"]),
            ("/HostConfig/PortBindings", json!({ "6080/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "16080" }] }), &["ports.6080/tcp [\"127.0.0.1:16080\"]"]),
            ("/HostConfig/PublishAllPorts", json!(true), &["ports true"]),
            ("/HostConfig/PidMode", json!("host"), &["pid_mode \"host\""]),
            ("/HostConfig/IpcMode", json!("shareable"), &["ipc_mode \"shareable\""]),
            ("/HostConfig/Devices", json!([{ "PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "r" }]), &["devices [\"/dev/null\"]"]),
            ("/HostConfig/ExtraHosts", json!(["a:10.0.0.1"]), &["extra_hosts [\"a:10.0.0.1\"]"]),
            ("/HostConfig/Dns", json!(["10.0.0.53"]), &["dns [\"10.0.0.53\"]"]),
            ("/HostConfig/GroupAdd", json!(["27"]), &["group_add [\"27\"]"]),
            ("/HostConfig/AutoRemove", json!(true), &["auto_remove true"]),
            ("/HostConfig/LogConfig/Config", json!({}), &["log {}"]),
            ("/HostConfig/Tmpfs", json!({ "/tmp": "size=4m", "/run/x": "rw,noexec,nosuid,nodev,size=1m" }), &["security.tmpfs./tmp \"4MiB, not hardened\""]),
            ("/StopSignal", json!("SIGKILL"), &["stop_signal \"SIGKILL\""]),
            ("/WorkingDir", json!("/tmp"), &["working_dir \"/tmp\""]),
            ("/Healthcheck", json!({ "Test": ["CMD", "/tiny", "ping"], "Interval": 5_000_000_000_u64 }), &["health_check {\"interval\":\"5s\",\"retries\":3,\"start_period\":\"0s\",\"test\":[\"CMD\",\"/tiny\",\"ping\"],\"timeout\":\"30s\"}"]),
        ];
        for (pointer, value, expected) in cases {
            let mut body = base.clone();
            let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
            body.pointer_mut(parent).expect(parent)[key] = value;
            if key == "AutoRemove" {
                // These two exclude each other.
                body["HostConfig"]["RestartPolicy"]["Name"] = json!("no");
            }
            put(&name, body).await;
            let found = look_anew(lab).await;
            assert_eq!(told(&found.drift), expected, "{pointer}");
        }
        let mut body = base.clone();
        body["HostConfig"]["CapDrop"] = json!([]);
        put(&name, body).await;
        let found = look_anew(lab).await.drift;
        assert_eq!(found[0].field, "security.cap_add");
        let all = found[0].found.as_ref().and_then(Value::as_array);
        assert_eq!(all.map(Vec::len), Some(14), "what Docker leaves when nothing is dropped");
    })
    .await;
}

#[tokio::test]
async fn a_health_check_taken_away_by_hand_is_found() {
    in_lab(async |lab| {
        let spec = spec(
            lab,
            "a",
            &format!("{{ template: mcp-http, image: '{TINY_CHECKED}' }}"),
        );
        create::<DockerLab>(&fleet(lab), &spec).await;
        assert_eq!(told(&look_anew(lab).await.drift), [""; 0]);
        let name = look_anew(lab).await.name;
        let mut body = request(&name).await;
        body["Healthcheck"] = json!({ "Test": ["NONE"] });
        put(&name, body).await;
        assert_eq!(told(&look_anew(lab).await.drift), ["health_check is gone"]);
    })
    .await;
}

/// An image that is gone decides nothing any more, and takes nothing else with it.
#[tokio::test]
async fn without_its_image_only_what_it_decides_is_left_out() {
    in_lab(async |lab| {
        let reference = lab.name("gone").replace("-gone", ":gone");
        let base = lab.run(&lab.draft("base")).await;
        let change = ["--change", "ENV OWN=1", "--change", "LABEL own=1"];
        must(&[&["commit"], &change[..], &[&base, &reference]].concat()).await;
        let text = format!("{{ template: mcp-http, image: '{reference}', env: {{ A: '1' }} }}");
        create::<DockerLab>(&fleet(lab), &spec(lab, "a", &text)).await;
        let made = look_anew(lab).await;
        assert_eq!(told(&made.drift), [""; 0]);

        let mut body = request(&made.name).await;
        body["Env"] = json!([
            "A=2",
            "INSTANCE_ID=a",
            "MCP_ALLOWED_HOSTS=mcp-a.mcp.localhost",
            "B=1"
        ]);
        put(&made.name, body).await;
        let with_image = ["env.A \"2\"", "env.B \"1\""];
        assert_eq!(told(&look_anew(lab).await.drift), with_image);
        must(&["rmi", "--force", &reference]).await;
        let image = lab.engine().image(&made.image_id).await.expect("asked");
        assert_eq!(image, None);
        assert_eq!(told(&look_anew(lab).await.drift), ["env.A \"2\""]);
    })
    .await;
}
