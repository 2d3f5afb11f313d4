//! Opus, 48 kHz, stereo, by libopus directly: FFmpeg's wrapper can neither conceal a lost packet nor
//! read the redundancy that the next one carries (RFC 6716, 2.1.7; RFC 7587, 3.1.2).

use super::error::{CodecError, OpenError};
use std::ffi::{CStr, c_char, c_int};
use std::ptr::{self, NonNull};

/// The longest Opus packet: 120 ms at 48 kHz, in samples a channel.
const LONGEST: usize = 5760;
const RATE: i32 = 48_000;
/// 20 ms: what our encoder makes of each call.
const FRAME: usize = 960;

#[repr(C)]
struct RawDecoder {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawEncoder {
    _opaque: [u8; 0],
}

// The library is linked by its soname: it is always there where libavcodec is, without the package
// that holds its headers. Names and types are those of opus.h, unchanged since libopus 1.0.
#[link(name = "libopus.so.0", kind = "dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    fn opus_get_version_string() -> *const c_char;
    fn opus_strerror(error: c_int) -> *const c_char;
    fn opus_decoder_create(rate: i32, channels: c_int, error: *mut c_int) -> *mut RawDecoder;
    fn opus_decoder_destroy(decoder: *mut RawDecoder);
    fn opus_decode_float(
        decoder: *mut RawDecoder,
        data: *const u8,
        len: i32,
        pcm: *mut f32,
        frame_size: c_int,
        decode_fec: c_int,
    ) -> c_int;
    fn opus_encoder_create(
        rate: i32,
        channels: c_int,
        application: c_int,
        error: *mut c_int,
    ) -> *mut RawEncoder;
    fn opus_encoder_destroy(encoder: *mut RawEncoder);
    fn opus_encoder_ctl(encoder: *mut RawEncoder, request: c_int, ...) -> c_int;
    fn opus_encode_float(
        encoder: *mut RawEncoder,
        pcm: *const f32,
        frame_size: c_int,
        data: *mut u8,
        max_data_bytes: i32,
    ) -> i32;
}

const OPUS_APPLICATION_AUDIO: c_int = 2049;
const OPUS_SET_BITRATE_REQUEST: c_int = 4002;
const OPUS_SET_INBAND_FEC_REQUEST: c_int = 4012;
const OPUS_SET_PACKET_LOSS_PERC_REQUEST: c_int = 4014;

/// libopus' own version text.
pub(super) fn version() -> String {
    // SAFETY: a static zero-terminated text.
    unsafe { CStr::from_ptr(opus_get_version_string()) }.to_string_lossy().into_owned()
}

fn error_text(code: c_int) -> String {
    // SAFETY: a static zero-terminated text, whatever the code.
    unsafe { CStr::from_ptr(opus_strerror(code)) }.to_string_lossy().into_owned()
}

fn cannot_open(code: c_int) -> CodecError {
    CodecError::from(OpenError {
        codec: "libopus",
        option: None,
        said: error_text(code),
        cure: "Free memory; if it persists, reinstall the package libopus0".into(),
    })
}

/// Made-up sound is heard as it is for this long, then fades: 60 ms, in samples.
const FADE_AFTER: usize = 2880;
/// The fade takes this long: 200 ms, in samples.
const FADE: usize = 9600;

/// An Opus decoder, 48 kHz, stereo. Samples are interleaved, full scale at 1.0.
pub struct OpusDecoder {
    raw: NonNull<RawDecoder>,
    /// Samples a channel made up since the last packet.
    made_up: usize,
}

// SAFETY: a decoder is plain memory without ties to a thread; used through &mut only.
unsafe impl Send for OpusDecoder {}

impl OpusDecoder {
    /// A decoder; mono packets come out as stereo.
    ///
    /// # Errors
    /// [`CodecError::Open`] if there is no memory.
    pub fn new() -> Result<Self, CodecError> {
        let mut code = 0;
        // SAFETY: `code` is written; null means it could not be made.
        let raw = unsafe { opus_decoder_create(RATE, 2, &mut code) };
        let raw = NonNull::new(raw).ok_or_else(|| cannot_open(code))?;
        Ok(Self { raw, made_up: 0 })
    }

    /// Decodes a packet; adds its samples to `out` and returns how many a channel they are.
    ///
    /// # Errors
    /// [`CodecError::BadData`]: the packet is malformed; treat it as lost.
    pub fn decode(&mut self, packet: &[u8], out: &mut Vec<f32>) -> Result<usize, CodecError> {
        if packet.is_empty() {
            // libopus would take it for a lost packet.
            let said = "an empty packet".into();
            return Err(CodecError::BadData { codec: "opus decoder", said });
        }
        self.made_up = 0;
        self.run(packet, LONGEST, false, out)
    }

    /// Makes up `samples` a channel where packets are missing; rounded up to libopus' unit of 2.5 ms
    /// (120 samples), and at most 120 ms. Fades to silence over about a quarter of a second if no
    /// packet comes: libopus alone would hum on for ever.
    ///
    /// # Errors
    /// [`CodecError::BadData`] if libopus cannot.
    pub fn conceal(&mut self, samples: usize, out: &mut Vec<f32>) -> Result<usize, CodecError> {
        let start = out.len();
        let made = self.run(&[], unit(samples), false, out)?;
        for (n, pair) in (self.made_up..).zip(out[start..].chunks_exact_mut(2)) {
            let gain = 1.0 - n.saturating_sub(FADE_AFTER) as f32 / FADE as f32;
            pair.iter_mut().for_each(|s| *s *= gain.max(0.0));
        }
        self.made_up = self.made_up.saturating_add(made);
        Ok(made)
    }

    /// Makes up `samples` a channel right before `next`, the packet after a gap, from the redundancy
    /// it carries; like [`OpusDecoder::conceal`] where it carries none. Decode `next` itself after.
    ///
    /// # Errors
    /// [`CodecError::BadData`] if `next` is malformed.
    pub fn recover(
        &mut self,
        next: &[u8],
        samples: usize,
        out: &mut Vec<f32>,
    ) -> Result<usize, CodecError> {
        self.made_up = 0;
        self.run(next, unit(samples), !next.is_empty(), out)
    }

    fn run(
        &mut self,
        packet: &[u8],
        samples: usize,
        redundancy: bool,
        out: &mut Vec<f32>,
    ) -> Result<usize, CodecError> {
        let start = out.len();
        out.resize(start + 2 * samples, 0.0);
        let data = if packet.is_empty() { ptr::null() } else { packet.as_ptr() };
        let len = i32::try_from(packet.len()).unwrap_or(i32::MAX);
        // SAFETY: the decoder lives; data is null or `len` bytes; pcm has room for `samples` stereo
        // samples, and libopus writes no more than it is told there is room for.
        let code = unsafe {
            let pcm = out.as_mut_ptr().add(start);
            opus_decode_float(
                self.raw.as_ptr(),
                data,
                len,
                pcm,
                samples as c_int,
                redundancy.into(),
            )
        };
        let made = usize::try_from(code).unwrap_or(0).min(samples);
        out.truncate(start + 2 * made);
        match code {
            0.. => Ok(made),
            code => Err(CodecError::BadData { codec: "opus decoder", said: error_text(code) }),
        }
    }
}

fn unit(samples: usize) -> usize {
    samples.clamp(1, LONGEST).next_multiple_of(120)
}

impl Drop for OpusDecoder {
    fn drop(&mut self) {
        // SAFETY: self owned it.
        unsafe { opus_decoder_destroy(self.raw.as_ptr()) };
    }
}

/// An Opus encoder, 48 kHz, stereo, 20 ms packets with in-band redundancy, as browsers send.
pub struct OpusEncoder(NonNull<RawEncoder>);

// SAFETY: as for the decoder.
unsafe impl Send for OpusEncoder {}

impl OpusEncoder {
    /// Samples a channel in each packet.
    pub const FRAME: usize = FRAME;

    /// An encoder at `bitrate` bits a second (6 to 510 kb/s), sized for `loss` percent of packets lost.
    ///
    /// # Errors
    /// [`CodecError::Open`] if libopus refuses a value, or there is no memory.
    pub fn new(bitrate: u32, loss: u8) -> Result<Self, CodecError> {
        let mut code = 0;
        // SAFETY: `code` is written; null means it could not be made.
        let raw = unsafe { opus_encoder_create(RATE, 2, OPUS_APPLICATION_AUDIO, &mut code) };
        let encoder = Self(NonNull::new(raw).ok_or_else(|| cannot_open(code))?);
        let settings = [
            ("bitrate", OPUS_SET_BITRATE_REQUEST, bitrate.min(1 << 20) as i32),
            ("inband_fec", OPUS_SET_INBAND_FEC_REQUEST, 1),
            ("packet_loss_perc", OPUS_SET_PACKET_LOSS_PERC_REQUEST, i32::from(loss)),
        ];
        for (name, request, value) in settings {
            // SAFETY: each of these requests takes one opus_int32 by value.
            let code = unsafe { opus_encoder_ctl(encoder.0.as_ptr(), request, value) };
            if code < 0 {
                return Err(CodecError::from(OpenError {
                    codec: "libopus",
                    option: Some((name.into(), value.to_string())),
                    said: error_text(code),
                    cure: "Use 6 to 510 kb/s and a loss of 0 to 100 percent".into(),
                }));
            }
        }
        Ok(encoder)
    }

    /// Encodes 20 ms: 960 samples a channel, interleaved.
    ///
    /// # Errors
    /// [`CodecError::BadData`] if it is another number of samples; [`CodecError::Failed`].
    pub fn encode(&mut self, samples: &[f32]) -> Result<Vec<u8>, CodecError> {
        if samples.len() != 2 * FRAME {
            let said = format!("{} interleaved samples instead of {}", samples.len(), 2 * FRAME);
            return Err(CodecError::BadData { codec: "libopus", said });
        }
        let mut packet = vec![0; 1275 * 3 + 7]; // the most a 20 ms packet can take
        // SAFETY: the encoder lives; pcm holds FRAME stereo samples; the packet's size is given.
        let code = unsafe {
            let (pcm, room) = (samples.as_ptr(), packet.len() as i32);
            opus_encode_float(self.0.as_ptr(), pcm, FRAME as c_int, packet.as_mut_ptr(), room)
        };
        match usize::try_from(code) {
            Ok(len) => {
                packet.truncate(len);
                Ok(packet)
            }
            Err(_) => Err(CodecError::Failed { codec: "libopus", said: error_text(code) }),
        }
    }
}

impl Drop for OpusEncoder {
    fn drop(&mut self) {
        // SAFETY: self owned it.
        unsafe { opus_encoder_destroy(self.0.as_ptr()) };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tone(first: usize) -> Vec<f32> {
        (first..first + FRAME)
            .flat_map(|n| {
                let s = (n as f32 * 300.0 * std::f32::consts::TAU / RATE as f32).sin() * 0.4;
                [s, s]
            })
            .collect()
    }

    fn energy(samples: &[f32]) -> f32 {
        samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32
    }

    #[test]
    fn a_tone_goes_through_and_a_gap_is_filled_from_both_sides() {
        let mut encoder = OpusEncoder::new(48_000, 20).unwrap();
        let mut decoder = OpusDecoder::new().unwrap();
        let packets: Vec<_> = (0..50).map(|n| encoder.encode(&tone(n * FRAME)).unwrap()).collect();
        for (n, packet) in packets.iter().enumerate() {
            let mut out = Vec::new();
            let made = match n {
                20 => decoder.conceal(FRAME, &mut out).unwrap(),
                30 => decoder.recover(&packets[31], FRAME, &mut out).unwrap(),
                _ => decoder.decode(packet, &mut out).unwrap(),
            };
            assert_eq!((made, out.len()), (FRAME, 2 * FRAME), "packet {n}");
            if n > 2 {
                let level = energy(&out) / energy(&tone(n * FRAME));
                assert!((0.3..1.6).contains(&level), "packet {n}: {level}");
            }
        }
    }

    #[test]
    fn concealment_that_lasts_fades_to_silence() {
        let mut encoder = OpusEncoder::new(64_000, 0).unwrap();
        let mut decoder = OpusDecoder::new().unwrap();
        let mut out = Vec::new();
        for n in 0..20 {
            decoder.decode(&encoder.encode(&tone(n * FRAME)).unwrap(), &mut out).unwrap();
        }
        out.clear();
        for _ in 0..50 {
            decoder.conceal(FRAME, &mut out).unwrap();
        }
        assert!(energy(&out[..2 * FRAME]) > 0.02);
        assert_eq!(energy(&out[out.len() - 2 * FRAME..]), 0.0);
        out.clear();
        assert_eq!(decoder.conceal(1, &mut out).unwrap(), 120);
        assert_eq!(decoder.conceal(usize::MAX, &mut out).unwrap(), LONGEST);
    }

    #[test]
    fn wrong_arguments_are_errors_that_say_the_cure() {
        let error = OpusEncoder::new(0, 0).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("bitrate") && error.contains("510 kb/s"), "{error}");
        let error = OpusEncoder::new(64_000, 0).unwrap().encode(&[0.0; 5]).unwrap_err();
        assert!(error.is_bad_data(), "{error}");
        assert!(OpusDecoder::new().unwrap().decode(&[], &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn garbage_packets_are_errors_or_at_most_120_ms(packets in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..200), 1..8))
        {
            let mut decoder = OpusDecoder::new().unwrap();
            for packet in &packets {
                let mut out = Vec::new();
                let made = decoder.decode(packet, &mut out).unwrap_or(0);
                prop_assert!(made <= LONGEST && out.len() == 2 * made);
                let _ = decoder.recover(packet, 960, &mut out);
            }
        }
    }
}
