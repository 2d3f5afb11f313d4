//! What the generator itself reads of a session description: which payload type is what, where the
//! transport-wide sequence number stands, and the one address to send to.

use std::net::{IpAddr, SocketAddr};

use super::SdpError;

/// What a payload type carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carries {
    Video,
    /// Retransmissions of video (RFC 4588).
    Repair,
    Audio,
}

/// What was agreed on, as far as the fast path needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Agreed {
    types: Vec<(u8, Carries)>,
    /// The id of the transport-wide sequence number's header extension.
    pub(super) transport_id: Option<u8>,
}

impl Agreed {
    /// Of the other side's description.
    pub(super) fn read(sdp: &str) -> Self {
        let mut agreed = Self::default();
        for line in sdp.lines() {
            if let Some((number, codec)) = attribute(line, "rtpmap") {
                let codec = codec.split('/').next().unwrap_or_default().to_ascii_lowercase();
                let carries = match codec.as_str() {
                    "h264" => Carries::Video,
                    "rtx" => Carries::Repair,
                    "opus" => Carries::Audio,
                    _ => continue,
                };
                agreed.types.push((number, carries));
            } else if let Some((id, uri)) = attribute(line, "extmap")
                && uri.contains("transport-wide-cc")
            {
                agreed.transport_id.get_or_insert(id);
            }
        }
        agreed
    }

    pub(super) fn carries(&self, payload_type: u8) -> Option<Carries> {
        self.types.iter().find(|(number, _)| *number == payload_type).map(|(_, carries)| *carries)
    }
}

/// `a=NAME:NUMBER[/...] REST`.
fn attribute<'a>(line: &'a str, name: &str) -> Option<(u8, &'a str)> {
    let line = line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':')?;
    let (number, rest) = line.split_once(' ')?;
    let number = number.split('/').next()?;
    Some((number.parse().ok()?, rest.trim()))
}

/// The description with one UDP candidate left: of `from`'s family, and on loopback if `from` is and
/// one is offered there. One pair to check in place of all
/// combinations keeps the set-up of a thousand connections short.
///
/// # Errors
/// None is offered.
pub(super) fn one_candidate(sdp: &str, from: IpAddr) -> Result<String, SdpError> {
    let candidate = |line: &str| -> Option<SocketAddr> {
        // candidate:foundation component transport priority address port typ ... (RFC 8839, 5.1)
        let words: Vec<&str> =
            line.strip_prefix("a=candidate:")?.split_ascii_whitespace().collect();
        let [_, _, transport, _, address, port, ..] = words[..] else { return None };
        let address = SocketAddr::new(address.parse().ok()?, port.parse().ok()?);
        (transport.eq_ignore_ascii_case("udp") && address.is_ipv4() == from.is_ipv4())
            .then_some(address)
    };
    let offered = || sdp.lines().filter_map(candidate);
    let chosen = offered()
        .find(|address| address.ip().is_loopback() == from.is_loopback())
        .or_else(|| offered().next())
        .ok_or(SdpError::NoCandidate { from })?;
    let (ip, port) = (chosen.ip(), chosen.port());
    let mut out = String::with_capacity(sdp.len() + 64);
    // In every section: some readers look only at the first, some only at the tagged one.
    let mut placed = true;
    for line in sdp.lines() {
        if line.starts_with("m=") {
            placed = false;
        }
        if line.starts_with("a=candidate:") {
            if !placed {
                placed = true;
                out.push_str(&format!("a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\n"));
            }
            continue;
        }
        out.push_str(line);
        out.push_str("\r\n");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ANSWER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n\
        a=candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype passive\r\na=candidate:2 1 udp 2 fe80::1 8189 typ host\r\n\
        a=candidate:3 1 UDP 2 10.0.0.1 8189 typ host\r\na=candidate:4 1 udp 2 127.0.0.1 8189 typ host\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\na=rtpmap:102 H264/90000\r\na=rtpmap:103 rtx/90000\r\n\
        a=extmap:4/recvonly http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=rtpmap:x bad\r\na=rtpmap:300 H264/90000\r\n";

    #[test]
    fn types_and_extension_are_found() {
        let agreed = Agreed::read(ANSWER);
        assert_eq!(agreed.transport_id, Some(4));
        assert_eq!(agreed.carries(102), Some(Carries::Video));
        assert_eq!(agreed.carries(103), Some(Carries::Repair));
        assert_eq!(agreed.carries(111), Some(Carries::Audio));
        assert_eq!(agreed.carries(96), None);
        assert_eq!(Agreed::read("nothing"), Agreed::default());
    }

    #[test]
    fn one_candidate_is_left_of_the_senders_kind() {
        let sdp = one_candidate(ANSWER, "127.64.0.1".parse().unwrap()).unwrap();
        assert_eq!(sdp.matches("a=candidate").count(), 1);
        assert!(sdp.contains("127.0.0.1 8189 typ host\r\nm=video"));
        let sdp = one_candidate(ANSWER, "10.0.0.9".parse().unwrap()).unwrap();
        assert!(sdp.contains("udp 2130706431 10.0.0.1 8189 typ host"), "{sdp}");
        let none = one_candidate("v=0\r\n", "10.0.0.9".parse().unwrap()).unwrap_err();
        assert!(none.to_string().contains("IPv4"), "{none}");
    }
}
