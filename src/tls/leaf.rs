//! The few things that are read out of a certificate: its validity, and whether it stands alone.
//!
//! Verifying is the business of rustls; this only reads what rustls does not tell.

use jiff::civil::{self, DateTime};
use yasna::{
    Tag,
    tags::{TAG_GENERALIZEDTIME, TAG_UTCTIME},
};

use super::Validity;

/// What is of interest in the server's own certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Leaf {
    pub(super) validity: Validity,
    /// Issuer and subject are the same, as in a self-signed certificate.
    pub(super) self_issued: bool,
}

impl Leaf {
    /// Reads a DER certificate; `None` if it is none.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the methods themselves are not general enough over the reader's lifetimes"
    )]
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }
        let (issuer, validity, subject) = yasna::parse_der(der, |certificate| {
            certificate.read_sequence(|fields| {
                let parts = fields.next().read_sequence(|tbs| {
                    tbs.read_optional(|version| {
                        version.read_tagged(Tag::context(0), |number| number.read_der())
                    })?;
                    tbs.next().read_der()?; // serialNumber
                    tbs.next().read_der()?; // signature
                    let issuer = tbs.next().read_der()?;
                    let validity = tbs.next().read_sequence(|validity| {
                        Ok((validity.next().read_tagged_der()?, validity.next().read_tagged_der()?))
                    })?;
                    let subject = tbs.next().read_der()?;
                    tbs.next().read_der()?; // subjectPublicKeyInfo
                    // Unique identifiers and extensions, all of them optional.
                    while tbs.read_optional(|field| field.read_der())?.is_some() {}
                    Ok((issuer, validity, subject))
                })?;
                fields.next().read_der()?;
                fields.next().read_der()?;
                Ok(parts)
            })
        })
        .ok()?;
        let (from, to) = validity;
        let validity = Validity {
            not_before: unix_seconds(from.tag(), from.value())?,
            not_after: unix_seconds(to.tag(), to.value())?,
        };
        Some(Self { validity, self_issued: issuer == subject })
    }
}

/// RFC 5280, 4.1.2.5: always UTC, always with seconds, never with fractions.
fn unix_seconds(tag: Tag, value: &[u8]) -> Option<i64> {
    let digits = str::from_utf8(value).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let full = match (tag, digits.len()) {
        (TAG_GENERALIZEDTIME, 14) => digits.to_owned(),
        (TAG_UTCTIME, 12) if digits < "50" => format!("20{digits}"),
        (TAG_UTCTIME, 12) => format!("19{digits}"),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", full).ok()?;
    // Between civil times, because "never expires" is 9999-12-31T23:59:59 and no timestamp goes
    // that far.
    Some(time.duration_since(civil::datetime(1970, 1, 1, 0, 0, 0, 0)).as_secs())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn both_forms_of_time_are_read() {
        let cases = [
            (TAG_UTCTIME, "700101000000Z", Some(0)),
            (TAG_UTCTIME, "491231235959Z", Some(2_524_607_999)),
            (TAG_UTCTIME, "500101000000Z", Some(-631_152_000)),
            (TAG_GENERALIZEDTIME, "20500101000000Z", Some(2_524_608_000)),
            (TAG_GENERALIZEDTIME, "99991231235959Z", Some(253_402_300_799)),
            (TAG_GENERALIZEDTIME, "20501301000000Z", None),
            (TAG_GENERALIZEDTIME, "20500101000000", None),
            (TAG_GENERALIZEDTIME, "500101000000Z", None),
            (TAG_UTCTIME, "7001010000Z", None),
            (TAG_UTCTIME, "+00101000000Z", None),
        ];
        for (tag, text, expected) in cases {
            assert_eq!(unix_seconds(tag, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_certificate_s_expiry_is_found() {
        let key = KeyPair::generate().unwrap();
        for (year, expected) in [(2030, 1_893_456_000), (2060, 2_840_140_800)] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(1970, 1, 2);
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&key).unwrap();
            let leaf = Leaf::parse(certificate.der()).unwrap();
            let validity = Validity { not_before: 86_400, not_after: expected };
            assert_eq!(leaf, Leaf { validity, self_issued: true });
        }
    }

    #[test]
    fn no_cut_certificate_is_taken() {
        let key = KeyPair::generate().unwrap();
        let der = CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        assert!(Leaf::parse(&der).is_some());
        for end in 0..der.len() {
            assert_eq!(Leaf::parse(&der[..end]), None, "{end} of {}", der.len());
        }
    }
}
