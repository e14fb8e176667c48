//! Each row of `docs/tickets.md` is a test here; a real browser has its own in `tests/e2e/tickets.rs`.

use proptest::prelude::*;

use super::*;
use crate::decisions::access::{AuthRequest, Guard, cookie, decide, other_cookies};
use crate::words::token::{TokenKind, TokenRecord};

const NOW: i64 = 1_800_000_000;
const HOST: &[u8] = b"vnc-alice.example.com";

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).unwrap()
}

fn record(text: &str, kind: TokenKind, endpoint: &str, expires: i64) -> TokenRecord {
    TokenRecord {
        id: text.to_owned(),
        instance: "alice".parse().unwrap(),
        label: text.to_owned(),
        hash: TokenHash::of(text.as_bytes()),
        created: at(0),
        expires: Some(at(expires)),
        endpoints: vec![endpoint.parse().unwrap()],
        kind,
        session_seconds: None,
        successor: None,
    }
}

fn table() -> AccessTable {
    let guard = |endpoint: &str, auth| Guard {
        instance: "alice".parse().unwrap(),
        endpoint: endpoint.parse().unwrap(),
        host: format!("{endpoint}-alice.example.com").parse().unwrap(),
        auth,
        grants: Vec::new(),
    };
    let later = NOW + 60;
    let mut bearer = record("bearer", TokenKind::Bearer, "vnc", later);
    bearer.endpoints.clear();
    let tokens = [
        bearer,
        record("scoped", TokenKind::Bearer, "vnc", later),
        record("ticket", TokenKind::Ticket, "vnc", later),
        record("late", TokenKind::Ticket, "vnc", NOW),
        record("elsewhere", TokenKind::Ticket, "app", later),
        record("session", TokenKind::Session, "vnc", later),
        record("over", TokenKind::Session, "vnc", NOW),
        record("app-session", TokenKind::Session, "app", later),
    ];
    let guards = [
        guard("vnc", Auth::Ticket),
        guard("app", Auth::Ticket),
        guard("mcp", Auth::Bearer),
    ];
    AccessTable::build(guards, &tokens)
}

/// A browser's request; the tests change one thing of it.
#[derive(Clone, Copy)]
struct Browser<'b> {
    uri: &'b str,
    cookies: &'b [&'b str],
    origin: Option<&'b str>,
    method: &'b str,
    scheme: &'b str,
    destination: Option<&'b str>,
    purpose: Option<&'b str>,
    authorization: Option<&'b str>,
}

const OPENS_A_LINK: Browser<'_> = Browser {
    uri: "/vnc.html?ticket=ticket",
    cookies: &[],
    origin: None,
    method: "GET",
    scheme: "https",
    destination: Some("document"),
    purpose: None,
    authorization: None,
};

const COMES_AGAIN: Browser<'_> = Browser {
    uri: "/vnc.html",
    cookies: &["__Host-instanced=session"],
    ..OPENS_A_LINK
};

/// The tokens, as the table has them.
const NAMES: [&str; 8] = [
    "bearer",
    "scoped",
    "ticket",
    "late",
    "elsewhere",
    "session",
    "over",
    "app-session",
];

fn once(value: Option<&str>) -> Header<'_> {
    value.map_or(Header::Absent, |value| Header::Once(value.as_bytes()))
}

/// What comes of it: the action and the token that led to it, or the reason.
fn verdict(browser: Browser<'_>) -> Result<(&'static str, &'static str), Reason> {
    let visitor = || Visitor {
        session: cookie(browser.cookies.iter().map(|c| c.as_bytes()), SESSION_COOKIE),
        method: once(Some(browser.method)),
        scheme: once(Some(browser.scheme)),
        destination: once(browser.destination),
        purpose: once(browser.purpose),
    };
    let policy = AccessPolicy::new(
        &["127.0.0.0/8".parse().unwrap()],
        &["https://desk.example.com".to_owned()],
    );
    let request = AuthRequest {
        peer: [127, 0, 0, 1].into(),
        method: "GET",
        path: "/auth/mcp-bearer-check/vnc-alice",
        authorization: once(browser.authorization),
        forwarded_host: Header::Once(HOST),
        forwarded_uri: Header::Once(browser.uri.as_bytes()),
        origin: once(browser.origin),
        visitor: &visitor,
    };
    let table = table();
    let name = |pass: Pass<'_>| NAMES[pass.token.unwrap()];
    match decide(&policy, Some(&table), &request, at(NOW)) {
        Verdict::Allow(pass) => Ok(("allow", name(pass))),
        Verdict::Redeem(pass) => Ok(("redeem", name(pass))),
        Verdict::Redirect(pass) => Ok(("redirect", name(pass))),
        Verdict::Refuse(refusal) => {
            assert!(refusal.to_person);
            Err(refusal.reason)
        }
    }
}

#[test]
fn a_ticket_in_a_link_that_a_person_opens_is_redeemed() {
    assert_eq!(verdict(OPENS_A_LINK), Ok(("redeem", "ticket")));
    let uri = "/?a=1&ticket=ticket&b=2";
    let elsewhere_in_the_query = Browser {
        uri,
        ..OPENS_A_LINK
    };
    assert_eq!(verdict(elsewhere_in_the_query), Ok(("redeem", "ticket")));
    // The cookie of another time does not stand in its way.
    let cookies = &["__Host-instanced=over"][..];
    let with_an_old_cookie = Browser {
        cookies,
        ..OPENS_A_LINK
    };
    assert_eq!(verdict(with_an_old_cookie), Ok(("redeem", "ticket")));
}

#[test]
fn nothing_but_a_person_who_opens_it_uses_a_ticket_up() {
    for (what, browser) in [
        (
            "a HEAD",
            Browser {
                method: "HEAD",
                ..OPENS_A_LINK
            },
        ),
        (
            "a POST",
            Browser {
                method: "POST",
                ..OPENS_A_LINK
            },
        ),
        (
            "no browser",
            Browser {
                destination: None,
                ..OPENS_A_LINK
            },
        ),
        (
            "a frame",
            Browser {
                destination: Some("iframe"),
                ..OPENS_A_LINK
            },
        ),
        (
            "a script",
            Browser {
                destination: Some("empty"),
                ..OPENS_A_LINK
            },
        ),
        (
            "a look ahead",
            Browser {
                purpose: Some("prefetch"),
                ..OPENS_A_LINK
            },
        ),
    ] {
        assert_eq!(verdict(browser), Err(Reason::NoCredentials), "{what}");
    }
}

#[test]
fn a_ticket_that_is_wrong_late_or_for_another_endpoint_opens_nothing() {
    for (ticket, reason) in [
        ("wrong", Reason::WrongToken),
        ("late", Reason::ExpiredToken),
        ("elsewhere", Reason::WrongToken),
        ("session", Reason::WrongToken),
        ("bearer", Reason::WrongToken),
        ("scoped", Reason::WrongToken),
    ] {
        let uri = format!("/?ticket={ticket}");
        let link = Browser {
            uri: &uri,
            ..OPENS_A_LINK
        };
        assert_eq!(verdict(link), Err(reason), "{ticket}");
        // Whoever has a session goes on with it: a link that was opened before still leads there.
        let again = Browser {
            uri: &uri,
            ..COMES_AGAIN
        };
        assert_eq!(verdict(again), Ok(("redirect", "session")), "{ticket}");
    }
}

#[test]
fn a_session_passes_for_its_endpoint_alone_and_as_long_as_it_lasts() {
    assert_eq!(verdict(COMES_AGAIN), Ok(("allow", "session")));
    for (cookies, reason) in [
        (&["__Host-instanced=over"][..], Reason::ExpiredToken),
        (&["__Host-instanced=app-session"], Reason::WrongToken),
        (&["__Host-instanced=ticket"], Reason::WrongToken),
        (&["__Host-instanced=bearer"], Reason::WrongToken),
        (&["__Host-instanced="], Reason::WrongToken),
        (&["instanced=session"], Reason::NoCredentials),
        (&["x__Host-instanced=session"], Reason::NoCredentials),
        (
            &["__Host-instanced=session; __Host-instanced=session"],
            Reason::WrongToken,
        ),
        (
            &["__Host-instanced=over", "__Host-instanced=session"],
            Reason::WrongToken,
        ),
        (&[], Reason::NoCredentials),
    ] {
        let browser = Browser {
            cookies,
            ..COMES_AGAIN
        };
        assert_eq!(verdict(browser), Err(reason), "{cookies:?}");
    }
    // HTTP/2 splits cookies over headers.
    let cookies = &["a=1; b=2", "__Host-instanced=session"][..];
    assert_eq!(
        verdict(Browser {
            cookies,
            ..COMES_AGAIN
        }),
        Ok(("allow", "session"))
    );
}

#[test]
fn a_bearer_s_token_opens_no_endpoint_of_people() {
    for authorization in [
        "Bearer bearer",
        "Bearer scoped",
        "Bearer session",
        "Bearer ticket",
    ] {
        let browser = Browser {
            cookies: &[],
            authorization: Some(authorization),
            ..COMES_AGAIN
        };
        assert_eq!(
            verdict(browser),
            Err(Reason::NoCredentials),
            "{authorization}"
        );
    }
}

#[test]
fn another_page_s_script_and_web_socket_do_not_pass_with_a_person_s_cookie() {
    let own = "https://vnc-alice.example.com";
    for (origin, scheme, passes) in [
        (own, "https", true),
        (own, "wss", true),
        ("https://VNC-Alice.example.com", "https", true),
        ("https://desk.example.com", "wss", true),
        ("https://mcp-alice.example.com", "https", false),
        ("https://vnc-bob.example.com", "wss", false),
        ("https://vnc-alice.example.com:8443", "https", false),
        ("http://vnc-alice.example.com", "https", false),
        (own, "http", false),
        (own, "ftp", false),
        ("null", "https", false),
        ("", "https", false),
    ] {
        let browser = Browser {
            origin: Some(origin),
            scheme,
            ..COMES_AGAIN
        };
        let expected = if passes {
            Ok(("allow", "session"))
        } else {
            Err(Reason::UnlistedOrigin)
        };
        assert_eq!(verdict(browser), expected, "{origin} over {scheme}");
    }
}

#[test]
fn a_link_leads_to_the_same_host_without_its_ticket() {
    for (link, target) in [
        ("/vnc.html?ticket=x", "/vnc.html"),
        ("/?a=1&ticket=x&b=2", "/?a=1&b=2"),
        ("/?ticket=x&ticket=y", "/"),
        ("/?&&ticket=x&", "/"),
        ("//evil.example/?ticket=x", "/evil.example/"),
        ("/\\evil.example/?ticket=x", "/evil.example/"),
        ("///\\/evil.example?ticket=x", "/evil.example"),
        ("https://evil.example/?ticket=x", "/https://evil.example/"),
        ("?ticket=x", "/"),
        ("/a?tickets=x", "/a?tickets=x"),
    ] {
        assert_eq!(
            without_ticket(link.as_bytes()).as_deref(),
            Some(target),
            "{link}"
        );
    }
    for link in [
        &b"/a b"[..],
        b"/\r\nSet-Cookie: a=b",
        b"/\xff",
        "/ä".as_bytes(),
    ] {
        assert_eq!(without_ticket(link), None, "{link:?}");
    }
}

#[test]
fn cookies_that_are_not_ours_go_on() {
    let others = |values: &[&str]| {
        let values = values.iter().map(|value| value.as_bytes());
        other_cookies(values, SESSION_COOKIE).map(|bytes| String::from_utf8(bytes).unwrap())
    };
    assert_eq!(others(&["__Host-instanced=x"]), None);
    assert_eq!(others(&[]), None);
    assert_eq!(
        others(&["a=1; __Host-instanced=x;b=2"]).unwrap(),
        "a=1; b=2"
    );
    assert_eq!(
        others(&["a=1", "__Host-instanced=x", "__Host-instanced = y", "b"]).unwrap(),
        "a=1; b"
    );
}

proptest! {
    /// Wherever a link leads, it is the same host's path: what a browser reads as one.
    #[test]
    fn no_link_leads_elsewhere(link in "\\PC*") {
        if let Some(target) = without_ticket(link.as_bytes()) {
            prop_assert!(target.starts_with('/'));
            prop_assert!(!target.starts_with("//") && !target.starts_with("/\\"));
            prop_assert!(!target.contains("?ticket=") && !target.contains("&ticket="));
        }
    }

    /// No cookie and no ticket but the known ones gets anybody past.
    #[test]
    fn only_a_known_session_passes(cookie in "[ -~]{0,60}", uri in "[ -~]{0,60}") {
        let cookies = [cookie.as_str()];
        let browser = Browser { uri: &uri, cookies: &cookies, ..COMES_AGAIN };
        if !cookie.contains("session") && !uri.contains("ticket=ticket") {
            prop_assert!(verdict(browser).is_err());
        }
    }

    /// Ours never goes on, however cookies are written.
    #[test]
    fn our_cookie_never_goes_on(before in "[ -~]{0,30}", value in "[0-9A-Za-z_]{1,20}", after in "[ -~]{0,30}") {
        let header = format!("{before}; {SESSION_COOKIE}={value}; {after}");
        let others = other_cookies([header.as_bytes()], SESSION_COOKIE).unwrap_or_default();
        let left = cookie([&others[..]], SESSION_COOKIE);
        prop_assert_eq!(left, Header::Absent);
    }
}

#[test]
fn a_ticket_beside_a_session_never_reaches_the_container() {
    let comes = |method, destination, uri| {
        let browser = Browser {
            uri,
            method,
            destination,
            ..COMES_AGAIN
        };
        verdict(browser)
    };
    let long = format!("/x?ticket={}", "t".repeat(10_000));
    for uri in [
        "/x?ticket=ticket",
        "/x?a=1&ticket=ticket",
        "/x?ticket=wrong",
        // The first says nothing, the second is whole.
        "/x?ticket=&ticket=ticket",
        "/x?ticket=",
        &long,
    ] {
        for destination in [None, Some("empty"), Some("iframe"), Some("websocket")] {
            for method in ["GET", "HEAD"] {
                let led = comes(method, destination, uri);
                assert_eq!(led, Ok(("redirect", "session")), "{method} {uri}");
            }
            // A body would be lost on the way.
            for method in ["POST", "PUT"] {
                let led = comes(method, destination, uri);
                assert_eq!(led, Err(Reason::Malformed), "{method} {uri}");
            }
        }
    }
    let other = comes("POST", None, "/x?ticketing=1&a=ticket=");
    assert_eq!(other, Ok(("allow", "session")));
}
