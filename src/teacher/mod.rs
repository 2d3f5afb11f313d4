//! The synthetic teacher: a class made in code and published over real WebRTC by an implementation
//! other than the SFU's, so that every seam can be shown and measured without a camera.
//!
//! * [`lecture`], [`sound`]: the picture and the sound, functions of frame number and sample position
//! * [`burnt`]: the machine-readable clock in the picture

pub mod burnt;
pub mod check;
#[cfg(test)]
mod check_tests;
pub mod class;
pub mod hls;
pub mod http;
pub mod lecture;
pub mod netem;
mod ogg;
pub(crate) mod peer;
pub mod publish;
#[cfg(test)]
mod publish_tests;
pub mod record;
pub(crate) mod rtp;
pub mod sound;
pub mod whip;
