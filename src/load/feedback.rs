//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): which packets came,
//! and when, on the path as a whole. The library's recorder wants every packet decrypted first; this
//! one needs the header alone.

use super::receive::Since;

/// Arrivals kept until the next feedback; more within one interval go unreported.
const MOST: usize = 2048;
/// Packets one feedback may speak of.
const SPAN: i64 = 4096;

/// Notes arrivals and makes feedback of them.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    /// Unwrapped sequence number and arrival, microseconds.
    arrivals: Vec<(i64, u64)>,
    newest: Option<i64>,
    count: u8,
}

impl Recorder {
    pub(super) fn arrived(&mut self, sequence: u16, now: Since) {
        let number = match self.newest {
            None => i64::from(sequence),
            Some(newest) => newest + i64::from(sequence.wrapping_sub(newest as u16) as i16),
        };
        self.newest = Some(self.newest.map_or(number, |newest| newest.max(number)));
        if self.arrivals.len() < MOST {
            self.arrivals.push((number, now.as_micros() as u64));
        }
    }

    /// The feedback packet about everything since the last, if there was anything.
    pub(super) fn feedback(&mut self, sender: u32, media: u32) -> Option<Vec<u8>> {
        self.arrivals.sort_unstable();
        self.arrivals.dedup_by_key(|(number, _)| *number);
        let (base, _) = *self.arrivals.first()?;
        // The earliest arrival, not the first number's: deltas are signed, but small.
        let earliest = self.arrivals.iter().map(|(_, at)| *at).min()?;
        let reference = earliest / 64_000;
        let mut last = reference * 64_000;
        let (mut symbols, mut deltas) = (Vec::new(), Vec::new());
        let mut next = base;
        for (number, at) in self.arrivals.drain(..) {
            if number - base >= SPAN {
                break;
            }
            symbols.resize(symbols.len() + (number - next) as usize, 0u8);
            next = number + 1;
            // Quarter milliseconds; rounding is carried on, so that it does not add up.
            let delta = (at as i64 - last as i64) / 250;
            last = last.saturating_add_signed(delta * 250);
            match u8::try_from(delta) {
                Ok(small) => {
                    symbols.push(1);
                    deltas.push(small);
                }
                Err(_) => {
                    let large = delta.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16;
                    symbols.push(2);
                    deltas.extend(large.to_be_bytes());
                }
            }
        }
        self.count = self.count.wrapping_add(1);

        let mut out = vec![0x8F, 205, 0, 0];
        out.extend(sender.to_be_bytes());
        out.extend(media.to_be_bytes());
        out.extend((base as u16).to_be_bytes());
        out.extend((symbols.len() as u16).to_be_bytes());
        out.extend(&(reference as u32).to_be_bytes()[1..]);
        out.push(self.count);
        chunks(&symbols, &mut out);
        out.extend(deltas);
        let padding = (4 - out.len() % 4) % 4;
        if padding > 0 {
            out.resize(out.len() + padding - 1, 0);
            out.push(padding as u8);
            out[0] |= 0x20;
        }
        let words = (out.len() / 4 - 1) as u16;
        out[2..4].copy_from_slice(&words.to_be_bytes());
        Some(out)
    }
}

/// Status chunks: a run where at least seven are the same, else two bits each for seven.
fn chunks(mut symbols: &[u8], out: &mut Vec<u8>) {
    while let Some(first) = symbols.first() {
        let run = symbols.iter().take(0x1FFF).take_while(|s| *s == first).count();
        let (chunk, taken) = if run >= 7 {
            (u16::from(*first) << 13 | run as u16, run)
        } else {
            let seven = symbols.iter().take(7).enumerate();
            let bits = seven.fold(0, |bits, (i, s)| bits | u16::from(*s) << (12 - 2 * i));
            (0xC000 | bits, symbols.len().min(7))
        };
        out.extend(chunk.to_be_bytes());
        symbols = symbols.get(taken..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use rtc::rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, TransportLayerCc};
    use rtc::shared::marshal::Unmarshal;
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// Read back by the library's parser: number to arrival, microseconds.
    fn read(bytes: Vec<u8>) -> BTreeMap<u16, i64> {
        let packet = TransportLayerCc::unmarshal(&mut bytes::Bytes::from(bytes)).unwrap();
        let mut received = Vec::new();
        for chunk in &packet.packet_chunks {
            match chunk {
                PacketStatusChunk::RunLengthChunk(run) => received.extend(std::iter::repeat_n(
                    run.packet_status_symbol as u16 != 0,
                    run.run_length.into(),
                )),
                PacketStatusChunk::StatusVectorChunk(vector) => {
                    received.extend(vector.symbol_list.iter().map(|s| *s as u16 != 0));
                }
            }
        }
        received.truncate(packet.packet_status_count.into());
        let mut at = i64::from(packet.reference_time) * 64_000;
        let mut deltas = packet.recv_deltas.iter();
        let mut out = BTreeMap::new();
        for (offset, received) in received.into_iter().enumerate() {
            if received {
                at += deltas.next().unwrap().delta;
                out.insert(packet.base_sequence_number.wrapping_add(offset as u16), at);
            }
        }
        assert!(deltas.next().is_none());
        out
    }

    proptest! {
        #[test]
        fn another_parser_reads_what_was_noted(
            start: u16, steps in proptest::collection::vec((0u16..12, 0u64..40_000), 1..200)
        ) {
            let mut recorder = Recorder::default();
            let (mut number, mut at) = (start, 5_000_000);
            let mut truth = BTreeMap::new();
            for (skip, wait) in steps {
                recorder.arrived(number, Duration::from_micros(at));
                truth.entry(number).or_insert(at as i64);
                number = number.wrapping_add(skip + 1);
                at += wait;
            }
            let said = read(recorder.feedback(1, 2).unwrap());
            prop_assert_eq!(said.len(), truth.len());
            for (number, at) in truth {
                prop_assert!((said[&number] - at).abs() <= 250, "{number}: {} for {at}", said[&number]);
            }
            prop_assert_eq!(recorder.feedback(1, 2), None, "nothing is told twice");
        }
    }

    #[test]
    fn a_packet_that_was_overtaken_has_a_negative_delta() {
        let mut recorder = Recorder::default();
        for (number, ms) in [(7, 100), (9, 101), (8, 160), (7, 170)] {
            recorder.arrived(number, Duration::from_millis(ms));
        }
        let said = read(recorder.feedback(1, 2).unwrap());
        assert_eq!(said, BTreeMap::from([(7, 100_000), (8, 160_000), (9, 101_000)]));
    }
}
