//! What a manifest reaches, policy allows.

use super::*;

#[test]
fn an_endpoint_is_exempt_for_what_serves_it_and_not_for_its_name() {
    let mut config = Config::default();
    config.policy.auth_none = Verdict::Deny;
    assert_eq!(
        said_with(&config, "{}"),
        [] as [String; 0],
        "the template's own"
    );
    for text in [
        "template: mcp-http\nimage: acme/x:1\nendpoints: { mcp: null, vnc: { port: 8080, path: /mcp, auth: none } }",
        "endpoints: { vnc: { port: 8080 } }",
        "endpoints: { vnc: { path: /mcp } }",
        "image: acme/x:1",
        "command: [sh]",
        "entrypoint: [sh]",
        "vnc: null",
        "env: { VNC_PASSWORD_FILE: /etc/hostname }",
        "env: { BASH_ENV: \"$([[ $0 = */run-websockify.sh ]] && sleep inf)\", PLAYWRIGHT_MCP_PORT: 6080 }",
        "env: { PLAYWRIGHT_MCP_CONFIG: /data/x.json }",
        "volumes: [{ name: x, target: /opt/mcp }]",
        "volumes: [{ name: x, target: /opt }]",
        "volumes: [{ name: x, target: /home }]",
        "volumes: [{ name: x, target: /tmp/home }]",
        "volumes: [{ name: x, target: /home/mcp/../../etc }]",
        "security: { tmpfs: { /etc/mcp: 1MiB } }",
        "endpoints: { x: { port: 6080, path: /vnc.html, auth: none } }",
    ] {
        let told = said_with(&config, text);
        assert_eq!(told.len(), 1, "{text}: {told:#?}");
        assert!(told[0].contains(".auth: everyone whom"), "{told:#?}");
    }
    let told = said_with(
        &config,
        "env: { A: x, TZ: UTC }\nvolumes: [{ name: x, target: /opt }]",
    );
    assert!(
        told[0].contains("(remove env.A and 1 more, with which another program"),
        "{told:#?}"
    );
}

#[test]
fn what_cannot_change_the_screen_leaves_it_exempt() {
    let mut config = Config::default();
    config.policy.auth_none = Verdict::Deny;
    for text in [
        "env: { TZ: Europe/Berlin, LANG: de_DE.UTF-8, MCP_IDLE_TIMEOUT_SECS: 60 }",
        "env: { HTTPS_PROXY: 'http://proxy:3128', no_proxy: example.com }",
        "volumes: [{ name: p, target: /home/mcp/profile }, { name: d, target: /data }]",
        "security: { tmpfs: { /tmp/run: 1MiB, /data/x: 1MiB } }",
        "screen: { width: 800 }",
        "secrets: { key: { from_file: /run/secrets/key } }",
    ] {
        assert_eq!(said_with(&config, text), [] as [String; 0], "{text}");
    }
}

#[test]
fn nothing_is_mounted_over_the_secrets_by_any_name() {
    for target in [
        "/run/secrets",
        "/var/run/secrets",
        "/var/run/secrets/x",
        "/var/run",
        "/run",
        "/var/./run/",
    ] {
        for text in [
            format!("volumes: [{{ name: y, target: {target} }}]"),
            format!("security: {{ tmpfs: {{ {target}: 1MiB }} }}"),
        ] {
            let told = said(&text);
            assert!(
                told[0].contains("no place where it could be mounted"),
                "{text}: {told:#?}"
            );
        }
    }
    let said = said("template: mcp-http\nimage: x:1\nvolumes: [{ name: y, target: /var/running }]");
    assert_eq!(said, [] as [String; 0]);
}

#[test]
fn what_is_mounted_has_one_form_and_is_within_nothing_that_the_instance_writes_to() {
    let mut config = Config::default();
    config.policy.host_paths.allow = vec!["/srv/share/*".to_owned()];
    for path in [
        "/srv/share/.",
        "/srv/share/",
        "/srv/share/a/..",
        "//srv/share//",
    ] {
        let told = said_with(
            &config,
            &format!("volumes: [{{ host: {path}, target: /x }}]"),
        );
        assert_eq!(told.len(), 1, "{path}");
        assert!(
            told[0].contains("`/srv/share` is not allowed here"),
            "{told:#?}"
        );
    }
    let nested = |read_only| {
        let outer = format!("{{ host: /srv/share/a, target: /x, read_only: {read_only} }}");
        let text = format!("volumes: [{outer}, {{ host: /srv/share/a/b/, target: /y/ }}]");
        said_with(&config, &text)
    };
    assert_eq!(nested(true), [] as [String; 0]);
    let told = nested(false);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0]
            .contains("`/srv/share/a/b` is within `/srv/share/a`, to which this instance writes"),
        "{told:#?}"
    );
}

#[test]
fn a_record_that_an_older_version_wrote_compares_equal() {
    let spec = one("volumes: [{ name: a, target: /x }]");
    let text = serde_json::to_string(&spec).expect("text");
    let older = text.replace("\"/x\"", "\"//x/\"");
    assert_ne!(text, older);
    assert_eq!(serde_json::from_str::<Spec>(&older).expect("a spec"), spec);
}
