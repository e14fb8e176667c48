//! Files of TOML: one table is changed, all else stays as it is written.

use serde_json::{Map, Value as Json};
use toml_edit::{Array, Document, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{Node, Refused, Wanted};

/// The text with what is wanted.
pub fn put(text: &str, wanted: &Wanted) -> Result<String, Refused> {
    let put = edit(text, wanted, |document| {
        let servers = document.entry(wanted.key).or_insert_with(|| {
            let mut table = Table::new();
            // It needs no line of its own.
            table.set_implicit(true);
            Item::Table(table)
        });
        let is_inline = servers.is_inline_table();
        let Some(servers) = servers.as_table_like_mut() else {
            return;
        };
        for (name, node) in &wanted.servers {
            let Node::Map(pairs) = node else { continue };
            match servers.get_mut(name).and_then(Item::as_table_like_mut) {
                Some(found) => set(found, pairs),
                None if is_inline => {
                    servers.insert(name, Item::Value(value(node)));
                }
                None => {
                    let mut table = Table::new();
                    set(&mut table, pairs);
                    servers.insert(name, Item::Table(table));
                }
            }
        }
    });
    // Some ways to write cannot be written again; behind them there is room for a table all the same.
    put.or_else(|refused| append(text, wanted).ok_or(refused))
}

/// The text with tables behind it, where none of them is there yet.
fn append(text: &str, wanted: &Wanted) -> Option<String> {
    let before = parse(text).ok()?;
    let mut should = plain(before.as_item());
    let servers = before.as_table().get(wanted.key);
    let has = |name: &str| servers.is_some_and(|servers| servers.get(name).is_some());
    let is_table = servers.is_none_or(Item::is_table);
    if !is_table || wanted.servers.iter().any(|(name, _)| has(name)) {
        return None;
    }
    for (name, node) in &wanted.servers {
        should[wanted.key][name] = node.to_json();
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let after = format!("{text}{end}\n{}", put("", wanted).ok()?);
    let says = parse(&after).map(|parsed| plain(parsed.as_item()));
    (says == Ok(should)).then_some(after)
}

/// The text without it.
pub fn take(text: &str, wanted: &Wanted) -> Result<String, Refused> {
    edit(text, wanted, |document| {
        let Some(servers) = document.get_mut(wanted.key) else {
            return;
        };
        // One that has no line of its own is gone with the last that it held.
        let is_implied = servers.as_table().is_some_and(Table::is_implicit);
        if let Some(servers) = servers.as_table_like_mut() {
            for (name, _) in &wanted.servers {
                servers.remove(name);
            }
            if is_implied && servers.is_empty() {
                document.remove(wanted.key);
            }
        }
    })
}

fn edit(text: &str, wanted: &Wanted, change: impl Fn(&mut DocumentMut)) -> Result<String, Refused> {
    // What it writes ends its last line, and all of them one way.
    let has_crlf = text.contains("\r\n");
    let end = match (text.is_empty() || text.ends_with('\n'), has_crlf) {
        (true, _) => "",
        (false, true) => "\r\n",
        (false, false) => "\n",
    };
    let ended = format!("{text}{end}");
    let parsed = parse(&ended)?;
    check(&ended, &parsed, wanted)?;
    let before = plain(parsed.as_item());
    let mut document = parsed.into_mut();
    let written = |document: &DocumentMut| {
        let text = document.to_string();
        if has_crlf { crlf(&text) } else { text }
    };
    let is_faithful = written(&document) == ended;
    change(&mut document);
    let should = plain(document.as_item());
    if should == before {
        return Ok(text.to_owned());
    }
    let after = written(&document);
    let says = parse(&after).map(|parsed| plain(parsed.as_item()));
    if is_faithful && says.as_ref() == Ok(&should) {
        Ok(after)
    } else {
        Err(Refused::unsafe_edit())
    }
}

fn parse(text: &str) -> Result<Document<&str>, Refused> {
    Document::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let why = error.message().lines().next().unwrap_or("not TOML");
        Refused::at(text, at, why)
    })
}

/// That an edit can be made.
fn check(text: &str, parsed: &Document<&str>, wanted: &Wanted) -> Result<(), Refused> {
    let not = |item: &Item, what: &str| {
        let at = item.span().map_or(0, |span| span.start);
        Err(Refused::at(text, at, format!("`{what}` is not a table")))
    };
    let Some(servers) = parsed.as_table().get(wanted.key) else {
        return Ok(());
    };
    let Some(all) = servers.as_table_like() else {
        return not(servers, wanted.key);
    };
    for (name, _) in &wanted.servers {
        if let Some(found) = all.get(name)
            && !found.is_table_like()
        {
            return not(found, &format!("{}.{name}", wanted.key));
        }
    }
    Ok(())
}

/// Makes a table hold these pairs and no others; what it holds already stays as it is written.
fn set(table: &mut dyn TableLike, pairs: &[(&'static str, Node)]) {
    let gone: Vec<_> = table
        .iter()
        .map(|(key, _)| key.to_owned())
        .filter(|key| pairs.iter().all(|(ours, _)| ours != key))
        .collect();
    for key in gone {
        table.remove(&key);
    }
    for (key, node) in pairs {
        match table.get_mut(key) {
            Some(found) if plain(found) == node.to_json() => {}
            Some(found) => {
                let mut new = value(node);
                // A comment behind it stays there.
                if let Some(old) = found.as_value() {
                    *new.decor_mut() = old.decor().clone();
                }
                *found = Item::Value(new);
            }
            None => {
                table.insert(key, Item::Value(value(node)));
            }
        }
    }
}

fn value(node: &Node) -> Value {
    match node {
        Node::Text(text) => text.as_str().into(),
        Node::Truth(truth) => (*truth).into(),
        Node::List(all) => Value::Array(all.iter().map(value).collect::<Array>()),
        Node::Map(all) => {
            let pairs = all.iter().map(|(key, node)| (*key, value(node)));
            Value::InlineTable(pairs.collect::<InlineTable>())
        }
    }
}

/// What an item says, however it is written.
fn plain(item: &Item) -> Json {
    match item {
        Item::None => Json::Null,
        Item::Value(value) => plain_value(value),
        Item::Table(table) => plain_pairs(table),
        Item::ArrayOfTables(all) => all.iter().map(|table| plain_pairs(table)).collect(),
    }
}

fn plain_value(value: &Value) -> Json {
    match value {
        Value::String(text) => Json::String(text.value().clone()),
        Value::Boolean(truth) => Json::Bool(*truth.value()),
        Value::Integer(number) => (*number.value()).into(),
        // Not every float is one in JSON.
        Value::Float(number) => Json::String(format!("float {:?}", number.value())),
        Value::Datetime(moment) => Json::String(format!("time {}", moment.value())),
        Value::Array(all) => all.iter().map(plain_value).collect(),
        Value::InlineTable(table) => plain_pairs(table),
    }
}

fn plain_pairs(table: &dyn TableLike) -> Json {
    let pairs = table.iter().filter(|(_, item)| !item.is_none());
    let pairs = pairs.map(|(key, item)| (key.to_owned(), plain(item)));
    Json::Object(pairs.collect::<Map<_, _>>())
}

fn crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}
