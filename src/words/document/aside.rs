//! Parts of a value that are put aside, so that the rest can be decoded.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Segment, below_mut};

/// Takes the node at `path` out of `value`. False when there is none.
pub(super) fn remove(value: &mut Value, path: &[Segment]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut node = value;
    for segment in parents {
        let Some(below) = below_mut(node, segment) else {
            return false;
        };
        node = below;
    }
    match (last, node) {
        (Segment::Key(key), Value::Object(map)) => map.remove(key).is_some(),
        (Segment::Index(index), Value::Array(items)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}

/// Which list items were put aside, so that later indexes can be told as the file counts them.
#[derive(Default)]
pub(super) struct SetAside(BTreeMap<Vec<Segment>, BTreeSet<usize>>);

impl SetAside {
    /// `path` as it was before anything was put aside.
    pub(super) fn original(&self, path: &[Segment]) -> Vec<Segment> {
        let mut original = Vec::with_capacity(path.len());
        for segment in path {
            let segment = match segment {
                Segment::Index(index) => {
                    let mut index = *index;
                    for gone in self.0.get(&original).into_iter().flatten() {
                        index += usize::from(*gone <= index);
                    }
                    Segment::Index(index)
                }
                key @ Segment::Key(_) => key.clone(),
            };
            original.push(segment);
        }
        original
    }

    pub(super) fn note(&mut self, path: &[Segment]) {
        let mut list = self.original(path);
        if let Some(Segment::Index(index)) = list.pop() {
            self.0.entry(list).or_default().insert(index);
        }
    }
}
