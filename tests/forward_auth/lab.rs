//! The listener on a port of its own, and a client that speaks to it as bluntly as an attacker would.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use instanced::daemon::forward_auth::{
    AuthCounts, EdgeTable, ForwardAuth, Limits, SharedTable, SharedTokens, bind,
};
use instanced::daemon::uses::Uses;
use instanced::decisions::access::AccessPolicy;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::access::{guard, record};
use super::{INVALID_REQUEST, OUT_OF_SCOPE};

pub struct Server {
    pub address: SocketAddr,
    pub table: SharedTable,
    pub tokens: SharedTokens,
    pub counts: Arc<AuthCounts>,
    pub shutdown: CancellationToken,
    pub served: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
    pub runtime: Runtime,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with("127.0.0.0/8", Limits::default())
    }

    pub fn start_with(trusted: &str, limits: Limits) -> Self {
        let runtime = Runtime::new().unwrap();
        let policy = AccessPolicy::new(
            &[trusted.parse().unwrap()],
            &["https://app.example.com".to_owned()],
        );
        let counts = Arc::<AuthCounts>::default();
        let made = access_table(true, &counts);
        let table: SharedTable = Arc::new(ArcSwapOption::from_pointee(made));
        let auth = ForwardAuth::new(policy, Arc::clone(&table), Arc::clone(&counts));
        let auth = auth.with_limits(limits);
        let tokens = auth.tokens();
        let shutdown = CancellationToken::new();
        let guard = runtime.enter();
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        drop(guard);
        let served = Some(runtime.spawn(auth.serve(listener, shutdown.clone())));
        Self {
            address,
            table,
            tokens,
            counts,
            shutdown,
            served,
            runtime,
        }
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    /// One request on a connection of its own.
    pub fn ask(&self, request: &str) -> Answer {
        let mut client = self.connect();
        client.send(request);
        client.answer()
    }

    /// A GET at `path` with these header lines.
    pub fn get(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:9180\r\n{headers}\r\n"
        ))
    }
}

pub fn access_table(with_tokens: bool, counts: &AuthCounts) -> EdgeTable {
    let guards = ["alice", "bob"]
        .into_iter()
        .flat_map(|instance| ["mcp", "sse"].map(|endpoint| guard(instance, endpoint)));
    let mut expired = record("alice", "alice-expired");
    expired.expires = Some(jiff::Timestamp::UNIX_EPOCH);
    let mut scoped = record("alice", "alice-sse");
    scoped.endpoints = vec!["sse".parse().unwrap()];
    let tokens = [
        record("alice", "alice-token"),
        record("bob", "bob-token"),
        expired,
        scoped,
    ];
    let tokens = if with_tokens { &tokens[..] } else { &[] };
    EdgeTable::build(guards, tokens, &Uses::default(), counts)
}

pub struct Client {
    pub stream: TcpStream,
    pub buffer: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub version: String,
    pub status: u16,
    pub headers: BTreeMap<String, Vec<String>>,
    pub body: String,
}

impl Client {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads more; false at the end of the stream.
    pub fn more(&mut self) -> bool {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                true
            }
            // A close with bytes unread arrives as a reset.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }

    pub fn answer(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            assert!(self.more(), "closed without an answer");
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap();
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers
                .entry(name.to_ascii_lowercase())
                .or_default()
                .push(value.to_owned());
        }
        let length = headers
            .get("content-length")
            .map_or(0, |l| l[0].parse().unwrap());
        while self.buffer.len() < end + 4 + length {
            assert!(self.more(), "closed within a body");
        }
        let body = String::from_utf8(self.buffer[end + 4..end + 4 + length].to_vec()).unwrap();
        self.buffer.drain(..end + 4 + length);
        let (version, rest) = status_line.split_once(' ').unwrap();
        let status = rest[..3].parse().unwrap();
        Answer {
            version: version.to_owned(),
            status,
            headers,
            body,
        }
    }

    pub fn is_closed(&mut self) -> bool {
        while self.more() {}
        true
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|values| {
            assert_eq!(values.len(), 1, "{name}");
            values[0].as_str()
        })
    }

    pub fn assert_allows(&self, instance: &str) {
        assert_eq!(self.status, 204, "{self:?}");
        assert_eq!(self.header("x-mcp-instance-id"), Some(instance));
        let names: Vec<_> = self.headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["x-mcp-instance-id"]);
        assert_eq!(self.body, "");
    }

    /// What holds for everything but a 204.
    pub fn assert_refuses(&self, status: u16, phrase: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(
            self.header("content-length"),
            Some(self.body.len().to_string().as_str())
        );
        assert!(
            self.body.len() < 200 && self.body.contains(phrase),
            "{}",
            self.body
        );
        for never in ["location", "server", "set-cookie", "x-mcp-instance-id"] {
            assert_eq!(self.header(never), None);
        }
        let challenge = self.header("www-authenticate");
        match status {
            401 => assert!(challenge.is_some()),
            400 => assert!(challenge.is_none_or(|told| told == INVALID_REQUEST)),
            403 => assert!(challenge.is_none_or(|told| told == OUT_OF_SCOPE)),
            _ => assert_eq!(challenge, None),
        }
    }

    pub fn assert_challenges(&self, challenge: &str) {
        self.assert_refuses(401, "Unauthorized");
        assert_eq!(self.header("www-authenticate"), Some(challenge));
    }
}
