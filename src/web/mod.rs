//! The pages, embedded.
