//! Files that nobody wrote. `INSTANCED_FUZZ_CASES=100000 cargo test --release --test hostile fuzz` plays more.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::lab::hold_promises;

/// Of each kind.
const CASES: u32 = 600;

/// What manifests are made of, and what YAML has beside.
const PIECES: &[&str] = &[
    "template",
    "owner",
    "state",
    "image",
    "entrypoint",
    "command",
    "env",
    "secrets",
    "screen",
    "resources",
    "endpoints",
    "vnc",
    "health",
    "restart",
    "replace",
    "pull",
    "volumes",
    "security",
    "labels",
    "tokens",
    "protect",
    "defaults",
    "templates",
    "required_env",
    "description",
    "password",
    "from_file",
    "from_env",
    "width",
    "memory",
    "cpus",
    "pids",
    "port",
    "path",
    "auth",
    "expect",
    "interval",
    "name",
    "host",
    "target",
    "user",
    "cap_add",
    "tmpfs",
    "label",
    "hash",
    "expires",
    "mcp",
    "running",
    "1GiB",
    "0.5",
    "-1",
    "1e999",
    ".nan",
    ".inf",
    "0x10",
    "0o7",
    "007",
    "99999999999999999999",
    "2027-01-01",
    "10s",
    "true",
    "null",
    "~",
    "yes",
    "''",
    "\"\"",
    "\"\\u0000\"",
    "\"\\uFFFE\"",
    "\"\\x1b[31m\"",
    "'it''s'",
    "\"a\\\nb\"",
    "ü",
    "\u{202e}",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\u{1f600}",
    "]]>",
    "&amp;",
    "%0A",
    "::error::",
    "/",
    "/x",
    "/x/../y",
    "a@b",
    "x:1",
    "x@sha256:0",
    "<<",
    "&a",
    "*a",
    "&b",
    "*b",
    "!t",
    "!!str",
    "!!binary",
    "!<x>",
    "? ",
    ": ",
    ":",
    "- ",
    "-",
    "|",
    "|2",
    ">-",
    "|+",
    "%TAG ! x",
    "%YAML 1.1",
    "---",
    "...",
    "--- ",
    "#",
    " #",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "`",
    "@",
    "\\",
    "\t",
    "\n",
    "\n  ",
    "\n    ",
    "\r\n",
    "\r",
    " ",
    "  ",
    "\n- ",
    "\n---\n",
    "\n...\n",
    "=",
];

/// Sound manifests, and a fleet's file.
const SOUND: &[&str] = &[
    "{}",
    "owner: alice@example.com\nprotect: true\nstate: stopped\n",
    "image: acme/x:1\nentrypoint: [/x]\ncommand: [a, b]\nenv:\n  A: text\n  B: 1\n  C: |\n    several\n    lines\n",
    "resources: &r { memory: 1GiB, cpus: 1.5, pids: 512 }\nlabels:\n  <<: &l { team: qa }\n  tier: 2\n",
    "endpoints:\n  mcp: { port: 8080, path: /mcp, auth: bearer }\n  vnc: null\nhealth:\n  expect: 200-499\n  interval: 10s\n",
    "volumes:\n- name: profile\n  target: /home/mcp/profile\n- { name: x, target: /x, read_only: true }\nsecurity: { user: \"1000\", tmpfs: { /tmp: 256MiB } }\n",
    "tokens:\n- label: ci\n  hash: \"blake3:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n  expires: 2027-01-01\n",
    "defaults: { template: m, env: { A: b } }\ntemplates:\n  m:\n    image: m:1\n    required_env: [A]\n    endpoints: { mcp: { port: 1 } }\n",
];

/// One change of a text.
#[derive(Debug, Clone)]
enum Change {
    Cut(Index, usize),
    Put(Index, &'static str),
    Byte(Index, u8),
    Again(Index, usize, Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), 1..12_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<Index>(), select(PIECES)).prop_map(|(at, piece)| Change::Put(at, piece)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (any::<Index>(), 1..60_usize, any::<Index>())
            .prop_map(|(from, length, to)| Change::Again(from, length, to)),
    ]
}

fn changed(text: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for change in changes {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match change {
            Change::Cut(at, length) => {
                let at = place(at, &bytes);
                let end = bytes.len().min(at + length);
                bytes.drain(at..end);
            }
            Change::Put(at, piece) => {
                let at = place(at, &bytes);
                bytes.splice(at..at, piece.bytes());
            }
            Change::Byte(at, byte) => {
                let at = place(at, &bytes);
                bytes.insert(at, *byte);
            }
            Change::Again(from, length, to) => {
                let from = place(from, &bytes);
                let again = bytes[from..bytes.len().min(from + length)].to_vec();
                let to = place(to, &bytes);
                bytes.splice(to..to, again);
            }
        }
    }
    bytes
}

/// A tree as YAML may write it, in block and in flow.
#[derive(Debug, Clone)]
enum Tree {
    Leaf(&'static str),
    List(bool, Vec<Tree>),
    Map(bool, Vec<(&'static str, Tree)>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = select(PIECES).prop_map(Tree::Leaf);
    leaf.prop_recursive(6, 48, 6, |below| {
        let pairs = vec((select(PIECES), below.clone()), 0..6);
        prop_oneof![
            1 => (any::<bool>(), vec(below, 0..4)).prop_map(|(flow, items)| Tree::List(flow, items)),
            3 => (any::<bool>(), pairs).prop_map(|(flow, pairs)| Tree::Map(flow, pairs)),
        ]
    })
}

fn write(tree: &Tree, indent: usize, in_flow: bool, text: &mut String) {
    let pad = " ".repeat(indent);
    match tree {
        Tree::Leaf(piece) => text.push_str(piece),
        Tree::List(flow, items) if *flow || in_flow => {
            text.push('[');
            for item in items {
                write(item, indent, true, text);
                text.push_str(", ");
            }
            text.push(']');
        }
        Tree::Map(flow, pairs) if *flow || in_flow => {
            text.push('{');
            for (key, value) in pairs {
                text.extend([key, ": "]);
                write(value, indent, true, text);
                text.push_str(", ");
            }
            text.push('}');
        }
        Tree::List(_, items) => {
            for item in items {
                text.extend(["\n", &pad, "- "]);
                write(item, indent + 2, false, text);
            }
        }
        Tree::Map(_, pairs) => {
            for (key, value) in pairs {
                text.extend(["\n", &pad, key, ": "]);
                write(value, indent + 2, false, text);
            }
        }
    }
}

fn cases() -> ProptestConfig {
    let wished = std::env::var("INSTANCED_FUZZ_CASES").ok();
    ProptestConfig {
        cases: wished.map_or(CASES, |cases| cases.parse().expect("a number of cases")),
        // A failure prints its input; nothing is written into the source tree.
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_bytes_keep_the_promises(bytes in vec(any::<u8>(), 0..400)) {
        hold_promises(&bytes);
    }

    #[test]
    fn any_pieces_keep_the_promises(pieces in vec(select(PIECES), 0..80)) {
        hold_promises(pieces.concat().as_bytes());
    }

    #[test]
    fn a_changed_manifest_keeps_the_promises(text in select(SOUND), changes in vec(change(), 1..8)) {
        hold_promises(&changed(text, &changes));
    }

    #[test]
    fn any_tree_keeps_the_promises(tree in tree()) {
        let mut text = String::new();
        write(&tree, 0, false, &mut text);
        hold_promises(text.as_bytes());
    }
}

#[test]
fn what_is_changed_was_sound() {
    for text in &SOUND[..SOUND.len() - 1] {
        let said = super::lab::said(text.as_bytes());
        assert!(
            // Another image on the default template: its screen may ask for no password.
            said.iter().all(
                |line| line.contains("no fixed version") || line.contains("endpoints.vnc.auth")
            ),
            "{text}: {said:#?}"
        );
    }
}
