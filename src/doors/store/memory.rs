//! What was done to instances, what operators said of them, and what their images say.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::opened::{Opened, read};
use super::{StoreError, record};
use crate::decisions::access::Guard;
use crate::decisions::notice::Ledger;
use crate::doors::engine::settings::{EngineNotes, NOTES_FORM_NOW};
use crate::words::act::Act;
use crate::words::name::InstanceName;
use crate::words::overrides::Overrides;

const AUTHOR: &str = "author";
const GUARDS: &str = "guards";
const IMAGES: &str = "images";
const NOTICES: &str = "notices";

/// What is noted of the engine. Another form's notes are left alone, whatever is in them.
#[derive(Serialize, Deserialize)]
struct Noted {
    form: u32,
    notes: Value,
}

impl Opened {
    /// What was done to each instance lately, oldest first.
    pub(super) fn acts(&self) -> Result<BTreeMap<InstanceName, Vec<Act>>, StoreError> {
        by_instance(&self.acts, "the acts")
    }

    /// Keeps what was done to these instances, in place of what was there; all of it or none.
    pub(super) fn put_acts(
        &self,
        acts: &BTreeMap<InstanceName, Vec<Act>>,
    ) -> Result<(), StoreError> {
        let subject = "the acts";
        let mut batch = sled::Batch::default();
        for (name, acts) in acts {
            batch.insert(name.as_str(), record::encode(subject, acts)?);
        }
        self.acts
            .apply_batch(batch)
            .map_err(|source| StoreError::Write {
                record: subject.to_owned(),
                source,
            })?;
        self.flush(subject)
    }

    /// What operators said, and what was frozen.
    pub(super) fn overrides(&self) -> Result<BTreeMap<InstanceName, Overrides>, StoreError> {
        by_instance(&self.overrides, "the overrides")
    }

    /// Keeps what stands between an instance and its manifest; nothing, when nothing does.
    pub(super) fn set_overrides(
        &self,
        name: &InstanceName,
        overrides: &Overrides,
    ) -> Result<(), StoreError> {
        let subject = format!("the overrides of {name}");
        if overrides.is_empty() {
            return self
                .remove(&self.overrides, name.as_str().as_bytes(), &subject)
                .map(drop);
        }
        let value = record::encode(&subject, overrides)?;
        self.write(&self.overrides, name.as_str().as_bytes(), value, &subject)
    }

    /// The guards of each instance's endpoints, as they were last known.
    pub(super) fn guards(&self) -> Result<Option<BTreeMap<InstanceName, Vec<Guard>>>, StoreError> {
        let subject = "the guards";
        read(&self.meta, GUARDS.as_bytes(), subject)?
            .map(|value| record::decode(subject, &value))
            .transpose()
    }

    /// Keeps the guards, in place of what was there.
    pub(super) fn set_guards(
        &self,
        guards: &BTreeMap<InstanceName, Vec<Guard>>,
    ) -> Result<(), StoreError> {
        let subject = "the guards";
        let value = record::encode(subject, guards)?;
        self.write(&self.meta, GUARDS.as_bytes(), value, subject)
    }

    /// What was noted of the engine, in the form of this version.
    pub(super) fn engine_notes(&self) -> Result<Option<EngineNotes>, StoreError> {
        let subject = "what the engine said";
        let Some(value) = read(&self.meta, IMAGES.as_bytes(), subject)? else {
            return Ok(None);
        };
        let Noted { form, notes } = record::decode(subject, &value)?;
        if form != NOTES_FORM_NOW {
            return Ok(None);
        }
        let read = serde_json::from_value(notes);
        read.map(Some).map_err(|source| StoreError::Corrupt {
            record: subject.to_owned(),
            source,
        })
    }

    /// Notes what the engine said that lasts, in place of what was there.
    pub(super) fn put_engine_notes(&self, notes: &EngineNotes) -> Result<(), StoreError> {
        let subject = "what the engine said";
        let encoded = serde_json::to_value(notes);
        let notes = encoded.map_err(|source| StoreError::Encode {
            record: subject.to_owned(),
            source,
        })?;
        let form = NOTES_FORM_NOW;
        let value = record::encode(subject, &Noted { form, notes })?;
        self.write(&self.meta, IMAGES.as_bytes(), value, subject)
    }

    /// What was told to whom, and what is yet to be delivered.
    pub(super) fn notices(&self) -> Result<Ledger, StoreError> {
        let subject = "the notices";
        read(&self.meta, NOTICES.as_bytes(), subject)?.map_or_else(
            || Ok(Ledger::default()),
            |value| record::decode(subject, &value),
        )
    }

    /// Keeps that, in place of what was there.
    pub(super) fn put_notices(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let subject = "the notices";
        let value = record::encode(subject, ledger)?;
        self.write(&self.meta, NOTICES.as_bytes(), value, subject)
    }

    /// The id of this state directory, by which a container tells who made it; made when first asked for.
    pub(super) fn author(&self) -> Result<String, StoreError> {
        let subject = "the id of the state directory";
        if let Some(value) = read(&self.meta, AUTHOR.as_bytes(), subject)? {
            return record::decode(subject, &value);
        }
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(StoreError::Random)?;
        let author = format!("{:016x}", u64::from_be_bytes(random));
        let value = record::encode(subject, &author)?;
        let kept = self
            .meta
            .compare_and_swap(AUTHOR, None::<&[u8]>, Some(value))
            .map_err(|source| StoreError::Write {
                record: subject.to_owned(),
                source,
            })?;
        self.flush(subject)?;
        // Another thread was first: its id is the one.
        if kept.is_err() {
            self.author()
        } else {
            Ok(author)
        }
    }
}

fn by_instance<T: DeserializeOwned>(
    tree: &sled::Tree,
    subject: &str,
) -> Result<BTreeMap<InstanceName, T>, StoreError> {
    let mut found = BTreeMap::new();
    for entry in tree {
        let (key, value) = entry.map_err(|source| StoreError::Read {
            record: subject.to_owned(),
            source,
        })?;
        let key = String::from_utf8_lossy(&key).into_owned();
        let value = record::decode(&format!("{subject} of {key}"), &value)?;
        // Only names are ever written as keys.
        if let Ok(name) = key.parse() {
            found.insert(name, value);
        }
    }
    Ok(found)
}
