//! Which simulcast layer of a publisher is decoded for a tile. Pure arithmetic.
//!
//! The smallest that is not blown up too far. What is shown keeps its layer within a band, so that a tile whose
//! size changes a little, or a speaker who changes often, does not cost a key frame each time.

use crate::time::TrackId;

/// One layer that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its stream.
    pub track: TrackId,
    /// Its number, 0 the smallest.
    pub number: u8,
    /// Rows of its pictures, if one was ever decoded.
    pub rows: Option<u32>,
    /// Packets of it still arrive.
    pub alive: bool,
}

/// A layer with less than this share of the rows needed is too small, in percent. It is 1.4 times blown up.
const LEAST: u32 = 72;
/// What is shown gives way to a smaller layer that has this share of the rows needed, in percent.
const ENOUGH: u32 = 78;
/// Rows taken for layer 0 while none is known: a camera of 720 lines in three layers.
const GUESS: u32 = 180;

/// The layer to decode for pictures that are shown with `rows` rows. `shown`: the one decoded now.
///
/// `None` if there is none. One that does not arrive any more is chosen only if none does.
pub fn choose(layers: &[Layer], rows: u32, shown: Option<TrackId>) -> Option<TrackId> {
    let alive = layers.iter().any(|layer| layer.alive);
    // Of layers with the same number, the newest is the one that counts.
    let mut usable: Vec<&Layer> = layers.iter().filter(|layer| layer.alive || !alive).collect();
    usable.sort_by_key(|layer| (layer.number, layer.track));
    let height = |layer: &Layer| rows_of(layers, layer);
    let least = |share: u32| u64::from(rows) * u64::from(share);
    let fits = |layer: &Layer, share| u64::from(height(layer)) * 100 >= least(share);
    let first = |share| {
        let number = usable.iter().find(|layer| fits(layer, share)).or(usable.last())?.number;
        usable.iter().rfind(|layer| layer.number == number).copied()
    };
    let current = usable.iter().find(|layer| Some(layer.track) == shown);
    let wanted = match current {
        None => first(LEAST)?,
        Some(current) if !fits(current, LEAST) => first(LEAST)?,
        Some(current) => {
            let smaller = first(ENOUGH)?;
            if smaller.number < current.number { smaller } else { current }
        }
    };
    Some(wanted.track)
}

/// Rows of a layer: known, or by those of another, each layer having twice the rows of the one below.
pub fn rows_of(layers: &[Layer], layer: &Layer) -> u32 {
    if let Some(rows) = layer.rows {
        return rows;
    }
    let known = layers.iter().find_map(|other| Some((other.number, other.rows?)));
    let (number, rows) = known.unwrap_or((0, GUESS));
    let up = u32::from(layer.number.saturating_sub(number)).min(8);
    let down = u32::from(number.saturating_sub(layer.number)).min(8);
    rows.saturating_mul(1 << up) >> down
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn three(rows: [Option<u32>; 3], alive: [bool; 3]) -> Vec<Layer> {
        (0..3u8)
            .map(|number| Layer {
                track: TrackId(u32::from(number)),
                number,
                rows: rows[usize::from(number)],
                alive: alive[usize::from(number)],
            })
            .collect()
    }

    const ALL: [bool; 3] = [true; 3];

    #[test]
    fn the_smallest_that_is_not_blown_up_too_far() {
        let layers = three([Some(180), Some(360), Some(720)], ALL);
        for (rows, layer) in [(720, 2), (536, 2), (500, 1), (352, 1), (260, 1), (226, 0), (110, 0)]
        {
            assert_eq!(choose(&layers, rows, None), Some(TrackId(layer)), "{rows} rows");
        }
        assert_eq!(choose(&layers, 4000, None), Some(TrackId(2)), "the largest there is");
        assert_eq!(choose(&[], 720, None), None);
    }

    #[test]
    fn what_is_shown_stays_within_a_band() {
        let layers = three([Some(180), Some(360), Some(720)], ALL);
        for (rows, shown, layer) in [
            (240, 1, 1), // 180 is 75 %: enough to begin with, not to go back to
            (240, 0, 0),
            (226, 1, 0),
            (260, 0, 1),
            (460, 2, 1),
            (480, 2, 2),
            (480, 1, 1),
        ] {
            assert_eq!(choose(&layers, rows, Some(TrackId(shown))), Some(TrackId(layer)), "{rows}");
        }
    }

    #[test]
    fn a_layer_that_ceased_is_left() {
        let rows = [Some(180), Some(360), Some(720)];
        let layers = three(rows, [true, true, false]);
        assert_eq!(choose(&layers, 720, Some(TrackId(2))), Some(TrackId(1)));
        let layers = three(rows, [false; 3]);
        assert_eq!(choose(&layers, 720, Some(TrackId(2))), Some(TrackId(2)), "all ceased: stay");
        let layers = three(rows, [false, true, true]);
        assert_eq!(choose(&layers, 100, Some(TrackId(0))), Some(TrackId(1)));
    }

    #[test]
    fn rows_are_guessed_from_what_is_known() {
        let layers = three([None; 3], ALL);
        assert_eq!(layers.iter().map(|l| rows_of(&layers, l)).collect::<Vec<_>>(), [180, 360, 720]);
        let layers = three([None, Some(540), None], ALL);
        assert_eq!(
            layers.iter().map(|l| rows_of(&layers, l)).collect::<Vec<_>>(),
            [270, 540, 1080]
        );
    }

    #[test]
    fn of_two_streams_with_one_number_the_newer_counts() {
        let again = Layer { track: TrackId(9), number: 0, rows: Some(720), alive: true };
        let layers = [Layer { track: TrackId(3), ..again }, again];
        assert_eq!(choose(&layers, 720, None), Some(TrackId(9)));
    }

    proptest! {
        /// Choosing again changes nothing, whatever was shown before.
        #[test]
        fn a_choice_is_stable(
            rows in proptest::array::uniform3(proptest::option::of(16u32..4000)),
            alive in any::<[bool; 3]>(), needed in 2u32..2200, shown in 0u32..5,
        ) {
            let layers = three(rows, alive);
            let first = choose(&layers, needed, Some(TrackId(shown)));
            prop_assert!(first.is_some());
            prop_assert_eq!(choose(&layers, needed, first), first);
        }
    }
}
