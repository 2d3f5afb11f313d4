//! Wiring of one transcoder process.
