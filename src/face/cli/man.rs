//! `instanced man`: the manual's pages, made from the command line itself. For whoever packages the program.

use std::fs;
use std::path::{Path, PathBuf};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::decisions::report::Failure;
use crate::face::output::Output;

/// Write the manual's pages
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced man | man -l -       read the first page
  instanced man share/man/man1   write all of them there")]
pub(super) struct Args {
    /// Where to, one file a command; without it, the first page goes to stdout
    dir: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(args: &Args, command: clap::Command, out: &mut Output) -> Result<(), Failure> {
    let mut command = command.styles(clap::builder::Styles::plain());
    command.build();
    let Some(dir) = &args.dir else {
        out.document(page(&command).trim_end());
        return Ok(());
    };
    fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
    write(&command, dir)
}

/// The pages of a command and of all below it.
fn write(command: &clap::Command, dir: &Path) -> Result<(), Failure> {
    let path = dir.join(format!("{}.1", title(command)));
    fs::write(&path, page(command)).map_err(|error| unwritable(&path, &error))?;
    shown(command).try_for_each(|below| write(below, dir))
}

fn shown(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    let below = command.get_subcommands();
    below.filter(|below| !below.is_hide_set())
}

fn title(command: &clap::Command) -> &str {
    let name = command.get_display_name();
    name.unwrap_or_else(|| command.get_name())
}

/// The usual sections, but for the examples, which it would run together into one paragraph.
fn page(command: &clap::Command) -> String {
    let is_program = title(command) == command.get_name();
    let man = Man::new(command.clone())
        .manual("instanced")
        .source(concat!("instanced ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    let made = (|| {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if shown(command).next().is_some() {
            man.render_subcommands_section(&mut page)?;
        }
        after(command).to_writer(&mut page)?;
        if is_program {
            surroundings().to_writer(&mut page)?;
        } else {
            see_also().to_writer(&mut page)?;
        }
        std::io::Result::Ok(())
    })();
    made.expect("memory takes what is written");
    String::from_utf8(page).expect("it is made of text")
}

/// What the help says last: examples as they stand, under its own headings.
fn after(command: &clap::Command) -> Roff {
    let mut roff = Roff::new();
    let text = command.get_after_help().map(ToString::to_string);
    let mut is_example = false;
    let mut is_headed = false;
    for line in text.unwrap_or_default().lines() {
        let indented = line.starts_with(' ');
        if is_example && !indented {
            roff.control("EE", []);
        }
        match line.strip_suffix(':').filter(|line| heads(line)) {
            Some(heading) => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                is_headed = true;
            }
            None if !is_headed => {
                roff.control("SH", ["NOTES"]);
                is_headed = true;
                roff.text([roman(line)]);
            }
            None if indented => {
                if !is_example {
                    roff.control("EX", []);
                }
                roff.text([roman(line)]);
            }
            None if line.is_empty() => {
                roff.control("PP", []);
            }
            None => {
                roff.text([roman(line)]);
            }
        }
        is_example = indented;
    }
    if is_example {
        roff.control("EE", []);
    }
    roff
}

/// Whether a line that ends with a colon is a heading, and no sentence.
fn heads(line: &str) -> bool {
    !line.starts_with(' ') && line.split(' ').count() <= 2
}

/// Where the program keeps and finds things.
fn surroundings() -> Roff {
    let mut roff = Roff::new();
    let mut section = |heading: &str, rows: &[(&str, &str)]| {
        roff.control("SH", [heading]);
        for (name, what) in rows {
            roff.control("TP", []);
            roff.text([bold(*name)]);
            roff.text([roman(*what)]);
        }
    };
    section(
        "FILES",
        &[
            (
                "/etc/instanced/instanced.yaml",
                "The daemon's configuration, where the directory that a command is run in has none.",
            ),
            (
                "/var/lib/instanced",
                "The daemon's state: its store, and the control socket that commands ask.",
            ),
        ],
    );
    section(
        "ENVIRONMENT",
        &[
            ("INSTANCED_CONFIG", "The configuration, as --config."),
            (
                "DOCKER_HOST",
                "The engine's address, where the configuration names none.",
            ),
            ("NO_COLOR", "No colours."),
            (
                "LISTEN_FDS, NOTIFY_SOCKET",
                "What systemd gives a daemon: sockets that it listens on already, and where to say that it is ready.",
            ),
        ],
    );
    roff
}

fn see_also() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("instanced"), roman("(1)")]);
    roff
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure {
        message: format!("cannot write {}: {error}", path.display()),
        help: Some("name a directory that you may write in".to_owned()),
    }
}
