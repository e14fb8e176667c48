//! What can go wrong with the store, each with its subject and, where there is one, the way out.

use std::io;
use std::path::PathBuf;

use super::Holder;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state directory could not be made or read.
    #[error("cannot {operation} {}", path.display())]
    Directory {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Someone else can write to the state directory.
    #[error("{} {why}: whoever can write there can issue tokens; {remedy}", path.display())]
    Insecure {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// The command that makes it right.
        remedy: String,
    },
    /// Another process has the store open.
    #[error("the store in {} is in use by {holder}", path.display())]
    Held {
        /// The state directory.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// sled cannot open what is there.
    #[error("cannot open the store in {}", path.display())]
    Open {
        /// sled's own directory.
        path: PathBuf,
        /// Why not.
        source: sled::Error,
    },
    /// What is there makes sled itself fail.
    #[error(
        "the store in {} is damaged; move it away to start with an empty one (its tokens are lost), or \
         put a copy back", path.display()
    )]
    Damaged {
        /// sled's own directory.
        path: PathBuf,
    },
    /// A read failed.
    #[error("cannot read {record} from the store")]
    Read {
        /// What was read.
        record: String,
        /// Why not.
        source: sled::Error,
    },
    /// A write failed; nothing was acknowledged.
    #[error("cannot write {record} to the store")]
    Write {
        /// What was written.
        record: String,
        /// Why not.
        source: sled::Error,
    },
    /// A record does not hold what it should.
    #[error("the store's record of {record} is damaged")]
    Corrupt {
        /// Which one.
        record: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A record has a form that this version does not know.
    #[error("the store's record of {record} was written by a later version (form {form})")]
    Later {
        /// Which one.
        record: String,
        /// Its form.
        form: u8,
    },
    /// A record has another length than it must have.
    #[error("the store's record of {record} is damaged: it has {length} bytes")]
    Length {
        /// Which one.
        record: String,
        /// How long it is.
        length: usize,
    },
    /// The tokens are not the ones that were last written.
    #[error(
        "the store has lost changes to its tokens (a damaged disk, or files put back from a copy): \
         revoked tokens could be valid again. Put back the whole state directory, or remove {} to accept \
         the tokens that are left, and check them with `instanced token list`", seal.display()
    )]
    Lost {
        /// The file that says what should be there.
        seal: PathBuf,
    },
    /// There is a token with this id.
    #[error("there is a token with the id {0}")]
    Exists(String),
    /// There is none, where one was to be changed.
    #[error("there is no token with the id {0}")]
    Missing(String),
    /// A value that no record can hold.
    #[error("{record} cannot be written as JSON")]
    Encode {
        /// Which one.
        record: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}
