//! Durations, counted in buckets that are a thirty-second part of their value wide: any number of
//! them in 16 kB, percentiles within 3 %.

const BITS: u32 = 5;
const PER_OCTAVE: usize = 1 << BITS;
const BUCKETS: usize = PER_OCTAVE * (64 - BITS as usize + 1);

/// Counted durations in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    greatest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, greatest: 0 }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, us: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket(us)) {
            *bucket += 1;
        }
        self.count += 1;
        self.greatest = self.greatest.max(us);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(a, b)| *a += b);
        self.count += other.count;
        self.greatest = self.greatest.max(other.greatest);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn greatest(&self) -> u64 {
        self.greatest
    }

    /// The least value that `share` of all do not exceed; nothing of nothing.
    pub(super) fn percentile(&self, share: f64) -> Option<u64> {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map(|bucket| upper(bucket).min(self.greatest))
    }
}

fn bucket(us: u64) -> usize {
    // Below two octaves of buckets each value has its own.
    let shift = (63 - (us | 1).leading_zeros()).saturating_sub(BITS);
    shift as usize * PER_OCTAVE + (us >> shift) as usize
}

/// The greatest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let shift = (bucket / PER_OCTAVE).saturating_sub(1);
    let top = (bucket - shift * PER_OCTAVE) as u64;
    (((top + 1) as u128) << shift).saturating_sub(1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percentiles_are_within_three_percent_of_the_sorted_truth(
            mut values in proptest::collection::vec(0u64..1 << 40, 1..400), share in 0.0f64..1.0
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|v| histogram.add(*v));
            values.sort_unstable();
            let at = ((values.len() as f64 * share).ceil() as usize).max(1) - 1;
            let (truth, said) = (values[at], histogram.percentile(share).unwrap());
            prop_assert!(said >= truth && said as f64 <= truth as f64 * 1.0313 + 1.0, "{said} for {truth}");
        }

        #[test]
        fn every_value_has_its_bucket(us: u64) {
            prop_assert!(bucket(us) < BUCKETS);
            prop_assert!(upper(bucket(us)) >= us);
        }
    }

    #[test]
    fn parts_merge_and_nothing_has_no_percentile() {
        let (mut a, mut b) = (Histogram::default(), Histogram::default());
        assert_eq!(a.percentile(0.5), None);
        a.add(10);
        b.add(20);
        a.merge(&b);
        assert_eq!((a.count(), a.percentile(0.5), a.percentile(0.99)), (2, Some(10), Some(20)));
    }
}
