//! Makes inputs of seeds: a small mutator with a fixed random sequence.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Numbers that break arithmetic and limits.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

pub struct Mutator {
    random: StdRng,
    seeds: Vec<Vec<u8>>,
    longest: usize,
    input: Vec<u8>,
}

impl Mutator {
    pub fn new(seeds: Vec<Vec<u8>>, longest: usize) -> Self {
        Self { random: StdRng::seed_from_u64(2026), seeds, longest, input: Vec::new() }
    }

    /// The next input: mostly a seed with a few faults in it, sometimes noise.
    pub fn next(&mut self) -> &[u8] {
        if self.seeds.is_empty() || self.random.random_ratio(1, 16) {
            let len = self.random.random_range(0..256);
            self.input = (0..len).map(|_| self.random.random()).collect();
            return &self.input;
        }
        self.input = self.seed();
        for _ in 0..self.random.random_range(1..=6) {
            self.mutate();
        }
        self.input.truncate(self.longest);
        &self.input
    }

    fn seed(&mut self) -> Vec<u8> {
        let at = self.random.random_range(0..self.seeds.len());
        self.seeds.get(at).cloned().unwrap_or_default()
    }

    /// A place within the input; its end too.
    fn place(&mut self) -> usize {
        self.random.random_range(0..=self.input.len())
    }

    /// A piece of the input.
    fn piece(&mut self) -> std::ops::Range<usize> {
        let from = self.place();
        let len = self.random.random_range(0..=(self.input.len() - from).min(64));
        from..from + len
    }

    fn mutate(&mut self) {
        match self.random.random_range(0..9) {
            0 => {
                let (at, bit) = (self.place(), self.random.random_range(0..8));
                if let Some(byte) = self.input.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let (at, new) = (self.place(), self.random.random());
                if let Some(byte) = self.input.get_mut(at) {
                    *byte = new;
                }
            }
            2 => {
                let (at, new) = (self.place(), self.random.random());
                self.input.insert(at, new);
            }
            3 => {
                let piece = self.piece();
                self.input.drain(piece);
            }
            4 => {
                let (piece, at) = (self.piece(), self.place());
                let copy = self.input.get(piece).unwrap_or_default().to_vec();
                self.input.splice(at..at, copy);
            }
            5 => {
                let at = self.place();
                self.input.truncate(at);
            }
            6 => self.number(),
            7 => self.decimal(),
            _ => {
                // The head of this, the tail of another.
                let (other, at) = (self.seed(), self.place());
                let from = self.random.random_range(0..=other.len());
                self.input.truncate(at);
                self.input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
        }
    }

    /// Writes a number of one, two, four or eight bytes over what is there, in either byte order.
    fn number(&mut self) {
        let number = NUMBERS[self.random.random_range(0..NUMBERS.len())];
        let width = 1_usize << self.random.random_range(0..4);
        let mut bytes = number.to_le_bytes();
        bytes[..width].reverse();
        if self.random.random() {
            bytes[..width].reverse();
        }
        let at = self.place();
        for (byte, new) in self.input.iter_mut().skip(at).zip(&bytes[..width]) {
            *byte = *new;
        }
    }

    /// Writes a number in digits where there were digits, or anywhere.
    fn decimal(&mut self) {
        let start = self.place();
        let found = self.input.iter().skip(start).position(u8::is_ascii_digit);
        let from = found.map_or(start, |at| start + at);
        let digits = self.input.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
        let number = NUMBERS[self.random.random_range(0..NUMBERS.len())];
        self.input.splice(from..from + digits, number.to_string().into_bytes());
    }
}
