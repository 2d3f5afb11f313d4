//! CMAF parts, the live window, playlists. All pure.

pub mod format;
