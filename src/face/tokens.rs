//! Tokens, as people read them. What is kept of a token shows nothing of its secret.

use jiff::Timestamp;

use super::style::{Label, paint};
use super::table;
use super::text::Lines;
use super::words::moment;
use crate::words::name::EndpointName;
use crate::words::token::{ListedToken, TokenKind, TokenRecord};

/// All of them in a table.
pub fn draw(tokens: &[ListedToken], now: Timestamp) -> Lines {
    if tokens.is_empty() {
        let command = paint(Label::Literal, "instanced token issue NAME --label LABEL");
        return Lines::from(format!("There are no tokens. `{command}` makes one."));
    }
    // Most fleets have bearer tokens alone: what says nothing takes no room.
    let with_kind = tokens
        .iter()
        .any(|token| token.record.kind != TokenKind::Bearer);
    let rows: Vec<Vec<String>> = tokens
        .iter()
        .map(|token| row(token, with_kind, now))
        .collect();
    let mut heads = vec!["ID", "INSTANCE", "EXPIRES", "CREATED", "LAST USED"];
    if with_kind {
        heads.push("KIND");
    }
    heads.extend(["ENDPOINTS", "LABEL"]);
    table::draw(&heads, &rows, 2, |row| {
        (!tokens[row].record.is_live(now)).then_some(Label::Error)
    })
}

/// What is said of a token that was just made.
pub fn issued(token: &TokenRecord) -> Lines {
    let until = match token.expires {
        Some(expires) => format!("valid until {}", moment(expires)),
        None => "valid until it is revoked".to_owned(),
    };
    let only = endpoints(token).map_or_else(String::new, |names| format!(" ({names} only)"));
    let mut told = Lines::from(format!(
        "Issued token {} ({}) for {}{only}, {until}.",
        paint(Label::Subject, &token.id),
        token.label,
        paint(Label::Subject, &token.instance),
    ));
    told.line("It is shown this once and kept nowhere:");
    told
}

/// What is said of a token that takes another's place.
pub fn rotated(old: &TokenRecord, new: &TokenRecord) -> Lines {
    let until = match old.expires {
        Some(end) if old.is_live(new.created) => format!("goes on until {}", moment(end)),
        _ => "opens nothing any more".to_owned(),
    };
    let mut told = Lines::from(format!(
        "Token {} {until}; {} replaces it.",
        paint(Label::Subject, &old.id),
        paint(Label::Subject, &new.id),
    ));
    told += issued(new);
    told
}

fn row(token: &ListedToken, with_kind: bool, now: Timestamp) -> Vec<String> {
    let ListedToken { record, last_used } = token;
    let expires = match record.expires {
        None => "never".to_owned(),
        Some(at) if !record.is_live(now) => format!("expired {}", at.strftime("%Y-%m-%d")),
        Some(at) => moment(at),
    };
    let last_used = last_used.map_or_else(|| "never".to_owned(), moment);
    let mut cells = vec![
        record.id.clone(),
        record.instance.to_string(),
        expires,
        moment(record.created),
        last_used,
    ];
    if with_kind {
        let kind = match record.kind {
            TokenKind::Bearer => "bearer",
            TokenKind::Ticket => "ticket",
            TokenKind::Session => "session",
        };
        cells.push(kind.to_owned());
    }
    cells.push(endpoints(record).unwrap_or_else(|| "all".to_owned()));
    cells.push(match &record.successor {
        Some(successor) => format!("{} (replaced by {successor})", record.label),
        None => record.label.clone(),
    });
    cells
}

/// The endpoints that a token is limited to, where it is.
fn endpoints(token: &TokenRecord) -> Option<String> {
    let names: Vec<&str> = token.endpoints.iter().map(EndpointName::as_str).collect();
    (!names.is_empty()).then(|| names.join(", "))
}
