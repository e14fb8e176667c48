//! Endpoints that demand a token, and tokens that are their own ids.

use instanced::decisions::access::Guard;
use instanced::words::manifest::Auth;
use instanced::words::token::{TokenHash, TokenKind, TokenRecord};

/// At `<endpoint>-<instance>.mcp.localhost`.
pub fn guard(instance: &str, endpoint: &str) -> Guard {
    Guard {
        instance: instance.parse().unwrap(),
        endpoint: endpoint.parse().unwrap(),
        host: format!("{endpoint}-{instance}.mcp.localhost")
            .parse()
            .unwrap(),
        auth: Auth::Bearer,
        grants: Vec::new(),
    }
}

/// Opens all of an instance's endpoints, and never ends.
pub fn record(instance: &str, token: &str) -> TokenRecord {
    TokenRecord {
        id: token.to_owned(),
        instance: instance.parse().unwrap(),
        label: token.to_owned(),
        hash: TokenHash::of(token.as_bytes()),
        created: jiff::Timestamp::UNIX_EPOCH,
        expires: None,
        endpoints: Vec::new(),
        kind: TokenKind::Bearer,
        session_seconds: None,
        successor: None,
    }
}
