//! Each row of `FORWARD_AUTH.md`, "What we answer", is a test here; the wire has its own in
//! `tests/forward_auth.rs`.

use super::*;
use crate::words::manifest::TokenPart;
use crate::words::token::{TokenKind, TokenRecord};

const NOW: i64 = 1_800_000_000;
const ALICE: &[u8] = b"Bearer alice-token";

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).unwrap()
}

fn guard(instance: &str, endpoint: &str, auth: Auth) -> Guard {
    Guard {
        instance: instance.parse().unwrap(),
        endpoint: endpoint.parse().unwrap(),
        host: format!("{endpoint}-{instance}.mcp.localhost")
            .parse()
            .unwrap(),
        auth,
        grants: Vec::new(),
    }
}

fn record(instance: &str, token: &str) -> TokenRecord {
    TokenRecord {
        id: token.to_owned(),
        instance: instance.parse().unwrap(),
        label: token.to_owned(),
        hash: TokenHash::of(token.as_bytes()),
        created: at(0),
        expires: None,
        endpoints: Vec::new(),
        kind: TokenKind::Bearer,
        session_seconds: None,
        successor: None,
    }
}

fn table() -> AccessTable {
    let guards = ["alice", "bob"].iter().flat_map(|name| {
        let mut mcp = guard(name, "mcp", Auth::Bearer);
        mcp.grants = vec![TokenPart {
            label: "ci".to_owned(),
            hash: TokenHash::of(format!("{name}-granted").as_bytes()),
            expires: Some(jiff::civil::date(2027, 1, 16)),
        }];
        [
            mcp,
            guard(name, "sse", Auth::Bearer),
            guard(name, "vnc", Auth::None),
        ]
    });
    let mut expired = record("alice", "alice-expired");
    expired.expires = Some(at(NOW));
    let mut soon = record("alice", "alice-soon");
    soon.expires = Some(at(NOW + 1));
    let mut scoped = record("alice", "alice-sse");
    scoped.endpoints = vec!["sse".parse().unwrap()];
    let tokens = [
        record("alice", "alice-token"),
        record("alice", "alice-second"),
        record("bob", "bob-token"),
        record("gone", "gone-token"),
        expired,
        soon,
        scoped,
    ];
    AccessTable::build(guards, &tokens)
}

fn policy() -> AccessPolicy {
    AccessPolicy::new(
        &["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        &["https://app.example.com/".to_owned()],
    )
}

/// A request that passes; the tests change one thing of it.
fn good<'r>() -> AuthRequest<'r> {
    AuthRequest {
        peer: [127, 0, 0, 1].into(),
        method: "GET",
        path: "/auth/mcp-bearer-check/mcp-alice",
        authorization: Header::Once(ALICE),
        forwarded_host: Header::Once(b"mcp-alice.mcp.localhost"),
        forwarded_uri: Header::Once(b"/mcp"),
        origin: Header::Absent,
        visitor: &Visitor::default,
    }
}

/// The instance that a request reaches, or why it does not.
fn verdict(request: &AuthRequest<'_>) -> Result<String, Reason> {
    match decide(&policy(), Some(&table()), request, at(NOW)) {
        Verdict::Allow(pass) => Ok(pass.instance.to_string()),
        Verdict::Refuse(refusal) => Err(refusal.reason),
        other => panic!("no bearer's verdict: {other:?}"),
    }
}

fn with_token(authorization: &'static [u8]) -> Result<String, Reason> {
    verdict(&AuthRequest {
        authorization: Header::Once(authorization),
        ..good()
    })
}

fn with_host(host: &'static [u8]) -> Result<String, Reason> {
    let path = CHECK_PATH;
    verdict(&AuthRequest {
        path,
        forwarded_host: Header::Once(host),
        ..good()
    })
}

#[test]
fn a_valid_token_for_this_endpoint_passes() {
    assert_eq!(verdict(&good()), Ok("alice".to_owned()));
    assert_eq!(
        verdict(&AuthRequest {
            method: "HEAD",
            ..good()
        }),
        Ok("alice".to_owned())
    );
    for token in [
        &b"Bearer alice-second"[..],
        b"Bearer alice-granted",
        b"Bearer alice-soon",
    ] {
        assert_eq!(with_token(token), Ok("alice".to_owned()));
    }
}

#[test]
fn the_plain_path_takes_the_identity_from_the_host() {
    assert_eq!(
        verdict(&AuthRequest {
            path: CHECK_PATH,
            ..good()
        }),
        Ok("alice".to_owned())
    );
}

#[test]
fn the_scheme_is_read_in_any_case() {
    assert_eq!(with_token(b"bearer alice-token"), Ok("alice".to_owned()));
    assert_eq!(with_token(b"BEARER   alice-token "), Ok("alice".to_owned()));
}

#[test]
fn no_credentials_are_challenged() {
    let request = AuthRequest {
        authorization: Header::Absent,
        ..good()
    };
    assert_eq!(verdict(&request), Err(Reason::NoCredentials));
    assert_eq!(with_token(b"Basic YWxpY2U6"), Err(Reason::NoCredentials));
}

#[test]
fn a_wrong_token_is_challenged() {
    assert_eq!(with_token(b"Bearer wrong"), Err(Reason::WrongToken));
}

#[test]
fn an_expired_token_is_challenged_from_its_very_second_on() {
    assert_eq!(
        with_token(b"Bearer alice-expired"),
        Err(Reason::ExpiredToken)
    );
    let request = AuthRequest {
        authorization: Header::Once(b"Bearer alice-granted"),
        ..good()
    };
    // NOW is 2027-01-15T08:00:00Z; the grant's first day without validity is the next one.
    let day_end = at(NOW + 16 * 3600);
    let before = day_end - jiff::SignedDuration::from_nanos(1);
    assert!(matches!(
        decide(&policy(), Some(&table()), &request, before),
        Verdict::Allow(_)
    ));
    assert_eq!(
        decide(&policy(), Some(&table()), &request, day_end).reason(),
        Some(Reason::ExpiredToken)
    );
}

#[test]
fn a_revoked_token_is_a_wrong_one() {
    let table = AccessTable::build([guard("alice", "mcp", Auth::Bearer)], &[]);
    assert_eq!(
        decide(&policy(), Some(&table), &good(), at(NOW)).reason(),
        Some(Reason::WrongToken)
    );
}

#[test]
fn another_instances_token_is_challenged() {
    assert_eq!(with_token(b"Bearer bob-token"), Err(Reason::WrongToken));
    assert_eq!(with_token(b"Bearer bob-granted"), Err(Reason::WrongToken));
}

#[test]
fn an_unknown_host_is_challenged() {
    assert_eq!(with_host(b"mcp-ghost.mcp.localhost"), Err(Reason::Unknown));
    assert_eq!(
        with_host(b"mcp-alice.mcp.localhost.evil"),
        Err(Reason::Unknown)
    );
    assert_eq!(with_host(b"mcp-gone.mcp.localhost"), Err(Reason::Unknown));
    assert_eq!(with_host(b"[::1]:80"), Err(Reason::Unknown));
    assert_eq!(
        with_host(b"mcp-alice.mcp.localhost.."),
        Err(Reason::Unknown)
    );
    let request = AuthRequest {
        forwarded_host: Header::Once(b"x.localhost"),
        ..good()
    };
    assert_eq!(verdict(&request), Err(Reason::Unknown));
}

#[test]
fn an_unknown_name_in_the_address_is_challenged() {
    for path in [
        "/auth/mcp-bearer-check/mcp-ghost",
        "/auth/mcp-bearer-check/",
        "/auth/mcp-bearer-check/mcp-alice/x",
    ] {
        assert_eq!(
            verdict(&AuthRequest { path, ..good() }),
            Err(Reason::Unknown),
            "{path}"
        );
    }
}

#[test]
fn a_host_is_the_same_in_any_case_with_a_port_and_a_trailing_dot() {
    for host in [
        &b"MCP-Alice.MCP.localhost"[..],
        b"mcp-alice.mcp.localhost:8443",
        b"mcp-alice.mcp.localhost.",
        b"mcp-alice.mcp.LOCALHOST.:443",
        b"mcp-alice.mcp.localhost:",
    ] {
        assert_eq!(with_host(host), Ok("alice".to_owned()), "{host:?}");
    }
}

#[test]
fn two_authorization_headers_are_malformed() {
    let request = AuthRequest {
        authorization: Header::Repeated,
        ..good()
    };
    assert_eq!(verdict(&request), Err(Reason::DuplicateAuthorization));
}

#[test]
fn two_forwarded_hosts_are_malformed() {
    let request = AuthRequest {
        forwarded_host: Header::Repeated,
        ..good()
    };
    assert_eq!(verdict(&request), Err(Reason::DuplicateHost));
    let list = b"mcp-alice.mcp.localhost, mcp-bob.mcp.localhost";
    assert_eq!(with_host(list), Err(Reason::Malformed));
}

#[test]
fn no_forwarded_host_is_malformed() {
    let request = AuthRequest {
        forwarded_host: Header::Absent,
        ..good()
    };
    assert_eq!(verdict(&request), Err(Reason::NoHost));
}

#[test]
fn a_malformed_host_is_malformed() {
    let long = [b'a'; 300];
    let hosts = [
        &b""[..],
        b".",
        b":80",
        b"a b",
        b"host:port",
        b"host:123456",
        b"\xc3\xa4.de",
        &long,
    ];
    for host in hosts {
        let request = AuthRequest {
            forwarded_host: Header::Once(host),
            ..good()
        };
        assert_eq!(verdict(&request), Err(Reason::Malformed), "{host:?}");
    }
}

#[test]
fn a_malformed_authorization_is_malformed() {
    let long = [b"Bearer ".as_slice(), &[b'a'; 5000]].concat();
    let values = [
        &b""[..],
        b"Bearer",
        b"Bearer ",
        b" ",
        b"Bearer a b",
        b"Bearer a,Bearer b",
        b"Bearer \xff",
        &long,
    ];
    for value in values {
        let request = AuthRequest {
            authorization: Header::Once(value),
            ..good()
        };
        assert_eq!(verdict(&request), Err(Reason::Malformed), "{value:?}");
    }
}

#[test]
fn a_host_that_disagrees_with_the_address_is_denied_to_either_ones_token_alone() {
    let path = "/auth/mcp-bearer-check/mcp-bob";
    let ask = |token: &'static [u8]| {
        verdict(&AuthRequest {
            path,
            authorization: Header::Once(token),
            ..good()
        })
    };
    assert_eq!(ask(ALICE), Err(Reason::HostDisagrees));
    assert_eq!(ask(b"Bearer bob-token"), Err(Reason::HostDisagrees));
    assert_eq!(ask(b"Bearer wrong"), Err(Reason::WrongToken));
    // Also within one instance.
    let path = "/auth/mcp-bearer-check/sse-alice";
    assert_eq!(
        verdict(&AuthRequest { path, ..good() }),
        Err(Reason::HostDisagrees)
    );
}

#[test]
fn an_origin_that_is_not_listed_is_denied() {
    for origin in [
        &b"https://evil.example"[..],
        b"null",
        b"",
        b"https://app.example.com.evil",
    ] {
        let request = AuthRequest {
            origin: Header::Once(origin),
            ..good()
        };
        assert_eq!(verdict(&request), Err(Reason::UnlistedOrigin), "{origin:?}");
    }
    let listed = AuthRequest {
        origin: Header::Once(b"https://app.example.com"),
        ..good()
    };
    assert_eq!(verdict(&listed), Ok("alice".to_owned()));
    let twice = AuthRequest {
        origin: Header::Repeated,
        ..good()
    };
    assert_eq!(verdict(&twice), Err(Reason::Malformed));
}

#[test]
fn a_valid_token_that_is_not_for_this_endpoint_is_denied() {
    assert_eq!(with_token(b"Bearer alice-sse"), Err(Reason::WrongEndpoint));
}

#[test]
fn an_endpoint_without_auth_is_denied_when_asked_about() {
    let request = AuthRequest {
        path: "/auth/mcp-bearer-check/vnc-alice",
        forwarded_host: Header::Once(b"vnc-alice.mcp.localhost"),
        ..good()
    };
    assert_eq!(verdict(&request), Err(Reason::WrongEndpoint));
    let request = AuthRequest {
        authorization: Header::Absent,
        ..request
    };
    assert_eq!(verdict(&request), Err(Reason::NoCredentials));
}

#[test]
fn a_peer_outside_the_trusted_proxies_is_denied_before_all_else() {
    for peer in ["10.0.0.7", "::2", "::ffff:10.0.0.7"] {
        let request = AuthRequest {
            peer: peer.parse().unwrap(),
            ..good()
        };
        assert_eq!(verdict(&request), Err(Reason::UntrustedPeer), "{peer}");
    }
    let mapped = AuthRequest {
        peer: "::ffff:127.0.0.1".parse().unwrap(),
        ..good()
    };
    assert_eq!(verdict(&mapped), Ok("alice".to_owned()));
}

#[test]
fn without_a_table_nobody_passes() {
    let verdict = decide(&policy(), None, &good(), at(NOW));
    assert_eq!(verdict.reason(), Some(Reason::Unready));
    assert_eq!(Reason::Unready.status(), 503);
    let empty = AccessTable::default();
    let verdict = decide(&policy(), Some(&empty), &good(), at(NOW));
    assert_eq!(verdict.reason(), Some(Reason::Unknown));
}

#[test]
fn another_method_is_refused() {
    for method in ["POST", "OPTIONS", "DELETE", "get"] {
        assert_eq!(
            verdict(&AuthRequest { method, ..good() }),
            Err(Reason::WrongMethod)
        );
    }
}

#[test]
fn another_path_is_nothing() {
    for path in [
        "/",
        "/auth",
        "/auth/mcp-bearer-checkmcp-alice",
        "/x/auth/mcp-bearer-check",
    ] {
        assert_eq!(
            verdict(&AuthRequest { path, ..good() }),
            Err(Reason::NoSuchPath),
            "{path}"
        );
    }
}

#[test]
fn well_known_oauth_paths_are_nothing_whoever_asks() {
    for uri in [
        &b"/.well-known/oauth-protected-resource"[..],
        b"/.well-known/oauth-protected-resource/mcp",
        b"/.well-known/oauth-authorization-server?x=1",
    ] {
        let request = AuthRequest {
            forwarded_uri: Header::Once(uri),
            ..good()
        };
        assert_eq!(verdict(&request), Err(Reason::WellKnown));
        let request = AuthRequest {
            authorization: Header::Absent,
            ..request
        };
        assert_eq!(verdict(&request), Err(Reason::WellKnown));
    }
    let request = AuthRequest {
        forwarded_uri: Header::Once(b"/x/.well-known/oauth-"),
        ..good()
    };
    assert_eq!(verdict(&request), Ok("alice".to_owned()));
}

#[test]
fn a_host_or_a_label_that_two_endpoints_claim_opens_to_nobody() {
    let mut twin = guard("bob", "mcp", Auth::Bearer);
    twin.host = "mcp-alice.mcp.localhost".parse().unwrap();
    let guards = [guard("alice", "mcp", Auth::Bearer), twin];
    let table = AccessTable::build(guards, &[record("alice", "alice-token")]);
    assert_eq!(table.ambiguous().len(), 1);
    let verdict = decide(&policy(), Some(&table), &good(), at(NOW));
    assert_eq!(verdict.reason(), Some(Reason::Unknown));
}

#[test]
fn every_reason_stands_once_in_the_list() {
    for (place, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, place);
    }
}

mod anything;
mod retired;
