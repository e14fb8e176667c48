//! Annotations, by the grammar that GitHub documents for workflow commands and the runner's own rules of unescaping:
//! `::name key=value,key=value::message`.

use std::collections::BTreeMap;

use super::{broken_fleet, validated};

struct Annotation {
    command: String,
    properties: BTreeMap<String, String>,
    message: String,
}

fn message_of(text: &str) -> String {
    text.replace("%0D", "\r")
        .replace("%0A", "\n")
        .replace("%25", "%")
}

fn property_of(text: &str) -> String {
    let text = text.replace("%3A", ":").replace("%2C", ",");
    message_of(&text)
}

fn parse(line: &str) -> Option<Annotation> {
    let (head, message) = line.strip_prefix("::")?.split_once("::")?;
    let (command, properties) = head.split_once(' ')?;
    let mut all = BTreeMap::new();
    for property in properties.split(',') {
        let (key, value) = property.split_once('=')?;
        all.insert(key.to_owned(), property_of(value));
    }
    Some(Annotation {
        command: command.to_owned(),
        properties: all,
        message: message_of(message),
    })
}

#[test]
fn each_problem_is_an_annotation_at_its_place() {
    let dir = broken_fleet();
    let (text, all) = validated(dir.path(), "github");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), all.len(), "{text}");
    for (line, problem) in lines.iter().zip(&all) {
        let found = parse(line).unwrap_or_else(|| panic!("no annotation: {line}"));
        assert_eq!(
            found.command,
            problem["severity"].as_str().expect("a severity")
        );
        let place = &problem["place"];
        assert_eq!(
            found.properties["file"],
            place["path"].as_str().expect("a path")
        );
        for (key, of) in [("line", "line"), ("col", "column")] {
            assert_eq!(found.properties[key], place[of].to_string(), "{line}");
        }
        let known = ["file", "line", "endLine", "col", "endColumn", "title"];
        assert!(
            found
                .properties
                .keys()
                .all(|key| known.contains(&key.as_str())),
            "{line}"
        );
        let message = problem["message"].as_str().expect("a message");
        if !message.contains(char::is_control) {
            assert!(found.message.contains(message), "{line}\nlacks\n{message}");
        }
    }
}
