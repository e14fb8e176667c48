//! Diagnostics as a `JUnit` report: a file is a test case, and what is wrong with it its failure.

use std::collections::BTreeMap;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::face::text::neutral;
use crate::words::diagnostic::Diagnostic;

/// One suite. `sound` are files that nothing is wrong with.
pub fn render(diagnostics: &[Diagnostic], sound: &[String]) -> String {
    let mut files: BTreeMap<&str, Vec<&Diagnostic>> = BTreeMap::new();
    for path in sound {
        files.entry(path).or_default();
    }
    for diagnostic in diagnostics {
        let of = files.entry(&diagnostic.place.path).or_default();
        of.push(diagnostic);
    }
    let fails = |all: &&Vec<&Diagnostic>| all.iter().any(|d| d.is_error());
    let failures = files.values().filter(fails).count();
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    let written = (|| {
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        writer
            .create_element("testsuites")
            .write_inner_content(|writer| suite(writer, &files, failures))?;
        Ok::<_, std::io::Error>(())
    })();
    written.expect("a Vec takes whatever is written");
    let text = String::from_utf8(writer.into_inner());
    text.expect("text was written") + "\n"
}

fn suite(
    writer: &mut Writer<Vec<u8>>,
    files: &BTreeMap<&str, Vec<&Diagnostic>>,
    failures: usize,
) -> std::io::Result<()> {
    let suite = writer
        .create_element("testsuite")
        .with_attribute(("name", "instanced validate"))
        .with_attribute(("tests", files.len().to_string().as_str()))
        .with_attribute(("failures", failures.to_string().as_str()))
        .with_attribute(("errors", "0"));
    suite.write_inner_content(|writer| {
        files
            .iter()
            .try_for_each(|(path, all)| case(writer, path, all))
    })?;
    Ok(())
}

fn case(writer: &mut Writer<Vec<u8>>, path: &str, all: &[&Diagnostic]) -> std::io::Result<()> {
    let path = neutral(path);
    let element = writer
        .create_element("testcase")
        .with_attribute(("classname", "instanced.validate"))
        .with_attribute(("name", path.as_ref()));
    if all.is_empty() {
        element.write_empty()?;
        return Ok(());
    }
    let (errors, others): (Vec<&Diagnostic>, Vec<&Diagnostic>) =
        all.iter().partition(|diagnostic| diagnostic.is_error());
    element.write_inner_content(|writer| {
        // One of each at most: that is as much as every reader takes.
        if let Some(first) = errors.first() {
            let message = super::sentence(first);
            let failure = writer.create_element("failure");
            let failure = failure.with_attribute(("message", message.as_str()));
            failure.write_text_content(BytesText::new(&lines(&errors)))?;
        }
        if !others.is_empty() {
            let out = writer.create_element("system-out");
            out.write_text_content(BytesText::new(&lines(&others)))?;
        }
        Ok(())
    })?;
    Ok(())
}

fn lines(all: &[&Diagnostic]) -> String {
    let line = |diagnostic: &&Diagnostic| neutral(&diagnostic.to_string()).into_owned();
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}
