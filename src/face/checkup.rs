//! How a checkup looks: a line a finding, and what to do where there is something to do.

use serde_json::{Value, json};

use super::style::{Label, paint};
use super::text::Lines;
use super::words::count;
use crate::decisions::checkup::{Finding, Grade};

const GRADE_WIDTH: usize = 9;
const AREA_WIDTH: usize = 15;

/// For a person.
pub fn draw(findings: &[Finding]) -> Lines {
    let mut drawn = Lines::new();
    let mut last = None;
    for finding in findings {
        let (word, label) = word(finding.grade);
        // Several findings about one thing are told below its name.
        let area = if last == Some(finding.check) {
            ""
        } else {
            finding.check.name()
        };
        last = Some(finding.check);
        let (word, area) = (
            paint(label, format!("{word:GRADE_WIDTH$}")),
            paint(Label::Subject, format!("{area:AREA_WIDTH$}")),
        );
        drawn.line(format_args!("{word}{area}{}", finding.found));
        if let Some(help) = &finding.help {
            let indent = GRADE_WIDTH + AREA_WIDTH;
            let help = format!("{} {help}", paint(Label::Help, "help:"));
            drawn.line(format_args!("{:indent$}{help}", ""));
        }
    }
    drawn.blank();
    drawn.line(summary(findings));
    drawn
}

fn word(grade: Grade) -> (&'static str, Label) {
    match grade {
        Grade::Ok => ("ok", Label::Good),
        Grade::Note => ("note", Label::Help),
        Grade::Warning => ("warning", Label::Warning),
        Grade::Problem => ("problem", Label::Error),
    }
}

fn summary(findings: &[Finding]) -> String {
    let number = |grade| findings.iter().filter(|one| one.grade == grade).count();
    match (number(Grade::Problem), number(Grade::Warning)) {
        (0, 0) => paint(Label::Good, "All is well.").to_string(),
        (0, warnings) => {
            let warnings = count(warnings, "warning");
            format!("It works; {}.", paint(Label::Warning, warnings))
        }
        (problems, warnings) => {
            let problems = paint(Label::Error, count(problems, "problem"));
            match warnings {
                0 => format!("{problems}."),
                _ => format!(
                    "{problems}, {}.",
                    paint(Label::Warning, count(warnings, "warning"))
                ),
            }
        }
    }
}

/// For a program.
pub fn json(findings: &[Finding]) -> Value {
    let number = |grade| findings.iter().filter(|one| one.grade == grade).count();
    json!({
        "checks": findings,
        "problems": number(Grade::Problem),
        "warnings": number(Grade::Warning),
    })
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::decisions::checkup::Area;

    #[test]
    fn one_where_all_is_well_and_one_where_it_is_not() {
        let well = [
            Area::Configuration.ok("instanced.yaml"),
            Area::Engine.ok("Docker 20.10.24, API 1.41, overlay2, cgroup 2"),
        ];
        assert_snapshot!("a_checkup_where_all_is_well", draw(&well).plain());
        let ill = [
            Area::Configuration.ok("no file; every key has its default"),
            Area::Engine.problem("connect to the container engine: no such file", "start it"),
            Area::Permissions.warning("everybody can read /a (mode 0644)", "chmod 0600 /a"),
            Area::Permissions.problem("user 7 cannot read /b", "chown 7 /b"),
            Area::Domain.note(
                "this host cannot resolve mcp-x.a",
                "clients must be able to",
            ),
        ];
        assert_snapshot!("a_checkup_where_it_is_not", draw(&ill).plain());
        let ill = json(&ill);
        assert_eq!((&ill["problems"], &ill["warnings"]), (&json!(2), &json!(1)));
        assert_eq!(ill["checks"][1]["check"], "engine");
        assert_eq!(ill["checks"][0].get("help"), None);
    }
}
