//! YAML text to the JSON data model: anchors and merge keys resolved, every key a string and written once.
//!
//! What a text unfolds to is bounded by construction: each node is counted when it is made, also one that an alias
//! repeats, and a text without aliases never comes near the bound. The bound follows the length of the text, so that
//! many small files cannot unfold to more than their source may.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{
    self, Deserialize as _, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess,
    SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use super::{LENGTH_MAX, Segment};
use crate::words::manifest::is_source_text;

/// Levels of a file that means something: ours have six at most.
pub(super) const DEPTH_MAX: usize = 100;
/// The way out of more.
pub(super) const DEEP_HELP: &str =
    "no key of ours is; look for a bracket that is not closed, or an alias within its own anchor";
/// Nodes and bytes of text, aliases unfolded, of any file. Without aliases none has more: `{a,b}` has three of two bytes.
const UNFOLDED_MAX: usize = 2 * LENGTH_MAX;
/// The same for each byte of the file. Manifests that share a mapping by a merge key come to less.
const UNFOLDED_FACTOR: usize = 4;
/// What a file of any length may come to, so that a short one may repeat its mappings a few times.
const UNFOLDED_FLOOR: usize = 4 << 10;
/// Mappings that merge keys lay under others, aliases unfolded: whoever looks a key up looks through all of them.
const MERGED_MAX: usize = 1_000;
/// The key that lays other mappings under its own.
const MERGE: &str = "<<";

/// A node that is no part of the JSON data model, or too much.
#[derive(Debug)]
pub(super) struct Misfit {
    /// The node.
    pub path: Vec<Segment>,
    /// Which part of it.
    pub part: Part,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub help: String,
}

/// Nodes and bytes of text that files of this length together may come to, aliases unfolded.
pub const fn unfolded_max(files: usize, length: usize) -> usize {
    files * UNFOLDED_FLOOR + UNFOLDED_FACTOR * length
}

/// What of a node is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its value.
    Value,
    /// The key that leads to it.
    Key,
    /// The same key, written once more.
    SecondKey,
    /// The key at this position of its mapping, from 0, whatever its text is.
    KeyAt(usize),
}

/// Why there is no value.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is no YAML.
    Syntax(serde_yaml::Error),
    /// It is YAML, but cannot be meant.
    Misfit(Misfit),
    /// Something comes after the first document: a second one, or what cannot be read.
    Several(Option<serde_yaml::Error>),
}

/// Paths of scalars whose text in the file is meant, without merge keys.
pub(super) type SourceTexts = BTreeSet<Vec<Segment>>;

/// A text, read.
#[derive(Default)]
pub(super) struct Loaded {
    /// The value of its one document; `Null` when there is none.
    pub value: Value,
    /// Scalars that [`is_source_text`] names. They are strings, but what the parser made of them is not what the file
    /// says.
    pub source_texts: SourceTexts,
    /// Nodes and bytes of text, aliases unfolded.
    pub unfolded: usize,
}

/// Reads the one document of a text.
pub(super) fn load(text: &str) -> Result<Loaded, Failure> {
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let Some(first) = documents.next() else {
        return Ok(Loaded::default());
    };
    let state = State {
        most: unfolded_max(1, text.len()).min(UNFOLDED_MAX),
        ..State::default()
    };
    let value = Node(&state).deserialize(first);
    if let Some(misfit) = state.misfit.take() {
        return Err(Failure::Misfit(misfit));
    }
    let value = value.map_err(Failure::Syntax)?;
    match documents.next() {
        None => Ok(Loaded {
            value,
            source_texts: state.source_texts.take(),
            unfolded: state.unfolded.get(),
        }),
        Some(second) => Err(Failure::Several(IgnoredAny::deserialize(second).err())),
    }
}

/// What is known on the way.
#[derive(Default)]
struct State {
    path: RefCell<Vec<Segment>>,
    /// Nodes and bytes so far.
    unfolded: Cell<usize>,
    /// How many there may be.
    most: usize,
    /// Mappings that were merged so far.
    merged: Cell<usize>,
    /// Where a text was meant.
    source_texts: RefCell<SourceTexts>,
    /// What ended it. The error that serde carries up has no room for it.
    misfit: RefCell<Option<Misfit>>,
}

impl State {
    fn misfit<E: de::Error>(&self, part: Part, message: String, help: impl Into<String>) -> E {
        let misfit = Misfit {
            path: self.path.borrow().clone(),
            part,
            message,
            help: help.into(),
        };
        self.misfit.borrow_mut().get_or_insert(misfit);
        E::custom("a misfit")
    }

    fn tagged<E: de::Error>(&self, tag: &str) -> E {
        let message = format!(
            "the tag `!{}` means nothing here",
            tag.trim_start_matches('!')
        );
        self.misfit(
            Part::Value,
            message,
            "remove it, or quote a text that begins with `!`",
        )
    }

    /// A scalar that the parser takes for no string, where the file's own text is meant. The text is put in later.
    fn source_text<E: de::Error>(&self, parsed: &impl fmt::Display) -> Result<Option<Value>, E> {
        let path = self.path.borrow();
        let mut segments = path.iter().peekable();
        let mut meant = Vec::new();
        while let Some(segment) = segments.next() {
            match segment {
                Segment::Key(key) if key == MERGE => {
                    segments.next_if(|next| matches!(next, Segment::Index(_)));
                }
                segment => meant.push(segment),
            }
        }
        let keys: Vec<_> = meant.iter().map(|segment| segment.key()).collect();
        if !is_source_text(&keys) {
            return Ok(None);
        }
        let text = parsed.to_string();
        self.count(text.len())?;
        let meant = meant.into_iter().cloned().collect();
        self.source_texts.borrow_mut().insert(meant);
        Ok(Some(Value::String(text)))
    }

    /// The same, or the value that the parser made of it.
    fn scalar<E: de::Error>(&self, parsed: impl fmt::Display + Into<Value>) -> Result<Value, E> {
        match self.source_text(&parsed)? {
            Some(text) => Ok(text),
            None => self.count(0).map(|()| parsed.into()),
        }
    }

    /// Counts a node with so many bytes of text.
    fn count<E: de::Error>(&self, bytes: usize) -> Result<(), E> {
        let unfolded = self.unfolded.get().saturating_add(bytes + 1);
        self.unfolded.set(unfolded);
        let most = self.most;
        if unfolded > most {
            return Err(self.misfit(
                Part::Value,
                "the file's aliases unfold to too much".to_owned(),
                format!("write it with fewer aliases: a file of this length may not unfold to more than {most} bytes"),
            ));
        }
        Ok(())
    }

    fn within<T>(&self, segment: Segment, read: impl FnOnce() -> T) -> T {
        self.path.borrow_mut().push(segment);
        let value = read();
        // After a misfit the path stays where it was found, in the misfit itself.
        self.path.borrow_mut().pop();
        value
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
struct Node<'a>(&'a State);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0.path.borrow().len() > DEPTH_MAX {
            self.0.path.borrow_mut().truncate(DEPTH_MAX);
            return Err(self.0.misfit(
                Part::Value,
                format!("nested more than {DEPTH_MAX} levels deep"),
                DEEP_HELP,
            ));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.0.count(0).map(|()| Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        self.0.scalar(flag)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        self.0.scalar(number)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        self.0.scalar(number)
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Value, E> {
        self.too_long(&number.to_string())
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Value, E> {
        self.too_long(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        let finite = Number::from_f64(number);
        // `1e300` would be written out as 301 digits.
        let text = finite.as_ref().map(Number::to_string);
        let text = text.unwrap_or_else(|| number.to_string());
        if let Some(text) = self.0.source_text(&text)? {
            return Ok(text);
        }
        self.0.count(0)?;
        let Some(number) = finite else {
            let message = "not a finite number".to_owned();
            let help = "write a number, or quote it where a text is meant";
            return Err(self.0.misfit(Part::Value, message, help));
        };
        Ok(Value::Number(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.0.count(text.len())?;
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.count(0)?;
        let mut list = Vec::new();
        loop {
            let segment = Segment::Index(list.len());
            let item = self.0.within(segment, || items.next_element_seed(self))?;
            let Some(item) = item else {
                return Ok(Value::Array(list));
            };
            list.push(item);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        self.0.count(0)?;
        let mut map = Map::new();
        while let Some(key) = pairs.next_key_seed(Key(self.0, map.len()))? {
            let is_new = !map.contains_key(&key);
            // The path holds the key meanwhile: there is one for each line, and none is copied.
            self.0.path.borrow_mut().push(Segment::Key(key));
            let value = if is_new {
                pairs.next_value_seed(self)
            } else {
                Err(self.twice())
            };
            let key = self.0.path.borrow_mut().pop();
            let value = value?;
            if let Some(Segment::Key(key)) = key {
                map.insert(key, value);
            }
        }
        if let Some(under) = map.remove(MERGE) {
            let merge = Segment::Key(MERGE.to_owned());
            self.0.within(merge, || self.lay_under(&mut map, under))?;
        }
        Ok(Value::Object(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (tag, _) = data.variant::<String>()?;
        Err(self.0.tagged(&tag))
    }
}

impl Node<'_> {
    fn too_long<E: de::Error>(self, digits: &str) -> Result<Value, E> {
        if let Some(text) = self.0.source_text(&digits)? {
            return Ok(text);
        }
        let message = format!("{digits} is no number that fits 64 bits");
        let help = "quote it where a text is meant";
        Err(self.0.misfit(Part::Value, message, help))
    }

    /// The key at which the path ends is there already.
    fn twice<E: de::Error>(self) -> E {
        let key = match self.0.path.borrow().last() {
            Some(Segment::Key(key)) => key.clone(),
            _ => String::new(),
        };
        let help = if key == MERGE {
            "merge several mappings as a list: `<<: [*one, *other]`"
        } else {
            "keep one of the two, or put what both say under one"
        };
        let message = format!("`{key}` is written twice here");
        self.0.misfit(Part::SecondKey, message, help)
    }

    /// Lays what a merge key names under the keys of its mapping. Of several, the first that says a key counts.
    fn lay_under<E: de::Error>(self, map: &mut Map<String, Value>, under: Value) -> Result<(), E> {
        let layers = match under {
            Value::Array(layers) => layers,
            layer => vec![layer],
        };
        let merged = self.0.merged.get() + layers.len();
        self.0.merged.set(merged);
        if merged > MERGED_MAX {
            let message = format!("more than {MERGED_MAX} mappings are merged in this file");
            let help = "write some of them out, or merge fewer";
            return Err(self.0.misfit(Part::Value, message, help));
        }
        for layer in layers {
            let Value::Object(layer) = layer else {
                let message = "a merge key takes a mapping, or a list of mappings".to_owned();
                let help = "name the anchor of a mapping: `<<: *name`";
                return Err(self.0.misfit(Part::Value, message, help));
            };
            for (key, value) in layer {
                map.entry(key).or_insert(value);
            }
        }
        Ok(())
    }
}

/// Message and help for a key that YAML takes for no string.
pub(super) fn no_string(text: &str) -> (String, String) {
    let message = format!("the key `{text}` is no string");
    (message, format!("quote it: \"{text}\""))
}

/// Reads the key at a position of its mapping, from 0.
struct Key<'a>(&'a State, usize);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Key<'_> {
    fn no_string<E: de::Error>(&self, text: String) -> E {
        let (message, help) = no_string(&text);
        let part = Part::KeyAt(self.1);
        let segment = Segment::Key(text);
        self.0
            .within(segment, || self.0.misfit(part, message, help))
    }

    fn no_scalar<E: de::Error>(&self, what: &str) -> E {
        let message = format!("a {what} as a key");
        let help = "a key is a text; is there a `:` too many, or a `?` or a bracket before it?";
        self.0.misfit(Part::Value, message, help)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        self.0.count(text.len())?;
        Ok(text.to_owned())
    }

    fn visit_unit<E: de::Error>(self) -> Result<String, E> {
        Err(self.no_string("null".to_owned()))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<String, E> {
        Err(self.no_string(flag.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Err(self.no_string(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Err(self.no_string(number.to_string()))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<String, E> {
        Err(self.no_string(number.to_string()))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<String, E> {
        Err(self.no_string(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
        Err(self.no_string(number.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.no_scalar("list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.no_scalar("mapping"))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<String, A::Error> {
        let (tag, _) = data.variant::<String>()?;
        Err(self.0.tagged(&tag))
    }
}
