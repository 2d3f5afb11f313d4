//! What can go wrong with a codec.

use std::fmt;

/// Why a decoder, encoder or scaler did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It could not be opened: a matter of configuration or installation.
    #[error(transparent)]
    Open(Box<OpenError>),
    /// The bytes or samples given do not make sense to it; the next ones may.
    #[error("{codec}: cannot use this data: {said}")]
    BadData {
        /// Which codec.
        codec: &'static str,
        /// What it said.
        said: String,
    },
    /// It broke; it must be opened anew or replaced.
    #[error("{codec} failed: {said}")]
    Failed {
        /// Which codec.
        codec: &'static str,
        /// What it said.
        said: String,
    },
    /// A picture's size is beyond what is allowed, or not the one that was agreed.
    #[error("{what}: {width}x{height} pixels; {rule}")]
    Size {
        /// Where.
        what: &'static str,
        /// Given width.
        width: u32,
        /// Given height.
        height: u32,
        /// What is allowed.
        rule: String,
    },
    /// No memory.
    #[error("out of memory for {0}")]
    Memory(&'static str),
}

impl CodecError {
    /// Whether the next data may work with the same decoder or encoder.
    pub fn is_bad_data(&self) -> bool {
        matches!(self, Self::BadData { .. } | Self::Size { .. })
    }

    /// Whether it could not be opened at all.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// Why a codec could not be opened: which one, with which option, what the library said, the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// FFmpeg's name of the codec, `libx264`.
    pub codec: &'static str,
    /// The option at fault and its value, when known.
    pub option: Option<(String, String)>,
    /// What the library said, in its words.
    pub said: String,
    /// What to do.
    pub cure: String,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot open {}", self.codec)?;
        if let Some((name, value)) = &self.option {
            write!(f, " with {name} = '{value}'")?;
        }
        write!(f, ": {}. {}", self.said, self.cure)
    }
}

impl std::error::Error for OpenError {}

impl From<OpenError> for CodecError {
    fn from(error: OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}
