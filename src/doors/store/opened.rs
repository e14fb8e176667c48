//! sled's trees, while they can be used: every record that is read or written.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use super::record::{self, Removal, RemovalKey};
use super::seal::Seal;
use super::{StoreError, database, directory};
use crate::words::name::InstanceName;
use crate::words::secret::{FingerprintKey, SecretName, SecretValue};

const FINGERPRINT_KEY: &str = "fingerprint_key";
const PROTECTED: &str = "protected";
const RELEASED: &str = "released";

/// Where sled keeps its files, in the state directory.
pub(super) const FILES: &str = "store";

/// sled's files, open.
pub(super) struct Opened {
    db: sled::Db,
    pub(super) tokens: sled::Tree,
    pub(super) uses: sled::Tree,
    pub(super) retired: sled::Tree,
    secrets: sled::Tree,
    removals: sled::Tree,
    pub(super) acts: sled::Tree,
    pub(super) history: sled::Tree,
    pub(super) overrides: sled::Tree,
    pub(super) meta: sled::Tree,
    pub(super) seal: Seal,
}

impl Opened {
    /// Opens what is in the state directory `dir`, whose lock the caller has.
    pub(super) fn open(dir: &Path, deadline: Instant) -> Result<Self, StoreError> {
        let path = dir.join(FILES);
        directory::make_private(&path)?;
        let db = database::open(&path, deadline)?;
        let tree = |name: &str| {
            db.open_tree(name).map_err(|source| StoreError::Open {
                path: path.clone(),
                source,
            })
        };
        let (tokens, secrets, removals) = (tree("tokens")?, tree("secrets")?, tree("removals")?);
        let (acts, overrides, meta) = (tree("acts")?, tree("overrides")?, tree("meta")?);
        let (uses, history) = (tree("uses")?, tree("history")?);
        let retired = tree("retired_tokens")?;
        db.flush().map_err(|source| StoreError::Open {
            path: path.clone(),
            source,
        })?;
        directory::close_to_others(&path)?;
        let seal = Seal::open(dir, &path.join("db"), &tokens)?;
        Ok(Self {
            db,
            tokens,
            uses,
            retired,
            secrets,
            removals,
            acts,
            history,
            overrides,
            meta,
            seal,
        })
    }

    /// The key for the fingerprints of secrets; made when first asked for.
    pub(super) fn fingerprint_key(&self) -> Result<FingerprintKey, StoreError> {
        let subject = "the fingerprint key";
        if let Some(value) = read(&self.meta, FINGERPRINT_KEY.as_bytes(), subject)? {
            let bytes = record::plain(subject, &value)?;
            let key = <[u8; 32]>::try_from(bytes).map_err(|_| StoreError::Length {
                record: subject.to_owned(),
                length: bytes.len(),
            })?;
            return Ok(FingerprintKey::new(key));
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(StoreError::Random)?;
        let kept = self
            .meta
            .compare_and_swap(
                FINGERPRINT_KEY,
                None::<&[u8]>,
                Some(record::from_plain(&key)),
            )
            .map_err(|source| StoreError::Write {
                record: subject.to_owned(),
                source,
            })?;
        self.flush(subject)?;
        // Another thread was first: its key is the one.
        if kept.is_err() {
            self.fingerprint_key()
        } else {
            Ok(FingerprintKey::new(key))
        }
    }

    /// A generated secret of an instance.
    pub(super) fn secret(
        &self,
        instance: &InstanceName,
        name: &SecretName,
    ) -> Result<Option<SecretValue>, StoreError> {
        let subject = secret_subject(instance, name);
        read(&self.secrets, &secret_key(instance, name), &subject)?
            .map(|value| Ok(SecretValue::new(record::plain(&subject, &value)?.to_vec())))
            .transpose()
    }

    /// Keeps a generated secret, in place of what was there.
    pub(super) fn put_secret(
        &self,
        instance: &InstanceName,
        name: &SecretName,
        value: &SecretValue,
    ) -> Result<(), StoreError> {
        let subject = secret_subject(instance, name);
        let value = record::from_plain(value.expose());
        self.write(&self.secrets, &secret_key(instance, name), value, &subject)
    }

    /// Forgets a generated secret. Says whether it was there.
    pub(super) fn remove_secret(
        &self,
        instance: &InstanceName,
        name: &SecretName,
    ) -> Result<bool, StoreError> {
        let subject = secret_subject(instance, name);
        self.remove(&self.secrets, &secret_key(instance, name), &subject)
    }

    /// Notes that an instance was removed.
    pub(super) fn note_removal(
        &self,
        instance: &InstanceName,
        at: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let subject = format!("the removal of {instance}");
        let value = record::encode(
            &subject,
            &Removal {
                instance: instance.clone(),
                at,
            },
        )?;
        self.write(
            &self.removals,
            &RemovalKey::new(instance, at).0,
            value,
            &subject,
        )
    }

    /// The removals at `since` and later, oldest first.
    pub(super) fn removals_since(
        &self,
        since: jiff::Timestamp,
    ) -> Result<Vec<(InstanceName, jiff::Timestamp)>, StoreError> {
        let subject = "the removals";
        self.removals
            .range(RemovalKey::from(since)..)
            .map(|entry| {
                let (_, value) = entry.map_err(|source| StoreError::Read {
                    record: subject.to_owned(),
                    source,
                })?;
                let removal: Removal = record::decode("a removal", &value)?;
                Ok((removal.instance, removal.at))
            })
            .collect()
    }

    /// Forgets the removals before `until`. Returns how many there were.
    pub(super) fn forget_removals_before(
        &self,
        until: jiff::Timestamp,
    ) -> Result<usize, StoreError> {
        let subject = "the removals";
        let mut forgotten = 0;
        for key in self.removals.range(..RemovalKey::from(until)).keys() {
            let key = key.map_err(|source| StoreError::Read {
                record: subject.to_owned(),
                source,
            })?;
            self.removals
                .remove(key)
                .map_err(|source| StoreError::Write {
                    record: subject.to_owned(),
                    source,
                })?;
            forgotten += 1;
        }
        if forgotten > 0 {
            self.flush(subject)?;
        }
        Ok(forgotten)
    }

    /// The instances whose last manifest said `protect: true`.
    pub(super) fn protected(&self) -> Result<BTreeSet<InstanceName>, StoreError> {
        self.names(PROTECTED, "the protected instances")
    }

    /// The instances whose last manifest did not, whatever their containers record.
    pub(super) fn released(&self) -> Result<BTreeSet<InstanceName>, StoreError> {
        self.names(RELEASED, "the instances that are not protected")
    }

    fn names(
        &self,
        key: &str,
        subject: &'static str,
    ) -> Result<BTreeSet<InstanceName>, StoreError> {
        read(&self.meta, key.as_bytes(), subject)?.map_or_else(
            || Ok(BTreeSet::new()),
            |value| record::decode(subject, &value),
        )
    }

    /// Keeps which instances are protected.
    pub(super) fn set_protected(&self, names: &BTreeSet<InstanceName>) -> Result<(), StoreError> {
        self.set_names(PROTECTED, "the protected instances", names)
    }

    /// Keeps which instances are not.
    pub(super) fn set_released(&self, names: &BTreeSet<InstanceName>) -> Result<(), StoreError> {
        self.set_names(RELEASED, "the instances that are not protected", names)
    }

    fn set_names(
        &self,
        key: &str,
        subject: &'static str,
        names: &BTreeSet<InstanceName>,
    ) -> Result<(), StoreError> {
        if self.names(key, subject).is_ok_and(|kept| kept == *names) {
            return self.flush(subject);
        }
        let value = record::encode(subject, names)?;
        self.write(&self.meta, key.as_bytes(), value, subject)
    }

    pub(super) fn write(
        &self,
        tree: &sled::Tree,
        key: &[u8],
        value: Vec<u8>,
        subject: &str,
    ) -> Result<(), StoreError> {
        tree.insert(key, value)
            .map_err(|source| StoreError::Write {
                record: subject.to_owned(),
                source,
            })?;
        self.flush(subject)
    }

    pub(super) fn remove(
        &self,
        tree: &sled::Tree,
        key: &[u8],
        subject: &str,
    ) -> Result<bool, StoreError> {
        let was = tree.remove(key).map_err(|source| StoreError::Write {
            record: subject.to_owned(),
            source,
        })?;
        // Flushed also when nothing was there: an earlier removal may not have reached the disk.
        self.flush(subject)?;
        Ok(was.is_some())
    }

    pub(super) fn flush(&self, subject: &str) -> Result<(), StoreError> {
        self.db
            .flush()
            .map(drop)
            .map_err(|source| StoreError::Write {
                record: subject.to_owned(),
                source,
            })
    }
}

pub(super) fn read(
    tree: &sled::Tree,
    key: &[u8],
    subject: &str,
) -> Result<Option<sled::IVec>, StoreError> {
    tree.get(key).map_err(|source| StoreError::Read {
        record: subject.to_owned(),
        source,
    })
}

fn secret_subject(instance: &InstanceName, name: &SecretName) -> String {
    format!("secret {name} of {instance}")
}

/// `<instance>/<secret>`: neither can hold a slash.
fn secret_key(instance: &InstanceName, name: &SecretName) -> Vec<u8> {
    format!("{instance}/{name}").into_bytes()
}
