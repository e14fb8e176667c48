//! Files of JSON as editors have them, with comments: one entry is changed, all else stays as it is written.

use jsonc_parser::ast::{Object, ObjectProp, Value as Ast};
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::cst::{CstArray, CstInputValue, CstObject, CstRootNode};
use jsonc_parser::errors::ParseError;
use jsonc_parser::tokens::{Token, TokenAndRange};
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::{Map, Value, json};

use super::{Dialect, Node, Refused, Wanted};

const INPUTS: &str = "inputs";

/// That a client of this dialect can read the text.
pub fn check(text: &str, dialect: Dialect) -> Result<(), Refused> {
    let allowed = ParseOptions {
        allow_comments: dialect != Dialect::Plain,
        allow_trailing_commas: dialect == Dialect::Editor,
        ..options()
    };
    let collect = CollectOptions::default();
    let Err(error) = parse_to_ast(text, &collect, &allowed) else {
        return Ok(());
    };
    // What no client reads is refused with its own words.
    parse_to_ast(text, &collect, &options()).map_err(|error| refused(text, &error))?;
    let mut found = refused(text, &error);
    found.why = match dialect {
        Dialect::Plain => {
            "a comment, or a comma behind the last entry, is not plain JSON".to_owned()
        }
        Dialect::Commented | Dialect::Editor | Dialect::Toml => {
            "a comma behind the last entry is not allowed here".to_owned()
        }
    };
    Err(found)
}

/// The text with what is wanted.
pub fn put(text: &str, wanted: &Wanted) -> Result<String, Refused> {
    let before = read(text, wanted)?;
    let mut after = before.clone();
    put_value(&mut after, wanted);
    if after == before {
        return Ok(text.to_owned());
    }
    let root = parse(text)?;
    let top = root.object_value_or_set();
    let servers = top.object_value_or_set(wanted.key);
    for (name, node) in &wanted.servers {
        set(&servers, name, node);
    }
    if !wanted.inputs.is_empty() {
        let inputs = top.array_value_or_set(INPUTS);
        for (id, node) in &wanted.inputs {
            ask(&inputs, id, node);
        }
    }
    finished(&root, &after)
}

/// The text without it.
pub fn take(text: &str, wanted: &Wanted) -> Result<String, Refused> {
    let mut should = read(text, wanted)?;
    take_value(&mut should, wanted);
    let mut left = text.to_owned();
    while let Some(range) = first(&left, wanted)? {
        left = cut(&left, range)?;
    }
    if value(&parse(&left)?) == should {
        Ok(left)
    } else {
        Err(Refused::unsafe_edit())
    }
}

/// Where something that is wanted stands.
fn first(text: &str, wanted: &Wanted) -> Result<Option<Range>, Refused> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options());
    let parsed = parsed.map_err(|error| refused(text, &error))?;
    let Some(Ast::Object(top)) = parsed.value else {
        return Ok(None);
    };
    let servers = top.get_object(wanted.key).into_iter();
    let server = servers.flat_map(|servers| &servers.properties).find(|it| {
        let ours = wanted.servers.iter();
        ours.map(|(name, _)| name)
            .any(|name| name == it.name.as_str())
    });
    let inputs = top.get_array(INPUTS).into_iter();
    let input = inputs.flat_map(|inputs| &inputs.elements).find(|it| {
        let id = it.as_object().and_then(|input| input.get_string("id"));
        id.is_some_and(|id| wanted.inputs.iter().any(|(ours, _)| *ours == id.value))
    });
    let input = input.map(Ranged::range);
    Ok(server.map(|server| server.range).or(input))
}

/// The text without what stands there and its comma. Comments beside it are somebody's, and stay.
fn cut(text: &str, range: Range) -> Result<String, Refused> {
    let collect = CollectOptions {
        tokens: true,
        ..CollectOptions::default()
    };
    let parsed = parse_to_ast(text, &collect, &options());
    let parsed = parsed.map_err(|error| refused(text, &error))?;
    let tokens = parsed.tokens.unwrap_or_default();
    let comma = |token: Option<&TokenAndRange>| {
        let token = token.filter(|token| token.token == Token::Comma);
        token.map(|token| token.range.start)
    };
    let behind = comma(tokens.iter().find(|token| token.range.start >= range.end));
    let before = comma(tokens.iter().rfind(|token| token.range.end <= range.start));
    let (mut head, mut tail) = (text[..range.start].to_owned(), text[range.end..].to_owned());
    match (behind, before) {
        (Some(at), _) => drop(tail.remove(at - range.end)),
        (None, Some(at)) => drop(head.remove(at)),
        (None, None) => {}
    }
    // A line that held nothing else goes, too.
    let blank = |c: char| c == ' ' || c == '\t';
    let (before, after) = (head.trim_end_matches(blank), tail.trim_start_matches(blank));
    let before = before.strip_suffix('\n');
    Ok(
        match before.map(|before| before.strip_suffix('\r').unwrap_or(before)) {
            Some(before) if after.starts_with(['\r', '\n']) => format!("{before}{after}"),
            _ => format!("{head}{tail}"),
        },
    )
}

/// Comments and commas behind the last are what editors allow; nothing further is.
fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

fn parse(text: &str) -> Result<CstRootNode, Refused> {
    CstRootNode::parse(text, &options()).map_err(|error| refused(text, &error))
}

fn refused(text: &str, error: &ParseError) -> Refused {
    let why = error.kind().to_string();
    Refused::at(text, error.range().start, why)
}

/// What the text says, once it is sure that an edit can be made in it.
fn read(text: &str, wanted: &Wanted) -> Result<Value, Refused> {
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options());
    let parsed = parsed.map_err(|error| refused(text, &error))?;
    let top = match &parsed.value {
        None => return Ok(json!({})),
        Some(Ast::Object(top)) => top,
        Some(other) => return Err(not(text, other, "the file", "an object")),
    };
    // Clients take `null` for none, or ignore the file: an object takes its place.
    let is_there = |found: &&ObjectProp<'_>| !matches!(found.value, Ast::NullKeyword(_));
    if let Some(found) = sole(text, top, wanted.key)?.filter(is_there) {
        let Ast::Object(servers) = &found.value else {
            return Err(not(
                text,
                &found.value,
                &format!("`{}`", wanted.key),
                "an object",
            ));
        };
        for (name, _) in &wanted.servers {
            sole(text, servers, name)?;
        }
    }
    if !wanted.inputs.is_empty()
        && let Some(found) = sole(text, top, INPUTS)?.filter(is_there)
        && !matches!(found.value, Ast::Array(_))
    {
        return Err(not(text, &found.value, "`inputs`", "a list"));
    }
    Ok(value(&parse(text)?))
}

fn value(root: &CstRootNode) -> Value {
    root.to_serde_value().unwrap_or_else(|| json!({}))
}

fn not(text: &str, found: &Ast, what: &str, kind: &str) -> Refused {
    Refused::at(text, found.start(), format!("{what} is not {kind}"))
}

/// The one property of a name. Programs differ in which of two they take.
fn sole<'o, 't>(
    text: &str,
    object: &'o Object<'t>,
    name: &str,
) -> Result<Option<&'o ObjectProp<'t>>, Refused> {
    let mut all = object
        .properties
        .iter()
        .filter(|found| found.name.as_str() == name);
    let first = all.next();
    match all.next() {
        None => Ok(first),
        Some(second) => Err(Refused::at(
            text,
            second.range.start,
            format!("`{name}` is there twice"),
        )),
    }
}

fn set(object: &CstObject, name: &str, node: &Node) {
    match object.get(name) {
        None => drop(object.append(name, input(node))),
        Some(found) if found.to_serde_value() != Some(node.to_json()) => {
            found.set_value(input(node));
        }
        Some(_) => {}
    }
}

fn ask(inputs: &CstArray, id: &str, node: &Node) {
    let found = inputs.elements().into_iter().find_map(|element| {
        let value = element.to_serde_value()?;
        is_of(&value, id).then_some((element, value))
    });
    match found {
        None => {
            inputs.ensure_multiline();
            inputs.append(input(node));
        }
        Some((element, value)) if value != node.to_json() => {
            if let Some(object) = element.as_object() {
                object.replace_with(input(node));
            }
        }
        Some(_) => {}
    }
}

fn is_of(input: &Value, id: &str) -> bool {
    input.get("id").and_then(Value::as_str) == Some(id)
}

fn put_value(value: &mut Value, wanted: &Wanted) {
    if let Value::Object(servers) = &mut value[wanted.key] {
        servers.extend(pairs(wanted));
    } else {
        value[wanted.key] = Value::Object(pairs(wanted));
    }
    if wanted.inputs.is_empty() {
        return;
    }
    if !value[INPUTS].is_array() {
        value[INPUTS] = json!([]);
    }
    let Some(all) = value[INPUTS].as_array_mut() else {
        return;
    };
    for (id, node) in &wanted.inputs {
        match all.iter_mut().find(|input| is_of(input, id)) {
            Some(found) => *found = node.to_json(),
            None => all.push(node.to_json()),
        }
    }
}

fn take_value(value: &mut Value, wanted: &Wanted) {
    if let Some(servers) = value.get_mut(wanted.key).and_then(Value::as_object_mut) {
        servers.retain(|name, _| wanted.servers.iter().all(|(ours, _)| ours != name));
    }
    if let Some(inputs) = value.get_mut(INPUTS).and_then(Value::as_array_mut) {
        inputs.retain(|input| wanted.inputs.iter().all(|(id, _)| !is_of(input, id)));
    }
}

fn pairs(wanted: &Wanted) -> Map<String, Value> {
    let pairs = wanted.servers.iter();
    pairs
        .map(|(name, node)| (name.clone(), node.to_json()))
        .collect()
}

fn input(node: &Node) -> CstInputValue {
    match node {
        Node::Text(text) => CstInputValue::String(text.clone()),
        Node::Truth(truth) => CstInputValue::Bool(*truth),
        Node::List(all) => CstInputValue::Array(all.iter().map(input).collect()),
        Node::Map(all) => {
            let pairs = all
                .iter()
                .map(|(key, node)| ((*key).to_owned(), input(node)));
            CstInputValue::Object(pairs.collect())
        }
    }
}

/// The text that came of it, where it says what it should.
fn finished(root: &CstRootNode, should: &Value) -> Result<String, Refused> {
    let text = root.to_string();
    let says = parse(&text).map(|root| value(&root));
    if says.as_ref() == Ok(should) {
        Ok(text)
    } else {
        Err(Refused::unsafe_edit())
    }
}
