//! The webhook: a forge tells that there is something new, and the repository is asked at once.
//!
//! Nothing that it sends is believed or read, but that it knows the secret: GitHub's, Gitea's and Bitbucket's sign the
//! body with it, GitLab's and whatever else send it along.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq as _;

use super::chain::failure;
use super::follow::Syncer;
use crate::decisions::report::Failure;
use crate::doors::files::read_text;
use crate::doors::sign::Code;
use crate::words::control::Problem;

/// Where it is.
pub const PATH: &str = "/v1/sync";
/// How long a request may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// GitHub sends no more than this, in bytes.
const BODY_MAX: usize = 25 << 20;
/// Shorter secrets can be guessed, in bytes.
const SECRET_MIN: usize = 16;

/// The headers that hold a signature: the hexadecimal HMAC-SHA256 of the body, behind `sha256=`.
const SIGNATURES: [&str; 2] = ["x-hub-signature-256", "x-hub-signature"];
/// The header that holds the secret itself, of GitLab's.
const TOKEN: &str = "x-gitlab-token";

/// What a forge calls.
pub struct Webhook {
    secret_file: PathBuf,
    syncer: Syncer,
}

impl Webhook {
    /// A webhook. The secret is read anew for each request, so that it can be changed.
    ///
    /// # Errors
    /// When the secret will not do.
    pub fn new(secret_file: &Path, syncer: Syncer) -> Result<Self, Failure> {
        secret(secret_file)?;
        Ok(Self {
            secret_file: secret_file.to_owned(),
            syncer,
        })
    }

    /// Has the repository asked, where the request proves itself.
    ///
    /// # Errors
    /// Why not.
    pub async fn answer(&self, request: Request<Incoming>) -> Result<(), Problem> {
        let answered = tokio::time::timeout(REQUEST_MAX, self.proven(request)).await;
        answered
            .unwrap_or_else(|_| Err(Problem::too_slow("the request did not arrive in time")))?;
        tracing::info!("a webhook has the repository asked");
        self.syncer.poke();
        Ok(())
    }

    async fn proven(&self, request: Request<Incoming>) -> Result<(), Problem> {
        let secret = secret(&self.secret_file).map_err(|failure| {
            tracing::error!("the webhook's {}", failure.message);
            Problem::unavailable("the webhook's secret cannot be read")
        })?;
        let (head, body) = request.into_parts();
        let proof = Proof::of(&head.headers);
        if !proof.holds(secret.as_bytes(), body).await? {
            let detail = "neither a signature nor a token that fits the secret";
            return Err(Problem::unauthorized(detail).with_help(
                "give the forge what source.git.webhook.secret_file holds, as the webhook's secret",
            ));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Webhook({})", self.secret_file.display())
    }
}

/// What a request proves itself by.
enum Proof {
    /// The body, signed.
    Signature(Vec<u8>),
    /// The secret itself.
    Token(Vec<u8>),
    Nothing,
}

impl Proof {
    fn of(headers: &HeaderMap) -> Self {
        let bytes = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        let signed = SIGNATURES.iter().find_map(|name| bytes(name));
        if let Some(signed) = signed {
            let digits = signed.strip_prefix(b"sha256=");
            return digits
                .and_then(unhex)
                .map_or(Self::Nothing, Self::Signature);
        }
        let bearer = || bytes(AUTHORIZATION.as_str())?.strip_prefix(b"Bearer ");
        match bytes(TOKEN).or_else(bearer) {
            Some(token) => Self::Token(token.to_owned()),
            None => Self::Nothing,
        }
    }

    async fn holds(self, secret: &[u8], body: Incoming) -> Result<bool, Problem> {
        let signature = match self {
            Self::Nothing => return Ok(false),
            Self::Token(token) => return Ok(token.ct_eq(secret).into()),
            Self::Signature(signature) => signature,
        };
        let mut code = Code::new(secret);
        let (mut body, mut length) = (body, 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::invalid("the body broke off"))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            length += data.len();
            if length > BODY_MAX {
                let detail = format!("the body has at most {BODY_MAX} bytes");
                return Err(Problem::too_large(detail));
            }
            code.update(data);
        }
        Ok(code.is(&signature))
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = digits.chunks(2).map(|pair| match *pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

/// The secret, without the line's end that editors leave.
fn secret(file: &Path) -> Result<String, Failure> {
    let text = read_text(file).map_err(|error| failure(&error))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.len() < SECRET_MIN {
        return Err(Failure {
            message: format!(
                "secret {} is shorter than {SECRET_MIN} bytes: it could be guessed",
                file.display()
            ),
            help: Some("make one: openssl rand -hex 32".to_owned()),
        });
    }
    Ok(secret.to_owned())
}
