//! docs/runbook.md does what it says: every command of every block is run, by a shell, in a directory as an operator has
//! it, on a real engine; its exit code must be the one that is told (`# exits with 3`, else 0), and what it prints must be
//! what the page shows. Where a section needs more than a fresh fleet of two, it says so in a comment that no reader sees:
//!
//! ```text
//! <!-- test: serve
//! manifest carol '{}'
//! -->
//! ```
//!
//! `serve` starts the daemon and waits until it is ready, `end` ends it; all else is for the shell (tests/runbook/prelude.sh).
//! A section begins with a directory of its own, and no daemon.

#[path = "runbook/lab.rs"]
mod lab;
#[path = "runbook/page.rs"]
mod page;

use std::collections::BTreeSet;
use std::fs;

use lab::{BINARY, Lab, REPOSITORY};
use page::{Command, Item, Section};

/// What is shown and not run, with the reason. Each must be on the page.
const NOT_RUN: &[(&str, &str)] = &[
    (
        "sudo systemctl enable --now instanced.socket instanced.service",
        "there is no systemd as the first process: tests/packaging.rs holds the units to what systemd says of them",
    ),
    (
        "journalctl -u instanced -n 50",
        "the same: what the daemon logs is looked at in the sections themselves",
    ),
    (
        "sudo instanced doctor",
        "all is well only with a Traefik in front: tests/traefik asks it there",
    ),
];

fn page() -> Vec<Section> {
    let path = format!("{REPOSITORY}/docs/runbook.md");
    page::sections(&fs::read_to_string(path).expect("the runbook"))
}

fn commands(sections: &[Section]) -> impl Iterator<Item = &Command> {
    let items = sections.iter().flat_map(|section| &section.items);
    items.flat_map(|item| match item {
        Item::Block(commands) => commands.as_slice(),
        Item::Setup(_) => &[],
    })
}

fn reason_not_to_run(command: &Command) -> Option<&'static str> {
    let found = NOT_RUN.iter().find(|(shown, _)| *shown == command.text);
    found.map(|(_, reason)| *reason)
}

/// One section on a lab of its own; what went wrong.
fn play(section: &Section) -> Result<usize, String> {
    let mut lab = Lab::open(&section.heading);
    let mut run = 0;
    for item in &section.items {
        match item {
            Item::Setup(lines) => lab.prepare(lines)?,
            Item::Block(commands) => {
                for command in commands {
                    if reason_not_to_run(command).is_none() {
                        lab.run(command)?;
                        run += 1;
                    }
                }
            }
        }
    }
    Ok(run)
}

#[test]
fn every_command_does_what_the_page_shows() {
    lab::require();
    let sections = page();
    let only = std::env::var("INSTANCED_RUNBOOK").ok();
    let chosen = |section: &&Section| {
        only.as_ref()
            .is_none_or(|only| section.heading.contains(only.as_str()))
    };
    let queue = std::sync::Mutex::new(sections.iter().filter(chosen));
    let results = std::sync::Mutex::new(Vec::new());
    // Almost all of it is waiting.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(section) = queue.lock().expect("no panic in it").next() else {
                        return;
                    };
                    let result = play(section);
                    results
                        .lock()
                        .expect("no panic in it")
                        .push((section, result));
                }
            });
        }
    });
    let results = results.into_inner().expect("no panic in it");
    let wrong: Vec<String> = results
        .iter()
        .filter_map(|(section, result)| {
            let why = result.as_ref().err()?;
            Some(format!("## {}\n{why}", section.heading))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let run: usize = results
        .iter()
        .filter_map(|(_, result)| result.as_ref().ok())
        .sum();
    if only.is_none() {
        let to_run = commands(&sections).filter(|command| reason_not_to_run(command).is_none());
        assert_eq!(run, to_run.count());
        assert!(run > 50, "only {run} commands were found");
    }
}

#[test]
fn what_is_not_run_is_on_the_page() {
    let sections = page();
    for (shown, _) in NOT_RUN {
        let is_shown = commands(&sections).any(|command| command.text == *shown);
        assert!(is_shown, "{shown}");
    }
}

/// `instanced` and its arguments in running text and tables, here and in what alerts say to type.
fn mentioned() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let runbook = fs::read_to_string(format!("{REPOSITORY}/docs/runbook.md")).expect("the runbook");
    for part in page::prose(&runbook).split('`').skip(1).step_by(2) {
        if part.starts_with("instanced ") {
            found.insert(part.to_owned());
        }
    }
    for (_, annotations) in alerts() {
        let text = annotations["description"].as_str().expect("a description");
        if let Some((_, typed)) = text.split_once("Type: ") {
            for command in typed.split("; ") {
                let end = command.find([',', '.', '\n']).unwrap_or(command.len());
                if command.starts_with("instanced ") {
                    found.insert(command[..end].trim().to_owned());
                }
            }
        }
    }
    found
}

fn alerts() -> Vec<(String, serde_json::Value)> {
    let text = fs::read_to_string(format!("{REPOSITORY}/examples/observability/rules.yml"));
    let rules: serde_json::Value = serde_yaml::from_str(&text.expect("rules")).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
    rules
        .filter_map(|rule| {
            Some((
                rule["alert"].as_str()?.to_owned(),
                rule["annotations"].clone(),
            ))
        })
        .collect()
}

#[test]
fn commands_that_are_named_in_passing_exist_with_their_options() {
    let mentioned = mentioned();
    assert!(mentioned.len() > 15, "only {mentioned:?}");
    for line in mentioned {
        // With --help nothing is done, but what comes before it must be known.
        let script = line
            .replacen("instanced", "\"$0\"", 1)
            .replace("NAME", "alice");
        let said = std::process::Command::new("sh")
            .args(["-c", &format!("{script} --help"), BINARY])
            .output()
            .expect("a shell");
        let told = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{line}: {told}");
    }
}

#[test]
fn each_alert_leads_to_a_section() {
    let anchors: BTreeSet<String> = page().iter().map(|s| page::anchor(&s.heading)).collect();
    let alerts = alerts();
    assert!(alerts.len() > 10);
    for (name, annotations) in alerts {
        let url = annotations["runbook_url"].as_str();
        let url = url.unwrap_or_else(|| panic!("{name} has no runbook_url"));
        let (page, anchor) = url
            .split_once('#')
            .unwrap_or_else(|| panic!("{name}: {url}"));
        assert!(page.ends_with("docs/runbook.md"), "{name}: {url}");
        assert!(
            anchors.contains(anchor),
            "{name}: no section #{anchor}: {anchors:?}"
        );
    }
}
