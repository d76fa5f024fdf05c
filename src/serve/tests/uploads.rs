//! Uploads that are answered before their end.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::body::Frame;
use tokio::sync::oneshot;

use super::*;

/// A body that ends earlier than announced, when the head of the answer has arrived.
struct Abandoned {
    first: Option<Bytes>,
    answered: oneshot::Receiver<()>,
}

impl Body for Abandoned {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        ready!(Pin::new(&mut self.answered).poll(context)).unwrap();
        Poll::Ready(None)
    }
}

/// As curl does when it gets a refusal.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_stops_its_upload_gets_the_whole_answer() {
    let service = |request: Request<Incoming>, _| async {
        tokio::spawn(async move {
            let mut rest = request.into_body();
            while let Some(Ok(_)) = rest.frame().await {}
        });
        answer("refused")
    };
    let server = Server::start(NO_DEADLINES, service).await;
    for _ in 0..4 {
        let io = TokioIo::new(server.connect(&[b"h2"]).await);
        let (mut client, driver) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(driver);
        // h2 closes a connection after 1024 resets.
        for _ in 0..1000 {
            let (answered, head) = oneshot::channel();
            let body = Abandoned { first: Some(Bytes::from_static(b"some")), answered: head };
            let request = Request::put("https://localhost/").header(header::CONTENT_LENGTH, "10");
            let response = client.send_request(request.body(body).unwrap()).await.unwrap();
            answered.send(()).unwrap();
            assert_eq!(in_time(text(response)).await, "refused");
        }
    }
}
