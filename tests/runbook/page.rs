//! The page, taken apart: sections, blocks, commands, and what they print.

/// What stands below a heading of the second level.
pub struct Section {
    pub heading: String,
    pub items: Vec<Item>,
}

/// In order.
pub enum Item {
    /// A comment for this test.
    Setup(Vec<String>),
    /// A block of commands.
    Block(Vec<Command>),
}

/// What is typed, and what is shown below it.
pub struct Command {
    pub line: usize,
    pub text: String,
    pub shown: Vec<String>,
    pub code: i32,
}

impl Command {
    fn new(line: usize, text: &str) -> Self {
        let code = text.split_once("# exits with ");
        let code = code.map_or(0, |(_, code)| code.trim().parse().expect("a code"));
        Self {
            line,
            text: text.trim().to_owned(),
            shown: Vec::new(),
            code,
        }
    }
}

/// The page's sections.
pub fn sections(page: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut lines = page.lines().enumerate().map(|(n, line)| (n + 1, line));
    while let Some((number, line)) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            sections.push(Section {
                heading: heading.to_owned(),
                items: Vec::new(),
            });
            continue;
        }
        let item = if let Some(first) = line.strip_prefix("<!-- test: ") {
            let rest = lines.by_ref().map(|(_, line)| line);
            let rest = rest.take_while(|line| *line != "-->");
            let all: Vec<String> = match first.strip_suffix(" -->") {
                Some(only) => vec![only.to_owned()],
                None => std::iter::once(first)
                    .chain(rest)
                    .map(str::to_owned)
                    .collect(),
            };
            Item::Setup(all)
        } else if let Some(language) = line.trim().strip_prefix("```") {
            let body: Vec<(usize, &str)> = lines
                .by_ref()
                .take_while(|(_, line)| !line.trim().starts_with("```"))
                .collect();
            match language {
                "console" => Item::Block(console(number, &body)),
                "sh" => {
                    let text: Vec<&str> = body.iter().map(|(_, line)| *line).collect();
                    Item::Block(vec![Command::new(number, &text.join("\n"))])
                }
                // What is shown, and not typed.
                "json" | "yaml" | "text" => continue,
                other => panic!("line {number}: nobody knows what a block of {other:?} is"),
            }
        } else {
            continue;
        };
        let section = sections.last_mut().expect("a heading comes first");
        section.items.push(item);
    }
    sections
}

fn console(number: usize, body: &[(usize, &str)]) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for (line, text) in body {
        if let Some(typed) = text.strip_prefix("$ ") {
            commands.push(Command::new(*line, typed));
        } else {
            let command = commands.last_mut();
            let command = command.unwrap_or_else(|| panic!("line {number}: no command in it"));
            command.shown.push((*text).to_owned());
        }
    }
    assert!(!commands.is_empty(), "line {number}: no command in it");
    commands
}

/// The page without its blocks and comments.
pub fn prose(page: &str) -> String {
    let mut kept = String::new();
    let mut within = false;
    for line in page.lines() {
        if line.trim().starts_with("```") {
            within = !within;
        } else if !within && !line.starts_with("<!--") {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

/// How links name a heading.
pub fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    kept.collect::<String>().replace(' ', "-")
}

/// What the page calls an id, and what it is here.
pub type Ids = Vec<(String, String)>;

/// Whether what was printed is what is shown: line by line, in order. A line `…` stands for any lines, a word `…` for any
/// words, a word that has a digit in it for any word: ids, times and sizes differ. Returns the ids that do.
pub fn shows(shown: &[String], printed: &str) -> Result<Ids, String> {
    let printed: Vec<&str> = printed
        .lines()
        .filter(|line| !line.trim().is_empty())
        // Which configuration is in use: every section would begin with it.
        .filter(|line| !line.starts_with("configuration: "))
        .collect();
    let (mut at, mut any, mut ids) = (0, false, Ids::new());
    for line in shown.iter().filter(|line| !line.trim().is_empty()) {
        if line.trim() == "…" {
            any = true;
            continue;
        }
        let rest = printed[at..].iter().take(if any { usize::MAX } else { 1 });
        let found = rest
            .enumerate()
            .find_map(|(n, printed)| Some((n, alike(line, printed)?)));
        let Some((skipped, same)) = found else {
            return Err(format!("it shows\n  {line}\nand printed is"));
        };
        ids.extend(same);
        at += skipped + 1;
        any = false;
    }
    if at < printed.len() && !any {
        let more = printed[at];
        return Err(format!("it does not show\n  {more}\nof what is printed:"));
    }
    Ok(ids)
}

fn alike(shown: &str, printed: &str) -> Option<Ids> {
    let shown: Vec<&str> = shown.split_whitespace().collect();
    let printed: Vec<&str> = printed.split_whitespace().collect();
    words_alike(&shown, &printed)
}

fn words_alike(shown: &[&str], printed: &[&str]) -> Option<Ids> {
    match (shown, printed) {
        ([], []) => Some(Ids::new()),
        (["…", rest @ ..], _) => {
            (0..=printed.len()).find_map(|skipped| words_alike(rest, &printed[skipped..]))
        }
        ([a, rest @ ..], [b, others @ ..]) => {
            if a != b && !may_differ(a, b) {
                return None;
            }
            let mut ids = words_alike(rest, others)?;
            if a != b && a.len() >= 8 && a.chars().all(|c| c.is_ascii_alphanumeric()) {
                ids.push(((*a).to_owned(), (*b).to_owned()));
            }
            Some(ids)
        }
        _ => None,
    }
}

/// Whether a word may stand for another: one with a digit for any, one that is cut off (`[{"name":…`) for what begins so.
fn may_differ(shown: &str, printed: &str) -> bool {
    let differs = |c: char| c.is_ascii_digit() || c == '…';
    match shown.find(differs) {
        Some(end) if shown.contains('…') => printed.starts_with(&shown[..end]),
        found => found.is_some(),
    }
}

#[test]
fn what_differs_each_time_may_differ_and_nothing_else() {
    let shown = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let page = shown(&[
        "alice  running  g1  3s",
        "",
        "…",
        "Done: 1 updated, 2 unchanged.",
    ]);
    shows(
        &page,
        "alice running g7 12m\nmore\n\nDone: 2 updated, 0 unchanged.\n",
    )
    .expect("alike");
    shows(
        &page,
        "alice stopped g7 12m\nDone: 2 updated, 0 unchanged.\n",
    )
    .expect_err("a state");
    shows(&page, "alice running g7 12m\n").expect_err("a line is missing");
    shows(&shown(&["{\"live\":true,…"]), "{\"live\":true,\"x\":1}").expect("cut off");
    shows(&shown(&["{\"live\":true,…"]), "{\"live\":false,\"x\":1}").expect_err("not live");
    let page = shown(&["error: it … gone", " help: …"]);
    shows(&page, "error: it is long gone\n help: make it\n").expect("alike");
    shows(&page, "error: it is long gone\n help: make it\nmore\n").expect_err("a line is new");
}
