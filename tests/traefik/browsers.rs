//! Pages of other origins: listed ones may call, others may not.

use super::http::Answer;
use super::lab::{Daemon, Lab, UNKNOWN, Wishes, passed};

const APP: &str = "https://app.example.com";

/// A header's parts, in lower case.
fn parts(answer: &Answer, name: &str) -> Vec<String> {
    let value = answer.header(name).unwrap_or_default().to_ascii_lowercase();
    let mut parts: Vec<String> = value.split(',').map(|p| p.trim().to_owned()).collect();
    parts.sort();
    parts
}

fn says_nothing(answer: &Answer) {
    let told = answer.headers.iter();
    let told: Vec<_> = told
        .filter(|(name, _)| name == "access-control-allow-origin")
        .collect();
    assert!(told.is_empty(), "{answer:?}");
}

#[test]
fn pages_of_listed_origins_may_call_and_no_others() {
    let lab = Lab::with(Wishes {
        origins: &[APP],
        ..Wishes::default()
    });
    let _daemon = Daemon::start(&lab, &[]);
    let _edge = lab.edge();
    let token = lab.token("alice", "page");
    lab.until_known("alice", &token);
    let origin = format!("Origin: {APP}\r\n");
    let (reached, judged) = (lab.upstream.asked(), lab.answered(None, None));

    // A preflight carries no token, and neither daemon nor instance hear of it.
    let preflight = |name: &str, origin: &str| {
        lab.ask(format!(
            "OPTIONS /mcp HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization,content-type,mcp-session-id\r\n\r\n",
            lab.host(name)
        ))
    };
    let allowed = preflight("alice", APP);
    assert!(matches!(allowed.status, 200 | 204), "{allowed:?}");
    assert_eq!(allowed.header("access-control-allow-origin"), Some(APP));
    assert_eq!(
        parts(&allowed, "access-control-allow-methods"),
        ["delete", "get", "options", "post"]
    );
    assert_eq!(
        parts(&allowed, "access-control-allow-headers"),
        [
            "accept",
            "authorization",
            "content-type",
            "last-event-id",
            "mcp-protocol-version",
            "mcp-session-id"
        ]
    );
    assert_eq!(allowed.header("access-control-max-age"), Some("600"));
    assert_eq!(allowed.header("access-control-allow-credentials"), None);
    assert_eq!(preflight(UNKNOWN, APP).timeless(), allowed.timeless());
    for other in [
        "https://evil.example.com",
        "https://app.example.com.evil.example",
        "null",
    ] {
        says_nothing(&preflight("alice", other));
    }
    assert_eq!(lab.upstream.asked(), reached);
    assert_eq!(lab.answered(None, None), judged);

    let called = lab.get_as("alice", &token, &origin);
    passed(&called, "alice", &token);
    let wrong = lab.get_as("alice", "wrong", &origin);
    let none = lab.get("alice", &origin);
    for (answer, status) in [(&called, 200), (&wrong, 401), (&none, 401)] {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        assert!(
            parts(answer, "access-control-expose-headers").contains(&"mcp-session-id".to_owned()),
            "{answer:?}"
        );
        assert!(
            parts(answer, "vary").contains(&"origin".to_owned()),
            "{answer:?}"
        );
    }
    assert_eq!(called.header("mcp-session-id"), Some("s1"));
    assert!(none.header("www-authenticate").is_some());

    let reached = lab.upstream.asked();
    for other in [
        "https://evil.example.com",
        "http://app.example.com",
        "https://app.example.com:444",
        "null",
    ] {
        let answer = lab.get_as("alice", &token, &format!("Origin: {other}\r\n"));
        assert_eq!(answer.status, 403, "{other}: {answer:?}");
        says_nothing(&answer);
        // An OPTIONS that is no preflight is judged as everything is.
        let answer = lab.ask(format!(
            "OPTIONS /mcp HTTP/1.1\r\nHost: {}\r\nOrigin: {other}\r\n\r\n",
            lab.host("alice")
        ));
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    let two = format!("{origin}Origin: https://evil.example.com\r\n");
    assert_eq!(lab.get_as("alice", &token, &two).status, 400);
    assert_eq!(lab.upstream.asked(), reached);
}
