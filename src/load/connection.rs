//! One peer connection on the protocol core of the `webrtc` crate, without its driver: real ICE,
//! DTLS and SRTP, fed by the generator's own socket loop.
//!
//! The crate's driver gives every connection tasks and a socket of its own, and carries every packet
//! through eight layers. Hundreds of subscribers on the machine that also runs the server would
//! measure that, not the server. So the driver here counts packets by their headers and hands to the
//! library what needs keys: the handshakes, all RTCP, retransmissions, and a sample of the media.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::interceptor::{Attribute, Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::interceptor_registry::{
    Registry, configure_nack, configure_twcc_sender_only,
};
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpRtxParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpSenderId, RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};

use super::SdpError;
use super::sdp::{self, Agreed};
use crate::teacher::peer::{
    OPUS_PAYLOAD_TYPE, RTX_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE, opus_codec, rtx_codec, video_codec,
};

pub(super) use rtc::shared::error::Error as RtcError;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    Connected,
    /// It failed, or the other side ended it.
    Gone,
}

/// The streams a publisher sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ssrcs {
    pub(super) video: u32,
    rtx: u32,
    pub(super) audio: u32,
}

/// A connection, and what it waits for next.
pub(super) struct Connection {
    inner: Box<RTCPeerConnection>,
    local: SocketAddr,
    state: State,
    /// When [`Self::expire`] wants to be called.
    pub(super) next: Instant,
}

/// Where packets to send go: to which address, what.
pub(super) type Send<'a> = &'a mut dyn FnMut(SocketAddr, &[u8]);

impl Connection {
    /// A connection that will send one H.264 and one Opus stream from `local`.
    pub(super) fn to_send(
        local: SocketAddr,
        now: Instant,
    ) -> Result<(Self, Ssrcs, [RTCRtpSenderId; 2]), RtcError> {
        let mut engine = engine()?;
        let registry = configure_nack(Registry::new(), &mut engine);
        let registry = configure_twcc_sender_only(registry, &mut engine)?;
        let mut connection = Self::new(local, engine, registry, now)?;
        let ssrcs = Ssrcs { video: rand::random(), rtx: rand::random(), audio: rand::random() };
        let repair = Some(RTCRtpRtxParameters { ssrc: ssrcs.rtx });
        let streams = [
            ("video", RtpCodecKind::Video, h264(), ssrcs.video, repair),
            ("audio", RtpCodecKind::Audio, opus_codec(), ssrcs.audio, None),
        ];
        for (name, kind, codec, ssrc, rtx) in streams {
            let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), rtx, ..Default::default() };
            let encoding = RTCRtpEncodingParameters {
                rtp_coding_parameters: coding,
                codec,
                ..Default::default()
            };
            let (stream, name) = ("load".to_owned(), name.to_owned());
            let track = MediaStreamTrack::new(stream, name.clone(), name, kind, vec![encoding]);
            let init = transceiver(RTCRtpTransceiverDirection::Sendonly);
            connection.inner.add_transceiver_from_track(track, Some(init))?;
        }
        let mut senders = connection.inner.get_senders();
        let (Some(video), Some(audio)) = (senders.next(), senders.next()) else {
            return Err(RtcError::ErrSenderWithNoSSRCs);
        };
        drop(senders);
        Ok((connection, ssrcs, [video, audio]))
    }

    /// A connection that will receive one video and one audio stream at `local`. Its feedback is
    /// made by the generator: the library would want every packet for that.
    pub(super) fn to_receive(local: SocketAddr, now: Instant) -> Result<Self, RtcError> {
        let mut engine = engine()?;
        // For what they write into the description; their packets would come from half the truth.
        let _ = configure_nack(Registry::new(), &mut engine);
        let _ = configure_twcc_sender_only(Registry::new(), &mut engine)?;
        let mut connection = Self::new(local, engine, Registry::new(), now)?;
        for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
            let init = transceiver(RTCRtpTransceiverDirection::Recvonly);
            connection.inner.add_transceiver_from_kind(kind, Some(init))?;
        }
        Ok(connection)
    }

    fn new(
        local: SocketAddr,
        engine: MediaEngine,
        registry: Registry,
        now: Instant,
    ) -> Result<Self, RtcError> {
        let settings = SettingEngineBuilder::new()
            .with_include_loopback_candidate(local.ip().is_loopback())
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ])
            .build();
        let inner = RTCPeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(engine)
            .with_setting_engine(settings)
            .with_interceptor_registry(registry.with(Slot::from(14_000), Deliver::default()))
            .build(now)?;
        let (inner, state) = (Box::new(inner), State::Connecting);
        Ok(Self { inner, local, state, next: now })
    }

    /// The offer, with its one candidate.
    pub(super) fn offer(&mut self, now: Instant) -> Result<String, RtcError> {
        let offer = self.inner.create_offer(None)?;
        self.inner.set_local_description(now, offer)?;
        self.described()
    }

    /// Takes the server's answer.
    pub(super) fn accept(&mut self, answer: &str, now: Instant) -> Result<Agreed, SdpError> {
        let answer = sdp::one_candidate(answer, self.local.ip())?;
        let agreed = Agreed::read(&answer);
        self.inner.set_remote_description(now, RTCSessionDescription::answer(answer)?)?;
        self.next = now;
        Ok(agreed)
    }

    /// Answers the server's offer.
    pub(super) fn answer(
        &mut self,
        offer: &str,
        now: Instant,
    ) -> Result<(String, Agreed), SdpError> {
        let offer = sdp::one_candidate(offer, self.local.ip())?;
        let agreed = Agreed::read(&offer);
        self.inner.set_remote_description(now, RTCSessionDescription::offer(offer)?)?;
        let answer = self.inner.create_answer(None)?;
        self.inner.set_local_description(now, answer)?;
        self.next = now;
        Ok((self.described()?, agreed))
    }

    fn described(&mut self) -> Result<String, RtcError> {
        let host = CandidateHostConfig {
            base_config: CandidateConfig {
                network: "udp".to_owned(),
                address: self.local.ip().to_string(),
                port: self.local.port(),
                component: 1,
                ..Default::default()
            },
            ..Default::default()
        };
        let candidate = RTCIceCandidate::from(&host.new_candidate_host()?).to_json()?;
        self.inner.add_local_candidate(candidate)?;
        self.inner.add_local_candidate(Default::default())?;
        let local = self.inner.local_description();
        local.map(|description| description.sdp).ok_or(RtcError::ErrConnectionClosed)
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The payload type the other side agreed to for what `sender` sends.
    pub(super) fn payload_type(&mut self, sender: RTCRtpSenderId) -> Option<u8> {
        let mut sender = self.inner.rtp_sender(sender)?;
        let mut codecs = sender.get_parameters().rtp_parameters.codecs.iter();
        codecs
            .find(|codec| !codec.rtp_codec.mime_type.to_ascii_lowercase().ends_with("/rtx"))
            .map(|codec| codec.payload_type)
    }

    /// Gives a datagram to the library. What it is refused for is its own affair: foreign bytes.
    pub(super) fn handle(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let transport = TransportContext {
            local_addr: self.local,
            peer_addr: from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let message = BytesMut::from(bytes);
        if let Err(error) = self.inner.handle_read(TaggedBytesMut { now, transport, message }) {
            tracing::debug!(%error, "a datagram the library refused");
        }
    }

    /// The next decrypted packet.
    pub(super) fn read(&mut self) -> Option<RTCMessage> {
        self.inner.poll_media_read().map(|tagged| tagged.message)
    }

    /// Sends RTP on a stream of [`Self::to_send`]; it leaves with the next [`Self::pump`].
    pub(super) fn write(
        &mut self,
        sender: RTCRtpSenderId,
        packet: rtc::rtp::Packet,
        now: Instant,
    ) -> Result<(), RtcError> {
        match self.inner.rtp_sender(sender) {
            Some(mut sender) => sender.write_rtp(now, packet),
            None => Err(RtcError::ErrConnectionClosed),
        }
    }

    /// Sends RTCP; it leaves with the next [`Self::pump`].
    pub(super) fn write_rtcp(&mut self, packets: Vec<Box<dyn rtc::rtcp::Packet>>, now: Instant) {
        let message = RTCMessage::RtcpPacket(Default::default(), packets);
        if let Err(error) = self.inner.handle_write(TaggedRTCMessage { now, message }) {
            tracing::debug!(%error, "feedback was not sent");
        }
    }

    /// Lets the library's timers run.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Err(error) = self.inner.handle_timeout(now) {
            tracing::debug!(%error, "a timer failed");
        }
    }

    /// Hands out what is to be sent, takes note of events, and asks when to come back.
    pub(super) fn pump(&mut self, now: Instant, send: Send<'_>) {
        while let Some(out) = self.inner.poll_write() {
            send(out.transport.peer_addr, &out.message);
        }
        while let Some(event) = self.inner.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                match state {
                    RTCPeerConnectionState::Connected => self.state = State::Connected,
                    RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => {
                        self.state = State::Gone;
                    }
                    // Disconnected may heal by itself.
                    _ => {}
                }
            }
        }
        // Not before a millisecond has passed: a timer that is due at once would spin.
        let soonest = now + std::time::Duration::from_millis(1);
        let latest = now + std::time::Duration::from_secs(1);
        self.next = self.inner.poll_timeout().unwrap_or(latest).clamp(soonest, latest);
    }

    /// Sends only what RTP or RTCP was written, without the events' sweep.
    pub(super) fn flush(&mut self, send: Send<'_>) {
        while let Some(out) = self.inner.poll_write() {
            send(out.transport.peer_addr, &out.message);
        }
    }

    /// Ends the connection; the farewell leaves through `send`.
    pub(super) fn close(&mut self, send: Send<'_>) {
        if let Err(error) = self.inner.close() {
            tracing::debug!(%error, "a connection did not close as it should");
        }
        self.flush(send);
        self.state = State::Gone;
    }
}

fn transceiver(direction: RTCRtpTransceiverDirection) -> RTCRtpTransceiverInit {
    RTCRtpTransceiverInit { direction, ..Default::default() }
}

fn h264() -> RTCRtpCodec {
    video_codec(hw::codec::VideoOut::H264)
}

fn engine() -> Result<MediaEngine, RtcError> {
    let mut engine = MediaEngine::default();
    let codecs = [
        (h264(), VIDEO_PAYLOAD_TYPE, RtpCodecKind::Video),
        (rtx_codec(), RTX_PAYLOAD_TYPE, RtpCodecKind::Video),
        (opus_codec(), OPUS_PAYLOAD_TYPE, RtpCodecKind::Audio),
    ];
    for (rtp_codec, payload_type, kind) in codecs {
        engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, kind)?;
    }
    Ok(engine)
}

/// Lets all RTCP through to the application: the library keeps it to itself otherwise.
#[derive(Default)]
struct Deliver {
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Deliver {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = RtcError;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), RtcError> {
        if let Packet::Rtcp(_) = &message.message.packet {
            message.message.add(Attribute::DeliverToApplication);
        }
        self.read.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), RtcError> {
        self.write.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }
}

impl Interceptor for Deliver {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
