//! The real clients: the official MCP SDK, and noVNC's protocol (`tests/clients`).

use std::path::Path;

use super::lab::REPOSITORY;
use super::said::{Said, run};

/// Python with what the clients need.
pub fn python() -> String {
    let tools = std::env::var("INSTANCED_TOOLS").unwrap_or_else(|_| format!("{REPOSITORY}/.tools"));
    let python = format!("{tools}/bin/python");
    assert!(
        Path::new(&python).exists(),
        "no {python}: run scripts/tools.sh (make test does it)"
    );
    python
}

/// Opens the MCP endpoint as a client does, with a page to visit if one is given.
pub fn drive(url: &str, token: Option<&Path>, visit: Option<&str>, size: Option<&str>) -> Said {
    run(python(), |command| {
        command
            .arg(format!("{REPOSITORY}/tests/clients/mcp_drive.py"))
            .args(["--url", url, "--timeout", "90"]);
        if let Some(token) = token {
            command.arg("--token-file").arg(token);
        }
        if let Some(page) = visit {
            command.args(["--navigate", page]);
        }
        if let Some(size) = size {
            command.args(["--expect-size", size]);
        }
    })
}

/// Shakes hands over noVNC's WebSocket.
pub fn look(url: &str, password: &Path, size: Option<&str>) -> Said {
    run(python(), |command| {
        command
            .arg(format!("{REPOSITORY}/tests/clients/rfb_check.py"))
            .args(["--url", url]);
        command.arg("--password-file").arg(password);
        if let Some(size) = size {
            command.args(["--expect-size", size]);
        }
    })
}
