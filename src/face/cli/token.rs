//! `instanced token`: the tokens of the fleet.

use std::io::Read;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use super::expiry::Expiry;
use crate::daemon::ops::{self, Issued, Site};
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::style::{Label, paint};
use crate::face::tokens as view;
use crate::words::control::{IssueToken, OVERLAP, RotateToken};
use crate::words::name::{EndpointName, InstanceName};
use crate::words::quantity::Span;
use crate::words::token::TokenHash;

/// Issue, rotate, list and revoke the tokens that open instances
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  instanced token issue alice --label laptop --expires 90d
  instanced token list alice
  instanced token rotate k3v9x0qa
  instanced token revoke k3v9x0qa"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print it, this once: to stdout the token alone, the words about it to stderr
    #[command(after_help = "\
Examples:
  instanced token issue alice --label laptop --expires 90d
  instanced token issue alice --label old-client --endpoint sse
  TOKEN=$(instanced token issue alice --label ci -q)")]
    Issue {
        /// The instance it opens
        #[arg(value_name = "NAME")]
        name: InstanceName,
        /// What it is for; shown in lists
        #[arg(long, value_name = "LABEL")]
        label: String,
        /// When it ends: 90d, 12h, or the day 2027-01-01 [default: when it is revoked]
        #[arg(long, value_name = "WHEN")]
        expires: Option<Expiry>,
        /// An endpoint that it opens; may be given again [default: all that are guarded by tokens]
        #[arg(long = "endpoint", value_name = "ENDPOINT")]
        endpoints: Vec<EndpointName>,
    },
    /// Make a token in place of another, with its instance, label and endpoints, and print it, this once; the other
    /// goes on for a while, so that clients can change over
    #[command(after_help = "\
Examples:
  instanced token rotate k3v9x0qa                 its id, as `token list` shows it
  instanced token rotate k3v9x0qa --overlap 7d    for clients that take a week
  instanced token rotate k3v9x0qa --overlap 0s    it got about: it opens nothing from now on")]
    Rotate {
        /// The id of a token
        #[arg(value_name = "ID")]
        id: String,
        /// For how long the old one goes on, at most until its own end
        #[arg(long, value_name = "TIME", default_value_t = OVERLAP)]
        overlap: Span,
        /// When the new one ends: 90d, 12h, or the day 2027-01-01 [default: it lasts as long as the old one was given]
        #[arg(long, value_name = "WHEN")]
        expires: Option<Expiry>,
    },
    /// List tokens, and browsers' tickets and sessions; of each, what is kept: never the token itself
    #[command(after_help = "\
Examples:
  instanced token list          of all instances
  instanced token list alice    of one")]
    List {
        /// Of this instance alone
        #[arg(value_name = "NAME")]
        name: Option<InstanceName>,
    },
    /// Print the hash of a token read from stdin, for `tokens:` in a manifest, or for `control.tokens` in instanced.yaml
    #[command(after_help = "\
Examples:
  instanced token hash < token.txt
  openssl rand -hex 32 | tee token.txt | instanced token hash")]
    Hash,
    /// Revoke tokens; from the next request on they open nothing
    #[command(after_help = "\
Examples:
  instanced token revoke k3v9x0qa            its id, as `token list` shows it
  instanced token revoke k3v9x0qa 0h2mm8zr   several")]
    Revoke {
        /// Ids of tokens
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
}

/// Runs it.
pub(super) async fn run(args: Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    match args.command {
        Command::Issue {
            name,
            label,
            expires,
            endpoints,
        } => {
            let Some(expires) = moment(expires, out) else {
                return Ok(Exit::Usage);
            };
            let ask = IssueToken {
                instance: name,
                label,
                expires,
                endpoints,
            };
            out.check()?;
            let issued = ops::issue_token(site, ask).await?;
            show(&issued, site, out).await
        }
        Command::Rotate {
            id,
            overlap,
            expires,
        } => {
            let Some(expires) = moment(expires, out) else {
                return Ok(Exit::Usage);
            };
            let ask = RotateToken {
                overlap: Some(overlap),
                expires,
            };
            out.check()?;
            let issued = ops::rotate_token(site, &id, ask).await?;
            show(&issued, site, out).await
        }
        Command::List { name } => {
            let tokens = ops::list_tokens(site, name.as_ref()).await?;
            if out.is_json() {
                out.json(&tokens);
            } else {
                out.lines(&view::draw(&tokens, Timestamp::now()));
            }
            Ok(Exit::Done)
        }
        Command::Hash => hash(out),
        Command::Revoke { ids } => revoke(&ids, site, out).await,
    }
}

/// No token is longer; more is something else that was piped in by mistake.
const TOKEN_MAX: u64 = 4096;

/// From stdin, so that the token stands in no process list and in no shell's history.
fn hash(out: &mut Output) -> Result<Exit, Failure> {
    let mut text = String::new();
    let read = std::io::stdin()
        .take(TOKEN_MAX + 1)
        .read_to_string(&mut text);
    let token = text.trim();
    let why = match read {
        Err(error) => Some(format!("cannot read the token from stdin: {error}")),
        Ok(_) if token.is_empty() => Some("there is no token on stdin".to_owned()),
        Ok(length) if length as u64 > TOKEN_MAX => Some("that is too long for a token".to_owned()),
        Ok(_) if token.contains(char::is_whitespace) => {
            Some("a token is one word; this has white space within".to_owned())
        }
        Ok(_) => None,
    };
    if let Some(message) = why {
        let help = Some("pipe one token in: instanced token hash < token.txt".to_owned());
        return Err(Failure { message, help });
    }
    let hash = TokenHash::of(token.as_bytes());
    if out.is_json() {
        out.json(&json!({ "hash": hash }));
    } else {
        out.result(hash);
    }
    Ok(Exit::Done)
}

/// When it ends, if ever; nothing where that cannot be, which is told.
#[expect(clippy::option_option, reason = "refused, no end, or an end")]
fn moment(expires: Option<Expiry>, out: &mut Output) -> Option<Option<Timestamp>> {
    match expires.map(|expiry| expiry.moment(Timestamp::now())) {
        None => Some(None),
        Some(Ok(at)) => Some(Some(at)),
        Some(Err(error)) => {
            out.fail(&Failure {
                message: format!("--expires: {error}"),
                help: None,
            });
            None
        }
    }
}

/// The one place that prints a token. One that could not be printed opens nothing: nobody has it.
async fn show(issued: &Issued, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let Issued {
        record,
        token,
        replaced,
    } = issued;
    if out.is_json() {
        let mut told = json!({ "token": token, "record": record });
        if let Some(replaced) = replaced {
            told["replaced"] = json!(replaced);
        }
        out.json(&told);
    } else {
        out.say_lines(&match replaced {
            Some(old) => view::rotated(old, record),
            None => view::issued(record),
        });
        out.result(token);
    }
    if !out.is_broken() {
        return Ok(Exit::Done);
    }
    take_back(&record.id, site).await?;
    out.warn(format_args!(
        "token {} was revoked, as nobody has it",
        record.id
    ));
    if let Some(old) = replaced {
        out.warn(format_args!(
            "token {} ends as the rotation said, and has no successor: issue a new one",
            old.id
        ));
    }
    Ok(Exit::Failed)
}

/// Revokes what was made and could not be handed over, so that its label is free.
pub(super) async fn take_back(id: &str, site: &Site) -> Result<(), Failure> {
    let revoked = ops::revoke_token(site, id).await;
    revoked.map(drop).map_err(|failure| Failure {
        message: format!(
            "token {id} could not be written out and could not be revoked: {}",
            failure.message
        ),
        help: Some(format!("revoke it: instanced token revoke {id}")),
    })
}

/// Revokes as many as can be, and tells of every one.
async fn revoke(ids: &[String], site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let (mut revoked, mut exit) = (Vec::new(), Exit::Done);
    for id in ids {
        match ops::revoke_token(site, id).await {
            Ok(token) => {
                let id = paint(Label::Subject, &token.id);
                out.say(format_args!(
                    "Revoked token {id} ({}) of {}.",
                    token.label, token.instance
                ));
                revoked.push(token);
            }
            Err(failure) => {
                out.fail(&failure);
                exit = Exit::Failed;
            }
        }
    }
    if out.is_json() {
        out.json(&revoked);
    }
    Ok(exit)
}
