//! The teacher's end of the WebRTC connection: one video and one audio track to send, no more.
//!
//! Made with the `webrtc` crate, on purpose another implementation than the SFU's. Of the library's
//! interceptors it uses the NACK responder (with RTX) and the transport-wide sequence numbers;
//! sender reports are made in [`super::rtp`], from capture time.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hw::codec::VideoOut;
use rtc::interceptor::{Attribute, Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::{
    configure_nack, configure_twcc_sender_only,
};
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_AV1, MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MIME_TYPE_VP9,
    MediaEngine,
};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters,
    RTCRtpEncodingParameters, RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::sansio::Protocol;
use tokio::sync::watch;
use webrtc::media_stream::track_local::{
    TrackLocal, TrackLocalEvent, static_rtp::TrackLocalStaticRTP,
};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry,
    SettingEngineBuilder, SrtpProtectionProfile,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

use super::rtp::Stream;

pub(super) use rtc::shared::error::Error as RtcError;

pub(crate) const OPUS_PAYLOAD_TYPE: u8 = 111;
pub(crate) const VIDEO_PAYLOAD_TYPE: u8 = 96;
pub(crate) const RTX_PAYLOAD_TYPE: u8 = 97;

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected yet.
    Connecting,
    /// ICE and DTLS are done.
    Connected,
    /// It failed, or the other side is gone.
    Gone,
}

/// What passes the wire, counted there.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) packets: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) retransmitted: AtomicU64,
}

/// A track and the stream on it.
pub(super) struct Track {
    pub(super) track: Arc<TrackLocalStaticRTP>,
    pub(super) stream: Stream,
}

/// A peer connection that is about to send.
pub(super) struct Peer {
    connection: Box<dyn PeerConnection>,
    state: watch::Receiver<State>,
    gathered: watch::Receiver<bool>,
    pub(super) wire: Arc<Wire>,
    video: Arc<TrackLocalStaticRTP>,
    audio: Arc<TrackLocalStaticRTP>,
    codec: RTCRtpCodec,
    ssrcs: Ssrcs,
}

#[derive(Clone, Copy)]
struct Ssrcs {
    video: u32,
    rtx: u32,
    audio: u32,
}

impl Peer {
    /// Makes a connection that will send from `from`.
    pub(super) async fn new(codec: VideoOut, from: IpAddr) -> Result<Self, RtcError> {
        let ssrcs = Ssrcs { video: rand::random(), rtx: rand::random(), audio: rand::random() };
        let wire = Arc::new(Wire::default());
        let codec = video_codec(codec);
        let mut engine = MediaEngine::default();
        engine.register_codec(
            codec_parameters(codec.clone(), VIDEO_PAYLOAD_TYPE),
            RtpCodecKind::Video,
        )?;
        engine
            .register_codec(codec_parameters(rtx_codec(), RTX_PAYLOAD_TYPE), RtpCodecKind::Video)?;
        engine.register_codec(
            codec_parameters(opus_codec(), OPUS_PAYLOAD_TYPE),
            RtpCodecKind::Audio,
        )?;
        let registry = configure_nack(Registry::new(), &mut engine);
        let registry = configure_twcc_sender_only(registry, &mut engine)?
            .with(Slot::from(1), Tap::counting(Arc::clone(&wire), ssrcs.rtx))
            .with(Slot::from(14_000), Tap::requests());

        let (state_tx, state) = watch::channel(State::Connecting);
        let (gathered_tx, gathered) = watch::channel(false);
        let settings = SettingEngineBuilder::new()
            .with_include_loopback_candidate(from.is_loopback())
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ])
            .build();
        let connection = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(engine)
            .with_setting_engine(settings)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(Events { state: state_tx, gathered: gathered_tx }))
            .with_udp_addrs(vec![SocketAddr::new(from, 0)])
            .build();
        // Some 20 kB of state machine: on the heap, not in every caller's future.
        let connection = Box::pin(connection).await?;

        let rtx = Some(RTCRtpRtxParameters { ssrc: ssrcs.rtx });
        let video = local_track("video", RtpCodecKind::Video, codec.clone(), ssrcs.video, rtx);
        let audio = local_track("audio", RtpCodecKind::Audio, opus_codec(), ssrcs.audio, None);
        for track in [&video, &audio] {
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Sendonly,
                ..Default::default()
            };
            connection
                .add_transceiver_from_track(Arc::clone(track) as Arc<dyn TrackLocal>, Some(init))
                .await?;
        }
        Ok(Self {
            connection: Box::new(connection),
            state,
            gathered,
            wire,
            video,
            audio,
            codec,
            ssrcs,
        })
    }

    /// The offer, with all its candidates.
    pub(super) async fn offer(&mut self) -> Result<String, RtcError> {
        let offer = self.connection.create_offer(None).await?;
        self.connection.set_local_description(offer).await?;
        // Host candidates only: this takes milliseconds; the limit is for a driver that died.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.gathered.wait_for(|done| *done))
            .await;
        let local = self.connection.local_description().await;
        local.map(|description| description.sdp).ok_or(RtcError::ErrConnectionClosed)
    }

    /// Takes the answer and gives the two tracks, video and audio, ready to be written to.
    pub(super) async fn accept(&self, answer: String) -> Result<(Track, Track), RtcError> {
        self.connection.set_remote_description(RTCSessionDescription::answer(answer)?).await?;
        let mut types =
            [(RtpCodecKind::Video, VIDEO_PAYLOAD_TYPE), (RtpCodecKind::Audio, OPUS_PAYLOAD_TYPE)];
        for sender in self.connection.get_senders().await {
            let kind = sender.track().kind().await;
            let parameters = sender.get_parameters().await?;
            let negotiated = parameters.rtp_parameters.codecs.iter();
            let mut negotiated =
                negotiated.filter(|c| !c.rtp_codec.mime_type.eq_ignore_ascii_case(MIME_TYPE_RTX));
            if let Some(codec) = negotiated.next() {
                types
                    .iter_mut()
                    .filter(|(k, _)| *k == kind)
                    .for_each(|(_, t)| *t = codec.payload_type);
            }
        }
        let [(_, video_type), (_, audio_type)] = types;
        let random = || (rand::random(), rand::random());
        let video =
            Stream::new(self.ssrcs.video, video_type, 90_000, self.codec.payloader()?, random());
        let audio =
            Stream::new(self.ssrcs.audio, audio_type, 48_000, opus_codec().payloader()?, random());
        Ok((
            Track { track: Arc::clone(&self.video), stream: video },
            Track { track: Arc::clone(&self.audio), stream: audio },
        ))
    }

    /// Where the connection stands, from now on.
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// The video track's requests for key frames, one by one; ends with the connection.
    pub(super) fn key_frame_requests(&self) -> impl Future<Output = Option<()>> + Send + use<> {
        let track = Arc::clone(&self.video);
        async move {
            loop {
                match track.poll().await? {
                    TrackLocalEvent::OnRtcpPacket(packets)
                        if packets.iter().any(|packet| is_key_frame_request(packet.as_ref())) =>
                    {
                        return Some(());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Closes the connection.
    pub(super) async fn close(&self) -> Result<(), RtcError> {
        self.connection.close().await
    }
}

fn local_track(
    name: &str,
    kind: RtpCodecKind,
    codec: RTCRtpCodec,
    ssrc: u32,
    rtx: Option<RTCRtpRtxParameters>,
) -> Arc<TrackLocalStaticRTP> {
    let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), rtx, ..Default::default() };
    let encoding =
        RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec, ..Default::default() };
    let track = MediaStreamTrack::new(
        "teacher".to_owned(),
        name.to_owned(),
        name.to_owned(),
        kind,
        vec![encoding],
    );
    Arc::new(TrackLocalStaticRTP::new(track))
}

fn codec_parameters(rtp_codec: RTCRtpCodec, payload_type: u8) -> RTCRtpCodecParameters {
    RTCRtpCodecParameters { rtp_codec, payload_type }
}

pub(crate) fn video_codec(codec: VideoOut) -> RTCRtpCodec {
    let (mime_type, sdp_fmtp_line) = match codec {
        VideoOut::H264 => (
            MIME_TYPE_H264,
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        ),
        VideoOut::Vp8 => (MIME_TYPE_VP8, ""),
        VideoOut::Vp9 => (MIME_TYPE_VP9, "profile-id=0"),
        VideoOut::Av1 => (MIME_TYPE_AV1, ""),
    };
    let feedback = |typ: &str, parameter: &str| RTCPFeedback {
        typ: typ.to_owned(),
        parameter: parameter.to_owned(),
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: sdp_fmtp_line.to_owned(),
        rtcp_feedback: vec![feedback("ccm", "fir")],
    }
}

pub(crate) fn rtx_codec() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: format!("apt={VIDEO_PAYLOAD_TYPE}"),
        rtcp_feedback: vec![],
    }
}

pub(crate) fn opus_codec() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1".to_owned(),
        rtcp_feedback: vec![],
    }
}

fn is_key_frame_request(packet: &dyn rtc::rtcp::Packet) -> bool {
    let packet = packet.as_any();
    packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>()
}

struct Events {
    state: watch::Sender<State>,
    gathered: watch::Sender<bool>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        tracing::debug!(%state, "teacher's connection");
        match state {
            RTCPeerConnectionState::Connected => self.state.send_replace(State::Connected),
            RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                self.state.send_replace(State::Gone)
            }
            // Disconnected may heal by itself; the library says Failed when it did not.
            _ => return,
        };
    }
}

/// Two taps on the library's packet path: next to the wire it counts what is sent, next to the
/// application it lets requests for key frames through, which the library keeps to itself otherwise.
struct Tap {
    count: Option<(Arc<Wire>, u32)>,
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Tap {
    fn counting(wire: Arc<Wire>, rtx: u32) -> Self {
        Self { count: Some((wire, rtx)), read: VecDeque::new(), write: VecDeque::new() }
    }

    fn requests() -> Self {
        Self { count: None, read: VecDeque::new(), write: VecDeque::new() }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = RtcError;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), RtcError> {
        if let (None, Packet::Rtcp(packets)) = (&self.count, &message.message.packet)
            && packets.iter().any(|packet| is_key_frame_request(packet.as_ref()))
        {
            message.message.add(Attribute::DeliverToApplication);
        }
        self.read.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), RtcError> {
        if let (Some((wire, rtx)), Packet::Rtp(packet)) = (&self.count, &message.message.packet) {
            wire.packets.fetch_add(1, Ordering::Relaxed);
            wire.bytes.fetch_add(packet.payload.len() as u64 + 12, Ordering::Relaxed);
            wire.retransmitted.fetch_add(u64::from(packet.header.ssrc == *rtx), Ordering::Relaxed);
        }
        self.write.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }
}

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
