//! RTP to pictures and sound on the room's timeline.
