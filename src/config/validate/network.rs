//! Networks: addresses and CIDRs.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use settings::{Context, Value, reference::Takes, setting};

/// Bits of `::ffff:0:0/96`, which embeds IPv4 in IPv6.
const MAPPED_BITS: u8 = 96;

setting! {
    /// A network, or an address alone. An IPv4 network that is written as IPv6 (`::ffff:192.0.2.0/120`) becomes
    /// IPv4: that is how the addresses of peers are compared.
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

/// A network as peers are compared with it, or what to write instead.
fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = parsed.map_err(|_| {
        "write an address or a CIDR, as \"192.0.2.0/24\" or \"2001:db8::/32\"".to_owned()
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
    format!("it is wider than all of IPv4: write an IPv4 network, as \"{v4}/24\"")
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
            // Only compatible, not mapped; and all of IPv6.
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
