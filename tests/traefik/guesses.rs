//! Guesses are counted against who Traefik saw, whatever a client says of itself.

use std::net::Ipv4Addr;

use super::http::{Answer, Client};
use super::lab::{Daemon, Lab, passed};

#[test]
fn who_guesses_too_often_is_limited_and_nobody_else() {
    let lab = Lab::new();
    let _daemon = Daemon::start(&lab, &[]);
    let _edge = lab.edge();
    let token = lab.token("alice", "laptop");
    lab.until_known("alice", &token);
    let ask = |from: [u8; 4], token: &str, more: &str| -> Answer {
        let mut client = Client::from(Ipv4Addr::from(from), lab.http).unwrap();
        client
            .send(format!(
                "GET /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n{more}\r\n",
                lab.host("alice")
            ))
            .unwrap();
        client.answer().unwrap()
    };
    let (attacker, neighbour) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    // Neither another address for each guess nor the neighbour's helps.
    let lie = |n: usize| match n % 4 {
        0 => String::new(),
        1 => format!("X-Forwarded-For: 203.0.113.{n}\r\n"),
        2 => "X-Forwarded-For: 127.0.0.3\r\nX-Forwarded-For: 127.0.0.1\r\n".to_owned(),
        _ => format!("X-Real-Ip: 127.0.0.3\r\nForwarded: for=203.0.113.{n}\r\n"),
    };
    for n in 0..20 {
        let answer = ask(attacker, &format!("guess-{n}"), &lie(n));
        assert_eq!(answer.status, 401, "{n}: {answer:?}");
    }
    for n in 0..4 {
        let answer = ask(attacker, "guess", &lie(n));
        // A guess comes back every six seconds: the machine may be that slow, once.
        if n == 0 && answer.status == 401 {
            continue;
        }
        assert_eq!(answer.status, 429, "{n}: {answer:?}");
        let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=7).contains(&wait), "{answer:?}");
        assert_eq!(answer.body, r#"{"status":429,"error":"Too Many Requests"}"#);
    }
    let lied = ask(neighbour, "guess", "X-Forwarded-For: 127.0.0.2\r\n");
    assert_eq!(lied.status, 401, "the neighbour was counted for nothing");
    passed(&ask(attacker, &token, ""), "alice", &token);
    passed(&ask(attacker, &token, &lie(2)), "alice", &token);
    assert!(lab.answered(Some("alice"), Some("limited")) >= 3);
}
