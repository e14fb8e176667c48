//! The address of a repository, and the credentials that a person may have written into it.
//!
//! Git hands the address on to its helpers as an argument, which every user of the host can read. So the address goes
//! without credentials, and a credential helper answers with variables of git's environment.

use crate::words::config::GitSource;

/// Answers git's question for credentials. The values are in variables: the text itself is an argument of a shell.
const HELPER: &str = r#"!f() { case "$1" in get) printf 'username=%s\npassword=%s\n' "$INSTANCED_GIT_USER" "$INSTANCED_GIT_PASSWORD" ;; esac; }; f"#;

/// An address that may be an argument, and what goes beside it. It has no `Debug`: it holds a password.
#[derive(Clone)]
pub(super) struct Address {
    /// Without credentials.
    pub(super) url: String,
    /// `https://host:port`, which the credentials are for and no other.
    server: String,
    user: Option<String>,
    password: Option<String>,
}

impl Address {
    pub(super) fn of(source: &GitSource) -> Self {
        let plain = Self {
            url: source.url.clone(),
            server: String::new(),
            user: None,
            password: None,
        };
        // Of ssh, the name is part of the address, and there is no password. A path has neither.
        let Some((scheme @ ("http" | "https"), rest)) = source.url.split_once("://") else {
            return plain;
        };
        let ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let Some((credentials, host)) = rest[..ends].rsplit_once('@') else {
            return plain;
        };
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        let server = format!("{scheme}://{host}");
        Self {
            url: format!("{server}{}", &rest[ends..]),
            server,
            user: Some(decoded(user)),
            password: password.map(decoded),
        }
    }

    /// Settings for git's environment.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let of = |key: &str| format!("credential.{}.{key}", self.server);
        match (&self.user, &self.password) {
            // In place of the user's helpers, which would store what they are given.
            (Some(_), Some(_)) => vec![
                (of("helper"), String::new()),
                (of("helper"), HELPER.to_owned()),
            ],
            (Some(user), None) if !user.is_empty() => vec![(of("username"), user.clone())],
            _ => Vec::new(),
        }
    }

    /// Variables that the helper reads.
    pub(super) fn variables(&self) -> Vec<(&'static str, &str)> {
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => vec![
                ("INSTANCED_GIT_USER", user),
                ("INSTANCED_GIT_PASSWORD", password),
            ],
            _ => Vec::new(),
        }
    }

    /// What git or a server said, without what may be a secret.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        // A name alone may be a token.
        let secret = self.password.as_ref().or(self.user.as_ref());
        match secret.filter(|secret| !secret.is_empty()) {
            Some(secret) => text.replace(secret, "***"),
            None => text.to_owned(),
        }
    }
}

/// `%40` as `@`: what git decodes in an address, and a helper does not.
fn decoded(text: &str) -> String {
    let (bytes, mut at, mut read) = (text.as_bytes(), 0, Vec::new());
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        read.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Address {
        Address::of(&GitSource::new(url))
    }

    #[test]
    fn credentials_are_no_part_of_the_address() {
        for (url, plain, user, password) in [
            (
                "https://ada:s%40cret%2F@git.example.com:8443/f.git",
                "https://git.example.com:8443/f.git",
                Some("ada"),
                Some("s@cret/"),
            ),
            (
                "https://ghp_token@git.example.com/a@b.git",
                "https://git.example.com/a@b.git",
                Some("ghp_token"),
                None,
            ),
            (
                "http://a:b:c@git.example.com",
                "http://git.example.com",
                Some("a"),
                Some("b:c"),
            ),
            (
                "https://git.example.com/a@b.git",
                "https://git.example.com/a@b.git",
                None,
                None,
            ),
            (
                "git@git.example.com:team/fleet.git",
                "git@git.example.com:team/fleet.git",
                None,
                None,
            ),
            (
                "ssh://git@git.example.com/fleet.git",
                "ssh://git@git.example.com/fleet.git",
                None,
                None,
            ),
            ("/srv/fleet.git", "/srv/fleet.git", None, None),
        ] {
            let address = of(url);
            assert_eq!(address.url, plain);
            assert_eq!(address.user.as_deref(), user, "{url}");
            assert_eq!(address.password.as_deref(), password, "{url}");
        }
    }

    #[test]
    fn credentials_are_for_their_server_alone() {
        let settings = of("https://ada:secret@git.example.com:8443/f.git").settings();
        assert_eq!(settings.len(), 2);
        for (key, value) in settings {
            assert_eq!(key, "credential.https://git.example.com:8443.helper");
            assert!(!value.contains("secret"), "{value}");
        }
    }

    #[test]
    fn what_git_says_is_shown_without_secrets() {
        let said = "Authentication failed for 'https://tok@git.example.com'";
        let shown = of("https://tok@git.example.com/x").without_secrets(said);
        assert!(!shown.contains("tok@"), "{shown}");
        let shown = of("https://a:p%40w@git.example.com/x").without_secrets("remote: p@w is wrong");
        assert_eq!(shown, "remote: *** is wrong");
    }
}
