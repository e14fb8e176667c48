//! What comes from outside: files as people and programs leave them, and URLs of manifests.

use super::*;

#[test]
fn a_client_is_given_no_file_that_it_ignores() {
    let put = |client: Client, text: &str| {
        let wanted = wanted(client, &alice(), Secret::Given("mcp_x")).unwrap();
        client.put(text, &wanted)
    };
    let (comment, comma) = ("{\n  // mine\n  \"a\": 1\n}\n", "{\n  \"a\": 1,\n}\n");
    for client in [Client::ClaudeDesktop, Client::ClaudeCode, Client::Windsurf] {
        for text in [comment, comma] {
            let refused = put(client, text).unwrap_err();
            assert_eq!(refused.line, 2, "{client:?}: {refused:?}");
            let named = format!("{} ignores such a file", client.called());
            assert!(refused.why.contains(&named), "{refused:?}");
        }
    }
    assert!(put(Client::GeminiCli, comment).is_ok());
    assert!(put(Client::GeminiCli, comma).is_err());
    for client in [Client::Vscode, Client::Cursor, Client::Zed] {
        assert!(
            put(client, comment).is_ok() && put(client, comma).is_ok(),
            "{client:?}"
        );
    }
    // An object takes the place of nothing.
    for client in Client::value_variants()
        .iter()
        .filter(|one| **one != Client::Codex)
    {
        let wanted = wanted(*client, &alice(), Secret::Given("mcp_x")).unwrap();
        let key = wanted.key;
        let text = client
            .put(&format!("{{\"{key}\": null, \"b\": 2}}"), &wanted)
            .unwrap();
        let says: Value = serde_json::from_str(&text).unwrap();
        assert!(
            says[key]["alice"].is_object() && says["b"] == 2,
            "{client:?}: {text}"
        );
    }
}

#[test]
fn no_client_expands_anything_in_a_url() {
    let hostile =
        "https://mcp-a.example.com/mcp?k=${AWS_SECRET}$(id)`id`$HOME%PATH%'\"\n\u{202e}|<>^";
    let servers = [server("alice", hostile)];
    for client in Client::value_variants() {
        let wanted = wanted(*client, &servers, Secret::Given("mcp_x")).unwrap();
        let text = client.put("", &wanted).unwrap();
        let text = text.replace("${AUTH_HEADER}", "");
        for sign in ["$", "`", "(", "\u{202e}", "|", "<", "^", "'"] {
            assert!(!text.contains(sign), "{client:?}: {sign} in {text}");
        }
    }
    // A command line in Claude Desktop's file may go through a shell.
    let split = [server(
        "alice",
        "https://mcp-a.example.com/mcp?a=1&calc.exe",
    )];
    assert!(wanted(Client::ClaudeDesktop, &split, Secret::Referred).is_err());
    assert!(wanted(Client::Cursor, &split, Secret::Referred).is_ok());
}
