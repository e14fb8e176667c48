//! The store beside a map that does the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Operation {
    Insert(u8),
    Remove(u8),
    PutSecret(u8, Vec<u8>),
    RemoveSecret(u8),
    NoteRemoval(u8, i64),
    Forget(i64),
    Protect(BTreeSet<u8>),
    /// The first comes new, with the second as it was to be replaced: a rotation.
    Rotate(u8, u8),
    /// The first comes new, the second goes: a redemption.
    Redeem(u8, u8),
    /// Several go: a sweep.
    Sweep(BTreeSet<u8>),
    NoteUses(BTreeMap<u8, i64>),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (0..6_u8).prop_map(Operation::Insert),
        (0..6_u8).prop_map(Operation::Remove),
        (0..3_u8, prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(n, v)| Operation::PutSecret(n, v)),
        (0..3_u8).prop_map(Operation::RemoveSecret),
        (0..3_u8, -5..20_i64).prop_map(|(n, t)| Operation::NoteRemoval(n, t)),
        (-5..20_i64).prop_map(Operation::Forget),
        prop::collection::btree_set(0..5_u8, 0..4).prop_map(Operation::Protect),
        (0..6_u8, 0..6_u8).prop_map(|(new, old)| Operation::Rotate(new, old)),
        (0..6_u8, 0..6_u8).prop_map(|(new, old)| Operation::Redeem(new, old)),
        prop::collection::btree_set(0..6_u8, 0..4).prop_map(Operation::Sweep),
        prop::collection::btree_map(0..7_u8, -5..20_i64, 0..4).prop_map(Operation::NoteUses),
    ]
}

/// What the store should hold.
#[derive(Debug, Default)]
struct Model {
    tokens: BTreeMap<String, TokenRecord>,
    uses: BTreeMap<String, jiff::Timestamp>,
    secrets: BTreeMap<u8, Vec<u8>>,
    removals: BTreeSet<(i64, InstanceName)>,
    protected: BTreeSet<InstanceName>,
}

impl Model {
    fn apply(&mut self, store: &Store, operation: Operation) {
        match operation {
            Operation::Insert(n) => {
                let (token, is_new) = (token(n), !self.tokens.contains_key(&token(n).id));
                assert_eq!(store.insert_token(&token).is_ok(), is_new);
                // One that is there may have been replaced since.
                self.tokens.entry(token.id.clone()).or_insert(token);
            }
            Operation::Remove(n) => {
                let was = self.tokens.remove(&token(n).id).is_some();
                self.uses.remove(&token(n).id);
                assert_eq!(store.remove_token(&token(n).id).unwrap(), was);
            }
            Operation::PutSecret(n, value) => {
                let secret = SecretValue::new(value.clone());
                store.put_secret(&name(n), &secret_name(), &secret).unwrap();
                self.secrets.insert(n, value);
            }
            Operation::RemoveSecret(n) => {
                let was = self.secrets.remove(&n).is_some();
                assert_eq!(store.remove_secret(&name(n), &secret_name()).unwrap(), was);
            }
            Operation::NoteRemoval(n, second) => {
                store.note_removal(&name(n), at(second)).unwrap();
                self.removals.insert((second, name(n)));
            }
            Operation::Forget(second) => {
                let before = self.removals.len();
                self.removals.retain(|(t, _)| *t >= second);
                let forgotten = store.forget_removals_before(at(second)).unwrap();
                assert_eq!(forgotten, before - self.removals.len());
            }
            Operation::Protect(names) => {
                self.protected = names.into_iter().map(name).collect();
                store.set_protected(&self.protected).unwrap();
            }
            Operation::Rotate(new, old) => {
                let replaced = TokenRecord {
                    successor: Some(token(new).id),
                    ..token(old)
                };
                self.change(
                    store,
                    &TokenChange {
                        insert: vec![token(new)],
                        replace: vec![replaced],
                        remove: vec![],
                    },
                );
            }
            Operation::Redeem(new, old) => self.change(
                store,
                &TokenChange {
                    insert: vec![token(new)],
                    replace: vec![],
                    remove: vec![token(old).id],
                },
            ),
            Operation::Sweep(ids) => self.change(
                store,
                &TokenChange {
                    remove: ids.into_iter().map(|n| token(n).id).collect(),
                    ..TokenChange::default()
                },
            ),
            Operation::NoteUses(uses) => {
                let uses = uses.into_iter().map(|(n, t)| (token(n).id, at(t)));
                let uses: BTreeMap<_, _> = uses.collect();
                store.note_uses(&uses).unwrap();
                self.uses.extend(uses);
                self.uses.retain(|id, _| self.tokens.contains_key(id));
            }
        }
    }

    /// It happens whole where what is new is new, what changes is there, and nothing is named twice; else not
    /// at all.
    fn change(&mut self, store: &Store, change: &TokenChange) {
        let ids = |tokens: &[TokenRecord]| -> Vec<String> {
            tokens.iter().map(|token| token.id.clone()).collect()
        };
        let (new, mut there) = (ids(&change.insert), ids(&change.replace));
        there.extend(change.remove.clone());
        let fits = new.iter().all(|id| !self.tokens.contains_key(id))
            && there.iter().all(|id| self.tokens.contains_key(id));
        assert_eq!(store.change_tokens(change).is_ok(), fits);
        if !fits {
            return;
        }
        for token in change.insert.iter().chain(&change.replace) {
            self.tokens.insert(token.id.clone(), token.clone());
        }
        for id in &change.remove {
            self.tokens.remove(id);
            self.uses.remove(id);
        }
    }

    fn check(&self, store: &Store) {
        let tokens: Vec<_> = self.tokens.values().cloned().collect();
        assert_eq!(store.tokens().unwrap(), tokens);
        assert_eq!(store.uses().unwrap(), self.uses);
        for n in 0..3 {
            let kept = store.secret(&name(n), &secret_name()).unwrap();
            let expected = self.secrets.get(&n).cloned().map(SecretValue::new);
            assert!(kept == expected, "the secret of i{n}");
        }
        for since in [-10, 0, 7] {
            let expected: Vec<_> = self
                .removals
                .iter()
                .filter(|(t, _)| *t >= since)
                .map(|(t, name)| (name.clone(), at(*t)))
                .collect();
            assert_eq!(store.removals_since(at(since)).unwrap(), expected);
        }
        assert_eq!(store.protected().unwrap(), self.protected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_store_agrees_with_a_map_when_reopened_at_every_step(
        operations in prop::collection::vec(operation(), 1..20)
    ) {
        let dir = TempDir::new().unwrap();
        let mut model = Model::default();
        let key = *open(dir.path()).fingerprint_key().unwrap().bytes();
        for operation in operations {
            let store = open(dir.path());
            model.check(&store);
            model.apply(&store, operation);
            model.check(&store);
        }
        let store = open(dir.path());
        model.check(&store);
        prop_assert_eq!(*store.fingerprint_key().unwrap().bytes(), key);
    }
}
