//! How many bytes of a TCP connection the other side has not acknowledged, as the kernel lists it.
//!
//! The list is text under `/proc`: the call that asks for one socket (SIOCOUTQ) has no safe form.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::fd::AsFd,
};

/// The bytes that were written and not yet acknowledged. `None` if the kernel does not say.
pub(super) fn unacknowledged(socket: impl AsFd) -> Option<u64> {
    let inode = rustix::fs::fstat(socket).ok()?.st_ino.to_string();
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"].iter().find_map(|table| {
        let lines = BufReader::new(File::open(table).ok()?).lines();
        lines.map_while(Result::ok).find_map(|line| send_queue(&line, &inode))
    })
}

/// From a line of the table, if it is that socket's:
/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`
fn send_queue(line: &str, inode: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let queues = fields.nth(4)?;
    // Behind it: the timer, retransmits, uid, timeout, inode.
    (fields.nth(4)? == inode).then_some(())?;
    u64::from_str_radix(queues.split_once(':')?.0, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn reads_the_line_of_a_socket() {
        let line = "   1: 0100007F:1F90 0100007F:A83E 01 0000001F:00000002 01:00000014 00000000     0        0 4711 2 0 20 4 0 10 -1";
        assert_eq!(send_queue(line, "4711"), Some(31));
        assert_eq!(send_queue(line, "471"), None);
        assert_eq!(send_queue("  sl  local_address rem_address   st tx_queue", "0"), None);
    }

    #[test]
    fn what_nobody_has_room_for_is_not_acknowledged() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.set_nonblocking(true).unwrap();
            let mut written = 0;
            while let Ok(more) = client.write(&[0; 4096]) {
                written += more as u64;
            }
            let waits = unacknowledged(&client).expect("a line");
            assert!(waits > 0 && waits <= written, "{waits} of {written}");
            let mut left = written;
            while left > 0 {
                left -= server.read(&mut [0; 4096]).unwrap() as u64;
            }
            while unacknowledged(&client) != Some(0) {
                std::thread::yield_now();
            }
        }
    }
}
