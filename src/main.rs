//! The program. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    instanced::face::cli::run(std::env::args_os()).into()
}
