//! Whom a certificate names: the subject or issuer as text.

use x509_parser::{
    asn1_rs::{Any, Tag},
    x509::X509Name,
};

use settings::printable::printable;

/// A distinguished name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Name {
    /// As in the certificate: what two names are compared by.
    pub der: Vec<u8>,
    /// Attribute and value, in the order of the certificate. Control characters are escaped.
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

    /// The first common name.
    pub fn common_name(&self) -> Option<&str> {
        let is_it = |(kind, _): &&(String, String)| kind == "CN";
        self.parts.iter().find(is_it).map(|(_, value)| value.as_str())
    }
}

/// `CN=logs.example.com, O=Example`
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut separator = "";
        for (kind, value) in self.parts.iter().rev() {
            write!(f, "{separator}{kind}={value}")?;
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

/// Whoever made the certificate chose the text: no escape sequence of it may reach a terminal.
pub(super) fn shown(text: &str) -> String {
    printable(text).to_string()
}

/// The library reads no `BMPString`, and none of the others that is not what its type allows.
fn text(value: &Any<'_>) -> String {
    if value.tag() != Tag::BmpString {
        return shown(&String::from_utf8_lossy(value.data));
    }
    let (pairs, _) = value.data.as_chunks::<2>();
    let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
    let text: String = char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect();
    shown(&text)
}
