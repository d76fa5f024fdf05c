//! Frames messages on a stream.

use std::io::Write as _;

use super::settings::Framing;

/// Appends a framed message to `out`.
pub(super) fn frame(out: &mut Vec<u8>, message: &[u8], framing: Framing) {
    match framing {
        Framing::OctetCounting => {
            // Cannot fail: writes to a vector succeed.
            write!(out, "{} ", message.len()).ok();
            out.extend_from_slice(message);
        }
        Framing::Newline => {
            // Records contain no line ends. If a message ever does, it must not become two.
            for (index, part) in message.split(|byte| *byte == b'\n').enumerate() {
                if index > 0 {
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
}
