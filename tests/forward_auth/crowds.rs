//! More connections than there is room for, and many clients behind one address.

use std::net::TcpStream;

use instanced::doors::host;

use super::*;

const CROWD: usize = 2048;

fn request() -> String {
    format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n{HOST}{BEARER}\r\n")
}

#[test]
fn a_new_question_is_answered_at_2048_idle_local_connections() {
    // This process is the listener and all of its clients.
    assert!(host::raise_file_limit().unwrap() > 2 * CROWD as u64 + 100);
    let limits = Limits {
        head: Duration::from_secs(600),
        idle: Duration::from_secs(600),
        ..Limits::default()
    };
    assert_eq!(limits.connections, CROWD);
    let server = Server::start_with("127.0.0.0/8", limits);
    let mut proxy = server.connect();
    proxy.send(request());
    proxy.answer().assert_allows("alice");
    // One half says nothing, the other half begins a request and never ends it.
    let crowd: Vec<TcpStream> = (0..CROWD)
        .map(|n| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            if n % 2 == 0 {
                stream.write_all(b"GET /auth").unwrap();
            }
            stream
        })
        .collect();
    for _ in 0..50 {
        let answer = server.ask(&request());
        answer.assert_allows("alice");
    }
    // Who has asked before goes on, although it was idle for longest.
    proxy.send(request());
    proxy.answer().assert_allows("alice");
    assert_eq!(server.counts.connections(), CROWD as u64 + 51);
    drop(crowd);
}

#[test]
fn the_longest_idle_of_those_that_asked_makes_room() {
    let limits = Limits {
        connections: 3,
        ..Limits::default()
    };
    let server = Server::start_with("127.0.0.0/8", limits);
    let mut open: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut open {
        client.send(request());
        client.answer().assert_allows("alice");
    }
    let mut fourth = server.connect();
    fourth.send(request());
    fourth.answer().assert_allows("alice");
    // One of the three is gone, two go on.
    let go_on = open.iter_mut().map(|client| {
        let sent = client.stream.write_all(request().as_bytes());
        sent.is_ok() && client.more()
    });
    assert_eq!(go_on.filter(|goes_on| *goes_on).count(), 2);
}

#[test]
fn peers_that_are_no_trusted_proxies_make_room_first() {
    let limits = Limits {
        connections: 4,
        untrusted_connections: 2,
        ..Limits::default()
    };
    let server = Server::start_with("127.0.0.1/32", limits);
    let from = |address: [u8; 4]| {
        let from = std::net::SocketAddr::from((address, 0));
        let socket = connect_from(from, server.address);
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        lab::Client {
            stream: socket,
            buffer: Vec::new(),
        }
    };
    let mut proxies: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for proxy in &mut proxies {
        proxy.send(request());
        proxy.answer().assert_allows("alice");
    }
    let mut others: Vec<_> = (0..2).map(|_| from([127, 0, 0, 2])).collect();
    // Both are in: only then is it full.
    while server.counts.connections() < 4 {
        std::thread::yield_now();
    }
    let mut more: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for proxy in more.iter_mut().chain(&mut proxies) {
        proxy.send(request());
        proxy.answer().assert_allows("alice");
    }
    for other in &mut others {
        assert!(other.is_closed());
    }
}

/// A connection from another address of this host.
fn connect_from(from: std::net::SocketAddr, to: std::net::SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(from).unwrap();
        socket.connect(to).await.unwrap()
    });
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn many_clients_with_stale_tokens_behind_one_address_meet_no_429() {
    let server = Server::start();
    let counts = &server.counts;
    let retired = instanced::words::token::TokenHash::of(b"alice-revoked");
    let table = access_table(true, counts).with_retired([retired]);
    server.table.store(Some(Arc::new(table)));
    let ask = |token: &str| {
        let headers = format!("{HOST}Authorization: Bearer {token}\r\n");
        server.get(PATH, &headers)
    };
    for _ in 0..60 {
        for token in ["alice-expired", "alice-revoked"] {
            ask(token).assert_challenges(INVALID);
        }
    }
    assert_eq!(counts.refused(Reason::ExpiredToken), 60);
    assert_eq!(counts.refused(Reason::RetiredToken), 60);
    assert_eq!(counts.refused(Reason::Limited), 0);
    // A guess is still one.
    let guesses = (0..30).map(|n| ask(&format!("guess-{n}")).status);
    let guesses: Vec<_> = guesses.collect();
    assert_eq!(guesses[..20], [401; 20]);
    assert!(guesses[20..].contains(&429), "{guesses:?}");
}
