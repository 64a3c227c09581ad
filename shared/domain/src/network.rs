//! Networks that the platform may call on behalf of a user.
//!
//! A user who configures a URL must not reach what only the platform can reach: its own machine, its network, the
//! metadata service of the cloud. The platform therefore calls only addresses of the public internet, and networks
//! that the operator allows.
//!
//! Source: the IANA registries of special-purpose addresses (RFC 6890), where "globally reachable" is false.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Invalid;

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: u16, second: u16, third: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0), prefix)
}

const NOT_PUBLIC_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    // Shared address space of carriers. Some clouds have their metadata service here.
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    // Link-local addresses. Most clouds have their metadata service here.
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    // Multicast, and reserved addresses including broadcast.
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
];

/// Block that all public unicast addresses come from. The other blocks are loopback, link-local, unique local,
/// multicast, or embed IPv4 addresses.
const UNICAST_V6: Ipv6Net = v6(0x2000, 0, 0, 3);

const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    // Protocol assignments, including Teredo, which embeds IPv4 addresses.
    v6(0x2001, 0, 0, 23),
    v6(0x2001, 0xdb8, 0, 32),
    // 6to4 embeds IPv4 addresses.
    v6(0x2002, 0, 0, 16),
    v6(0x3fff, 0, 0, 20),
];

/// True if an address belongs to the public internet.
pub fn is_public(address: IpAddr) -> bool {
    // `::ffff:10.0.0.1` is 10.0.0.1.
    match address.to_canonical() {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            UNICAST_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|network| network.contains(&address))
        }
    }
}

/// Returns the network that identifies one caller: an IPv4 address, or the /64 of an IPv6 address. Providers assign
/// at least a /64 to each connection, so all its 2^64 addresses belong to one caller.
pub fn line(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => Ipv6Net::new_assert(address, 64).trunc().to_string(),
    }
}

/// Networks that the operator allows besides the public internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// True if the operator allows the address.
    pub fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// True if the platform may call the address.
    pub fn permit(&self, address: IpAddr) -> bool {
        is_public(address) || self.allow(address)
    }
}

/// Parses networks in CIDR notation, separated by commas. An empty text means no networks.
impl std::str::FromStr for Networks {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let networks = parts.map(str::parse).collect::<Result<_, _>>();
        networks.map(Self).map_err(|_| Invalid::new("is not a list of networks such as 10.0.0.0/8"))
    }
}

/// Returns the network that an address belongs to: /24 of IPv4, /48 of IPv6.
pub fn coarse(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for address in ["1.1.1.1", "9.255.255.255", "11.0.0.0", "172.15.0.1", "172.32.0.1", "192.0.1.1"]
            .into_iter()
            .chain(["100.63.255.255", "100.128.0.0", "223.255.255.255", "2606:4700::1111", "2a00::1"])
            .chain(["::ffff:1.1.1.1", "2001:200::1"])
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255"]
            .into_iter()
            .chain(["169.254.169.254", "172.16.0.1", "172.31.255.255", "192.168.1.1", "198.19.0.1"])
            .chain(["192.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "255.255.255.255"])
            .chain(["::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1"])
            .chain(["::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1"])
            .chain(["2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "4000::1", "2001:2::1"])
        {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_line_is_an_address_or_a_64_of_ipv6() {
        let line = |text: &str| line(text.parse().unwrap());
        assert_eq!(line("1.2.3.4"), line("::ffff:1.2.3.4"));
        assert_ne!(line("1.2.3.4"), line("1.2.3.5"));
        assert_eq!(line("2a00:1:2:3::1"), "2a00:1:2:3::/64");
        assert_eq!(line("2a00:1:2:3::1"), line("2a00:1:2:3:ffff:ffff:ffff:ffff"));
        assert_ne!(line("2a00:1:2:3::1"), line("2a00:1:2:4::1"));
    }

    #[test]
    fn an_operator_allows_networks() {
        let networks: Networks = "10.1.0.0/16, ::1/128".parse().unwrap();
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "::1", "1.1.1.1"] {
            assert!(networks.permit(address.parse().unwrap()), "{address}");
        }
        assert!(!networks.permit("10.2.0.1".parse().unwrap()) && !networks.allow("1.1.1.1".parse().unwrap()));
        assert_eq!("".parse(), Ok(Networks::default()));
        assert!("10.0.0.1/33".parse::<Networks>().is_err() && "localhost".parse::<Networks>().is_err());
    }

    #[test]
    fn networks_are_cut_at_24_and_48_bits() {
        let cut = |text: &str| coarse(text.parse().unwrap());
        assert_eq!(cut("203.0.113.77"), "203.0.113.0/24");
        assert_eq!(cut("::ffff:203.0.113.77"), "203.0.113.0/24");
        assert_eq!(cut("2001:db8:1:2::3"), "2001:db8:1::/48");
    }
}
