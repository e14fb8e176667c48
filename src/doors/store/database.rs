//! Opening sled's files.

use std::path::Path;
use std::thread;
use std::time::Instant;

use super::{LOCK_RETRY, StoreError};

/// What sled may keep in memory, in bytes. A fleet's records are few and small.
const CACHE_BYTES: u64 = 256 << 10;

/// Opens sled's files. sled's own lock may outlive its last user for a moment, so it is waited for, too.
pub(super) fn open(path: &Path, deadline: Instant) -> Result<sled::Db, StoreError> {
    loop {
        // sled 0.34 panics on some damaged files instead of returning its error.
        let opened = std::panic::catch_unwind(|| {
            sled::Config::new()
                .path(path)
                .mode(sled::Mode::LowSpace)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .open()
        })
        .map_err(|_| StoreError::Damaged {
            path: path.to_owned(),
        })?;
        match opened {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock")
                    && Instant::now() < deadline =>
            {
                thread::sleep(LOCK_RETRY);
            }
            Err(sled::Error::Corruption { .. }) => {
                return Err(StoreError::Damaged {
                    path: path.to_owned(),
                });
            }
            Err(source) => {
                return Err(StoreError::Open {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
}
