//! `instanced template`: the templates that come with the program.

use clap::Subcommand;
use serde_json::json;

use crate::decisions::report::Failure;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::table;
use crate::words::template::{self, Template};

/// Show the built-in templates
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  instanced template list
  instanced template show playwright-browser"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them
    List,
    /// Show one, as YAML
    Show {
        /// Its name, perhaps with its version: mcp-http@1
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Runs it.
pub(super) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    match &args.command {
        Command::List if out.is_json() => {
            let all: Vec<_> = template::built_in().iter().map(told).collect();
            out.json(&all);
        }
        Command::List => {
            let row = |t: &Template| vec![t.reference(), t.description.to_owned()];
            let rows: Vec<_> = template::built_in().iter().map(row).collect();
            out.lines(&table::draw(&["TEMPLATE", "DESCRIPTION"], &rows, 0, |_| {
                None
            }));
        }
        Command::Show { name } => {
            let found = template::find(name).ok_or_else(|| unknown(name))?;
            if out.is_json() {
                out.json(&told(found));
            } else {
                out.document(found.text);
            }
        }
    }
    Ok(Exit::Done)
}

fn told(template: &Template) -> serde_json::Value {
    json!({
        "name": template.name,
        "version": template.version,
        "description": template.description,
        "text": template.text,
    })
}

fn unknown(name: &str) -> Failure {
    let all: Vec<String> = template::built_in()
        .iter()
        .map(Template::reference)
        .collect();
    Failure {
        message: format!("there is no built-in template `{name}`"),
        help: Some(format!(
            "there are {}; a fleet's own are in its fleet.yaml",
            all.join(" and ")
        )),
    }
}
