//! Tokens, as people read them. What is kept of a token shows nothing of its secret.

use jiff::Timestamp;

use super::style::{Label, paint};
use super::table;
use super::words::moment;
use crate::words::name::EndpointName;
use crate::words::token::TokenRecord;

/// All of them in a table.
pub fn draw(tokens: &[TokenRecord], now: Timestamp) -> String {
    if tokens.is_empty() {
        let command = paint(Label::Literal, "instanced token issue NAME --label LABEL");
        return format!("There are no tokens. `{command}` makes one.\n");
    }
    let rows: Vec<Vec<String>> = tokens.iter().map(|token| row(token, now)).collect();
    let heads = ["ID", "INSTANCE", "EXPIRES", "CREATED", "ENDPOINTS", "LABEL"];
    table::draw(&heads, &rows, 2, |row| {
        has_expired(&tokens[row], now).then_some(Label::Error)
    })
}

/// What is said of a token that was just made.
pub fn issued(token: &TokenRecord) -> String {
    let until = match token.expires {
        Some(expires) => format!("valid until {}", moment(expires)),
        None => "valid until it is revoked".to_owned(),
    };
    format!(
        "Issued token {} ({}) for {}, {until}.\nIt is shown this once and kept nowhere:",
        paint(Label::Subject, &token.id),
        token.label,
        paint(Label::Subject, &token.instance),
    )
}

fn row(token: &TokenRecord, now: Timestamp) -> Vec<String> {
    let expires = match token.expires {
        None => "never".to_owned(),
        Some(at) if has_expired(token, now) => format!("expired {}", at.strftime("%Y-%m-%d")),
        Some(at) => moment(at),
    };
    let endpoints: Vec<&str> = token.endpoints.iter().map(EndpointName::as_str).collect();
    let endpoints = if endpoints.is_empty() {
        "all".to_owned()
    } else {
        endpoints.join(", ")
    };
    vec![
        token.id.clone(),
        token.instance.to_string(),
        expires,
        moment(token.created),
        endpoints,
        token.label.clone(),
    ]
}

fn has_expired(token: &TokenRecord, now: Timestamp) -> bool {
    token.expires.is_some_and(|expires| now >= expires)
}
