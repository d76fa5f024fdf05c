//! What the sink makes of servers that die, stall or are not there.

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
fn a_closed_connection_puts_what_was_sent_in_doubt_and_the_next_attempt_connects_anew() {
    for read_first in [true, false] {
        let (listener, target) = listen();
        let mut sink = sink(vec![target], |config| config.resend_window = LONG);
        deliver(&mut sink, 3, "{}\n").unwrap();
        deliver(&mut sink, 4, "{}\n").unwrap();
        sink.sync().unwrap();
        assert_eq!(sink.in_doubt(), Some(3));
        let mut stream = accept(&listener);
        if read_first {
            // Then it is the end of a stream, else a reset.
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        }
        drop(stream);
        let mut failure = None;
        wait_until("an error", || {
            failure = sink.sync().err();
            failure.is_some()
        });
        assert_eq!(failure.unwrap().resume(), Resume::Checkpoint, "{read_first}");
        assert_eq!(sink.in_doubt(), None, "it is the delivery's turn now");
        deliver(&mut sink, 3, "{}\n").unwrap();
        accept(&listener);
    }
}

#[test]
fn a_batch_is_not_sent_over_a_doubt() {
    let (listener, target) = listen();
    let mut sink = sink(vec![target], |config| config.resend_window = LONG);
    deliver(&mut sink, 3, "{}\n").unwrap();
    drop(accept(&listener));
    wait_until("the end", || sink.link.as_mut().unwrap().connection.check().is_err());
    let failure = deliver(&mut sink, 4, "{}\n").unwrap_err();
    assert_eq!(failure.resume(), Resume::Checkpoint);
}

#[test]
fn a_server_that_closes_what_is_idle_is_no_failure() {
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
fn nothing_is_certain_before_it_is_acknowledged_and_the_window_is_over() {
    let (listener, target) = listen();
    let window = Duration::from_millis(300);
    let mut sink = sink(vec![target], |config| {
        config.resend_window = window;
        config.timeout = LONG;
    });
    // More than the server's buffer takes, less than both buffers do.
    let records = "{\"pad\":\"0123456789\"}\n".repeat(100);
    let mut stream = None;
    let mut sequence = 0;
    let waits = |sink: &SyslogSink| {
        let link = sink.link.as_ref().unwrap();
        link.connection.acknowledged().unwrap() < link.connection.written()
    };
    // Twice: an acknowledgment may be on its way.
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
fn who_accepts_and_never_reads_is_given_up_in_time() {
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
        assert!(text.starts_with(&name) && text.ends_with("took nothing for 200ms"), "{text}");
    }
}

#[test]
fn the_first_target_that_works_is_used_and_the_first_of_all_again_after_a_while() {
    let (first, first_target) = refusing();
    let (second, second_target) = listen();
    let mut sink = sink(vec![first_target, second_target], |config| config.failback = LONG);
    deliver(&mut sink, 1, "{\"n\":1}\n").unwrap();
    let mut on_second = accept(&second);

    rustix::net::listen(&first, 8).unwrap();
    deliver(&mut sink, 2, "{\"n\":2}\n").unwrap();
    // A while later.
    sink.targets.failed(0, Instant::now().checked_sub(LONG).unwrap());
    // It leaves in order: the second has read all before the first gets any.
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
fn one_that_accepts_and_breaks_is_left_for_the_next() {
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
fn a_close_in_order_leaves_no_doubt_and_one_without_an_answer_does() {
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
fn a_dead_udp_port_is_noticed() {
    // It holds its port, and takes nothing but from the other's.
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
fn what_a_server_says_is_passed_over() {
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
