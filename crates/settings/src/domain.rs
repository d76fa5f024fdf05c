//! The syntax of DNS names.

use std::net::IpAddr;

/// Checks that `domain` is a DNS name in the form used in certificates.
///
/// # Errors
/// A hint on what to write instead.
pub fn check_domain(domain: &str) -> Result<(), &'static str> {
    if domain.parse::<IpAddr>().is_ok() {
        return Err("write a DNS name that resolves to this host, such as \"logs.example.com\"");
    }
    if domain.contains(['/', ':', '@']) {
        return Err(
            "write only the name, without scheme, port and path, such as \"logs.example.com\"",
        );
    }
    if !domain.is_ascii() {
        return Err("write it in Punycode, such as \"xn--bcher-kva.example\"");
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() > 253 || !domain.split('.').all(is_label) {
        return Err("write labels of letters, digits and \"-\", separated by dots, such as \
                    \"logs.example.com\"");
    }
    Ok(())
}
