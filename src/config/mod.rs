//! The configuration file: composes the modules' own configurations.

pub mod load;
