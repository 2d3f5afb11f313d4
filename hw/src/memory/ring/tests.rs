#![allow(clippy::unwrap_used)]

use super::*;
use crate::memory::MemoryError;
use crate::memory::map::{new_memfd, seal};
use nix::fcntl::SealFlag;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

fn reader(writer: &Writer) -> Reader {
    Reader::open(writer.fd().try_clone_to_owned().unwrap()).unwrap()
}

/// Bytes that tell which record they are of.
fn fill(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (number.wrapping_mul(31) ^ i.wrapping_mul(7)) as u8).collect()
}

/// The plain twin: what a ring holds, by its description alone.
struct Model {
    capacity: usize,
    records: VecDeque<(u64, u64, Vec<u8>, bool)>,
    head: u64,
    count: u64,
}

impl Model {
    fn push(&mut self, bytes: &[u8], mark: bool) {
        let size = bytes.len().div_ceil(8) * 8 + 16;
        let used = |records: &VecDeque<(u64, u64, Vec<u8>, bool)>, head: u64| {
            records.front().map_or(0, |r| head - r.0) as usize
        };
        while used(&self.records, self.head) + size > self.capacity {
            self.records.pop_front();
        }
        self.records.push_back((self.head, self.count, bytes.to_vec(), mark));
        self.head += size as u64;
        self.count += 1;
    }
}

/// One reader's place in the model: the number of the record it reads next.
#[derive(Clone, Debug)]
enum Step {
    Push { len: usize, cuts: Vec<usize>, mark: bool },
    Read,
    SeekOldest,
    SeekEnd,
    SeekNewestMark,
    SeekMarkBelow(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let push = (
        0..1100_usize,
        proptest::collection::vec(0..1100_usize, 0..4),
        proptest::bool::weighted(0.1),
    );
    prop_oneof![
        20 => push.prop_map(|(len, cuts, mark)| Step::Push { len, cuts, mark }),
        20 => Just(Step::Read),
        1 => Just(Step::SeekOldest),
        1 => Just(Step::SeekEnd),
        2 => Just(Step::SeekNewestMark),
        2 => (0..200_u64).prop_map(Step::SeekMarkBelow),
    ]
}

proptest! {
    #[test]
    fn a_ring_is_a_queue_that_forgets(steps in proptest::collection::vec(step(), 1..400), pages in 1..3_usize) {
        let mut writer = Writer::create(pages * 4096).unwrap();
        let mut reader = reader(&writer);
        let mut model = Model { capacity: pages * 4096, records: VecDeque::new(), head: 0, count: 0 };
        let mut next = Some(0); // number of the record to be read next; None where the reader cannot know it
        let mut at = 0; // the same as a position
        let mut out = Vec::new();
        for step in steps {
            match step {
                Step::Push { len, cuts, mark } => {
                    let bytes = fill(model.count, len);
                    let mut cuts: Vec<_> = cuts.iter().map(|c| c % (len + 1)).collect();
                    cuts.sort_unstable();
                    let edges: Vec<_> = std::iter::once(0).chain(cuts).chain([len]).collect();
                    let parts: Vec<_> = edges.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
                    let fits = len <= max_record(pages * 4096);
                    prop_assert_eq!(writer.push(&parts, mark).is_ok(), fits);
                    if fits {
                        model.push(&bytes, mark);
                    }
                }
                Step::Read => {
                    let result = reader.next(&mut out);
                    let oldest = model.records.front().map_or((model.head, model.count), |r| (r.0, r.1));
                    if at < oldest.0 {
                        let records = next.map_or(1, |n| oldest.1 - n);
                        prop_assert_eq!(result, Err(ReadError::Overrun { bytes: oldest.0 - at, records }));
                        (at, next) = (oldest.0, Some(oldest.1));
                    } else if at == model.head {
                        prop_assert_eq!(result, Ok(false));
                    } else {
                        prop_assert_eq!(result, Ok(true));
                        let i = model.records.iter().position(|r| r.0 == at).unwrap();
                        prop_assert_eq!(&out, &model.records[i].2);
                        (at, next) = (model.records.get(i + 1).map_or(model.head, |r| r.0), Some(model.records[i].1 + 1));
                    }
                }
                Step::SeekOldest => {
                    reader.seek_oldest();
                    let oldest = model.records.front();
                    let first = (model.head == 0).then_some(0);
                    (at, next) = oldest.map_or((model.head, first), |r| (r.0, Some(r.1)));
                }
                Step::SeekEnd => {
                    reader.seek_end();
                    (at, next) = (model.head, (model.head == 0).then_some(0));
                }
                Step::SeekNewestMark => {
                    let mark = model.records.iter().rev().find(|r| r.3);
                    prop_assert_eq!(reader.seek_newest_mark(), mark.is_some());
                    (at, next) = mark.map_or((at, next), |r| (r.0, Some(r.1)));
                }
                Step::SeekMarkBelow(number) => {
                    let mark = model.records.iter().rev().find(|r| r.3 && r.2.first() <= Some(&(number as u8)));
                    let found = reader.seek_mark(|bytes| bytes.first() <= Some(&(number as u8)));
                    prop_assert_eq!(found, mark.is_some());
                    (at, next) = mark.map_or((at, next), |r| (r.0, Some(r.1)));
                }
            }
            prop_assert_eq!(reader.position(), at);
            prop_assert_eq!(reader.head(), model.head);
            prop_assert_eq!(writer.records(), model.count);
        }
    }

    /// Whatever stands in the file, a reader ends: with records, or by saying that there are none.
    #[test]
    fn a_reader_survives_any_contents(
        noise in proptest::collection::vec((0..DATA + 8192, any::<u64>()), 0..40),
        header in proptest::collection::vec((prop_oneof![Just(TAIL), Just(HEAD), Just(MARK_COUNT), MARK_TABLE..MARK_TABLE + 8],
            prop_oneof![any::<u64>(), (0..3000_u64).prop_map(|n| n * 8), 0..20_000_u64]), 0..6),
        lengths in proptest::collection::vec(0..600_usize, 0..60),
    ) {
        let mut writer = Writer::create(8192).unwrap();
        for (i, len) in lengths.into_iter().enumerate() {
            writer.push(&[&fill(i as u64, len)], i % 5 == 0).unwrap();
        }
        // The same bytes in a file that can be damaged.
        let whole = File::from(writer.fd().try_clone_to_owned().unwrap());
        let mut bytes = vec![0; DATA + 8192];
        whole.read_exact_at(&mut bytes, 0).unwrap();
        let damaged = File::from(new_memfd(c"test").unwrap());
        for (place, value) in noise {
            let place = place / 8 * 8;
            if place > CAPACITY * 8 {
                bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        for (word, value) in header {
            bytes[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
        }
        damaged.write_all_at(&bytes, 0).unwrap();
        seal(&damaged, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW).unwrap();
        let mut reader = Reader::open(OwnedFd::from(damaged)).unwrap();
        let mut out = Vec::new();
        for round in 0..4 {
            match round {
                0 => {}
                1 => drop(reader.seek_newest_mark()),
                2 => drop(reader.seek_mark(|_| false)),
                _ => reader.seek_oldest(),
            }
            let mut calls = 0;
            loop {
                calls += 1;
                prop_assert!(calls < 2000, "the reader goes round for ever");
                match reader.next(&mut out) {
                    Ok(false) => break,
                    Ok(true) => prop_assert!(out.len() <= max_record(8192)),
                    Err(_) => {}
                }
            }
        }
    }
}

/// One writer at full speed against readers in other threads, each over a mapping of its own: what
/// they read is whole, in order, and what they miss is counted exactly.
#[test]
fn readers_beside_a_writer_read_whole_records_and_count_what_they_miss() {
    const RECORDS: u64 = 300_000;
    let mut writer = Writer::create(256 * 1024).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|which| {
                let mut reader = reader(&writer);
                let done = &done;
                scope.spawn(move || {
                    let (mut out, mut seen, mut lost, mut next) = (Vec::new(), 0_u64, 0_u64, 0_u64);
                    loop {
                        // Read before the ring: when it was set, nothing comes after.
                        let finished = done.load(Ordering::Acquire);
                        match reader.next(&mut out) {
                            Ok(true) => {
                                let number = u64::from_le_bytes(*out.first_chunk().unwrap());
                                assert_eq!(number, next, "reader {which}");
                                assert_eq!(
                                    out[8..],
                                    fill(number, out.len() - 8)[..],
                                    "reader {which} record {number}"
                                );
                                (seen, next) = (seen + 1, next + 1);
                                if number % 10_000 == 5_000 && which == 1 {
                                    // A reader that sometimes leaps to the newest mark (or back to it).
                                    let found = reader.seek_newest_mark();
                                    let mut first = Vec::new();
                                    if found && reader.next(&mut first) == Ok(true) {
                                        let at = u64::from_le_bytes(*first.first_chunk().unwrap());
                                        assert_eq!(at % 100, 0, "a mark");
                                        lost = lost.wrapping_add((at + 1).wrapping_sub(next));
                                        next = at + 1;
                                    } else {
                                        // Overrun in between: take up at what is there.
                                        reader.seek_end();
                                        return (seen, u64::MAX);
                                    }
                                }
                            }
                            Ok(false) if finished => return (seen, lost),
                            Ok(false) => std::thread::yield_now(),
                            Err(ReadError::Overrun { records, .. }) => {
                                (lost, next) = (lost + records, next + records)
                            }
                            Err(ReadError::Corrupt) => panic!("reader {which}: corrupt"),
                        }
                    }
                })
            })
            .collect();
        for number in 0..RECORDS {
            let body = fill(number, (number * 37 % 1400) as usize);
            writer.push(&[&number.to_le_bytes(), &body], number % 100 == 0).unwrap();
        }
        done.store(true, Ordering::Release);
        for (which, reader) in readers.into_iter().enumerate() {
            let (seen, lost) = reader.join().unwrap();
            assert!(seen > 0);
            if which == 0 {
                assert_eq!(seen + lost, RECORDS);
            }
        }
    });
}

#[test]
fn readers_cannot_write_and_nobody_can_resize() {
    let writer = Writer::create(4096).unwrap();
    let copy = File::from(writer.fd().try_clone_to_owned().unwrap());
    assert!(copy.write_all_at(b"x", 0).is_err());
    assert!(copy.set_len(0).is_err());
    assert!(copy.set_len(1 << 20).is_err());
    let len = std::num::NonZeroUsize::new(4096).unwrap();
    let (read, write) =
        (nix::sys::mman::ProtFlags::PROT_READ, nix::sys::mman::ProtFlags::PROT_WRITE);
    let shared = nix::sys::mman::MapFlags::MAP_SHARED;
    assert!(crate::memory::map::Mapping::new(&copy, len, read | write, shared).is_err());
    assert!(crate::memory::map::Mapping::new(&copy, len, read, shared).is_ok());
}

#[test]
fn only_a_ring_is_opened_as_one() {
    let open = |bytes: &[u8], seals: SealFlag| {
        let file = File::from(new_memfd(c"test").unwrap());
        file.write_all_at(bytes, 0).unwrap();
        seal(&file, seals).unwrap();
        Reader::open(file.into()).map(drop)
    };
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    let mut ring = vec![0; DATA + 4096];
    assert!(matches!(open(&ring, seals), Err(MemoryError::BadRing("wrong magic or version"))));
    ring[..8].copy_from_slice(&MAGIC.to_le_bytes());
    assert!(matches!(
        open(&ring, seals),
        Err(MemoryError::BadRing("its capacity does not fit its size"))
    ));
    ring[8..16].copy_from_slice(&4096_u64.to_le_bytes());
    assert!(open(&ring, seals).is_ok());
    assert!(matches!(open(&ring, SealFlag::F_SEAL_GROW), Err(MemoryError::NotSealed { .. })));
    assert!(matches!(open(&ring[..DATA], seals), Err(MemoryError::BadRing("it is too small"))));
    assert!(Writer::create(4095).is_err());
    assert!(Writer::create(MAX_CAPACITY + 1).is_err());
}

#[test]
fn the_table_of_marks_forgets_the_oldest() {
    let mut writer = Writer::create(1 << 20).unwrap();
    let mut reader = reader(&writer);
    let marks = MARKS as u64 + 100;
    for number in 0..marks {
        writer.push(&[&number.to_le_bytes()], true).unwrap();
    }
    let mut seen = 0;
    let last = reader.marks_backwards(|_, number, bytes| -> Option<()> {
        assert_eq!(bytes, number.to_le_bytes());
        assert_eq!(number, marks - 1 - seen);
        seen += 1;
        None
    });
    assert_eq!((last, seen), (None, MARKS as u64));
}
