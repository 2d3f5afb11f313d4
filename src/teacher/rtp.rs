//! RTP as the teacher sends it: packets and sender reports of one stream, on exact clocks.
//!
//! The library's own report generator stamps a frame when it is sent, which makes encoding time
//! look like an offset between sound and picture. Capture time is known here, so reports are made
//! from it (RFC 3550, 6.4.1).

use bytes::Bytes;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtp::{self, packetizer::Payloader};

/// Largest payload: an RTP packet with extensions and SRTP's tag stays below 1,250 bytes.
const LARGEST_PAYLOAD: usize = 1180;
/// Seconds from the NTP era to the Unix epoch.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// One RTP stream being sent.
pub(super) struct Stream {
    ssrc: u32,
    payload_type: u8,
    clock_rate: u32,
    /// The marker bit ends a frame; it has another meaning in sound.
    marks_frames: bool,
    payloader: Box<dyn Payloader>,
    sequence: u16,
    /// RTP timestamp of the moment the class began.
    base: u32,
    packets: u32,
    octets: u32,
}

impl Stream {
    /// A stream that begins at the given sequence number and timestamp (which RFC 3550 wants random).
    pub(super) fn new(
        ssrc: u32,
        payload_type: u8,
        clock_rate: u32,
        payloader: Box<dyn Payloader>,
        (sequence, base): (u16, u32),
    ) -> Self {
        let marks_frames = clock_rate == 90_000;
        Self {
            ssrc,
            payload_type,
            clock_rate,
            marks_frames,
            payloader,
            sequence,
            base,
            packets: 0,
            octets: 0,
        }
    }

    /// The packets of one coded frame captured `ticks` of the stream's clock after the class began.
    pub(super) fn packetize(
        &mut self,
        ticks: u64,
        data: Bytes,
    ) -> Result<Vec<rtp::Packet>, rtc::shared::error::Error> {
        let payloads = self.payloader.payload(LARGEST_PAYLOAD, &data)?;
        let last = payloads.len().saturating_sub(1);
        let packets = payloads.into_iter().enumerate().map(|(i, payload)| {
            let header = rtp::Header {
                version: 2,
                marker: self.marks_frames && i == last,
                payload_type: self.payload_type,
                sequence_number: self.sequence,
                timestamp: self.base.wrapping_add(ticks as u32),
                ssrc: self.ssrc,
                ..Default::default()
            };
            self.sequence = self.sequence.wrapping_add(1);
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(payload.len() as u32);
            rtp::Packet { header, payload }
        });
        Ok(packets.collect())
    }

    /// The report of a moment `since_us` microseconds after the class began, when the wall clock
    /// read `wall_us` microseconds since the Unix epoch.
    pub(super) fn report(&self, since_us: i64, wall_us: i64) -> SenderReport {
        let ticks = i128::from(since_us) * i128::from(self.clock_rate) / 1_000_000;
        SenderReport {
            ssrc: self.ssrc,
            ntp_time: ntp(wall_us),
            rtp_time: self.base.wrapping_add(ticks as u32),
            packet_count: self.packets,
            octet_count: self.octets,
            ..Default::default()
        }
    }
}

/// Microseconds since the Unix epoch as an NTP time, 32.32 fixed point (RFC 3550, 4).
pub(crate) fn ntp(unix_us: i64) -> u64 {
    let seconds = (unix_us.div_euclid(1_000_000) as u64).wrapping_add(NTP_TO_UNIX);
    let fraction = ((unix_us.rem_euclid(1_000_000) as u64) << 32) / 1_000_000;
    seconds << 32 | fraction
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rtc::rtp::codec::h264::H264Payloader;

    fn stream() -> Stream {
        Stream::new(7, 102, 90_000, Box::<H264Payloader>::default(), (65_535, u32::MAX - 10))
    }

    #[test]
    fn a_frame_is_packets_with_one_time_and_a_marker_at_the_end() {
        let mut frame = vec![0, 0, 0, 1, 0x65];
        frame.extend(vec![0xAB; 3000]);
        let packets = stream().packetize(3000, frame.into()).unwrap();
        assert_eq!(packets.len(), 3);
        let headers: Vec<_> = packets
            .iter()
            .map(|p| (p.header.sequence_number, p.header.timestamp, p.header.marker))
            .collect();
        assert_eq!(headers, [(65_535, 2989, false), (0, 2989, false), (1, 2989, true)]);
        assert!(packets.iter().all(|p| p.payload.len() <= LARGEST_PAYLOAD));
    }

    #[test]
    fn reports_map_capture_time_exactly() {
        let mut stream = stream();
        assert_eq!(stream.report(0, 0).packet_count, 0);
        stream.packetize(0, vec![0, 0, 0, 1, 0x65, 1, 2, 3].into()).unwrap();
        let report = stream.report(2_000_000, 1_500_000);
        assert_eq!(report.rtp_time, (u32::MAX - 10).wrapping_add(180_000));
        assert_eq!(report.ntp_time, (NTP_TO_UNIX + 1) << 32 | 1 << 31);
        assert_eq!((report.packet_count, report.octet_count), (1, 4));
    }
}
