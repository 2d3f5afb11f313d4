//! One subscription: counts what comes, measures it, and gives the feedback a browser would.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc::peer_connection::message::RTCMessage;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::raw_packet::RawPacket;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};

use super::connection::Connection;
use super::feedback::Recorder;
use super::glass::Watch;
use super::histogram::Histogram;
use super::packet::Header;
use super::receive::{Counts, Since, Stream};
use super::sdp::{Agreed, Carries};
use super::stamp::Stamp;

/// Transport-wide feedback goes this often, as a browser's does at this rate.
const FEEDBACK: Duration = Duration::from_millis(100);
/// Receiver reports go this often (RFC 3550 wants about this for two streams).
const REPORTS: Duration = Duration::from_secs(1);
/// What is missing is looked at this often.
const LOOKS: Duration = Duration::from_millis(20);
/// Streams of one subscription that are followed: video, its repairs, sound, and a change of each.
const STREAMS: usize = 8;

/// What all sinks of a driver count into.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// RTP packets that arrived, of whatever kind, and their bytes as sent.
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    /// Retransmissions among them.
    pub(super) repairs: u64,
    /// Packets that were decrypted.
    pub(super) decrypted: u64,
    /// One-way delay of those with a stamp, microseconds.
    pub(super) delays: Histogram,
}

impl Measured {
    pub(super) fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.repairs += other.repairs;
        self.decrypted += other.decrypted;
        self.delays.merge(&other.delays);
    }
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Sink {
    agreed: Agreed,
    streams: Vec<Followed>,
    recorder: Recorder,
    /// Our own SSRC as a reporter.
    reporter: u32,
    /// One packet in so many is decrypted.
    decrypt: u32,
    until_decrypt: u32,
    /// The SSRC of the picture.
    pictures: u32,
    next_feedback: Since,
    next_report: Since,
    next_look: Since,
    marked: Counts,
    /// Who looks at the pictures.
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Followed {
    ssrc: u32,
    stream: Stream,
    /// The last sender report: the middle of its NTP time, and when it came.
    report: Option<(u32, Since)>,
}

impl Sink {
    /// `decrypt`: one packet in so many is decrypted. `number` is whose turn it is to begin.
    pub(super) fn new(agreed: Agreed, decrypt: u32, number: usize) -> Self {
        Self {
            agreed,
            streams: Vec::new(),
            recorder: Recorder::default(),
            reporter: rand::random(),
            decrypt: decrypt.max(1),
            // A packet each, or all would decrypt the same packet at once.
            until_decrypt: number as u32 % decrypt.max(1),
            pictures: 0,
            // The driver's first look sets them; connections come up at different moments.
            next_feedback: Since::ZERO,
            next_report: Since::ZERO,
            next_look: Since::ZERO,
            marked: Counts::default(),
            watch: None,
        }
    }

    /// A sink whose pictures are looked at: all of them are decrypted.
    pub(super) fn watched(agreed: Agreed, watch: Watch) -> Self {
        Self { watch: Some(watch), ..Self::new(agreed, 1, 0) }
    }

    pub(super) fn transport_id(&self) -> Option<u8> {
        self.agreed.transport_id
    }

    /// When [`Self::tick`] has something to do next.
    pub(super) fn next(&self) -> Since {
        let look = if self.streams.iter().any(|followed| followed.stream.incomplete()) {
            self.next_look
        } else {
            self.next_feedback
        };
        look.min(self.next_feedback).min(self.next_report)
    }

    /// An SRTP packet arrived.
    pub(super) fn packet(
        &mut self,
        header: Header,
        bytes: &[u8],
        from: SocketAddr,
        connection: &mut Connection,
        (since, now, now_us): (Since, Instant, i64),
        measured: &mut Measured,
    ) {
        let Some(carries) = self.agreed.carries(header.payload_type) else { return };
        measured.datagrams += 1;
        measured.bytes += bytes.len() as u64;
        if let Some(number) = header.transport {
            self.recorder.arrived(number, since);
        }
        match carries {
            Carries::Repair => measured.repairs += 1,
            Carries::Video => self.pictures = header.ssrc,
            Carries::Audio => {}
        }
        if carries != Carries::Repair
            && let Some(followed) = self.follow(header.ssrc)
        {
            followed.stream.arrived(header.sequence, since);
        }
        let sampled = carries == Carries::Video && {
            let sampled = self.until_decrypt == 0;
            self.until_decrypt = self.until_decrypt.checked_sub(1).unwrap_or(self.decrypt - 1);
            sampled
        };
        // What a repair repairs stands in its encrypted part.
        if sampled || carries == Carries::Repair {
            connection.handle(from, bytes, now);
            self.read(connection, since, now_us, carries == Carries::Repair, measured);
        }
    }

    /// Takes what the library has decrypted.
    pub(super) fn read(
        &mut self,
        connection: &mut Connection,
        since: Since,
        now_us: i64,
        repair: bool,
        measured: &mut Measured,
    ) {
        while let Some(message) = connection.read() {
            match message {
                RTCMessage::RtpPacket(_, packet) => {
                    measured.decrypted += 1;
                    if let Some(watch) = &self.watch
                        && self.agreed.carries(packet.header.payload_type) == Some(Carries::Video)
                    {
                        watch.show(packet);
                        continue;
                    }
                    if repair {
                        if let Some(followed) = self.follow(packet.header.ssrc) {
                            followed.stream.repaired(packet.header.sequence_number);
                        }
                    } else if let Some(stamp) = Stamp::read(&packet.payload) {
                        measured.delays.add((now_us - stamp.sent_us).max(0) as u64);
                    }
                }
                RTCMessage::RtcpPacket(_, packets) => {
                    for packet in &packets {
                        if let Some(report) = packet.as_any().downcast_ref::<SenderReport>()
                            && let Some(followed) =
                                self.streams.iter_mut().find(|f| f.ssrc == report.ssrc)
                        {
                            followed.report = Some(((report.ntp_time >> 16) as u32, since));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn follow(&mut self, ssrc: u32) -> Option<&mut Followed> {
        // Two or three streams: a walk beats a map.
        let at = match self.streams.iter().position(|followed| followed.ssrc == ssrc) {
            Some(at) => at,
            None if self.streams.len() < STREAMS => {
                self.streams.push(Followed { ssrc, stream: Stream::default(), report: None });
                self.streams.len() - 1
            }
            None => return None,
        };
        self.streams.get_mut(at)
    }

    /// Feedback that is due; says whether something was written.
    pub(super) fn tick(&mut self, connection: &mut Connection, since: Since, now: Instant) -> bool {
        let mut packets: Vec<Box<dyn rtc::rtcp::Packet>> = Vec::new();
        if since >= self.next_report {
            self.next_report = since + REPORTS;
            packets.extend(self.report(since).map(|r| Box::new(r) as Box<dyn rtc::rtcp::Packet>));
        }
        if since >= self.next_look {
            self.next_look = since + LOOKS;
            let mut wanted = Vec::new();
            for followed in self.streams.iter_mut().filter(|f| f.stream.incomplete()) {
                wanted.clear();
                followed.stream.wanted(since, &mut wanted);
                if !wanted.is_empty() {
                    packets.push(Box::new(TransportLayerNack {
                        sender_ssrc: self.reporter,
                        media_ssrc: followed.ssrc,
                        nacks: nack_pairs_from_sequence_numbers(&wanted),
                    }));
                }
            }
        }
        if since >= self.next_feedback {
            self.next_feedback = since + FEEDBACK;
            let media = self.streams.first().map_or(0, |followed| followed.ssrc);
            if let Some(feedback) = self.recorder.feedback(self.reporter, media) {
                packets.push(Box::new(RawPacket(feedback.into())));
            }
        }
        if self.watch.as_ref().is_some_and(Watch::key_wanted) {
            packets.push(Box::new(PictureLossIndication {
                sender_ssrc: self.reporter,
                media_ssrc: self.pictures,
            }));
        }
        if packets.is_empty() {
            return false;
        }
        connection.write_rtcp(packets, now);
        true
    }

    fn report(&mut self, since: Since) -> Option<ReceiverReport> {
        let reports: Vec<ReceptionReport> = self
            .streams
            .iter_mut()
            .filter_map(|followed| {
                let (last_sequence_number, fraction_lost) = followed.stream.report()?;
                let (last_sender_report, delay) = match followed.report {
                    // Units of 1/65536 s (RFC 3550, 6.4.1).
                    Some((ntp, came)) => {
                        (ntp, since.saturating_sub(came).as_micros() * 65_536 / 1_000_000)
                    }
                    None => (0, 0),
                };
                Some(ReceptionReport {
                    ssrc: followed.ssrc,
                    fraction_lost,
                    total_lost: followed.stream.end().lost.min(0x7F_FFFF) as u32,
                    last_sequence_number,
                    jitter: 0,
                    last_sender_report,
                    delay: delay as u32,
                })
            })
            .collect();
        (!reports.is_empty()).then(|| ReceiverReport {
            ssrc: self.reporter,
            reports,
            ..Default::default()
        })
    }

    /// From here on it counts.
    pub(super) fn mark(&mut self) {
        self.marked = self.total();
    }

    fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.streams.iter().for_each(|followed| total += followed.stream.counts);
        total
    }

    /// What was counted since the mark. What is still missing is lost.
    pub(super) fn end(&self) -> Counts {
        let mut total = Counts::default();
        self.streams.iter().for_each(|followed| total += followed.stream.end());
        Counts {
            received: total.received - self.marked.received,
            late: total.late - self.marked.late,
            lost: total.lost - self.marked.lost,
            doubled: total.doubled - self.marked.doubled,
            asked: total.asked - self.marked.asked,
        }
    }
}
