//! Any document keeps what it says.

use super::*;

/// A document of JSON in pieces: what it says, and how somebody wrote it.
#[derive(Debug, Clone)]
enum Piece {
    Leaf(&'static str),
    List(Vec<(&'static str, Piece)>, bool),
    Map(Vec<(&'static str, &'static str, Piece)>, bool),
}

const TRIVIA: [&str; 8] = [
    "",
    " ",
    "\n",
    "\n\t",
    " /* \"{ a */ ",
    " // b }\n",
    "\n    // c,\n    ",
    "\n\n",
];
const KEYS: [&str; 7] = [
    "mcpServers",
    "servers",
    "inputs",
    "bob",
    "ü \\\"x",
    "// no",
    "url",
];
const LEAVES: [&str; 7] = [
    "null",
    "true",
    "-1.5e3",
    "\"\"",
    "\"/* no */\"",
    "\"\\u00e4, }\"",
    "12345678901234567890",
];

fn piece() -> impl Strategy<Value = Piece> {
    let trivia = || prop::sample::select(TRIVIA.as_slice());
    let leaf = prop::sample::select(LEAVES.as_slice()).prop_map(Piece::Leaf);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let list = prop::collection::vec((trivia(), inner.clone()), 0..4);
        let key = prop::sample::select(KEYS.as_slice());
        let map = prop::collection::vec((trivia(), key, inner), 0..5);
        prop_oneof![
            (list, any::<bool>()).prop_map(|(all, comma)| Piece::List(all, comma)),
            (map, any::<bool>()).prop_map(|(mut all, comma)| {
                all.sort_by_key(|(_, key, _)| *key);
                all.dedup_by_key(|(_, key, _)| *key);
                Piece::Map(all, comma)
            }),
        ]
    })
}

impl Piece {
    /// As somebody wrote it.
    fn written(&self) -> String {
        let end = |comma: &bool, is_empty: bool| if *comma && !is_empty { "," } else { "" };
        match self {
            Self::Leaf(leaf) => (*leaf).to_owned(),
            Self::List(all, comma) => {
                let parts: Vec<_> = all
                    .iter()
                    .map(|(t, piece)| format!("{t}{}{t}", piece.written()))
                    .collect();
                format!("[{}{}]", parts.join(","), end(comma, all.is_empty()))
            }
            Self::Map(all, comma) => {
                let pair = |(t, key, piece): &(&str, &str, Self)| {
                    format!("{t}\"{key}\":{t}{}{t}", piece.written())
                };
                let parts: Vec<_> = all.iter().map(pair).collect();
                format!("{{{}{}}}", parts.join(","), end(comma, all.is_empty()))
            }
        }
    }
}

/// The same without comments and trailing commas, by a reader that knows nothing but strings.
fn strict(text: &str) -> Value {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").expect("it ends") + 2
        } else if c == '"' {
            let mut length = 1;
            while !rest[length..].starts_with('"') {
                length += if rest[length..].starts_with('\\') {
                    2
                } else {
                    1
                };
                while !rest.is_char_boundary(length) {
                    length += 1;
                }
            }
            plain += &rest[..=length];
            length + 1
        } else {
            if "]}".contains(c) && plain.trim_end().ends_with(',') {
                plain.truncate(plain.trim_end().len() - 1);
            }
            plain.push(c);
            c.len_utf8()
        };
        rest = &rest[length..];
    }
    serde_json::from_str(&plain).unwrap_or_else(|error| panic!("{error}: {plain}\nfrom\n{text}"))
}

fn comments(text: &str) -> usize {
    ["/* \"{ a */", "// b }", "// c,"]
        .iter()
        .map(|comment| text.matches(comment).count())
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_document_keeps_what_it_says_and_its_comments(piece in piece(), asks in any::<bool>()) {
        let client = if asks { Client::Vscode } else { Client::Cursor };
        let wanted = wanted(client, &alice(), Secret::Referred).unwrap();
        let before = piece.written();
        let says = strict(&before);
        let is_fit = says.as_object().is_some_and(|top| {
            let fits = |key, is: fn(&Value) -> bool| {
                top.get(key).is_none_or(|found| is(found) || found.is_null())
            };
            fits(wanted.key, Value::is_object) && (!asks || fits("inputs", Value::is_array))
        });
        let after = client.put(&before, &wanted);
        prop_assert_eq!(after.is_ok(), is_fit, "{:?}", after);
        let Ok(after) = after else { return Ok(()) };
        let mut expected = says.clone();
        expected[wanted.key]["alice"] = wanted.servers[0].1.to_json();
        if asks {
            if !expected["inputs"].is_array() {
                expected["inputs"] = json!([]);
            }
            expected["inputs"].as_array_mut().unwrap().push(wanted.inputs[0].1.to_json());
        }
        prop_assert_eq!(strict(&after), expected);
        prop_assert_eq!(comments(&after), comments(&before), "{}", &after);
        prop_assert_eq!(client.put(&after, &wanted), Ok(after.clone()));

        let taken = client.take(&after, &wanted).unwrap();
        let mut left = strict(&taken);
        let mut says = says;
        // What had to be made for ours stays, empty; in place of `null`, too.
        for key in [wanted.key, "inputs"] {
            if says.get(key).is_none_or(Value::is_null) && (key != "inputs" || asks) {
                says.as_object_mut().unwrap().remove(key);
                let made = left.as_object_mut().unwrap().remove(key);
                prop_assert!(made == Some(json!({})) || made == Some(json!([])), "{:?}", made);
            }
        }
        prop_assert_eq!(left, says);
        prop_assert_eq!(comments(&taken), comments(&before), "{}", &taken);
    }

    #[test]
    fn any_toml_keeps_its_lines(
        top in prop::collection::vec(prop::sample::select(vec![
            "# first\n", "\n", "a = 1 # one\n", "b.c = [1,\n  2, # two\n]\n", "d = \"\"\"\nx = [\n\"\"\"\n", "e={f=1.5}\n",
        ]), 0..5),
        tables in prop::collection::vec(prop::sample::select(vec![
            "[mcp_servers]\n", "[mcp_servers.bob] # his\nurl = 'b'\n", "[ mcp_servers . \"c d\" ]\n", "[tui]\n# in it\nx = 1979-05-27\n",
            "[[profiles]]\nn = 1\n", "[mcp_servers.bob.env]\nA = \"1\"\n", "\n# alone\n",
        ]), 0..6),
        ends in any::<bool>(),
    ) {
        let distinct = |mut all: Vec<&'static str>, may_repeat: &[&str]| {
            let mut seen = Vec::new();
            all.retain(|one| may_repeat.contains(one) || !seen.contains(one) && { seen.push(*one); true });
            all.concat()
        };
        let mut before = distinct(top, &["# first\n", "\n"]) + &distinct(tables, &["[[profiles]]\nn = 1\n", "\n# alone\n"]);
        if !ends {
            before.truncate(before.trim_end().len());
        }
        let client = Client::Codex;
        let wanted = wanted(client, &alice(), Secret::Referred).unwrap();
        let after = match client.put(&before, &wanted) {
            Ok(after) => after,
            Err(refused) => {
                // Some mixtures are no TOML.
                prop_assert_ne!(refused, Refused::unsafe_edit(), "{}", before);
                return Ok(());
            }
        };
        let mut rest = after.as_str();
        let mut lines: Vec<_> = before.lines().collect();
        lines.retain(|line| !line.is_empty());
        for line in &lines {
            prop_assert!(rest.contains(line), "{line} is gone or moved in\n{after}");
            rest = &rest[rest.find(line).unwrap() + line.len()..];
        }
        prop_assert_eq!(client.put(&after, &wanted), Ok(after.clone()));
        match client.take(&after, &wanted) {
            Ok(taken) => prop_assert_eq!(taken.trim_end(), before.trim_end()),
            // One header with spaces in it, and another without, are not written again as they were.
            Err(refused) => {
                prop_assert_eq!(refused, Refused::unsafe_edit());
                prop_assert!(before.contains("[ mcp_servers . "), "{}", before);
            }
        }
    }
}
