//! Reads how many bytes of a TCP connection are not acknowledged, from the kernel's list of
//! connections.
//!
//! The list is text in `/proc`, since the ioctl for one socket (SIOCOUTQ) has no safe interface.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader},
    os::fd::AsFd,
    path::Path,
};

/// The lists of IPv4 and of IPv6. The second is missing if the kernel does not support IPv6.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// The number of bytes that were written and not acknowledged. `None` if the kernel does not list
/// the connection because it is closed.
///
/// # Errors
/// The list cannot be read. No byte may count as acknowledged then.
pub(super) fn unacknowledged(socket: impl AsFd) -> io::Result<Option<u64>> {
    listed(TABLES.map(Path::new), socket)
}

/// Checks that the kernel's list of connections, which syslog sinks need, can be read.
///
/// # Errors
/// The list cannot be read.
pub fn check_acknowledgments() -> io::Result<()> {
    open(Path::new(TABLES[0])).map(drop)
}

fn listed(tables: [&Path; 2], socket: impl AsFd) -> io::Result<Option<u64>> {
    let inode = rustix::fs::fstat(socket)?.st_ino.to_string();
    for (number, table) in tables.into_iter().enumerate() {
        let file = match open(table) {
            Err(_) if number > 0 => continue,
            file => file?,
        };
        for line in BufReader::new(file).lines() {
            if let Some(bytes) =
                send_queue(&line.map_err(|error| unreadable(table, error))?, &inode)
            {
                return Ok(Some(bytes));
            }
        }
    }
    Ok(None)
}

fn open(table: &Path) -> io::Result<File> {
    File::open(table).map_err(|error| unreadable(table, error))
}

#[expect(clippy::needless_pass_by_value, reason = "so that map_err takes it")]
fn unreadable(table: &Path, error: io::Error) -> io::Error {
    let table = table.display();
    let text = format!(
        "cannot read {table}, which lists the bytes that the server has not acknowledged: {error}; \
         mount /proc, or use unix:// or udp://"
    );
    io::Error::new(error.kind(), text)
}

/// Reads the send queue of a socket from a line of the list. `None` if the line is of another
/// socket.
/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...`
fn send_queue(line: &str, inode: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let queues = fields.nth(4)?;
    // After it: the timer, retransmits, uid, timeout, inode.
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
    fn bytes_that_no_buffer_has_room_for_are_not_acknowledged() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.set_nonblocking(true).unwrap();
            let mut written = 0;
            while let Ok(more) = client.write(&[0; 4096]) {
                written += more as u64;
            }
            let waits = unacknowledged(&client).unwrap().expect("a line");
            assert!(waits > 0 && waits <= written, "{waits} of {written}");
            let mut left = written;
            while left > 0 {
                left -= server.read(&mut [0; 4096]).unwrap() as u64;
            }
            while unacknowledged(&client).unwrap() != Some(0) {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn without_proc_an_error_is_returned() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let missing = dir.path().join("tcp");
        let error = listed([&missing, &missing], &client).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.contains("mount /proc"), "{error}");
        // A kernel without IPv6 is supported.
        assert_eq!(listed([Path::new(TABLES[0]), &missing], &client).unwrap(), Some(0));
        check_acknowledgments().unwrap();
    }
}
