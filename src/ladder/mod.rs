//! Rungs: which the box can sustain, and how they are encoded.
//!
//! | module | |
//! |---|---|
//! | [`config`] | what can be configured |
//! | [`plan`] | pure: from measured speeds and a budget to rungs, with reasons in words |
//! | [`calibrate`] | measures the box, and remembers |
//! | [`cadence`] | pure: where key frames fall, and when to give a rung up |
//! | [`encode`] | one encoder thread a rung, fed with one stream of pictures |
//!
//! It does not know what is in a picture, nor what becomes of a sample.

pub mod cadence;
pub mod calibrate;
pub mod config;
pub mod encode;
pub mod plan;
mod queue;
mod scaling;

pub use config::Config;
pub use encode::{Encoded, Ladder, LadderError, Output};
pub use plan::{Calibration, Plan};

use crate::link::wire::VideoCodec;
use hw::codec::VideoOut;

/// The encoder for a rung's codec.
pub const fn encoder_of(codec: VideoCodec) -> VideoOut {
    match codec {
        VideoCodec::H264 => VideoOut::H264,
        VideoCodec::Av1 => VideoOut::Av1,
    }
}

/// A codec's short name, as it stands in rungs' names.
pub const fn short_name(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 => "h264",
        VideoCodec::Av1 => "av1",
    }
}
