//! Whom a volume belongs to. The engine tells and changes that by archives of the path at which it is mounted.

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::TryStreamExt as _;

use super::super::{EngineError, ErrorClass};
use super::error::{CHANGE_LIMIT, READ_LIMIT, call, short};
use super::{Docker, archive};

/// How much of a directory's archive tells whether something is in the directory: its own header, with long names and
/// extended attributes, and the next one.
const TELLING: usize = 64 << 10;

/// Gives the volume at `path` to a user and group, where the volume is empty. `false` where the engine writes nothing
/// into the container.
pub(super) async fn own(
    docker: &Docker,
    container: &str,
    path: &str,
    (uid, gid): (u32, u32),
) -> Result<bool, EngineError> {
    let operation = || {
        let container = short(container);
        format!("give {path} of container {container} to user {uid}:{gid}")
    };
    let options = DownloadFromContainerOptionsBuilder::default()
        .path(path)
        .build();
    let mut chunks = docker
        .client()
        .download_from_container(container, Some(options));
    let download = async {
        let mut bytes = Vec::new();
        while bytes.len() < TELLING
            && let Some(chunk) = chunks.try_next().await?
        {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    let bytes = call(operation, READ_LIMIT, download).await?;
    let broken = |detail| EngineError::new(operation(), ErrorClass::Permanent, detail);
    // A link of the image's leads to a directory that the image has, whose owner the engine takes over.
    let Some(found) = archive::directory(&bytes).map_err(broken)? else {
        return Ok(true);
    };
    if !found.is_empty || (found.uid, found.gid) == (u64::from(uid), u64::from(gid)) {
        return Ok(true);
    }
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = if parent.is_empty() { "/" } else { parent };
    let packed = archive::pack_directory(name, found.mode, uid, gid).map_err(broken)?;
    let options = UploadToContainerOptionsBuilder::default()
        .path(parent)
        .no_overwrite_dir_non_dir("true")
        .build();
    let body = bollard::body_full(packed.into());
    let upload = docker
        .client()
        .upload_to_container(container, Some(options), body);
    match call(operation, CHANGE_LIMIT, upload).await {
        Ok(()) => Ok(true),
        Err(error) if error.detail.contains("read-only") => Ok(false),
        // Some file systems give nothing away. The instance may still work: it says itself what it cannot write.
        Err(error) if error.class == ErrorClass::Permanent => {
            tracing::warn!(%error, "a volume keeps its owner");
            Ok(true)
        }
        Err(error) => Err(error),
    }
}
