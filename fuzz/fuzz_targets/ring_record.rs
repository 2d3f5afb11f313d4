//! See `tests/fuzz/targets`.
#![no_main]

#[allow(dead_code)] // One target is run of those that are there.
#[path = "../../tests/fuzz/targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| (targets::RING_RECORD.run)(input));
