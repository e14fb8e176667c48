//! What was ever done to instances. Nothing is planned by it, so it is no part of what a round reads.

use crate::words::history::Entry;
use crate::words::name::InstanceName;

use super::opened::Opened;
use super::{StoreError, record};

/// So many entries of one instance are kept, the newest.
const OF_ONE: usize = 500;
/// And so many of all, however many instances there ever were.
const OF_ALL: usize = 20_000;
const SUBJECT: &str = "the history";

impl Opened {
    /// What was done to an instance, oldest first.
    pub(super) fn history(&self, name: &InstanceName) -> Result<Vec<Entry>, StoreError> {
        let entries = self.history.scan_prefix(of(name));
        let read = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            let (_, value) = entry.map_err(|source| StoreError::Read {
                record: SUBJECT.to_owned(),
                source,
            })?;
            record::decode(SUBJECT, &value)
        };
        entries.map(read).collect()
    }

    /// Adds what was done, each in place of what was begun at the same moment; forgets what is too much. All of it or
    /// none.
    pub(super) fn note_history(&self, entries: &[(InstanceName, Entry)]) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write {
            record: SUBJECT.to_owned(),
            source,
        };
        let mut batch = sled::Batch::default();
        for (name, entry) in entries {
            batch.insert(key(name, entry.at), record::encode(SUBJECT, entry)?);
        }
        self.history.apply_batch(batch).map_err(failed)?;
        let mut surplus = sled::Batch::default();
        for (name, _) in entries {
            let keys = self.history.scan_prefix(of(name)).keys();
            let keys: Vec<_> = keys.collect::<Result<_, _>>().map_err(failed)?;
            for old in &keys[..keys.len().saturating_sub(OF_ONE)] {
                surplus.remove(old);
            }
        }
        self.history.apply_batch(surplus).map_err(failed)?;
        self.forget_oldest_history(OF_ALL).map_err(failed)?;
        self.flush(SUBJECT)
    }

    fn forget_oldest_history(&self, most: usize) -> sled::Result<()> {
        if self.history.len() <= most {
            return Ok(());
        }
        let keys = self.history.iter().keys();
        let mut keys: Vec<_> = keys.collect::<sled::Result<_>>()?;
        keys.sort_by(|a, b| moment(a).cmp(moment(b)));
        let mut surplus = sled::Batch::default();
        for old in &keys[..keys.len().saturating_sub(most)] {
            surplus.remove(old);
        }
        self.history.apply_batch(surplus)
    }
}

/// No name holds a zero, so none is the beginning of another.
fn of(name: &InstanceName) -> Vec<u8> {
    [name.as_str().as_bytes(), &[0]].concat()
}

/// Sorts by instance, then by time.
fn key(name: &InstanceName, at: jiff::Timestamp) -> Vec<u8> {
    let nanos = u64::try_from(at.as_nanosecond()).unwrap_or(0);
    [of(name).as_slice(), &nanos.to_be_bytes()].concat()
}

/// The time within a key.
fn moment(key: &[u8]) -> &[u8] {
    &key[key.len().saturating_sub(size_of::<u64>())..]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Store;
    use super::*;
    use crate::words::act::Cause;
    use crate::words::history::EntryResult;

    fn entry(second: i64) -> Entry {
        Entry {
            at: jiff::Timestamp::from_second(second).unwrap(),
            action: "replace".to_owned(),
            cause: Cause::Desired,
            reason: "its image changed".to_owned(),
            generation: Some(2),
            fields: vec!["image".to_owned()],
            revision: "dir:1".to_owned(),
            commit: None,
            result: EntryResult::Unknown,
            millis: None,
        }
    }

    #[test]
    fn it_is_kept_by_instance_in_its_order_and_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (a, ab): (InstanceName, InstanceName) = ("a".parse().unwrap(), "a-b".parse().unwrap());
        {
            let store = Store::open(dir.path(), Duration::from_secs(5)).unwrap();
            let later = (a.clone(), entry(20));
            let noted =
                store.note_history(&[later, (ab.clone(), entry(1)), (a.clone(), entry(10))]);
            noted.unwrap();
            // What came of it takes the place of what was begun.
            let done = Entry {
                result: EntryResult::Done,
                ..entry(20)
            };
            store.note_history(&[(a.clone(), done)]).unwrap();
        }
        let store = Store::open(dir.path(), Duration::from_secs(5)).unwrap();
        let told: Vec<_> = store.history(&a).unwrap();
        let times: Vec<_> = told.iter().map(|entry| entry.at.as_second()).collect();
        assert_eq!(times, [10, 20]);
        assert_eq!(told[1].result, EntryResult::Done);
        assert_eq!(store.history(&ab).unwrap().len(), 1);
    }

    #[test]
    fn it_is_bounded_for_each_instance_and_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Duration::from_secs(5)).unwrap();
        let name = |n: i64| -> InstanceName { format!("i{n}").parse().unwrap() };
        let many: Vec<_> = (0..i64::try_from(OF_ONE).unwrap() + 7)
            .map(|n| (name(0), entry(n)))
            .collect();
        store.note_history(&many).unwrap();
        let kept = store.history(&name(0)).unwrap();
        assert_eq!((kept.len(), kept[0].at.as_second()), (OF_ONE, 7));
        let others: Vec<_> = (1..=i64::try_from(OF_ALL).unwrap())
            .map(|n| (name(n), entry(1_000 + n)))
            .collect();
        store.note_history(&others).unwrap();
        assert_eq!(store.history(&name(0)).unwrap(), []);
        assert_eq!(store.history(&name(1)).unwrap().len(), 1);
    }
}
