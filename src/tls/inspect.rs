//! What stands in a certificate, for people and for those who explain why one was refused.
//!
//! Verifying is the business of rustls; this only reads what rustls does not tell.

#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the methods themselves are not general enough over the reader's lifetimes"
)]

mod der;
mod name;
mod time;

use std::{fmt, net::IpAddr};

use yasna::{ASN1Result, BERReader, BERReaderSeq, Tag, models::TaggedDerValue};

pub use self::name::Name;
use self::{name::shown, time::unix_seconds};

/// What is of interest in a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Whose it is.
    pub subject: Name,
    /// Who signed it.
    pub issuer: Name,
    /// In hexadecimal.
    pub serial: String,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// What signs for it.
    pub key: KeyType,
    /// What its extensions say, as far as they can be read.
    pub extensions: Extensions,
}

/// The extensions that are looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Extensions {
    /// The DNS names of the subject alternative name. Control characters are escaped.
    pub dns_names: Vec<String>,
    /// The addresses of the subject alternative name.
    pub addresses: Vec<IpAddr>,
    /// It may sign others.
    pub is_authority: bool,
    /// It says where its issuer's certificate is: few but public authorities do.
    pub has_issuer_url: bool,
    /// It holds receipts of public logs (RFC 6962): only public authorities ask for them.
    pub is_publicly_logged: bool,
}

/// The kind of a public key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyType {
    /// RSA, and the bits of the modulus.
    Rsa(usize),
    /// A curve by its name, or by its number if it is none of the usual.
    Ec(String),
    /// Ed25519.
    Ed25519,
    /// Any other, by its number.
    Other(String),
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::Ec(curve) => write!(f, "ECDSA {curve}"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other(oid) => f.write_str(oid),
        }
    }
}

impl Certificate {
    /// Reads a DER certificate; `None` if it is none. An extension that cannot be read is as one that
    /// is not there.
    pub fn parse(der: &[u8]) -> Option<Self> {
        // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }
        let raw = der::parse(der, |certificate| {
            certificate.read_sequence(|fields| {
                let raw = fields.next().read_sequence(Raw::read)?;
                fields.next().read_der()?;
                fields.next().read_der()?;
                Ok(raw)
            })
        })?;
        let [not_before, not_after] =
            raw.validity.map(|time| unix_seconds(time.tag(), time.value()));
        Some(Self {
            subject: Name::parse(raw.subject)?,
            issuer: Name::parse(raw.issuer)?,
            serial: hexadecimal(&raw.serial),
            not_before: not_before?,
            not_after: not_after?,
            key: key_type(&raw.key)?,
            extensions: Extensions::read(&raw.extensions),
        })
    }

    /// Issuer and subject are the same, as in a self-signed certificate.
    pub fn is_self_issued(&self) -> bool {
        self.issuer.der == self.subject.der
    }
}

/// The first element of what may be several, one after the other.
pub(super) fn first_element(der: &[u8]) -> Option<&[u8]> {
    // A SEQUENCE with a length of one byte, or of as many as the first says.
    let length = match der {
        [0x30, length @ ..=0x7f, ..] => 2 + usize::from(*length),
        [0x30, 0x81, length, ..] => 3 + usize::from(*length),
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => return None,
    };
    der.get(..length)
}

/// The parts of a certificate, each read by itself.
struct Raw {
    serial: Vec<u8>,
    issuer: Vec<u8>,
    validity: [TaggedDerValue; 2],
    subject: Vec<u8>,
    key: Vec<u8>,
    /// Number and content of each.
    extensions: Vec<(String, Vec<u8>)>,
}

impl Raw {
    fn read(tbs: &mut BERReaderSeq<'_, '_>) -> ASN1Result<Self> {
        tbs.read_optional(|version| version.read_tagged(Tag::context(0), |it| it.read_der()))?;
        let (serial, _) = tbs.next().read_bigint_bytes()?;
        tbs.next().read_der()?; // signature
        let issuer = tbs.next().read_der()?;
        let validity = tbs.next().read_sequence(|validity| {
            Ok([validity.next().read_tagged_der()?, validity.next().read_tagged_der()?])
        })?;
        let subject = tbs.next().read_der()?;
        let key = tbs.next().read_der()?;
        for unique_identifier in [1, 2] {
            let tag = Tag::context(unique_identifier);
            tbs.read_optional(|field| {
                field.read_tagged_implicit(tag, |it| it.read_bitvec_bytes())
            })?;
        }
        let mut extensions = Vec::new();
        tbs.read_optional(|field| {
            field.read_tagged(Tag::context(3), |list| {
                list.read_sequence_of(|extension| {
                    extensions.push(Self::read_extension(extension)?);
                    Ok(())
                })
            })
        })?;
        Ok(Self { serial, issuer, validity, subject, key, extensions })
    }

    fn read_extension(extension: BERReader<'_, '_>) -> ASN1Result<(String, Vec<u8>)> {
        extension.read_sequence(|fields| {
            let number = fields.next().read_oid()?.to_string();
            // Critical or not. DER leaves the default out, but not every issuer does.
            fields.read_optional(|it| it.read_bool())?;
            Ok((number, fields.next().read_bytes()?))
        })
    }
}

impl Extensions {
    fn read(raw: &[(String, Vec<u8>)]) -> Self {
        let mut known = Self::default();
        for (number, content) in raw {
            match number.as_str() {
                "2.5.29.17" => known.read_names(content),
                "2.5.29.19" => {
                    let is_authority = der::parse(content, |constraints| {
                        constraints.read_sequence(|fields| {
                            let is_authority = fields.read_optional(|it| it.read_bool())?;
                            fields.read_optional(|it| it.read_u64())?;
                            Ok(is_authority.unwrap_or(false))
                        })
                    });
                    known.is_authority = is_authority.unwrap_or(false);
                }
                "1.3.6.1.5.5.7.1.1" => known.has_issuer_url = has_issuer_url(content),
                "1.3.6.1.4.1.11129.2.4.2" => known.is_publicly_logged = true,
                _ => {}
            }
        }
        known
    }

    // SubjectAltName ::= SEQUENCE OF CHOICE { [2] dNSName, [7] iPAddress, ... }
    fn read_names(&mut self, content: &[u8]) {
        let names =
            der::parse(content, |names| names.collect_sequence_of(|it| it.read_tagged_der()));
        for name in names.unwrap_or_default() {
            let value = name.value();
            if name.tag() == Tag::context(2) {
                self.dns_names.push(shown(&String::from_utf8_lossy(value)));
            } else if name.tag() == Tag::context(7) {
                let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
                let v6 = || <[u8; 16]>::try_from(value).map(IpAddr::from);
                self.addresses.extend(v4.or_else(|_| v6()));
            }
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

// AuthorityInfoAccess ::= SEQUENCE OF SEQUENCE { method OID, location }
fn has_issuer_url(content: &[u8]) -> bool {
    let methods = der::parse(content, |list| {
        list.collect_sequence_of(|entry| {
            entry.read_sequence(|fields| {
                let method = fields.next().read_oid()?.to_string();
                fields.next().read_der()?;
                Ok(method)
            })
        })
    });
    methods.unwrap_or_default().iter().any(|method| method == "1.3.6.1.5.5.7.48.2")
}

// SubjectPublicKeyInfo ::= SEQUENCE { SEQUENCE { algorithm OID, parameters OPTIONAL }, key BIT STRING }
fn key_type(der: &[u8]) -> Option<KeyType> {
    let (algorithm, parameters, key) = der::parse(der, |info| {
        info.read_sequence(|fields| {
            let (algorithm, parameters) = fields.next().read_sequence(|algorithm| {
                let number = algorithm.next().read_oid()?.to_string();
                Ok((number, algorithm.read_optional(|it| it.read_der())?))
            })?;
            let (key, _) = fields.next().read_bitvec_bytes()?;
            Ok((algorithm, parameters, key))
        })
    })?;
    Some(match algorithm.as_str() {
        "1.2.840.113549.1.1.1" => {
            let modulus = der::parse(&key, |key| {
                key.read_sequence(|numbers| {
                    let (modulus, _) = numbers.next().read_bigint_bytes()?;
                    numbers.next().read_bigint_bytes()?;
                    Ok(modulus)
                })
            });
            let modulus = modulus?;
            let mut digits = modulus.iter().skip_while(|byte| **byte == 0);
            let first = digits.next().map_or(0, |byte| 8 - byte.leading_zeros() as usize);
            KeyType::Rsa(first + 8 * digits.count())
        }
        "1.2.840.10045.2.1" => {
            let curve = parameters.and_then(|der| der::parse(&der, |it| it.read_oid()));
            KeyType::Ec(match curve?.to_string().as_str() {
                "1.2.840.10045.3.1.7" => "P-256".to_owned(),
                "1.3.132.0.34" => "P-384".to_owned(),
                "1.3.132.0.35" => "P-521".to_owned(),
                other => other.to_owned(),
            })
        }
        "1.3.101.112" => KeyType::Ed25519,
        other => KeyType::Other(other.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, DnValue, IsCa, KeyPair,
        PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    };

    use super::*;

    fn read(params: &CertificateParams, key: &KeyPair) -> Certificate {
        Certificate::parse(params.self_signed(key).unwrap().der()).unwrap()
    }

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
    }

    #[test]
    fn names_addresses_and_validity_are_read() {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&["logs.example.com", "*.example.com", "192.0.2.1", "2001:db8::1"]);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2060, 1, 1);
        params.distinguished_name.push(DnType::OrganizationName, "An Example\u{1b}[31m");
        let wide = DnValue::BmpString("logs\u{e9}".try_into().unwrap());
        params.distinguished_name.push(DnType::CommonName, wide);
        let certificate = read(&params, &key);
        let extensions = &certificate.extensions;
        assert_eq!(extensions.dns_names, ["logs.example.com", "*.example.com"]);
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(extensions.addresses, addresses);
        assert_eq!((certificate.not_before, certificate.not_after), (1_577_836_800, 2_840_140_800));
        assert_eq!(certificate.subject.common_name(), Some("logs\u{e9}"));
        assert_eq!(certificate.subject.to_string(), "CN=logs\u{e9}, O=An Example\\u{1b}[31m");
        assert!(certificate.is_self_issued() && !extensions.is_authority);
        assert!(!extensions.has_issuer_url && !extensions.is_publicly_logged);
    }

    #[test]
    fn kinds_of_keys_are_told_apart() {
        for (algorithm, name) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, "ECDSA P-256"),
            (&PKCS_ECDSA_P384_SHA384, "ECDSA P-384"),
            (&PKCS_ED25519, "Ed25519"),
            (&PKCS_RSA_SHA256, "RSA 2048"),
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            assert_eq!(read(&params(&["localhost"]), &key).key.to_string(), name);
        }
    }

    #[test]
    fn what_tells_authorities_apart_is_read() {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        let access = yasna::construct_der(|list| {
            list.write_sequence_of(|list| {
                list.next().write_sequence(|entry| {
                    let method =
                        yasna::models::ObjectIdentifier::from_slice(&[1, 3, 6, 1, 5, 5, 7, 48, 2]);
                    entry.next().write_oid(&method);
                    let url = b"http://ca.example.com/ca.der";
                    entry.next().write_tagged_implicit(Tag::context(6), |to| to.write_bytes(url));
                });
            });
        });
        params.custom_extensions = vec![
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access),
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], vec![4, 0]),
            // One that is no subject alternative name at all.
            CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![1, 2, 3]),
        ];
        let certificate = read(&params, &key);
        let wanted = Extensions {
            is_authority: true,
            has_issuer_url: true,
            is_publicly_logged: true,
            ..Extensions::default()
        };
        assert_eq!(certificate.extensions, wanted);
        assert_eq!(certificate.subject.to_string(), "(no name)");
    }

    #[test]
    fn a_default_that_is_written_out_is_read() {
        // critical FALSE, and basicConstraints with cA FALSE.
        let written = yasna::construct_der(|extension| {
            extension.write_sequence(|fields| {
                let number = yasna::models::ObjectIdentifier::from_slice(&[2, 5, 29, 19]);
                fields.next().write_oid(&number);
                fields.next().write_bool(false);
                fields.next().write_bytes(&[0x30, 3, 1, 1, 0]);
            });
        });
        let extension = der::parse(&written, Raw::read_extension).unwrap();
        assert_eq!(extension, ("2.5.29.19".to_owned(), vec![0x30, 3, 1, 1, 0]));
        assert!(!Extensions::read(&[extension]).is_authority);
        let authority = ("2.5.29.19".to_owned(), vec![0x30, 3, 1, 1, 0xff]);
        assert!(Extensions::read(&[authority]).is_authority);
    }

    #[test]
    fn no_cut_certificate_is_taken() {
        let key = KeyPair::generate().unwrap();
        let der = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        assert!(Certificate::parse(&der).is_some());
        for end in 0..der.len() {
            assert_eq!(Certificate::parse(&der[..end]), None, "{end} of {}", der.len());
        }
    }
}
