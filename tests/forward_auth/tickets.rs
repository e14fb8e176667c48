//! `docs/tickets.md` on the wire: links, sessions, and what becomes of them with a real store behind.

use instanced::daemon::tokens::{Published, Tokens};
use instanced::doors::store::Store;
use instanced::words::control::AskTicket;

use super::*;

const ASKED: &str = "/auth/mcp-bearer-check/vnc-alice";
const AT: &str = "X-Forwarded-Host: vnc-alice.mcp.localhost\r\nX-Forwarded-Proto: https\r\n";

/// The listener of one screen, and the store of its tickets.
struct Screen {
    server: Server,
    tokens: Arc<Tokens>,
    _state: tempfile::TempDir,
}

fn guard() -> Guard {
    Guard {
        instance: "alice".parse().unwrap(),
        endpoint: "vnc".parse().unwrap(),
        host: "vnc-alice.mcp.localhost".parse().unwrap(),
        auth: Auth::Ticket,
        grants: Vec::new(),
    }
}

impl Screen {
    fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(&state.path().join("state"), Duration::from_secs(5)).unwrap();
        let server = Server::start();
        let (table, counts) = (Arc::clone(&server.table), Arc::clone(&server.counts));
        let changed = move |published: Result<Published<'_>, &_>| {
            let Published { tokens, retired } = published.unwrap();
            let made = EdgeTable::build([guard()], tokens, &Uses::default(), &counts);
            let made = made.with_retired(retired.iter().copied());
            table.store(Some(Arc::new(made)));
        };
        let tokens = Tokens::new(Arc::new(store), Arc::default(), Box::new(changed));
        let tokens = Arc::new(tokens);
        server.tokens.store(Some(Arc::clone(&tokens)));
        Self {
            server,
            tokens,
            _state: state,
        }
    }

    fn ticket(&self) -> String {
        let ask = AskTicket {
            endpoint: "vnc".parse().unwrap(),
            label: "test".to_owned(),
            lasts: None,
            session: None,
        };
        let now = jiff::Timestamp::now();
        let made = self.tokens.ticket("alice".parse().unwrap(), ask, now);
        made.unwrap().1.expose().to_owned()
    }

    fn ask(&self, headers: &str) -> Answer {
        self.server.get(ASKED, &format!("{AT}{headers}"))
    }

    /// As a browser does whose person opens a link.
    fn open(&self, uri: &str, more: &str) -> Answer {
        self.ask(&opening(uri, more))
    }

    fn session(&self) -> String {
        let answer = self.open(&format!("/vnc.html?ticket={}", self.ticket()), "");
        let cookie = answer.header("set-cookie").unwrap();
        cookie.split(';').next().unwrap().to_owned()
    }
}

fn opening(uri: &str, more: &str) -> String {
    format!(
        "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: {uri}\r\nSec-Fetch-Dest: document\r\n{more}"
    )
}

#[test]
fn a_link_becomes_a_session_and_leads_on_without_its_ticket() {
    let screen = Screen::start();
    let uri = format!("/vnc.html?a=1&ticket={}&b=2", screen.ticket());
    let answer = screen.open(&uri, "");
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(answer.header("location"), Some("/vnc.html?a=1&b=2"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let cookie = answer.header("set-cookie").unwrap();
    let (value, flags) = cookie.split_once("; ").unwrap();
    assert!(value.starts_with("__Host-instanced=mcp_"), "{cookie}");
    let wanted = "Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax";
    assert!(
        flags == wanted || flags == wanted.replace("43200", "43199"),
        "{cookie}"
    );

    let again = screen.open(&uri, "");
    assert_eq!(again.status, 401);
    assert_eq!(again.header("set-cookie"), None);
    assert!(again.body.contains("This link does not open"));
    let same_browser = screen.open(&uri, &format!("Cookie: {value}\r\n"));
    assert_eq!(same_browser.status, 303, "{same_browser:?}");
    assert_eq!(same_browser.header("location"), Some("/vnc.html?a=1&b=2"));
    assert_eq!(same_browser.header("set-cookie"), None);
}

#[test]
fn of_many_who_open_a_link_at_once_one_gets_in() {
    let screen = Screen::start();
    let uri = format!("/vnc.html?ticket={}", screen.ticket());
    let screen = &screen;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| screen.open(&uri, "").status))
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    assert_eq!(count(303), 1, "{statuses:?}");
    assert_eq!(count(303) + count(401) + count(429), 16, "{statuses:?}");
}

#[test]
fn a_ticket_is_not_used_up_while_the_store_is_away() {
    let screen = Screen::start();
    let uri = format!("/vnc.html?ticket={}", screen.ticket());
    screen.server.tokens.store(None);
    let answer = screen.open(&uri, "");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.header("set-cookie"), None);
    assert!(answer.header("retry-after").is_some());
    screen.server.tokens.store(Some(Arc::clone(&screen.tokens)));
    assert_eq!(screen.open(&uri, "").status, 303);
}

#[test]
fn a_session_passes_with_the_cookies_that_are_not_ours() {
    let screen = Screen::start();
    let session = screen.session();
    let answer = screen.ask(&format!("Cookie: a=1; {session}; b=2\r\n"));
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("x-mcp-instance-id"), Some("alice"));
    let cookies = answer.header("cookie").unwrap();
    assert_eq!(cookies, "a=1; b=2");
    let alone = screen.ask(&format!("Cookie: {session}\r\n"));
    assert_eq!((alone.status, alone.header("cookie")), (204, None));
    for (origin, status) in [
        ("https://vnc-alice.mcp.localhost", 204),
        ("https://app.example.com", 204),
        ("http://vnc-alice.mcp.localhost", 403),
        ("https://vnc-bob.mcp.localhost", 403),
        ("null", 403),
    ] {
        let answer = screen.ask(&format!("Cookie: {session}\r\nOrigin: {origin}\r\n"));
        assert_eq!(answer.status, status, "{origin}");
    }
}

#[test]
fn a_revoked_session_and_a_bearer_open_nothing() {
    let screen = Screen::start();
    let session = screen.session();
    let asked = format!("Cookie: {session}\r\n");
    assert_eq!(screen.ask(&asked).status, 204);
    let kept = screen.tokens.list(None).unwrap();
    assert_eq!(kept.len(), 1, "the ticket is gone: {kept:?}");
    assert_eq!(kept[0].record.kind, TokenKind::Session);
    // Neither the session's own text nor anything else is a bearer here.
    let value = session.split_once('=').unwrap().1;
    let bearer = screen.ask(&format!("Authorization: Bearer {value}\r\n"));
    assert_eq!(bearer.status, 401);
    screen.tokens.revoke(&kept[0].record.id).unwrap();
    let answer = screen.ask(&asked);
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(answer.body.len() < 4096 && !answer.body.contains("<script"));
}

#[test]
fn a_ticket_that_a_script_sends_along_is_led_away_from_the_container() {
    let screen = Screen::start();
    let (session, ticket) = (screen.session(), screen.ticket());
    let sent = |method: &str, destination: &str| {
        screen.ask(&format!(
            "X-Forwarded-Method: {method}\r\nX-Forwarded-Uri: /app.js?v=1&ticket={ticket}\r\n\
             Sec-Fetch-Dest: {destination}\r\nCookie: {session}\r\n"
        ))
    };
    for destination in ["script", "empty", "iframe", "websocket"] {
        let answer = sent("GET", destination);
        assert_eq!(answer.status, 303, "{answer:?}");
        assert_eq!(answer.header("location"), Some("/app.js?v=1"));
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert_eq!(sent("POST", "empty").status, 400);
    // It was not used up by any of them.
    let opened = screen.open(&format!("/?ticket={ticket}"), "");
    assert_eq!(opened.status, 303);
    assert!(opened.header("set-cookie").is_some());
}

#[test]
fn a_link_that_was_used_and_a_session_that_was_revoked_are_no_guesses() {
    let screen = Screen::start();
    let ticket = screen.ticket();
    let uri = format!("/?ticket={ticket}");
    let opened = screen.open(&uri, "");
    let cookie = opened.header("set-cookie").unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let session = screen.tokens.list(None).unwrap();
    let session = session.iter().find(|t| t.record.kind == TokenKind::Session);
    screen.tokens.revoke(&session.unwrap().record.id).unwrap();
    for _ in 0..30 {
        assert_eq!(screen.open(&uri, "").status, 401);
        let with_cookie = screen.open("/", &format!("Cookie: {cookie}\r\n"));
        assert_eq!(with_cookie.status, 401);
    }
    assert_eq!(screen.server.counts.refused(Reason::RetiredToken), 60);
}
