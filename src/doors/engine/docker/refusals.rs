//! Refusals of an engine that a person ends on the host: the engine's words, and the help that it does not give.

/// Part of the engine's words, in lower case, and the help for it.
const HELP: [(&str, &str); 5] = [
    // Docker 20.10 to 26.
    (
        "non-overlapping ipv4 address pool",
        "remove networks that nothing uses (docker network prune), or add `default-address-pools` to /etc/docker/daemon.json and restart the engine",
    ),
    // Docker 27 and later.
    (
        "all predefined address pools have been fully subnetted",
        "remove networks that nothing uses (docker network prune), or add `default-address-pools` to /etc/docker/daemon.json and restart the engine",
    ),
    // Podman.
    (
        "could not find free subnet",
        "remove networks that nothing uses (podman network prune), or add `default_subnet_pools` to containers.conf",
    ),
    // A network has no address left; 20.10 and later word its name differently.
    (
        "no available ipv4 addresses",
        "the network has no address left: remove containers from it, or name a network with a larger subnet in `network.name`",
    ),
    (
        "logging driver does not support reading",
        "the engine keeps no output: set `log-driver` to `local` or `json-file` in /etc/docker/daemon.json, restart the engine, then recreate the instance",
    ),
];

/// The help for an engine's words, where there is any.
pub(super) fn help(words: &str) -> Option<&'static str> {
    let words = words.to_ascii_lowercase();
    HELP.iter()
        .find(|(part, _)| words.contains(part))
        .map(|&(_, help)| help)
}

#[cfg(test)]
mod tests {
    use super::help;

    #[test]
    fn an_exhausted_pool_or_an_unreadable_log_gets_help() {
        for (words, expected) in [
            (
                "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
                "default-address-pools",
            ),
            (
                "all predefined address pools have been fully subnetted",
                "default-address-pools",
            ),
            (
                "could not find free subnet from subnet pools",
                "default_subnet_pools",
            ),
            (
                "no available IPv4 addresses on this network's address pools: mcp_instances (5d0c)",
                "network.name",
            ),
            (
                "configured logging driver does not support reading",
                "log-driver",
            ),
        ] {
            let found = help(words).unwrap_or_default();
            assert!(found.contains(expected), "{words}: {found}");
        }
        assert_eq!(help("No such container: alice"), None);
    }
}
