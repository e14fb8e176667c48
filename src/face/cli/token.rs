//! `instanced token`: the bearer tokens of the fleet.

use std::io::Read;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use super::expiry::Expiry;
use crate::daemon::ops::{self, Site};
use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::style::{Label, paint};
use crate::face::tokens as view;
use crate::words::control::IssueToken;
use crate::words::name::InstanceName;
use crate::words::token::TokenHash;

/// Issue, list and revoke the tokens that open instances
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  instanced token issue alice --label laptop --expires 90d
  instanced token list alice
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
    },
    /// List tokens; of each, what is kept: never the token itself
    #[command(after_help = "\
Examples:
  instanced token list          of all instances
  instanced token list alice    of one")]
    List {
        /// Of this instance alone
        #[arg(value_name = "NAME")]
        name: Option<InstanceName>,
    },
    /// Print the hash of a token read from stdin, for `tokens:` in a manifest
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
        } => issue(name, label, expires, site, out).await,
        Command::List { name } => {
            let tokens = ops::list_tokens(site, name.as_ref()).await?;
            if out.is_json() {
                out.json(&tokens);
            } else {
                out.result(view::draw(&tokens, Timestamp::now()));
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

async fn issue(
    instance: InstanceName,
    label: String,
    expires: Option<Expiry>,
    site: &Site,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let expires = match expires.map(|expiry| expiry.moment(now)).transpose() {
        Ok(expires) => expires,
        Err(error) => {
            out.fail(&Failure {
                message: format!("--expires: {error}"),
                help: None,
            });
            return Ok(Exit::Usage);
        }
    };
    let ask = IssueToken {
        instance,
        label,
        expires,
        endpoints: Vec::new(),
    };
    let (record, token) = ops::issue_token(site, ask).await?;
    if out.is_json() {
        out.json(&json!({ "token": token, "record": record }));
    } else {
        out.say(view::issued(&record));
        out.result(token);
    }
    Ok(Exit::Done)
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
