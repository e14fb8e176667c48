//! JSON values as decoders ask for them, but for two things. A list is no mapping: `serde_json` takes the items of
//! a list for the fields of a struct, in the order in which our source happens to have them. And it is noted when a
//! mapping has a key that nobody asks for; which one, `serde_ignored` tells, at many times the cost.

use std::cell::Cell;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _,
    IntoDeserializer, MapAccess, Unexpected, VariantAccess, Visitor,
    value::{MapDeserializer, SeqDeserializer},
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};
use serde_path_to_error::Segment as ErrorSegment;

use super::Segment;
use super::yaml::Part;

/// Decodes a value that is sound, and has no key that its type does not know.
pub(super) fn decode<T: DeserializeOwned>(value: &Value) -> Option<T> {
    let (strange, refused) = (Cell::new(false), Cell::new(None));
    let whole = Strict {
        value,
        strange: &strange,
        refused: &refused,
    };
    T::deserialize(whole).ok().filter(|_| !strange.get())
}

/// Where decoding ended, and why.
pub(super) struct Failed {
    pub at: Vec<Segment>,
    pub part: Part,
    pub words: String,
}

/// Decodes a value, with a note of each step: keys that its type does not know, and where it failed.
pub(super) fn decode_with_notes<T: DeserializeOwned>(
    value: &Value,
) -> (Result<T, Failed>, Vec<Vec<Segment>>) {
    let (strange, refused) = (Cell::new(false), Cell::new(None));
    let whole = Strict {
        value,
        strange: &strange,
        refused: &refused,
    };
    let mut ignored = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| ignored.push(segments_of(&path));
    let whole = serde_ignored::Deserializer::new(whole, &mut note);
    let result = serde_path_to_error::deserialize(whole).map_err(|error| {
        let mut at = error_path(error.path());
        let words = error.into_inner().to_string();
        let refused = refused.take().map(|key| Segment::Key(key.to_owned()));
        let part = refused.as_ref().map_or(Part::Value, |_| Part::Key);
        // Whether the path ends with the key is the reader's choice.
        at.extend(refused.filter(|key| at.last() != Some(key)));
        Failed { at, part, words }
    });
    (result, ignored)
}

fn segments_of(path: &serde_ignored::Path<'_>) -> Vec<Segment> {
    use serde_ignored::Path;
    match path {
        Path::Root => Vec::new(),
        Path::Seq { parent, index } => {
            let mut segments = segments_of(parent);
            segments.push(Segment::Index(*index));
            segments
        }
        Path::Map { parent, key } => {
            let mut segments = segments_of(parent);
            segments.push(Segment::Key(key.clone()));
            segments
        }
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => segments_of(parent),
    }
}

fn error_path(path: &serde_path_to_error::Path) -> Vec<Segment> {
    path.iter()
        .filter_map(|segment| match segment {
            ErrorSegment::Seq { index } => Some(Segment::Index(*index)),
            ErrorSegment::Map { key } => Some(Segment::Key(key.clone())),
            ErrorSegment::Enum { .. } | ErrorSegment::Unknown => None,
        })
        .collect()
}

/// A value to decode.
#[derive(Clone, Copy)]
pub(super) struct Strict<'v> {
    pub value: &'v Value,
    /// Whether a key was met that no struct has.
    pub strange: &'v Cell<bool>,
    /// The key of a mapping that its type refused.
    pub refused: &'v Cell<Option<&'v str>>,
}

impl<'v> Strict<'v> {
    /// Another value of the same document.
    fn beside(self, value: &'v Value) -> Self {
        Self { value, ..self }
    }

    fn unexpected(self) -> Unexpected<'v> {
        match self.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(flag) => Unexpected::Bool(*flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(n), _) => Unexpected::Unsigned(n),
                (_, Some(n)) => Unexpected::Signed(n),
                _ => Unexpected::Float(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserializer<'de> for Strict<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(n), _) => visitor.visit_u64(n),
                (_, Some(n)) => visitor.visit_i64(n),
                _ => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.beside(item));
                let mut items = SeqDeserializer::new(items);
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Value::Object(map) => {
                let pairs = map
                    .iter()
                    .map(|(key, value)| (key.as_str(), self.beside(value)));
                let mut pairs = Pairs {
                    keys: map.keys(),
                    rest: MapDeserializer::new(pairs),
                    refused: self.refused,
                };
                let value = visitor.visit_map(&mut pairs)?;
                pairs.rest.end().map(|()| value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(map) => {
                if !map.keys().all(|key| fields.contains(&key.as_str())) {
                    self.strange.set(true);
                }
                self.deserialize_any(visitor)
            }
            _ => Err(Error::invalid_type(self.unexpected(), &visitor)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::String(name) => visitor.visit_enum(Choice { name, held: None }),
            Value::Object(map) => match map.iter().next() {
                Some((name, value)) if map.len() == 1 => visitor.visit_enum(Choice {
                    name,
                    held: Some(self.beside(value)),
                }),
                _ => {
                    let expected = &"a mapping with a single key";
                    Err(Error::invalid_value(Unexpected::Map, expected))
                }
            },
            _ => Err(Error::invalid_type(
                self.unexpected(),
                &"a text or a mapping",
            )),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Strict<'de> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

/// The pairs of a mapping. A key that its type refuses is noted: the error names only the mapping.
struct Pairs<'v, I: Iterator<Item = (&'v str, Strict<'v>)>> {
    keys: serde_json::map::Keys<'v>,
    rest: MapDeserializer<'v, I, Error>,
    refused: &'v Cell<Option<&'v str>>,
}

impl<'de, I: Iterator<Item = (&'de str, Strict<'de>)>> MapAccess<'de> for &mut Pairs<'de, I> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let key = self.keys.next();
        let decoded = self.rest.next_key_seed(seed);
        if decoded.is_err() {
            self.refused.set(key.map(String::as_str));
        }
        decoded
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.rest.next_value_seed(seed)
    }
}

/// One of several: its name, and what it holds.
struct Choice<'v> {
    name: &'v str,
    held: Option<Strict<'v>>,
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Error;
    type Variant = Self;
    fn variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: de::value::BorrowedStrDeserializer<'de, Error> =
            de::value::BorrowedStrDeserializer::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> Choice<'de> {
    fn required(&self, expected: &str) -> Result<Strict<'de>, Error> {
        let missing = || Error::invalid_type(Unexpected::UnitVariant, &expected);
        self.held.ok_or_else(missing)
    }
}

impl<'de> VariantAccess<'de> for Choice<'de> {
    type Error = Error;
    fn unit_variant(self) -> Result<(), Error> {
        match self.held {
            Some(held) if !held.value.is_null() => {
                Err(Error::invalid_type(held.unexpected(), &"nothing"))
            }
            _ => Ok(()),
        }
    }
    fn newtype_variant_seed<S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.required("newtype variant")?)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.required("tuple variant")?.deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        name: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.required("struct variant")?
            .deserialize_struct("", name, visitor)
    }
}
