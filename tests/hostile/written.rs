//! YAML as people, editors and generators write it, and what they are told: the place, what is wrong, the way out.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};

use instanced::doors::source::dir;
use instanced::words::config::Config;
use instanced::words::resolve::resolve;

use super::lab::{desired, hold_promises, said};

/// Nothing is said of it.
fn sound(text: &[u8]) -> instanced::words::spec::Spec {
    hold_promises(text);
    assert_eq!(said(text), [] as [String; 0]);
    let mut desired = desired(text);
    std::sync::Arc::unwrap_or_clone(desired.specs.remove("a").expect("a spec"))
}

/// One thing is said of it, and this.
fn told(text: impl AsRef<[u8]>, wanted: &str) {
    hold_promises(text.as_ref());
    assert_eq!(said(text.as_ref()), [format!("i/a.yaml:{wanted}")]);
}

#[test]
fn anchors_are_followed() {
    let spec = sound(b"env: { A: &x 1GiB, B: *x }\nresources: { memory: *x }\n");
    assert_eq!(
        (spec.env["B"].as_str(), spec.resources.memory.0),
        ("1GiB", 1 << 30)
    );
    told(
        "env: *nope\n",
        "1:6: an alias of an anchor that is not defined above it (write `&name` before the value that `*name` \
         repeats, or quote a text that begins with `*`)",
    );
    told(
        "owner: *\n",
        "1:9: an anchor or alias without a name (quote a text that begins with `*` or `&`)",
    );
    // An anchor within itself.
    told(
        "env: &a\n  A: *a\n",
        "2:6: env.A.A.A.A.A.A.A…: nested more than 100 levels deep (no key of ours is; look for a bracket that is \
         not closed, or an alias within its own anchor)",
    );
}

#[test]
fn merge_keys_lay_mappings_under_their_own() {
    let spec = sound(
        b"env: &base { A: base, B: base }\nlabels: &more { B: more, C: more }\n\
          endpoints: { mcp: {} }\nhealth: null\nsecurity: null\n",
    );
    assert_eq!(spec.env["A"], "base");
    let spec = sound(b"labels: &l { A: l, B: l }\nenv: { <<: [{ B: first }, *l], C: own }\n");
    let env: Vec<_> = spec
        .env
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(env, ["A=l", "B=first", "C=own"]);
    // A mistake in what is merged is told where it is written.
    told(
        "env: { <<: [{ A: b }, { B: [] }] }\n",
        "1:25: env.B: found a list, expected a text (such as `B: debug`)",
    );
    let way_out = "(name the anchor of a mapping: `<<: *name`)";
    told(
        "env:\n  <<: 5\n",
        &format!("2:7: env.<<: a merge key takes a mapping, or a list of mappings {way_out}"),
    );
    told(
        "env: &a { A: b }\nlabels:\n  <<: *a\n  <<: *a\n",
        "4:3: labels.<<: `<<` is written twice here, first on line 3 (merge several mappings as a list: `<<: [*one, \
         *other]`)",
    );
}

#[test]
fn texts_of_several_lines_are_read() {
    let spec = sound(
        b"env:\n  A: |\n    one\n    two\n  B: >-\n    one\n    two\n  C: \"one\n    two\"\n  D: one\n    two\n",
    );
    let texts: Vec<_> = spec.env.values().map(String::as_str).collect();
    assert_eq!(texts, ["one\ntwo\n", "one two", "one two", "one two"]);
    told(
        "owner: \"alice\nstate: running\n",
        "2:15: the file ends within a quoted text; it began on line 1 (close the quote)",
    );
    told(
        "owner: | alice\n",
        "1:10: a text of several lines that is not begun as one (write `|` alone behind the key, and the text below \
         it, indented)",
    );
}

#[test]
fn a_byte_order_mark_is_left_out() {
    sound(b"\xef\xbb\xbfowner: Zo\xc3\xab\n");
    told(
        b"\xef\xbb\xbfscreen: { width: 1 }\n",
        "1:18: screen.width: 1 is not from 320 to 7680",
    );
}

#[test]
fn other_encodings_are_told() {
    told(b"\xff\xfe{\0}\0", "1:1: UTF-16 text (save it as UTF-8)");
    told(b"\xfe\xff\0{\0}", "1:1: UTF-16 text (save it as UTF-8)");
    told(
        b"\xff\xfe\0\0{\0\0\0",
        "1:1: UTF-32 text (save it as UTF-8)",
    );
    told(
        b"image: x:1\r\nowner: Zo\xeb\n",
        "2:10: not UTF-8 at byte 21 (line 2) (save it as UTF-8)",
    );
}

#[test]
fn nul_bytes_are_told_with_their_place() {
    let way_out = "(remove it; a file with many of them is UTF-16 or no text: save it as UTF-8)";
    told(
        b"image: x:1\nowner: a\0b\n",
        &format!("2:9: the character U+0000, which YAML does not allow {way_out}"),
    );
    // UTF-16 without its mark.
    told(
        b"{\0}\0",
        &format!("1:2: the character U+0000, which YAML does not allow {way_out}"),
    );
    told(
        b"env: { A: \"\\0\" }\n",
        "1:11: env.A: U+0000, a control character, in `\\u{0}` (remove it; what a container needs of the kind belongs into \
         its image or a secret)",
    );
}

#[test]
fn tabs_that_indent_are_told_and_others_are_fine() {
    sound(b"owner:\talice\t# of qa\nenv: {\tA: b }\n");
    let tab = "a tab in the indentation (YAML indents with spaces, not with tabs)";
    told("screen:\n\twidth: 800\n", &format!("2:1: {tab}"));
    told(
        "screen:\n  depth: 24\n  \twidth: 800\n",
        &format!("3:3: {tab}"),
    );
}

#[test]
fn lines_may_end_as_on_any_system() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["owner: alice", "env:", "  A: |", "    one", "    two", ""].join(end);
        assert_eq!(sound(text.as_bytes()).env["A"], "one\ntwo\n");
        told(
            ["owner: alice", "screen:", "  width: 5", ""].join(end),
            "3:10: screen.width: 5 is not from 320 to 7680",
        );
        told(
            ["owner: alice", "screen:", " - a: b: c", ""].join(end),
            "3:8: a `:` where no key can stand (quote a text that holds `: `; a key of its own begins a line, indented \
             like its neighbours)",
        );
    }
}

#[test]
fn a_key_that_is_written_twice_is_told_with_both_places() {
    let way_out = "(keep one of the two, or put what both say under one)";
    told(
        "owner: a\nstate: running\nowner: b\n",
        &format!("3:1: owner: `owner` is written twice here, first on line 1 {way_out}"),
    );
    told(
        "env:\n  A: 1\n  \"A\": 2\n",
        &format!("3:3: env.A: `A` is written twice here, first on line 2 {way_out}"),
    );
}

/// Each level repeats the one before it nine times.
fn laughs(levels: usize) -> String {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 0..levels {
        let nine = [format!("*a{level}").as_str(); 9].join(",");
        let _ = writeln!(text, "a{0}: &a{0} [{nine}]", level + 1);
    }
    text
}

#[test]
fn aliases_unfold_to_a_bounded_size() {
    let much = "the file's aliases unfold to too much";
    let way_out = |most: usize| {
        format!(
            "(write it with fewer aliases: a file of this length may not unfold to more than {most} bytes)"
        )
    };
    told(
        laughs(30),
        &format!("1:16: a3[5][6][4][3]: {much} {}", way_out(10_616)),
    );
    // Few levels, many aliases: a list of lists, and a long text.
    told(
        format!(
            "a: &a [{}]\nb: [{}]\n",
            "x,".repeat(9_000),
            "*a,".repeat(9_000)
        ),
        &format!("1:4146: b[9][2069]: {much} {}", way_out(184_156)),
    );
    told(
        format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(500_000),
            "*a,".repeat(100_000)
        ),
        &format!("2:14: b[3]: {much} {}", way_out(2_097_152)),
    );
}

#[test]
fn nesting_of_a_hundred_levels_is_read() {
    let lists = format!("env: {}{}\n", "[".repeat(99), "]".repeat(99));
    told(
        lists,
        "1:1: env: found a list, expected a mapping (such as `env: { LOG_LEVEL: debug }`)",
    );
    let block = (0..99).map(|level| format!("{}env:\n", " ".repeat(level)));
    let block = block.collect::<Vec<_>>().concat();
    told(
        block,
        "2:2: env.env: found a mapping, expected a text (such as `env: debug`)",
    );
}

#[test]
fn nesting_of_a_hundred_thousand_levels_ends_soon() {
    let way_out = "nested more than 100 levels deep (no key of ours is; look for a bracket that is not closed, or an \
                   alias within its own anchor)";
    // The parser looks ahead: the place is behind the hundredth.
    for open in ["[", "{a: ", "[{a: "] {
        let text = open.repeat(100_000);
        hold_promises(text.as_bytes());
        let said = said(text.as_bytes());
        assert_eq!(said.len(), 1, "{said:#?}");
        assert!(
            said[0].starts_with("i/a.yaml:1:") && said[0].ends_with(way_out),
            "{said:#?}"
        );
    }
    told(
        "- ".repeat(100_000),
        &format!("1:201: [0][0][0][0][0][0][0][0]…: {way_out}"),
    );
    told(
        "? ".repeat(100_000),
        "1:1: a mapping as a key (a key is a text; is there a `:` too many, or a `?` or a bracket before it?)",
    );
    // What only one of the two parsers takes, before so many brackets that the other would take hours over.
    let text = format!("a: b\n%x\n{}", "{a: ".repeat(100_000));
    hold_promises(text.as_bytes());
    told(
        "%TAG !a! x\n".repeat(60_000),
        "9:1: more than 8 directives (remove the lines that begin with `%`; quote a text that does)",
    );
}

#[test]
fn a_file_of_fifty_megabytes_is_not_read() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("i");
    fs::create_dir(&dir).unwrap();
    File::create(dir.join("a.yaml"))
        .unwrap()
        .set_len(50 << 20)
        .unwrap();
    fs::write(dir.join("b.yaml"), "{}").unwrap();
    let snapshot = dir::read(&dir, "i", &BTreeSet::new()).unwrap();
    let desired = resolve(&snapshot, &Config::default()).unwrap();
    let said: Vec<_> = desired
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        said,
        ["i/a.yaml:1:1: longer than 1048576 bytes (is it the right file? Split it if it is)"]
    );
    assert!(desired.specs.contains_key("b"));
}

#[test]
fn an_empty_file_and_one_of_comments_say_nothing() {
    let way_out =
        "(write `{}` for an instance of the default template; delete the file to remove it)";
    told("", &format!("1:1: the file is empty {way_out}"));
    for nothing in ["# later\n", "\n\n", "---\n", "---\n# later\n...\n", "~\n"] {
        told(nothing, &format!("1:1: the file says nothing {way_out}"));
    }
}

#[test]
fn several_documents_are_told_where_to_cut() {
    let told_at = |text: &str, place: &str| {
        told(
            text,
            &format!(
                "{place}: more than one YAML document in one file (one file describes one instance: cut here, and save \
                 what follows as a file of its own)"
            ),
        );
    };
    told_at("owner: a\n---\nowner: b\n", "2:1");
    told_at(
        "# both\n---\nowner: a\n---\nowner: b\n---\nowner: c\n",
        "4:1",
    );
    told_at("owner: a\n...\nowner: b\n", "3:1");
    told_at("owner: a\n---\n", "2:1");
    told_at("owner: a\n---\n[\n", "2:1");
    sound(b"---\nowner: a\n...\n");
}

#[test]
fn broken_grammar_is_told_in_plain_words() {
    for (text, wanted) in [
        (
            "owner: @me\n",
            "1:8: no value begins with this character (quote a text that begins with it)",
        ),
        (
            "owner: a\nstate\nimage: x\n",
            "3:1: a key without its `:` (write `key: value` with a space after the colon; a text of several lines begins with `|`)",
        ),
        (
            "command: [a, b\nstate: running\n",
            "2:6: the list that began with `[` goes on neither with `,` nor with `]`; it began on line 1 (put a `,` between its items, and close it with `]`)",
        ),
        (
            "env: {A: b\nstate: running\n",
            "2:6: the mapping that began with `{` goes on neither with `,` nor with `}`; it began on line 1 (put a `,` between its keys, a space after each `:`, and close it with `}`)",
        ),
        (
            "owner: \"C:\\Users\"\n",
            "1:13: an escape without its digits (write `\\\\` for a backslash, or put the text into single quotes)",
        ),
        (
            "screen:\n  width: 800\n height: 600\n",
            "3:2: neither a key of the mapping above, nor its end (indent all keys of one mapping alike; quote a text that goes on after its closing quote)",
        ),
        (
            "command: - a\n",
            "1:10: a `-` where no list can begin (begin the list on a line of its own below its key, or quote a text that begins with `- `)",
        ),
        (
            "%YAML 3.0\n---\n{}\n",
            "1:1: another version of YAML (remove the line that begins with %YAML)",
        ),
        (
            "owner: !env X\n",
            "1:13: owner: the tag `!env` means nothing here (remove it, or quote a text that begins with `!`)",
        ),
        (
            "? [a]\n: b\n",
            "1:1: a list as a key (a key is a text; is there a `:` too many, or a `?` or a bracket before it?)",
        ),
        (
            "1: x\n",
            "1:1: 1: the key `1` is no string (quote it: \"1\")",
        ),
        (
            "owner: 99999999999999999999\n",
            "1:8: owner: 99999999999999999999 is no number that fits 64 bits (quote it where a text is meant)",
        ),
        (
            "owner: .inf\n",
            "1:8: owner: not a finite number (write a number, or quote it where a text is meant)",
        ),
    ] {
        told(text, wanted);
    }
}

#[test]
fn a_list_is_no_mapping() {
    told("[mcp-http]\n", "1:1: found a list, expected a mapping");
    told(
        "screen: [800, 600]\n",
        "1:1: screen: found a list, expected a mapping (such as `screen: { width: 1280 }`)",
    );
    told("alice\n", "1:1: found string \"alice\", expected a mapping");
}

#[test]
fn a_file_full_of_mistakes_is_told_so() {
    let keys = (0..50_000).map(|n| format!("k{n}: {n}\n"));
    let text = keys.collect::<Vec<_>>().concat();
    hold_promises(text.as_bytes());
    let said = said(text.as_bytes());
    assert_eq!(said.len(), 101);
    assert_eq!(
        said[0],
        "i/a.yaml:1:1: more than 100 mistakes; the others are not told (is it the right file? Mend those that are told, \
         and ask again)"
    );
    let text = format!(
        "env: {{{}}}",
        (0..50_000)
            .map(|n| format!("k{n}: []"))
            .collect::<Vec<_>>()
            .join(",")
    );
    hold_promises(text.as_bytes());
    assert_eq!(self::said(text.as_bytes()).len(), 101);
}
