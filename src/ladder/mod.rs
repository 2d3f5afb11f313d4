//! Rungs: which the box can sustain, and how they are encoded.
