//! Tokens that were valid until lately.

use super::*;

#[test]
fn a_token_that_was_valid_until_lately_is_refused_but_no_guess() {
    let retired = ["alice-old", "bob-old"].map(|token| TokenHash::of(token.as_bytes()));
    let table = table().with_retired(retired);
    let ask = |host: &[u8], token: &[u8]| {
        let request = AuthRequest {
            peer: [127, 0, 0, 1].into(),
            method: "GET",
            path: CHECK_PATH,
            authorization: Header::Once(token),
            forwarded_host: Header::Once(host),
            forwarded_uri: Header::Absent,
            origin: Header::Absent,
            visitor: &Visitor::default,
        };
        decide(&policy(), Some(&table), &request, at(NOW)).reason()
    };
    for host in [&b"mcp-alice.mcp.localhost"[..], b"mcp-ghost.mcp.localhost"] {
        for token in [&b"Bearer alice-old"[..], b"Bearer bob-old"] {
            assert_eq!(ask(host, token), Some(Reason::RetiredToken));
        }
    }
    let expired = ask(b"mcp-alice.mcp.localhost", b"Bearer alice-expired");
    assert_eq!(expired, Some(Reason::ExpiredToken));
    let is_guess = |reason: &Reason| reason.is_guess();
    let guesses: Vec<_> = Reason::ALL.into_iter().filter(is_guess).collect();
    assert_eq!(guesses, [Reason::Unknown, Reason::WrongToken]);
    for reason in [
        Reason::RetiredToken,
        Reason::ExpiredToken,
        Reason::WrongToken,
    ] {
        assert_eq!(reason.status(), 401, "all alike for the client");
    }
}
