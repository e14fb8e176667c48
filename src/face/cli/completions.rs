//! `instanced completions`: what a shell needs to complete the command line.

use clap_complete::Shell;

use crate::face::output::Output;

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced completions bash > /etc/bash_completion.d/instanced
  instanced completions zsh > ~/.zfunc/_instanced")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

/// Runs it.
pub(super) fn run(args: &Args, command: &mut clap::Command, out: &mut Output) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "instanced", &mut script);
    out.document(&String::from_utf8_lossy(&script));
}
