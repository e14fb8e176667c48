//! How a server of ours is written for each client.

use std::fmt::{self, Write as _};
use std::ops::Deref;

use super::{Client, Node, PLACEHOLDER, Refused, Wanted};

/// A server, as clients shall reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// What clients call it.
    pub name: String,
    /// Its URL.
    pub url: ServerUrl,
    /// Whether it asks for a token.
    pub guarded: bool,
}

/// A URL as every client's file and a shell may hold it: nothing in it is expanded. Clients replace `${NAME}` or `$NAME`
/// by variables of their environment, and shells know more; what a URL means stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerUrl(String);

impl From<&str> for ServerUrl {
    fn from(url: &str) -> Self {
        let mut plain = String::new();
        for byte in url.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!&*+,;=%".contains(&byte) {
                plain.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(plain, "%{byte:02X}");
            }
        }
        Self(plain)
    }
}

impl Deref for ServerUrl {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The token of a server that asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret<'s> {
    /// This one.
    Given(&'s str),
    /// As the client itself asks for it or finds it; else a placeholder.
    Referred,
}

impl Server {
    /// Whether it speaks the older transport, of two endpoints and server-sent events: by custom its path says so.
    pub fn is_sse(&self) -> bool {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        path.trim_end_matches('/').ends_with("/sse")
    }

    /// The environment variable that clients read its token from.
    pub fn variable(&self) -> String {
        let name = self.name.to_ascii_uppercase().replace('-', "_");
        format!("INSTANCED_{name}_TOKEN")
    }

    /// What VS Code asks for its token by.
    fn input(&self) -> String {
        format!("instanced-{}", self.name)
    }

    fn transport(&self) -> &'static str {
        if self.is_sse() { "sse" } else { "http" }
    }
}

/// What a client's file shall have, for these servers.
///
/// # Errors
/// That the client cannot speak to one of them.
pub fn wanted(client: Client, servers: &[Server], secret: Secret) -> Result<Wanted, String> {
    let is_split = |server: &&Server| server.url.contains(['&', ';', '!']);
    if let Some(server) = servers
        .iter()
        .find(is_split)
        .filter(|_| client == Client::ClaudeDesktop)
    {
        return Err(format!(
            "{} starts a program with the URL of `{}`, and a shell may take `&`, `;` and `!` in it for commands: {}",
            client.called(),
            server.name,
            server.url
        ));
    }
    if let Some(server) = servers.iter().find(|s| s.is_sse() && !client.speaks_sse()) {
        return Err(format!(
            "{} does not speak the older transport with server-sent events, which `{}` at {} has",
            client.called(),
            server.name,
            server.url
        ));
    }
    let guarded = || servers.iter().filter(|server| server.guarded);
    let asks = client == Client::Vscode && secret == Secret::Referred;
    let reads = client.refers() && !asks && secret == Secret::Referred;
    Ok(Wanted {
        key: match client {
            Client::Vscode => "servers",
            Client::Codex => "mcp_servers",
            Client::Zed => "context_servers",
            _ => "mcpServers",
        },
        servers: servers
            .iter()
            .map(|server| (server.name.clone(), entry(client, server, secret)))
            .collect(),
        inputs: guarded().filter(|_| asks).map(input).collect(),
        variables: guarded().filter(|_| reads).map(Server::variable).collect(),
    })
}

fn entry(client: Client, server: &Server, secret: Secret) -> Node {
    let bearer = bearer(client, server, secret);
    let url = || Node::from(&*server.url);
    let mut pairs = match client {
        Client::ClaudeCode | Client::Vscode | Client::Json => {
            vec![("type", server.transport().into()), ("url", url())]
        }
        Client::Cursor | Client::Zed => vec![("url", url())],
        Client::Windsurf => vec![("serverUrl", url())],
        Client::GeminiCli if server.is_sse() => vec![("url", url())],
        Client::GeminiCli => vec![("httpUrl", url())],
        Client::Codex => return codex(server, secret),
        Client::ClaudeDesktop => return bridged(server, &bearer),
    };
    if server.guarded {
        let headers = Node::Map(vec![("Authorization", bearer.into())]);
        pairs.push(("headers", headers));
    }
    Node::Map(pairs)
}

/// The value of the header.
fn bearer(client: Client, server: &Server, secret: Secret) -> String {
    let token = match (secret, client) {
        (Secret::Given(token), _) => token.to_owned(),
        (Secret::Referred, Client::ClaudeCode | Client::GeminiCli) => {
            format!("${{{}}}", server.variable())
        }
        (Secret::Referred, Client::Cursor | Client::Windsurf) => {
            format!("${{env:{}}}", server.variable())
        }
        (Secret::Referred, Client::Vscode) => format!("${{input:{}}}", server.input()),
        (Secret::Referred, _) => PLACEHOLDER.to_owned(),
    };
    format!("Bearer {token}")
}

/// Codex names the variable in a key of its own, and knows no references within a header.
fn codex(server: &Server, secret: Secret) -> Node {
    let mut pairs = vec![("url", Node::from(&*server.url))];
    match secret {
        _ if !server.guarded => {}
        Secret::Referred => pairs.push(("bearer_token_env_var", server.variable().into())),
        Secret::Given(token) => {
            let header = ("Authorization", format!("Bearer {token}").into());
            pairs.push(("http_headers", Node::Map(vec![header])));
        }
    }
    Node::Map(pairs)
}

/// Claude Desktop starts programs only: mcp-remote speaks to the server.
fn bridged(server: &Server, bearer: &str) -> Node {
    let transport = if server.is_sse() {
        "sse-only"
    } else {
        "http-only"
    };
    let mut args = vec!["-y", "mcp-remote", &server.url, "--transport", transport];
    // It takes plain HTTP for granted only to the names of this machine itself.
    if let Some(rest) = server.url.strip_prefix("http://") {
        let host = rest.split(['/', ':', '?', '#']).next().unwrap_or_default();
        if host != "localhost" && host != "127.0.0.1" {
            args.push("--allow-http");
        }
    }
    if server.guarded {
        // No space in an argument: Claude Desktop on Windows does not keep it together.
        args.extend(["--header", "Authorization:${AUTH_HEADER}"]);
    }
    let args = args.into_iter().map(Node::from).collect();
    let mut pairs = vec![("command", Node::from("npx")), ("args", Node::List(args))];
    if server.guarded {
        pairs.push(("env", Node::Map(vec![("AUTH_HEADER", bearer.into())])));
    }
    Node::Map(pairs)
}

fn input(server: &Server) -> (String, Node) {
    let id = server.input();
    let node = Node::Map(vec![
        ("type", "promptString".into()),
        ("id", id.as_str().into()),
        (
            "description",
            format!("Token for {} (instanced)", server.name).into(),
        ),
        ("password", Node::Truth(true)),
    ]);
    (id, node)
}

impl Wanted {
    /// The same for an empty file: what a person copies.
    pub fn draw(&self, client: Client) -> Result<String, Refused> {
        client.put("", self)
    }
}
