//! The socket: who finds it, who may, and when it is gone.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_there_is_no_client() {
    let state = TempDir::new().unwrap();
    assert!(
        ControlClient::connect(state.path())
            .await
            .unwrap()
            .is_none()
    );
    // Nor with a socket that a killed daemon left behind.
    drop(std::os::unix::net::UnixListener::bind(state.path().join(SOCKET)).unwrap());
    assert!(
        ControlClient::connect(state.path())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let state = TempDir::new().unwrap();
    drop(std::os::unix::net::UnixListener::bind(state.path().join(SOCKET)).unwrap());
    let socket = ControlSocket::bind(state.path(), None).await.unwrap();
    let mode = std::fs::metadata(socket.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    let error = ControlSocket::bind(state.path(), None).await.unwrap_err();
    assert!(matches!(error, ControlError::InUse { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_socket_is_left_alone() {
    let state = TempDir::new().unwrap();
    let path = state.path().join(SOCKET);
    std::fs::write(&path, "precious").unwrap();
    assert!(ControlSocket::bind(state.path(), None).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_the_socket_is_gone() {
    let daemon = Daemon::start().await;
    daemon.client().await.get("/health").await.unwrap();
    daemon.shutdown.cancel();
    daemon.served.await.unwrap();
    assert!(!daemon.state.path().join(SOCKET).exists());
    assert!(
        ControlClient::connect(daemon.state.path())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_may_be_let_in_and_sees_nothing_else() {
    let state = TempDir::new().unwrap();
    let gone = ControlSocket::bind(state.path(), Some("no-such-group")).await;
    let gone = gone.unwrap_err().to_string();
    assert!(gone.contains("control.group"), "{gone}");
    // The group that this process has anyway: no test need be root's.
    let gid = std::fs::metadata(state.path()).unwrap().gid();
    let groups = std::fs::read_to_string("/etc/group").unwrap();
    let name = groups.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.get(2)? == &gid.to_string()).then(|| fields[0].to_owned())
    });
    let name = name.expect("the group of this process has a name");
    let socket = ControlSocket::bind(state.path(), Some(&name))
        .await
        .unwrap();
    let of = |path: &std::path::Path| {
        let found = std::fs::metadata(path).unwrap();
        (found.gid(), found.permissions().mode() & 0o777)
    };
    assert_eq!(of(socket.path()), (gid, 0o660));
    assert_eq!(of(state.path()), (gid, 0o710));
}
