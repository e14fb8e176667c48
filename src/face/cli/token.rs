//! `instanced token`: the bearer tokens of the fleet.

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
        Command::Revoke { ids } => revoke(&ids, site, out).await,
    }
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
