//! What one MCP client needs: shown, put into its file, or taken out again.

use std::env;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::{Args, site};
use crate::daemon::chain::chain;
use crate::decisions::report::Failure;
use crate::decisions::status::InstanceStatus;
use crate::doors::files::Kept;
use crate::face::clients::{
    Client, Home, PLACEHOLDER, Refused, Scope, Secret, Server, ServerUrl, Wanted, wanted,
};
use crate::face::connect::Connection;
use crate::face::exit::Exit;
use crate::face::output::Output;
use crate::face::style::{Label, paint};
use crate::words::control::VncPasswords;
use crate::words::name::InstanceName;

/// What is asked for.
pub(super) struct Asked<'a> {
    /// For which client.
    pub(super) client: Client,
    /// For which of its files.
    pub(super) scope: Scope,
    /// The token, where one is given.
    pub(super) token: Option<&'a str>,
    /// The token as a shell's word has it within double quotes.
    pub(super) bearer: &'a str,
}

impl Asked<'_> {
    /// Prints what the client needs, and says where it goes.
    pub(super) fn show(
        &self,
        instance: &InstanceStatus,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let connection = Connection {
            instance,
            vnc: VncPasswords::default(),
        };
        let by_command = self.client == Client::ClaudeCode && self.scope == Scope::User;
        let wanted = self.wanted(&connection.servers())?;
        let snippet = if by_command {
            connection.claude_code(self.bearer).join("\n")
        } else {
            drawn(self.client, &wanted)?
        };
        // What is printed needs no home.
        let home = home().ok();
        let file = match (home, project()) {
            (Some(home), Ok(project)) => self.client.file(self.scope, &home, &project),
            _ => None,
        };
        if out.is_json() && self.client != Client::Json {
            out.json(&json!({
                "client": id(self.client),
                "file": file,
                "snippet": snippet,
                "variables": if by_command { &[] } else { wanted.variables.as_slice() },
            }));
            return Ok(Exit::Done);
        }
        out.document(&snippet);
        if let Some(file) = &file {
            out.say("");
            let file = paint(Label::Literal, file.display());
            out.say(format_args!("It goes into {file}"));
        }
        if !by_command {
            self.say_token(&instance.name, &connection.servers(), &wanted, out);
        }
        Ok(Exit::Done)
    }

    /// Puts it into the client's file.
    pub(super) fn write(
        &self,
        instance: &InstanceStatus,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let connection = Connection {
            instance,
            vnc: VncPasswords::default(),
        };
        let servers = connection.servers();
        let name = &instance.name;
        let Some(file) = self.client.file(self.scope, &home()?, &project()?) else {
            let by_hand = connection.claude_code(self.bearer);
            return Err(no_file(self.client, self.scope, &by_hand));
        };
        self.check_token(name, &servers, &file)?;
        let wanted = self.wanted(&servers)?;
        let mut kept = read(&file)?;
        let is_mended = kept.has_mark() && !self.client.reads_byte_order_mark();
        if is_mended {
            kept.drop_mark();
        }
        let had = self.client.take(kept.text(), &wanted);
        let had = had.map_err(|refused| unsuitable(&file, &refused))?;
        let text = self.client.put(kept.text(), &wanted);
        let text = text.map_err(|refused| unsuitable(&file, &refused))?;
        let change = if kept.exists() && text == kept.text() && !is_mended {
            "unchanged"
        } else if !kept.exists() {
            "created"
        } else if had == kept.text() {
            "added"
        } else {
            "replaced"
        };
        if change != "unchanged" {
            save(&kept, &text, self.scope)?;
        }
        if self.token.is_some() && kept.is_open() {
            out.warn(format_args!(
                "others can read {0}, and a token is in it now: chmod 600 {1}",
                file.display(),
                site::quoted(&file),
            ));
        }
        let undo = self.undo(name);
        let names: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
        if out.is_json() {
            out.json(&json!({
                "client": id(self.client), "file": file, "change": change, "servers": names,
                "variables": wanted.variables, "undo": undo,
            }));
            return Ok(Exit::Done);
        }
        let (names, shown) = (names.join(", "), paint(Label::Subject, file.display()));
        if is_mended {
            let called = self.client.called();
            out.say(format_args!(
                "Removed the byte order mark of {shown}: {called} ignores a file that begins with one"
            ));
        }
        match change {
            "unchanged" => out.say(format_args!(
                "{shown} has {names} already; nothing was written"
            )),
            "created" => out.say(format_args!("Created {shown} with {names}")),
            "added" => out.say(format_args!("Added {names} to {shown}")),
            _ => out.say(format_args!("Replaced {names} in {shown}")),
        }
        out.say(format_args!("Undo:  {}", paint(Label::Literal, undo)));
        self.say_token(name, &servers, &wanted, out);
        Ok(Exit::Done)
    }

    fn wanted(&self, servers: &[Server]) -> Result<Wanted, Failure> {
        if servers.is_empty() {
            return Err(Failure {
                message: "it has no endpoint for MCP clients".to_owned(),
                help: Some("an endpoint with `auth: bearer` in its manifest is one".to_owned()),
            });
        }
        let secret = self.token.map_or(Secret::Referred, Secret::Given);
        wanted(self.client, servers, secret).map_err(|message| Failure {
            message,
            help: Some("take a client that does, as Claude Code or VS Code".to_owned()),
        })
    }

    /// That the token may be written, or need not be.
    fn check_token(
        &self,
        name: &InstanceName,
        servers: &[Server],
        file: &Path,
    ) -> Result<(), Failure> {
        let issue = self.issuing(name);
        let refers = self.client.refers();
        let called = self.client.called();
        match self.token {
            Some(_) if self.scope == Scope::Project => Err(Failure {
                message: format!(
                    "{} is a project's, and such files are shared",
                    file.display()
                ),
                help: Some(
                    "leave --token-file away: the file then says where to find the token"
                        .to_owned(),
                ),
            }),
            None if !refers && servers.iter().any(|server| server.guarded) => Err(Failure {
                message: format!("{called} can only be given the token itself"),
                help: Some(format!(
                    "give a file that holds one, with --token-file FILE; `{issue}` prints one"
                )),
            }),
            _ => Ok(()),
        }
    }

    /// Says what is still to be done about the token.
    fn say_token(
        &self,
        name: &InstanceName,
        servers: &[Server],
        wanted: &Wanted,
        out: &mut Output,
    ) {
        if self.token.is_some() || !servers.iter().any(|server| server.guarded) {
            return;
        }
        let called = self.client.called();
        let issue = paint(Label::Literal, self.issuing(name));
        if !wanted.variables.is_empty() {
            let variables = wanted.variables.join(", ");
            out.say(format_args!(
                "Token: {called} reads {variables}, as it was set where {called} was started; {issue} prints one"
            ));
        } else if !wanted.inputs.is_empty() {
            out.say(format_args!(
                "Token: {called} asks for it; {issue} prints one"
            ));
        } else {
            out.say(format_args!(
                "Token: for {PLACEHOLDER}, put in what {issue} prints"
            ));
        }
    }

    fn issuing(&self, name: &InstanceName) -> String {
        format!("instanced token issue {name} --label {}", id(self.client))
    }

    fn undo(&self, name: &InstanceName) -> String {
        let scope = match self.scope {
            Scope::User => "",
            Scope::Project => " --scope project",
        };
        format!(
            "instanced connect {name} --client {}{scope} --remove",
            id(self.client)
        )
    }
}

/// Takes an instance out of a client's file. One that is gone can be taken out, too.
pub(super) fn remove(
    client: Client,
    args: &Args,
    instance: Option<&InstanceStatus>,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let mut servers = match instance {
        Some(instance) => {
            let vnc = VncPasswords::default();
            Connection { instance, vnc }.servers()
        }
        None => Vec::new(),
    };
    if servers.is_empty() {
        servers.push(Server {
            name: args.name.to_string(),
            url: ServerUrl::default(),
            guarded: true,
        });
    }
    let Some(file) = client.file(args.scope, &home()?, &project()?) else {
        let commands = servers
            .iter()
            .map(|s| format!("claude mcp remove {}", s.name));
        return Err(no_file(client, args.scope, &commands.collect::<Vec<_>>()));
    };
    let wanted = wanted(client, &servers, Secret::Referred).map_err(|message| Failure {
        message,
        help: None,
    })?;
    let kept = read(&file)?;
    let text = client.take(kept.text(), &wanted);
    let text = text.map_err(|refused| unsuitable(&file, &refused))?;
    let is_there = text != kept.text();
    if is_there {
        save(&kept, &text, args.scope)?;
    }
    let names: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
    if out.is_json() {
        let change = if is_there { "removed" } else { "unchanged" };
        out.json(
            &json!({ "client": id(client), "file": file, "change": change, "servers": names }),
        );
        return Ok(Exit::Done);
    }
    let (names, shown) = (names.join(", "), paint(Label::Subject, file.display()));
    if is_there {
        out.say(format_args!("Removed {names} from {shown}"));
    } else {
        out.say(format_args!(
            "{shown} does not have {names}; nothing was written"
        ));
    }
    Ok(Exit::Done)
}

/// How a client is named on the command line.
fn id(client: Client) -> String {
    let value = client.to_possible_value();
    value
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn drawn(client: Client, wanted: &Wanted) -> Result<String, Failure> {
    wanted.draw(client).map_err(|refused| Failure {
        message: refused.why,
        help: None,
    })
}

fn read(file: &Path) -> Result<Kept, Failure> {
    Kept::read(file).map_err(|error| Failure {
        message: format!("{error}; nothing was written"),
        help: None,
    })
}

fn save(kept: &Kept, text: &str, scope: Scope) -> Result<(), Failure> {
    let written = kept.write(text, scope == Scope::Project);
    written.map_err(|error| Failure {
        message: chain(&error),
        help: Some("run it again once the file and its directory can be written".to_owned()),
    })
}

fn unsuitable(file: &Path, refused: &Refused) -> Failure {
    let Refused { line, column, why } = refused;
    Failure {
        message: format!(
            "{}:{line}:{column}: {why}; nothing was written",
            file.display()
        ),
        help: Some(
            "mend the file, or copy what the same command prints without --write".to_owned(),
        ),
    }
}

/// That a client has no file that another program should write.
fn no_file(client: Client, scope: Scope, commands: &[String]) -> Failure {
    let called = client.called();
    let (message, help) = match (client, scope) {
        (Client::ClaudeCode, _) => (
            format!("{called} writes ~/.claude.json itself, also while it runs"),
            format!(
                "run `{}`, or give --scope project for .mcp.json here",
                commands.join("; ")
            ),
        ),
        (Client::Json, _) => (
            "`json` is no client, so there is no file of its own".to_owned(),
            "redirect what is printed, or name the client".to_owned(),
        ),
        (_, Scope::Project | Scope::User) => (
            format!("{called} has no file for a project that could be shared"),
            "leave --scope away".to_owned(),
        ),
    };
    let help = Some(help);
    Failure { message, help }
}

fn home() -> Result<Home, Failure> {
    // An empty variable is none, as the XDG directories have it; a relative one, too.
    let path = |name| {
        let value = env::var_os(name).map(PathBuf::from);
        value.filter(|path| path.is_absolute())
    };
    let dir = path("HOME").ok_or_else(|| Failure {
        message: "HOME is not set, so a client's file cannot be found".to_owned(),
        help: Some("set it to the home directory of whoever uses the client".to_owned()),
    })?;
    Ok(Home {
        dir,
        config: path("XDG_CONFIG_HOME"),
        codex: path("CODEX_HOME"),
    })
}

fn project() -> Result<PathBuf, Failure> {
    site::working_directory()
}
