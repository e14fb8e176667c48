use clap::CommandFactory;
use insta::assert_snapshot;

use super::{Cli, Exit, exit_of};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    super::parse(line.split(' ').map(Into::into))
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_first_help_page() {
    assert_snapshot!(Cli::command().render_help());
}

#[test]
fn every_command_has_an_example() {
    fn check(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string);
        let is_leaf_of_template = ["list", "show"].contains(&command.get_name());
        assert!(
            is_leaf_of_template || help.is_some_and(|text| text.contains("Example")),
            "{}",
            command.get_name()
        );
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

#[test]
fn a_wrong_command_line_is_usage_and_help_is_an_answer() {
    for wrong in [
        "instanced",
        "instanced vali",
        "instanced status Alice",
        "instanced reconcile --detailed-exitcode",
        "instanced reconcile --dry-run --confirm-prune x",
        "instanced reconcile --observed x.json",
        "instanced reconcile --observed x.json --plan y.json",
        "instanced reconcile --out x.json --plan y.json",
        "instanced token issue alice",
        "instanced token issue alice --label x --expires soon",
        "instanced token issue alice --label x --endpoint No_Name",
        "instanced token rotate",
        "instanced token rotate k3v9x0qa --overlap soon",
        "instanced token revoke",
        "instanced status --format sarif",
        "instanced validate --format markdown",
        "instanced reconcile --dry-run --timeout 1m",
        "instanced reconcile --no-wait --timeout 1m",
        "instanced diff",
        "instanced --format xml validate",
    ] {
        let error = parse(wrong).expect_err(wrong);
        assert_eq!(exit_of(&error), Exit::Usage, "{wrong}");
    }
    for answer in [
        "instanced --help",
        "instanced --version",
        "instanced token issue --help",
    ] {
        let error = parse(answer).expect_err(answer);
        assert_eq!(exit_of(&error), Exit::Done, "{answer}");
    }
}

#[test]
fn global_options_may_stand_anywhere() {
    for line in [
        "instanced --format json status alice",
        "instanced status --format json alice",
        "instanced token list --state /tmp/x -vv",
        "instanced token issue alice --label x --endpoint mcp --endpoint sse",
        "instanced token rotate k3v9x0qa --overlap 0s --expires 90d",
        "instanced validate --format junit --strict",
        "instanced diff --base x --format markdown",
        "instanced reconcile --dry-run --observed x.json --detailed-exitcode --out y.json alice",
        "instanced snapshot --out x.json",
        "instanced reconcile --timeout 30s alice",
        "instanced reconcile --no-wait",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
}

#[test]
fn the_readme_names_every_command() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let table: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| `instanced "))
        .collect();
    for command in Cli::command()
        .get_subcommands()
        .filter(|one| !one.is_hide_set())
    {
        let named = format!("`instanced {}", command.get_name());
        let has = |line: &&str| {
            line.match_indices(&named)
                .any(|(at, _)| line[at + named.len()..].starts_with([' ', '`']))
        };
        assert!(table.iter().any(has), "{named}` is missing");
    }
}
