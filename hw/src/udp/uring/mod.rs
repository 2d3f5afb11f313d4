//! The engine on io_uring: one ring, entered only by the thread that owns the socket.
//!
//! Two requests are always in flight: a multishot `recvmsg` that takes a provided buffer for every
//! datagram, and a read of the waker's eventfd. Sends are in flight only inside `flush`: with
//! `MSG_DONTWAIT` they complete while they are submitted.
//!
//! A completion tells its request by `user_data`. Everything a request in flight points to is in
//! [`Memory`], which is freed only after the kernel said that no request is left.

mod buffers;
mod probe;

pub(super) use probe::explain;
pub use probe::uring_available;

use super::address::{CONTROL_LEN, NAME_LEN, decode, destination};
use super::send::{MAX_RUNS, Outbox, is_peer_error, no_message};
use super::{Datagram, FlushStats, MAX_BATCH, Stats, UdpConfig, UdpError, Waker, Wakeup};
use buffers::{Buffers, GROUP};
use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// Completions a busy socket waits for at once.
const BATCH: usize = 32;
/// How long a busy socket gathers them: the delay of a datagram that turns out to be alone.
const LINGER: Duration = Duration::from_micros(400);
/// A socket is busy while a wait yields so many datagrams. A quiet one hands each out at once.
const BUSY: usize = 4;
/// Room in the submission queue: a flush, and arming both receivers.
const ENTRIES: u32 = (MAX_RUNS * 2) as u32;

const SOCKET: Fixed = Fixed(0);
const EVENT: Fixed = Fixed(1);

const RECEIVE: u64 = 1 << 32;
const WAKE: u64 = 2 << 32;
const CANCEL: u64 = 3 << 32;
/// Plus the run's index.
const SEND: u64 = 4 << 32;
const KIND: u64 = !(u32::MAX as u64);

/// `struct io_uring_recvmsg_out`: lengths of name, control, payload, and flags, a u32 each. Name
/// and control follow in fields of the sizes asked for, then the payload (io_uring_prep_recvmsg(3)).
const OUT_LEN: usize = 16;
const PAYLOAD_AT: usize = OUT_LEN + NAME_LEN + CONTROL_LEN;

/// The engine.
pub(super) struct Uring {
    ring: IoUring,
    modes: Modes,
    /// The longest datagram taken.
    longest: usize,
    /// Whether the ring was enabled, which makes the calling thread its owner.
    started: bool,
    busy: bool,
    receiving: bool,
    listening: bool,
    cancelling: bool,
    /// Runs whose completion is still to come.
    sending: usize,
    /// errno a run of the flush under way; 0 for success.
    errors: Vec<i32>,
    /// Buffers that were filled and not handed out yet, with the length of what is in them.
    arrived: VecDeque<(u16, usize)>,
    woken: bool,
    fault: Option<io::Error>,
    memory: ManuallyDrop<Memory>,
}

/// What requests in flight point to. The boxes and pages stay in place when this moves.
struct Memory {
    buffers: Buffers,
    receive: Box<UnsafeCell<libc::msghdr>>,
    wake: Box<UnsafeCell<u64>>,
    outbox: Outbox,
}

// SAFETY: `receive` holds null pointers only, and it and `wake` are accessed by the kernel and by
// whoever holds `&mut Uring`; nothing here depends on the thread.
unsafe impl Send for Memory {}

/// What the kernel granted.
#[derive(Clone, Copy, Debug, Default)]
struct Modes {
    /// One wait can gather for a while and then take the first that comes (Linux 6.12).
    min_wait: bool,
    /// The ring was made disabled, so that the thread that starts it owns it.
    disabled: bool,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("modes", &self.modes).finish_non_exhaustive()
    }
}

impl Uring {
    /// A ring that receives from `socket` and listens to `waker`, which must be a blocking one.
    pub(super) fn new(
        socket: BorrowedFd<'_>,
        waker: &Waker,
        cfg: &UdpConfig,
        outbox: Outbox,
    ) -> io::Result<Self> {
        let count = cfg.recv_buffers.clamp(8, 1 << 15).next_power_of_two();
        // Every buffer can be in a completion nobody reaped yet, beside a flush's.
        let (ring, modes) = build(u32::from(count) + ENTRIES * 2)?;
        ring.submitter().register_files(&[socket.as_raw_fd(), waker.as_fd().as_raw_fd()])?;
        let stride = (PAYLOAD_AT + cfg.buffer_len.max(1)).next_multiple_of(64);
        let mut receive = no_message().msg_hdr;
        receive.msg_namelen = NAME_LEN as libc::socklen_t;
        receive.msg_controllen = CONTROL_LEN as _;
        let mut memory = Memory {
            buffers: Buffers::new(count, stride)?,
            receive: Box::new(UnsafeCell::new(receive)),
            wake: Box::new(UnsafeCell::new(0)),
            outbox,
        };
        // SAFETY: `drop` frees the memory only after every request has completed and the group was
        // unregistered; before this function returns no request exists, and the ring closes first.
        unsafe { memory.buffers.register(&ring)? };
        Ok(Self {
            ring,
            modes,
            longest: cfg.buffer_len,
            started: false,
            busy: false,
            receiving: false,
            listening: false,
            cancelling: false,
            sending: 0,
            errors: Vec::with_capacity(MAX_RUNS),
            arrived: VecDeque::with_capacity(usize::from(count)),
            woken: false,
            fault: None,
            memory: ManuallyDrop::new(memory),
        })
    }

    pub(super) fn outbox(&mut self) -> &mut Outbox {
        &mut self.memory.outbox
    }

    pub(super) fn wait(
        &mut self,
        local: SocketAddr,
        waker: &Waker,
        timeout: Duration,
        stats: &mut Stats,
        on: &mut dyn FnMut(Datagram<'_>),
    ) -> Result<Wakeup, UdpError> {
        // A flush may have met completions of ours: they come first.
        if self.arrived.is_empty() && !self.woken {
            self.gather(timeout, stats)?;
        }
        if let Some(source) = self.fault.take() {
            return Err(UdpError::Io { call: "io_uring recvmsg", source });
        }
        self.busy = self.arrived.len() >= BUSY;
        let mut wakeup = Wakeup { datagrams: 0, woken: std::mem::take(&mut self.woken) };
        if wakeup.woken {
            waker.acknowledge();
        }
        for _ in 0..MAX_BATCH {
            let Some((id, len)) = self.arrived.pop_front() else { break };
            // SAFETY: `reap` put the id here when a completion named it, once, and it was popped.
            let Some(mut lease) = (unsafe { self.memory.buffers.lease(id, len) }) else { continue };
            match read(lease.bytes(), self.longest, local) {
                Some(Arrival::Datagram(datagram)) => {
                    stats.received += 1;
                    wakeup.datagrams += 1;
                    on(datagram);
                }
                Some(Arrival::Truncated) => stats.truncated += 1,
                None => {}
            }
        }
        Ok(wakeup)
    }

    /// Enters the kernel until something arrived, the waker fired or `timeout` passed.
    fn gather(&mut self, timeout: Duration, stats: &mut Stats) -> Result<(), UdpError> {
        self.start()?;
        self.arm(stats)?;
        let timeout = timeout.min(Duration::from_secs(86_400));
        let (want, linger) =
            if self.busy { (BATCH, LINGER.min(timeout)) } else { (1, Duration::ZERO) };
        if want == 1 || self.modes.min_wait {
            self.enter(want, timeout, linger, stats)?;
            self.reap(stats);
            return Ok(());
        }
        self.enter(1, timeout, Duration::ZERO, stats)?;
        self.reap(stats);
        let missing = BATCH.saturating_sub(self.arrived.len());
        if !self.arrived.is_empty() && !self.woken && missing > 0 {
            self.enter(missing, linger, Duration::ZERO, stats)?;
            self.reap(stats);
        }
        Ok(())
    }

    /// Sends what is in the outbox, each run tried once.
    pub(super) fn flush(
        &mut self,
        socket: &UdpSocket,
        stats: &mut Stats,
    ) -> Result<FlushStats, UdpError> {
        self.start()?;
        if self.memory.outbox.is_lent() {
            // `enter` failed in an earlier flush, and the kernel may still read the outbox.
            self.finish_sends(stats)?;
            return Ok(self.memory.outbox.settle(socket, &self.errors, stats));
        }
        let messages = self.memory.outbox.messages();
        self.errors.clear();
        self.errors.resize(messages.len(), 0);
        {
            let mut queue = self.ring.submission();
            for (i, message) in messages.iter().enumerate() {
                let request = opcode::SendMsg::new(SOCKET, &raw const message.msg_hdr)
                    .flags(libc::MSG_DONTWAIT as u32)
                    .build()
                    .user_data(SEND | i as u64);
                // SAFETY: the header, and what the outbox made it point to, is in `memory` and is
                // left alone until `finish_sends` saw the completion of every run.
                let pushed = unsafe { queue.push(&request) };
                if pushed.is_err() {
                    // The queue has room for two flushes; still, no run may be counted twice.
                    self.errors[i] = libc::ENOBUFS;
                } else {
                    self.sending += 1;
                }
            }
        }
        self.finish_sends(stats)?;
        Ok(self.memory.outbox.settle(socket, &self.errors, stats))
    }

    /// Submits what is queued and returns when no send is in flight.
    fn finish_sends(&mut self, stats: &mut Stats) -> Result<(), UdpError> {
        // The first turn submits, and the sends are done by then; the others are for completions
        // behind a full queue, and for signals. Each waits for a completion at most a second.
        let mut turns = 0;
        while self.sending > 0 {
            if turns == 64 {
                let source = io::Error::from(io::ErrorKind::TimedOut);
                return Err(UdpError::Io { call: "io_uring sendmsg", source });
            }
            let (want, timeout) = if turns == 0 { (0, 0) } else { (1, 1) };
            self.enter(want, Duration::from_secs(timeout), Duration::ZERO, stats)?;
            self.reap(stats);
            turns += 1;
        }
        Ok(())
    }

    /// Makes the calling thread the ring's owner, the first time.
    fn start(&mut self) -> Result<(), UdpError> {
        if !self.started {
            if self.modes.disabled {
                self.ring
                    .submitter()
                    .register_enable_rings()
                    .map_err(UdpError::io("io_uring_register"))?;
            }
            self.started = true;
        }
        Ok(())
    }

    /// Queues the two standing requests where they are not in flight.
    fn arm(&mut self, stats: &mut Stats) -> Result<(), UdpError> {
        if !self.receiving {
            let header = self.memory.receive.get().cast_const();
            let request =
                opcode::RecvMsgMulti::new(SOCKET, header, GROUP).build().user_data(RECEIVE);
            // SAFETY: the header is in `memory`, and so are the group's buffers.
            unsafe { self.push(&request, stats)? };
            self.receiving = true;
        }
        if !self.listening {
            let into = self.memory.wake.get().cast();
            let request =
                opcode::Read::new(EVENT, into, size_of::<u64>() as u32).build().user_data(WAKE);
            // SAFETY: the eight bytes are in `memory`, and only this request uses them.
            unsafe { self.push(&request, stats)? };
            self.listening = true;
        }
        Ok(())
    }

    /// Queues a request, submitting those before it if there is no room.
    ///
    /// # Safety
    /// What the request points to must be in `self.memory`, and stay unchanged until it completes.
    unsafe fn push(&mut self, request: &squeue::Entry, stats: &mut Stats) -> Result<(), UdpError> {
        // SAFETY: the caller's promise.
        if unsafe { self.ring.submission().push(request) }.is_err() {
            self.enter(0, Duration::ZERO, Duration::ZERO, stats)?;
            // SAFETY: the caller's promise.
            unsafe { self.ring.submission().push(request) }
                .map_err(|full| UdpError::io("io_uring_enter")(io::Error::other(full)))?;
        }
        Ok(())
    }

    /// Submits and waits for `want` completions, no longer than `timeout`; with `linger`, takes
    /// less after that time.
    fn enter(
        &mut self,
        want: usize,
        timeout: Duration,
        linger: Duration,
        stats: &mut Stats,
    ) -> Result<(), UdpError> {
        stats.syscalls += 1;
        let entered = if want == 0 {
            self.ring.submit()
        } else {
            let timeout = Timespec::from(timeout);
            let args =
                SubmitArgs::new().timespec(&timeout).min_wait_usec(linger.as_micros() as u32);
            self.ring.submitter().submit_with_args(want, &args)
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // EBUSY and EAGAIN: completions must be reaped first, and the caller does.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                Some(libc::EEXIST) => Err(UdpError::WrongThread),
                _ => Err(UdpError::io("io_uring_enter")(error)),
            },
        }
    }

    /// Takes the completions that are there.
    fn reap(&mut self, stats: &mut Stats) {
        for done in self.ring.completion() {
            let (tag, result) = (done.user_data(), done.result());
            match tag & KIND {
                RECEIVE => {
                    // A filled buffer comes with a length; a failed receive takes none.
                    if let Some(id) = cqueue::buffer_select(done.flags()) {
                        self.arrived.push_back((id, result.max(0) as usize));
                    }
                    if !cqueue::more(done.flags()) {
                        self.receiving = false;
                        stats.rearms += 1;
                    }
                    match -result {
                        libc::ENOBUFS => stats.enobufs += 1,
                        ..=0 | libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                        error if is_peer_error(error) => {}
                        error => self.fault = Some(io::Error::from_raw_os_error(error)),
                    }
                }
                WAKE => {
                    self.listening = false;
                    self.woken |= result > 0;
                }
                CANCEL => self.cancelling = false,
                _ => {
                    self.sending = self.sending.saturating_sub(1);
                    if let Some(error) = self.errors.get_mut((tag & !KIND) as usize) {
                        *error = if result < 0 { -result } else { 0 };
                    }
                }
            }
        }
    }

    /// Cancels what is in flight and waits for it; tells whether nothing is left.
    fn drain(&mut self) -> bool {
        if !self.started {
            return true;
        }
        let mut stats = Stats::default();
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(CANCEL);
        // SAFETY: the request points to nothing.
        if unsafe { self.push(&cancel, &mut stats) }.is_err() {
            return false;
        }
        self.cancelling = true;
        // Cancelling takes one turn; the bound is there so that a drop always ends.
        for _ in 0..50 {
            if self.enter(1, Duration::from_millis(20), Duration::ZERO, &mut stats).is_err() {
                return false;
            }
            self.reap(&mut stats);
            if !(self.receiving || self.listening || self.cancelling || self.sending > 0) {
                return true;
            }
        }
        false
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if self.drain() {
            let submitter = self.ring.submitter();
            // The kernel tears a closed ring down in its own time; without this the port would
            // stay taken for a while.
            let files = submitter.unregister_files();
            let buffers = submitter.unregister_buf_ring(GROUP);
            if let Err(error) = files.and(buffers) {
                tracing::debug!(%error, "io_uring did not give the socket back at once");
            }
            // SAFETY: dropped here only, and `self` is not used after. No request is in flight, so
            // the kernel touches this memory no more.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        } else {
            tracing::warn!(
                "a UDP socket was dropped on a thread that does not own it: its buffers are kept, \
                 since the kernel may still write to them"
            );
        }
    }
}

enum Arrival<'a> {
    Datagram(Datagram<'a>),
    Truncated,
}

/// Takes apart what a multishot `recvmsg` wrote into a buffer.
fn read(bytes: &mut [u8], longest: usize, local: SocketAddr) -> Option<Arrival<'_>> {
    let (head, payload) = bytes.split_at_mut_checked(PAYLOAD_AT)?;
    let word = |at: usize| Some(u32::from_ne_bytes(*head.get(at..)?.first_chunk()?));
    let (control_len, payload_len, flags) = (word(4)? as usize, word(8)? as usize, word(12)?);
    // The buffer is rounded up, so it may hold a little more than was asked for.
    if flags & libc::MSG_TRUNC as u32 != 0 || payload_len > longest {
        return Some(Arrival::Truncated);
    }
    let from = decode(head.get(OUT_LEN..OUT_LEN + NAME_LEN)?)?;
    let control = head.get(OUT_LEN + NAME_LEN..)?;
    let control = control.get(..control_len.min(control.len()))?;
    let to = destination(control).unwrap_or(local.ip());
    let payload = payload.get_mut(..payload_len)?;
    Some(Arrival::Datagram(Datagram { from, to: SocketAddr::new(to, local.port()), payload }))
}

/// A ring with the best modes the kernel has.
fn build(completions: u32) -> io::Result<(IoUring, Modes)> {
    // Linux 6.1: completions are worked on only when their owner enters, so no interrupts and no
    // locks. 6.0: at least no interrupts. What is older has no multishot recvmsg anyhow.
    let best = || {
        #[cfg(test)]
        if super::tests::OLD_KERNEL.get() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_r_disabled()
            .dontfork()
            .setup_clamp()
            .setup_cqsize(completions)
            .build(ENTRIES)
    };
    let (ring, disabled) = match best() {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let plain = IoUring::builder()
                .setup_coop_taskrun()
                .setup_submit_all()
                .dontfork()
                .setup_clamp()
                .setup_cqsize(completions)
                .build(ENTRIES)?;
            (plain, false)
        }
        other => (other?, true),
    };
    if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // It needs the owner's own wake-ups, so it is no use without the best modes.
    let modes = Modes { min_wait: disabled && ring.params().is_feature_min_timeout(), disabled };
    Ok((ring, modes))
}
