//! Deadlines of a connection.

use super::*;

#[tokio::test]
async fn a_silent_client_is_disconnected_at_the_deadline() {
    let deadlines = Deadlines { handshake: SHORT, ..NO_DEADLINES };
    let mut server = Server::start(deadlines, |_, _| async { answer("") }).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(in_time(silent.read(&mut [0; 8])).await.unwrap(), 0);
    assert_eq!(server.end().await, ConnectionEnd::HandshakeTimeout);
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let deadlines = Deadlines { first_request: SHORT, ..NO_DEADLINES };
    let mut server = Server::start(deadlines, |_, _| async { answer("") }).await;
    let mut h1 = server.connect(&[]).await;
    assert_eq!(in_time(h1.read(&mut [0; 8])).await.unwrap(), 0);
    assert_eq!(server.end().await, ConnectionEnd::Idle);

    let (_client, h2_driver) = http2(server.connect(&[b"h2"]).await).await;
    in_time(h2_driver).await.unwrap().unwrap();
    assert_eq!(server.end().await, ConnectionEnd::Idle);
}

#[tokio::test]
async fn a_connection_is_idle_only_between_requests() {
    let deadlines = Deadlines { idle: SHORT, first_request: SHORT, ..NO_DEADLINES };
    let mut server = Server::start(deadlines, |_, _| async {
        // A request that takes longer than the idle deadline.
        sleep(SHORT * 5).await;
        answer("slow")
    })
    .await;
    let (mut h1, h1_driver) = http1(server.connect(&[]).await).await;
    let response = h1.send_request(get()).await.unwrap();
    assert!(!response.headers().contains_key(header::CONNECTION), "closed under a request");
    assert_eq!(text(response).await, "slow");
    in_time(h1_driver).await.unwrap().unwrap();
    assert_eq!(server.end().await, ConnectionEnd::Idle);

    let (mut h2, h2_driver) = http2(server.connect(&[b"h2"]).await).await;
    assert_eq!(text(h2.send_request(get()).await.unwrap()).await, "slow");
    in_time(h2_driver).await.unwrap().unwrap();
    assert_eq!(server.end().await, ConnectionEnd::Idle);
}

#[tokio::test]
async fn an_incomplete_head_closes_the_connection() {
    use tokio::io::AsyncWriteExt as _;

    let deadlines = Deadlines { head: SHORT, ..NO_DEADLINES };
    let mut server = Server::start(deadlines, |_, _| async { answer("") }).await;
    let mut stream = server.connect(&[]).await;
    stream.write_all(b"POST / HTTP/1.1\r\nhost: ").await.unwrap();
    assert_eq!(server.end().await, ConnectionEnd::Idle);
}
