//! Receive buffers the kernel picks from: a ring of provided buffers (io_uring_register(2),
//! `IORING_REGISTER_PBUF_RING`).
//!
//! A buffer belongs to the kernel while its id stands in the ring, and to us from the completion
//! that names it until it is given back. [`Lease`] is that second half.

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The one buffer group of a socket's ring.
pub(super) const GROUP: u16 = 0;

/// Buffers and the ring the kernel takes them from.
#[derive(Debug)]
pub(super) struct Buffers {
    /// `count` entries; the tail counter lies in the first one.
    ring: Pages,
    /// `count` times `stride` bytes.
    data: Pages,
    count: u16,
    stride: usize,
    /// Buffers ever given to the kernel, modulo 2^16.
    tail: u16,
}

/// Zeroed memory that starts on a page.
#[derive(Debug)]
struct Pages {
    at: NonNull<u8>,
    layout: Layout,
}

// SAFETY: `Pages` owns its allocation and hands out nothing; who dereferences it holds `Buffers`.
unsafe impl Send for Pages {}

impl Pages {
    fn new(len: usize) -> io::Result<Self> {
        // 64 KiB is the largest page of any Linux port we could run on, and asking is not needed.
        let layout = Layout::from_size_align(len.max(1), 65_536).map_err(io::Error::other)?;
        // SAFETY: the layout's size is not zero.
        let at = unsafe { alloc_zeroed(layout) };
        NonNull::new(at).map_or_else(|| handle_alloc_error(layout), |at| Ok(Self { at, layout }))
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, and freed only here.
        unsafe { dealloc(self.at.as_ptr(), self.layout) }
    }
}

impl Buffers {
    /// `count` buffers (a power of two up to 32768) of `stride` bytes.
    pub(super) fn new(count: u16, stride: usize) -> io::Result<Self> {
        if !count.is_power_of_two() || stride == 0 || u32::try_from(stride).is_err() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let entries = usize::from(count);
        Ok(Self {
            ring: Pages::new(entries * size_of::<BufRingEntry>())?,
            data: Pages::new(entries * stride)?,
            count,
            stride,
            tail: 0,
        })
    }

    /// Makes them the ring's buffer group, all of them the kernel's.
    ///
    /// # Safety
    /// `self` must outlive the registration: until `unregister_buf_ring` succeeded or the ring is
    /// closed, and every request that may take a buffer has completed.
    pub(super) unsafe fn register(&mut self, ring: &IoUring) -> io::Result<()> {
        // SAFETY: the address is page-aligned and `count` entries long; the caller keeps it.
        unsafe {
            let at = self.ring.at.as_ptr() as u64;
            ring.submitter().register_buf_ring_with_flags(at, self.count, GROUP, 0)?;
        }
        for id in 0..self.count {
            self.give(id);
        }
        Ok(())
    }

    /// Takes hold of buffer `id`, of which a completion told that the kernel filled `len` bytes.
    ///
    /// # Safety
    /// A completion must have named `id` since it was last given to the kernel, and no other lease
    /// of that completion may exist.
    pub(super) unsafe fn lease(&mut self, id: u16, len: usize) -> Option<Lease<'_>> {
        (id < self.count).then(|| Lease { len: len.min(self.stride), id, of: self })
    }

    /// Gives buffer `id` to the kernel.
    fn give(&mut self, id: u16) {
        let entries = self.ring.at.as_ptr().cast::<BufRingEntry>();
        let at = usize::from(self.tail & (self.count - 1));
        let addr = self.data.at.as_ptr() as u64 + (usize::from(id) * self.stride) as u64;
        // SAFETY: `at` is below `count`, the length of the ring in entries. The entry is ours: the
        // kernel reads entries between its head and the published tail only, and at most `count`
        // are ever published, since a buffer is given once for each time it was taken. The tail's
        // two bytes overlap the first entry's reserved field, which the setters leave alone.
        unsafe {
            let entry = &mut *entries.add(at);
            entry.set_addr(addr);
            entry.set_len(self.stride as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the pointer is the first entry of a live ring, so `tail` lies inside it, aligned
        // to two; the kernel reads it with acquire order while we write, so it must be atomic.
        unsafe {
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

/// A filled buffer; goes back to the kernel when dropped, also when the owner's callback panics.
pub(super) struct Lease<'a> {
    of: &'a mut Buffers,
    id: u16,
    len: usize,
}

impl Lease<'_> {
    /// The bytes the kernel wrote.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        let start = usize::from(self.id) * self.of.stride;
        // SAFETY: `id` is below `count` and `len` at most `stride` (`lease` saw to both), so the
        // range lies in `data`, which is initialised. The kernel does not touch it until `give`,
        // which needs the `&mut Buffers` this lease holds.
        unsafe { std::slice::from_raw_parts_mut(self.of.data.at.as_ptr().add(start), self.len) }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.of.give(self.id);
    }
}
