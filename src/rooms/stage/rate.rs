//! How fast is too fast: token buckets, of which a room has one for itself, one a person and one an address.

use crate::time::HostTime;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Addresses remembered a room. When more come, those whose buckets are full again are forgotten;
/// if none is, newcomers share one bucket.
const MAX_ADDRESSES: usize = 4096;

/// So many at once, and then one every so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds; 0 for no limit.
    every_us: i64,
    burst: i64,
}

impl Rate {
    /// One every `every_us`, `burst` at once.
    pub const fn new(every_us: i64, burst: u32) -> Self {
        Self { every_us, burst: burst as i64 }
    }

    /// `count` a second, `burst` at once.
    pub const fn a_second(count: u32, burst: u32) -> Self {
        Self::new(1_000_000 / if count == 0 { 1 } else { count as i64 }, burst)
    }
}

/// A token bucket, kept as the moment at which it is full again: the virtual scheduling of the
/// generic cell rate algorithm (ITU-T I.371, annex A), which needs no timer and no fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: HostTime,
}

impl Bucket {
    /// Takes one.
    ///
    /// # Errors
    /// It is empty: seconds until there is one again, rounded up, at least 1.
    pub fn take(&mut self, rate: Rate, now: HostTime) -> Result<(), u64> {
        let full_at = self.full_at.max(now);
        let wait = full_at.since(now) - rate.every_us * (rate.burst - 1);
        if wait > 0 {
            return Err(seconds(wait));
        }
        self.full_at = full_at.plus_micros(rate.every_us);
        Ok(())
    }

    fn is_full(&self, now: HostTime) -> bool {
        self.full_at <= now
    }
}

/// Microseconds in whole seconds, rounded up, at least 1: for `Retry-After`.
pub fn seconds(us: i64) -> u64 {
    u64::try_from(us).unwrap_or(0).div_ceil(1_000_000).max(1)
}

/// A bucket an address.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    buckets: HashMap<IpAddr, Bucket>,
    others: Bucket,
}

impl Addresses {
    /// Takes one from the bucket of `address`.
    ///
    /// # Errors
    /// As [`Bucket::take`].
    pub fn take(&mut self, address: IpAddr, rate: Rate, now: HostTime) -> Result<(), u64> {
        let address = network(address);
        if self.buckets.len() >= MAX_ADDRESSES && !self.buckets.contains_key(&address) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= MAX_ADDRESSES {
                return self.others.take(rate, now);
            }
        }
        self.buckets.entry(address).or_default().take(rate, now)
    }
}

/// Whose address it is: with IPv6 one subscriber has a whole /64 (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> HostTime {
        HostTime(ms * 1000)
    }

    #[test]
    fn a_burst_then_one_every_so_often() {
        let (mut bucket, rate) = (Bucket::default(), Rate::new(2_000_000, 3));
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, at(1000)), Ok(()));
        }
        assert_eq!(bucket.take(rate, at(1000)), Err(2));
        assert_eq!(bucket.take(rate, at(2500)), Err(1));
        assert_eq!(bucket.take(rate, at(3000)), Ok(()));
        assert_eq!(bucket.take(rate, at(3000)), Err(2));
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, at(100_000)), Ok(()), "never fuller than full");
        }
        assert!(bucket.take(rate, at(100_000)).is_err());
        assert_eq!(Bucket::default().take(Rate::new(0, 1), at(0)), Ok(()));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_the_wait_is_the_truth(gaps in prop::collection::vec(0..3000i64, 1..200)) {
            let (mut bucket, rate) = (Bucket::default(), Rate::new(1_000_000, 4));
            let (mut now, mut taken) = (0, 0);
            for gap in gaps {
                now += gap;
                match bucket.take(rate, at(now)) {
                    Ok(()) => taken += 1,
                    Err(wait) => {
                        let mut later = bucket;
                        prop_assert_eq!(later.take(rate, at(now + wait as i64 * 1000)), Ok(()));
                    }
                }
                prop_assert!(taken <= 4 + now / 1000);
            }
        }
    }

    #[test]
    fn addresses_are_told_apart_and_one_household_is_one() {
        let (mut addresses, rate) = (Addresses::default(), Rate::new(1_000_000, 1));
        let mut take = |text: &str| addresses.take(text.parse().unwrap(), rate, at(0));
        assert_eq!(take("192.0.2.1"), Ok(()));
        assert_eq!(take("192.0.2.2"), Ok(()));
        assert_eq!(take("::ffff:192.0.2.1"), Err(1), "the same, as a dual-stack socket shows it");
        assert_eq!(take("2001:db8::1"), Ok(()));
        assert_eq!(take("2001:db8::2"), Err(1));
        assert_eq!(take("2001:db8:0:1::1"), Ok(()));
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_memory() {
        let (mut addresses, rate) = (Addresses::default(), Rate::new(1_000_000, 1));
        let v4 = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        let taken = (0..10_000).filter(|n| addresses.take(v4(*n), rate, at(0)).is_ok()).count();
        assert_eq!((taken, addresses.buckets.len()), (MAX_ADDRESSES + 1, MAX_ADDRESSES));
        assert_eq!(addresses.take(v4(20_000), rate, at(5000)), Ok(()));
        assert_eq!(addresses.buckets.len(), 1, "who is quiet is forgotten");
    }
}
