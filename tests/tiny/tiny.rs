//! A tiny instance: one static program that answers like the browser's image, and fails on demand.
//!
//! Ports: 8080 MCP over HTTP (`/screen` tells the screen, `/request` what was asked, with a cookie of its own), 5900 an RFB banner, 6080 a page.
//! Faults, from the environment: `TINY_SLOW_START_MS` (serves later), `TINY_EXIT_AFTER_MS` with `TINY_EXIT_CODE`,
//! `TINY_IGNORE_TERM=1`. Commands for `exec`: `probe HOST PORT`, `cat FILE`, `stat FILE` (mode, owner, group),
//! `write FILE`, `status` (what this process may do), `ping` (whether the instance in here serves).
//!
//! It is compiled by `rustc` alone, without crates; see build.sh. (Not `main.rs`: cargo would take it for a test.)

use std::ffi::c_int;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::process::exit;
use std::time::Duration;
use std::{env, fs, thread};

const SIGTERM: c_int = 15;
const SIG_IGN: usize = 1;

unsafe extern "C" {
    fn signal(number: c_int, handler: usize) -> usize;
    fn _exit(status: c_int) -> !;
}

extern "C" fn on_term(_: c_int) {
    // SAFETY: _exit may be called from a signal's handler.
    unsafe { _exit(0) }
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        [] => serve(),
        ["probe", host, port] => probe(host, port),
        ["ping"] => probe("127.0.0.1", "8080"),
        ["cat", file] => {
            fs::read(file).is_ok_and(|bytes| std::io::stdout().write_all(&bytes).is_ok())
        }
        ["stat", file] => stat(file),
        ["write", file] => told(file, fs::write(file, "written\n")),
        ["status"] => status(),
        other => told(
            "arguments",
            Err::<(), _>(format!("not understood: {other:?}")),
        ),
    };
    exit(i32::from(!done));
}

fn told<T, E: std::fmt::Display>(subject: &str, result: Result<T, E>) -> bool {
    if let Err(error) = &result {
        eprintln!("{subject}: {error}");
    }
    result.is_ok()
}

fn probe(host: &str, port: &str) -> bool {
    let address = format!("{host}:{port}")
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next());
    let Some(address) = address else {
        return told(host, Err::<(), _>("no such host"));
    };
    told(
        host,
        TcpStream::connect_timeout(&address, Duration::from_secs(1)),
    )
}

fn stat(file: &str) -> bool {
    let found = fs::metadata(file);
    if let Ok(found) = &found {
        println!(
            "{:04o} {} {}",
            found.mode() & 0o7777,
            found.uid(),
            found.gid()
        );
    }
    told(file, found)
}

/// The lines of the kernel's view that a test asks for: user, capabilities, no-new-privileges, seccomp.
fn status() -> bool {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in text.lines().filter(|line| {
        ["Uid:", "Cap", "NoNewPrivs:", "Seccomp:"]
            .iter()
            .any(|s| line.starts_with(s))
    }) {
        println!("{line}");
    }
    true
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn serve() -> ! {
    let handler = if env::var("TINY_IGNORE_TERM").is_ok_and(|value| value == "1") {
        SIG_IGN
    } else {
        on_term as extern "C" fn(c_int) as usize
    };
    // SAFETY: the first process of a container has no default action for TERM, so it needs a handler.
    unsafe { signal(SIGTERM, handler) };
    if let Some(ms) = number("TINY_EXIT_AFTER_MS") {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(ms));
            exit(
                number("TINY_EXIT_CODE")
                    .and_then(|code| i32::try_from(code).ok())
                    .unwrap_or(1),
            );
        });
    }
    thread::sleep(Duration::from_millis(
        number("TINY_SLOW_START_MS").unwrap_or(0),
    ));
    println!("tiny: serving");
    thread::spawn(|| listen(5900, rfb));
    thread::spawn(|| {
        listen(6080, |client| {
            respond(client, |_, _, _| {
                ("200 OK", "text/html", "<title>noVNC</title>\n".to_owned())
            })
        })
    });
    listen(8080, |client| respond(client, mcp))
}

fn listen(port: u16, answer: fn(TcpStream)) -> ! {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap_or_else(|error| {
        eprintln!("tiny: port {port}: {error}");
        exit(98);
    });
    for client in listener.incoming().flatten() {
        // A small stack: hundreds of instances share a test machine.
        let _ = thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || answer(client));
    }
    exit(99)
}

fn rfb(mut client: TcpStream) {
    let _ = client.write_all(b"RFB 003.008\n");
    let _ = client.read(&mut [0; 12]);
}

type Answer = (&'static str, &'static str, String);

/// Reads requests of one connection and answers each, until the client has enough.
fn respond(client: TcpStream, answer: fn(&str, &str, &str) -> Answer) {
    let _ = client.set_read_timeout(Some(Duration::from_secs(30)));
    let Ok(mut writer) = client.try_clone() else {
        return;
    };
    let mut reader = BufReader::new(client);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let mut length = 0_usize;
        let mut asked = first.clone();
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            asked.push_str(&header);
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length.min(1 << 20)];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = first.split_ascii_whitespace();
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (status, kind, text) = match path.strip_prefix("/request") {
            Some(_) => ("200 OK", "text/plain", asked),
            None => answer(method, path, &String::from_utf8_lossy(&body)),
        };
        let length = text.len();
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
        let session = if path.starts_with("/mcp") {
            "Mcp-Session-Id: tiny\r\n"
        } else if path.starts_with("/request") {
            "Set-Cookie: own=kept; Path=/\r\n"
        } else {
            ""
        };
        if write!(writer, "{head}{session}\r\n{text}").is_err() {
            return;
        }
    }
}

/// Streamable HTTP as Playwright MCP answers it, as far as a client's handshake and one call need it.
fn mcp(method: &str, path: &str, body: &str) -> Answer {
    let json = "application/json";
    if path == "/screen" {
        let side = |name| env::var(name).unwrap_or_default();
        let text = format!("{}x{}\n", side("SCREEN_WIDTH"), side("SCREEN_HEIGHT"));
        return ("200 OK", "text/plain", text);
    }
    match method {
        "POST" => {}
        "DELETE" => return ("200 OK", json, String::new()),
        _ => {
            return (
                "400 Bad Request",
                "text/plain",
                "Invalid request".to_owned(),
            );
        }
    }
    let called = member(body, "method").unwrap_or_default();
    let Some(id) = member(body, "id") else {
        return ("202 Accepted", json, String::new());
    };
    let version = member(body, "protocolVersion").unwrap_or_else(|| "\"2025-03-26\"".to_owned());
    let payload = match called.trim_matches('"') {
        "initialize" => format!(
            r#""result":{{"protocolVersion":{version},"capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"tiny","version":"1"}}}}"#
        ),
        "ping" => r#""result":{}"#.to_owned(),
        "tools/list" => r#""result":{"tools":[{"name":"echo","description":"Echoes","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}]}"#.to_owned(),
        "tools/call" => {
            let text = member(body, "text").unwrap_or_else(|| "\"\"".to_owned());
            format!(r#""result":{{"content":[{{"type":"text","text":{text}}}]}}"#)
        }
        _ => r#""error":{"code":-32601,"message":"Method not found"}"#.to_owned(),
    };
    (
        "200 OK",
        json,
        format!(r#"{{"jsonrpc":"2.0","id":{id},{payload}}}"#),
    )
}

/// The first member of this name that holds a text or a number, as written. Enough for a test's messages.
fn member(json: &str, name: &str) -> Option<String> {
    let mut rest = json;
    let key = format!("\"{name}\"");
    loop {
        rest = &rest[rest.find(&key)? + key.len()..];
        let Some(value) = rest.trim_start().strip_prefix(':') else {
            continue;
        };
        let value = value.trim_start();
        if let Some(text) = value.strip_prefix('"') {
            let mut escaped = false;
            let end = text.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })?;
            return Some(format!("\"{}\"", &text[..end]));
        }
        let end = value.find(|c: char| !c.is_ascii_digit())?;
        return (end > 0).then(|| value[..end].to_owned());
    }
}
