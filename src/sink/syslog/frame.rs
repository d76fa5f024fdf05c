//! One message: cut to its limit if need be, and told apart from the next.

use std::io::Write as _;

use crate::config::{Framing, Oversize};

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fit {
    Whole,
    Truncated,
    /// It is to be left out.
    Dropped,
}

/// Brings a message, of which the first `header` bytes are the header, to at most `max` bytes. Never
/// splits it. What is cut says so, and how long the body was; no character is cut in two.
pub(super) fn fit(message: &mut Vec<u8>, header: usize, max: usize, oversize: Oversize) -> Fit {
    if message.len() <= max {
        return Fit::Whole;
    }
    let mark = format!("...[truncated, {} bytes]", message.len() - header);
    let room = max.saturating_sub(mark.len());
    if oversize == Oversize::Drop || room < header {
        return Fit::Dropped;
    }
    message.truncate(boundary(message, room));
    message.extend_from_slice(mark.as_bytes());
    Fit::Truncated
}

/// The last place up to `at` where a character begins.
fn boundary(text: &[u8], mut at: usize) -> usize {
    while at > 0 && text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80) {
        at -= 1;
    }
    at
}

/// Appends a message to what goes out on a stream.
pub(super) fn frame(out: &mut Vec<u8>, message: &[u8], framing: Framing) {
    match framing {
        Framing::OctetCounting => {
            // A vector takes all that is written to it.
            write!(out, "{} ", message.len()).ok();
            out.extend_from_slice(message);
        }
        Framing::Newline => {
            // A record has none of its own; if a message ever has, it must not become two.
            for (place, part) in message.split(|byte| *byte == b'\n').enumerate() {
                if place > 0 {
                    out.push(b' ');
                }
                out.extend_from_slice(part);
            }
            out.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn octets_are_counted_as_bytes() {
        let mut out = Vec::new();
        frame(&mut out, "<1>é\n".as_bytes(), Framing::OctetCounting);
        frame(&mut out, b"", Framing::OctetCounting);
        assert_eq!(out, "6 <1>é\n0 ".as_bytes());
    }

    #[test]
    fn a_newline_within_a_message_never_ends_it() {
        let mut out = Vec::new();
        frame(&mut out, b"a\nb", Framing::Newline);
        frame(&mut out, b"c", Framing::Newline);
        assert_eq!(out, b"a b\nc\n");
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let body = "x".repeat(100);
        let mut message = format!("HEAD {body}").into_bytes();
        assert_eq!(fit(&mut message, 5, 105, Oversize::Truncate), Fit::Whole);
        assert_eq!(fit(&mut message, 5, 104, Oversize::Truncate), Fit::Truncated);
        assert_eq!(message.len(), 104);
        assert!(
            message.starts_with(b"HEAD xxx") && message.ends_with(b"x...[truncated, 100 bytes]")
        );
        let mut message = format!("HEAD {body}").into_bytes();
        assert_eq!(fit(&mut message, 5, 104, Oversize::Drop), Fit::Dropped);
    }

    proptest! {
        #[test]
        fn no_character_is_ever_cut(body in "[a-zé€🦀]{0,200}", header in 0_usize..20, max in 60_usize..300) {
            let mut message = vec![b'h'; header];
            message.extend_from_slice(body.as_bytes());
            let whole = message.clone();
            let fit = fit(&mut message, header, max, Oversize::Truncate);
            prop_assert!(message.len() <= max);
            prop_assert_eq!(fit == Fit::Whole, whole.len() <= max);
            let text = std::str::from_utf8(&message).unwrap();
            let kept = text.split("...[").next().unwrap();
            prop_assert!(whole.starts_with(kept.as_bytes()));
            // No more is cut than must be: three bytes at most are what is left of a character.
            prop_assert!(fit == Fit::Whole || message.len() + 3 >= max);
        }
    }
}
