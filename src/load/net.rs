//! The generator's sockets: an address of its own for every connection, and one wait for them all.
//!
//! Servers tell peers apart by where their packets come from, so connections cannot share an
//! address. Where a whole network is this machine's they share a socket all the same: every
//! connection takes an address of its own out of it, all of them on the port of one socket that
//! listens on everything, and one io_uring carries the lot. Loopback is such a network: 127.64.0.0/16
//! is used towards servers on this machine. Elsewhere every connection has a port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hw::udp::{Socket, Transmit, UdpConfig, UdpError};
use mio::{Events, Interest, Poll, Token};

/// What is taken of loopback.
const LOOPBACK: Network = Network { first: u32::from_be_bytes([127, 64, 0, 0]), bits: 16 };
/// Connections to a block of 256 addresses: neither the first nor the last, which may mean all.
const BLOCK: usize = 254;
/// Receive buffer of the shared socket: a key frame to a thousand subscribers at once. The kernel
/// grants less to those who may not ask for so much.
const SHARED_BUFFER: usize = 64 << 20;
/// Longest datagram taken.
const LONGEST: usize = 2048;
/// Datagrams taken from one port before the next gets its turn.
const TURN: usize = 64;

/// An IPv4 network that is this machine's, all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: u32,
    bits: u8,
}

/// Why a text is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no IPv4 network with room for addresses: write 10.64.0.0/16, from /8 to /24")]
pub struct BadNetwork(String);

impl std::str::FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.chars().take(40).collect());
        let (address, bits) = text.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let bits = bits.parse().ok().filter(|bits| (8..=24).contains(bits)).ok_or_else(bad)?;
        Ok(Self { first: u32::from(address) & (u32::MAX << (32 - u32::from(bits))), bits })
    }
}

impl Network {
    fn room(self) -> usize {
        BLOCK << (24 - self.bits)
    }

    /// Connection `index`'s address.
    fn address(self, index: usize) -> Ipv4Addr {
        Ipv4Addr::from(self.first + (index / BLOCK * 256 + index % BLOCK + 1) as u32)
    }

    /// The connection at `address`.
    fn index(self, address: IpAddr) -> Option<usize> {
        let IpAddr::V4(address) = address else { return None };
        let offset = u32::from(address).checked_sub(self.first)? as usize;
        let (block, place) = (offset / 256, offset % 256);
        ((1..=BLOCK).contains(&place) && block < 1 << (24 - self.bits))
            .then(|| block * BLOCK + place - 1)
    }
}

/// Where connections send from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    /// Each from an address of its own in this network.
    Spread(Network),
    /// Each from a port of its own at this address.
    Ports(IpAddr),
}

impl Local {
    /// Towards a server that sees this machine as `local`.
    pub(super) fn towards(local: IpAddr) -> Self {
        match local {
            IpAddr::V4(address) if address.is_loopback() => Self::Spread(LOOPBACK),
            _ => Self::Ports(local),
        }
    }
}

/// The sockets.
pub(super) enum Net {
    /// One socket, many addresses.
    Shared(Box<Socket>, Network),
    /// A socket for each.
    Ports(Box<Ports>),
}

pub(super) struct Ports {
    poll: Poll,
    events: Events,
    sockets: Vec<mio::net::UdpSocket>,
    /// Those that may have more than they were asked for.
    more: Vec<usize>,
    buffer: Vec<u8>,
}

/// Why there are no sockets.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The shared socket cannot be had.
    #[error(transparent)]
    Udp(#[from] UdpError),
    /// A port cannot be had.
    #[error("{had} of {wanted} UDP ports could be opened: {source} (ulimit -n is the usual limit)")]
    Port {
        /// Ports there are.
        had: usize,
        /// Ports needed.
        wanted: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// Waiting failed.
    #[error("waiting for packets: {0}")]
    Wait(#[from] io::Error),
    /// More than can be addressed.
    #[error("{wanted} connections need {wanted} addresses, and the network has room for {room}")]
    TooMany {
        /// Connections asked for.
        wanted: usize,
        /// Addresses there are.
        room: usize,
    },
}

impl Net {
    /// Sockets for `count` connections, and the address of each.
    pub(super) fn open(from: Local, count: usize) -> Result<(Self, Vec<SocketAddr>), NetError> {
        let from = match from {
            Local::Spread(network) => return Self::spread(network, count),
            Local::Ports(from) => from,
        };
        let mut sockets = Vec::with_capacity(count);
        let mut addresses = Vec::with_capacity(count);
        let poll = Poll::new()?;
        for index in 0..count {
            let opened = || -> io::Result<_> {
                let socket = UdpSocket::bind((from, 0))?;
                socket.set_nonblocking(true)?;
                let address = socket.local_addr()?;
                let mut socket = mio::net::UdpSocket::from_std(socket);
                poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
                Ok((socket, address))
            };
            let (socket, address) =
                opened().map_err(|source| NetError::Port { had: index, wanted: count, source })?;
            sockets.push(socket);
            addresses.push(address);
        }
        let ports = Ports {
            poll,
            events: Events::with_capacity(1024),
            sockets,
            more: Vec::new(),
            buffer: vec![0; LONGEST],
        };
        Ok((Self::Ports(Box::new(ports)), addresses))
    }

    fn spread(network: Network, count: usize) -> Result<(Self, Vec<SocketAddr>), NetError> {
        if count > network.room() {
            return Err(NetError::TooMany { wanted: count, room: network.room() });
        }
        let config = UdpConfig {
            recv_buffers: 4096,
            buffer_len: LONGEST,
            socket_buffer: SHARED_BUFFER,
            ..UdpConfig::default()
        };
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let socket = Socket::bind(any, &config)?;
        let port = socket.local_addr().port();
        let address = |index| SocketAddr::new(network.address(index).into(), port);
        Ok((Self::Shared(Box::new(socket), network), (0..count).map(address).collect()))
    }

    /// Waits at most `timeout` for packets and hands out each with the connection it is for.
    pub(super) fn wait(
        &mut self,
        timeout: Duration,
        mut on: impl FnMut(usize, SocketAddr, &mut [u8]),
    ) -> Result<(), NetError> {
        match self {
            Self::Shared(socket, network) => {
                socket.wait(timeout, |datagram| {
                    if let Some(index) = network.index(datagram.to.ip()) {
                        on(index, datagram.from, datagram.payload);
                    }
                })?;
            }
            Self::Ports(ports) => ports.wait(timeout, on)?,
        }
        Ok(())
    }

    /// Queues a packet of a connection. What the kernel does not take is lost, as on any network.
    pub(super) fn send(&mut self, index: usize, to: SocketAddr, payload: &[u8]) {
        match self {
            Self::Shared(socket, network) => {
                let from = Some(network.address(index).into());
                socket.queue(Transmit { to, from, payload });
            }
            Self::Ports(ports) => {
                if let Some(socket) = ports.sockets.get(index)
                    && let Err(error) = socket.send_to(payload, to)
                {
                    tracing::debug!(%error, "a packet the kernel did not take");
                }
            }
        }
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) -> Result<(), NetError> {
        if let Self::Shared(socket, _) = self {
            socket.flush()?;
        }
        Ok(())
    }
}

impl Ports {
    fn wait(
        &mut self,
        timeout: Duration,
        mut on: impl FnMut(usize, SocketAddr, &mut [u8]),
    ) -> io::Result<()> {
        let timeout = if self.more.is_empty() { timeout } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            outcome => outcome?,
        }
        let mut turns = std::mem::take(&mut self.more);
        turns.extend(self.events.iter().map(|event| event.token().0));
        turns.sort_unstable();
        turns.dedup();
        for index in turns {
            let Some(socket) = self.sockets.get(index) else { continue };
            let mut left = TURN;
            loop {
                if left == 0 {
                    // Edges are told once: it has to be asked again.
                    self.more.push(index);
                    break;
                }
                left -= 1;
                match socket.recv_from(&mut self.buffer) {
                    Ok((length, from)) => {
                        on(index, from, self.buffer.get_mut(..length).unwrap_or_default());
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A refused port shows up as an error of the next receive, once.
                    Err(error) => tracing::debug!(%error, "a packet that was not received"),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Instant;

    #[test]
    fn addresses_and_connections_map_one_to_one() {
        let network: Network = "10.64.3.7/16".parse().unwrap();
        for i in (0..network.room()).step_by(7).chain([0, 253, 254, 255, network.room() - 1]) {
            assert_eq!(network.index(network.address(i).into()), Some(i));
        }
        assert_eq!(network.address(0), Ipv4Addr::new(10, 64, 0, 1));
        for other in ["127.0.0.1", "10.64.0.0", "10.64.3.255", "10.65.0.1", "10.63.0.1", "::1"] {
            assert_eq!(network.index(other.parse().unwrap()), None, "{other}");
        }
        for bad in ["10.0.0.0", "10.0.0.0/25", "x/16", "10.0.0.0/7"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        let small = Local::Spread("10.64.0.0/24".parse().unwrap());
        let error = Net::open(small, 255).err().unwrap();
        assert!(matches!(error, NetError::TooMany { wanted: 255, room: 254 }), "{error}");
    }

    /// Each connection sends its number to a socket that sends it back.
    fn exchange(mut net: Net, addresses: &[SocketAddr], echo: &UdpSocket) {
        let to = echo.local_addr().unwrap();
        for index in 0..addresses.len() {
            net.send(index, to, &[index as u8; 40]);
        }
        net.flush().unwrap();
        let mut buffer = [0; 64];
        for _ in addresses {
            let (length, from) = echo.recv_from(&mut buffer).unwrap();
            assert_eq!(addresses[usize::from(buffer[0])], from, "each from its own address");
            echo.send_to(&buffer[..length], from).unwrap();
        }
        let mut got = vec![false; addresses.len()];
        let end = Instant::now() + Duration::from_secs(10);
        while got.contains(&false) {
            assert!(Instant::now() < end, "{got:?}");
            net.wait(Duration::from_millis(100), |index, from, payload| {
                assert_eq!((from, usize::from(payload[0])), (to, index));
                got[index] = true;
            })
            .unwrap();
        }
    }

    #[test]
    fn many_connections_share_a_socket_on_loopback() {
        let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (net, addresses) = Net::open(Local::towards(Ipv4Addr::LOCALHOST.into()), 100).unwrap();
        assert!(matches!(net, Net::Shared(..)));
        exchange(net, &addresses, &echo);
    }

    #[test]
    fn elsewhere_each_has_its_port() {
        // IPv6 loopback has one address: ports, as for any far server.
        let (host, echo) = match UdpSocket::bind("[::1]:0") {
            Ok(echo) => ("::1", echo),
            Err(_) => return, // a host without IPv6
        };
        let (net, addresses) = Net::open(Local::towards(host.parse().unwrap()), 20).unwrap();
        assert!(matches!(net, Net::Ports(_)));
        exchange(net, &addresses, &echo);
    }
}
