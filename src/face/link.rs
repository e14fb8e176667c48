//! Links that open an endpoint in a browser.

use std::fmt::{self, Write as _};

use super::style::{Label, paint};
use super::text::Lines;
use super::words::moment;
use crate::words::name::InstanceName;
use crate::words::quantity::Span;
use crate::words::token::TokenRecord;

/// The endpoint that shows noVNC, in an instance that has a screen.
pub const SCREEN: &str = "vnc";

/// A link to an endpoint.
pub struct Link<'l> {
    /// The endpoint's URL.
    pub url: &'l str,
    /// What opens it, where it is guarded.
    pub ticket: Option<&'l str>,
    /// Where it leads to noVNC: what noVNC is told.
    pub screen: Option<Screen<'l>>,
}

/// What noVNC is told.
pub struct Screen<'l> {
    /// What the VNC server asks for; noVNC asks its person where it is not known.
    pub password: Option<&'l str>,
    /// Whether keys and pointer are to be left alone.
    pub view_only: bool,
}

/// The ticket goes into the query, which the edge sees and takes away. What noVNC is told stands behind `#`, which
/// browsers keep to themselves, and keep through a redirect.
impl fmt::Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, own) = self.url.split_once('#').unwrap_or((self.url, ""));
        f.write_str(address)?;
        if let Some(ticket) = self.ticket {
            let mark = if address.contains('?') { '&' } else { '?' };
            write!(f, "{mark}ticket={ticket}")?;
        }
        let mut told: Vec<String> = Vec::new();
        if !own.is_empty() {
            told.push(own.to_owned());
        }
        if let Some(screen) = &self.screen {
            told.extend(["autoconnect=true".to_owned(), "resize=scale".to_owned()]);
            if screen.view_only {
                told.push("view_only=true".to_owned());
            }
            told.extend(
                screen
                    .password
                    .map(|password| format!("password={}", encoded(password))),
            );
        }
        if told.is_empty() {
            Ok(())
        } else {
            write!(f, "#{}", told.join("&"))
        }
    }
}

/// A text as `decodeURIComponent` reads it.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// What is said of a link; of one with a ticket, what is kept of that.
pub fn told(instance: &InstanceName, endpoint: &str, ticket: Option<&TokenRecord>) -> Lines {
    let to = format!("Link to {endpoint} of {}", paint(Label::Subject, instance));
    let Some(ticket) = ticket else {
        let told = format!("{to}, which is open to all; what stands behind # is the password:");
        return Lines::from(told);
    };
    let until = ticket
        .expires
        .map_or_else(String::new, |at| format!(" until {}", moment(at)));
    let lasts = ticket.session_seconds.map_or_else(String::new, |seconds| {
        format!(
            ", then lets that browser in for {}",
            Span::secs(seconds.into())
        )
    });
    let mut told = Lines::from(format!(
        "{to} (ticket {}): it opens once{until}{lasts}.",
        paint(Label::Subject, &ticket.id),
    ));
    told.line(
        "Whoever opens it is in: send it as you would a password. It is shown this once and kept nowhere:",
    );
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticket_is_in_the_query_and_the_password_is_not() {
        let screen = |view_only| {
            Some(Screen {
                password: Some("k3v9&x#q"),
                view_only,
            })
        };
        let link = |url, ticket, screen| {
            let link = Link {
                url,
                ticket,
                screen,
            };
            link.to_string()
        };
        assert_eq!(
            link("https://vnc-a.x/vnc.html", Some("mcp_1_2"), screen(false)),
            "https://vnc-a.x/vnc.html?ticket=mcp_1_2#autoconnect=true&resize=scale&password=k3v9%26x%23q"
        );
        assert_eq!(
            link("http://vnc-a.x/vnc.html", None, screen(true)),
            "http://vnc-a.x/vnc.html#autoconnect=true&resize=scale&view_only=true&password=k3v9%26x%23q"
        );
        assert_eq!(
            link("https://web-a.x/?page=1#top", Some("t"), None),
            "https://web-a.x/?page=1&ticket=t#top"
        );
    }
}
