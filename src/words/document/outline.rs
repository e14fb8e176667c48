//! Where each node of a YAML text stands.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, Span};

use super::Segment;
use super::yaml::{DEPTH_MAX, Part};

/// Line, column and width, from 1, in characters.
pub(super) type Position = (usize, usize, usize);

/// How many mappings that one merges from another are looked through.
const MERGES_MAX: usize = 8;

/// The shape of a document without its values.
#[derive(Debug, Default)]
pub(super) struct Outline {
    nodes: Vec<Node>,
    /// Anchor to node, so that an alias is followed rather than copied.
    anchors: HashMap<usize, usize>,
}

#[derive(Debug)]
struct Node {
    position: Position,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar(String),
    Alias(usize),
    List(Vec<usize>),
    Map(Pairs),
}

/// What a mapping holds.
#[derive(Debug, Default)]
struct Pairs {
    /// Key node and value node, in the order of the file.
    written: Vec<(usize, usize)>,
    /// Places among them of keys that are scalars, by text: a mapping may have as many keys as are looked up.
    by_key: Vec<usize>,
}

/// A collection whose end has not come yet.
struct Open {
    node: usize,
    children: Vec<usize>,
}

impl Outline {
    /// Reads as much of `text` as parses.
    pub(super) fn of(text: &str) -> Self {
        let mut outline = Self::default();
        let mut open: Vec<Open> = Vec::new();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            let (kind, anchor) = match event {
                Event::Scalar(value, _, anchor, _) => (Kind::Scalar(value.into_owned()), anchor),
                Event::Alias(anchor) => (Kind::Alias(anchor), 0),
                Event::SequenceStart(anchor, _) => (Kind::List(Vec::new()), anchor),
                Event::MappingStart(anchor, _) => (Kind::Map(Pairs::default()), anchor),
                Event::SequenceEnd | Event::MappingEnd => {
                    if let Some(done) = open.pop() {
                        outline.close(done);
                    }
                    continue;
                }
                Event::DocumentEnd => break,
                _ => continue,
            };
            let node = outline.nodes.len();
            let collection = matches!(kind, Kind::List(_) | Kind::Map(_));
            outline.nodes.push(Node {
                position: position(span),
                kind,
            });
            if anchor != 0 {
                outline.anchors.insert(anchor, node);
            }
            if let Some(parent) = open.last_mut() {
                parent.children.push(node);
            }
            if collection && open.len() > DEPTH_MAX {
                break;
            }
            if collection {
                open.push(Open {
                    node,
                    children: Vec::new(),
                });
            }
        }
        while let Some(unfinished) = open.pop() {
            outline.close(unfinished);
        }
        outline
    }

    fn close(&mut self, done: Open) {
        let pairs = done.children.chunks_exact(2);
        let kind = match self.nodes[done.node].kind {
            Kind::List(_) => Kind::List(done.children),
            Kind::Map(_) => Kind::Map(self.pairs(pairs.map(|pair| (pair[0], pair[1])).collect())),
            Kind::Scalar(_) | Kind::Alias(_) => return,
        };
        self.nodes[done.node].kind = kind;
    }

    fn pairs(&self, written: Vec<(usize, usize)>) -> Pairs {
        let key = |at: &usize| self.text(written[*at].0);
        let mut by_key: Vec<usize> = (0..written.len()).collect();
        by_key.retain(|at| key(at).is_some());
        // Stable: of one key, the first comes first.
        by_key.sort_by(|one, other| key(one).cmp(&key(other)));
        Pairs { written, by_key }
    }

    fn text(&self, node: usize) -> Option<&str> {
        match &self.nodes[node].kind {
            Kind::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The `nth` pair of a key.
    fn named(&self, pairs: &Pairs, key: &str, nth: usize) -> Option<(usize, usize)> {
        let text = |at: &usize| self.text(pairs.written[*at].0);
        let first = pairs.by_key.partition_point(|at| text(at) < Some(key));
        let found = pairs.by_key.get(first + nth)?;
        (text(found) == Some(key)).then(|| pairs.written[*found])
    }

    /// The node at `path`, or the deepest one on the way to it; or a key of it that is written there.
    pub(super) fn find(&self, path: &[Segment], part: Part) -> Option<Position> {
        let mut node = 0;
        let mut position = self.nodes.first()?.position;
        for (depth, segment) in path.iter().enumerate() {
            let last = depth + 1 == path.len();
            if let (true, Part::KeyAt(at)) = (last, part) {
                return self
                    .key_at(node, at)
                    .map_or(Some(position), |(key, _)| Some(key));
            }
            let nth = usize::from(last && part == Part::SecondKey);
            let Some((key, value)) = self.below(self.resolve(node), segment, nth, MERGES_MAX)
            else {
                break;
            };
            let shown = if last && part != Part::Value {
                key
            } else {
                value
            };
            // A block collection begins at its first child: its own key is what a person looks for.
            let block = matches!(self.nodes[shown].kind, Kind::Map(_) | Kind::List(_));
            position = self.nodes[if block { key } else { shown }].position;
            node = value;
        }
        Some(position)
    }

    /// The key of the mapping at `path` that so many come before, and its text.
    pub(super) fn key_text(&self, path: &[Segment], at: usize) -> Option<&str> {
        let node = self.node(path)?;
        self.key_at(node, at).map(|(_, text)| text)
    }

    /// The text of the scalar at `path` as the file has it, without its quotes.
    pub(super) fn scalar(&self, path: &[Segment]) -> Option<&str> {
        self.text(self.resolve(self.node(path)?))
    }

    fn node(&self, path: &[Segment]) -> Option<usize> {
        self.nodes.first()?;
        path.iter().try_fold(0, |node, segment| {
            let below = self.below(self.resolve(node), segment, 0, MERGES_MAX);
            below.map(|(_, value)| value)
        })
    }

    fn key_at(&self, node: usize, at: usize) -> Option<(Position, &str)> {
        let Kind::Map(pairs) = &self.nodes[self.resolve(node)].kind else {
            return None;
        };
        let key = &self.nodes[pairs.written.get(at)?.0];
        match &key.kind {
            Kind::Scalar(text) => Some((key.position, text)),
            _ => None,
        }
    }

    fn resolve(&self, node: usize) -> usize {
        match self.nodes[node].kind {
            Kind::Alias(anchor) => self.anchors.get(&anchor).copied().unwrap_or(node),
            _ => node,
        }
    }

    /// Key node and value node one level below, the `nth` of one name, merge keys looked through: so many of them
    /// one in another, as anchors may go round in a circle.
    fn below(
        &self,
        node: usize,
        segment: &Segment,
        nth: usize,
        left: usize,
    ) -> Option<(usize, usize)> {
        match (&self.nodes[node].kind, segment) {
            (Kind::List(items), Segment::Index(index)) => {
                items.get(*index).map(|item| (*item, *item))
            }
            (Kind::Map(pairs), Segment::Key(wanted)) => {
                self.named(pairs, wanted, nth).or_else(|| {
                    let left = left.checked_sub(1)?;
                    let (_, merged) = self.named(pairs, "<<", 0)?;
                    let merged = self.resolve(merged);
                    let layers = match &self.nodes[merged].kind {
                        Kind::List(layers) => layers.as_slice(),
                        _ => &[merged],
                    };
                    layers.iter().find_map(|layer| {
                        let layer = self.resolve(*layer);
                        let is_map = matches!(self.nodes[layer].kind, Kind::Map(_));
                        is_map
                            .then(|| self.below(layer, segment, 0, left))
                            .flatten()
                    })
                })
            }
            _ => None,
        }
    }
}

/// How deep the brackets of a text go.
pub(super) enum Brackets {
    /// Not deeper than may be.
    Fine,
    /// Deeper, from here on.
    Deep(Position),
    /// They cannot be followed beyond this place, and why.
    Broken(Position, String),
}

/// Follows the brackets of a text as far as they may go.
pub(super) fn brackets(text: &str) -> Brackets {
    let mut depth = 0_usize;
    for event in Parser::new_from_str(text) {
        match event {
            Ok((Event::SequenceStart(..) | Event::MappingStart(..), span)) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Brackets::Deep(position(span));
                }
            }
            Ok((Event::SequenceEnd | Event::MappingEnd, _)) => depth = depth.saturating_sub(1),
            Ok(_) => {}
            Err(error) => {
                let at = error.marker();
                // The parser has a bound of its own, and looks ahead.
                if error.info().contains("recursion limit") {
                    return Brackets::Deep((at.line(), at.col() + 1, 1));
                }
                let place = (at.line(), at.col() + 1, 1);
                return Brackets::Broken(place, error.info().to_owned());
            }
        }
    }
    Brackets::Fine
}

/// Where the second document of a text begins, or what begins it.
pub(super) fn second_document(text: &str) -> Option<Position> {
    let events = Parser::new_from_str(text).map_while(Result::ok);
    let mut starts = events.filter(|(event, _)| matches!(event, Event::DocumentStart(_)));
    starts.nth(1).map(|(_, span)| position(span))
}

fn position(span: Span) -> Position {
    let (start, end) = (span.start, span.end);
    let width = if start.line() == end.line() {
        end.col().saturating_sub(start.col())
    } else {
        1
    };
    (start.line(), start.col() + 1, width.max(1))
}
