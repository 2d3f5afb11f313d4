//! A str0m client and the core on a virtual clock, over a network with seeded faults.
#![allow(clippy::unwrap_used)]

mod forward;
mod hostile;
mod lossy;
mod sessions;
mod world;
