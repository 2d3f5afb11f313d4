//! The synthetic teacher: a class made in code, so that every seam can be shown and measured
//! without a camera.
//!
//! * [`burnt`]: the machine-readable clock in the picture

pub mod burnt;
