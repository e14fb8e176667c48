//! A client that sends exactly what it is told, from the address that it is told.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// Long enough for a busy machine; nothing is timed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The value of a header that is there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut of_name = self.headers.iter().filter(|(n, _)| n == name);
        let (first, second) = (of_name.next(), of_name.next());
        assert!(second.is_none(), "{name} twice: {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    /// Without what tells the time, so that two can be compared.
    pub fn timeless(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "date");
        self
    }
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// From any address of loopback: always another one, so that no client guesses too often.
    pub fn new(to: SocketAddr) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed) % 60_000;
        let from = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + turn);
        Self::from(from, to).unwrap()
    }

    pub fn from(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddr::new(IpAddr::V4(from), 0))?;
        connect(&socket, &to)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Reads more; false at the end of the stream.
    fn more(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 8192];
        let read = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(read > 0)
    }

    /// Up to and without this.
    pub fn until(&mut self, end: &str) -> io::Result<String> {
        let at = loop {
            let found = self.buffer.windows(end.len());
            match found.into_iter().position(|w| w == end.as_bytes()) {
                Some(at) => break at,
                None if self.more()? => {}
                None => {
                    let seen = String::from_utf8_lossy(&self.buffer);
                    return Err(io::Error::other(format!("ended before {end:?}: {seen:?}")));
                }
            }
        };
        let rest = self.buffer.split_off(at + end.len());
        let text = std::mem::replace(&mut self.buffer, rest);
        Ok(String::from_utf8_lossy(&text[..at]).into_owned())
    }

    /// An answer's head; its body is still to come.
    pub fn head(&mut self) -> io::Result<Answer> {
        let head = self.until("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status = status.and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {head:?}")))?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        Ok(Answer {
            status,
            headers: headers.collect(),
            body: String::new(),
        })
    }

    /// A whole answer; to any method but HEAD.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        if answer.status == 204 || answer.status == 101 {
            return Ok(answer);
        }
        let length = answer.header("content-length").map(str::to_owned);
        let body = if let Some(length) = length {
            let length: usize = length.parse().map_err(io::Error::other)?;
            while self.buffer.len() < length {
                if !self.more()? {
                    return Err(io::Error::other("ended within a body"));
                }
            }
            self.buffer.drain(..length).collect()
        } else if answer.header("transfer-encoding").is_some() {
            let mut body = Vec::new();
            loop {
                let size = self.until("\r\n")?;
                let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
                while self.buffer.len() < size + 2 {
                    if !self.more()? {
                        return Err(io::Error::other("ended within a chunk"));
                    }
                }
                body.extend(self.buffer.drain(..size));
                self.buffer.drain(..2);
                if size == 0 {
                    break body;
                }
            }
        } else {
            while self.more()? {}
            std::mem::take(&mut self.buffer)
        };
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    /// Whether the other side has closed, or does within this time. What it still says is dropped.
    pub fn ends_within(mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        loop {
            match self.more() {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}
