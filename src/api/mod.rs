//! WHIP, rooms and pages over HTTP.

pub mod pages;
