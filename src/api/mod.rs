//! WHIP, rooms and pages over HTTP.

pub mod pages;
pub mod problem;
pub mod whip;
