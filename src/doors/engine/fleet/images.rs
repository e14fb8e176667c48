//! Images: which one a reference leads to, asked as seldom as can be, and what each says of its containers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::super::EngineError;
use super::super::containers::{ReadContainers, Summary};
use super::super::settings::ImageConfig;
use super::Fleet;
use super::observe::{LOOKS, asked};
use super::seen::{IMAGE, Moment};
use crate::words::observed::{Applied, Generation};

/// References with the ids that they led to when this list was made. A tag that moved while it was made may be
/// told twice; then it is told by none.
pub(super) fn vouched(listed: &[Summary]) -> BTreeMap<&str, &str> {
    let mut ids = BTreeMap::new();
    let mut moved = BTreeSet::new();
    for summary in listed {
        let (Some(reference), id) = (summary.image.as_deref(), summary.image_id.as_str()) else {
            continue;
        };
        if ids.insert(reference, id).is_some_and(|other| other != id) {
            moved.insert(reference);
        }
    }
    ids.retain(|reference, _| !moved.contains(reference));
    ids
}

impl<C: ReadContainers> Fleet<C> {
    /// What the images of these ids say, as far as they are still there or known from before.
    pub(super) async fn configs(
        &self,
        ids: BTreeSet<String>,
    ) -> Result<BTreeMap<String, Arc<ImageConfig>>, EngineError> {
        let look = |id: String| async move {
            if let Some(config) = self.seen.config(&id) {
                return Ok(Some((id, config)));
            }
            // Where the engine does not say, it is as with an image that is gone.
            let look = self.containers.image(&id);
            let image = self.unless_refused(&id, look).await?.flatten();
            Ok(image.map(|image| (id.clone(), self.seen.keep_config(id, image))))
        };
        let found: Vec<_> = stream::iter(ids)
            .map(look)
            .buffered(LOOKS)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Ids of the images under these references, as far as there are any. What a list of this round `vouched` for
    /// need not be asked.
    pub(super) async fn images(
        &self,
        moment: Moment,
        references: &BTreeSet<String>,
        vouched: &BTreeMap<&str, &str>,
    ) -> Result<BTreeMap<String, String>, EngineError> {
        let look = |reference: String| async move {
            if let Some(id) = vouched.get(reference.as_str()) {
                let id = (*id).to_owned();
                self.seen.keep_image(moment, &reference, Some(&id));
                return Ok(Some((reference, id)));
            }
            let id = if let Some(known) = self.seen.image(&reference) {
                known
            } else {
                // Whoever needs it says what is wrong with it, and nobody else is held for it.
                let look = self.look_at_image(moment, &reference);
                self.unless_refused(&reference, look).await?.flatten()
            };
            Ok(id.map(|id| (reference, id)))
        };
        let found: Vec<_> = stream::iter(references.clone())
            .map(look)
            .buffered(LOOKS)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// What the engine says of an image; nothing where it did not answer lately, or does not now.
    async fn unless_refused<T>(
        &self,
        image: &str,
        look: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<Option<T>, EngineError> {
        let subject = format!("{IMAGE}{image}");
        if self.seen.refused(&subject).is_some() {
            return Ok(None);
        }
        match asked(look).await? {
            Ok(found) => {
                self.seen.answers(&subject);
                Ok(Some(found))
            }
            Err(why) => {
                self.seen.keep_refused(&subject, &why);
                Ok(None)
            }
        }
    }

    /// Looks again at images that are known from before a container was looked at that runs another: nobody
    /// shall be replaced for what an event that is late or lost would have told.
    pub(super) async fn doubt(
        &self,
        moment: Moment,
        images: &mut BTreeMap<String, String>,
        generations: impl Iterator<Item = &Generation>,
    ) -> Result<(), EngineError> {
        let doubtful: BTreeSet<String> = generations
            .filter_map(|generation| {
                let Applied::Spec(spec) = &generation.applied else {
                    return None;
                };
                let other = images.get(&spec.image)? != &generation.image_id;
                (other && self.seen.is_image_older(&spec.image, &generation.id))
                    .then(|| spec.image.clone())
            })
            .collect();
        for reference in doubtful {
            let looked = asked(self.look_at_image(moment, &reference)).await?;
            match looked.ok().flatten() {
                Some(id) => images.insert(reference, id),
                None => images.remove(&reference),
            };
        }
        Ok(())
    }

    /// The id of the image under a reference, asked now.
    pub(super) async fn look_at_image(
        &self,
        moment: Moment,
        reference: &str,
    ) -> Result<Option<String>, EngineError> {
        let image = self.containers.image(reference).await?;
        let id = image.as_ref().map(|image| &image.id);
        self.seen.keep_image(moment, reference, id);
        Ok(image.map(|image| {
            let id = image.id.clone();
            self.seen.keep_config(id.clone(), image);
            id
        }))
    }
}
