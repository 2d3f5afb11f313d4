//! What is answered to an offer: candidates, credentials, codecs, extensions.

use super::Core;
use crate::sfu::connection::guarded;
use crate::sfu::sdp::Credentials;
use crate::sfu::subscriber::FIRST_ESTIMATE;
use crate::sfu::words::PublishError;
use crate::time::HostTime;
use rand::Rng;
use std::net::SocketAddr;
use std::time::Duration;
use str0m::bwe::Bitrate;
use str0m::change::SdpOffer;
use str0m::format::{Codec, FormatParams};
use str0m::media::Frequency;
use str0m::net::{Protocol, TcpType};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

/// How connections of each kind are made.
pub(super) struct Engine {
    publisher: RtcConfig,
    /// Without an estimate of its bandwidth, and with.
    subscriber: [RtcConfig; 2],
}

impl Engine {
    pub fn new() -> Self {
        let common = rtc_config();
        let second = Some(Duration::from_secs(1));
        let first = Bitrate::from(FIRST_ESTIMATE);
        Self {
            publisher: common.clone().set_stats_interval(second),
            subscriber: [common.clone(), common.set_stats_interval(second).enable_bwe(Some(first))],
        }
    }
}

impl Core {
    /// `subscriber` says whether its bandwidth is to be estimated; `None` is a publisher.
    pub(super) fn negotiate(
        &mut self,
        now: HostTime,
        offer: &str,
        subscriber: Option<bool>,
    ) -> Result<(Rtc, String, Credentials), PublishError> {
        let unprocessable = PublishError::Unprocessable;
        let parsed = guarded(|| SdpOffer::from_sdp_string(offer)).map_err(PublishError::BadSdp)?;
        let remote = Credentials::find(offer).ok_or_else(|| {
            unprocessable("a=ice-ufrag and a=ice-pwd are missing: it is no WebRTC offer".into())
        })?;
        let ours = self.credentials();
        let [plain, estimated] = &self.engine.subscriber;
        let config = match subscriber {
            None => &self.engine.publisher,
            Some(false) => plain,
            Some(true) => estimated,
        };
        let config = config.clone().set_local_ice_credentials(ours);
        let at = self.shared.clock.instant(now);
        let mut rtc = config.build(at);
        self.add_candidates(&mut rtc);
        let answer = guarded(|| rtc.sdp_api().accept_offer(parsed)).map_err(unprocessable)?;
        let answer = answer.to_sdp_string();
        refuse_without_codec(&answer)?;
        Ok((rtc, answer, remote))
    }

    /// ICE's own alphabet (RFC 8839 §5.4), 48 bits of user name and 144 of password.
    fn credentials(&mut self) -> IceCreds {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = |length: usize| -> String {
            let random = &mut self.random;
            (0..length).map(|_| char::from(ALPHABET[random.random_range(0..64)])).collect()
        };
        IceCreds { ufrag: text(8), pass: text(24) }
    }

    fn add_candidates(&self, rtc: &mut Rtc) {
        for ip in &self.addresses.announced {
            let address = SocketAddr::new(*ip, self.port);
            if let Ok(candidate) = Candidate::host(address, Protocol::Udp) {
                rtc.add_local_candidate(candidate);
            }
            if self.shared.config.tcp {
                let tcp = Candidate::builder().tcp().host(address).tcptype(TcpType::Passive);
                if let Ok(candidate) = tcp.build() {
                    rtc.add_local_candidate(candidate);
                }
            }
        }
    }
}

/// What every connection has in common. The certificate too: it is made once a process, and its
/// fingerprint in each answer binds it to the session.
fn rtc_config() -> RtcConfig {
    let provider = std::sync::Arc::new(str0m::crypto::from_feature_flags());
    let certificate = provider.dtls_provider.generate_certificate();
    let mut config = RtcConfig::new()
        .set_crypto_provider(provider)
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_vp8(true)
        .enable_av1(true)
        .set_extension_map(extensions());
    if let Some(certificate) = certificate {
        config = config.set_dtls_cert(certificate);
    }
    let codecs = config.codec_config();
    // Packetization mode 1 only: mode 0 has no FU-A, so an encoder that does not slice cannot use
    // it. Baseline, constrained baseline, main, constrained high and high; a level is a wish, not
    // a limit. The numbers are only names: an answer uses the offer's.
    let profiles = [
        (127, 121, 0x42001f),
        (108, 109, 0x42e01f),
        (123, 119, 0x4d001f),
        (37, 38, 0x640c1f),
        (114, 115, 0x64001f),
    ];
    for (payload_type, repair, profile) in profiles {
        codecs.add_h264(payload_type.into(), Some(u8::into(repair)), true, profile);
    }
    let profile_0 = FormatParams { profile_id: Some(0), ..FormatParams::default() };
    codecs.add_config(
        98.into(),
        Some(99.into()),
        Codec::Vp9,
        Frequency::NINETY_KHZ,
        None,
        profile_0,
    );
    config
}

/// Congestion feedback, stream identity, loudness. Left out with purpose: video orientation (a publisher
/// that cannot signal it turns its picture upright before it encodes).
fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(1, Extension::AudioLevel);
    map.set(3, Extension::TransportSequenceNumber);
    map.set(4, Extension::RtpMid);
    map.set(10, Extension::RtpStreamId);
    map.set(11, Extension::RepairedRtpStreamId);
    map
}

/// str0m answers media of which it knows no codec with port 0, and goes on. A class without a
/// picture is not what the publisher wanted, so it is told.
fn refuse_without_codec(answer: &str) -> Result<(), PublishError> {
    for line in answer.lines() {
        if line.starts_with("m=video 0 ") {
            return Err(PublishError::NotAcceptable(
                "no video codec in common: offer H.264 (packetization-mode=1; baseline, main or \
                 high profile), VP8, VP9 (profile 0) or AV1"
                    .into(),
            ));
        }
        if line.starts_with("m=audio 0 ") {
            return Err(PublishError::NotAcceptable(
                "no audio codec in common: offer Opus (opus/48000/2)".into(),
            ));
        }
    }
    Ok(())
}
