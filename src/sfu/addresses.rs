//! Which addresses are announced to publishers.
//!
//! Every address of the box that another machine could reach, so that whichever network the
//! publisher is in finds one; then what the configuration adds. Loopback lets a publisher on the
//! box itself connect.

use super::Config;
use std::net::IpAddr;

/// Most addresses in an answer. A box with dozens of container bridges would otherwise make every
/// publisher try dozens of pairs.
pub const MAX_ADDRESSES: usize = 16;

/// What an answer announces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// In order of preference.
    pub announced: Vec<IpAddr>,
    /// Those of the box itself: packets can leave from them. The others are a NAT's.
    pub local: Vec<IpAddr>,
}

impl Addresses {
    /// From the addresses of the interfaces that are up.
    pub fn choose(interfaces: &[IpAddr], config: &Config) -> Self {
        let canonical = |ip: &IpAddr| ip.to_canonical();
        let bound = config.bind.to_canonical();
        let reachable = |ip: &IpAddr| {
            if bound.is_unspecified() { bound.is_ipv6() || ip.is_ipv4() } else { *ip == bound }
        };
        let mut local: Vec<IpAddr> =
            interfaces.iter().map(canonical).filter(usable).filter(reachable).collect();
        // The kernel's order says nothing; IPv4 first is the school network's usual case, and a
        // fixed order makes answers comparable.
        local.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
        local.dedup();
        let alone = local.iter().all(IpAddr::is_loopback);
        let keep_loopback = config.announce_loopback || alone || bound.is_loopback();

        let mut announced: Vec<IpAddr> = config.announce.iter().map(canonical).collect();
        if config.announce_interfaces {
            let wanted = |ip: &&IpAddr| keep_loopback || !ip.is_loopback();
            announced.extend(local.iter().filter(wanted));
        }
        let mut seen = Vec::new();
        announced.retain(|ip| {
            let new = !seen.contains(ip);
            seen.push(*ip);
            new
        });
        truncate_keeping_loopback(&mut announced);
        Self { announced, local }
    }
}

fn truncate_keeping_loopback(announced: &mut Vec<IpAddr>) {
    if announced.len() > MAX_ADDRESSES {
        let loopback: Vec<_> = announced.iter().copied().filter(IpAddr::is_loopback).collect();
        announced.retain(|ip| !ip.is_loopback());
        announced.truncate(MAX_ADDRESSES.saturating_sub(loopback.len()));
        announced.extend(loopback);
    }
}

/// Link-local addresses need a scope that candidates cannot carry; the others are no hosts.
fn usable(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(link_local || ip.is_unspecified() || ip.is_multicast())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    const BOX: [&str; 7] =
        ["::1", "127.0.0.1", "fe80::1", "192.168.1.5", "2001:db8::5", "169.254.3.3", "192.168.1.5"];

    #[test]
    fn every_usable_interface_once_loopback_last() {
        let chosen = Addresses::choose(&ips(&BOX), &Config::default());
        assert_eq!(chosen.announced, ips(&["192.168.1.5", "2001:db8::5", "127.0.0.1", "::1"]));
        let config = Config { announce_loopback: false, ..Config::default() };
        let chosen = Addresses::choose(&ips(&BOX), &config);
        assert_eq!(chosen.announced, ips(&["192.168.1.5", "2001:db8::5"]));
    }

    #[test]
    fn loopback_alone_is_announced_whatever_is_set() {
        let config = Config { announce_loopback: false, ..Config::default() };
        let chosen = Addresses::choose(&ips(&["127.0.0.1", "fe80::1"]), &config);
        assert_eq!(chosen.announced, ips(&["127.0.0.1"]));
    }

    #[test]
    fn a_public_address_comes_first_and_is_not_local() {
        let config = Config { announce: ips(&["203.0.113.9", "192.168.1.5"]), ..Config::default() };
        let chosen = Addresses::choose(&ips(&BOX), &config);
        assert_eq!(chosen.announced[..2], ips(&["203.0.113.9", "192.168.1.5"]));
        assert_eq!(chosen.announced.len(), 5);
        assert!(!chosen.local.contains(&chosen.announced[0]));
        let config = Config { announce_interfaces: false, ..config };
        let chosen = Addresses::choose(&ips(&BOX), &config);
        assert_eq!(chosen.announced, ips(&["203.0.113.9", "192.168.1.5"]));
    }

    #[test]
    fn only_what_the_socket_is_bound_to() {
        let config = Config { bind: ips(&["0.0.0.0"])[0], ..Config::default() };
        let chosen = Addresses::choose(&ips(&BOX), &config);
        assert_eq!(chosen.announced, ips(&["192.168.1.5", "127.0.0.1"]));
        let config = Config { bind: ips(&["2001:db8::5"])[0], ..Config::default() };
        let chosen = Addresses::choose(&ips(&BOX), &config);
        assert_eq!(chosen.announced, ips(&["2001:db8::5"]));
    }

    #[test]
    fn a_box_with_many_addresses_announces_a_few_and_loopback() {
        let many: Vec<IpAddr> = (0..200).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let all: Vec<IpAddr> = many.iter().copied().chain(ips(&["127.0.0.1"])).collect();
        let chosen = Addresses::choose(&all, &Config::default()).announced;
        assert_eq!((chosen.len(), chosen.last()), (MAX_ADDRESSES, all.last()));
    }
}
