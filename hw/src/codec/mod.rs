//! FFmpeg as safe Rust: decoders, encoders, pictures.
