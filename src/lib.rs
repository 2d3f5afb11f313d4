//! Proscenium: a live class in by WebRTC, out as Low-Latency HLS.
//!
//! The modules follow a packet's way, from the socket to the HTTP response. Imports run downwards
//! in this list only:
//!
//! | module | what it does |
//! |---|---|
//! | [`cli`] | one file a command |
//! | [`daemon`], [`worker`] | wiring: of the daemon, of one transcoder process |
//! | [`api`] | WHIP, rooms, pages over HTTP |
//! | [`origin`] | 6: playlists and parts to players |
//! | [`compose`] | 3: RTP to pictures and sound on the room's timeline |
//! | [`sfu`] | 1: WebRTC in |
//! | [`package`] | 5: CMAF parts, the live window, playlists |
//! | [`ladder`] | 4: rungs within the box's budget |
//! | [`link`] | 2: the process boundary between daemon and transcoder |
//! | [`load`] | the load generator: classes of many against a server |
//! | [`teacher`] | the synthetic teacher: a WebRTC client of another make |
//! | [`rooms`] | who may do what |
//! | [`time`], [`units`] | media time, names; quantities as people write them |
//!
//! `hw` below them is the machine; it holds all unsafe code and imports nothing of this crate.
#![forbid(unsafe_code)]

pub mod api;
pub mod cli;
pub mod compose;
pub mod config;
pub mod daemon;
mod font;
pub mod ladder;
pub mod link;
pub mod load;
pub mod observe;
pub mod origin;
pub mod package;
pub mod rooms;
pub mod sfu;
pub mod teacher;
pub mod time;
pub mod units;
pub mod web;
pub mod worker;
