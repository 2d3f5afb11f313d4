//! WHIP, rooms and pages over HTTP.
