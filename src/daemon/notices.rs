//! Notices of what needs a person, to those whom `notify` names. A round only says what it came to; what is told, and when,
//! is [`crate::decisions::notice`]'s, and what is delivered to whom waits in the store until it is taken. So no round waits
//! for a receiver, no receiver for another, and a restart tells nothing twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify as Signal, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::chain::{chain, failure};
use super::clock::jitter;
use super::follow::Syncer;
use super::memory::blocking;
use crate::decisions::notice::{Ledger, Letter, Notice, Patience, Seen};
use crate::decisions::pace::Backoff;
use crate::decisions::report::{Failure, Report};
use crate::decisions::source::SourceStatus;
use crate::decisions::status::InstanceStatus;
use crate::doors::post::{PostError, Poster, Target};
use crate::doors::sign::Secrets;
use crate::doors::store::Store;
use crate::words::config::{Notify, Receiver};
use crate::words::name::ManagerName;

/// How long a receiver may take to answer: what the specification recommends at least.
const WITHIN: Duration = Duration::from_secs(15);
/// How long an answer is waited for once the daemon is told to stop.
const GRACE: Duration = Duration::from_secs(1);
/// How long a letter is tried.
const TRIED: Duration = Duration::from_secs(3 * 24 * 3_600);
/// How long a receiver may have us wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// The keeper looks again at least this often: it is no timer for years.
const LOOK: Duration = Duration::from_secs(60);

/// What became of notices since the start.
#[derive(Debug, Default)]
pub struct NoticeCounts {
    delivered: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    waiting: AtomicU64,
}

impl NoticeCounts {
    /// Letters that a receiver took.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Tries that came to nothing.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Letters that were given up.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Letters that wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// What a round over the whole fleet came to.
#[derive(Debug, Clone)]
pub struct Came {
    /// Its report.
    pub report: Report,
    /// How all instances stood, where it has seen them.
    pub standing: Vec<InstanceStatus>,
}

/// Where rounds say what they came to.
#[derive(Debug, Clone)]
pub struct Notices(watch::Sender<Option<Arc<Came>>>);

impl Notices {
    /// Says it; waits for nothing. Of several that nobody has looked at the last one counts.
    pub fn note(&self, report: &Report, standing: Vec<InstanceStatus>) {
        let report = report.clone();
        self.0
            .send_replace(Some(Arc::new(Came { report, standing })));
    }
}

/// What is told and delivered, as the tasks share it.
struct Desk {
    manager: ManagerName,
    patience: Patience,
    ledger: Mutex<Ledger>,
    /// One writer of the store at a time, so that the last one has written what is.
    writing: tokio::sync::Mutex<()>,
    store: Arc<Store>,
    counts: Arc<NoticeCounts>,
    receivers: Vec<Mailbox>,
}

/// One receiver.
struct Mailbox {
    /// Names it in the store, which is to hold no address that may be as good as a password.
    key: String,
    secret_file: std::path::PathBuf,
    poster: Poster,
    mail: Signal,
}

/// Begins to tell those whom the configuration names; nothing, where it names nobody. The tasks end with `end`.
///
/// # Errors
/// When a secret or an authority cannot be read.
pub async fn start(
    (config, manager): (&Notify, &ManagerName),
    store: &Arc<Store>,
    syncer: Option<Syncer>,
    counts: Arc<NoticeCounts>,
    tasks: &mut JoinSet<()>,
    end: &CancellationToken,
) -> Result<Option<Notices>, Failure> {
    if config.webhooks.is_empty() {
        return Ok(None);
    }
    let receivers = config.webhooks.iter().map(mailbox);
    let receivers = receivers.collect::<Result<Vec<_>, _>>()?;
    let mut ledger = blocking(store, Store::notices)
        .await
        .unwrap_or_else(|error| {
            // It is told twice rather than not at all.
            tracing::warn!("what was told before cannot be read: {}", chain(&error));
            Ledger::default()
        });
    let keys: Vec<String> = receivers.iter().map(|one| one.key.clone()).collect();
    ledger.keep(&keys);
    let desk = Arc::new(Desk {
        manager: manager.clone(),
        patience: Patience {
            after: config.after.into(),
            remind: config.remind.into(),
        },
        ledger: Mutex::new(ledger),
        writing: tokio::sync::Mutex::default(),
        store: Arc::clone(store),
        counts,
        receivers,
    });
    desk.count_waiting();
    for n in 0..desk.receivers.len() {
        let (desk, end) = (Arc::clone(&desk), end.clone());
        tasks.spawn(async move { deliver(&desk, n, &end).await });
    }
    let (notices, came) = watch::channel(None);
    let end = end.clone();
    tasks.spawn(async move { desk.keep(came, syncer, &end).await });
    Ok(Some(Notices(notices)))
}

fn mailbox(receiver: &Receiver) -> Result<Mailbox, Failure> {
    let target = Target::parse(&receiver.url).map_err(|why| Failure {
        message: format!("a receiver's address under `notify` {why}"),
        help: None,
    })?;
    // Read anew for each letter, so that it can be changed; one that is none is told at the start.
    Secrets::read(&receiver.secret_file).map_err(|error| failure(&error))?;
    let poster = Poster::new(target, receiver.ca_file.as_deref(), WITHIN);
    Ok(Mailbox {
        key: blake3::hash(receiver.url.as_bytes()).to_hex()[..16].to_owned(),
        secret_file: receiver.secret_file.clone(),
        poster: poster.map_err(|error| failure(&error))?,
        mail: Signal::new(),
    })
}

impl Desk {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_waiting(&self) {
        let waiting = u64::try_from(self.ledger().letters.len()).unwrap_or(u64::MAX);
        self.counts.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Writes down what must outlive the process. What the store does not take is known here, and told again after a
    /// restart.
    async fn save(&self) {
        self.count_waiting();
        let _writing = self.writing.lock().await;
        let ledger = {
            let ledger = self.ledger();
            Ledger {
                book: ledger.book.told(),
                letters: ledger.letters.clone(),
            }
        };
        let kept = blocking(&self.store, move |store| store.put_notices(&ledger)).await;
        if let Err(error) = kept {
            tracing::warn!(
                "what was told could not be kept, so a restart may tell it again: {}",
                chain(&error)
            );
        }
    }

    /// Looks at what rounds come to, and writes letters.
    async fn keep(
        &self,
        mut came: watch::Receiver<Option<Arc<Came>>>,
        syncer: Option<Syncer>,
        end: &CancellationToken,
    ) {
        loop {
            let next = self.ledger().book.next(&self.patience);
            let now = jiff::Timestamp::now();
            let left = next.map(|next| Duration::try_from(next.duration_since(now)));
            // One that is due already was told just now, and is due again in a moment.
            let left = left.map_or(LOOK, |left| left.unwrap_or_default().min(LOOK));
            let seen = tokio::select! {
                changed = came.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let last = came.borrow_and_update().clone();
                    match last {
                        Some(last) => Some(see(&last, syncer.as_ref()).await),
                        None => None,
                    }
                }
                () = tokio::time::sleep(left) => None,
                () = end.cancelled() => return,
            };
            let now = jiff::Timestamp::now();
            let notices = {
                let mut ledger = self.ledger();
                match seen {
                    Some(seen) => ledger.book.note(&seen, &self.patience, now),
                    None => ledger.book.tell(&self.patience, now),
                }
            };
            if !notices.is_empty() {
                self.write(&notices, now);
                self.save().await;
                for receiver in &self.receivers {
                    receiver.mail.notify_one();
                }
            }
        }
    }

    /// A letter of each notice for each receiver.
    fn write(&self, notices: &[Notice], at: jiff::Timestamp) {
        let mut ledger = self.ledger();
        for notice in notices {
            let (body, id) = (notice.body(&self.manager, at), new_id());
            for receiver in &self.receivers {
                let gone = ledger.add(Letter {
                    id: id.clone(),
                    to: receiver.key.clone(),
                    at,
                    body: body.clone(),
                });
                if gone > 0 {
                    let to = receiver.poster.target().shown();
                    tracing::warn!(to, gone, "too many notices wait: the oldest were given up");
                    let gone = u64::try_from(gone).unwrap_or(u64::MAX);
                    self.counts.dropped.fetch_add(gone, Ordering::Relaxed);
                }
            }
        }
    }
}

/// What is known after a round; how the fleet stands to a repository is asked of git.
async fn see(last: &Came, syncer: Option<&Syncer>) -> Seen {
    let source = match syncer.cloned() {
        None => Some(SourceStatus::default()),
        Some(syncer) => {
            let status = tokio::task::spawn_blocking(move || syncer.status()).await;
            status.ok().and_then(Result::ok)
        }
    };
    Seen::of(&last.report, &last.standing, source.as_ref())
}

/// Random, so that no two are the same; a system without randomness has the time.
fn new_id() -> String {
    let mut random = jiff::Timestamp::now().as_nanosecond().to_be_bytes();
    let _ = getrandom::fill(&mut random);
    format!("msg_{:032x}", u128::from_be_bytes(random))
}

/// Delivers the letters of one receiver, one after another, each until it is taken or given up.
async fn deliver(desk: &Desk, n: usize, end: &CancellationToken) {
    let receiver = &desk.receivers[n];
    let to = receiver.poster.target().shown();
    let mut failures = 0_u32;
    loop {
        let letter = desk.ledger().next(&receiver.key).cloned();
        let Some(letter) = letter else {
            tokio::select! {
                () = receiver.mail.notified() => continue,
                () = end.cancelled() => return,
            }
        };
        let sent = tokio::select! {
            sent = receiver.send(&letter) => sent,
            // What is not answered soon goes out at the next start, under the same name.
            () = async {
                end.cancelled().await;
                tokio::time::sleep(GRACE).await;
            } => return,
        };
        let Err(error) = sent else {
            if failures > 0 {
                tracing::info!(to, "notices are taken again");
            }
            failures = 0;
            desk.counts.delivered.fetch_add(1, Ordering::Relaxed);
            desk.ledger().remove(&receiver.key, &letter.id);
            desk.save().await;
            continue;
        };
        desk.counts.failed.fetch_add(1, Ordering::Relaxed);
        failures = failures.saturating_add(1);
        let age = jiff::Timestamp::now().duration_since(letter.at);
        if error.is_final() || Duration::try_from(age).is_ok_and(|age| age > TRIED) {
            tracing::error!(to, id = letter.id, "a notice is given up: {}", error.told());
            desk.counts.dropped.fetch_add(1, Ordering::Relaxed);
            desk.ledger().remove(&receiver.key, &letter.id);
            desk.save().await;
            continue;
        }
        if failures == 1 {
            tracing::warn!(
                to,
                "a notice cannot be delivered, and is tried again: {}",
                error.told()
            );
        } else {
            tracing::debug!(
                to,
                failures,
                "a notice cannot be delivered: {}",
                error.told()
            );
        }
        let pause = Backoff::USUAL.next(failures, jitter()).max(error.wait());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = end.cancelled() => return,
        }
    }
}

/// Why a letter was not taken.
enum Undelivered {
    Secret(crate::doors::sign::SecretError),
    Post(PostError),
}

impl Undelivered {
    fn told(&self) -> String {
        match self {
            Self::Secret(error) => chain(error),
            Self::Post(error) => chain(error),
        }
    }

    /// Whoever answers 410 wants no more of it.
    fn is_final(&self) -> bool {
        matches!(self, Self::Post(PostError::Status { status: 410, .. }))
    }

    /// How long the receiver asks us to wait.
    fn wait(&self) -> Duration {
        match self {
            Self::Post(PostError::Status { retry_after, .. }) => {
                retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)
            }
            _ => Duration::ZERO,
        }
    }
}

impl Mailbox {
    async fn send(&self, letter: &Letter) -> Result<(), Undelivered> {
        let secrets = Secrets::read(&self.secret_file).map_err(Undelivered::Secret)?;
        let seconds = jiff::Timestamp::now().as_second();
        let signature = secrets.sign(&letter.id, seconds, &letter.body);
        let seconds = seconds.to_string();
        let headers = [
            ("webhook-id", letter.id.as_str()),
            ("webhook-timestamp", &seconds),
            ("webhook-signature", &signature),
        ];
        let posted = self.poster.post(&headers, &letter.body).await;
        posted.map_err(Undelivered::Post)
    }
}
