//! Opens the socket: dual stack, its buffers, and the options both engines rely on.

use super::UdpError;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, setsockopt,
    socket, sockopt,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

/// Binds to `addr`; `[::]` becomes `0.0.0.0` where the host has no IPv6.
pub(super) fn open(addr: SocketAddr, buffer: usize) -> Result<UdpSocket, UdpError> {
    match open_exactly(addr, buffer) {
        Err(UdpError::Bind { source, .. })
            if addr.is_ipv6() && addr.ip().is_unspecified() && no_ipv6(&source) =>
        {
            tracing::debug!(%source, "no IPv6 on this host: UDP on IPv4 only");
            open_exactly(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), addr.port()), buffer)
        }
        other => other,
    }
}

fn no_ipv6(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn open_exactly(addr: SocketAddr, buffer: usize) -> Result<UdpSocket, UdpError> {
    let refused = |errno: Errno| UdpError::Bind { addr, source: errno.into() };
    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd: OwnedFd =
        socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
            .map_err(refused)?;
    // No SO_REUSEADDR or SO_REUSEPORT: a second daemon must fail to start, not take half the packets.
    match addr {
        SocketAddr::V4(v4) => {
            setsockopt(&fd, sockopt::Ipv4PacketInfo, &true).map_err(UdpError::io("IP_PKTINFO"))?;
            bind_to(&fd, &SockaddrIn::from(v4)).map_err(refused)?;
        }
        SocketAddr::V6(v6) => {
            setsockopt(&fd, sockopt::Ipv6V6Only, &false).map_err(UdpError::io("IPV6_V6ONLY"))?;
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)
                .map_err(UdpError::io("IPV6_RECVPKTINFO"))?;
            bind_to(&fd, &SockaddrIn6::from(v6)).map_err(refused)?;
        }
    }
    // The FORCE variants need CAP_NET_ADMIN; without it the kernel grants up to net.core.rmem_max.
    if setsockopt(&fd, sockopt::RcvBufForce, &buffer).is_err() {
        setsockopt(&fd, sockopt::RcvBuf, &buffer).map_err(UdpError::io("SO_RCVBUF"))?;
    }
    if setsockopt(&fd, sockopt::SndBufForce, &buffer).is_err() {
        setsockopt(&fd, sockopt::SndBuf, &buffer).map_err(UdpError::io("SO_SNDBUF"))?;
    }
    Ok(UdpSocket::from(fd))
}

fn bind_to(fd: &OwnedFd, addr: &dyn SockaddrLike) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    bind(fd.as_raw_fd(), addr)
}
