//! Waits for conditions, and reports which of them did not come true.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Longer than any step takes on a slow machine. It is also longer than the daemon itself may wait:
/// 30 s for the next attempt of a sink or for the end of a shutdown, and 48 s for the fifth attempt
/// at a certificate.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(5);

/// Calls `ask` until it returns a value.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        thread::sleep(PAUSE);
    }
}

/// Calls `ask` until it returns true.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut ask: impl FnMut() -> bool) {
    wait_for(what, || ask().then_some(()));
}

/// Compares bytes too long to print, and shows where they differ.
#[track_caller]
pub(crate) fn same_bytes(what: &str, got: &[u8], want: &[u8]) {
    if got == want {
        return;
    }
    let at = got.iter().zip(want).take_while(|(got, want)| got == want).count();
    let near = |bytes: &[u8]| {
        let near = &bytes[at.saturating_sub(60).min(bytes.len())..(at + 60).min(bytes.len())];
        String::from_utf8_lossy(near).into_owned()
    };
    panic!(
        "{what}: {} bytes received, {} expected; they differ at {at}:\n got: {:?}\nwant: {:?}",
        got.len(),
        want.len(),
        near(got),
        near(want)
    );
}
