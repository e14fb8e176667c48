//! Whatever comes in the headers.

use proptest::prelude::*;

use super::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "[Bb]earer [ -~]{0,20}".prop_map(String::into_bytes),
        "(mcp|sse|vnc)-(alice|bob)\\.mcp\\.localhost[.:0-9]{0,4}".prop_map(String::into_bytes),
    ]
}

proptest! {
    /// Whatever comes in the headers, nobody passes without one of the known tokens.
    #[test]
    fn only_a_known_token_passes(authorization in bytes(), host in bytes(), path in "\\PC*", uri in bytes()) {
        let request = AuthRequest {
            authorization: Header::Once(&authorization),
            forwarded_host: Header::Once(&host),
            forwarded_uri: Header::Once(&uri),
            path: if path.len().is_multiple_of(2) { CHECK_PATH } else { &path },
            ..good()
        };
        prop_assert!(verdict(&request).is_err());
    }
}
