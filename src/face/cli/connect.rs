//! `instanced connect`: how a client reaches an instance.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::site;
use crate::daemon::ops::{self, Site};
use crate::decisions::report::Failure;
use crate::doors::files::read_text;
use crate::face::connect::{Connection, PLACEHOLDER};
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::words::shell_word;
use crate::words::name::InstanceName;

/// Show an instance's URLs, its VNC password, and the line that adds it to an MCP client
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced connect alice                                    everything, with <TOKEN> to be put in
  instanced connect alice --client claude-code               the command alone
  instanced connect alice --client json > .mcp.json          a client's configuration
  instanced connect alice --token-file ~/.alice-token        with a token that you keep there")]
pub(super) struct Args {
    /// The instance
    #[arg(value_name = "NAME")]
    name: InstanceName,
    /// Only what this client needs
    #[arg(long, value_enum, value_name = "CLIENT")]
    client: Option<Client>,
    /// A file that holds a token; commands read it there, `--client json` has the token in it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Client {
    /// The command that adds it to Claude Code
    ClaudeCode,
    /// An `mcpServers` object, as most clients read it
    Json,
}

/// Runs it.
pub(super) async fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let all = ops::status(site).await?;
    let instance = all.iter().find(|one| one.name == args.name);
    let instance = instance.ok_or_else(|| site::unknown(&args.name))?;
    let token = args.token_file.as_deref().map(read_token).transpose()?;
    let has_vnc = instance
        .endpoints
        .iter()
        .any(|endpoint| endpoint.name == "vnc");
    let vnc_password = match args.client {
        None if has_vnc => ops::vnc_password(site, &args.name).await?,
        _ => None,
    };
    let connection = Connection {
        instance,
        vnc_password: vnc_password.as_deref(),
    };
    // The shell reads the file when the command runs, so that no token is printed.
    let bearer = match &args.token_file {
        Some(path) => format!("$(cat {})", shell_word(&path.display().to_string())),
        None => PLACEHOLDER.to_owned(),
    };
    match args.client {
        Some(Client::Json) => {
            out.json(&connection.client_json(token.as_deref().unwrap_or(PLACEHOLDER)));
        }
        Some(Client::ClaudeCode) => out.result(connection.claude_code(&bearer).join("\n")),
        None if out.is_json() => out.json(&connection.json()),
        None => out.result(connection.draw(&bearer)),
    }
    Ok(Exit::Done)
}

/// The token that a file holds: one line of characters that a header can carry.
fn read_token(path: &Path) -> Result<String, Failure> {
    let text = read_text(path).map_err(|error| Failure {
        message: format!("cannot read the token: {error}"),
        help: None,
    })?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure {
            message: format!("{} holds no token", path.display()),
            help: Some("it must hold one line: what `instanced token issue` prints".to_owned()),
        });
    }
    Ok(token.to_owned())
}
