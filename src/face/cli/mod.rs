//! The command line: what can be typed, and which command does it. One file a command; a command asks
//! [`crate::daemon::ops`] and hands what comes back to a drawing module.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use tokio::runtime;

use super::exit::Exit;
use super::output::{Color, Format, Output};
use super::style;
use super::telemetry::{self, Verbosity};
use super::text::Lines;
use crate::decisions::report::Failure;
use crate::words::overrides::Order;

mod completions;
mod connect;
mod diff;
mod doctor;
mod expiry;
mod health;
mod history;
mod init;
mod live;
mod logs;
mod man;
mod order;
mod reconcile;
mod schema;
mod serve;
mod site;
mod snapshot;
mod status;
mod template;
mod token;
mod top;
mod validate;

/// How many threads serve.
const SERVE_THREADS: usize = 2;

const AFTER_HELP: &str = "\
Examples:
  instanced validate                   are the manifests sound?
  instanced reconcile --dry-run        what would be done?
  instanced serve                      keep the fleet as the manifests say

Exit codes:
  0  done, or nothing to do
  1  failed, a manifest is invalid, or an instance is not healthy
  2  changes are pending (with --detailed-exitcode)
  3  done, but something is held or blocked
 64  the command line is wrong";

/// Keeps a fleet of MCP instances exactly as a directory of YAML files says.
#[derive(Debug, Parser)]
#[command(name = "instanced", version, after_help = AFTER_HELP, styles = style::help_styles())]
#[command(disable_help_subcommand = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Globals {
    /// The daemon's configuration [default: instanced.yaml here, else /etc/instanced/instanced.yaml]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "INSTANCED_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// Where the manifests are, in place of the configuration's `source.dir`
    #[arg(long, global = true, value_name = "DIR")]
    instances: Option<PathBuf>,
    /// Where the store and the control socket are, in place of the configuration's `state`
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    /// For whom results are written
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "human|json"
    )]
    format: Format,
    /// Whether colours are used; `auto` honours `NO_COLOR`
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "auto|always|never"
    )]
    color: Color,
    /// Say more; twice, still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say only what is wrong
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Validate(validate::Args),
    Reconcile(reconcile::Args),
    Serve(serve::Args),
    Diff(diff::Args),
    Snapshot(snapshot::Args),
    Status(status::Args),
    Logs(logs::Args),
    Top(top::Args),
    History(history::Args),
    Doctor(doctor::Args),
    /// Restart an instance: the same container, down and up; sessions end
    #[command(after_help = "Example:\n  instanced restart alice")]
    Restart(order::Args),
    /// Make an instance anew: a new generation of the same spec; sessions end
    #[command(after_help = "Example:\n  instanced recreate alice")]
    Recreate(order::Args),
    /// Stop an instance, until it is started or its manifest changes
    #[command(after_help = "Example:\n  instanced stop alice")]
    Stop(order::Args),
    /// Lift a stop
    #[command(after_help = "Example:\n  instanced start alice")]
    Start(order::Args),
    /// Do nothing to an instance, whatever its manifest says, until it is resumed
    #[command(after_help = "Example:\n  instanced suspend alice")]
    Suspend(order::Args),
    /// Lift a suspension, and thaw what was frozen
    #[command(after_help = "Example:\n  instanced resume alice")]
    Resume(order::Args),
    Token(token::Args),
    Connect(connect::Args),
    Template(template::Args),
    Schema(schema::Args),
    Health(health::Args),
    Completions(completions::Args),
    #[command(hide = true)]
    Man(man::Args),
}

/// Runs the command line `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match parse(args) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let Globals {
        format,
        color,
        quiet,
        verbose,
        ..
    } = cli.globals;
    let mut out = Output::standard(format, color, quiet);
    let is_daemon = matches!(cli.command, Command::Serve(_));
    let started = telemetry::start(
        Verbosity {
            verbose,
            quiet,
            is_daemon,
        },
        out.is_colored(),
    );
    let exit = match started {
        Ok(()) => dispatch(cli, &mut out),
        Err(error) => Err(Failure {
            message: format!("cannot start the log: {error}"),
            help: None,
        }),
    };
    let exit = exit.unwrap_or_else(|failure| {
        out.fail(&failure);
        Exit::Failed
    });
    out.finish(exit)
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let cli = Cli::try_parse_from(args)?;
    let whose = match cli.globals.format {
        Format::Human | Format::Json => return Ok(cli),
        Format::Sarif | Format::Junit | Format::Github => "validate",
        Format::Markdown => "diff",
    };
    match (&cli.command, whose) {
        (Command::Validate(_), "validate") | (Command::Diff(_), "diff") => return Ok(cli),
        _ => {}
    }
    let message =
        format!("this format is for `instanced {whose}` alone; other commands write human or json");
    Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, message))
}

/// Says what clap has to say.
fn refuse(error: &clap::Error) -> Exit {
    let mut out = Output::standard(Format::Human, Color::Auto, false);
    let text = error.render();
    let exit = exit_of(error);
    match exit {
        Exit::Usage => out.tell(&Lines::of_clap(&text)),
        _ => out.lines(&Lines::of_clap(&text)),
    }
    out.finish(exit)
}

/// Help and version are answers; everything else that clap says is a wrong command line.
fn exit_of(error: &clap::Error) -> Exit {
    if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    }
}

fn dispatch(cli: Cli, out: &mut Output) -> Result<Exit, Failure> {
    let Cli { globals, command } = cli;
    // These need no site: they work where the configuration is broken, too.
    match command {
        Command::Init(args) => return init::run(&args, out),
        Command::Template(args) => return template::run(&args, out),
        Command::Schema(args) => return Ok(schema::run(&args, out)),
        Command::Doctor(_) => return short(doctor::run(&globals, out)),
        Command::Completions(args) => {
            completions::run(&args, &mut Cli::command(), out);
            return Ok(Exit::Done);
        }
        Command::Man(args) => {
            man::run(&args, Cli::command(), out)?;
            return Ok(Exit::Done);
        }
        _ => {}
    }
    let Some(site) = site::find(&globals, out)? else {
        return Ok(Exit::Failed);
    };
    match command {
        Command::Validate(args) => validate::run(&args, &site, out),
        Command::Diff(args) => diff::run(&args, &site, out),
        Command::Serve(args) => {
            let runtime = serving()?;
            let served = runtime.block_on(serve::run(args, site, out));
            // A name server that does not answer has nothing to say any more.
            runtime.shutdown_background();
            served
        }
        Command::Reconcile(args) => short(reconcile::run(
            args,
            &site,
            reconcile::View::new(globals.verbose),
            out,
        )),
        Command::Snapshot(args) => short(snapshot::run(&args, &site, out)),
        Command::Status(args) => short(status::run(&args, &site, out)),
        Command::Logs(args) => short(logs::run(&args, &site, out)),
        Command::Top(args) => short(top::run(&args, &site, out)),
        Command::History(args) => short(history::run(&args, &site, out)),
        Command::Restart(args) => short(order::run(args, Order::Restart, &site, out)),
        Command::Recreate(args) => short(order::run(args, Order::Recreate, &site, out)),
        Command::Stop(args) => short(order::run(args, Order::Stop, &site, out)),
        Command::Start(args) => short(order::run(args, Order::Start, &site, out)),
        Command::Suspend(args) => short(order::run(args, Order::Suspend, &site, out)),
        Command::Resume(args) => short(order::run(args, Order::Resume, &site, out)),
        Command::Token(args) => short(token::run(args, &site, out)),
        Command::Connect(args) => short(connect::run(&args, &site, out)),
        Command::Health(args) => short(health::run(&args, &site, out)),
        Command::Init(_)
        | Command::Template(_)
        | Command::Schema(_)
        | Command::Doctor(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(Exit::Done),
    }
}

/// Runs what ends by itself, on this thread.
fn short(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    built(runtime::Builder::new_current_thread().enable_all())?.block_on(work)
}

fn serving() -> Result<runtime::Runtime, Failure> {
    built(
        runtime::Builder::new_multi_thread()
            .worker_threads(SERVE_THREADS)
            .enable_all(),
    )
}

fn built(builder: &mut runtime::Builder) -> Result<runtime::Runtime, Failure> {
    builder.build().map_err(|error| Failure {
        message: format!("cannot start the asynchronous runtime: {error}"),
        help: Some("check the limits on open files and threads (ulimit -n, ulimit -u)".to_owned()),
    })
}

#[cfg(test)]
mod tests;
