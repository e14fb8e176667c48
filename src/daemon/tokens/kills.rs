//! A process that changes tokens all the time is killed at random moments: what it told holds, and what it was at
//! is done whole or not at all.
//!
//! `INSTANCED_SOAK=long` (`make soak`) does it for longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

const CHILD_DIR: &str = "INSTANCED_TEST_TOKENS_DIR";
const TOLD: &str = "told";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn open(dir: &Path) -> (Arc<Store>, Tokens) {
    let store = Arc::new(Store::open(dir, Duration::from_secs(20)).unwrap());
    let tokens = Tokens::new(Arc::clone(&store), Arc::default(), Box::new(|_| {}));
    (store, tokens)
}

fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_be_bytes(bytes) % below
}

/// Tells what is about to happen, and what has happened: one write a line.
fn tell(dir: &Path, line: &str) {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join(TOLD));
    file.unwrap()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

/// Not a test of its own: what the killed process of the next test runs.
#[test]
fn child_that_changes_tokens_until_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let (store, tokens) = open(dir);
    // Writes to other trees fall between those of the tokens.
    thread::spawn(move || {
        for second in 0.. {
            let ids = store.tokens().unwrap().into_iter().map(|token| token.id);
            let at = Timestamp::from_second(second).unwrap();
            let uses = ids.map(|id| (id, at)).collect();
            store.note_uses(&uses).unwrap();
            store.set_protected(&BTreeSet::new()).unwrap();
        }
    });
    let alice: InstanceName = "alice".parse().unwrap();
    loop {
        let kept: Vec<_> = tokens.list(None).unwrap();
        let any = |fits: &dyn Fn(&TokenRecord) -> bool| {
            let fitting = kept.iter().map(|token| &token.record);
            let fitting: Vec<_> = fitting.filter(|record| fits(record)).collect();
            let at = random(fitting.len().max(1) as u64);
            fitting
                .get(usize::try_from(at).unwrap())
                .map(|record| record.id.clone())
        };
        let bearer = |token: &TokenRecord, label: &str| {
            token.kind == TokenKind::Bearer
                && token.successor.is_none()
                && token.label.starts_with(label)
        };
        let label = random(u64::MAX);
        let issue = |family: &str| IssueToken {
            instance: alice.clone(),
            label: format!("{family}-{label}"),
            expires: None,
            endpoints: Vec::new(),
        };
        match random(10) {
            0..2 => {
                let (record, _) = tokens.issue(issue("kept"), now()).unwrap();
                tell(dir, &format!("live {}", record.id));
            }
            2 => {
                let (record, _) = tokens.issue(issue("gone"), now()).unwrap();
                tell(dir, &format!("live {}", record.id));
            }
            3..5 => {
                let Some(id) = any(&|token| bearer(token, "kept")) else {
                    continue;
                };
                let asked = RotateToken::default();
                let Rotated { new, .. } = tokens.rotate(&id, &asked, now()).unwrap();
                tell(dir, &format!("live {}", new.id));
                tell(dir, &format!("replaced {id} {}", new.id));
            }
            5 => {
                let Some(id) = any(&|token| bearer(token, "gone")) else {
                    continue;
                };
                tell(dir, &format!("ending {id}"));
                tokens.revoke(&id).unwrap();
                tell(dir, &format!("gone {id}"));
            }
            6..8 => {
                let asked = AskTicket {
                    endpoint: "vnc".parse().unwrap(),
                    label: format!("ticket-{label}"),
                    lasts: None,
                    session: None,
                };
                let (ticket, _) = tokens.ticket(alice.clone(), asked, now()).unwrap();
                tell(dir, &format!("ticket {}", ticket.label));
                tell(dir, &format!("live {}", ticket.id));
            }
            _ => {
                let Some(id) = any(&|token| token.kind == TokenKind::Ticket) else {
                    continue;
                };
                tell(dir, &format!("ending {id}"));
                let (session, _) = tokens.redeem(&id, now()).unwrap();
                tell(dir, &format!("gone {id}"));
                tell(dir, &format!("live {}", session.id));
            }
        }
    }
}

/// What the killed processes told.
#[derive(Debug, Default)]
struct Ledger {
    live: BTreeSet<String>,
    /// What was to end: it may have, where that is not told.
    ending: BTreeSet<String>,
    gone: BTreeSet<String>,
    replaced: BTreeMap<String, String>,
    /// Labels of tickets.
    tickets: BTreeSet<String>,
}

impl Ledger {
    fn read(dir: &Path) -> Self {
        let mut ledger = Self::default();
        for line in fs::read_to_string(dir.join(TOLD)).unwrap().lines() {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            match (&*words[0], &words[1..]) {
                ("live", [id]) => ledger.live.insert(id.clone()),
                ("ending", [id]) => ledger.ending.insert(id.clone()),
                ("gone", [id]) => ledger.gone.insert(id.clone()),
                ("replaced", [old, new]) => {
                    let before = ledger.replaced.insert(old.clone(), new.clone());
                    before.is_none()
                }
                ("ticket", [label]) => ledger.tickets.insert(label.clone()),
                _ => panic!("{line}"),
            };
        }
        ledger
    }

    fn check(&self, tokens: &Tokens) {
        let listed = tokens.list(None).unwrap().into_iter();
        let kept: BTreeMap<_, _> = listed
            .map(|token| (token.record.id.clone(), token.record))
            .collect();
        for id in self.live.difference(&self.ending) {
            assert!(kept.contains_key(id), "{id} was shown, and is lost");
        }
        for id in &self.gone {
            assert!(!kept.contains_key(id), "{id} has gone, and is back");
            let error = tokens.redeem(id, now()).unwrap_err();
            assert!(matches!(error, TokensError::Spent(_)), "{error}");
        }
        for (old, new) in &self.replaced {
            assert_eq!(kept[old].successor.as_ref(), Some(new));
        }
        // Told or not: what is replaced has its successor, and a label has one token that is not replaced.
        let mut heads = BTreeMap::<_, u32>::new();
        let mut tickets = BTreeMap::<_, u32>::new();
        for record in kept.values() {
            match (record.kind, &record.successor) {
                (TokenKind::Bearer, Some(successor)) => {
                    assert_eq!(kept[successor].label, record.label);
                    assert!(record.expires.is_some());
                    heads.entry(&record.label).or_default();
                }
                (TokenKind::Bearer, None) => *heads.entry(&record.label).or_default() += 1,
                _ => *tickets.entry(&record.label).or_default() += 1,
            }
        }
        assert!(heads.values().all(|count| *count == 1), "{heads:?}");
        // A ticket or its session, never both and never neither.
        assert!(tickets.values().all(|count| *count == 1), "{tickets:?}");
        for label in &self.tickets {
            assert!(tickets.contains_key(label), "{label} is lost");
        }
    }
}

#[test]
fn a_kill_at_any_moment_takes_nothing_back_and_leaves_nothing_half_done() {
    let rounds = match std::env::var("INSTANCED_SOAK").as_deref() {
        Ok("long") => 150,
        _ => 12,
    };
    let dir = tempfile::TempDir::new().unwrap();
    let told = dir.path().join(TOLD);
    let lines = || fs::read(&told).map_or(0, |text| text.split(|b| *b == b'\n').count());
    for round in 0..rounds {
        let before = lines();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "daemon::tokens::kills::child_that_changes_tokens_until_killed",
            ])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while lines() < before + 6 {
            assert!(
                child.try_wait().unwrap().is_none(),
                "round {round}: the child ended by itself"
            );
            assert!(Instant::now() < deadline, "the child told nothing");
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(random(30_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let (_store, tokens) = open(dir.path());
        Ledger::read(dir.path()).check(&tokens);
    }
    let ledger = Ledger::read(dir.path());
    assert!(!ledger.gone.is_empty() && !ledger.replaced.is_empty());
}
