use std::fmt::Write as _;
use std::path::Path;

use clap::ValueEnum as _;
use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod anything;
mod outside;

fn server(name: &str, url: &str) -> Server {
    Server {
        name: name.to_owned(),
        url: url.into(),
        guarded: true,
    }
}

fn alice() -> [Server; 1] {
    [server("alice", "https://mcp-alice.example.com/mcp")]
}

fn home() -> Home {
    Home {
        dir: "~".into(),
        config: None,
        codex: None,
    }
}

fn put(client: Client, text: &str, secret: Secret) -> String {
    let wanted = wanted(client, &alice(), secret).unwrap();
    client.put(text, &wanted).unwrap()
}

#[test]
fn what_every_client_is_given() {
    let mut drawn = String::new();
    for client in Client::value_variants() {
        let _ = writeln!(drawn, "# {}", client.called());
        for (scope, name) in [(Scope::User, "user"), (Scope::Project, "project")] {
            if let Some(file) = client.file(scope, &home(), Path::new(".")) {
                let _ = writeln!(drawn, "{name}: {}", file.display());
            }
        }
        let _ = writeln!(drawn, "\n{}", put(*client, "", Secret::Referred));
        let _ = writeln!(drawn, "{}", put(*client, "", Secret::Given("mcp_x")));
    }
    assert_snapshot!(drawn);
}

#[test]
fn the_documentation_shows_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_to_string(root.join("docs/clients.md")).expect("docs/clients.md");
    for client in Client::value_variants() {
        let snippet = put(*client, "", Secret::Referred);
        assert!(docs.contains(&snippet), "{client:?}:\n{snippet}");
        for scope in [Scope::User, Scope::Project] {
            let file = client.file(scope, &home(), Path::new(""));
            let file = file.map(|file| format!("`{}`", file.display()));
            assert!(
                file.as_ref().is_none_or(|file| docs.contains(file)),
                "{file:?}"
            );
        }
    }
}

#[test]
fn the_variables_of_the_system_move_the_files() {
    let home = Home {
        config: Some("/x".into()),
        codex: Some("/c".into()),
        ..home()
    };
    for (client, expected) in [
        (Client::Vscode, "/x/Code/User/mcp.json"),
        (
            Client::ClaudeDesktop,
            "/x/Claude/claude_desktop_config.json",
        ),
        (Client::Zed, "/x/zed/settings.json"),
        (Client::Codex, "/c/config.toml"),
        (Client::Cursor, "~/.cursor/mcp.json"),
    ] {
        let file = client.file(Scope::User, &home, Path::new("."));
        assert_eq!(file.as_deref(), Some(Path::new(expected)), "{client:?}");
    }
}

#[test]
fn the_older_transport_is_named_where_it_is_spoken() {
    let old = [server(
        "alice-sse",
        "http://sse-alice.mcp.localhost:8088/sse",
    )];
    let text = |client| {
        let wanted = wanted(client, &old, Secret::Referred)?;
        Ok::<_, String>(client.put("", &wanted).unwrap().replace(['\n', ' '], ""))
    };
    for (client, expected) in [
        (Client::ClaudeCode, r#""type":"sse""#),
        (Client::Vscode, r#""type":"sse""#),
        (Client::Json, r#""type":"sse""#),
        (Client::GeminiCli, r#""url":"http://sse-alice"#),
        (
            Client::ClaudeDesktop,
            r#""--transport","sse-only","--allow-http""#,
        ),
    ] {
        let text = text(client).unwrap();
        assert!(text.contains(expected), "{client:?}: {text}");
    }
    for client in [Client::Codex, Client::Zed] {
        assert!(
            text(client).unwrap_err().contains("`alice-sse`"),
            "{client:?}"
        );
    }
    let is_sse = |url: &str| server("a", url).is_sse();
    assert!(is_sse("http://a/sse/") && is_sse("http://a/x/sse?y=1"));
    assert!(
        !is_sse("http://sse/mcp") && !is_sse("http://a/mcp?x=/sse") && !is_sse("http://a/nosse")
    );
}

#[test]
fn an_open_server_gets_no_header() {
    let mut servers = alice();
    servers[0].guarded = false;
    for client in Client::value_variants() {
        let wanted = wanted(*client, &servers, Secret::Referred).unwrap();
        let text = client.put("", &wanted).unwrap().to_lowercase();
        for word in ["auth", "token", "header", "input"] {
            assert!(!text.contains(word), "{client:?}: {text}");
        }
    }
}

#[test]
fn comments_and_style_of_an_editor_stay() {
    let before = "// mine\n{\n\t\"theme\": \"One\", // dark\n\t/* servers */\n\t\"context_servers\": {\n\t\t// a\n\t\t\"other\": { \"url\": \"x\" }, // b\n\t},\n}\n";
    let after = put(Client::Zed, before, Secret::Given("t"));
    assert_eq!(
        after,
        "// mine\n{\n\t\"theme\": \"One\", // dark\n\t/* servers */\n\t\"context_servers\": {\n\t\t// a\n\t\t\"other\": { \"url\": \"x\" }, // b\n\t\t\"alice\": {\n\t\t\t\"url\": \"https://mcp-alice.example.com/mcp\",\n\t\t\t\"headers\": {\n\t\t\t\t\"Authorization\": \"Bearer t\",\n\t\t\t},\n\t\t},\n\t},\n}\n"
    );
    let wanted = wanted(Client::Zed, &alice(), Secret::Referred).unwrap();
    assert_eq!(Client::Zed.take(&after, &wanted).unwrap(), before);
}

#[test]
fn an_entry_is_replaced_where_it_stands() {
    let before =
        r#"{"mcpServers": {"alice": {"url": "old", "disabled": true}, "bob": {"url": "b"}}}"#;
    let after = put(Client::Cursor, before, Secret::Referred);
    let says: Value = serde_json::from_str(&after).unwrap();
    let names: Vec<_> = after
        .match_indices("\"alice\"")
        .chain(after.match_indices("\"bob\""))
        .collect();
    assert!(names.len() == 2 && names[0].0 < names[1].0, "{after}");
    assert_eq!(says["mcpServers"]["bob"], json!({ "url": "b" }));
    assert_eq!(
        says["mcpServers"]["alice"]["url"],
        "https://mcp-alice.example.com/mcp"
    );
    assert_eq!(says["mcpServers"]["alice"].get("disabled"), None);
}

#[test]
fn what_asks_in_vs_code_is_there_once() {
    let before =
        r#"{ "inputs": [ { "id": "mine" }, { "id": "instanced-alice", "type": "old" } ] }"#;
    let after = put(Client::Vscode, before, Secret::Referred);
    let says: Value = serde_json::from_str(&after).unwrap();
    assert_eq!(says["inputs"].as_array().unwrap().len(), 2);
    assert_eq!(says["inputs"][0], json!({ "id": "mine" }));
    assert_eq!(says["inputs"][1]["password"], true);
    assert_eq!(put(Client::Vscode, &after, Secret::Referred), after);
    let wanted = wanted(Client::Vscode, &alice(), Secret::Referred).unwrap();
    let taken: Value =
        serde_json::from_str(&Client::Vscode.take(&after, &wanted).unwrap()).unwrap();
    assert_eq!(
        taken,
        json!({ "inputs": [{ "id": "mine" }], "servers": {} })
    );
}

#[test]
fn comments_of_a_toml_file_stay() {
    let before = "# mine\nmodel = \"x\" # fast\n\n[mcp_servers.other] # theirs\nurl = \"o\"\n\n[tui]\nnotify = true\n";
    let after = put(Client::Codex, before, Secret::Referred);
    for line in before.lines() {
        assert!(after.contains(line), "{line} is not in\n{after}");
    }
    assert!(after.contains(
        "[mcp_servers.alice]\nurl = \"https://mcp-alice.example.com/mcp\"\nbearer_token_env_var = \"INSTANCED_ALICE_TOKEN\"\n"
    ));
    let with_token = put(Client::Codex, &after, Secret::Given("t"));
    assert!(
        with_token.contains("http_headers = { Authorization = \"Bearer t\" }\n"),
        "{with_token}"
    );
    assert!(!with_token.contains("bearer_token_env_var"));
    let wanted = wanted(Client::Codex, &alice(), Secret::Referred).unwrap();
    assert_eq!(Client::Codex.take(&with_token, &wanted).unwrap(), before);
}

#[test]
fn servers_within_one_line_stay_there() {
    let before = "mcp_servers = { other = { url = \"o\" } }\n";
    let after = put(Client::Codex, before, Secret::Referred);
    assert!(
        after.starts_with("mcp_servers = { other = { url = \"o\" }"),
        "{after}"
    );
    assert_eq!(after.lines().count(), 1, "{after}");
}

#[test]
fn lines_end_as_they_did() {
    for (client, before) in [
        (
            Client::Codex,
            "# a\r\nmodel = \"x\"\r\n\r\n[tui]\r\nnotify = true\r\n",
        ),
        (Client::Cursor, "{\r\n  \"mcpServers\": {}\r\n}\r\n"),
    ] {
        let after = put(client, before, Secret::Referred);
        assert_eq!(
            after.matches('\n').count(),
            after.matches("\r\n").count(),
            "{after:?}"
        );
    }
    let wanted = wanted(Client::Codex, &alice(), Secret::Referred).unwrap();
    // Some ways to write cannot be written again, and are only written behind.
    let mixed = "a = 1\r\nb = 2\n";
    let after = Client::Codex.put(mixed, &wanted).unwrap();
    assert!(
        after.starts_with(mixed) && after.contains("[mcp_servers.alice]"),
        "{after:?}"
    );
    assert_eq!(
        Client::Codex.take(&after, &wanted),
        Err(Refused::unsafe_edit())
    );
}

#[test]
fn a_file_that_will_not_do_is_refused_with_its_place() {
    for (client, text, place, why) in [
        (
            Client::Cursor,
            "{\n  \"mcpServers\": {\n    \"a\": tru\n}}",
            (3, 10),
            "word",
        ),
        (Client::Cursor, "{ \"a\": 1 \"b\": 2 }", (1, 9), "comma"),
        (Client::Cursor, "[]", (1, 1), "the file is not an object"),
        (
            Client::Cursor,
            "{\n \"mcpServers\": [] }",
            (2, 16),
            "`mcpServers` is not an object",
        ),
        (
            Client::Vscode,
            "{ \"inputs\": {} }",
            (1, 13),
            "`inputs` is not a list",
        ),
        (
            Client::Zed,
            "{ \"ü\": 1, \"context_servers\": {},\n\"context_servers\": {} }",
            (2, 1),
            "twice",
        ),
        (
            Client::Cursor,
            "{\"mcpServers\":{\"alice\":{},\"alice\":{}}}",
            (1, 27),
            "`alice` is there twice",
        ),
        (Client::Codex, "a = 1\nb = \n", (2, 5), ""),
        (
            Client::Codex,
            "mcp_servers = 3",
            (1, 15),
            "`mcp_servers` is not a table",
        ),
        (
            Client::Codex,
            "[mcp_servers]\nalice = 3",
            (2, 9),
            "`mcp_servers.alice` is not a table",
        ),
    ] {
        let wanted = wanted(client, &alice(), Secret::Referred).unwrap();
        let refused = client.put(text, &wanted).unwrap_err();
        assert_eq!((refused.line, refused.column), place, "{text}: {refused:?}");
        assert!(
            refused.why.to_lowercase().contains(&why.to_lowercase()),
            "{text}: {refused:?}"
        );
        assert!(client.take(text, &wanted).is_err(), "{text}");
    }
}
