//! What a fleet knows from earlier looks, and how far it may be believed.
//!
//! A later round lists once and looks again only at what changed: in the list, by an event, by our own hand. All
//! of it is looked at again every [`SWEEP_EVERY`], and at every round while nobody listens to the engine's events.
//!
//! Looks and marks stand in one order, counted by a clock of their own. A look keeps the moment at which it began;
//! whatever is marked after that moment makes it stale, also when the mark came while the look was under way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::containers::{ImageFacts, NetworkFacts, Summary};
use super::super::settings::{EngineNotes, ImageConfig};
use crate::decisions::pace::Backoff;
use crate::words::observed::Generation;

/// How often everything is looked at again, whatever events said.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// What a subject begins with that is an image's reference or id.
pub(super) const IMAGE: &str = "image ";
/// How long one that the engine did not answer for is not asked about again: at first, and at most.
const REFUSED_FOR: Backoff = Backoff {
    first: Duration::from_secs(20),
    longest: Duration::from_secs(60),
};

/// A place in the order of looks and marks.
pub(super) type Moment = u64;

/// The memory of a fleet, shared among its clones.
#[derive(Default)]
pub(super) struct Seen(Mutex<State>);

#[derive(Default)]
struct State {
    clock: Moment,
    /// Rounds of looking so far.
    round: u64,
    /// Whether somebody hears the engine's events. Nothing of before is believed while nobody does.
    hears: bool,
    swept: Option<Instant>,
    generations: HashMap<String, Kept>,
    /// Containers that the engine does not answer for.
    refused: HashMap<String, Refused>,
    /// Containers that something happened to, and when.
    touched: HashMap<String, Moment>,
    containers_marked: Moment,
    images: HashMap<String, (Option<String>, Moment)>,
    images_marked: Moment,
    /// The engine that tells all this, where its promises are known.
    engine: Option<String>,
    /// By id: an image never changes under its id. With whether that is so for ever.
    configs: HashMap<String, (Arc<ImageConfig>, bool)>,
    /// What an earlier process noted, or this one since.
    noted: Option<EngineNotes>,
    /// Whether something of that may be otherwise since then.
    notes_due: bool,
    networks: Option<(Vec<NetworkFacts>, Moment)>,
    networks_marked: Moment,
    volumes: Option<(Vec<String>, Moment)>,
    volumes_marked: Moment,
}

/// A container that the engine did not answer for.
struct Refused {
    why: String,
    times: u32,
    until: Instant,
}

/// A container as it was looked at.
struct Kept {
    summary: Summary,
    generation: Generation,
    /// Whether its image was there to compare with.
    whole: bool,
    at: Moment,
}

impl State {
    fn tick(&mut self) -> Moment {
        self.clock += 1;
        self.clock
    }

    fn mark_everything(&mut self) {
        let now = self.tick();
        self.containers_marked = now;
        self.images_marked = now;
        self.networks_marked = now;
        self.volumes_marked = now;
    }

    /// Knows what was noted of this engine's images, where it does not know better.
    fn take_notes(&mut self) {
        let noted = self.noted.as_ref();
        let Some(noted) = noted.filter(|noted| self.engine.as_ref() == Some(&noted.engine)) else {
            return;
        };
        for (id, config) in &noted.configs {
            let config = || (Arc::new(config.clone()), true);
            self.configs.entry(id.clone()).or_insert_with(config);
        }
    }

    fn is_fresh(&self, kept: &Kept, summary: &Summary) -> bool {
        let touched = self.touched.get(&summary.id).copied().unwrap_or(0);
        kept.at >= self.containers_marked
            && kept.at >= touched
            && (kept.whole || kept.at >= self.images_marked)
            && kept.summary == *summary
    }
}

impl Seen {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a round of looking.
    pub(super) fn begin(&self) -> Moment {
        let mut state = self.state();
        state.round += 1;
        let due = state
            .swept
            .is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY);
        if due {
            state.swept = Some(Instant::now());
        }
        if due || !state.hears {
            state.mark_everything();
        }
        state.tick()
    }

    /// The moment of a look outside of such a round.
    pub(super) fn now(&self) -> Moment {
        self.state().clock
    }

    /// Which round of looking this is.
    pub(super) fn round(&self) -> u64 {
        self.state().round
    }

    pub(super) fn hears(&self) -> bool {
        self.state().hears
    }

    /// From now on events are heard, or not any more. Of what was before, any may have been missed.
    pub(super) fn set_hears(&self, hears: bool) {
        let mut state = self.state();
        state.hears = hears;
        // An engine that came back is asked about everything.
        state.refused.clear();
        state.mark_everything();
    }

    pub(super) fn mark_containers<'a>(&self, ids: impl IntoIterator<Item = &'a String>) {
        let mut state = self.state();
        let now = state.tick();
        for id in ids {
            state.touched.insert(id.clone(), now);
        }
    }

    pub(super) fn mark_images(&self) {
        let mut state = self.state();
        state.images_marked = state.tick();
    }

    pub(super) fn mark_networks(&self) {
        let mut state = self.state();
        state.networks_marked = state.tick();
    }

    pub(super) fn mark_volumes(&self) {
        let mut state = self.state();
        state.volumes_marked = state.tick();
    }

    /// What is known of the containers of a list, by id; others must be looked at.
    pub(super) fn generations(&self, listed: &[&Summary]) -> BTreeMap<String, Generation> {
        let state = self.state();
        let known = listed.iter().filter_map(|summary| {
            let kept = state.generations.get(&summary.id)?;
            state
                .is_fresh(kept, summary)
                .then(|| (summary.id.clone(), kept.generation.clone()))
        });
        known.collect()
    }

    /// Ids of containers of a list that must be looked at.
    pub(super) fn unknown<'a>(&self, listed: impl Iterator<Item = &'a Summary>) -> Vec<String> {
        let state = self.state();
        let is_unknown = |summary: &&Summary| {
            let kept = state.generations.get(&summary.id);
            kept.is_none_or(|kept| !state.is_fresh(kept, summary))
        };
        listed
            .filter(is_unknown)
            .map(|summary| summary.id.clone())
            .collect()
    }

    pub(super) fn keep_generation(
        &self,
        at: Moment,
        summary: &Summary,
        generation: &Generation,
        whole: bool,
    ) {
        let mut state = self.state();
        let newer = state.generations.get(&summary.id);
        if newer.is_some_and(|kept| kept.at > at) {
            return;
        }
        let kept = Kept {
            summary: summary.clone(),
            generation: generation.clone(),
            whole,
            at,
        };
        state.generations.insert(summary.id.clone(), kept);
        state.notes_due = true;
    }

    /// Forgets what a list that began at `at` no longer has. What somebody removed may have left its secrets.
    pub(super) fn forget_others(&self, at: Moment, listed: &BTreeSet<&String>) {
        let mut state = self.state();
        let before = state.generations.len();
        state
            .generations
            .retain(|id, kept| listed.contains(id) || kept.at > at);
        if state.generations.len() < before {
            state.notes_due = true;
            state.volumes_marked = state.tick();
        }
        state
            .touched
            .retain(|id, marked| listed.contains(id) || *marked > at);
        let is_image = |subject: &str| subject.starts_with(IMAGE);
        state
            .refused
            .retain(|subject, _| is_image(subject) || listed.contains(subject));
    }

    /// Why the engine did not answer for a container, while it is not due to be asked again.
    pub(super) fn refused(&self, id: &str) -> Option<String> {
        let state = self.state();
        let refused = state.refused.get(id)?;
        (Instant::now() < refused.until).then(|| refused.why.clone())
    }

    pub(super) fn keep_refused(&self, id: &str, why: &str) {
        let mut state = self.state();
        let times = state.refused.get(id).map_or(0, |refused| refused.times) + 1;
        let refused = Refused {
            why: why.to_owned(),
            times,
            until: Instant::now() + REFUSED_FOR.next(times, 0.5),
        };
        state.refused.insert(id.to_owned(), refused);
    }

    pub(super) fn answers(&self, id: &str) {
        self.state().refused.remove(id);
    }

    /// The id of the image under a reference, `None` within for one that is not there.
    #[expect(clippy::option_option, reason = "not known, known to be absent, known")]
    pub(super) fn image(&self, reference: &str) -> Option<Option<String>> {
        let state = self.state();
        let (id, at) = state.images.get(reference)?;
        (*at >= state.images_marked).then(|| id.clone())
    }

    pub(super) fn keep_image(&self, at: Moment, reference: &str, id: Option<&String>) {
        let mut state = self.state();
        state.images.insert(reference.to_owned(), (id.cloned(), at));
    }

    /// Whether a container was looked at after the image under this reference was: where the two disagree, the
    /// image may have moved unheard.
    pub(super) fn is_image_older(&self, reference: &str, container: &str) -> bool {
        let state = self.state();
        let kept = state.generations.get(container);
        let image = state.images.get(reference);
        kept.zip(image).is_some_and(|(kept, (_, at))| *at < kept.at)
    }

    pub(super) fn config(&self, image_id: &str) -> Option<Arc<ImageConfig>> {
        let state = self.state();
        let (config, _) = state.configs.get(image_id)?;
        Some(Arc::clone(config))
    }

    pub(super) fn keep_config(&self, image_id: String, image: ImageFacts) -> Arc<ImageConfig> {
        let config = Arc::new(image.config);
        let kept = (Arc::clone(&config), image.is_fixed);
        self.state().configs.insert(image_id, kept);
        config
    }

    /// What an earlier process noted.
    pub(super) fn recall(&self, notes: EngineNotes) {
        let mut state = self.state();
        state.noted = Some(notes);
        state.take_notes();
    }

    /// This engine answers. What another one said of images, or another version of it, is asked anew.
    pub(super) fn listen_to(&self, engine: Option<String>) {
        let mut state = self.state();
        if state.engine != engine {
            state.engine = engine;
            state.configs.clear();
            state.take_notes();
        }
    }

    /// What the next process shall know, if that is other than what is noted. Counts as noted then.
    pub(super) fn news(&self) -> Option<EngineNotes> {
        let mut state = self.state();
        if !std::mem::take(&mut state.notes_due) {
            return None;
        }
        let engine = state.engine.clone()?;
        let used = state.generations.values();
        let used: BTreeSet<&String> = used.map(|kept| &kept.generation.image_id).collect();
        let fixed = |id: &&String| state.configs.get(*id).is_some_and(|(_, fixed)| *fixed);
        let lasting: BTreeSet<&String> = used.into_iter().filter(fixed).collect();
        let network = match &state.networks {
            Some((networks, _)) => sole(networks).cloned(),
            // Nobody had to ask: what is noted stood the test.
            None => state.noted.as_ref().and_then(|noted| noted.network.clone()),
        };
        let is_noted = match &state.noted {
            Some(noted) => {
                noted.engine == engine
                    && noted.network == network
                    && noted.configs.keys().eq(lasting.iter().copied())
            }
            None => lasting.is_empty() && network.is_none(),
        };
        if is_noted {
            return None;
        }
        let config = |id: &String| Some(ImageConfig::clone(&state.configs.get(id)?.0));
        let configs = lasting.into_iter().cloned();
        let configs = configs.filter_map(|id| Some((id.clone(), config(&id)?)));
        let notes = EngineNotes {
            configs: configs.collect(),
            engine,
            network,
        };
        state.noted = Some(notes.clone());
        Some(notes)
    }

    pub(super) fn networks(&self) -> Option<Vec<NetworkFacts>> {
        let state = self.state();
        let (networks, at) = state.networks.as_ref()?;
        (*at >= state.networks_marked).then(|| networks.clone())
    }

    /// Other networks of our name make every container's joining another matter.
    pub(super) fn keep_networks(&self, at: Moment, networks: &[NetworkFacts]) {
        let mut state = self.state();
        let ids = |all: &[NetworkFacts]| -> Vec<String> {
            all.iter().map(|facts| facts.id.clone()).collect()
        };
        state.notes_due = true;
        let before = state.networks.replace((networks.to_vec(), at));
        if before.is_some_and(|(before, _)| ids(&before) != ids(networks)) {
            state.containers_marked = state.containers_marked.max(at);
        }
    }

    /// The network that an earlier process noted of this engine. Good for the first look of a process, and for no
    /// other: that is when most is asked, and the next one asks for it.
    pub(super) fn noted_network(&self) -> Option<NetworkFacts> {
        let state = self.state();
        let noted = state.noted.as_ref();
        let noted = noted.filter(|noted| state.engine.as_ref() == Some(&noted.engine))?;
        noted.network.clone().filter(|_| state.round == 1)
    }

    pub(super) fn volumes(&self) -> Option<Vec<String>> {
        let state = self.state();
        let (volumes, at) = state.volumes.as_ref()?;
        (*at >= state.volumes_marked).then(|| volumes.clone())
    }

    pub(super) fn keep_volumes(&self, at: Moment, volumes: &[String]) {
        self.state().volumes = Some((volumes.to_vec(), at));
    }
}

/// The one network of a name, where there is just one.
fn sole(networks: &[NetworkFacts]) -> Option<&NetworkFacts> {
    match networks {
        [one] => Some(one),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
