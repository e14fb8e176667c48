//! How a record is written: one byte for its form, then JSON, or bytes as they are for secrets and keys.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::words::name::InstanceName;

/// The form that this version writes. A new form gets a new number, and the old ones stay readable.
const FORM: u8 = 1;

pub(super) fn encode<T: Serialize>(subject: &str, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![FORM];
    serde_json::to_writer(&mut bytes, value).map_err(|source| StoreError::Encode {
        record: subject.to_owned(),
        source,
    })?;
    Ok(bytes)
}

pub(super) fn decode<T: DeserializeOwned>(subject: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(plain(subject, bytes)?).map_err(|source| StoreError::Corrupt {
        record: subject.to_owned(),
        source,
    })
}

pub(super) fn from_plain(bytes: &[u8]) -> Vec<u8> {
    [&[FORM], bytes].concat()
}

pub(super) fn plain<'a>(subject: &str, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match bytes.split_first() {
        Some((&FORM, rest)) => Ok(rest),
        Some((&form, _)) if form > FORM => Err(StoreError::Later {
            record: subject.to_owned(),
            form,
        }),
        _ => Err(StoreError::Length {
            record: subject.to_owned(),
            length: bytes.len(),
        }),
    }
}

/// When which instance was removed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Removal {
    pub(super) instance: InstanceName,
    pub(super) at: jiff::Timestamp,
}

/// Sorts removals by time, then by instance.
pub(super) struct RemovalKey(pub(super) Vec<u8>);

impl RemovalKey {
    pub(super) fn new(instance: &InstanceName, at: jiff::Timestamp) -> Self {
        let mut key = Self::from(at).0;
        key.extend_from_slice(instance.as_str().as_bytes());
        Self(key)
    }
}

impl From<jiff::Timestamp> for RemovalKey {
    fn from(at: jiff::Timestamp) -> Self {
        // The flipped sign bit sorts negative numbers before positive ones.
        let sortable = at.as_nanosecond().cast_unsigned() ^ (1 << 127);
        Self(sortable.to_be_bytes().to_vec())
    }
}

impl AsRef<[u8]> for RemovalKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
