//! The machine's clocks.
