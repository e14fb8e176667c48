//! Every token that was issued, and whether it still opens what it opened.

use std::collections::BTreeSet;

use super::lab::Lab;
use super::said::Said;

/// A token that was shown.
#[derive(Debug, Clone)]
pub struct Token {
    pub id: String,
    pub instance: String,
    secret: String,
}

/// What a person has noted of tokens. Where a command was cut off, nothing is noted: both outcomes are right.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Shown, and never taken back.
    pub live: Vec<Token>,
    /// Their revocation was told.
    pub revoked: Vec<Token>,
}

impl Ledger {
    /// Issues a token; says whether it was shown.
    pub fn issue(&mut self, lab: &Lab, instance: &str, label: &str) -> Result<(), String> {
        let said = lab.instanced(&[
            "--format", "json", "token", "issue", instance, "--label", label,
        ]);
        self.made(&said, instance)
    }

    /// Rotates the live token at this place: both open from then on. One whose rotation was cut off is still
    /// there, replaced or not.
    pub fn rotate(&mut self, lab: &Lab, at: usize) -> Result<(), String> {
        let Token { id, instance, .. } = self.live[at].clone();
        let said = lab.instanced(&["--format", "json", "token", "rotate", &id]);
        self.made(&said, &instance)
    }

    fn made(&mut self, said: &Said, instance: &str) -> Result<(), String> {
        if said.code != Some(0) {
            return Err(said.to_string());
        }
        let told = said.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let (id, secret) = (text(&told["record"]["id"]), text(&told["token"]));
        assert!(secret.starts_with("mcp_"), "no token was shown: {said}");
        let instance = instance.to_owned();
        self.live.push(Token {
            id,
            instance,
            secret,
        });
        Ok(())
    }

    /// Revokes the live token at this place. One whose revocation was cut off is forgotten.
    pub fn revoke(&mut self, lab: &Lab, at: usize) -> Result<(), String> {
        let token = self.live.remove(at);
        let said = lab.instanced(&["token", "revoke", &token.id]);
        if said.code == Some(0) {
            self.revoked.push(token);
            Ok(())
        } else {
            Err(said.to_string())
        }
    }

    /// Every live token is listed and no revoked one; the listener opens to those whose instance is in `open`,
    /// and to none of the revoked.
    pub fn kept(&self, lab: &Lab, open: &BTreeSet<String>) -> Result<(), String> {
        let said = lab.instanced(&["--format", "json", "token", "list"]);
        if said.code != Some(0) {
            return Err(said.to_string());
        }
        let told = said.json();
        let listed: BTreeSet<&str> = told
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|record| record["id"].as_str())
            .collect();
        if let Some(lost) = self.live.iter().find(|token| !listed.contains(&*token.id)) {
            return Err(format!(
                "token {} of {} was lost: {said}",
                lost.id, lost.instance
            ));
        }
        if let Some(back) = self
            .revoked
            .iter()
            .find(|token| listed.contains(&*token.id))
        {
            return Err(format!(
                "revoked token {} of {} is back",
                back.id, back.instance
            ));
        }
        for token in self
            .live
            .iter()
            .filter(|token| open.contains(&token.instance))
        {
            let status = ask(lab, token)?;
            if status != 204 {
                let Token { id, instance, .. } = token;
                return Err(format!(
                    "token {id} of {instance} is answered {status}, not 204"
                ));
            }
        }
        // The last ones only: wrong tokens are counted, and an address that shows many is slowed down.
        for token in self.revoked.iter().rev().take(2) {
            if ask(lab, token)? == 204 {
                return Err(format!(
                    "revoked token {} opens {}",
                    token.id, token.instance
                ));
            }
        }
        Ok(())
    }
}

/// Asks the listener as Traefik does; the status.
fn ask(lab: &Lab, token: &Token) -> Result<u16, String> {
    let Token {
        instance, secret, ..
    } = token;
    let said = lab.inside(
        "curl",
        &[
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--max-time",
            "20",
            "--header",
            &format!("X-Forwarded-Host: mcp-{instance}.mcp.localhost"),
            "--header",
            &format!("Authorization: Bearer {secret}"),
            &format!("http://{}/auth/mcp-bearer-check/mcp-{instance}", lab.auth),
        ],
    );
    said.stdout
        .trim()
        .parse()
        .ok()
        .filter(|status| *status != 0)
        .ok_or_else(|| {
            format!(
                "the ForwardAuth listener does not answer (curl: {:?})",
                said.code
            )
        })
}
