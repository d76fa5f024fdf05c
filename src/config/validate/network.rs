//! Networks: IP addresses and CIDR networks.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use settings::{Context, Value, reference::Takes, setting};

/// The prefix length of `::ffff:0:0/96`, which embeds IPv4 in IPv6.
const MAPPED_BITS: u8 = 96;

setting! {
    /// A network or an address. An IPv4 network in IPv6 notation (`::ffff:192.0.2.0/120`) becomes
    /// IPv4, as the addresses of peers do.
    pub struct Network(IpNet): Takes::String("addresses or networks"), read by read;
}

fn read(value: &Value<'_>, cx: &mut Context) -> Option<IpNet> {
    let text = value.string(cx)?.into_inner();
    let report = |hint: String| {
        let message = format!("`{}` is not a network", text.escape_debug());
        cx.push(value.problem(message).hint(hint));
    };
    network(&text).map_err(report).ok()
}

/// Parses a network. The error is a hint what to write instead.
fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = parsed.map_err(|_| {
        "write an IP address or a CIDR network, such as \"192.0.2.0/24\" or \"2001:db8::/32\""
            .to_owned()
    })?;
    let IpNet::V6(v6) = network else { return Ok(network.trunc()) };
    let Some(v4) = v6.addr().to_ipv4_mapped() else { return Ok(network.trunc()) };
    v6.prefix_len()
        .checked_sub(MAPPED_BITS)
        .and_then(|bits| Ipv4Net::new(v4, bits).ok())
        .map(|v4| IpNet::V4(v4.trunc()))
        .ok_or_else(|| too_wide(v4))
}

fn too_wide(v4: Ipv4Addr) -> String {
    format!("it is larger than all of IPv4: write an IPv4 network, such as \"{v4}/24\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_networks_match_ipv4_peers() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1/24", "192.0.2.0/24"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.1/120", "192.0.2.0/24"),
            ("::ffff:c000:201/128", "192.0.2.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            // An IPv4-compatible address is not mapped. `::/0` is all of IPv6.
            ("::192.0.2.1", "::c000:201/128"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), expected, "{text}");
        }
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(network("::ffff:192.0.2.1").unwrap().contains(&peer));
        for wide in ["::ffff:192.0.2.1/95", "::ffff:0:0/0"] {
            assert!(network(wide).unwrap_err().contains("write an IPv4 network"), "{wide}");
        }
    }
}
