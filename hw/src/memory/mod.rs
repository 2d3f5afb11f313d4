//! Memory shared between processes: sealed memfds and the ring.
