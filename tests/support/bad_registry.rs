//! A registry that misbehaves as the name of the repository says: `127.0.0.1:PORT/stalls:1` stalls in the middle of a
//! layer. It serves the API as far as an engine asks for it in a pull.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// Bytes of a layer that never comes whole.
const LAYER_BYTES: usize = 4 << 20;
/// Bytes of it that do come.
const LAYER_BEGIN: usize = 64 << 10;

/// A registry on loopback, for as long as the test runs.
pub struct BadRegistry {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    stalled: Arc<AtomicUsize>,
}

impl BadRegistry {
    /// Begins to serve.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let registry = Self {
            address: listener.local_addr().expect("bound"),
            asked: Arc::default(),
            stalled: Arc::default(),
        };
        let (asked, stalled) = (Arc::clone(&registry.asked), Arc::clone(&registry.stalled));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (asked, stalled) = (Arc::clone(&asked), Arc::clone(&stalled));
                // An engine that goes away in the middle of an answer is no failure of the test.
                std::thread::spawn(move || drop(serve(&stream, &asked, &stalled)));
            }
        });
        registry
    }

    /// The reference of an image whose pull goes wrong in this way.
    pub fn image(&self, fault: &str) -> String {
        format!("{}/{fault}:1", self.address)
    }

    /// How many manifests it was asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// How many downloads it has kept waiting. Docker 20.10 may leave the connection of one that it gave up open, so
    /// the end of a download shows only in another one.
    pub fn stalled(&self) -> usize {
        self.stalled.load(Ordering::SeqCst)
    }
}

fn serve(stream: &TcpStream, asked: &AtomicUsize, stalled: &AtomicUsize) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (is_head, path) = (method == "HEAD", path.to_owned());
    let mut from = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let line = line.to_ascii_lowercase();
        let range = line.strip_prefix("range: bytes=");
        let first = range.and_then(|range| range.split_once('-')?.0.parse().ok());
        from = first.unwrap_or(from);
    }
    let parts: Vec<&str> = path.trim_start_matches("/v2/").splitn(2, '/').collect();
    let [fault, rest] = parts[..] else {
        return answer(stream, "200 OK", "", "application/json", b"{}", is_head);
    };
    let error = |status, code, message: &str| {
        let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
        answer(
            stream,
            status,
            "",
            "application/json",
            body.as_bytes(),
            is_head,
        )
    };
    if rest.starts_with("manifests/") {
        asked.fetch_add(1, Ordering::SeqCst);
    }
    match fault {
        "unauthorized" => error(
            "401 Unauthorized",
            "UNAUTHORIZED",
            "authentication required",
        ),
        "denied" => error(
            "403 Forbidden",
            "DENIED",
            "requested access to the resource is denied",
        ),
        "unknown" => error("404 Not Found", "MANIFEST_UNKNOWN", "manifest unknown"),
        "limited" => error(
            "429 Too Many Requests",
            "TOOMANYREQUESTS",
            "You have reached your pull rate limit",
        ),
        "broken" => error("500 Internal Server Error", "UNKNOWN", "out of order"),
        // Where nobody listens.
        "redirects" => {
            let location = format!("Location: http://127.0.0.1:1{path}\r\n");
            answer(
                stream,
                "307 Temporary Redirect",
                &location,
                "text/plain",
                b"",
                is_head,
            )
        }
        _ if rest.starts_with("manifests/") => {
            let manifest = manifest(&format!("{}/{fault}", stream.local_addr()?));
            let digest = format!("Docker-Content-Digest: {}\r\n", digest(manifest.as_bytes()));
            let kind = "application/vnd.docker.distribution.manifest.v2+json";
            answer(
                stream,
                "200 OK",
                &digest,
                kind,
                manifest.as_bytes(),
                is_head,
            )
        }
        _ if rest.ends_with(&digest(CONFIG.as_bytes())) => answer(
            stream,
            "200 OK",
            "",
            "application/octet-stream",
            CONFIG.as_bytes(),
            is_head,
        ),
        "stalls" => stall(stream, from, stalled),
        _ => layer(stream),
    }
}

const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:1111111111111111111111111111111111111111111111111111111111111111"]},"history":[{"created_by":"test"}]}"#;

/// `whose` makes the layer one of its own: an engine downloads a layer once, whatever images wait for it.
fn manifest(whose: &str) -> String {
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let (config, length) = (digest(CONFIG.as_bytes()), CONFIG.len());
    let layer = digest(whose.as_bytes());
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{length},"digest":"{config}"}},"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":{LAYER_BYTES},"digest":"{layer}"}}]}}"#
    )
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", hex.concat())
}

fn answer(
    mut stream: &TcpStream,
    status: &str,
    headers: &str,
    kind: &str,
    body: &[u8],
    is_head: bool,
) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n{headers}Content-Type: {kind}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    if !is_head {
        stream.write_all(body)?;
    }
    Ok(())
}

/// The beginning of a layer; then the connection ends.
fn layer(mut stream: &TcpStream) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {LAYER_BYTES}\r\n\
         Connection: close\r\n\r\n"
    )?;
    stream.write_all(&vec![0; LAYER_BEGIN])
}

/// The beginning of a layer from a byte on, as an engine asks that kept what it had. Then nothing comes any more until the
/// engine gives up.
fn stall(mut stream: &TcpStream, from: usize, stalled: &AtomicUsize) -> std::io::Result<()> {
    let (length, last) = (LAYER_BYTES - from, LAYER_BYTES - 1);
    let (status, range) = match from {
        0 => ("200 OK", String::new()),
        _ => (
            "206 Partial Content",
            format!("Content-Range: bytes {from}-{last}/{LAYER_BYTES}\r\n"),
        ),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\n{range}Content-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )?;
    stream.write_all(&vec![0; LAYER_BEGIN])?;
    stalled.fetch_add(1, Ordering::SeqCst);
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut nothing = [0];
    loop {
        match std::io::Read::read(&mut stream, &mut nothing) {
            // A read with a limit is interrupted by signals, such as those of children that end.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock
                        | std::io::ErrorKind::TimedOut
                        | std::io::ErrorKind::Interrupted
                ) => {}
            // It is gone.
            Ok(_) | Err(_) => break,
        }
    }
    Ok(())
}
