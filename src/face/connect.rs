//! How a client reaches an instance: URLs, the VNC password and the lines for an MCP client.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::link::SCREEN;
use super::style::{Label, paint};
use super::table;
use super::words::shell_word;
use crate::decisions::status::{EndpointStatus, InstanceStatus};
use crate::words::control::VncPasswords;
use crate::words::manifest::Auth;

/// What stands for the token where none is given.
pub const PLACEHOLDER: &str = "<TOKEN>";

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
    pub fn draw(&self, bearer: &str) -> String {
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
                let _ = writeln!(
                    drawn,
                    "\nTo open {name} in a browser, by a link that this prints:\n\n  {command}"
                );
            }
        }
        let commands = self.claude_code(bearer);
        if commands.is_empty() {
            return drawn;
        }
        let _ = writeln!(drawn, "\nTo add it to Claude Code:\n");
        for command in commands {
            let _ = writeln!(drawn, "  {}", paint(Label::Literal, command));
        }
        if bearer == PLACEHOLDER && self.mcp().any(|e| e.auth == Auth::Bearer) {
            let issue = format!("instanced token issue {} --label LABEL", self.instance.name);
            let issue = paint(Label::Literal, issue);
            let _ = writeln!(
                drawn,
                "\nFor {PLACEHOLDER}, put in what this prints:\n\n  {issue}"
            );
        }
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

    /// The commands that add it to Claude Code.
    pub fn claude_code(&self, bearer: &str) -> Vec<String> {
        self.mcp()
            .map(|endpoint| {
                let name = self.name_of(endpoint);
                let url = shell_word(&endpoint.url);
                let header = match endpoint.auth {
                    Auth::Bearer => format!(" --header \"Authorization: Bearer {bearer}\""),
                    Auth::Ticket | Auth::None => String::new(),
                };
                format!("claude mcp add --transport http {name} {url}{header}")
            })
            .collect()
    }

    /// The `mcpServers` of a client's JSON configuration.
    pub fn client_json(&self, token: &str) -> Value {
        let servers: Map<String, Value> = self
            .mcp()
            .map(|endpoint| {
                let mut server = json!({ "type": "http", "url": endpoint.url });
                if endpoint.auth == Auth::Bearer {
                    let authorization = format!("Bearer {token}");
                    server["headers"] = json!({ "Authorization": authorization });
                }
                (self.name_of(endpoint), server)
            })
            .collect();
        json!({ "mcpServers": servers })
    }

    /// Everything, for a program; without a token.
    pub fn json(&self) -> Value {
        json!({
            "name": self.instance.name,
            "endpoints": self.instance.endpoints,
            "vnc_password": self.vnc.password,
            "vnc_view_password": self.vnc.view_password,
            "client": self.client_json(PLACEHOLDER),
        })
    }

    /// What a client calls the server: the instance, with the endpoint where that is not the usual one.
    fn name_of(&self, endpoint: &EndpointStatus) -> String {
        match endpoint.name.as_str() {
            "mcp" => self.instance.name.to_string(),
            other => format!("{}-{other}", self.instance.name),
        }
    }
}
