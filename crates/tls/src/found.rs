//! Recognizes what a file of certificates or keys holds instead, and says what to do.

use memchr::memmem;

use super::error::Role;

/// What is in a file instead of what was looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// Nothing that is known.
    Nothing,
    /// A certificate.
    Certificate,
    /// A private key.
    Key,
    /// A private key under a passphrase.
    EncryptedKey,
    /// A certificate signing request.
    Request,
    /// Binary DER, not PEM.
    Der,
    /// Certificate and key in one binary file: `.pfx` or `.p12`.
    Pkcs12,
    /// Certificates in a binary file: `.p7b`.
    Pkcs7,
    /// A keystore of Java.
    Jks,
}

/// `SEQUENCE { INTEGER 3, SEQUENCE`: how the PFX of RFC 7292 begins behind its length.
const PFX: &[u8] = &[0x02, 0x01, 0x03, 0x30];

/// The type `signedData` of RFC 2315.
const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

impl Found {
    /// What can be told before any section is decoded.
    pub(super) fn look(file: &[u8]) -> Self {
        if file.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
            return Self::Jks;
        }
        match in_sequence(file) {
            Some(_) if memmem::find(file, b"-----BEGIN").is_some() => Self::Nothing,
            Some(content) if content.starts_with(PFX) => Self::Pkcs12,
            Some(content) if content.starts_with(SIGNED_DATA) => Self::Pkcs7,
            Some(_) => Self::Der,
            None => Self::Nothing,
        }
    }

    pub(super) fn instead_of_certificate(self, role: Role) -> &'static str {
        match self {
            Self::Nothing | Self::Certificate => "",
            Self::Key | Self::EncryptedKey if role != Role::Certificate => {
                ", but it holds a private key: name the file with the certificates of the authority"
            }
            Self::Key | Self::EncryptedKey => {
                ", but it holds a private key: are cert_file and key_file swapped?"
            }
            Self::Request => {
                ", but it holds a certificate signing request: \
                 have an authority sign it and name the certificate that comes back"
            }
            Self::Der => {
                ", but it looks like DER: convert it with openssl x509 -inform DER -in FILE -out NEW"
            }
            Self::Pkcs12 => {
                ", but it is PKCS#12 (.pfx, .p12): convert it with openssl pkcs12 -in FILE -nokeys \
                 -out NEW"
            }
            Self::Pkcs7 => {
                ", but it is PKCS#7 (.p7b): convert it with openssl pkcs7 -inform DER -in FILE \
                 -print_certs -out NEW"
            }
            Self::Jks => {
                ", but it is a Java keystore: convert it with keytool -importkeystore -srckeystore \
                 FILE -destkeystore NEW.p12 -deststoretype PKCS12, and then with openssl pkcs12 -in \
                 NEW.p12 -nokeys -out NEW"
            }
        }
    }

    pub(super) fn instead_of_key(self) -> &'static str {
        match self {
            Self::Nothing | Self::Key | Self::EncryptedKey => "",
            Self::Certificate => {
                ", but it holds a certificate: are cert_file and key_file swapped?"
            }
            Self::Request => {
                ", but it holds a certificate signing request: name the key that was made with it"
            }
            Self::Der => {
                ", but it looks like DER: convert it with openssl pkey -inform DER -in FILE -out NEW"
            }
            Self::Pkcs12 => {
                ", but it is PKCS#12 (.pfx, .p12): convert it with openssl pkcs12 -in FILE -nocerts \
                 -nodes -out NEW, and let only the daemon's user read the result"
            }
            Self::Pkcs7 => {
                ", but it is PKCS#7 (.p7b), which holds certificates only: name the key that was \
                 made with the request"
            }
            Self::Jks => {
                ", but it is a Java keystore: convert it with keytool -importkeystore -srckeystore \
                 FILE -destkeystore NEW.p12 -deststoretype PKCS12, and then with openssl pkcs12 -in \
                 NEW.p12 -nocerts -nodes -out NEW"
            }
        }
    }
}

/// What follows tag and length of an ASN.1 SEQUENCE, if the file begins with one: no text does.
fn in_sequence(file: &[u8]) -> Option<&[u8]> {
    let (&length, content) = file.strip_prefix(&[0x30])?.split_first()?;
    match length {
        // "0" followed by a printable character.
        0x20..0x80 => None,
        // 0x80: of unknown length, as some exports have it.
        0x00..0x20 | 0x80 => Some(content),
        _ => content.get(usize::from(length & 0x7f)..),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_files_are_told_apart() {
        let oid = |end: u8| [SIGNED_DATA.split_last().unwrap().1, &[end]].concat();
        let table: [(Vec<u8>, Found); 10] = [
            ([&[0x30, 0x82, 0x09, 0x51][..], PFX].concat(), Found::Pkcs12),
            ([&[0x30, 0x80][..], PFX, &[0x80]].concat(), Found::Pkcs12),
            ([&[0x30, 0x82, 0x05, 0x10][..], &oid(2)].concat(), Found::Pkcs7),
            ([&[0x30, 0x82, 0x05, 0x10][..], &oid(1)].concat(), Found::Der),
            // A certificate, and a key of PKCS#8, with other versions than 3.
            (vec![0x30, 0x82, 0x05, 0x10, 0x30, 0x82], Found::Der),
            (vec![0x30, 0x82, 0x05, 0x10, 0x02, 0x01, 0x00, 0x30], Found::Der),
            (vec![0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2], Found::Jks),
            (b"0 text".to_vec(), Found::Nothing),
            (b"0\x82".to_vec(), Found::Nothing),
            (b"".to_vec(), Found::Nothing),
        ];
        for (file, expected) in table {
            assert_eq!(Found::look(&file), expected, "{file:02x?}");
        }
    }
}
