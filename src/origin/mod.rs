//! Playlists and parts, from memory to players.
//!
//! | module | what |
//! |---|---|
//! | [`snapshot`] | one state of a class, with its playlists rendered and compressed at most once |
//! | [`query`], [`answer`] | pure: a request and a snapshot give a response, or the point to wait for |
//! | [`hub`] | the rooms' live classes; publishing wakes exactly the requests whose point is reached |
//! | [`serve`] | hyper: one runtime and one listener a core |
//!
//! The origin knows nothing of WebRTC, encoders or who may watch: what is not below `/hls/` goes
//! to the router it was started with.

pub mod answer;
mod body;
mod figures;
pub mod hub;
pub mod problem;
pub mod query;
pub mod serve;
pub mod snapshot;
mod stall;

use crate::units::Span;
use serde::{Deserialize, Serialize};
use std::net::{Ipv6Addr, SocketAddr};

/// Section `[http]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on. `[::]` is every address, IPv4 too.
    pub listen: SocketAddr,
    /// Threads, each with its own listener; 0 means one a core.
    pub workers: usize,
    /// Most connections at once; more are told to come back.
    pub max_connections: usize,
    /// Most requests of one class that wait for a part; more are told to come back.
    pub max_waiting: usize,
    /// How long a client may take to send a request's head, and an idle connection is kept.
    pub header_timeout: Span,
    /// How long a client may take to send a request's body, and may leave a response unread.
    pub body_timeout: Span,
    /// Largest request body in bytes.
    pub max_body: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)),
            workers: 0,
            max_connections: 20_000,
            max_waiting: 20_000,
            header_timeout: Span::secs(30),
            body_timeout: Span::secs(20),
            max_body: 256 * 1024,
        }
    }
}

impl Config {
    /// Says what is wrong with the values, naming the key.
    pub fn check(&self) -> Result<(), String> {
        if self.workers > 1024 {
            return Err(format!("workers is {}; use 0 (one a core) to 1024", self.workers));
        }
        for (key, n) in
            [("max_connections", self.max_connections), ("max_waiting", self.max_waiting)]
        {
            if n == 0 {
                return Err(format!("{key} is 0: nobody could watch; use 1000 or more"));
            }
        }
        for (key, span) in
            [("header_timeout", self.header_timeout), ("body_timeout", self.body_timeout)]
        {
            if span < Span::secs(1) || span > Span::secs(600) {
                return Err(format!("{key} is {span}; use 1 s to 10 min"));
            }
        }
        if !(16 * 1024..=16 * 1024 * 1024).contains(&self.max_body) {
            return Err(format!("max_body is {}; use 16384 to 16777216 bytes", self.max_body));
        }
        Ok(())
    }

    /// Threads to start.
    pub(crate) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        }
    }
}
