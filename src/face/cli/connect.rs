//! `instanced connect`: how a client reaches an instance.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::site;
use crate::daemon::ops::{self, Site};
use crate::decisions::report::Failure;
use crate::decisions::status::{EndpointStatus, InstanceStatus};
use crate::doors::files::read_text;
use crate::face::clients::{Client, PLACEHOLDER, Scope};
use crate::face::connect::Connection;
use crate::face::exit::Exit;
use crate::face::link::{self, Link, Screen};
use crate::face::output::Output;
use crate::face::words::shell_word;
use crate::words::control::{AskTicket, VncPasswords};
use crate::words::manifest::Auth;
use crate::words::name::{EndpointName, InstanceName};
use crate::words::quantity::Span;

mod client;

/// Show how to reach an instance, put it into an MCP client's configuration, or make a link for a browser
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced connect alice                                    everything, with <TOKEN> to be put in
  instanced connect alice --client claude-code               the command alone
  instanced connect alice --client vscode                    what goes into a client's file, and which file
  instanced connect alice --client vscode --write            put into that file, which keeps what it has
  instanced connect alice --client cursor --write --scope project    into the file of the project here
  instanced connect alice --client zed --token-file ~/.alice-token --write    with a token that you keep there
  instanced connect alice --open                             a link to its screen, which opens once
  instanced connect alice --open --view-only                 the same, for looking alone")]
pub(super) struct Args {
    /// The instance
    #[arg(value_name = "NAME")]
    name: InstanceName,
    /// Only what this client needs
    #[arg(long, value_enum, value_name = "CLIENT")]
    client: Option<Client>,
    /// Put it into the client's own file: what else is there stays as it is, comments too
    #[arg(long, requires = "client")]
    write: bool,
    /// Take it out of the client's own file again
    #[arg(long, requires = "client", conflicts_with_all = ["write", "token_file"])]
    remove: bool,
    /// Which of the client's files
    #[arg(
        long,
        value_enum,
        default_value_t,
        requires = "client",
        value_name = "SCOPE"
    )]
    scope: Scope,
    /// A file that holds a token; commands read it there, a client's configuration gets the token itself. Without one,
    /// a client asks for the token or reads it from a variable, where it can
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print a link that opens an endpoint in a browser [default: vnc]. Where it is guarded by tickets, the link opens
    /// once: to stdout the link alone, the words about it to stderr
    #[arg(long, value_name = "ENDPOINT", num_args = 0..=1, default_missing_value = link::SCREEN)]
    #[arg(conflicts_with_all = ["client", "token_file"])]
    open: Option<EndpointName>,
    /// With --open: for looking alone; the VNC server ignores keys and pointer
    #[arg(long, requires = "open")]
    view_only: bool,
    /// With --open: within which time the link must be opened, 1d at most [default: 10m]
    #[arg(long, value_name = "TIME", requires = "open")]
    valid: Option<Span>,
    /// With --open: how long the browser is let in from then on, 30d at most [default: 12h]
    #[arg(long, value_name = "TIME", requires = "open")]
    session: Option<Span>,
    /// With --open: whom it is for; shown by `token list`
    #[arg(long, value_name = "LABEL", requires = "open")]
    label: Option<String>,
}

/// Runs it.
pub(super) async fn run(args: &Args, site: &Site, out: &mut Output) -> Result<Exit, Failure> {
    let all = ops::status(site).await;
    if let Some(client) = args.client.filter(|_| args.remove) {
        // What is gone, or not known now, can be taken out all the same.
        let known = all.unwrap_or_default();
        let instance = known.iter().find(|one| one.name == args.name);
        return client::remove(client, args, instance, out);
    }
    let all = all?;
    let instance = all.iter().find(|one| one.name == args.name);
    let instance = instance.ok_or_else(|| site::unknown(&args.name, &all))?;
    if let Some(endpoint) = &args.open {
        return open(args, endpoint, instance, site, out).await;
    }
    let token = args.token_file.as_deref().map(read_token).transpose()?;
    // The shell reads the file when the command runs, so that no token is printed.
    let bearer = match &args.token_file {
        Some(path) => format!("$(cat {})", shell_word(&path.display().to_string())),
        None => PLACEHOLDER.to_owned(),
    };
    if let Some(client) = args.client {
        let asked = client::Asked {
            client,
            scope: args.scope,
            token: token.as_deref(),
            bearer: &bearer,
        };
        return if args.write {
            asked.write(instance, out)
        } else {
            asked.show(instance, out)
        };
    }
    let has_screen = instance.endpoints.iter().any(|e| e.name == link::SCREEN);
    let vnc = if has_screen {
        ops::vnc_passwords(site, &args.name).await?
    } else {
        VncPasswords::default()
    };
    let connection = Connection { instance, vnc };
    if out.is_json() {
        out.json(&connection.json());
    } else {
        out.lines(&connection.draw(&bearer));
    }
    Ok(Exit::Done)
}

/// Makes a link. What can be refused is, before there is a ticket.
async fn open(
    args: &Args,
    name: &EndpointName,
    instance: &InstanceStatus,
    site: &Site,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let endpoint = openable(args, name, instance)?;
    let mut passwords = VncPasswords::default();
    if name.as_str() == link::SCREEN {
        passwords = ops::vnc_passwords(site, &args.name).await?;
    }
    if args.view_only && passwords.view_password.is_none() {
        return Err(Failure {
            message: format!("`{}` has no password for looking alone", args.name),
            help: Some(
                "it gets one with `endpoints: { vnc: { auth: ticket } }`, or by `vnc.view_password`, in its \
                 manifest; until a round has brought that about there is none"
                    .to_owned(),
            ),
        });
    }
    let issued = match endpoint.auth {
        Auth::Ticket => Some(ops::issue_ticket(site, &args.name, ticket(args, name)).await?),
        Auth::Bearer | Auth::None => None,
    };
    let screen = (name.as_str() == link::SCREEN).then_some(Screen {
        password: if args.view_only {
            passwords.view_password.as_deref()
        } else {
            passwords.password.as_deref()
        },
        view_only: args.view_only,
    });
    let link = Link {
        url: &endpoint.url,
        ticket: issued.as_ref().map(|issued| issued.token.as_str()),
        screen,
    };
    let record = issued.as_ref().map(|issued| &issued.record);
    if out.is_json() {
        let url = link.to_string();
        out.json(&json!({
            "url": url, "endpoint": name, "view_only": args.view_only, "record": record,
        }));
    } else {
        if link.screen.as_ref().is_some_and(|s| s.password.is_none()) {
            out.say("The VNC password is not known yet: noVNC will ask for it.");
        }
        out.say_lines(&link::told(&args.name, name.as_str(), record));
        out.result(link);
    }
    if let (Some(record), true) = (record, out.is_broken()) {
        super::token::take_back(&record.id, site).await?;
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

/// The endpoint that a link shall lead to, where a link can do what is asked.
fn openable<'i>(
    args: &Args,
    name: &EndpointName,
    instance: &'i InstanceStatus,
) -> Result<&'i EndpointStatus, Failure> {
    let refused = |message: String, help: String| {
        let help = Some(help);
        Err(Failure { message, help })
    };
    let of = &instance.name;
    let all = &instance.endpoints;
    let Some(endpoint) = all.iter().find(|one| one.name == name.as_str()) else {
        let known: Vec<_> = all.iter().map(|one| one.name.as_str()).collect();
        let help = format!("it has: {}", known.join(", "));
        return refused(format!("`{of}` has no endpoint `{name}`"), help);
    };
    if endpoint.auth == Auth::Bearer {
        return refused(
            format!("endpoint `{name}` of `{of}` is guarded by tokens: no link opens it"),
            format!(
                "`auth: ticket` in its manifest lets people in by links; `instanced connect {of}` shows how a \
                 client with a token gets in"
            ),
        );
    }
    if endpoint.auth == Auth::None && (args.valid.is_some() || args.session.is_some()) {
        return refused(
            format!("endpoint `{name}` of `{of}` is open to all: a link to it has no end"),
            "leave --valid and --session away, or guard it with `auth: ticket` in its manifest"
                .to_owned(),
        );
    }
    if args.view_only && name.as_str() != link::SCREEN {
        return refused(
            format!("--view-only is of screens, and `{name}` is none"),
            format!("`{}` is the endpoint with the screen", link::SCREEN),
        );
    }
    Ok(endpoint)
}

fn ticket(args: &Args, endpoint: &EndpointName) -> AskTicket {
    let label = match (&args.label, args.view_only) {
        (Some(label), _) => label.as_str(),
        (None, false) => "link",
        (None, true) => "link, view-only",
    };
    AskTicket {
        endpoint: endpoint.clone(),
        label: label.to_owned(),
        lasts: args.valid,
        session: args.session,
    }
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
