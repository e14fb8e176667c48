//! `instanced init`: a starter configuration, and manifests to go on from.

use std::path::{Path, PathBuf};

use super::site;
use crate::decisions::report::Failure;
use crate::doors::files::create_text;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::words::schema::{Kind, schema};

/// Write a starter instanced.yaml, fleet.yaml and instances.d/, with schemas for an editor
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  instanced init           here
  instanced init fleet     in a directory, made if it is not there

A file that is there already is left as it is.")]
pub(super) struct Args {
    /// Where to
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// What is written, by path.
fn files() -> [(&'static str, String); 6] {
    let schema = |kind| {
        let text = serde_json::to_string_pretty(&schema(kind));
        text.expect("a schema has string keys only") + "\n"
    };
    [
        (
            "instanced.yaml",
            include_str!("init/instanced.yaml").to_owned(),
        ),
        ("fleet.yaml", include_str!("init/fleet.yaml").to_owned()),
        (
            "instances.d/example.yaml",
            include_str!("init/example.yaml").to_owned(),
        ),
        (".instanced/config.schema.json", schema(Kind::Config)),
        (".instanced/fleet.schema.json", schema(Kind::Fleet)),
        (".instanced/manifest.schema.json", schema(Kind::Manifest)),
    ]
}

/// Runs it.
pub(super) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let (mut made, mut kept) = (Vec::new(), Vec::new());
    for (path, text) in files() {
        let path = args.dir.join(path);
        let created = create_text(&path, &text).map_err(|error| Failure {
            message: format!("cannot write {}: {error}", path.display()),
            help: Some("name a directory that you may write in".to_owned()),
        })?;
        if created { &mut made } else { &mut kept }.push(shown(&path));
    }
    if out.is_json() {
        out.json(&serde_json::json!({ "created": made, "kept": kept }));
        return Ok(Exit::Done);
    }
    for path in &made {
        out.result(format_args!("created {path}"));
    }
    for path in &kept {
        out.result(format_args!("kept    {path}"));
    }
    if !made.is_empty() {
        out.say("");
        out.say(format_args!("Next: {}", next(&args.dir)));
    }
    Ok(Exit::Done)
}

fn shown(path: &Path) -> String {
    let path = path.strip_prefix(".").unwrap_or(path);
    path.display().to_string()
}

fn next(dir: &Path) -> String {
    let go = if dir == Path::new(".") {
        String::new()
    } else {
        format!("cd {} && ", site::quoted(dir))
    };
    format!("{go}instanced validate && instanced reconcile --dry-run")
}
