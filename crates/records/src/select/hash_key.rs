//! The key of `hash`.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use aws_lc_rs::hmac;

/// Distinguishes the digest of a key from any other use of the key.
const DIGEST_CONTEXT: &str = "logpushd 2026-11-30 digest of the key of mask";

/// A key for HMAC-SHA-256. Only a digest of it can be printed or compared.
#[derive(Clone)]
pub struct HashKey {
    key: Arc<hmac::Key>,
    digest: u128,
}

impl HashKey {
    /// Creates a key from the bytes of a secret.
    pub fn new(secret: &[u8]) -> Self {
        let digest = blake3::derive_key(DIGEST_CONTEXT, secret);
        let digest = digest.first_chunk().map_or(0, |half| u128::from_be_bytes(*half));
        Self { key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)), digest }
    }

    /// Returns the HMAC-SHA-256 of a text, in hexadecimal.
    pub(super) fn hash(&self, text: &str) -> String {
        let tag = hmac::sign(&self.key, text.as_bytes());
        tag.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Cannot fail: the text is in memory.
            write!(hex, "{byte:02x}").ok();
            hex
        })
    }
}

impl PartialEq for HashKey {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for HashKey {}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashKey({:032x})", self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 1, 2 and 6.
    #[test]
    fn a_text_is_hashed_with_hmac_sha_256() {
        for (key, text, expected) in [
            (
                &[0x0b; 20][..],
                "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(HashKey::new(key).hash(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_are_compared_and_printed_by_their_digests() {
        let key = HashKey::new(b"0123456789abcdef");
        assert_eq!(key, HashKey::new(b"0123456789abcdef"));
        assert_ne!(key, HashKey::new(b"0123456789abcdeg"));
        let printed = format!("{key:?}");
        assert!(!printed.contains("0123456789abcdef") && printed.len() == 41, "{printed}");
        let hash = key.hash("");
        assert!(!printed.contains(hash.get(..8).unwrap()), "{printed}");
    }
}
