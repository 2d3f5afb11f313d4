//! The synthetic teacher.
