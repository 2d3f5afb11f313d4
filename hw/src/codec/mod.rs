//! Decoders, encoders and pictures: FFmpeg and libopus as safe Rust.
//!
//! Everything here takes bytes, pictures and samples and gives back the same. It knows no room, no
//! rung and no container: it does not know when a key frame is due, only how to force one. Foreign
//! bytes go in at [`VideoDecoder::decode`], [`AacDecoder::decode`] and [`OpusDecoder::decode`];
//! what they cannot read is a [`CodecError`], never a panic.
//!
//! Pictures are always YUV 4:2:0, 8 bits, limited range, described as BT.709; decoders convert what
//! comes otherwise. Encoders are opened such that two of them with one configuration write the same
//! parameter sets byte for byte, so a successor can continue a stream under the same init segment.

mod aac;
pub mod bitstream;
mod decode;
mod encode;
mod error;
mod ff;
mod half;
pub mod log;
mod options;
mod opus;
mod picture;
mod scale;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use aac::{AacDecoder, AacEncoder, AacFrame};
pub use decode::{VideoDecoder, VideoIn};
pub use encode::{Encoded, Framing, VideoEncoder, VideoEncoderConfig, VideoHeader, VideoOut};
pub use error::{CodecError, OpenError};
pub use opus::{OpusDecoder, OpusEncoder};
pub use picture::{MAX_SIDE, Picture, PicturePool, PlaneMut};
pub use scale::Scaler;

/// The versions of what encodes here: part of the key under which measured speeds are kept, as
/// another version is another speed.
pub fn versions() -> String {
    format!("{}; {}", ff::version(), opus::version())
}
