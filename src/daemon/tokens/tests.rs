use std::time::Duration;

use super::*;

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).unwrap()
}

fn ask(instance: &str, label: &str) -> IssueToken {
    IssueToken {
        instance: instance.parse().unwrap(),
        label: label.to_owned(),
        expires: None,
        endpoints: Vec::new(),
    }
}

struct Bench {
    tokens: Tokens,
    published: Arc<Mutex<Vec<usize>>>,
    uses: Arc<Uses>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn records(&self) -> Vec<TokenRecord> {
        let listed = self.tokens.list(None).unwrap().into_iter();
        listed.map(|token| token.record).collect()
    }

    fn record(&self, id: &str) -> Option<TokenRecord> {
        self.records().into_iter().find(|token| token.id == id)
    }

    fn rotate(&self, id: &str, asked: &RotateToken, second: i64) -> TokenRecord {
        self.tokens.rotate(id, asked, at(second)).unwrap().new
    }

    /// A ticket made at second 0, for 10 s and a session of 100 s.
    fn ticket(&self) -> (TokenRecord, Token) {
        let ask = AskTicket {
            lasts: Some(Span::secs(10)),
            session: Some(Span::secs(100)),
            ..ask_ticket()
        };
        let made = self.tokens.ticket("alice".parse().unwrap(), ask, at(0));
        made.unwrap()
    }
}

fn ask_ticket() -> AskTicket {
    AskTicket {
        endpoint: "vnc".parse().unwrap(),
        label: "Ada".to_owned(),
        lasts: None,
        session: None,
    }
}

fn rotation(overlap: Option<Span>) -> RotateToken {
    RotateToken {
        overlap,
        expires: None,
    }
}

fn bench() -> Bench {
    let dir = tempfile::TempDir::new().unwrap();
    let store = Arc::new(Store::open(dir.path(), Duration::ZERO).unwrap());
    let published = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&published);
    let uses = Arc::new(Uses::default());
    let changed: Changed =
        Box::new(move |tokens| seen.lock().unwrap().push(tokens.unwrap().tokens.len()));
    Bench {
        tokens: Tokens::new(store, Arc::clone(&uses), changed),
        published,
        uses,
        _dir: dir,
    }
}

#[test]
fn an_issued_token_is_kept_by_its_hash_and_published_before_it_is_returned() {
    let bench = bench();
    let (record, token) = bench.tokens.issue(ask("alice", "laptop"), at(5)).unwrap();
    assert_eq!(record.id, token.id());
    assert_eq!(record.hash, token.hash());
    assert_eq!(token.expose().parse::<Token>().unwrap(), token);
    assert_eq!(bench.records(), std::slice::from_ref(&record));
    assert_eq!(*bench.published.lock().unwrap(), [1]);
    let kept = serde_json::to_string(&record).unwrap();
    assert!(!kept.contains(token.expose()));
}

#[test]
fn a_revoked_token_is_gone_from_what_is_published() {
    let bench = bench();
    let (record, _) = bench.tokens.issue(ask("alice", "laptop"), at(5)).unwrap();
    bench.tokens.revoke(&record.id).unwrap();
    assert_eq!(*bench.published.lock().unwrap(), [1, 0]);
    assert!(matches!(
        bench.tokens.revoke(&record.id),
        Err(TokensError::Unknown(_))
    ));
}

#[test]
fn a_label_is_one_live_tokens_of_an_instance() {
    let bench = bench();
    let first = IssueToken {
        expires: Some(at(10)),
        ..ask("alice", "laptop")
    };
    let (first, _) = bench.tokens.issue(first, at(5)).unwrap();
    let error = bench
        .tokens
        .issue(ask("alice", "laptop"), at(9))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&first.id) && error.contains("revoke"),
        "{error}"
    );
    bench.tokens.issue(ask("bob", "laptop"), at(9)).unwrap();
    bench.tokens.issue(ask("alice", "laptop"), at(10)).unwrap();
    let alice = "alice".parse().unwrap();
    assert_eq!(bench.tokens.list(Some(&alice)).unwrap().len(), 2);
}

#[test]
fn what_could_never_be_used_or_shown_is_refused() {
    let bench = bench();
    let past = IssueToken {
        expires: Some(at(5)),
        ..ask("alice", "laptop")
    };
    assert!(matches!(
        bench.tokens.issue(past, at(5)),
        Err(TokensError::Past(_))
    ));
    for label in ["", " a", "a\nb", &"x".repeat(101)] {
        let error = bench.tokens.issue(ask("alice", label), at(5)).unwrap_err();
        assert!(matches!(error, TokensError::Label(_)), "{label:?}");
    }
    assert!(bench.tokens.list(None).unwrap().is_empty());
}

#[test]
fn many_at_once_lose_none() {
    let bench = bench();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let tokens = &bench.tokens;
            scope.spawn(move || {
                for m in 0..5 {
                    tokens
                        .issue(ask("alice", &format!("{n}-{m}")), at(5))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(bench.tokens.list(None).unwrap().len(), 20);
    assert_eq!(
        *bench.published.lock().unwrap(),
        (1..=20).collect::<Vec<_>>()
    );
}

#[test]
fn a_token_may_be_for_some_endpoints_alone() {
    let bench = bench();
    let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    let asked = IssueToken {
        endpoints: names(&["sse", "mcp", "sse"]),
        ..ask("alice", "laptop")
    };
    let (record, _) = bench.tokens.issue(asked, at(5)).unwrap();
    assert_eq!(record.endpoints, names(&["mcp", "sse"]));
}

#[test]
fn a_rotated_token_goes_on_for_the_overlap_and_its_label_is_the_new_ones() {
    let bench = bench();
    let asked = IssueToken {
        expires: Some(at(100 * 86_400)),
        endpoints: vec!["mcp".parse().unwrap()],
        ..ask("alice", "laptop")
    };
    let (old, _) = bench.tokens.issue(asked, at(10 * 86_400)).unwrap();
    let now = at(20 * 86_400);
    let rotated = bench.tokens.rotate(&old.id, &rotation(None), now);
    let Rotated {
        old: ending,
        new,
        token,
    } = rotated.unwrap();
    assert_eq!(new.hash, token.hash());
    assert_eq!(
        (&new.instance, &new.label, &new.endpoints, new.created),
        (&old.instance, &old.label, &old.endpoints, now)
    );
    // It lives as long as the old one was given.
    assert_eq!(new.expires, Some(at(110 * 86_400)));
    let kept = bench.record(&old.id).unwrap();
    assert_eq!(kept, ending);
    assert_eq!(kept.expires, Some(at(21 * 86_400)));
    assert_eq!(kept.successor.as_deref(), Some(&*new.id));
    assert_eq!(*bench.published.lock().unwrap(), [1, 2]);
    let error = bench.tokens.issue(ask("alice", "laptop"), now).unwrap_err();
    assert!(matches!(error, TokensError::LabelTaken { id, .. } if id == new.id));
    // The label is free once the new one is gone, though the old one goes on.
    bench.tokens.revoke(&new.id).unwrap();
    bench.tokens.issue(ask("alice", "laptop"), now).unwrap();
}

#[test]
fn an_overlap_is_at_most_until_the_old_ones_end_and_may_be_none() {
    let bench = bench();
    let asked = IssueToken {
        expires: Some(at(100)),
        ..ask("alice", "laptop")
    };
    let (first, _) = bench.tokens.issue(asked, at(0)).unwrap();
    let asked = RotateToken {
        expires: Some(at(1_000)),
        ..rotation(None)
    };
    let second = bench.rotate(&first.id, &asked, 50);
    assert_eq!(bench.record(&first.id).unwrap().expires, Some(at(100)));
    assert_eq!(second.expires, Some(at(1_000)));
    let asked = rotation(Some(Span(0)));
    let third = bench.rotate(&second.id, &asked, 60);
    assert!(!bench.record(&second.id).unwrap().is_live(at(60)));
    assert_eq!(third.expires, Some(at(60 + 950)));
    let (forever, _) = bench.tokens.issue(ask("bob", "laptop"), at(60)).unwrap();
    let asked = rotation(Some(Span(u64::MAX)));
    let new = bench.rotate(&forever.id, &asked, 61);
    assert_eq!(new.expires, None);
    assert!(bench.record(&forever.id).unwrap().is_live(at(1 << 32)));
}

#[test]
fn what_cannot_be_rotated_is_refused_with_the_way_out_and_changes_nothing() {
    let bench = bench();
    let asked = IssueToken {
        expires: Some(at(10)),
        ..ask("alice", "over")
    };
    let (over, _) = bench.tokens.issue(asked, at(0)).unwrap();
    let (ticket, _) = bench.ticket();
    let (old, _) = bench.tokens.issue(ask("alice", "old"), at(0)).unwrap();
    let new = bench.rotate(&old.id, &rotation(None), 0);
    let before = bench.records();
    let refused = |id: &str, asked: &RotateToken, now: i64, way_out: &str| {
        let error = bench.tokens.rotate(id, asked, at(now)).unwrap_err();
        assert!(error.to_string().contains(way_out), "{error}");
    };
    refused("k3v9x0qa", &rotation(None), 5, "no token with the id");
    refused(&over.id, &rotation(None), 10, "issue a new one");
    refused(&ticket.id, &rotation(None), 5, "revoke it");
    refused(&old.id, &rotation(None), 5, &new.id);
    let past = RotateToken {
        expires: Some(at(5)),
        ..rotation(None)
    };
    refused(&new.id, &past, 5, "expired already");
    assert_eq!(bench.records(), before);
}

#[test]
fn a_ticket_becomes_one_session_for_its_endpoint() {
    let bench = bench();
    let (ticket, _) = bench.ticket();
    // Labels of tickets and sessions are nobody's alone.
    let (other, _) = bench.ticket();
    bench.tokens.issue(ask("alice", "Ada"), at(0)).unwrap();
    assert_eq!(ticket.kind, TokenKind::Ticket);
    assert_eq!(
        (ticket.expires, ticket.session_seconds),
        (Some(at(10)), Some(100))
    );
    let (session, token) = bench.tokens.redeem(&ticket.id, at(9)).unwrap();
    assert_eq!(session.hash, token.hash());
    assert_eq!(session.kind, TokenKind::Session);
    assert_eq!(
        (&session.label, &session.endpoints, session.expires),
        (&ticket.label, &ticket.endpoints, Some(at(109)))
    );
    assert_eq!(bench.record(&ticket.id), None);
    assert_eq!(*bench.published.lock().unwrap(), [1, 2, 3, 3]);
    for (id, now) in [(&ticket.id, 9), (&other.id, 10), (&session.id, 9)] {
        let error = bench.tokens.redeem(id, at(now)).unwrap_err();
        assert!(matches!(error, TokensError::Spent(_)), "{error}");
    }
}

#[test]
fn of_many_who_redeem_a_ticket_at_once_one_gets_a_session() {
    let bench = bench();
    for _ in 0..5 {
        let (ticket, _) = bench.ticket();
        let redeemed: Vec<bool> = std::thread::scope(|scope| {
            let redeem = || scope.spawn(|| bench.tokens.redeem(&ticket.id, at(1)).is_ok());
            let threads = [redeem(), redeem(), redeem(), redeem()];
            threads.map(|thread| thread.join().unwrap()).to_vec()
        });
        assert_eq!(redeemed.iter().filter(|won| **won).count(), 1);
    }
    assert_eq!(bench.records().len(), 5);
}

#[test]
fn tickets_and_sessions_last_for_no_longer_than_is_good() {
    let bench = bench();
    let make = |lasts: Option<&str>, session: Option<&str>| {
        let ask = AskTicket {
            lasts: lasts.map(|text| text.parse().unwrap()),
            session: session.map(|text| text.parse().unwrap()),
            ..ask_ticket()
        };
        bench.tokens.ticket("alice".parse().unwrap(), ask, at(0))
    };
    let (ticket, _) = make(None, None).unwrap();
    assert_eq!(
        (ticket.expires, ticket.session_seconds),
        (Some(at(600)), Some(43_200))
    );
    make(Some("1d"), Some("30d")).unwrap();
    for (lasts, session, named) in [
        (Some("0"), None, "a ticket lasts for 1s to 1d, not for 0s"),
        (Some("25h"), None, "1d"),
        (None, Some("999ms"), "a session lasts for 1s to 30d"),
        (None, Some("31d"), "not for 31d"),
    ] {
        let error = make(lasts, session).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn tickets_and_sessions_that_are_over_are_removed_and_bearer_tokens_stay() {
    let bench = bench();
    let asked = IssueToken {
        expires: Some(at(5)),
        ..ask("alice", "over")
    };
    let (over, _) = bench.tokens.issue(asked, at(0)).unwrap();
    let (ticket, _) = bench.ticket();
    let (redeemed, _) = bench.ticket();
    let (session, _) = bench.tokens.redeem(&redeemed.id, at(1)).unwrap();
    let ids = || -> Vec<String> { bench.records().into_iter().map(|t| t.id).collect() };
    // A refresh sweeps at once, then each ten minutes.
    bench.tokens.refresh(at(9)).unwrap();
    assert_eq!(ids().len(), 3);
    bench.tokens.refresh(at(50)).unwrap();
    assert!(ids().contains(&ticket.id));
    // Whatever is made takes along what is over.
    let (live, _) = bench.tokens.issue(ask("alice", "live"), at(50)).unwrap();
    assert!(!ids().contains(&ticket.id) && ids().contains(&session.id));
    bench.tokens.refresh(at(9 + 600)).unwrap();
    let mut expected = [over.id, live.id];
    expected.sort();
    assert_eq!(ids(), expected);
}

#[test]
fn a_token_that_was_replaced_is_listed_for_a_month_after_its_end() {
    let bench = bench();
    let (old, _) = bench.tokens.issue(ask("alice", "laptop"), at(0)).unwrap();
    let asked = rotation(Some(Span::secs(10)));
    bench.rotate(&old.id, &asked, 0);
    let month = 30 * 86_400;
    bench.tokens.refresh(at(month + 9)).unwrap();
    assert!(bench.record(&old.id).is_some());
    bench.tokens.refresh(at(month + 700)).unwrap();
    assert!(bench.record(&old.id).is_none());
    assert_eq!(bench.records().len(), 1);
}

#[test]
fn the_last_use_is_the_stores_until_this_process_sees_one() {
    let bench = bench();
    let (record, _) = bench.tokens.issue(ask("alice", "laptop"), at(0)).unwrap();
    let last = || bench.tokens.list(None).unwrap()[0].last_used;
    assert_eq!(last(), None);
    let uses = [(record.id.clone(), at(5)), ("gone".to_owned(), at(6))];
    bench.tokens.store.note_uses(&uses.into()).unwrap();
    assert_eq!(last(), Some(at(5)));
    bench.uses.of(&record.id).note(8);
    assert_eq!(last(), Some(at(8)));
    let listed = serde_json::to_value(&bench.tokens.list(None).unwrap()[0]).unwrap();
    assert_eq!(listed["last_used"], "1970-01-01T00:00:08Z");
    assert_eq!(listed["label"], "laptop");
}
