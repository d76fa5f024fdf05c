//! How connections end when the daemon stops.

use super::*;

#[tokio::test]
async fn a_graceful_stop_finishes_requests_in_progress() {
    let stop = CancellationToken::new();
    let (started, mut starts) = mpsc::channel(2);
    let service = {
        let stop = stop.clone();
        move |_, _| {
            let (stop, started) = (stop.clone(), started.clone());
            async move {
                started.send(()).await.unwrap();
                stop.cancelled().await;
                answer("finished")
            }
        }
    };
    let mut server = Server::start_with(NO_DEADLINES, service, stop.clone()).await;
    let (mut h1, h1_driver) = http1(server.connect(&[]).await).await;
    let (mut h2, h2_driver) = http2(server.connect(&[b"h2"]).await).await;
    let h1_response = tokio::spawn(h1.send_request(get()));
    let h2_response = tokio::spawn(h2.send_request(get()));
    starts.recv().await.unwrap();
    starts.recv().await.unwrap();

    stop.cancel();
    let response = h1_response.await.unwrap().unwrap();
    assert_eq!(response.headers().get(header::CONNECTION).unwrap(), "close");
    assert_eq!(text(response).await, "finished");
    let response = h2_response.await.unwrap().unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(text(response).await, "finished");

    in_time(h1_driver).await.unwrap().unwrap();
    in_time(h2_driver).await.unwrap().unwrap();
    for _ in 0..2 {
        assert_eq!(server.end().await, ConnectionEnd::Stopped);
    }
}

#[tokio::test]
async fn a_stop_waits_neither_for_a_handshake_nor_for_an_unresponsive_peer() {
    let stop = CancellationToken::new();
    let deadlines = Deadlines { close: SHORT, ..NO_DEADLINES };
    let service = |_, _| async { answer("") };
    let mut server = Server::start_with(deadlines, service, stop.clone()).await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    // Negotiates HTTP/2 and then sends nothing.
    let _unresponsive = server.connect(&[b"h2"]).await;
    stop.cancel();
    for _ in 0..2 {
        assert_eq!(server.end().await, ConnectionEnd::Stopped);
    }
}
