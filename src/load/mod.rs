//! The load generator: classes of many, played against a server, and what they cost it.
//!
//! Publishers and subscribers are real: ICE, DTLS, SRTP, NACK, transport-wide feedback, on the
//! protocol core of the `webrtc` crate. But the generator has to cost much less a packet than the
//! server, or on one machine it would measure itself. So:
//!
//! * one thread carries many connections over one socket ([`net`]): no task, timer or wake-up each;
//! * a packet that arrives is counted by its header ([`packet`], [`receive`], [`feedback`]), which SRTP
//!   leaves in the clear; only handshakes, RTCP, retransmissions and a sample of the media go through
//!   the library and are decrypted ([`connection`], [`sink`]);
//! * what is published was coded once ([`media`]).
//!
//! Signalling is ordinary async code ([`target`]); [`run()`] is the play.
//!
//! The delay of a packet is taken from a stamp inside its encrypted payload ([`stamp`]): sender and
//! receiver are one process and share `CLOCK_MONOTONIC`.

mod connection;
mod driver;
mod feedback;
pub mod glass;
mod histogram;
mod media;
mod net;
mod packet;
mod receive;
pub mod report;
pub mod run;
mod sdp;
mod seat;
mod sink;
mod stamp;
pub mod target;
mod usage;

use std::net::IpAddr;

pub use media::MediaError;
pub use net::{BadNetwork, NetError, Network};

/// Why two descriptions do not make a connection.
#[derive(Debug, thiserror::Error)]
pub enum SdpError {
    /// The WebRTC library refused something.
    #[error("WebRTC: {0}")]
    Rtc(#[from] rtc::shared::error::Error),
    /// There is no address to send to.
    #[error(
        "the server offers no {} UDP candidate to reach from {from}",
        if from.is_ipv4() { "IPv4" } else { "IPv6" }
    )]
    NoCandidate {
        /// Where packets would be sent from.
        from: IpAddr,
    },
}
