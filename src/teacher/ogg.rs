//! Opus in Ogg (RFC 3533, RFC 7845), a packet a page: for programs that take their input from files.
//!
//! The pre-skip is zero. The teacher gives its encoder what it looks ahead for, so the first decoded
//! sample already is the class's first; a player that skipped more would move sound against picture.

use std::io::{self, Write};

/// The stream's number: one stream, any number.
const SERIAL: u32 = 0x7EAC_4E12;
const FIRST: u8 = 2;

/// Writes one stream of Opus packets.
pub(super) struct OggOpus<W> {
    out: W,
    page: u32,
}

impl<W: Write> OggOpus<W> {
    /// Begins the stream: 48 kHz, stereo.
    pub(super) fn new(out: W) -> io::Result<Self> {
        let mut ogg = Self { out, page: 0 };
        // OpusHead: version 1, channels, pre-skip, input rate, gain, mapping family (RFC 7845, 5.1).
        let mut head = b"OpusHead\x01\x02".to_vec();
        head.extend_from_slice(&0u16.to_le_bytes());
        head.extend_from_slice(&48_000u32.to_le_bytes());
        head.extend_from_slice(&[0, 0, 0]);
        ogg.write_page(&head, 0, FIRST)?;
        let mut tags = b"OpusTags".to_vec();
        tags.extend_from_slice(&10u32.to_le_bytes());
        tags.extend_from_slice(b"proscenium");
        tags.extend_from_slice(&0u32.to_le_bytes());
        ogg.write_page(&tags, 0, 0)?;
        Ok(ogg)
    }

    /// Appends a packet whose last sample is the one before position `end`.
    pub(super) fn push(&mut self, packet: &[u8], end: u64) -> io::Result<()> {
        self.write_page(packet, end, 0)
    }

    /// Writes out what is buffered.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn write_page(&mut self, packet: &[u8], granule: u64, flags: u8) -> io::Result<()> {
        // A packet is as many full lacing values as fit and one that is less (RFC 3533, 6).
        let full = packet.len() / 255;
        let lacing =
            u8::try_from(full + 1).map_err(|_| io::Error::other("packet too long for a page"))?;
        let mut page = Vec::with_capacity(28 + full + packet.len());
        page.extend_from_slice(b"OggS\0");
        page.push(flags);
        page.extend_from_slice(&granule.to_le_bytes());
        page.extend_from_slice(&SERIAL.to_le_bytes());
        page.extend_from_slice(&self.page.to_le_bytes());
        page.extend_from_slice(&[0; 4]);
        page.push(lacing);
        page.resize(page.len() + full, 255);
        page.push((packet.len() % 255) as u8);
        page.extend_from_slice(packet);
        let sum = checksum(&page).to_le_bytes();
        page.splice(22..26, sum);
        self.page += 1;
        self.out.write_all(&page)
    }
}

/// CRC-32, polynomial 0x04C11DB7, nothing reflected, nothing inverted (RFC 3533, 6).
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 }
        })
    })
}
