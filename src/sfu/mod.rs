//! WebRTC in.
