//! The listener over TLS, with the authority that Traefik is told to trust.

use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use instanced::doors::tls::Authority;

use super::http::Client;
use super::lab::{Daemon, Lab, Wishes, passed};

const TLS: Wishes = Wishes {
    tls: true,
    origins: &[],
    domain: None,
};

#[test]
fn a_traefik_that_trusts_the_authority_gets_verdicts_also_after_a_restart() {
    let lab = Lab::with(TLS);
    let daemon = Daemon::start(&lab, &[]);
    let _edge = lab.edge();
    let token = lab.token("alice", "laptop");
    lab.until_known("alice", &token);
    let check = || {
        for _ in 0..5 {
            passed(&lab.get_as("alice", &token, ""), "alice", &token);
            assert_eq!(lab.get_as("bob", &token, "").status, 401);
            let refused = lab.get("alice", "");
            assert_eq!(refused.status, 401);
            assert_eq!(
                refused.header("www-authenticate"),
                Some(r#"Bearer realm="MCP""#)
            );
            let malformed = lab.get("alice", "Authorization: x y z\r\nAuthorization: x\r\n");
            assert_eq!(malformed.status, 400);
        }
    };
    check();
    // In HTTP/2 one connection carries many questions at a time.
    let before = lab.connections();
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| passed(&lab.get_as("alice", &token, ""), "alice", &token));
        }
    });
    assert_eq!(lab.connections(), before);
    let ca = fs::read(lab.path("auth-ca.pem")).unwrap();
    let address = lab.auth;

    // Whoever speaks plainly is not answered.
    let mut plain = Client::from(std::net::Ipv4Addr::LOCALHOST, address).unwrap();
    plain
        .send(format!(
            "GET /auth/mcp-bearer-check/mcp-alice HTTP/1.1\r\nHost: x\r\n\
             X-Forwarded-Host: mcp-alice.mcp.localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
        .unwrap();
    let ended = plain.until("\r\n\r\n").unwrap_err();
    assert!(
        ended.kind() != ErrorKind::WouldBlock && !ended.to_string().contains("HTTP/"),
        "{ended}"
    );

    // Another certificate of the same authority's, which Traefik is not told of.
    daemon.terminate();
    let (success, log) = daemon.ended();
    assert!(success, "{log}");
    let down = lab.get_as("alice", &token, "");
    assert_eq!((down.status, down.body.as_str()), (500, ""), "{down:?}");
    let _daemon = Daemon::start(&lab, &[]);
    assert_eq!(fs::read(lab.path("auth-ca.pem")).unwrap(), ca);
    check();
}

#[test]
fn a_traefik_that_trusts_another_authority_lets_nobody_through() {
    let lab = Lab::with(TLS);
    let _daemon = Daemon::start(&lab, &[]);
    let other = lab.path("another");
    fs::create_dir(&other).unwrap();
    let another = lab.path("another-ca.pem");
    assert!(Authority::open(&other).unwrap().hand_out(&another).unwrap());
    let (ours, theirs) = ("/auth-ca.pem", "/another-ca.pem");
    let mut routes = lab.routes();
    for (_, text) in &mut routes {
        assert!(text.contains(ours), "{text}");
        *text = text.replace(ours, theirs);
    }
    let _edge = lab.edge_with(&routes);
    let token = lab.token("alice", "laptop");
    for name in ["alice", "bob"] {
        for bearer in ["", &format!("Authorization: Bearer {token}\r\n")] {
            let answer = lab.get(name, bearer);
            assert_eq!(answer.status, 500, "{answer:?}");
            assert_eq!(answer.body, "");
        }
    }
    assert_eq!(lab.upstream.asked(), 0);
    assert_eq!(lab.answered(None, None), 0, "nothing was even asked");
}

/// Who opens connections and does not shake hands is cut off, and costs others nothing.
#[test]
fn who_never_ends_a_handshake_is_cut_off_and_nobody_waits_for_it() {
    let lab = Lab::with(TLS);
    let _daemon = Daemon::start(&lab, &[]);
    let _edge = lab.edge();
    let token = lab.token("alice", "laptop");
    lab.until_known("alice", &token);
    let connect = || Client::from(std::net::Ipv4Addr::LOCALHOST, lab.auth).unwrap();
    let began = Instant::now();
    let silent: Vec<Client> = (0..100).map(|_| connect()).collect();
    let trickling: Vec<_> = (0..20)
        .map(|_| {
            let mut client = connect();
            thread::spawn(move || {
                // The head of a record that announces a long hello, then a byte at a time.
                let mut sent = client.send([0x16, 3, 1, 0x10, 0, 1, 0, 0x0f, 0xfc, 3, 3]);
                while sent.is_ok() && began.elapsed() < Duration::from_secs(30) {
                    thread::sleep(Duration::from_millis(250));
                    sent = client.send([0]);
                }
                sent.is_err()
            })
        })
        .collect();
    while began.elapsed() < Duration::from_secs(3) {
        passed(&lab.get_as("alice", &token, ""), "alice", &token);
        assert_eq!(lab.get("alice", "").status, 401);
        thread::sleep(Duration::from_millis(50));
    }
    assert!(
        silent
            .into_iter()
            .all(|client| client.ends_within(Duration::from_secs(20)))
    );
    assert!(trickling.into_iter().all(|cut| cut.join().unwrap()));
    passed(&lab.get_as("alice", &token, ""), "alice", &token);
}
