//! Every parser of foreign bytes, held against mutated and random input for a bounded time.
//!
//! The same functions are the bodies of the libFuzzer targets in `fuzz/`, which find more, but need
//! a nightly compiler. This runner needs nothing: fixed seeds, a fixed number of rounds, no
//! coverage. `FUZZ_FACTOR=100 cargo test --release --test fuzz` runs a hundred times as many.
#![allow(clippy::unwrap_used)]

mod mutate;
mod targets;

use mutate::Mutator;
use targets::Target;

/// Longest input made here, bytes.
const LONGEST: usize = 8 * 1024;

/// Runs `target` on its seeds, then on `rounds` inputs made of them.
fn fuzz(target: &Target, rounds: u64) {
    let seeds = (target.seeds)();
    for seed in &seeds {
        run(target, seed);
    }
    let factor = std::env::var("FUZZ_FACTOR").map_or(1, |text| text.parse().unwrap());
    let mut mutator = Mutator::new(seeds, LONGEST);
    for _ in 0..rounds * factor {
        run(target, mutator.next());
    }
}

fn run(target: &Target, input: &[u8]) {
    let _shown = ShownOnPanic(target.name, input);
    (target.run)(input);
}

/// Prints the input of a run that panics, to be kept as a seed of its target.
struct ShownOnPanic<'a>(&'static str, &'a [u8]);

impl Drop for ShownOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(name, input) = self;
            eprintln!("{name}: this input did it: b\"{}\"", input.escape_ascii());
        }
    }
}

macro_rules! fuzz_tests {
    ($($test:ident: $target:ident, $rounds:literal;)*) => {
        $(#[test]
        fn $test() {
            fuzz(&targets::$target, $rounds);
        })*

        #[test]
        fn every_target_is_run() {
            let run: Vec<_> = [$(&targets::$target),*].iter().map(|t| t.name).collect();
            let all: Vec<_> = targets::ALL.iter().map(|t| t.name).collect();
            assert_eq!(run, all);
        }
    };
}

// Rounds by what one costs: each test takes a second or two.
fuzz_tests! {
    messages_of_a_transcoder_are_survived: FROM_TRANSCODER, 60_000;
    messages_to_a_transcoder_are_survived: TO_TRANSCODER, 60_000;
    a_lying_transcoder_does_not_hurt_the_window: WINDOW, 4_000;
    ring_records_are_survived: RING_RECORD, 200_000;
    rtp_payloads_are_survived: RTP, 20_000;
    requests_of_players_are_survived: ORIGIN, 40_000;
    tcp_frames_are_survived: FRAMING, 40_000;
    offers_are_survived: OFFER, 300;
    ice_fragments_are_survived: FRAGMENT, 60_000;
    datagrams_of_a_publisher_are_survived: DATAGRAMS, 150;
    tokens_are_survived: TOKEN, 10_000;
    codec_headers_are_survived: CODEC_HEADERS, 60_000;
}

/// Mutating what is refused at the first byte would test nothing.
#[test]
fn the_rtp_seeds_hold_pictures_and_sound() {
    for (seed, units) in (targets::RTP.seeds)().iter().zip([2, 2, 2, 1, 2]) {
        assert_eq!(targets::rtp::units(seed).len(), units, "{}", seed.escape_ascii());
    }
}

/// The runner can fail: a fault a few mutations away from a seed is found.
#[test]
fn a_planted_fault_is_found() {
    let planted = Target {
        name: "planted",
        run: |input| {
            let at = input.windows(4).position(|w| w == b"len=");
            let number = at.and_then(|at| input.get(at + 4).copied());
            assert_ne!(number, Some(0xff));
        },
        seeds: || vec![b"GET /x?len=7&more".to_vec(), b"len=12".to_vec()],
    };
    let found = std::panic::catch_unwind(|| fuzz(&planted, 20_000));
    assert!(found.is_err());
}
