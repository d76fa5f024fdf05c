//! Explains TLS errors in plain words, with advice for the operator.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError};

/// Explains an error in one line. The text of rustls follows in parentheses, to search for.
pub fn explain(error: &Error) -> String {
    let (plain, technical) = (plain_text(error), error.to_string());
    if plain == technical { plain } else { format!("{plain} ({technical})") }
}

fn plain_text(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::NoCertificatesPresented => "the other side presented no certificate".into(),
        Error::PeerIncompatible(why) => {
            format!("the other side offers no TLS parameters that logpushd accepts: {why:?}")
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "the other side does not speak TLS on this port".into(),
        Error::InvalidMessage(_) => "the other side sent a message that is not valid TLS".into(),
        Error::NoApplicationProtocol => "the two sides have no protocol in common (ALPN)".into(),
        Error::DecryptError => "a TLS record was damaged in transit".into(),
        other => other.to_string(),
    }
}

/// Which advice [`explain_io`] adds. Advice names keys of the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Advice {
    /// For a connection of the daemon to a server.
    OnServer,
    /// For a connection of a client to the daemon.
    OnClient,
    /// For commands, which give their own advice.
    None,
}

/// Explains a failed handshake in one line: the cause, and what to do. Any other error keeps its text.
pub fn explain_io(error: &io::Error, wanted: Advice) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(tls) = tls else { return error.to_string() };
    let advice = match wanted {
        Advice::OnServer => advice(tls),
        Advice::OnClient => advice_on_client(tls).or_else(|| advice(tls)),
        Advice::None => None,
    };
    advice.map_or_else(|| explain(tls), |advice| format!("{}: {advice}", explain(tls)))
}

/// Advice for a client's connection, where it differs from [`advice`].
fn advice_on_client(error: &Error) -> Option<&'static str> {
    match error {
        Error::InvalidMessage(_) => Some("the client must use TLS, as in https://"),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "name the authority of the client's certificate in client_ca_file; or let the client send its intermediates",
        ),
        _ => None,
    }
}

/// Advice for the side that verifies, if there is any.
fn advice(error: &Error) -> Option<&'static str> {
    match error {
        Error::InvalidCertificate(error) => advice_on_certificate(error),
        Error::AlertReceived(alert) => advice_on_alert(*alert),
        Error::NoCertificatesPresented => {
            Some("configure a certificate on the other side that client_ca_file vouches for")
        }
        Error::PeerIncompatible(_) => Some("both sides need TLS 1.2 or 1.3"),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => Some("check the port: it may be the one without TLS"),
        _ => None,
    }
}

fn of_certificate(error: &CertificateError) -> String {
    use CertificateError as Of;
    match error {
        Of::BadEncoding => "the certificate cannot be read".into(),
        // The context contains readable times and names.
        Of::ExpiredContext { .. } | Of::NotValidYetContext { .. } => error.to_string(),
        Of::NotValidForNameContext { expected, presented } => format!(
            "the certificate is not for {}, {}",
            expected.to_str(),
            match presented.as_slice() {
                [] => "nor for any other name (it has no subjectAltName)".to_owned(),
                names => format!(
                    "only for {}",
                    names.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", ")
                ),
            }
        ),
        Of::Expired => "the certificate has expired".into(),
        Of::NotValidYet => "the certificate is not valid yet".into(),
        Of::Revoked => "the certificate was revoked".into(),
        Of::UnknownIssuer => "no trusted authority vouches for the certificate".into(),
        Of::BadSignature => {
            "the certificate was not signed by the trusted authority of that name".into()
        }
        Of::NotValidForName => "the certificate is not for this server name".into(),
        Of::InvalidPurpose | Of::InvalidPurposeContext { .. } => {
            "the certificate is not for this use (extended key usage)".into()
        }
        Of::Other(other) => of_other(other),
        other => other.to_string(),
    }
}

/// The host name in the notation of webpki, `DnsName("host.example")`. Other names are not changed.
fn bare(name: &str) -> &str {
    name.strip_prefix("DnsName(\"").and_then(|rest| rest.strip_suffix("\")")).unwrap_or(name)
}

fn of_other(other: &OtherError) -> String {
    match of_webpki(other) {
        Some(webpki::Error::CaUsedAsEndEntity) => {
            "the certificate belongs to an authority and may not be used for a server".into()
        }
        Some(webpki::Error::EndEntityUsedAsCa) => {
            "the certificate was signed with a certificate that is not an authority".into()
        }
        Some(webpki::Error::UnsupportedCertVersion) => {
            "the certificate is not X.509 version 3".into()
        }
        _ => format!("the certificate cannot be used: {}", other.0),
    }
}

/// The error of webpki, for errors without a variant in rustls.
fn of_webpki(OtherError(error): &OtherError) -> Option<&webpki::Error> {
    error.downcast_ref()
}

fn advice_on_certificate(error: &CertificateError) -> Option<&'static str> {
    use CertificateError as Of;
    Some(match error {
        Of::Expired | Of::ExpiredContext { .. } => "renew it, and check the clock on both machines",
        Of::NotValidYet | Of::NotValidYetContext { .. } => "check the clock on both machines",
        Of::UnknownIssuer => {
            "name the authority, or the certificate itself, in ca_file; or let the server send its intermediates"
        }
        Of::NotValidForName | Of::NotValidForNameContext { .. } => {
            "connect with a name in the certificate, or set tls.server_name"
        }
        Of::InvalidPurpose | Of::InvalidPurposeContext { .. } => {
            "have it issued with the extended key usage serverAuth for a server, clientAuth for a client"
        }
        Of::Other(other) if matches!(of_webpki(other), Some(webpki::Error::CaUsedAsEndEntity)) => {
            "list this certificate itself in ca_file, or have a server certificate issued"
        }
        Of::BadSignature => {
            "name the authority that signed it in ca_file; the listed one has the same name but another key"
        }
        Of::BadEncoding | Of::Other(_) => "have the certificate issued again",
        _ => return None,
    })
}

fn of_alert(alert: AlertDescription) -> String {
    use AlertDescription as Of;
    let why = match alert {
        Of::UnknownCA => "the other side does not trust the authority of our certificate",
        Of::CertificateExpired => "the other side reports that our certificate has expired",
        Of::CertificateRequired => "the other side requires a client certificate",
        Of::BadCertificate | Of::CertificateUnknown | Of::UnsupportedCertificate => {
            "the other side refuses our certificate"
        }
        Of::CertificateRevoked => "the other side reports that our certificate was revoked",
        Of::AccessDenied => "the other side denies access to our certificate",
        Of::HandshakeFailure | Of::InsufficientSecurity => {
            "the other side has no cipher or key type in common with us"
        }
        Of::ProtocolVersion => "the other side has no TLS version in common with us",
        Of::UnrecognisedName => "the other side does not serve this name",
        Of::NoApplicationProtocol => "the other side speaks neither HTTP/2 nor HTTP/1.1",
        Of::InternalError => "the other side had an internal error",
        Of::DecryptError => "the other side could not verify our handshake",
        other => return format!("the other side ended the handshake with the alert {other:?}"),
    };
    why.to_owned()
}

fn advice_on_alert(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription as Of;
    Some(match alert {
        Of::UnknownCA => {
            "use a certificate that it trusts, and include the intermediates in cert_file (fullchain.pem)"
        }
        Of::CertificateExpired => "renew our certificate",
        Of::CertificateRequired => "set cert_file and key_file",
        Of::BadCertificate | Of::CertificateUnknown | Of::UnsupportedCertificate => {
            "see its log for the reason; usually it does not trust the authority"
        }
        Of::ProtocolVersion => "both sides need TLS 1.2 or 1.3",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_a_plain_text_the_technical_one_and_advice() {
        let cases = [
            (
                Error::from(CertificateError::UnknownIssuer),
                "no trusted authority vouches for the certificate (invalid peer certificate: UnknownIssuer): name ",
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "the other side does not trust the authority of our certificate (received fatal alert: UnknownCA): use ",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "the other side does not speak TLS on this port (received corrupt message of type InvalidContentType): check ",
            ),
            (
                Error::NoCertificatesPresented,
                "the other side presented no certificate (peer sent no certificates): configure ",
            ),
        ];
        for (error, expected) in cases {
            let error = io::Error::other(error);
            let text = explain_io(&error, Advice::OnServer);
            assert!(text.starts_with(expected), "{text}");
            let plain = explain_io(&error, Advice::None);
            assert!(text.starts_with(&plain) && plain.ends_with(')'), "{plain}");
        }
        let inbound = [
            (
                Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge),
                "the other side sent a message that is not valid TLS (received corrupt message of type HandshakePayloadTooLarge): the client must use TLS",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "the other side does not speak TLS on this port (received corrupt message of type InvalidContentType): the client must use TLS",
            ),
            (
                Error::from(CertificateError::UnknownIssuer),
                "no trusted authority vouches for the certificate (invalid peer certificate: UnknownIssuer): name the authority of the client's certificate in client_ca_file",
            ),
        ];
        for (error, expected) in inbound {
            let text = explain_io(&io::Error::other(error), Advice::OnClient);
            assert!(text.starts_with(expected), "{text}");
        }
        let other = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(explain_io(&other, Advice::OnServer), other.to_string());
    }

    #[test]
    fn the_names_of_a_certificate_are_listed_as_plain_text() {
        let of = |presented: &[&str]| {
            plain_text(&Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                expected: "localhost".try_into().unwrap(),
                presented: presented.iter().map(|name| (*name).to_owned()).collect(),
            }))
        };
        assert_eq!(
            of(&["DnsName(\"a.example\")", "DnsName(\"b.example\")"]),
            "the certificate is not for localhost, only for a.example, b.example"
        );
        assert_eq!(
            of(&[]),
            "the certificate is not for localhost, nor for any other name (it has no subjectAltName)"
        );
    }
}
