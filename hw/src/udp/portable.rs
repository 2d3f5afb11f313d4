//! The engine without io_uring: `recvmmsg`, `sendmmsg`, and `ppoll` over socket and waker.

use super::address::{CONTROL_LEN, Control, NAME_LEN, Name, decode, destination};
use super::send::{Outbox, is_peer_error, no_message};
use super::{Datagram, FlushStats, MAX_BATCH, Stats, UdpConfig, UdpError, Waker, Wakeup};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// Datagrams a system call.
const BATCH: usize = 64;

#[derive(Debug)]
pub(super) struct Portable {
    slots: Slots,
    outbox: Outbox,
    /// The last receive took everything there was.
    emptied: bool,
    /// errno a run of the flush under way; 0 for success.
    errors: Vec<i32>,
}

/// What one `recvmmsg` writes into.
struct Slots {
    stride: usize,
    payloads: Box<[u8]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    pieces: Box<[libc::iovec]>,
    messages: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers inside point into boxes of the same `Slots`, whose contents never move,
// are written before every system call, and nothing else holds them.
unsafe impl Send for Slots {}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots").field("count", &self.messages.len()).finish_non_exhaustive()
    }
}

impl Portable {
    pub(super) fn new(cfg: &UdpConfig, outbox: Outbox) -> Self {
        let count = usize::from(cfg.recv_buffers).clamp(1, BATCH);
        let stride = cfg.buffer_len.max(1);
        let piece = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        let slots = Slots {
            stride,
            payloads: vec![0; count * stride].into_boxed_slice(),
            names: vec![Name::EMPTY; count].into_boxed_slice(),
            controls: vec![Control::EMPTY; count].into_boxed_slice(),
            pieces: vec![piece; count].into_boxed_slice(),
            messages: vec![no_message(); count].into_boxed_slice(),
        };
        Self { slots, outbox, emptied: false, errors: Vec::with_capacity(super::send::MAX_RUNS) }
    }

    pub(super) fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    pub(super) fn wait(
        &mut self,
        socket: &UdpSocket,
        local: SocketAddr,
        waker: &Waker,
        timeout: Duration,
        stats: &mut Stats,
        on: &mut dyn FnMut(Datagram<'_>),
    ) -> Result<Wakeup, UdpError> {
        let mut wakeup = Wakeup { datagrams: 0, woken: waker.take() };
        // A wake must not wait for the poll below. And under load there is something more to
        // receive, and the poll is saved.
        if wakeup.woken || !self.emptied {
            wakeup.datagrams = self.receive(socket, local, stats, on)?;
            if wakeup != Wakeup::default() {
                return Ok(wakeup);
            }
        }
        let (socket_fd, waker_fd) = (socket.as_fd(), waker.as_fd());
        let mut polled =
            [PollFd::new(socket_fd, PollFlags::POLLIN), PollFd::new(waker_fd, PollFlags::POLLIN)];
        stats.syscalls += 1;
        match ppoll(&mut polled, Some(timespec(timeout)), None) {
            Ok(0) | Err(Errno::EINTR) => return Ok(wakeup),
            Ok(_) => {}
            Err(errno) => return Err(UdpError::io("ppoll")(errno)),
        }
        wakeup.woken = waker.take();
        wakeup.datagrams = self.receive(socket, local, stats, on)?;
        Ok(wakeup)
    }

    fn receive(
        &mut self,
        socket: &UdpSocket,
        local: SocketAddr,
        stats: &mut Stats,
        on: &mut dyn FnMut(Datagram<'_>),
    ) -> Result<usize, UdpError> {
        let mut delivered = 0;
        self.emptied = false;
        for _ in 0..(MAX_BATCH / self.slots.messages.len()).max(1) {
            let messages = self.slots.prepare();
            let room = messages.len();
            stats.syscalls += 1;
            // SAFETY: `prepare` made every header point at its own name, control and payload slot
            // with their true sizes; all are owned by `self.slots`, which is borrowed mutably for
            // the call, and the kernel keeps no pointer after it.
            let count = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    messages.as_mut_ptr(),
                    room as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
            };
            let Ok(count) = usize::try_from(count) else {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EINTR) => {
                        self.emptied = true;
                        break;
                    }
                    // About a packet of ours, told once.
                    Some(errno) if is_peer_error(errno) => continue,
                    _ => return Err(UdpError::io("recvmmsg")(error)),
                }
            };
            for i in 0..count {
                delivered += usize::from(self.slots.deliver(i, local, stats, on));
            }
            if count < room {
                self.emptied = true;
                break;
            }
        }
        Ok(delivered)
    }

    /// Sends what is in the outbox, each run tried once.
    pub(super) fn flush(&mut self, socket: &UdpSocket, stats: &mut Stats) -> FlushStats {
        self.errors.clear();
        let messages = self.outbox.messages();
        while self.errors.len() < messages.len() {
            let Some(rest) = messages.get_mut(self.errors.len()..) else {
                break;
            };
            stats.syscalls += 1;
            // SAFETY: the outbox made every header point at name, control and bytes it owns and
            // leaves alone while `messages` borrows it; sendmmsg reads them and writes `msg_len`.
            let count = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            match usize::try_from(count) {
                Ok(count) => self.errors.resize(self.errors.len() + count.max(1), 0),
                // About the first of the rest only.
                Err(_) => match io::Error::last_os_error().raw_os_error() {
                    Some(libc::EINTR) => {}
                    errno => self.errors.push(errno.unwrap_or(libc::EIO)),
                },
            }
        }
        self.outbox.settle(socket, &self.errors, stats)
    }
}

impl Slots {
    /// Points every header at its slots.
    fn prepare(&mut self) -> &mut [libc::mmsghdr] {
        let each = self.payloads.chunks_exact_mut(self.stride);
        let names = self.names.iter_mut().zip(self.controls.iter_mut());
        for (((message, piece), (name, control)), payload) in
            self.messages.iter_mut().zip(self.pieces.iter_mut()).zip(names).zip(each)
        {
            *piece = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
            let header = &mut message.msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = NAME_LEN as libc::socklen_t;
            header.msg_iov = &raw mut *piece;
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut *control).cast();
            header.msg_controllen = CONTROL_LEN as _;
            header.msg_flags = 0;
        }
        &mut self.messages
    }

    /// Hands out slot `i`, filled by the last `recvmmsg`; tells whether it did.
    fn deliver(
        &mut self,
        i: usize,
        local: SocketAddr,
        stats: &mut Stats,
        on: &mut dyn FnMut(Datagram<'_>),
    ) -> bool {
        let (Some(message), Some(name), Some(control)) =
            (self.messages.get(i), self.names.get(i), self.controls.get(i))
        else {
            return false;
        };
        let (header, len) = (&message.msg_hdr, message.msg_len as usize);
        if header.msg_flags & libc::MSG_TRUNC != 0 {
            stats.truncated += 1;
            return false;
        }
        let control = control.0.get(..header.msg_controllen).unwrap_or(&[]);
        let to = destination(control).unwrap_or(local.ip());
        let start = i * self.stride;
        let (Some(from), Some(payload)) =
            (decode(&name.0), self.payloads.get_mut(start..start + len))
        else {
            return false;
        };
        stats.received += 1;
        on(Datagram { from, to: SocketAddr::new(to, local.port()), payload });
        true
    }
}

/// At most a day: nobody waits longer, and the kernel's limits stay far away.
fn timespec(timeout: Duration) -> TimeSpec {
    TimeSpec::from_duration(timeout.min(Duration::from_secs(86_400)))
}
