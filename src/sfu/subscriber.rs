//! One subscriber: what it shows of one publisher, and how that is written to its connection.
//!
//! Packets are forwarded as they are, without decoding. Their payload is shared by all
//! subscribers; each has sequence numbers, timestamps and SSRCs of its own ([`rewrite`]), so that
//! it sees one stream whatever layer feeds it.
//!
//! [`rewrite`]: super::rewrite

use super::connection::{Connection, Notice, Over, Shared, guarded};
use super::layers::{self, Budget, Chooser, Layer};
use super::publisher::{Forward, source_codec};
use super::rewrite::{Place, Rewriter};
use crate::time::{HostTime, SourceCodec, SourceId, TrackId};
use std::sync::Arc;
use std::time::Duration;
use str0m::bwe::{Bitrate, BweKind};
use str0m::media::{MediaKind, Mid, Pt};
use str0m::net::Protocol;
use str0m::rtp::{ExtensionValues, RtpWrite, Ssrc, Vp8Patch};
use str0m::{Event, Input, Rtc};

/// Sent packets kept to repair from. More than this time ago is no use to a conversation.
const REPAIR_AGE: Duration = Duration::from_millis(600);
const REPAIR_PACKETS: usize = 512;

/// Repairs may be so much of what is sent: a peer that asks for everything twice gets no more.
const REPAIR_SHARE: f32 = 0.4;

/// Packets that may wait in str0m for a connection that takes none. Beyond that they are lost.
const MAX_QUEUED: usize = 512;

/// What str0m's estimate begins with, bits a second.
pub(super) const FIRST_ESTIMATE: u64 = 700_000;

/// One medium of the connection.
struct Outlet {
    ssrc: Ssrc,
    payload_types: Vec<(SourceCodec, Pt)>,
    rewriter: Rewriter,
}

impl Outlet {
    fn payload_type(&self, codec: SourceCodec) -> Option<Pt> {
        self.payload_types.iter().find(|(known, _)| *known == codec).map(|(_, pt)| *pt)
    }
}

pub(super) struct Subscriber {
    pub link: Connection,
    /// Whom it is fed by.
    pub source: SourceId,
    video: Option<Outlet>,
    audio: Option<Outlet>,
    /// Height shown in pixels, 0 for not at all.
    view: u32,
    /// The layer that is to feed it from its next key frame on.
    wanted: Option<TrackId>,
    chooser: Chooser,
    budget: Budget,
    estimated: bool,
    desired: u64,
    /// What the layer that feeds it takes.
    rate: u64,
}

impl Subscriber {
    /// With `estimated`, str0m estimates the bandwidth of the way to it.
    pub fn new(
        mut link: Connection,
        source: SourceId,
        estimated: bool,
        seed: (u16, u16),
        now: HostTime,
    ) -> Self {
        let mids = mids(&link.offer);
        let video = outlet(&mut link.rtc, &mids, MediaKind::Video, seed.0);
        let audio = outlet(&mut link.rtc, &mids, MediaKind::Audio, seed.1);
        Self {
            link,
            source,
            video,
            audio,
            view: u32::MAX,
            wanted: None,
            chooser: Chooser::default(),
            budget: Budget::new(now, estimated.then_some(FIRST_ESTIMATE)),
            estimated,
            desired: 0,
            rate: 0,
        }
    }

    /// Whether it can be sent video of `codec`; without video in its offer, it need not.
    pub fn takes(&self, codec: SourceCodec) -> bool {
        self.video.as_ref().is_none_or(|video| video.payload_type(codec).is_some())
    }

    /// Takes a datagram if it is this connection's; says whether.
    pub fn receive(
        &mut self,
        shared: &mut Shared,
        now: HostTime,
        (proto, from, to): (Protocol, std::net::SocketAddr, std::net::SocketAddr),
        payload: &[u8],
    ) -> Result<bool, Over> {
        let taken = self.link.receive(shared, now, proto, from, to, payload)?;
        if taken {
            self.drain(shared, now)?;
        }
        Ok(taken)
    }

    /// Time has come to `now`.
    pub fn tick(&mut self, shared: &mut Shared, now: HostTime) -> Result<(), Over> {
        if self.link.pass(shared, now)? { self.drain(shared, now) } else { Ok(()) }
    }

    /// How large it is shown; the layers are to be considered again.
    pub fn view(&mut self, height: u32) {
        self.view = height;
    }

    /// Chooses a layer anew; says which one a key frame is needed of, as long as one is. Before it
    /// is connected nothing is chosen: a key frame would pass it by.
    pub fn consider(&mut self, now: HostTime, layers: &[Layer]) -> Option<TrackId> {
        if !self.link.connected {
            return None;
        }
        let video = self.video.as_mut()?;
        let playing = video.rewriter.track();
        let current = layers.iter().position(|layer| Some(layer.track) == playing);
        self.rate = current.and_then(|at| layers.get(at)).map_or(0, |layer| layer.bitrate);
        let budget = self.budget.video(now);
        let choice = self.chooser.choose(now, layers, self.view, budget, current);
        if self.estimated {
            let ideal = layers::ideal(layers, self.view).and_then(|at| layers.get(at));
            // Enough to climb to it, and the sound.
            let desired = ideal.map_or(0, |layer| layer.bitrate * 13 / 10 + 100_000);
            if desired.abs_diff(self.desired) * 10 > self.desired {
                self.desired = desired;
                self.link.rtc.bwe().set_bitrate(Bitrate::ZERO, desired.into());
            }
        }
        let Some(choice) = choice.and_then(|at| layers.get(at)).map(|layer| layer.track) else {
            self.wanted = None;
            if self.view == 0 {
                video.rewriter.pause();
            }
            return None;
        };
        if Some(choice) == playing {
            self.wanted = None;
            return None;
        }
        self.wanted = Some(choice);
        self.wanted
    }

    /// Writes a batch of the publisher's packets.
    pub fn forward(
        &mut self,
        shared: &mut Shared,
        now: HostTime,
        batch: &[Forward],
    ) -> Result<(), Over> {
        if !self.link.connected {
            return Ok(());
        }
        let mut written = 0;
        for forward in batch {
            written += u32::from(self.write(shared, forward));
        }
        if written == 0 {
            return Ok(());
        }
        let at = shared.clock.instant(now);
        let rtc = &mut self.link.rtc;
        let outcome = guarded(|| rtc.handle_input(Input::Timeout(at)));
        self.link.outcome(shared, outcome)?;
        self.drain(shared, now)
    }

    fn write(&mut self, shared: &mut Shared, forward: &Forward) -> bool {
        let packet = &forward.packet;
        let audio = packet.codec.is_audio();
        let outlet = if audio { self.audio.as_mut() } else { self.video.as_mut() };
        let Some(outlet) = outlet else { return false };
        let Some(payload_type) = outlet.payload_type(packet.codec) else { return false };
        let incoming = forward.incoming();
        let leaps = outlet.rewriter.leaps(&incoming);
        let begins = if audio {
            leaps || outlet.rewriter.track() != Some(packet.track)
        } else {
            if leaps && self.wanted.is_none() {
                self.wanted = Some(packet.track);
                shared.notices.push(Notice::KeyframeWanted(packet.track));
            }
            packet.keyframe && self.wanted == Some(packet.track)
        };
        if begins {
            shared.counters.switches += u64::from(!audio && outlet.rewriter.track().is_some());
            outlet.rewriter.begin(&incoming, forward.before);
            if !audio {
                self.wanted = None;
            }
        }
        let Some(place) = outlet.rewriter.place(&incoming) else { return false };
        let mut api = self.link.rtc.direct_api();
        let Some(stream) = api.stream_tx(&outlet.ssrc) else { return false };
        if stream.queue_info().is_some_and(|queue| queue.packet_count() > MAX_QUEUED) {
            shared.counters.congested += 1;
            return false;
        }
        let wallclock = shared.clock.instant(packet.arrived);
        let payload = Arc::clone(&packet.payload);
        let mut write =
            RtpWrite::new(payload_type, place.seq.into(), place.timestamp, wallclock, payload)
                .marker(packet.marker)
                .nackable(!audio);
        if audio {
            write = write.ext_vals(ExtensionValues {
                audio_level: forward.level,
                voice_activity: forward.voice,
                ..ExtensionValues::default()
            });
        }
        if let Some(patch) = patch(forward, &place) {
            write = write.vp8_patch(patch);
        }
        stream.write_rtp(write);
        shared.counters.forwarded += 1;
        shared.counters.forwarded_bytes += packet.payload.len() as u64;
        true
    }

    /// Polls until str0m waits for time or input.
    pub fn drain(&mut self, shared: &mut Shared, now: HostTime) -> Result<(), Over> {
        let Self { link, budget, video, wanted, rate, .. } = self;
        link.drain(shared, now, |_, shared, event| match event {
            Event::KeyframeRequest(_) => {
                let playing = video.as_ref().and_then(|video| video.rewriter.track());
                if let Some(track) = wanted.or(playing) {
                    shared.notices.push(Notice::KeyframeWanted(track));
                }
            }
            Event::EgressBitrateEstimate(kind) => {
                match kind {
                    BweKind::Twcc { estimate, .. } => budget.estimated(estimate.as_u64()),
                    BweKind::Remb { estimate, .. } => budget.told(estimate.as_u64()),
                    _ => return,
                }
                shared.notices.push(Notice::Budget);
            }
            Event::PeerStats(stats) if stats.egress_loss_fraction.is_some() => budget.heard(),
            Event::MediaEgressStats(stats) => {
                if let Some(loss) = stats.loss {
                    budget.lost(loss, *rate);
                    shared.notices.push(Notice::Budget);
                }
            }
            // What it sends is not asked for; of its going the drain tells.
            _ => {}
        })
    }
}

/// What has to be changed in a VP8 payload's descriptor (RFC 7741 §4.2) for its new place.
fn patch(forward: &Forward, place: &Place) -> Option<Vp8Patch> {
    let descriptor = forward.vp8.filter(|_| (place.picture_shift, place.tl0_shift) != (0, 0))?;
    let id = descriptor.picture_id()?.wrapping_add(place.picture_shift) & 0x7fff;
    let mut patch = descriptor.patch().picture_id(id);
    if let Some(tl0) = descriptor.tl0_pic_idx() {
        patch = patch.tl0_pic_idx(tl0.wrapping_add(place.tl0_shift));
    }
    // A 7-bit picture id cannot be shifted far: then it stays, and a decoder takes the change of
    // numbers as it takes one by loss, at the key frame that this is.
    patch.build().ok()
}

fn mids(offer: &str) -> Vec<Mid> {
    offer.lines().filter_map(|line| line.trim_end().strip_prefix("a=mid:")).map(Mid::from).collect()
}

/// The medium of this kind that was answered, ready to be written to.
fn outlet(rtc: &mut Rtc, mids: &[Mid], kind: MediaKind, first: u16) -> Option<Outlet> {
    let media = mids.iter().filter_map(|mid| rtc.media(*mid));
    let media = media.filter(|media| media.kind() == kind && media.direction().is_sending());
    let media = media.filter(|media| !media.remote_pts().is_empty()).last()?;
    let (mid, offered) = (media.mid(), media.remote_pts().to_vec());
    let mut payload_types: Vec<(SourceCodec, Pt)> = Vec::new();
    for payload_type in offered {
        let params = rtc.codec_config().find(|params| params.pt() == payload_type);
        let codec = params.and_then(|params| source_codec(params.spec().codec));
        if let Some(codec) = codec.filter(|codec| payload_types.iter().all(|(c, _)| c != codec)) {
            payload_types.push((codec, payload_type));
        }
    }
    let mut api = rtc.direct_api();
    let stream = api.stream_tx_by_mid(mid, None)?;
    // What a publisher sends is paced by the publisher; a second pacer would only add delay, and
    // would hold everything back where no congestion feedback comes.
    stream.set_unpaced(true);
    if kind == MediaKind::Video {
        stream.set_rtx_cache(REPAIR_PACKETS, REPAIR_AGE, Some(REPAIR_SHARE));
    }
    let ssrc = stream.ssrc();
    let rewriter = match kind {
        MediaKind::Video => Rewriter::new(90_000, first, 2_000),
        // A second: who was muted longer begins anew.
        MediaKind::Audio => Rewriter::new(48_000, first, 50),
    };
    Some(Outlet { ssrc, payload_types, rewriter })
}
