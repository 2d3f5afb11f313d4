//! The addresses of the box's network interfaces.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::net::IpAddr;

/// The IP addresses of all interfaces that are up, in the kernel's order.
///
/// # Errors
/// `getifaddrs` failed; it needs a file descriptor and some memory.
pub fn addresses() -> std::io::Result<Vec<IpAddr>> {
    let up = InterfaceFlags::IFF_UP;
    let mut found = Vec::new();
    for interface in getifaddrs()?.filter(|interface| interface.flags.contains(up)) {
        let Some(address) = interface.address else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            found.push(IpAddr::V4(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6() {
            found.push(IpAddr::V6(v6.ip()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_box_has_loopback() {
        let found = super::addresses().unwrap_or_default();
        assert!(found.iter().any(std::net::IpAddr::is_loopback), "{found:?}");
    }
}
