//! Parses certificates, to display them and to explain why one was refused.
//!
//! rustls verifies certificates; this module only reads fields that rustls does not expose.

mod name;

use std::{fmt, net::IpAddr};

use data_encoding::HEXLOWER;
use x509_parser::{
    asn1_rs::{FromDer as _, Sequence, Tag},
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension, X509Extension},
    oid_registry::{
        OID_CT_LIST_SCT, OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384,
        OID_NIST_EC_P521, OID_PKCS1_RSAENCRYPTION, OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS,
        OID_SIG_ED25519,
    },
    public_key::RSAPublicKey,
    x509::SubjectPublicKeyInfo,
};

pub use self::name::Name;
use self::name::shown;

/// The fields of a certificate that logpushd uses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// The owner.
    pub subject: Name,
    /// The signer.
    pub issuer: Name,
    /// The serial number, in hexadecimal.
    pub serial: String,
    /// The beginning of the validity, in Unix seconds.
    pub not_before: i64,
    /// The end of the validity, in Unix seconds.
    pub not_after: i64,
    /// The type of the public key.
    pub key: KeyType,
    /// The extensions that can be parsed.
    pub extensions: Extensions,
}

/// The extensions that logpushd uses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Extensions {
    /// The DNS names of the subject alternative name. Control characters are escaped.
    pub dns_names: Vec<String>,
    /// The addresses of the subject alternative name.
    pub addresses: Vec<IpAddr>,
    /// The certificate may sign other certificates.
    pub is_authority: bool,
    /// The certificate contains the URL of its issuer's certificate, which is rare with private
    /// authorities.
    pub has_issuer_url: bool,
    /// The certificate contains timestamps of public logs (RFC 6962), which only public authorities use.
    pub is_publicly_logged: bool,
}

/// The type of a public key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyType {
    /// RSA, with the number of bits of the modulus.
    Rsa(usize),
    /// An elliptic curve, by its name or object identifier.
    Ec(String),
    /// Ed25519.
    Ed25519,
    /// Any other algorithm, by its object identifier.
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
    /// Parses a certificate in DER. Returns `None` if it is not valid; an invalid extension is ignored.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let validity = certificate.validity();
        Some(Self {
            subject: Name::read(certificate.subject()),
            issuer: Name::read(certificate.issuer()),
            serial: HEXLOWER.encode(certificate.raw_serial()),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            key: key_type(certificate.public_key())?,
            extensions: Extensions::read(certificate.extensions()),
        })
    }

    /// Whether issuer and subject are the same, as in a self-signed certificate.
    pub fn is_self_issued(&self) -> bool {
        self.issuer.der == self.subject.der
    }
}

/// The first of several consecutive elements, if it is a SEQUENCE, as a certificate is.
pub(super) fn first_element(der: &[u8]) -> Option<&[u8]> {
    let (rest, _) = Sequence::from_der(der).ok()?;
    der.get(..der.len() - rest.len())
}

impl Extensions {
    fn read(extensions: &[X509Extension<'_>]) -> Self {
        let mut known = Self::default();
        for extension in extensions {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    names.general_names.iter().for_each(|name| known.add_name(name));
                }
                ParsedExtension::BasicConstraints(constraints) => {
                    known.is_authority = constraints.ca;
                }
                ParsedExtension::AuthorityInfoAccess(access) => {
                    let method = OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
                    known.has_issuer_url =
                        access.accessdescs.iter().any(|entry| entry.access_method == method);
                }
                _ => {}
            }
            known.is_publicly_logged |= extension.oid == OID_CT_LIST_SCT;
        }
        known
    }

    fn add_name(&mut self, name: &GeneralName<'_>) {
        const DNS_NAME: Tag = Tag(2);
        match name {
            GeneralName::DNSName(name) => self.dns_names.push(shown(name)),
            // Not UTF-8.
            GeneralName::Invalid(DNS_NAME, name) => {
                self.dns_names.push(shown(&String::from_utf8_lossy(name)));
            }
            GeneralName::IPAddress(address) => {
                let v4 = <[u8; 4]>::try_from(*address).map(IpAddr::from);
                let v6 = || <[u8; 16]>::try_from(*address).map(IpAddr::from);
                self.addresses.extend(v4.or_else(|_| v6()));
            }
            _ => {}
        }
    }
}

fn key_type(info: &SubjectPublicKeyInfo<'_>) -> Option<KeyType> {
    let algorithm = info.algorithm.oid();
    Some(if *algorithm == OID_PKCS1_RSAENCRYPTION {
        let (_, key) = RSAPublicKey::from_der(&info.subject_public_key.data).ok()?;
        // `key_size` of x509-parser is rounded to whole bytes.
        let mut digits = key.modulus.iter().skip_while(|byte| **byte == 0);
        let first = digits.next().map_or(0, |byte| 8 - byte.leading_zeros() as usize);
        KeyType::Rsa(first + 8 * digits.count())
    } else if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = info.algorithm.parameters()?.as_oid().ok()?;
        KeyType::Ec(if curve == OID_EC_P256 {
            "P-256".to_owned()
        } else if curve == OID_NIST_EC_P384 {
            "P-384".to_owned()
        } else if curve == OID_NIST_EC_P521 {
            "P-521".to_owned()
        } else {
            curve.to_id_string()
        })
    } else if *algorithm == OID_SIG_ED25519 {
        KeyType::Ed25519
    } else {
        KeyType::Other(algorithm.to_id_string())
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
    fn key_types_are_distinguished() {
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
    fn the_extensions_of_authorities_are_read() {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        // SEQUENCE OF SEQUENCE { OID 1.3.6.1.5.5.7.48.2, [6] "http://a" }
        let entry =
            [&[0x30, 20, 6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, 8][..], b"http://a"].concat();
        let access = [&[0x30, 22][..], &entry].concat();
        params.custom_extensions = vec![
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access),
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], vec![4, 0]),
            // An invalid subject alternative name.
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
    fn an_explicit_default_is_read() {
        // SEQUENCE { OID 2.5.29.19, critical FALSE, basicConstraints with cA FALSE }
        let mut der = vec![0x30, 15, 6, 3, 0x55, 29, 19, 1, 1, 0, 4, 5, 0x30, 3, 1, 1, 0];
        let is_authority = |der: &[u8]| {
            let (rest, extension) = X509Extension::from_der(der).unwrap();
            assert!(rest.is_empty() && !extension.critical, "{extension:?}");
            let parsed = extension.parsed_extension();
            assert!(matches!(parsed, ParsedExtension::BasicConstraints(_)), "{parsed:?}");
            Extensions::read(&[extension]).is_authority
        };
        assert!(!is_authority(&der));
        *der.last_mut().unwrap() = 0xff;
        assert!(is_authority(&der));
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let key = KeyPair::generate().unwrap();
        for (year, month, day, seconds) in [
            // UTCTime, with two digits for the year.
            (1950, 1, 1, -631_152_000),
            (1970, 1, 1, 0),
            (2049, 12, 31, 2_524_521_600),
            // GeneralizedTime.
            (2050, 1, 1, 2_524_608_000),
            (9999, 12, 31, 253_402_214_400),
        ] {
            let mut params = params(&["localhost"]);
            params.not_before = rcgen::date_time_ymd(year, month, day);
            params.not_after = params.not_before;
            let certificate = read(&params, &key);
            assert_eq!([certificate.not_before, certificate.not_after], [seconds; 2], "{year}");
        }
    }

    #[test]
    fn the_first_of_several_elements_is_found() {
        for (der, want) in [
            (&[0x30, 2, 5, 0, 7][..], Some(4)),
            (&[0x30, 0x81, 0x80], None),
            (&[0, 0], None),
            (&[0x30, 0x80, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(first_element(der).map(<[u8]>::len), want, "{der:x?}");
        }
    }

    #[test]
    fn a_truncated_certificate_is_rejected() {
        let key = KeyPair::generate().unwrap();
        let der = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        assert!(Certificate::parse(&der).is_some());
        for end in 0..der.len() {
            assert_eq!(Certificate::parse(&der[..end]), None, "{end} of {}", der.len());
        }
    }

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
}
