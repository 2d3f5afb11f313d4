//! Wiring of one transcoder process: records from the ring in, parts to the daemon out.
//!
//! [`core`] is the transcoder as a value: records and a time go in, messages and parts come out. It is
//! driven by [`live`], the child process of a room, and by [`replay`], which reads a recorded file as
//! fast as it can. [`recording`] is that file's format.

pub mod core;
pub mod encoders;
mod fonts;
pub mod live;
pub mod recording;
pub mod replay;
#[cfg(test)]
mod stage_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use core::{Core, Event};

/// Why a transcoder cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A decoder, an encoder or a picture.
    #[error(transparent)]
    Codec(#[from] hw::codec::CodecError),
    /// The output cannot be packaged.
    #[error("packaging: {0}")]
    Segmenter(#[from] crate::package::segmenter::SegmenterError),
    /// An init segment cannot be made.
    #[error("packaging: {0}")]
    Cmaf(#[from] crate::package::cmaf::CmafError),
    /// The boundary to the daemon.
    #[error("link: {0}")]
    Link(#[from] crate::link::child::ChildError),
    /// There is nothing to encode.
    #[error("the ladder has no rung")]
    NoRungs,
    /// Every rung was given up.
    #[error("no rung of the ladder is left: {0}")]
    NoRungLeft(String),
    /// The process cannot be locked in.
    #[error("sandbox: {0}")]
    Sandbox(#[from] hw::process::SandboxError),
    /// A file of a replay.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file to replay is none.
    #[error("{path}: {error}")]
    Recording {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        error: recording::BadRecording,
    },
}
