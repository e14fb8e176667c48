//! How a client reaches an instance: URLs, the VNC password and the lines for an MCP client.

use std::fmt::Display;

use serde_json::{Map, Value, json};

use super::clients::{Client, PLACEHOLDER, Secret, Server, wanted};
use super::link::SCREEN;
use super::style::{Label, paint};
use super::table;
use super::text::Lines;
use super::words::shell_word;
use crate::decisions::status::{EndpointStatus, InstanceStatus};
use crate::words::control::VncPasswords;
use crate::words::manifest::Auth;
use crate::words::name::InstanceName;

/// What is told of one instance.
pub struct Connection<'c> {
    /// The instance.
    pub instance: &'c InstanceStatus,
    /// What its VNC server asks for, where it has one.
    pub vnc: VncPasswords,
}

impl Connection<'_> {
    /// The endpoints that MCP clients use.
    pub fn mcp(&self) -> impl Iterator<Item = &EndpointStatus> {
        self.instance
            .endpoints
            .iter()
            .filter(|e| e.auth == Auth::Bearer || e.auth == Auth::None && e.name == "mcp")
    }

    fn has_screen(&self) -> bool {
        self.instance.endpoints.iter().any(|e| e.name == SCREEN)
    }

    /// Everything, for a person. `bearer` is the token as a shell's word has it within double quotes.
    pub fn draw(&self, bearer: &str) -> Lines {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        for endpoint in &self.instance.endpoints {
            pairs.push((&endpoint.name, endpoint.url.clone()));
        }
        if self.has_screen() {
            let password = self.vnc.password.as_deref();
            let password = password.unwrap_or("(not known yet)").to_owned();
            pairs.push(("vnc password", password));
        }
        if let Some(password) = &self.vnc.view_password {
            pairs.push(("to look alone", password.clone()));
        }
        let mut drawn = table::pairs(&pairs);
        for endpoint in &self.instance.endpoints {
            if endpoint.auth == Auth::Ticket {
                let command = paint(Label::Literal, self.opening(endpoint));
                let name = &endpoint.name;
                let what = format!("To open {name} in a browser, by a link that this prints:");
                advice(&mut drawn, what, [command.to_string()]);
            }
        }
        let commands = self.claude_code(bearer);
        if commands.is_empty() {
            return drawn;
        }
        let commands = commands
            .iter()
            .map(|one| paint(Label::Literal, one).to_string());
        advice(&mut drawn, "To add it to Claude Code:", commands);
        if bearer == PLACEHOLDER && self.mcp().any(|e| e.auth == Auth::Bearer) {
            let issue = format!("instanced token issue {} --label LABEL", self.instance.name);
            let issue = paint(Label::Literal, issue);
            let what = format!("For {PLACEHOLDER}, put in what this prints:");
            advice(&mut drawn, what, [issue.to_string()]);
        }
        let other = format!("instanced connect {} --client CLIENT", self.instance.name);
        let other = paint(Label::Literal, other);
        let what = "For VS Code, Cursor, Codex and others:";
        advice(&mut drawn, what, [other.to_string()]);
        drawn
    }

    /// The command that makes a link to an endpoint.
    fn opening(&self, endpoint: &EndpointStatus) -> String {
        let named = match endpoint.name.as_str() {
            SCREEN => String::new(),
            other => format!(" {other}"),
        };
        format!("instanced connect {} --open{named}", self.instance.name)
    }

    /// What MCP clients shall know of it.
    pub fn servers(&self) -> Vec<Server> {
        let servers = self.mcp().map(|endpoint| Server {
            name: name_of(&self.instance.name, &endpoint.name),
            url: endpoint.url.as_str().into(),
            guarded: endpoint.auth == Auth::Bearer,
        });
        servers.collect()
    }

    /// The commands that add it to Claude Code.
    pub fn claude_code(&self, bearer: &str) -> Vec<String> {
        let servers = self.servers();
        let commands = servers.iter().map(|server| {
            let header = if server.guarded {
                format!(" --header \"Authorization: Bearer {bearer}\"")
            } else {
                String::new()
            };
            let transport = if server.is_sse() { "sse" } else { "http" };
            let (name, url) = (&server.name, shell_word(&server.url));
            format!("claude mcp add --transport {transport} {name} {url}{header}")
        });
        commands.collect()
    }

    /// Everything, for a program; without a token.
    pub fn json(&self) -> Value {
        let servers = match wanted(Client::Json, &self.servers(), Secret::Referred) {
            Ok(wanted) => wanted.servers,
            Err(_) => Vec::new(),
        };
        let servers = servers
            .into_iter()
            .map(|(name, node)| (name, node.to_json()));
        json!({
            "name": self.instance.name,
            "endpoints": self.instance.endpoints,
            "vnc_password": self.vnc.password,
            "vnc_view_password": self.vnc.view_password,
            "client": { "mcpServers": servers.collect::<Map<_, _>>() },
        })
    }
}

/// Commands, with what they are for.
fn advice(drawn: &mut Lines, what: impl Display, commands: impl IntoIterator<Item = String>) {
    drawn.blank();
    drawn.line(what);
    drawn.blank();
    for command in commands {
        drawn.line(format_args!("  {command}"));
    }
}

/// What a client calls a server: the instance, with the endpoint where that is not the usual one.
fn name_of(instance: &InstanceName, endpoint: &str) -> String {
    match endpoint {
        "mcp" => instance.to_string(),
        other => format!("{instance}-{other}"),
    }
}
