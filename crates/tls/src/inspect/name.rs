//! Distinguished names: the subject and the issuer of a certificate.

use x509_parser::{
    asn1_rs::{Any, Tag},
    x509::X509Name,
};

use settings::printable::printable;

/// A distinguished name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Name {
    /// The encoding in the certificate, by which names are compared.
    pub der: Vec<u8>,
    /// The attributes and their values, in the order of the certificate. Control characters are escaped.
    pub parts: Vec<(String, String)>,
}

impl Name {
    pub(super) fn read(name: &X509Name<'_>) -> Self {
        let attributes = name.iter_attributes();
        let parts = attributes.map(|attribute| {
            let kind = attribute.attr_type().to_id_string();
            (label(&kind).to_owned(), text(attribute.attr_value()))
        });
        Self { der: name.as_raw().to_owned(), parts: parts.collect() }
    }

    /// The first common name, if the name contains one.
    pub fn common_name(&self) -> Option<&str> {
        self.parts.iter().find(|(attribute, _)| attribute == "CN").map(|(_, value)| value.as_str())
    }
}

/// Displays the most specific attribute first: `CN=logs.example.com, O=Example`.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut separator = "";
        for (attribute, value) in self.parts.iter().rev() {
            write!(f, "{separator}{attribute}={value}")?;
            separator = ", ";
        }
        if self.parts.is_empty() { f.write_str("(no name)") } else { Ok(()) }
    }
}

fn label(oid: &str) -> &str {
    match oid {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    }
}

/// Escapes control characters: the text is untrusted, and no escape sequence may reach a terminal.
pub(super) fn shown(text: &str) -> String {
    printable(text).to_string()
}

/// Decodes a string leniently: x509-parser does not support `BMPString`, and rejects invalid strings of
/// other types.
fn text(value: &Any<'_>) -> String {
    if value.tag() != Tag::BmpString {
        return shown(&String::from_utf8_lossy(value.data));
    }
    let (pairs, _) = value.data.as_chunks::<2>();
    let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
    let text: String = char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect();
    shown(&text)
}
