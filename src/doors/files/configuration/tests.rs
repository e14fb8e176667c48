use std::fs;

use super::*;

fn load(text: &str) -> Result<LoadedConfig, ConfigError> {
    decode(Path::new("/etc/x/instanced.yaml"), "instanced.yaml", text)
}

/// Everything that is told about a configuration.
fn told(text: &str) -> Vec<String> {
    let diagnostics = match load(text) {
        Ok(loaded) => loaded.warnings,
        Err(error) => error.diagnostics(),
    };
    diagnostics.iter().map(ToString::to_string).collect()
}

#[test]
fn an_explicit_file_comes_first_then_the_directorys_then_the_machines_then_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let cwd = dir.path();
    let machine = cwd.join("etc/instanced.yaml");
    let candidates = [cwd.join(LOCAL), machine.clone()];

    let loaded = find(&candidates, cwd).unwrap();
    assert_eq!(loaded.path, None);
    assert_eq!(loaded.config.source.dir, cwd.join("instances.d"));

    fs::create_dir(cwd.join("etc")).unwrap();
    fs::write(&machine, "manager: machine").unwrap();
    let loaded = find(&candidates, cwd).unwrap();
    assert_eq!(loaded.config.manager.to_string(), "machine");
    assert_eq!(loaded.path, Some(machine));
    assert_eq!(loaded.config.source.dir, cwd.join("etc/instances.d"));

    fs::write(cwd.join(LOCAL), "manager: local").unwrap();
    assert_eq!(
        find(&candidates, cwd).unwrap().config.manager.to_string(),
        "local"
    );

    fs::write(cwd.join("other.yaml"), "manager: other").unwrap();
    let loaded = load_config(Some(Path::new("other.yaml")), cwd).unwrap();
    assert_eq!(loaded.config.manager.to_string(), "other");
    let error = load_config(Some(Path::new("missing.yaml")), cwd).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable(_)));
}

#[test]
fn a_file_that_cannot_be_read_is_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join(LOCAL)).unwrap();
    let error = load_config(None, dir.path()).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable(_)), "{error}");
}

#[test]
fn a_file_of_comments_means_every_default() {
    let loaded = load("# nothing yet\n").unwrap();
    assert_eq!(loaded.config.manager, Config::default().manager);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn relative_paths_count_from_the_files_directory() {
    let loaded = load("source: { dir: ../fleet/instances.d }\nstate: state\n").unwrap();
    assert_eq!(
        loaded.config.source.dir,
        Path::new("/etc/x/../fleet/instances.d")
    );
    assert_eq!(loaded.state, Path::new("/etc/x/state"));
    assert_eq!(loaded.config.state.as_deref(), Some(loaded.state.as_path()));
}

#[test]
fn the_provider_is_labels_or_a_directory() {
    let provider = |text| load(text).unwrap().config.traefik.provider;
    assert_eq!(provider("traefik: {}"), ProviderConfig::Labels);
    assert_eq!(
        provider("traefik: { provider: labels }"),
        ProviderConfig::Labels
    );
    assert_eq!(
        provider("traefik: { provider: { file: dynamic } }"),
        ProviderConfig::File("/etc/x/dynamic".into()),
        "counts from the file's own directory"
    );
    for wrong in [
        "label",
        "{ file: }",
        "{ file: '' }",
        "{ dir: /x }",
        "3",
        "[]",
    ] {
        let told = told(&format!("traefik: {{ provider: {wrong} }}"));
        assert_eq!(told.len(), 1, "{wrong}: {told:#?}");
        assert!(
            told[0].starts_with("instanced.yaml:1:") && told[0].contains("traefik.provider"),
            "{wrong}: {told:#?}"
        );
    }
}

#[test]
fn the_api_is_plain_http() {
    assert!(load("traefik: { api: 'http://127.0.0.1:8080' }").is_ok());
    for wrong in ["127.0.0.1:8080", "https://x:8080", "http://a:b@x"] {
        let told = told(&format!("traefik: {{ api: '{wrong}' }}"));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(
            told[0].contains("traefik.api") && told[0].ends_with(')'),
            "{told:#?}"
        );
    }
}

#[test]
fn every_problem_is_told_at_its_place() {
    let text = "\
listen: { auth: 0.0.0.0:9180 }
trusted_proxies: [10.0.0.0/8, 0.0.0.0/0]
traefik:
  entrypoints: []
  auth_url: 127.0.0.1:9180
reconcile: { resync: 10ms, parallelism: 65 }
policy: { images: { allow: ['*', 'a[b'] } }
origins: [https://app.example.com/]
parralelism: 3
";
    let told = told(text);
    let places: Vec<_> = told
        .iter()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>())
        .collect();
    assert_eq!(
        places
            .iter()
            .map(|place| place.join(" "))
            .collect::<Vec<_>>(),
        [
            "instanced.yaml:2:31 trusted_proxies[1]",
            "instanced.yaml:4:3 traefik.entrypoints",
            "instanced.yaml:5:13 traefik.auth_url",
            "instanced.yaml:6:22 reconcile.resync",
            "instanced.yaml:6:41 reconcile.parallelism",
            "instanced.yaml:7:34 policy.images.allow[1]",
            "instanced.yaml:8:11 origins[0]",
            "instanced.yaml:9:1 parralelism",
        ],
        "{told:#?}"
    );
    assert!(
        told.iter().all(|line| line.ends_with(')')),
        "each has a way out: {told:#?}"
    );
}

#[test]
fn the_control_api_is_open_to_nobody_from_elsewhere_without_a_token() {
    let hash = format!("blake3:{}", "0".repeat(64));
    let elsewhere = "listen: { admin: '0.0.0.0:9181' }\n";
    let refused = told(elsewhere);
    assert_eq!(refused.len(), 1, "{refused:?}");
    for word in [
        "1:18",
        "listen.admin",
        "admin token",
        "instanced token hash",
    ] {
        assert!(refused[0].contains(word), "{word}: {}", refused[0]);
    }
    let token =
        |more: &str| format!("control: {{ tokens: [ {{ label: x, hash: '{hash}'{more} }} ] }}\n");
    assert_eq!(told(&format!("{elsewhere}{}", token(""))), [""; 0]);
    assert_eq!(told("listen: { admin: '[::1]:9181' }"), [""; 0]);
    let twice = format!(
        "control: {{ tokens: [ {{ label: x, hash: '{hash}' }}, {{ label: y, hash: '{hash}' }} ] }}"
    );
    assert!(told(&twice).iter().any(|line| line.contains("twice")));
    assert!(told(&token(", access: write"))[0].contains("control.tokens[0].access"));
}

#[test]
fn a_wildcard_address_is_a_warning_unless_everybody_is_trusted() {
    let loaded = load("listen: { auth: '[::]:9180' }").unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings[0].field, "listen.auth");
    let loaded = load("trusted_proxies: ['::/0']").unwrap();
    assert_eq!(loaded.warnings[0].field, "trusted_proxies[0]");
    assert!(load("listen: { auth: '[::]:9180' }\ntrusted_proxies: ['::/0']").is_err());
}

#[test]
fn broken_yaml_is_one_diagnostic() {
    assert_eq!(told("manager: [").len(), 1);
}

#[test]
fn the_state_directory_is_the_machines_for_root_and_the_users_own_otherwise() {
    let state = |root, xdg: Option<&str>, home: Option<&str>| {
        default_state(root, xdg.map(OsStr::new), home.map(OsStr::new))
    };
    assert_eq!(
        state(true, Some("/x"), Some("/home/a")),
        Path::new("/var/lib/instanced")
    );
    assert_eq!(
        state(false, Some("/x"), Some("/home/a")),
        Path::new("/x/instanced")
    );
    let own = Path::new("/home/a/.local/state/instanced");
    assert_eq!(state(false, None, Some("/home/a")), own);
    assert_eq!(state(false, Some("relative"), Some("/home/a")), own);
    assert_eq!(state(false, None, None), Path::new("/var/lib/instanced"));
}

#[test]
fn whom_notices_go_to_is_looked_at_and_its_files_are_found() {
    let sound = load(
        "notify: { webhooks: [{ url: 'https://hooks.example.com/x', secret_file: s, ca_file: /ca }] }",
    );
    let config = sound.unwrap().config;
    let receiver = &config.notify.webhooks[0];
    assert_eq!(receiver.secret_file, Path::new("/etc/x/s"));
    assert_eq!(receiver.ca_file.as_deref(), Some(Path::new("/ca")));
    let told = |webhook: &str| told(&format!("notify: {{ webhooks: [{webhook}] }}")).join("\n");
    for (webhook, words) in [
        ("{ url: 'https://a/' }", "missing field `secret_file`"),
        ("{ url: 'ftp://a/', secret_file: s }", "neither https://"),
        (
            "{ url: 'https://u:p@a/', secret_file: s }",
            "user or password",
        ),
        (
            "{ url: 'http://a/', secret_file: s, ca_file: c }",
            "proves nothing",
        ),
        (
            "{ url: 'http://a/', secret_file: s, secret: s }",
            "unknown key `secret`",
        ),
        (
            "{ url: 'http://a/', secret_file: s }, { url: 'http://a/', secret_file: t }",
            "notify.webhooks[1].url: is named twice",
        ),
    ] {
        let told = told(webhook);
        assert!(told.contains(words), "{webhook}: {told}");
    }
    let told = load("notify: { remind: 59s }").unwrap_err().diagnostics();
    assert!(
        told[0].to_string().contains("59s is not from 1m to 365d"),
        "{told:?}"
    );
}

#[test]
fn a_password_that_ssh_would_not_take_is_refused_and_not_shown() {
    assert!(load("source: { git: { url: 'ssh://git@git.example.com/f.git' } }").is_ok());
    assert!(load("source: { git: { url: 'https://ada:x@git.example.com/f.git' } }").is_ok());
    let told = told("source: { git: { url: 'ssh://git:hunter2@git.example.com/f.git' } }");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        told[0].contains("ssh takes none") && !told[0].contains("hunter2"),
        "{told:#?}"
    );
}

#[test]
fn a_file_that_another_user_can_change_is_not_used_unless_it_is_named() {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    let dir = tempfile::tempdir().unwrap();
    let (cwd, file) = (dir.path(), dir.path().join(LOCAL));
    fs::write(&file, "manager: theirs").unwrap();
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(foreign(&file, &[0, own]), None);
    // Nobody's, as this test may not run as root.
    let why = foreign(&file, &[own.wrapping_add(7)]).unwrap();
    assert_eq!(why, format!("it belongs to user {own}"));
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(&file, 0o666).unwrap();
    let error = load_config(None, cwd).unwrap_err();
    assert!(matches!(error, ConfigError::Foreign { .. }), "{error}");
    let told = error.diagnostics().remove(0).to_string();
    assert!(
        told.contains("every user can write to it") && told.contains("--config"),
        "{told}"
    );
    assert!(load_config(Some(&file), cwd).is_ok());
    mode(&file, 0o644).unwrap();
    mode(cwd, 0o777).unwrap();
    assert!(load_config(None, cwd).is_err());
    // As /tmp is.
    mode(cwd, 0o1777).unwrap();
    assert!(load_config(None, cwd).is_ok());
    mode(cwd, 0o755).unwrap();
    if own != 0 {
        return;
    }
    chown(&file, Some(1234), None).unwrap();
    assert!(load_config(None, cwd).is_err());
    chown(&file, Some(0), None).unwrap();
    chown(cwd, Some(1234), None).unwrap();
    let told = load_config(None, cwd)
        .unwrap_err()
        .diagnostics()
        .remove(0)
        .to_string();
    assert!(
        told.contains("its directory belongs to user 1234"),
        "{told}"
    );
    chown(cwd, Some(0), None).unwrap();
    // Through a link, too.
    let away = tempfile::tempdir().unwrap();
    fs::rename(&file, away.path().join("x.yaml")).unwrap();
    symlink(away.path().join("x.yaml"), &file).unwrap();
    assert!(load_config(None, cwd).is_ok());
    chown(away.path(), Some(1234), None).unwrap();
    assert!(load_config(None, cwd).is_err());
}

#[test]
fn durations_and_counts_have_bounds() {
    for (text, wanted) in [
        (
            "reconcile: { resync: 3650d }",
            "reconcile.resync: 3650d is not from 1s to 1d",
        ),
        (
            "reconcile: { image_refresh: 1s }",
            "reconcile.image_refresh: 1s is not from 10s to 90d",
        ),
        (
            "reconcile: { parallelism: 65 }",
            "reconcile.parallelism: 65 is not from 1 to 64",
        ),
        (
            "reconcile: { prune: { min: 200000 } }",
            "reconcile.prune.min: 200000 is not from 0 to 100000",
        ),
        (
            "policy: { max_instances: 0 }",
            "policy.max_instances: 0 is not from 1 to 100000",
        ),
        (
            "source: { git: { url: 'https://x/y', interval: 4s } }",
            "source.git.interval: 4s is not from 5s to 1d",
        ),
        (
            "notify: { after: 8d }",
            "notify.after: 8d is not from 0s to 7d",
        ),
        (
            "notify: { remind: 59s }",
            "notify.remind: 59s is not from 1m to 365d",
        ),
    ] {
        let told = told(text);
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        assert!(
            told[0].contains(wanted) && told[0].ends_with(')'),
            "{told:?}"
        );
    }
}

#[test]
fn what_cannot_be_seen_is_an_error_in_every_text() {
    let told_of = |text: &str| told(text).join("\n");
    assert!(
        told_of("traefik: { middlewares: [\"a\\e[2J\"] }")
            .contains("1:26: traefik.middlewares[0]: U+001B")
    );
    assert!(told_of("policy: { host_paths: { allow: [\"/srv/\\u202e*\"] } }").contains("U+202E"));
}

#[test]
fn a_pattern_that_matches_no_image_is_a_warning() {
    let warnings = |glob: &str| {
        let loaded = load(&format!("policy: {{ images: {{ allow: ['{glob}'] }} }}"));
        loaded.expect("a sound configuration").warnings.len()
    };
    for glob in [
        "ghcr.io/AcmeCorp/*",
        "https://ghcr.io/*",
        "ghcr.io/acme/* ",
        "Acme/*",
    ] {
        assert_eq!(warnings(glob), 1, "{glob}");
    }
    for glob in [
        "*",
        "ghcr.io/acme/*",
        "GHCR.io/acme/*:V1",
        "localhost/instanced/browser:*",
        "acme/[a-zA-Z]*",
    ] {
        assert_eq!(warnings(glob), 0, "{glob}");
    }
}
