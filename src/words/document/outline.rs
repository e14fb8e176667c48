//! Where each node of a YAML text stands.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, Span};

use super::Segment;

/// Line, column and width, from 1, in characters.
pub(super) type Position = (usize, usize, usize);

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
    /// Pairs of key node and value node, in the order of the file.
    Map(Vec<(usize, usize)>),
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
                Event::MappingStart(anchor, _) => (Kind::Map(Vec::new()), anchor),
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
        match &mut self.nodes[done.node].kind {
            Kind::List(items) => *items = done.children,
            Kind::Map(pairs) => {
                *pairs = done
                    .children
                    .chunks_exact(2)
                    .map(|pair| (pair[0], pair[1]))
                    .collect();
            }
            Kind::Scalar(_) | Kind::Alias(_) => {}
        }
    }

    /// The node at `path`, or the deepest one on the way to it. `at_key` points at the last key instead of
    /// its value.
    pub(super) fn find(&self, path: &[Segment], at_key: bool) -> Option<Position> {
        let mut node = 0;
        let mut position = self.nodes.first()?.position;
        for (depth, segment) in path.iter().enumerate() {
            let Some((key, value)) = self.below(self.resolve(node), segment) else {
                break;
            };
            let last = depth + 1 == path.len();
            let shown = if last && at_key { key } else { value };
            // A block collection begins at its first child: its own key is what a person looks for.
            let block = matches!(self.nodes[shown].kind, Kind::Map(_) | Kind::List(_));
            position = self.nodes[if block { key } else { shown }].position;
            node = value;
        }
        Some(position)
    }

    fn resolve(&self, node: usize) -> usize {
        match self.nodes[node].kind {
            Kind::Alias(anchor) => self.anchors.get(&anchor).copied().unwrap_or(node),
            _ => node,
        }
    }

    /// Key node and value node one level below, merge keys looked through.
    fn below(&self, node: usize, segment: &Segment) -> Option<(usize, usize)> {
        match (&self.nodes[node].kind, segment) {
            (Kind::List(items), Segment::Index(index)) => {
                items.get(*index).map(|item| (*item, *item))
            }
            (Kind::Map(pairs), Segment::Key(wanted)) => {
                let named = |name: &str| {
                    pairs.iter().copied().find(
                        |(key, _)| matches!(&self.nodes[*key].kind, Kind::Scalar(k) if k == name),
                    )
                };
                named(wanted).or_else(|| {
                    let (_, merged) = named("<<")?;
                    let merged = self.resolve(merged);
                    (merged < node)
                        .then(|| self.below(merged, segment))
                        .flatten()
                })
            }
            _ => None,
        }
    }
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
