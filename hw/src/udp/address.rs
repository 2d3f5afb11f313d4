//! Socket addresses and control messages as the kernel lays them out (Linux ABI), in safe code.
//!
//! Layouts: `struct sockaddr_in`, `sockaddr_in6`, `cmsghdr`, `in_pktinfo`, `in6_pktinfo`; ip(7),
//! ipv6(7), udp(7), cmsg(3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The family of a socket; an IPv6 one speaks to IPv4 peers by v4-mapped addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Room for a peer's address, aligned as the kernel's structures are.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Name(pub(super) [u8; NAME_LEN]);

/// `sizeof(struct sockaddr_in6)` is 28; 32 keeps what follows it aligned.
pub(super) const NAME_LEN: usize = 32;
const V4_LEN: usize = 16;
const V6_LEN: usize = 28;

impl Name {
    pub(super) const EMPTY: Self = Self([0; NAME_LEN]);

    /// The bytes and length of `to` for a socket of `family`; `None` if it cannot reach it.
    pub(super) fn encode(to: SocketAddr, family: Family) -> Option<(Self, usize)> {
        let mut name = [0u8; NAME_LEN];
        match (family, to) {
            (Family::V4, SocketAddr::V4(to)) => {
                put(&mut name, 0, &(libc::AF_INET as u16).to_ne_bytes());
                put(&mut name, 2, &to.port().to_be_bytes());
                put(&mut name, 4, &to.ip().octets());
                Some((Self(name), V4_LEN))
            }
            (Family::V4, SocketAddr::V6(_)) => None,
            (Family::V6, to) => {
                let (ip, scope) = match to {
                    SocketAddr::V4(to) => (to.ip().to_ipv6_mapped(), 0),
                    SocketAddr::V6(to) => (*to.ip(), to.scope_id()),
                };
                put(&mut name, 0, &(libc::AF_INET6 as u16).to_ne_bytes());
                put(&mut name, 2, &to.port().to_be_bytes());
                put(&mut name, 8, &ip.octets());
                put(&mut name, 24, &scope.to_ne_bytes());
                Some((Self(name), V6_LEN))
            }
        }
    }
}

/// Reads a peer's address; v4-mapped ones become plain IPv4.
pub(super) fn decode(name: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(array(name, 2)?);
    match i32::from(u16::from_ne_bytes(array(name, 0)?)) {
        libc::AF_INET => {
            Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(array::<4>(name, 4)?), port)))
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(array::<16>(name, 8)?);
            let scope = u32::from_ne_bytes(array(name, 24)?);
            Some(match ip.to_ipv4_mapped() {
                Some(ip) => SocketAddr::V4(SocketAddrV4::new(ip, port)),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
            })
        }
        _ => None,
    }
}

/// Room for control messages, aligned as `cmsghdr` must be.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL_LEN]);

/// One packet info (40 bytes with its header) and one segment size (24).
pub(super) const CONTROL_LEN: usize = 64;
const WORD: usize = size_of::<usize>();
/// `sizeof(struct cmsghdr)`: a length of a machine word, level, type.
const HEADER: usize = WORD + 8;

impl Control {
    pub(super) const EMPTY: Self = Self([0; CONTROL_LEN]);

    /// Control messages for a send to `to`: the source address if it is of the same family, and
    /// the segment size if this is a GSO send. Returns them with the length used.
    pub(super) fn encode(
        to: SocketAddr,
        from: Option<IpAddr>,
        segment: Option<u16>,
    ) -> (Self, usize) {
        let mut control = Self::EMPTY;
        let mut used = 0;
        // A v4-mapped peer's source goes into IP_PKTINFO on IPv6 sockets too: the kernel hands such
        // a send to its IPv4 half before it reads these.
        match (to.ip().to_canonical(), from.map(|ip| ip.to_canonical())) {
            (IpAddr::V4(_), Some(IpAddr::V4(from))) if !from.is_unspecified() => {
                let mut info = [0u8; 12]; // in_pktinfo: interface, source, (header's address)
                put(&mut info, 4, &from.octets());
                used = control.put(used, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            (IpAddr::V6(_), Some(IpAddr::V6(from))) if !from.is_unspecified() => {
                let mut info = [0u8; 20]; // in6_pktinfo: source, interface
                put(&mut info, 0, &from.octets());
                used = control.put(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            _ => {}
        }
        if let Some(segment) = segment {
            used = control.put(used, libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        (control, used)
    }

    fn put(&mut self, at: usize, level: i32, kind: i32, data: &[u8]) -> usize {
        put(&mut self.0, at, &(HEADER + data.len()).to_ne_bytes());
        put(&mut self.0, at + WORD, &level.to_ne_bytes());
        put(&mut self.0, at + WORD + 4, &kind.to_ne_bytes());
        put(&mut self.0, at + HEADER, data);
        at + HEADER + data.len().next_multiple_of(WORD)
    }
}

/// The local address a datagram was sent to, out of its control messages.
pub(super) fn destination(mut control: &[u8]) -> Option<IpAddr> {
    while let Some(len) = array(control, 0).map(usize::from_ne_bytes) {
        if len < HEADER {
            return None;
        }
        let level = i32::from_ne_bytes(array(control, WORD)?);
        let kind = i32::from_ne_bytes(array(control, WORD + 4)?);
        let data = control.get(HEADER..len)?;
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // ipi_addr, the address in the packet's header; ipi_spec_dst before it would be
                // the primary address for broadcasts.
                return Some(IpAddr::V4(Ipv4Addr::from(array::<4>(data, 8)?)));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                return Some(IpAddr::V6(Ipv6Addr::from(array::<16>(data, 0)?)).to_canonical());
            }
            _ => {}
        }
        control = control.get(len.next_multiple_of(WORD)..)?;
    }
    None
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(room) = into.get_mut(at..at + bytes.len()) {
        room.copy_from_slice(bytes);
    } else {
        // Every caller's layout is a constant of this file.
        debug_assert!(false, "no room for {} bytes at {at}", bytes.len());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn any_ip() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|ip| IpAddr::V4(ip.into())),
            any::<[u8; 16]>().prop_map(|ip| IpAddr::V6(ip.into())),
        ]
    }

    proptest! {
        #[test]
        fn a_name_reads_back_as_the_canonical_address(ip in any_ip(), port: u16) {
            let to = SocketAddr::new(ip, port);
            let (name, _) = Name::encode(to, Family::V6).unwrap();
            prop_assert_eq!(decode(&name.0), Some(SocketAddr::new(ip.to_canonical(), port)));
            prop_assert_eq!(Name::encode(to, Family::V4).is_some(), ip.is_ipv4());
        }

        #[test]
        fn a_source_address_is_written_as_the_kernel_tells_destinations(
            to in any_ip(), from in any_ip(), segment: Option<u16>,
        ) {
            let (control, used) = Control::encode(SocketAddr::new(to, 9), Some(from), segment);
            let told = destination(&control.0[..used]);
            let (to, from) = (to.to_canonical(), from.to_canonical());
            if to.is_ipv6() && from.is_ipv6() && !from.is_unspecified() {
                prop_assert_eq!(told, Some(from));
            } else if to.is_ipv6() || from.is_ipv6() {
                prop_assert_eq!(told, None);
            }
        }

        #[test]
        fn no_bytes_break_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            let _ = decode(&bytes);
            let _ = destination(&bytes);
        }
    }
}
