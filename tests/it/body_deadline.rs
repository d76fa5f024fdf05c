//! A stalled body times out.

use std::time::Instant;

use crate::support::{Http, Setup, Upload, names_in, wait_until};

#[test]
fn a_stalled_body_is_answered_with_408() {
    let daemon = Setup::new().start();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for http in Http::BOTH {
            let connection = daemon.connect(http).patient();
            scope.spawn(move || {
                let (upload, feed) = Upload::fed(Some(1_000_000));
                assert!(feed.push(b"{\"a\":1}\n"));
                let answer = connection.send(upload);
                assert_eq!(answer.status, 408, "{http:?}");
                assert!(answer.text.contains("30 seconds"), "{}", answer.text);
                assert!(started.elapsed().as_secs() >= 29);
                drop(feed);
            });
        }
        // Meanwhile other senders are served.
        daemon.commit(b"{\"b\":2}\n");
        daemon.wait_file("out/http_requests.ndjson", b"{\"b\":2}\n");
    });
    let series = "logpushd_refused_total{reason=\"body_timeout\"}";
    assert_eq!(daemon.count(series), 2);
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    daemon.stop().exited_cleanly();
}
