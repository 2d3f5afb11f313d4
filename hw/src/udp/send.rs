//! Packets waiting to leave, gathered into runs that UDP GSO sends with one system call's work.
//!
//! A run is consecutive packets to one peer from one address, equal in size but for the last,
//! which may be shorter: exactly what `UDP_SEGMENT` cuts one buffer into (udp(7)). The packets are
//! copied one behind the other, so a run is one piece of memory.

use super::address::{CONTROL_LEN, Control, Family, Name};
use super::{FlushStats, Stats, Transmit};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

/// Runs that fit between two flushes.
pub(super) const MAX_RUNS: usize = 64;
/// Bytes that fit between two flushes.
const ARENA: usize = 512 * 1024;
/// The kernel's `UDP_MAX_SEGMENTS` was 64 until Linux 6.9.
const MAX_SEGMENTS: usize = 64;
/// What one send may carry: 65535 less the larger of the two IP headers and the UDP header.
const MAX_PAYLOAD: usize = 65_535 - 40 - 8;

/// Whether a packet found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    Yes,
    /// Flush first.
    Full,
    /// No socket of this family sends that.
    Never,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    to: SocketAddr,
    from: Option<IpAddr>,
    /// Where it lies in the arena.
    start: usize,
    len: usize,
    /// Size of all its packets but perhaps the last.
    segment: usize,
    packets: usize,
    /// A shorter packet ended it.
    closed: bool,
}

/// Packets waiting to leave, and the memory the kernel reads them from.
#[derive(Debug)]
pub(super) struct Outbox {
    family: Family,
    arena: Box<[u8]>,
    used: usize,
    runs: Vec<Run>,
    gso: Gso,
    frames: Frames,
    /// Headers were handed out and not settled: the kernel may still read all of this.
    lent: bool,
}

/// The longest segment GSO is used for; 0 is none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gso(usize);

/// Message headers for the runs of one flush. They point into each other and into the arena, and
/// are written anew for every flush.
struct Frames {
    names: Box<[Name]>,
    controls: Box<[Control]>,
    pieces: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers inside point at heap memory owned by the same `Outbox` (its boxes never
// move their contents), are written before every use, and nothing else holds them.
unsafe impl Send for Frames {}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("room", &self.messages.len()).finish_non_exhaustive()
    }
}

impl Outbox {
    /// An outbox for `socket`; asks the kernel whether it knows UDP GSO.
    pub(super) fn new(socket: &UdpSocket) -> Self {
        let family = match socket.local_addr() {
            Ok(SocketAddr::V4(_)) => Family::V4,
            _ => Family::V6,
        };
        // A kernel that does not know the option ignores the control message and would send the
        // whole run as one datagram.
        let gso = if knows_gso(socket.as_raw_fd()) { Gso(MAX_PAYLOAD) } else { Gso(0) };
        Self::with_room(family, gso, ARENA)
    }

    /// An outbox that takes nothing, for a ring that only receives.
    pub(super) fn none() -> Self {
        Self::with_room(Family::V4, Gso(0), 0)
    }

    fn with_room(family: Family, gso: Gso, arena: usize) -> Self {
        Self {
            family,
            arena: vec![0; arena].into_boxed_slice(),
            used: 0,
            runs: Vec::with_capacity(MAX_RUNS),
            gso,
            frames: Frames {
                names: vec![Name::EMPTY; MAX_RUNS].into_boxed_slice(),
                controls: vec![Control::EMPTY; MAX_RUNS].into_boxed_slice(),
                pieces: vec![NO_PIECE; MAX_RUNS].into_boxed_slice(),
                messages: vec![no_message(); MAX_RUNS].into_boxed_slice(),
            },
            lent: false,
        }
    }

    /// Copies a packet in.
    pub(super) fn push(&mut self, packet: &Transmit<'_>) -> Queued {
        let len = packet.payload.len();
        let reachable = self.family == Family::V6 || packet.to.is_ipv4();
        if len > MAX_PAYLOAD || !reachable {
            return Queued::Never;
        }
        if self.lent {
            return Queued::Full;
        }
        let Some(room) = self.arena.get_mut(self.used..self.used + len) else {
            return Queued::Full;
        };
        if let Some(run) = self.runs.last_mut()
            && run.takes(packet, self.gso)
        {
            run.len += len;
            run.packets += 1;
            run.closed = len < run.segment;
        } else if self.runs.len() < MAX_RUNS {
            self.runs.push(Run {
                to: packet.to,
                from: packet.from,
                start: self.used,
                len,
                segment: len,
                packets: 1,
                closed: false,
            });
        } else {
            return Queued::Full;
        }
        room.copy_from_slice(packet.payload);
        self.used += len;
        Queued::Yes
    }

    /// Whether [`Outbox::messages`] was called without a [`Outbox::settle`] after it.
    pub(super) fn is_lent(&self) -> bool {
        self.lent
    }

    /// Headers for the waiting runs, one each, in order. They and what they point to stay in place
    /// and unchanged until [`Outbox::settle`]; nothing is taken in before that.
    pub(super) fn messages(&mut self) -> &mut [libc::mmsghdr] {
        self.lent = true;
        let arena = self.arena.as_mut_ptr();
        for (i, run) in self.runs.iter().enumerate() {
            let segment = (run.packets > 1).then_some(run.segment as u16);
            // `push` let no peer in that cannot be encoded.
            let (name, name_len) = Name::encode(run.to, self.family).unwrap_or((Name::EMPTY, 0));
            let (control, control_len) = Control::encode(run.to, run.from, segment);
            self.frames.names[i] = name;
            self.frames.controls[i] = control;
            self.frames.pieces[i] = libc::iovec {
                // SAFETY: `push` only makes runs inside the arena, so the offset is in bounds.
                iov_base: unsafe { arena.add(run.start) }.cast(),
                iov_len: run.len,
            };
            let header = &mut self.frames.messages[i].msg_hdr;
            header.msg_name = (&raw mut self.frames.names[i]).cast();
            header.msg_namelen = name_len as libc::socklen_t;
            header.msg_iov = &raw mut self.frames.pieces[i];
            header.msg_iovlen = 1;
            header.msg_control = match control_len {
                0 => std::ptr::null_mut(),
                _ => (&raw mut self.frames.controls[i]).cast(),
            };
            header.msg_controllen = control_len as _;
        }
        &mut self.frames.messages[..self.runs.len()]
    }

    /// Counts what became of the runs, sends those again packet by packet whose GSO send the
    /// kernel refused, and forgets them all. `errors` holds an errno a run, 0 for success.
    pub(super) fn settle(
        &mut self,
        socket: &UdpSocket,
        errors: &[i32],
        stats: &mut Stats,
    ) -> FlushStats {
        let mut done = FlushStats::default();
        for (run, &error) in self.runs.iter().zip(errors) {
            match error {
                0 => {
                    done.sent += run.packets;
                    stats.gso_runs += u64::from(run.packets > 1);
                }
                libc::EIO | libc::EINVAL | libc::EMSGSIZE if run.packets > 1 => {
                    let bytes = self.arena.get(run.start..run.start + run.len).unwrap_or(&[]);
                    let one_by_one =
                        send_singly(socket.as_raw_fd(), run, self.family, bytes, stats);
                    // Only if single packets do leave was it GSO that the kernel refused.
                    if one_by_one.sent > 0 {
                        self.gso.refused(error, run.segment);
                    }
                    done.sent += one_by_one.sent;
                    done.dropped += one_by_one.dropped;
                }
                // An ICMP error of an earlier packet, reported on this one instead of sending it.
                error if is_peer_error(error) => {
                    let bytes = self.arena.get(run.start..run.start + run.len).unwrap_or(&[]);
                    let one_by_one =
                        send_singly(socket.as_raw_fd(), run, self.family, bytes, stats);
                    done.sent += one_by_one.sent;
                    done.dropped += one_by_one.dropped;
                }
                _ => done.dropped += run.packets,
            }
        }
        self.runs.clear();
        self.used = 0;
        self.lent = false;
        stats.sent += done.sent as u64;
        stats.dropped_send += done.dropped as u64;
        done
    }
}

impl Run {
    fn takes(&self, packet: &Transmit<'_>, gso: Gso) -> bool {
        let len = packet.payload.len();
        !self.closed
            && self.to == packet.to
            && self.from == packet.from
            && (1..=self.segment).contains(&len)
            && self.segment <= gso.0
            && self.packets < MAX_SEGMENTS
            && self.len + len <= MAX_PAYLOAD
    }
}

impl Gso {
    /// The kernel refused a run with `error` whose packets leave singly.
    fn refused(&mut self, error: i32, segment: usize) {
        // EIO: the interface computes no checksums, so never (udp_send_skb). EINVAL and EMSGSIZE:
        // the segment does not fit the path's MTU; single packets are fragmented instead.
        self.0 = if error == libc::EIO { 0 } else { self.0.min(segment.saturating_sub(1)) };
        tracing::debug!(error, segment, longest = self.0, "UDP GSO refused: shorter runs from now");
    }
}

/// Errors that an ICMP answer to an earlier packet leaves on the socket (`icmp_err_convert`).
pub(super) fn is_peer_error(error: i32) -> bool {
    matches!(
        error,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EPROTO
            | libc::EOPNOTSUPP
            | libc::EACCES
    )
}

const NO_PIECE: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// A message header that points nowhere.
pub(super) fn no_message() -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is integers and pointers; all zero is a valid value (null pointers with
    // lengths of zero).
    unsafe { std::mem::zeroed() }
}

fn knows_gso(fd: RawFd) -> bool {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the size of `value`, and both outlive the call.
    let rc = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    rc == 0
}

/// Sends a run's packets one by one.
fn send_singly(
    fd: RawFd,
    run: &Run,
    family: Family,
    bytes: &[u8],
    stats: &mut Stats,
) -> FlushStats {
    let mut done = FlushStats::default();
    let Some((mut name, name_len)) = Name::encode(run.to, family) else {
        return FlushStats { sent: 0, dropped: run.packets };
    };
    let (mut control, control_len) = Control::encode(run.to, run.from, None);
    debug_assert!(control_len <= CONTROL_LEN);
    for at in (0..run.packets).map(|i| i * run.segment) {
        let packet = bytes.get(at..(at + run.segment).min(bytes.len())).unwrap_or(&[]);
        let mut piece =
            libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        let mut message = no_message().msg_hdr;
        message.msg_name = (&raw mut name).cast();
        message.msg_namelen = name_len as libc::socklen_t;
        message.msg_iov = &raw mut piece;
        message.msg_iovlen = 1;
        if control_len > 0 {
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = control_len as _;
        }
        // Twice: the first may only deliver an earlier packet's ICMP error.
        let sent = (0..2).any(|_| {
            stats.syscalls += 1;
            // SAFETY: `message` points at `name`, `piece` and `control`, which live and stay put
            // for the call, with their true lengths; sendmsg only reads what they point to.
            unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT) >= 0 }
        });
        if sent { done.sent += 1 } else { done.dropped += 1 }
    }
    done
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn outbox() -> Outbox {
        let mut outbox = Outbox::new(&UdpSocket::bind("127.0.0.1:0").unwrap());
        outbox.gso = Gso(MAX_PAYLOAD); // whatever this kernel knows: nothing is sent here
        outbox
    }

    fn packet(port: u16, payload: &[u8]) -> Transmit<'_> {
        Transmit { to: SocketAddr::from(([127, 0, 0, 1], port)), from: None, payload }
    }

    fn shapes(outbox: &Outbox) -> Vec<(usize, usize, usize)> {
        outbox.runs.iter().map(|run| (run.packets, run.segment, run.len)).collect()
    }

    #[test]
    fn equal_packets_to_one_peer_become_one_run_that_a_shorter_one_ends() {
        let mut outbox = outbox();
        for (port, len) in [(1, 100), (1, 100), (1, 60), (1, 60), (2, 60), (1, 60), (1, 61)] {
            assert_eq!(outbox.push(&packet(port, &vec![7; len])), Queued::Yes);
        }
        let expected = [(3, 100, 260), (1, 60, 60), (1, 60, 60), (1, 60, 60), (1, 61, 61)];
        assert_eq!(shapes(&outbox), expected);
    }

    #[test]
    fn a_run_ends_at_64_packets_and_before_64_kib() {
        let mut outbox = outbox();
        for _ in 0..65 {
            outbox.push(&packet(1, &[0; 10]));
        }
        for _ in 0..60 {
            outbox.push(&packet(2, &[0; 1200]));
        }
        let shapes = shapes(&outbox);
        assert_eq!(shapes[..2], [(64, 10, 640), (1, 10, 10)]);
        assert_eq!(shapes[2], (54, 1200, 54 * 1200));
        assert_eq!(shapes[3], (6, 1200, 6 * 1200));
    }

    #[test]
    fn empty_packets_stand_alone_and_impossible_ones_are_refused() {
        let mut outbox = outbox();
        assert_eq!(outbox.push(&packet(1, &[])), Queued::Yes);
        assert_eq!(outbox.push(&packet(1, &[])), Queued::Yes);
        assert_eq!(outbox.push(&packet(1, &vec![0; MAX_PAYLOAD + 1])), Queued::Never);
        let six = Transmit { to: "[::1]:9".parse().unwrap(), from: None, payload: &[1] };
        assert_eq!(outbox.push(&six), Queued::Never);
        assert_eq!(shapes(&outbox), [(1, 0, 0), (1, 0, 0)]);
    }

    #[test]
    fn a_full_outbox_says_so_and_keeps_what_it_has() {
        let mut outbox = outbox();
        for i in 0..MAX_RUNS {
            assert_eq!(outbox.push(&packet(i as u16 + 1, &[1; 9])), Queued::Yes);
        }
        assert_eq!(outbox.push(&packet(999, &[1; 9])), Queued::Full);
        assert_eq!(outbox.runs.len(), MAX_RUNS);
    }

    #[test]
    fn a_refused_segment_size_is_not_tried_again_and_eio_ends_gso() {
        let mut gso = Gso(MAX_PAYLOAD);
        gso.refused(libc::EINVAL, 1400);
        assert_eq!(gso, Gso(1399));
        gso.refused(libc::EINVAL, 1450);
        assert_eq!(gso, Gso(1399));
        gso.refused(libc::EIO, 100);
        assert_eq!(gso, Gso(0));
    }
}
