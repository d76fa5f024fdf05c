//! Splits PEM into blocks. It accepts what people write: several blocks in one line, indentation, CRLF,
//! text between blocks, a byte order mark. Every line that begins a block is parsed, or reported with its
//! number; none is skipped. rustls-pemfile decodes the content of a block.

use std::fmt::{self, Write as _};

use memchr::memmem;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// One block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Block {
    /// The number of its first line, from 1.
    pub(super) line: usize,
    pub(super) label: String,
    /// It is a key that is encrypted with a passphrase, in the old format of OpenSSL.
    pub(super) is_encrypted: bool,
    base64: String,
}

impl Block {
    /// Whether the block is a private key that is encrypted with a passphrase.
    pub(super) fn is_encrypted_key(&self) -> bool {
        self.is_encrypted || self.label == "ENCRYPTED PRIVATE KEY"
    }

    /// The block in strict PEM, with this label.
    pub(super) fn text(&self, label: &str) -> String {
        let mut text = format!("-----BEGIN {label}-----\n");
        let mut rest = self.base64.as_str();
        while !rest.is_empty() {
            let (line, next) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = next;
        }
        writeln!(text, "-----END {label}-----").ok();
        text
    }
}

/// A fault in a block, and its line. Contains only labels of the file, no content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PemFault {
    /// The number of the line, from 1.
    pub line: usize,
    kind: PemFaultKind,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum PemFaultKind {
    Utf16,
    Marker,
    EndAlone,
    NoEnd { label: String },
    OtherEnd { begun: String, ended: String },
    Character { label: String },
    Empty { label: String },
    Content { label: String },
    Unknown { label: String },
}

impl PemFault {
    /// The content of the block cannot be decoded.
    pub(super) fn content(block: &Block) -> Self {
        Self { line: block.line, kind: PemFaultKind::Content { label: block.label.clone() } }
    }

    /// The label of the block is not supported.
    pub(super) fn unknown(block: &Block) -> Self {
        Self { line: block.line, kind: PemFaultKind::Unknown { label: block.label.clone() } }
    }
}

impl fmt::Display for PemFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            PemFaultKind::Utf16 => f.write_str("the file is UTF-16: save it as plain text (UTF-8)"),
            PemFaultKind::Marker => f.write_str(
                "a damaged BEGIN or END line: write exactly five dashes before and after, as in -----BEGIN CERTIFICATE-----",
            ),
            PemFaultKind::EndAlone => {
                f.write_str("an END line without a BEGIN line before it: copy the whole block")
            }
            PemFaultKind::NoEnd { label } => {
                write!(f, "the block {label} has no END line: copy the whole block")
            }
            PemFaultKind::OtherEnd { begun, ended } => write!(
                f,
                "the block {begun} ends as {ended}: copy both blocks whole"
            ),
            PemFaultKind::Character { label } => write!(
                f,
                "a character in the block {label} is not base64: copy the block again, with its line breaks and nothing before each line"
            ),
            PemFaultKind::Empty { label } => write!(f, "the block {label} is empty: copy it again"),
            PemFaultKind::Content { label } => {
                write!(f, "the block {label} is damaged or cut off: copy it again")
            }
            PemFaultKind::Unknown { label } => {
                write!(f, "a block {label}, which is not supported here")?;
                match label.as_str() {
                    "PKCS7" | "CMS" => f.write_str(
                        ": convert it with openssl pkcs7 -print_certs -in FILE -out NEW",
                    ),
                    "OPENSSH PRIVATE KEY" => {
                        f.write_str(": this is a key for SSH; name the key of the certificate")
                    }
                    _ => f.write_str(": remove it"),
                }
            }
        }
    }
}

/// Splits a file into its blocks.
pub(super) fn blocks(file: &[u8]) -> Result<Vec<Block>, PemFault> {
    let is_utf16 = file.starts_with(&[0xff, 0xfe]) || file.starts_with(&[0xfe, 0xff]);
    if is_utf16 {
        return Err(PemFault { line: 1, kind: PemFaultKind::Utf16 });
    }
    let mut blocks = Vec::new();
    let mut reader = Reader { file, at: 0 };
    while let Some(block) = reader.next()? {
        blocks.push(block);
    }
    Ok(blocks)
}

struct Reader<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.file.get(self.at..).unwrap_or_default()
    }

    fn fault(&self, at: usize, kind: PemFaultKind) -> PemFault {
        let before = self.file.get(..at).unwrap_or_default();
        PemFault { line: memchr::memchr_iter(b'\n', before).count() + 1, kind }
    }

    fn next(&mut self) -> Result<Option<Block>, PemFault> {
        let Some((begins, is_begin)) = marker(self.rest()) else { return Ok(None) };
        let begins = self.at + begins;
        self.at = begins;
        if !is_begin {
            let is_end = self.rest().starts_with(END);
            let kind = if is_end { PemFaultKind::EndAlone } else { PemFaultKind::Marker };
            return Err(self.fault(begins, kind));
        }
        let label = self.label(BEGIN)?;
        let body = self.at;
        let no_end = || self.fault(begins, PemFaultKind::NoEnd { label: label.clone() });
        let (length, is_begin) = marker(self.rest()).ok_or_else(no_end)?;
        if is_begin {
            return Err(no_end());
        }
        let text = self.rest().get(..length).unwrap_or_default();
        self.at = body + length;
        let ended = self.label(END)?;
        if ended != label {
            return Err(self.fault(body + length, PemFaultKind::OtherEnd { begun: label, ended }));
        }
        let (headers, content) = split_headers(text);
        let is_encrypted = memmem::find(headers, b"ENCRYPTED").is_some();
        let base64: Vec<u8> =
            content.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let stray = |byte: &u8| {
            !(byte.is_ascii_alphanumeric() || b"+/=".contains(byte) || byte.is_ascii_whitespace())
        };
        if let Some(at) = content.iter().position(stray) {
            return Err(self.fault(body + headers.len() + at, PemFaultKind::Character { label }));
        }
        if base64.is_empty() {
            return Err(self.fault(begins, PemFaultKind::Empty { label }));
        }
        let line = self.fault(begins, PemFaultKind::Marker).line;
        let base64 = String::from_utf8_lossy(&base64).into_owned();
        Ok(Some(Block { line, label, is_encrypted, base64 }))
    }

    /// Consumes the next marker and returns its label.
    fn label(&mut self, marker: &[u8]) -> Result<String, PemFault> {
        let fault = self.fault(self.at, PemFaultKind::Marker);
        let rest = self.rest().strip_prefix(marker).ok_or_else(|| fault.clone())?;
        let length = memmem::find(rest, DASHES).ok_or_else(|| fault.clone())?;
        let label = rest.get(..length).unwrap_or_default();
        let is_label =
            |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ';
        if label.is_empty() || label.len() > 64 || !label.iter().all(is_label) {
            return Err(fault);
        }
        self.at += marker.len() + length + DASHES.len();
        Ok(String::from_utf8_lossy(label).into_owned())
    }
}

/// Finds the next marker, valid or damaged: the offset of its dashes, and whether it is a valid BEGIN.
/// A marker with the wrong number of dashes is damaged.
fn marker(text: &[u8]) -> Option<(usize, bool)> {
    let words = [&b"BEGIN"[..], b"END"];
    // The word after at least two dashes. Prose does not contain this.
    let found = words.iter().filter_map(|word| {
        memmem::find_iter(text, word).find(|at| {
            text.get(..*at).is_some_and(|before| {
                let before = before.strip_suffix(b" ").unwrap_or(before);
                before.ends_with(b"--") || ends_with_typographic_dash(before)
            })
        })
    });
    let word = found.min()?;
    let before = text.get(..word).unwrap_or_default();
    // At most five dashes: more may belong to the end of the previous marker.
    let dashes = before.iter().rev().take(5).take_while(|byte| **byte == b'-').count();
    let at = word - dashes;
    let here = text.get(at..).unwrap_or_default();
    Some((at, here.starts_with(BEGIN)))
}

/// Whether the text ends with a dash that a word processor has substituted for hyphens: U+2010 to U+2015,
/// or the minus sign U+2212.
fn ends_with_typographic_dash(text: &[u8]) -> bool {
    matches!(text, [.., 0xe2, 0x80, 0x90..=0x95] | [.., 0xe2, 0x88, 0x92])
}

/// Splits a block into RFC 1421 headers, which end at an empty line, and the content.
fn split_headers(text: &[u8]) -> (&[u8], &[u8]) {
    let mut length = 0;
    let mut has_header = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let is_blank = line.trim_ascii().is_empty();
        match (has_header, is_blank) {
            (false, true) | (true, false) => {}
            (false, false) if !line.contains(&b':') => return (&[], text),
            (false, false) => has_header = true,
            (true, true) => return text.split_at(length),
        }
        length += line.len();
    }
    (&[], text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(text: &str) -> Result<Vec<(usize, String)>, String> {
        let fault = |fault: PemFault| format!("{}: {fault}", fault.line);
        let blocks = blocks(text.as_bytes()).map_err(fault)?;
        Ok(blocks.into_iter().map(|block| (block.line, block.label)).collect())
    }

    #[test]
    fn damage_is_reported_with_its_line() {
        for (text, expected) in [
            ("x\n-----BEGIN A-----\nAAAA\n", "2: the block A has no END"),
            ("x\n—–BEGIN A—–\nAAAA\n—–END A—–\n", "2: a damaged BEGIN or END line"),
            ("-----BEGIN A-----\nAAAA\n−−END A-----\n", "3: a damaged BEGIN or END line"),
            (
                "-----BEGIN A-----\nAAAA\n-----BEGIN A-----\nAAAA\n-----END A-----",
                "1: the block A has no END",
            ),
            ("-----BEGIN A-----\nAAAA\n-----END B-----", "3: the block A ends as B"),
            ("\nAAAA\n-----END A-----\n", "3: an END line without"),
            ("----BEGIN A-----\nAAAA\n-----END A-----", "1: a damaged BEGIN"),
            ("-----BEGIN A----\nAAAA\n-----END A-----", "1: a damaged BEGIN"),
            ("-----BEGIN A-----\nAAAA\n----END A-----", "3: a damaged BEGIN"),
            ("-----BEGINA-----\nAAAA\n-----END A-----", "1: a damaged BEGIN"),
            ("-----BEGIN A-----\nAAAA\n-----END A---------BEGIN A-----\n", "3: a damaged BEGIN"),
            ("-----BEGIN A-----\n> AAAA\n-----END A-----", "2: a character in the block A"),
            ("-----BEGIN A-----\\nAAAA\\n-----END A-----", "1: a character in the block A"),
            ("-----BEGIN A-----\n\n-----END A-----", "1: the block A is empty"),
            ("\u{2014}BEGIN A-----", "1: a damaged BEGIN or END line"),
        ] {
            let fault = labels(text).map_or_else(|fault| fault, |_| String::new());
            assert!(
                fault.starts_with(expected) && fault.is_empty() == expected.is_empty(),
                "{text:?}: {fault}"
            );
        }
        let utf16: Vec<u8> = std::iter::once(0xfeff)
            .chain("-----BEGIN".encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        assert!(blocks(&utf16).unwrap_err().to_string().contains("UTF-16"));
    }

    #[test]
    fn lenient_pem_is_accepted() {
        let text = "\u{feff}Bag Attributes\n  friendlyName: x\nsubject=CN = BEGIN\n  -----BEGIN A B-----\r\n  AA\r\n  AA\r\n  -----END A B----------BEGIN C-----\nAAAA\n-----END C-----trailing";
        assert_eq!(labels(text).unwrap(), [(4, "A B".to_owned()), (7, "C".to_owned())]);
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        assert!(blocks(old.as_bytes()).unwrap()[0].is_encrypted);
        assert_eq!(blocks(b"no PEM at all - BEGINNING TO END -").unwrap(), []);
    }

    /// A part of a generated file.
    #[derive(Clone, Debug)]
    enum Part {
        Block { label: String, base64: String, indent: String, newline: &'static str, width: usize },
        Text(String),
        Damage(&'static str),
    }

    fn part() -> impl Strategy<Value = Part> {
        let block = (
            "(CERTIFICATE|TRUSTED CERTIFICATE|EC PRIVATE KEY)",
            "([A-Za-z0-9+/]{4}){1,40}",
            "[ \t]{0,4}",
            prop::sample::select(vec!["\n", "\r\n", "\n\n"]),
            1_usize..80,
        );
        let block = block.prop_map(|(label, base64, indent, newline, width)| Part::Block {
            label,
            base64,
            indent,
            newline,
            width,
        });
        let damage = prop::sample::select(vec![
            "-----BEGIN PRIVATE KEY-----\nAAAA\n",
            "-----BEGIN CERTIFICATE-----\nAA*A\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE---\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "-----END CERTIFICATE-----\n",
            "---BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ]);
        prop_oneof![
            6 => block,
            3 => "[a-zA-Z0-9 =:,.\\n-]{0,40}\\n".prop_map(Part::Text),
            1 => damage.prop_map(Part::Damage),
        ]
    }

    proptest! {
        #[test]
        fn any_combination_is_read_completely_or_reported(parts in prop::collection::vec(part(), 0..8)) {
            let (mut text, mut wanted, mut is_damaged) = (String::new(), Vec::new(), false);
            for part in &parts {
                match part {
                    Part::Block { label, base64, indent, newline, width } => {
                        write!(text, "{indent}-----BEGIN {label}-----{newline}").unwrap();
                        for line in base64.as_bytes().chunks(*width) {
                            write!(text, "{indent}{}{newline}", std::str::from_utf8(line).unwrap()).unwrap();
                        }
                        // Without a newline: the next block may follow in the same line.
                        write!(text, "{indent}-----END {label}-----").unwrap();
                        wanted.push((label.clone(), base64.clone()));
                    }
                    // A dash at its beginning would belong to the previous marker.
                    Part::Text(prose) => { text.push('\n'); text.push_str(prose); }
                    Part::Damage(damage) => { is_damaged = true; text.push_str(damage); }
                }
            }
            match blocks(text.as_bytes()) {
                Ok(blocks) => {
                    prop_assert!(!is_damaged, "{text}");
                    let read: Vec<_> = blocks.into_iter().map(|block| (block.label, block.base64)).collect();
                    prop_assert_eq!(read, wanted);
                }
                Err(fault) => {
                    prop_assert!(is_damaged, "{}: {}\n{}", fault.line, fault, text);
                    prop_assert!((1..=text.lines().count() + 1).contains(&fault.line));
                }
            }
        }

        #[test]
        fn no_input_causes_a_panic(text in "[-BEGINDA \\n:=]{0,60}") {
            drop(blocks(text.as_bytes()));
        }
    }
}
