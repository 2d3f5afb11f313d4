//! What can be set about the stage's sockets and patience.

use crate::units::Span;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr};

/// `[sfu]` in the configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to bind. `::` takes IPv4 and IPv6.
    pub bind: IpAddr,
    /// The one UDP port of all publishers; ICE-TCP listens on the same number.
    pub port: u16,
    /// Addresses to announce besides those of the box's interfaces: the public side of a NAT.
    pub announce: Vec<IpAddr>,
    /// Whether the box's own interfaces are announced. Off only where they would mislead.
    pub announce_interfaces: bool,
    /// Whether loopback is announced even when the box has other addresses, so that a publisher
    /// on the same machine (the demo, a test) needs no network.
    pub announce_loopback: bool,
    /// Whether ICE-TCP is offered, for networks that block UDP.
    pub tcp: bool,
    /// Most ICE-TCP connections at once; more are closed as they come.
    pub tcp_connections: usize,
    /// How the UDP socket is driven.
    pub socket: Socket,
    /// Most publishers at once, over all rooms; more get a 503.
    pub max_publishers: usize,
    /// Most people who publish to one room at once; more get a 409.
    pub max_on_stage: usize,
    /// Most subscribers at once, over all rooms; more get a 503.
    pub max_subscribers: usize,
    /// A key frame is asked for when the newest one is older than this, so that a new transcoder
    /// never has more than this to decode before it can go on.
    pub keyframe_age: Span,
    /// Shortest time between two key frame requests to one track.
    pub keyframe_interval: Span,
    /// A publisher whose media does not connect within this time is forgotten.
    pub connect_timeout: Span,
    /// A publisher that sends nothing for this long has left.
    pub silence_timeout: Span,
}

/// How the UDP socket is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Socket {
    /// io_uring where the kernel allows it, else portable.
    #[default]
    Auto,
    /// io_uring, or refuse to start.
    IoUring,
    /// recvmmsg and sendmmsg.
    Portable,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            port: 8189,
            announce: Vec::new(),
            announce_interfaces: true,
            announce_loopback: true,
            tcp: true,
            tcp_connections: 128,
            socket: Socket::Auto,
            max_publishers: 64,
            max_on_stage: 16,
            max_subscribers: 2000,
            keyframe_age: Span::secs(8),
            keyframe_interval: Span::millis(500),
            connect_timeout: Span::secs(20),
            silence_timeout: Span::secs(15),
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The key within `[sfu]`.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Config {
    /// Checks what the types cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem: &str| Err(ConfigError { key, problem: problem.to_owned() });
        if self.announce.iter().any(|ip| ip.is_unspecified() || ip.is_multicast()) {
            return wrong("announce", "list addresses that a publisher can send to, one each");
        }
        if !self.announce_interfaces && self.announce.is_empty() {
            return wrong(
                "announce",
                "with announce_interfaces = false, list at least one address to announce",
            );
        }
        if self.max_publishers == 0 {
            return wrong("max_publishers", "must be at least 1");
        }
        // The stage of `link::wire` has this many seats.
        let seats = crate::link::wire::MAX_SEATS;
        if self.max_on_stage == 0 || self.max_on_stage > seats {
            return wrong("max_on_stage", &format!("must be from 1 to {seats}"));
        }
        if self.keyframe_interval > self.keyframe_age {
            return wrong("keyframe_interval", "must not be longer than keyframe_age");
        }
        let bounds = [
            ("keyframe_age", self.keyframe_age, 1, 60),
            ("connect_timeout", self.connect_timeout, 2, 300),
            ("silence_timeout", self.silence_timeout, 2, 300),
        ];
        for (key, span, least, most) in bounds {
            if span < Span::secs(least) || span > Span::secs(most) {
                return wrong(key, &format!("must be from {least} s to {most} s, not {span}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sound() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn what_cannot_work_names_its_key() {
        let base = Config::default;
        let wrong = [
            ("announce", Config { announce: vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)], ..base() }),
            ("announce", Config { announce_interfaces: false, ..base() }),
            ("max_publishers", Config { max_publishers: 0, ..base() }),
            ("max_on_stage", Config { max_on_stage: 0, ..base() }),
            ("max_on_stage", Config { max_on_stage: 33, ..base() }),
            ("keyframe_interval", Config { keyframe_interval: Span::secs(9), ..base() }),
            ("silence_timeout", Config { silence_timeout: Span::secs(1), ..base() }),
            ("connect_timeout", Config { connect_timeout: Span::secs(3600), ..base() }),
        ];
        for (key, config) in wrong {
            assert_eq!(config.check().map_err(|e| e.key), Err(key));
        }
    }
}
