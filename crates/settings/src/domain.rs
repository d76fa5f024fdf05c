//! What a DNS name may look like.

use std::net::IpAddr;

/// Whether this is a DNS name, in the form that certificates have it; if not, what to do.
///
/// # Errors
/// What to write instead.
pub fn check_domain(domain: &str) -> Result<(), &'static str> {
    if domain.parse::<IpAddr>().is_ok() {
        return Err("write a DNS name that leads to this machine, as \"logs.example.com\"");
    }
    if domain.contains(['/', ':', '@']) {
        return Err("write the name alone, without scheme, port and path, as \"logs.example.com\"");
    }
    if !domain.is_ascii() {
        return Err("write it in Punycode, as \"xn--bcher-kva.example\"");
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() > 253 || !domain.split('.').all(is_label) {
        return Err("a name is labels of letters, digits and \"-\", joined by dots, as \
                    \"logs.example.com\"");
    }
    Ok(())
}
