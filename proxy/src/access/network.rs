//! A range of IP addresses, written as CIDR blocks are.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Deserialize;

use crate::error::Error;

/// All addresses that begin with the same bits: `"10.0.0.0/8"`, `"2001:db8::/32"`, or one address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    /// The lowest of them. An IPv4 address is never one in IPv6's clothes.
    base: IpAddr,
    /// How many bits they share.
    prefix: u8,
}

/// How an address of IPv4 looks to a socket of IPv6: these bits, then its own.
const MAPPED: u8 = 96;

impl Network {
    /// True when the address is one of them. An IPv4 address that came to a socket of IPv6 counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => same(
                u128::from(base.to_bits()),
                u128::from(address.to_bits()),
                Ipv4Addr::BITS - u32::from(self.prefix),
            ),
            (IpAddr::V6(base), IpAddr::V6(address)) => same(
                base.to_bits(),
                address.to_bits(),
                Ipv6Addr::BITS - u32::from(self.prefix),
            ),
            _ => false,
        }
    }
}

/// True when two numbers differ in their lowest `free` bits only.
fn same(a: u128, b: u128, free: u32) -> bool {
    (a ^ b).checked_shr(free).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fault = || Error::Network(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().map_err(|_not_an_address| fault())?;
        let longest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            // Digits only: `+8` and ` 8` are numbers to Rust.
            Some(digits) if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_too_large| fault())?
            }
            Some(_) => return Err(fault()),
        };
        if prefix > longest {
            return Err(fault());
        }
        let network = match base.to_canonical() {
            IpAddr::V4(v4) if base.is_ipv6() && prefix >= MAPPED => Self {
                base: IpAddr::V4(v4),
                prefix: prefix - MAPPED,
            },
            _ => Self { base, prefix },
        };
        // Bits behind the prefix are a slip: which of the two was meant?
        match network.base == network.lowest() {
            true => Ok(network),
            false => Err(fault()),
        }
    }
}

impl Network {
    fn lowest(&self) -> IpAddr {
        match self.base {
            IpAddr::V4(base) => {
                let free = Ipv4Addr::BITS - u32::from(self.prefix);
                let mask = u32::MAX.checked_shl(free).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() & mask))
            }
            IpAddr::V6(base) => {
                let free = Ipv6Addr::BITS - u32::from(self.prefix);
                let mask = u128::MAX.checked_shl(free).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() & mask))
            }
        }
    }
}

impl TryFrom<String> for Network {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::ffff:10.0.0.0/104", "10.1.1.1", "11.1.1.1"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::ffff:11.1.1.1"),
        ] {
            let network: Network = network.parse().expect("a network");
            assert!(
                network.contains(inside.parse().expect("an address")),
                "{network} {inside}"
            );
            assert!(
                !network.contains(outside.parse().expect("an address")),
                "{network} {outside}"
            );
        }
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "10.0.0/8",
            "localhost",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "2001:db8::1/32",
            "10.0.0.0 /8",
            "/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
            any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_and_holds_what_shares_the_prefix(address in address(), prefix in 0..=128_u8, other in any::<u128>()) {
            let address = address.to_canonical();
            let (longest, prefix) = match address {
                IpAddr::V4(_) => (32, prefix.min(32)),
                IpAddr::V6(_) => (128, prefix),
            };
            let whole = Network { base: address, prefix };
            let network = Network { base: whole.lowest(), prefix };
            // Of IPv6 networks, those of IPv4's addresses in disguise are read as IPv4's.
            if network.base.to_canonical() == network.base {
                prop_assert_eq!(network.to_string().parse::<Network>().expect("shown"), network);
            }
            prop_assert!(network.contains(address));
            // Another address is inside exactly when its first bits are the same.
            let (other, bits) = match address {
                IpAddr::V4(address) => {
                    let other = Ipv4Addr::from_bits(u32::try_from(other & 0xffff_ffff).expect("32 bits"));
                    (IpAddr::V4(other), u128::from(address.to_bits() ^ other.to_bits()))
                }
                IpAddr::V6(address) => (IpAddr::V6(Ipv6Addr::from_bits(other)), address.to_bits() ^ other),
            };
            if other.to_canonical() == other {
                let shared = bits.leading_zeros() - (128 - longest);
                prop_assert_eq!(network.contains(other), shared >= u32::from(prefix));
            }
        }

        #[test]
        fn arbitrary_text_is_refused_or_read(text in "[0-9a-f:./ ]{0,40}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert!(network.contains(network.base));
            }
        }
    }
}
