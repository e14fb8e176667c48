//! Where secrets are read: files and the environment of the daemon's host.

use std::fs::File;
use std::io::Read;

use crate::words::secret::{SecretSource, SecretValue};

/// No secret is longer.
const LENGTH_MAX: u64 = 1 << 20;

/// Why a secret could not be read. Never holds its value.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The file could not be read.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is too long to be a secret.
    #[error("{0} is longer than 1 MiB")]
    TooLong(String),
    /// The file holds nothing.
    #[error("{0} is empty")]
    Empty(String),
    /// The variable is not set, or not text.
    #[error("the daemon's environment has no {0}")]
    Variable(String),
}

/// Reads a secret from outside. `Generated` ones are the store's, not outside: `None`.
pub fn read(source: &SecretSource) -> Result<Option<SecretValue>, VaultError> {
    match source {
        SecretSource::File(path) => read_file(path).map(Some),
        SecretSource::Env(name) => match std::env::var(name) {
            Ok(value) => Ok(Some(SecretValue::new(value.into_bytes()))),
            Err(_) => Err(VaultError::Variable(name.clone())),
        },
        SecretSource::Generated => Ok(None),
    }
}

fn read_file(path: &str) -> Result<SecretValue, VaultError> {
    let failed = |source| VaultError::File {
        path: path.to_owned(),
        source,
    };
    let mut value = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LENGTH_MAX + 1)
        .read_to_end(&mut value)
        .map_err(failed)?;
    match value.len() {
        0 => Err(VaultError::Empty(path.to_owned())),
        length if length as u64 > LENGTH_MAX => Err(VaultError::TooLong(path.to_owned())),
        _ => Ok(SecretValue::new(value)),
    }
}
