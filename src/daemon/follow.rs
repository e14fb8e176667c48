//! Following a repository: it is asked for news at an interval and whenever somebody says so, beside the rounds. What
//! cannot be fetched or used changes nothing: the fleet is kept as it was known.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::events::Events;
use crate::decisions::event::Event;
use crate::decisions::report::Report;
use crate::decisions::source::{Behind, SourceStatus, unfinished};
use crate::doors::source::git::{GitError, Head, Mirror};
use crate::words::commit::Commit;
use crate::words::desired::Snapshot;

/// A repository is asked no more often than this by those who do not wait for it.
const REST: Duration = Duration::from_secs(1);
/// Questions that may wait; more would be answered by the same fetch.
const ASKED_MAX: usize = 16;

/// Who waits for a fetch to end, if anybody does.
type Asked = Option<oneshot::Sender<Result<(), GitError>>>;

/// A repository as the daemon follows it.
pub struct Follower {
    mirror: Mirror,
    shared: Arc<Shared>,
    requests: mpsc::Sender<Asked>,
    events: Events,
    /// What was read last.
    known: Option<Head>,
    _fetching: AbortOnDropHandle<()>,
}

/// Has the repository asked, and tells how the fleet stands to it. Clones are one.
#[derive(Clone)]
pub struct Syncer {
    mirror: Mirror,
    shared: Arc<Shared>,
    requests: mpsc::Sender<Asked>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something else was fetched.
    news: Notify,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// What was fetched last.
    head: Option<String>,
    /// When.
    fetched: Option<jiff::Timestamp>,
    /// Why the repository did not answer since.
    failure: Option<GitError>,
    /// What the fleet is kept as.
    in_use: Option<Commit>,
    /// Why that is not what was fetched last.
    refused: Option<String>,
    /// The newest commit that the whole fleet was made.
    applied: Option<String>,
    /// Why the fleet is not all that the commit in use says.
    unfinished: Option<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// Begins to follow. The repository is asked at once.
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn new(mirror: Mirror, events: Events) -> Result<Self, GitError> {
        let shared = Arc::new(Shared::default());
        shared.state().applied = mirror.applied()?;
        let (requests, asked) = mpsc::channel(ASKED_MAX);
        let fetching = tokio::spawn(fetch_on(
            mirror.clone(),
            Arc::clone(&shared),
            events.clone(),
            asked,
        ));
        Ok(Self {
            mirror,
            shared,
            requests,
            events,
            known: None,
            _fetching: AbortOnDropHandle::new(fetching),
        })
    }

    /// For whoever is not the loop.
    pub fn syncer(&self) -> Syncer {
        Syncer {
            mirror: self.mirror.clone(),
            shared: Arc::clone(&self.shared),
            requests: self.requests.clone(),
        }
    }

    /// Returns once something was fetched, now or ever, or could not be.
    pub async fn ready(&self) {
        if matches!(self.mirror.head(), Ok(None)) {
            // What went wrong, the round tells.
            let _ = self.syncer().sync().await;
        }
    }

    /// Returns when something else was fetched. Nothing is lost when it is dropped before that.
    pub async fn changed(&self) {
        self.shared.news.notified().await;
    }

    /// The manifests of the commit that is to be used now. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub fn read(&mut self) -> Result<Snapshot, GitError> {
        let fetched = self.shared.state().head.clone();
        if let Some(known) = &self.known
            && known.refused.is_none()
            && fetched.as_ref() == Some(&known.fetched)
        {
            return Ok(known.snapshot.clone());
        }
        let read = self.mirror.read();
        let mut state = self.shared.state();
        let before = state.refused.take();
        let head = match read {
            Ok(head) => head,
            Err(GitError::NotFetched(url)) => {
                let why = state.failure.clone();
                return Err(why.unwrap_or(GitError::NotFetched(url)));
            }
            Err(error) => {
                state.refused = Some(error.to_string());
                return Err(error);
            }
        };
        state.head = Some(head.fetched.clone());
        state.refused = head.refused.as_ref().map(ToString::to_string);
        if let Some(why) = state
            .refused
            .as_ref()
            .filter(|why| before.as_ref() != Some(*why))
        {
            let revision = &head.snapshot.revision;
            tracing::warn!(
                revision,
                "what was fetched is not used, what was known stays: {why}"
            );
        }
        let in_use = head.snapshot.commit.clone();
        if in_use != state.in_use {
            state.unfinished = Some("its round has not ended yet".to_owned());
        }
        state.in_use = in_use;
        drop(state);
        // A full disk is no reason to leave the fleet alone: it is known here, and noted when there is room.
        if head.refused.is_none()
            && let Err(error) = self.mirror.set_current(&head.fetched)
        {
            tracing::warn!(%error, "the commit that is in use could not be noted");
        }
        let snapshot = head.snapshot.clone();
        self.known = Some(head);
        Ok(snapshot)
    }

    /// Takes note of what a round over the whole fleet came to.
    pub fn note(&self, report: &Report) {
        let Some(commit) = &report.commit else {
            return;
        };
        let unfinished = unfinished(report);
        let mut state = self.shared.state();
        state.unfinished.clone_from(&unfinished);
        let new = unfinished.is_none() && state.applied.as_ref() != Some(&commit.id);
        if !new {
            return;
        }
        state.applied = Some(commit.id.clone());
        drop(state);
        let (revision, author) = (&report.revision, &commit.author);
        tracing::info!(revision, author, "the whole fleet is at this commit");
        self.events.tell(Event::Applied {
            at: jiff::Timestamp::now(),
            commit: commit.clone(),
        });
        if let Err(error) = self.mirror.set_applied(&commit.id) {
            tracing::warn!(%error, "the commit that the fleet is at could not be noted");
        }
    }
}

impl Syncer {
    /// Has the repository asked at once, and waits for what it says.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub async fn sync(&self) -> Result<(), GitError> {
        let (reply, said) = oneshot::channel();
        let stopping = || GitError::Failed {
            what: "fetch",
            why: "the daemon is stopping".to_owned(),
        };
        let asked = self.requests.send(Some(reply)).await;
        asked.map_err(|_| stopping())?;
        said.await.map_err(|_| stopping())?
    }

    /// Has the repository asked soon, and waits for nothing.
    pub fn poke(&self) {
        // A full queue is as good: the fetch that empties it is yet to begin.
        let _ = self.requests.try_send(None);
    }

    /// How the fleet stands to the repository. Blocks for as long as git takes.
    ///
    /// # Errors
    /// When git fails.
    pub fn status(&self) -> Result<SourceStatus, GitError> {
        let state = self.shared.state().clone();
        status(&self.mirror, state)
    }
}

/// How the fleet stands to a repository, as its mirror alone can tell.
///
/// # Errors
/// When git fails.
pub fn status_without_daemon(mirror: &Mirror) -> Result<SourceStatus, GitError> {
    let mut state = State {
        applied: mirror.applied()?,
        unfinished: Some("no round of its commit has ended as it should".to_owned()),
        ..State::default()
    };
    match mirror.read() {
        Ok(head) => {
            state.in_use = head.snapshot.commit;
            state.head = Some(head.fetched);
            state.refused = head.refused.map(|refused| refused.to_string());
        }
        Err(error) => state.failure = Some(error),
    }
    status(mirror, state)
}

fn status(mirror: &Mirror, state: State) -> Result<SourceStatus, GitError> {
    let newest = match (&state.head, &state.in_use) {
        (Some(head), in_use) if in_use.as_ref().map(|commit| &commit.id) != Some(head) => {
            Some(mirror.facts(head)?)
        }
        _ => None,
    };
    let behind = match (&state.head, &state.applied) {
        (None, _) => None,
        (Some(head), Some(applied)) if head == applied => None,
        (Some(head), applied) => {
            // What was made of a commit that is in no history any more cannot be counted from.
            let distance = applied
                .as_ref()
                .map(|applied| mirror.distance(applied, head));
            let distance = distance.and_then(Result::ok);
            let why = state.refused.or(state.unfinished);
            Some(Behind {
                commits: distance.map(|(commits, _)| commits),
                rewritten: distance.is_some_and(|(_, is_ancestor)| !is_ancestor),
                why: why.unwrap_or_else(|| "its round has not begun yet".to_owned()),
            })
        }
    };
    let revision = state
        .in_use
        .as_ref()
        .map(|commit| format!("git:{}", commit.short()));
    Ok(SourceStatus {
        source: mirror.source().to_string(),
        revision: revision.unwrap_or_default(),
        commit: state.in_use,
        commit_issue: None,
        newest,
        fetched: state.fetched,
        fetch_failure: state.failure.map(|failure| failure.to_string()),
        behind,
    })
}

/// Fetches for as long as somebody follows.
async fn fetch_on(
    mirror: Mirror,
    shared: Arc<Shared>,
    events: Events,
    mut asked: mpsc::Receiver<Asked>,
) {
    let interval = Duration::from(mirror.source().interval);
    let mut waiting: Vec<Asked> = Vec::new();
    loop {
        while let Ok(more) = asked.try_recv() {
            waiting.push(more);
        }
        let began = Instant::now();
        let fetched = Box::pin(mirror.fetch()).await;
        note(&mirror, &shared, &events, &fetched);
        for reply in waiting.drain(..).flatten() {
            // Whoever asked may be gone.
            let _ = reply.send(fetched.clone());
        }
        tokio::select! {
            () = tokio::time::sleep_until(began + interval) => {}
            more = asked.recv() => match more {
                Some(None) => {
                    waiting.push(None);
                    tokio::time::sleep_until(began + REST).await;
                }
                Some(more) => waiting.push(more),
                None => return,
            }
        }
    }
}

fn note(mirror: &Mirror, shared: &Shared, events: &Events, fetched: &Result<(), GitError>) {
    let head = match fetched {
        Ok(()) => mirror.head(),
        Err(error) => Err(error.clone()),
    };
    let mut state = shared.state();
    match head {
        Ok(head) => {
            if state.failure.take().is_some() {
                tracing::info!("the repository can be fetched again");
            }
            state.fetched = Some(jiff::Timestamp::now());
            if state.head != head {
                state.head.clone_from(&head);
                drop(state);
                tell(mirror, events, head.as_deref());
                shared.news.notify_one();
            }
        }
        Err(error) => {
            if state.failure.as_ref() != Some(&error) {
                tracing::warn!("{error}; what was known stays");
            }
            state.failure = Some(error);
        }
    }
}

fn tell(mirror: &Mirror, events: &Events, head: Option<&str>) {
    if let Some(Ok(commit)) = head.map(|id| mirror.facts(id)) {
        let revision = format!("git:{}", commit.short());
        let (author, subject) = (&commit.author, &commit.subject);
        tracing::info!(revision, author, subject, "fetched");
        events.tell(Event::Fetched {
            at: jiff::Timestamp::now(),
            commit,
        });
    }
}
