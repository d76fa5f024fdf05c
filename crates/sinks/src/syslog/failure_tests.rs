//! Servers that crash, stall or cannot be reached.

use std::{
    io::{Read as _, Write as _},
    net::UdpSocket,
    os::unix::net::{UnixDatagram, UnixListener},
    thread,
    time::Duration,
};

use super::{
    tests::{LONG, accept, at, deliver, listen, refusing, sink, wait_until},
    *,
};
use crate::Resume;

#[test]
fn after_a_closed_connection_delivery_resumes_at_the_checkpoint() {
    for read_first in [true, false] {
        let (listener, target) = listen();
        let mut sink = sink(vec![target], |config| config.resend_window = LONG);
        deliver(&mut sink, 3, "{}\n").unwrap();
        deliver(&mut sink, 4, "{}\n").unwrap();
        sink.sync().unwrap();
        assert_eq!(sink.in_doubt(), Some(3));
        let mut stream = accept(&listener);
        if read_first {
            // After a read, the client sees the end of the stream; otherwise, a reset.
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        }
        drop(stream);
        let mut failure = None;
        wait_until("an error", || {
            failure = sink.sync().err();
            failure.is_some()
        });
        assert_eq!(failure.unwrap().resume(), Resume::Checkpoint, "{read_first}");
        assert_eq!(sink.in_doubt(), None, "delivery sends the batches again");
        deliver(&mut sink, 3, "{}\n").unwrap();
        accept(&listener);
    }
}

#[test]
fn no_batch_is_begun_after_a_failure_with_batches_in_doubt() {
    let (listener, target) = listen();
    let mut sink = sink(vec![target], |config| config.resend_window = LONG);
    deliver(&mut sink, 3, "{}\n").unwrap();
    drop(accept(&listener));
    wait_until("the end", || sink.link.as_mut().unwrap().connection.check().is_err());
    let failure = deliver(&mut sink, 4, "{}\n").unwrap_err();
    assert_eq!(failure.resume(), Resume::Checkpoint);
}

#[test]
fn a_server_that_closes_an_idle_connection_is_no_failure() {
    let (listener, target) = listen();
    let mut sink = sink(vec![target], |_| ());
    deliver(&mut sink, 1, "{}\n").unwrap();
    let mut stream = accept(&listener);
    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    wait_until("nothing in doubt", || {
        sink.sync().unwrap();
        sink.in_doubt().is_none()
    });
    drop(stream);
    deliver(&mut sink, 2, "{}\n").unwrap();
    assert!(accept(&listener).read(&mut [0; 4096]).unwrap() > 0);
}

#[test]
fn a_batch_is_in_doubt_until_it_is_acknowledged_and_the_window_has_passed() {
    let (listener, target) = listen();
    let window = Duration::from_millis(300);
    let mut sink = sink(vec![target], |config| {
        config.resend_window = window;
        config.timeout = LONG;
    });
    // More than fits in the buffer of the server, less than fits in both buffers.
    let records = "{\"pad\":\"0123456789\"}\n".repeat(100);
    let mut stream = None;
    let mut sequence = 0;
    let waits = |sink: &SyslogSink| {
        let link = sink.link.as_ref().unwrap();
        link.connection.acknowledged().unwrap() < link.connection.written()
    };
    // Checked twice: an acknowledgment may be in flight.
    while stream.is_none() || !waits(&sink) || {
        thread::sleep(Duration::from_millis(50));
        !waits(&sink)
    } {
        sequence += 1;
        deliver(&mut sink, sequence, &records).unwrap();
        stream = stream.or_else(|| Some(accept(&listener)));
    }
    thread::sleep(2 * window);
    sink.sync().unwrap();
    let oldest = sink.in_doubt().expect("the last ones are not acknowledged");
    assert!(oldest > 1, "and the first ones are");

    let mut reader = stream.unwrap();
    let drain = thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
    let before = Instant::now();
    deliver(&mut sink, sequence + 1, "{}\n").unwrap();
    wait_until("all acknowledged", || {
        sink.sync().unwrap();
        sink.in_doubt().is_none()
    });
    assert!(before.elapsed() >= window);
    sink.close().unwrap();
    drain.join().unwrap().unwrap();
}

#[test]
fn a_server_that_never_reads_times_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let (_tcp, tcp_target) = listen();
    let _stream = UnixListener::bind(&path).unwrap();
    let datagram = dir.path().join("datagram");
    let _datagram = UnixDatagram::bind(&datagram).unwrap();
    let targets = [tcp_target, SyslogTarget::Unix(path), SyslogTarget::Unix(datagram)];
    for target in targets {
        let name = target.to_string();
        let mut sink = sink(vec![target], |c| c.timeout = Duration::from_millis(200));
        let begun = Instant::now();
        let records = "{\"pad\":\"0123456789\"}\n".repeat(10_000);
        let error = (1..1000).find_map(|n| deliver(&mut sink, n, &records).err()).unwrap();
        assert!(begun.elapsed() < LONG);
        let text = error.to_string();
        assert!(text.starts_with(&name) && text.ends_with("accepted no data for 200ms"), "{text}");
    }
}

#[test]
fn the_first_working_target_is_used_and_the_first_of_all_again_after_failback() {
    let (first, first_target) = refusing();
    let (second, second_target) = listen();
    let mut sink = sink(vec![first_target, second_target], |config| config.failback = LONG);
    deliver(&mut sink, 1, "{\"n\":1}\n").unwrap();
    let mut on_second = accept(&second);

    rustix::net::listen(&first, 8).unwrap();
    deliver(&mut sink, 2, "{\"n\":2}\n").unwrap();
    // After `failback`.
    sink.targets.failed(0, Instant::now().checked_sub(LONG).unwrap());
    // It closes gracefully: the second server has read everything before the first gets a message.
    let reader = thread::spawn(move || {
        let mut got = String::new();
        on_second.read_to_string(&mut got).unwrap();
        got
    });
    deliver(&mut sink, 3, "{\"n\":3}\n").unwrap();
    let got = reader.join().unwrap();
    assert!(got.contains("{\"n\":1}") && got.ends_with("{\"n\":2}"), "{got}");
    let mut on_first = accept(&first);
    drop(sink);
    let mut got = String::new();
    on_first.read_to_string(&mut got).unwrap();
    assert!(got.ends_with("{\"n\":3}") && !got.contains("{\"n\":2}"), "{got}");
}

#[test]
fn after_a_broken_connection_the_next_target_is_used() {
    let (first, first_target) = listen();
    let (second, second_target) = listen();
    let mut sink = sink(vec![first_target, second_target], |c| c.resend_window = LONG);
    deliver(&mut sink, 1, "{\"n\":1}\n").unwrap();
    drop(accept(&first));
    wait_until("an error", || sink.sync().is_err());
    deliver(&mut sink, 1, "{\"n\":1}\n").unwrap();
    drop(sink);
    let mut got = String::new();
    accept(&second).read_to_string(&mut got).unwrap();
    assert!(got.ends_with("{\"n\":1}"));
}

#[test]
fn a_graceful_close_leaves_no_batch_in_doubt_and_one_without_an_answer_does() {
    let (listener, target) = listen();
    let mut sink = sink(vec![target], |config| config.resend_window = LONG);
    deliver(&mut sink, 1, "{}\n").unwrap();
    let mut stream = accept(&listener);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
    });
    sink.close().unwrap();
    assert_eq!(sink.in_doubt(), None);
    reader.join().unwrap();

    sink.config.timeout = Duration::from_millis(300);
    deliver(&mut sink, 2, "{}\n").unwrap();
    let _stays_open = accept(&listener);
    assert!(sink.close().is_err());
    sink.sync().unwrap();
    assert_eq!(sink.in_doubt(), Some(2));
}

#[test]
fn a_dead_udp_port_is_detected() {
    // The connected socket reserves the port and accepts datagrams from the other socket only.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(other.local_addr().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let mut sink = sink(vec![SyslogTarget::Udp(at(address))], |c| c.resend_window = LONG);
    deliver(&mut sink, 1, "{}\n").unwrap();
    let mut failure = None;
    wait_until("an error", || {
        failure = sink.sync().err();
        failure.is_some()
    });
    assert_eq!(failure.unwrap().resume(), Resume::Checkpoint);
}

#[test]
fn every_target_that_failed_is_named() {
    let (_refusing, first) = refusing();
    let nowhere = SyslogTarget::Unix("/nonexistent/socket".into());
    let mut sink = sink(vec![first.clone(), nowhere], |_| ());
    let text = deliver(&mut sink, 1, "{}\n").unwrap_err().to_string();
    let expected = format!("{first}: Connection refused");
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains("; unix:///nonexistent/socket: No such file"), "{text}");
}

#[test]
fn data_from_a_server_is_discarded() {
    let (listener, target) = listen();
    let mut sink = sink(vec![target], |config| config.resend_window = LONG);
    deliver(&mut sink, 1, "{}\n").unwrap();
    let mut stream = accept(&listener);
    stream.write_all("x".repeat(100_000).as_bytes()).unwrap();
    for sequence in 2..10 {
        deliver(&mut sink, sequence, "{}\n").unwrap();
        sink.sync().unwrap();
    }
}
