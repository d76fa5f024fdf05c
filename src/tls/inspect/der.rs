//! Reads DER that somebody else made, who may mean ill.
//!
//! The reader adds up lengths unchecked when it skips an element, so a length near the end of what a
//! `usize` holds would end the process. It is only handed what [`is_sound`].

#![expect(
    clippy::disallowed_methods,
    reason = "what this is here for: nobody else may call the reader"
)]

use yasna::{ASN1Result, BERReader};

/// Deeper nothing in a certificate is nested.
const MAX_DEPTH: usize = 32;

const CONSTRUCTED: u8 = 0x20;

/// As [`yasna::parse_der`]; `None` if it is not what `read` expects. Whatever an OCTET STRING or a BIT
/// STRING holds was not looked at, and is to be read by a call of its own.
pub(super) fn parse<'a, T>(
    der: &'a [u8],
    read: impl for<'b> FnOnce(BERReader<'a, 'b>) -> ASN1Result<T>,
) -> Option<T> {
    if is_sound(der, MAX_DEPTH) { yasna::parse_der(der, read).ok() } else { None }
}

/// Whether these are elements of definite length, each within what holds it, at most `depth` deep.
fn is_sound(mut elements: &[u8], depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    while !elements.is_empty() {
        let Some((first, content, rest)) = element(elements) else { return false };
        if first & CONSTRUCTED != 0 && !is_sound(content, depth) {
            return false;
        }
        elements = rest;
    }
    true
}

/// The first byte of the tag, the content, and what comes behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    const LONG_TAG: u8 = 0x1f;
    const MORE: u8 = 0x80;
    let (&first, mut rest) = bytes.split_first()?;
    if first & LONG_TAG == LONG_TAG {
        let end = rest.iter().position(|byte| byte & MORE == 0)?;
        rest = rest.get(end + 1..)?;
    }
    let (&length, rest) = rest.split_first()?;
    // 0x80 is an indefinite length, and DER has none: no digits, and nothing that is as long.
    if length == MORE {
        return None;
    }
    let (length, rest) = if length & MORE == 0 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & !MORE))?;
        let add = |sum: usize, digit: &u8| sum.checked_mul(256)?.checked_add(usize::from(*digit));
        (digits.iter().try_fold(0, add)?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((first, content, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;
    use crate::tls::inspect::Certificate;

    /// Nearly all that a `usize` holds, in long form.
    const HUGE: [u8; 9] = [0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0];

    fn certificate() -> Vec<u8> {
        let names = ["logs.example.com", "192.0.2.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "An Example");
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_length_that_no_sum_can_hold_ends_nothing() {
        let sound = certificate();
        let mut refused = 0;
        for at in 0..sound.len() - HUGE.len() {
            let mut der = sound.clone();
            der[at..at + HUGE.len()].copy_from_slice(&HUGE);
            refused += usize::from(Certificate::parse(&der).is_none());
        }
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn no_damaged_certificate_ends_anything() {
        let sound = certificate();
        for at in 0..sound.len() {
            for byte in [0, 1, 0x1f, 0x30, 0x7f, 0x80, 0x81, 0x84, 0x88, 0xff] {
                let mut der = sound.clone();
                der[at] = byte;
                Certificate::parse(&der);
            }
        }
        // xorshift with a fixed seed: what it finds is found again.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % bound
        };
        for _ in 0..20_000 {
            let mut der = sound.clone();
            for _ in 0..=next(4) {
                let at = next(der.len());
                match next(4) {
                    0 => der[at] = u8::try_from(next(256)).unwrap(),
                    1 => der.truncate(at + 1),
                    2 => der.insert(at, u8::try_from(next(256)).unwrap()),
                    _ => drop(der.splice(at..at, HUGE)),
                }
            }
            Certificate::parse(&der);
        }
    }

    #[test]
    fn only_what_lies_within_its_bounds_is_sound() {
        let cases: [(&[u8], bool); 12] = [
            (&[], true),
            (&[4, 2, 1, 2], true),
            (&[4, 2, 1], false),
            (&[0x30, 2, 4, 0], true),
            (&[0x30, 2, 4, 1], false),
            (&[0x30, 2, 4, 0, 4], false),
            (&[0x30, 0x80, 0, 0], false),
            (&[0x3f, 0x81, 1, 2, 5, 0], true),
            (&[0x3f, 0x81], false),
            (&[4, 0x81, 1, 7], true),
            (&[4, 0x82, 1], false),
            (&[4, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0], false),
        ];
        for (der, expected) in cases {
            assert_eq!(is_sound(der, MAX_DEPTH), expected, "{der:x?}");
        }
        let nested = |levels: u8| {
            (0..levels).fold(Vec::new(), |inner: Vec<u8>, _| {
                [&[0x30, u8::try_from(inner.len()).unwrap()], inner.as_slice()].concat()
            })
        };
        assert!(is_sound(&nested(31), MAX_DEPTH));
        assert!(!is_sound(&nested(32), MAX_DEPTH));
    }
}
