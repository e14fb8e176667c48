//! In place of a container: answers everything with what it was asked, streams events and keeps up web sockets.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How often an event is sent.
const EVENT_EVERY: Duration = Duration::from_millis(100);

/// Serves until the process ends.
pub struct Upstream {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                // A client that goes away is its own matter.
                thread::spawn(move || drop(serve(&stream, &counted)));
            }
        });
        Self { address, asked }
    }

    /// How many requests have come so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// What a request looked like to the upstream, read from the answer's body.
#[derive(Debug)]
pub struct Seen {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Seen {
    pub fn read(told: &str) -> Self {
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        Self {
            line,
            headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    /// All values of headers whose name is this to any server, however it is spelled: many take `_` and `.` for `-`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
        let of_name = self.headers.iter().filter(|(n, _)| plain(n) == plain(name));
        of_name.map(|(_, value)| value.as_str()).collect()
    }
}

/// A request a connection.
fn serve(stream: &TcpStream, asked: &AtomicUsize) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let value = |name: &str| {
        let line = head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(name));
        line.and_then(|line| Some(line.split_once(": ")?.1.to_owned()))
    };
    let mut writer = stream;
    if value("upgrade:").is_some() {
        write!(
            writer,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             X-Seen-Instance: {}\r\n\r\n",
            value("x-mcp-instance-id:").unwrap_or_default()
        )?;
        let mut chunk = [0; 1024];
        loop {
            let read = reader.read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            writer.write_all(&chunk[..read])?;
        }
    }
    if head.starts_with("GET /sse ") {
        writer.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n",
        )?;
        for n in 0.. {
            // In one piece, or Traefik sends a chunk for each.
            writer.write_all(format!("data: {n}\n\n").as_bytes())?;
            thread::sleep(EVENT_EVERY);
        }
    }
    let length = value("content-length:").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    head.push_str(&String::from_utf8_lossy(&body));
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nMcp-Session-Id: s1\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{head}",
        head.len()
    )
}
