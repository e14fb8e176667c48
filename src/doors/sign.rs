//! Signatures over messages: HMAC-SHA256, of webhooks that come in and of notices that go out. The only module that
//! names its crates.
//!
//! Notices are signed as the Standard Webhooks specification says: <https://www.standardwebhooks.com>.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::files::{FileError, read_text};

/// What a secret begins with, so that people and scanners know it.
const PREFIX: &str = "whsec_";
/// How long a secret is, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// The secret in use, and the one before.
const SECRETS_MAX: usize = 2;

/// A message's authentication code in the making.
pub struct Code(Hmac<Sha256>);

impl Code {
    /// Of nothing yet, with a key of any length.
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("a key of any length"))
    }

    /// Goes on with the message.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Whether it is this, in constant time.
    pub fn is(self, code: &[u8]) -> bool {
        self.0.verify_slice(code).is_ok()
    }
}

/// Why there is no secret to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is none.
    #[error("{path}, line {line}: {why}; make a secret: echo whsec_$(openssl rand -base64 32)")]
    Form {
        /// The file.
        path: String,
        /// Which line of it.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
}

/// What notices to one receiver are signed with.
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// Reads a file that has one on each line; the first is the newest.
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let text = read_text(path)?;
        let lines = text.lines().map(str::trim_end).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty());
        let wrong = |line, why| SecretError::Form {
            path: path.display().to_string(),
            line,
            why,
        };
        let mut secrets = Vec::new();
        for (n, line) in lines {
            let secret = line
                .strip_prefix(PREFIX)
                .ok_or_else(|| wrong(n + 1, "a secret begins with `whsec_`"))?;
            let secret = STANDARD
                .decode(secret)
                .map_err(|_| wrong(n + 1, "what stands behind `whsec_` is no base64"))?;
            if !LENGTHS.contains(&secret.len()) {
                return Err(wrong(n + 1, "a secret has 24 to 64 bytes"));
            }
            if secrets.len() == SECRETS_MAX {
                return Err(wrong(
                    n + 1,
                    "two secrets are the most: the one in use, and the one before",
                ));
            }
            secrets.push(secret);
        }
        if secrets.is_empty() {
            return Err(wrong(1, "there is no secret"));
        }
        Ok(Self(secrets))
    }

    /// The signatures of a message, as its header has them: one with each secret.
    pub fn sign(&self, id: &str, seconds: i64, body: &str) -> String {
        let message = format!("{id}.{seconds}.{body}");
        let signatures = self.0.iter().map(|secret| {
            let mut code = Code::new(secret);
            code.update(message.as_bytes());
            format!("v1,{}", STANDARD.encode(code.0.finalize().into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Secrets, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, text).unwrap();
        Secrets::read(&path).map_err(|error| error.to_string())
    }

    /// From the specification's own libraries.
    #[test]
    fn a_message_is_signed_as_the_specification_says() {
        let secrets = read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signed = secrets.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
        let signed = read(both).unwrap().sign("msg", 1, "{}");
        assert_eq!(signed.split(' ').count(), 2, "{signed}");
    }

    #[test]
    fn what_is_no_secret_is_told_and_not_shown() {
        for (text, why) in [
            ("", "line 1: there is no secret"),
            ("hunter2", "line 1: a secret begins with `whsec_`"),
            ("whsec_hunter2?", "no base64"),
            ("whsec_c2hvcnQ=", "24 to 64 bytes"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(why), "{told}");
            assert!(
                !told.contains("hunter2") && !told.contains("c2hvcnQ"),
                "{told}"
            );
        }
        let line = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
        let told = read(&line.repeat(3)).unwrap_err();
        assert!(told.contains("line 3: two secrets are the most"), "{told}");
    }
}
