//! Recognizes the content of a file that is not the expected PEM, and advises what to do.

use memchr::memmem;

use super::error::Role;

/// The content of a file that should contain certificates or a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileContent {
    /// Anything else.
    Unknown,
    /// A certificate.
    Certificate,
    /// A private key.
    Key,
    /// A private key that is encrypted with a passphrase.
    EncryptedKey,
    /// A certificate signing request.
    Request,
    /// Binary DER, not PEM.
    Der,
    /// Certificate and key in one binary file: `.pfx` or `.p12`.
    Pkcs12,
    /// Certificates in a binary file: `.p7b`.
    Pkcs7,
    /// A Java keystore.
    Jks,
}

/// The beginning of a PFX (RFC 7292) after its length: `INTEGER 3, SEQUENCE`.
const PFX: &[u8] = &[0x02, 0x01, 0x03, 0x30];

/// The object identifier `signedData` (RFC 2315).
const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

impl FileContent {
    /// Recognizes binary formats. PEM is [`Self::Unknown`] until its blocks are parsed.
    pub(super) fn detect(file: &[u8]) -> Self {
        if file.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
            return Self::Jks;
        }
        match in_sequence(file) {
            Some(_) if memmem::find(file, b"-----BEGIN").is_some() => Self::Unknown,
            Some(content) if content.starts_with(PFX) => Self::Pkcs12,
            Some(content) if content.starts_with(SIGNED_DATA) => Self::Pkcs7,
            Some(_) => Self::Der,
            None => Self::Unknown,
        }
    }

    pub(super) fn instead_of_certificate(self, role: Role) -> &'static str {
        match self {
            Self::Unknown | Self::Certificate => "",
            Self::Key | Self::EncryptedKey if role != Role::Certificate => {
                ", but it contains a private key: name the file with the certificates of the authority"
            }
            Self::Key | Self::EncryptedKey => {
                ", but it contains a private key: are cert_file and key_file swapped?"
            }
            Self::Request => {
                ", but it contains a certificate signing request: \
                 have an authority sign it, and name the certificate that the authority returns"
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
            Self::Unknown | Self::Key | Self::EncryptedKey => "",
            Self::Certificate => {
                ", but it contains a certificate: are cert_file and key_file swapped?"
            }
            Self::Request => {
                ", but it contains a certificate signing request: name the key that was created with it"
            }
            Self::Der => {
                ", but it looks like DER: convert it with openssl pkey -inform DER -in FILE -out NEW"
            }
            Self::Pkcs12 => {
                ", but it is PKCS#12 (.pfx, .p12): convert it with openssl pkcs12 -in FILE -nocerts \
                 -nodes -out NEW, and make the result readable only for the user that runs logpushd"
            }
            Self::Pkcs7 => {
                ", but it is PKCS#7 (.p7b), which contains only certificates: name the key that was \
                 created with the request"
            }
            Self::Jks => {
                ", but it is a Java keystore: convert it with keytool -importkeystore -srckeystore \
                 FILE -destkeystore NEW.p12 -deststoretype PKCS12, and then with openssl pkcs12 -in \
                 NEW.p12 -nocerts -nodes -out NEW"
            }
        }
    }
}

/// The bytes after the tag and length of an ASN.1 SEQUENCE, if the file begins with one. Text does not.
fn in_sequence(file: &[u8]) -> Option<&[u8]> {
    let (&length, content) = file.strip_prefix(&[0x30])?.split_first()?;
    match length {
        // "0" followed by a printable character: text.
        0x20..0x80 => None,
        // 0x80: indefinite length, as some programs export it.
        0x00..0x20 | 0x80 => Some(content),
        _ => content.get(usize::from(length & 0x7f)..),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_formats_are_distinguished() {
        let oid = |end: u8| [SIGNED_DATA.split_last().unwrap().1, &[end]].concat();
        let table: [(Vec<u8>, FileContent); 10] = [
            ([&[0x30, 0x82, 0x09, 0x51][..], PFX].concat(), FileContent::Pkcs12),
            ([&[0x30, 0x80][..], PFX, &[0x80]].concat(), FileContent::Pkcs12),
            ([&[0x30, 0x82, 0x05, 0x10][..], &oid(2)].concat(), FileContent::Pkcs7),
            ([&[0x30, 0x82, 0x05, 0x10][..], &oid(1)].concat(), FileContent::Der),
            // A certificate, and a key in PKCS#8, which have other versions than 3.
            (vec![0x30, 0x82, 0x05, 0x10, 0x30, 0x82], FileContent::Der),
            (vec![0x30, 0x82, 0x05, 0x10, 0x02, 0x01, 0x00, 0x30], FileContent::Der),
            (vec![0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2], FileContent::Jks),
            (b"0 text".to_vec(), FileContent::Unknown),
            (b"0\x82".to_vec(), FileContent::Unknown),
            (b"".to_vec(), FileContent::Unknown),
        ];
        for (file, expected) in table {
            assert_eq!(FileContent::detect(&file), expected, "{file:02x?}");
        }
    }
}
