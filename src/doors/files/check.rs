//! What a configuration may not say although each key alone decodes. Pure.

use globset::Glob;

use crate::doors::edge::Api;
use crate::words::bounds;
use crate::words::config::{AdminToken, Config, ProviderConfig};
use crate::words::diagnostic::Problem;

mod notices;
mod source;

/// Everything that is wrong with a configuration, or worth a look.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    listening(config, &mut problems);
    administering(config, &mut problems);
    source::problems(&config.source, &mut problems);
    routing(config, &mut problems);
    pace(config, &mut problems);
    origins(config, &mut problems);
    policy(config, &mut problems);
    notices::problems(&config.notify, &mut problems);
    problems
}

/// Whoever can ask for verdicts can guess at tokens without end.
fn listening(config: &Config, problems: &mut Vec<Problem>) {
    let auth = config.listen.auth;
    let everybody = config
        .trusted_proxies
        .iter()
        .position(|network| network.prefix_len() == 0);
    if let Some(index) = everybody {
        let network = config.trusted_proxies[index];
        let at = ["trusted_proxies", &index.to_string()];
        let problem = if auth.ip().is_unspecified() {
            Problem::error(
                &at,
                format!("`{network}` is everybody, while listen.auth answers on every address"),
            )
        } else {
            Problem::error(&at, format!("`{network}` is everybody")).as_warning()
        };
        problems.push(problem.with_help("name the addresses that Traefik connects from"));
    } else if auth.ip().is_unspecified() {
        let message = format!("`{auth}` listens on every address of this machine");
        problems.push(
            Problem::error(&["listen", "auth"], message)
                .as_warning()
                .with_help("127.0.0.1:9180 will do where Traefik stands on the host's network"),
        );
    }
    if config.trusted_proxies.is_empty() {
        problems.push(
            Problem::error(&["trusted_proxies"], "empty: every request is denied")
                .with_help("name the addresses that Traefik connects from, such as 127.0.0.0/8"),
        );
    }
}

/// Whoever reaches the control API with a token rules the fleet; without one, nobody from elsewhere is let in.
fn administering(config: &Config, problems: &mut Vec<Problem>) {
    let admin = config.listen.admin;
    let has_webhook = config
        .source
        .git
        .as_ref()
        .is_some_and(|git| git.webhook.is_some());
    if !admin.ip().is_loopback() && config.control.tokens.is_empty() && !has_webhook {
        let message = format!(
            "`{admin}` can be reached from elsewhere, and the control API has no admin token"
        );
        problems.push(Problem::error(&["listen", "admin"], message).with_help(
            "name one under `control.tokens`, by what `openssl rand -hex 32 | tee token.txt | instanced token hash` \
             prints; or listen on 127.0.0.1",
        ));
    }
    for (index, token) in config.control.tokens.iter().enumerate() {
        let index = index.to_string();
        if token.label.trim().is_empty() {
            let at = ["control", "tokens", &index, "label"];
            problems.push(
                Problem::error(&at, "empty: nobody would know whose token it is")
                    .with_help("say whose it is, or what for: `label: prometheus`"),
            );
        }
        let same = |other: &AdminToken| other.hash == token.hash;
        if config
            .control
            .tokens
            .iter()
            .filter(|other| same(other))
            .count()
            > 1
        {
            let at = ["control", "tokens", &index, "hash"];
            problems.push(Problem::error(&at, "this token is there twice"));
        }
    }
    if config.control.group.as_deref().is_some_and(str::is_empty) {
        problems.push(
            Problem::error(&["control", "group"], "empty")
                .with_help("name a group of this host, or leave the key out"),
        );
    }
}

fn routing(config: &Config, problems: &mut Vec<Problem>) {
    let entrypoints = &config.traefik.entrypoints;
    if entrypoints.is_empty() {
        problems.push(
            Problem::error(
                &["traefik", "entrypoints"],
                "empty: no route would be served",
            )
            .with_help("name an entry point of Traefik's, such as [websecure]"),
        );
    }
    for (index, name) in entrypoints.iter().enumerate() {
        if name.trim().is_empty() {
            let at = ["traefik", "entrypoints", &index.to_string()];
            problems.push(Problem::error(&at, "an entry point without a name"));
        }
    }
    if let Some(url) = &config.traefik.auth_url
        && !["http://", "https://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
    {
        problems.push(
            Problem::error(
                &["traefik", "auth_url"],
                format!("`{url}` is no HTTP address"),
            )
            .with_help("such as http://127.0.0.1:9180/auth/mcp-bearer-check"),
        );
    }
    if let (Some(url), Some(_)) = (&config.traefik.auth_url, &config.traefik.auth_ca)
        && url.starts_with("http://")
    {
        problems.push(
            Problem::error(
                &["traefik", "auth_url"],
                format!("`{url}` is plain HTTP, and `auth_ca` makes the listener speak TLS"),
            )
            .with_help("write https:// here, or leave out `auth_ca`"),
        );
    }
    if let ProviderConfig::File(dir) = &config.traefik.provider
        && dir.as_os_str().is_empty()
    {
        problems.push(
            Problem::error(&["traefik", "provider", "file"], "no directory").with_help(
                "name the directory that Traefik's file provider watches, such as /etc/traefik/dynamic",
            ),
        );
    }
    if let Some(url) = &config.traefik.api
        && let Err(why) = Api::parse(url)
    {
        problems.push(
            Problem::error(&["traefik", "api"], format!("`{url}` {why}")).with_help(
                "such as http://127.0.0.1:8080, the entry point `traefik` of Traefik's own",
            ),
        );
    }
    if config.public.port == Some(0) {
        problems.push(
            Problem::error(
                &["public", "port"],
                "0 is no port that clients can connect to",
            )
            .with_help("leave it out for the scheme's own port"),
        );
    }
    if config.network.name.trim().is_empty() {
        problems.push(
            Problem::error(&["network", "name"], "empty")
                .with_help("leave it out for mcp_instances"),
        );
    }
}

fn pace(config: &Config, problems: &mut Vec<Problem>) {
    let reconcile = &config.reconcile;
    let at = |key| ["reconcile", key];
    problems.extend(bounds::RESYNC.check(
        &at("resync"),
        reconcile.resync,
        "60s is the default; changes are seen at once anyway",
    ));
    problems.extend(bounds::PARALLELISM.check(
        &at("parallelism"),
        reconcile.parallelism,
        "8 is the default",
    ));
    problems.extend(bounds::IMAGE_REFRESH.check(
        &at("image_refresh"),
        reconcile.image_refresh,
        "1h is the default; registries limit how often they are asked",
    ));
    problems.extend(bounds::PRUNE_MIN.check(
        &["reconcile", "prune", "min"],
        reconcile.prune.min,
        "3 is the default; `enabled: false` removes nothing",
    ));
    problems.extend(bounds::HALT_AFTER.check(
        &["reconcile", "replace", "halt_after_failures"],
        reconcile.replace.halt_after_failures,
        "2 is the default; 0 never halts",
    ));
    problems.extend(bounds::INSTANCES.check(
        &["policy", "max_instances"],
        config.policy.max_instances,
        "200 is the default",
    ));
}

/// A browser sends `scheme://host[:port]`, and that alone is compared.
fn origins(config: &Config, problems: &mut Vec<Problem>) {
    for (index, origin) in config.origins.iter().enumerate() {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        if host.is_empty() || host.contains(['/', '*', ' ']) {
            let message = format!("`{origin}` is no origin");
            problems.push(
                Problem::error(&["origins", &index.to_string()], message)
                    .with_help("write it as a browser sends it: https://app.example.com"),
            );
        }
    }
}

fn policy(config: &Config, problems: &mut Vec<Problem>) {
    let policy = &config.policy;
    let lists = [
        ("images", &policy.images.allow),
        ("host_paths", &policy.host_paths.allow),
        ("secrets", &policy.secrets.allow),
        ("cap_add", &policy.cap_add.allow),
    ];
    for (index, glob) in policy.images.allow.iter().enumerate() {
        if breaks_the_grammar(glob) {
            let message = format!("`{glob}` matches no image");
            problems.push(
                Problem::error(&["policy", "images", "allow", &index.to_string()], message)
                    .as_warning()
                    .with_help(
                        "a repository is in lower case and has no scheme, such as ghcr.io/acme/*",
                    ),
            );
        }
    }
    for (key, globs) in lists {
        for (index, glob) in globs.iter().enumerate() {
            let pattern = glob.strip_prefix("env:").unwrap_or(glob);
            let Err(error) = Glob::new(pattern) else {
                continue;
            };
            let message = format!("`{glob}` is no pattern: {}", error.kind());
            problems.push(
                Problem::error(&["policy", key, "allow", &index.to_string()], message).with_help(
                    "such as /run/secrets/*; a backslash before *, ?, [ or { takes it literally",
                ),
            );
        }
    }
}

/// Whether a pattern has what no image reference has: a scheme, a space, or capitals in the repository.
fn breaks_the_grammar(glob: &str) -> bool {
    let (first, rest) = glob.split_once('/').unwrap_or(("", glob));
    let is_host = first.contains(['.', ':']);
    let repository = if is_host { rest } else { glob };
    // A tag may have capitals, and a class of characters may name some.
    let repository = repository.split([':', '[', '{']).next().unwrap_or_default();
    glob.contains("://")
        || glob.contains(char::is_whitespace)
        || repository.bytes().any(|b| b.is_ascii_uppercase())
}
