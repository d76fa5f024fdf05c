//! Replaces IP addresses by the addresses of their networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The bits that are left of an IPv4 address.
const IPV4_BITS: u32 = 24;

/// The bits that are left of an IPv6 address.
const IPV6_BITS: u32 = 48;

/// The first 16 bits of a 6to4 address (RFC 3056), which an IPv4 address follows.
const SIX_TO_FOUR: u16 = 0x2002;

/// Truncates an address, an address with a port, a network, or a list of them that is separated by commas,
/// as in the header `X-Forwarded-For`. `None` if the text is anything else.
pub(super) fn truncate(text: &str) -> Option<String> {
    let parts = text.split(',').map(|part| truncate_one(part.trim()));
    parts.collect::<Option<Vec<_>>>().map(|parts| parts.join(", "))
}

fn truncate_one(text: &str) -> Option<String> {
    if let Some((address, length)) = text.split_once('/') {
        return truncate_network(address.parse().ok()?, length.parse().ok()?);
    }
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = text.parse().ok().or_else(bracketed);
    // A port can identify a client, so it is removed.
    let address = address.or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))?;
    Some(match address.to_canonical() {
        IpAddr::V4(address) => first_of_ipv4(address, IPV4_BITS).to_string(),
        IpAddr::V6(address) => first_of_ipv6(address, ipv6_bits(address)).to_string(),
    })
}

/// Truncates a network with a prefix of `length` bits, which stays a network.
fn truncate_network(address: IpAddr, length: u32) -> Option<String> {
    match (address, address.to_canonical()) {
        (IpAddr::V4(address), _) if length <= 32 => {
            let bits = length.min(IPV4_BITS);
            Some(format!("{}/{bits}", first_of_ipv4(address, bits)))
        }
        (IpAddr::V6(_), mapped @ IpAddr::V4(_)) if (96..=128).contains(&length) => {
            truncate_network(mapped, length - 96)
        }
        (IpAddr::V6(address), _) if length <= 128 => {
            let bits = length.min(ipv6_bits(address));
            Some(format!("{}/{bits}", first_of_ipv6(address, bits)))
        }
        _ => None,
    }
}

/// The bits that are left of an IPv6 address. Those of a 6to4 address contain no more of its IPv4 address
/// than is left of any IPv4 address.
fn ipv6_bits(address: Ipv6Addr) -> u32 {
    let [first, ..] = address.segments();
    if first == SIX_TO_FOUR { 16 + IPV4_BITS } else { IPV6_BITS }
}

fn first_of_ipv4(address: Ipv4Addr, bits: u32) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn first_of_ipv6(address: Ipv6Addr, bits: u32) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_networks_are_truncated() {
        for (text, expected) in [
            ("203.0.113.77", Some("203.0.113.0")),
            ("203.0.113.0", Some("203.0.113.0")),
            (" 203.0.113.77 ", Some("203.0.113.0")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1::")),
            ("2001:DB8:0001:2::", Some("2001:db8:1::")),
            ("::1", Some("::")),
            ("fe80::1", Some("fe80::")),
            ("[2001:db8:1:2::3]", Some("2001:db8:1::")),
            // IPv4 addresses in IPv6 addresses: mapped, 6to4, NAT64.
            ("::ffff:203.0.113.77", Some("203.0.113.0")),
            ("::ffff:cb00:714d", Some("203.0.113.0")),
            ("2002:cb00:714d::1", Some("2002:cb00:7100::")),
            ("64:ff9b::203.0.113.77", Some("64:ff9b::")),
            // Ports.
            ("203.0.113.77:443", Some("203.0.113.0")),
            ("[2001:db8:1:2::3]:443", Some("2001:db8:1::")),
            ("[::ffff:203.0.113.77]:443", Some("203.0.113.0")),
            // Networks.
            ("203.0.113.128/25", Some("203.0.113.0/24")),
            ("203.0.113.0/24", Some("203.0.113.0/24")),
            ("203.0.113.77/16", Some("203.0.0.0/16")),
            ("203.0.113.77/0", Some("0.0.0.0/0")),
            ("2001:db8:1:2::/64", Some("2001:db8:1::/48")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("2002:cb00:714d::/48", Some("2002:cb00:7100::/40")),
            ("::ffff:203.0.113.128/121", Some("203.0.113.0/24")),
            ("::ffff:203.0.113.128/90", Some("::/48")),
            // Lists.
            ("203.0.113.77,2001:db8:1:2::3", Some("203.0.113.0, 2001:db8:1::")),
            ("203.0.113.77, 198.51.100.7:80", Some("203.0.113.0, 198.51.100.0")),
            ("203.0.113.77, unknown", None),
            ("203.0.113.77,", None),
            // Anything else.
            ("", None),
            ("unknown", None),
            ("203.0.113", None),
            ("203.0.113.256", None),
            ("203.0.113.077", None),
            ("3405803853", None),
            ("203.0.113.77/33", None),
            ("203.0.113.77/", None),
            ("203.0.113.77/24/24", None),
            ("2001:db8::/129", None),
            ("2001:db8::1:2:3:4:5:6:7:8", None),
            ("fe80::1%eth0", None),
            ("203.0.113.77 x", None),
        ] {
            assert_eq!(truncate(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn addresses_of_a_network_become_the_same_address(bits in any::<u128>(), host in any::<u128>()) {
            let host = host & (u128::MAX >> IPV6_BITS);
            let (one, other) = (Ipv6Addr::from_bits(bits), Ipv6Addr::from_bits(bits ^ host));
            let masked = truncate(&one.to_string());
            prop_assert_eq!(&masked, &truncate(&other.to_string()));
            prop_assert_eq!(&masked, &masked.as_deref().and_then(truncate));
            let of_ipv4 = |bits: u128| Ipv4Addr::from_bits((bits >> 96) as u32).to_string();
            let masked = truncate(&of_ipv4(bits));
            prop_assert_eq!(&masked, &truncate(&of_ipv4(bits ^ (host & 0xff) << 96)));
            prop_assert_eq!(&masked, &masked.as_deref().and_then(truncate));
        }
    }
}
