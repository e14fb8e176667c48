//! `instanced schema`: JSON Schema of the files that people write.

use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::words::schema::{Kind, schema};

/// Print the JSON Schema of what you write and CI reads, for editors and programs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced schema > manifest.schema.json   for instances.d/*.yaml
  instanced schema config                   for instanced.yaml

An editor with a YAML language server completes keys and shows what they mean when a file begins with
  # yaml-language-server: $schema=manifest.schema.json")]
pub(super) struct Args {
    /// Of what
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Of {
    /// instances.d/NAME.yaml
    #[default]
    Manifest,
    /// fleet.yaml
    Fleet,
    /// instanced.yaml
    Config,
    /// What `validate --format json` says
    Validation,
}

/// Runs it.
pub(super) fn run(args: &Args, out: &mut Output) -> Exit {
    let kind = match args.of {
        Of::Manifest => Kind::Manifest,
        Of::Fleet => Kind::Fleet,
        Of::Config => Kind::Config,
        Of::Validation => Kind::Validation,
    };
    out.json(&schema(kind));
    Exit::Done
}
