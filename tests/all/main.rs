//! The whole box over real sockets: a teacher publishes by WebRTC, the output is read as a player
//! reads it, decoded by FFmpeg, and held against the clock that is burnt into the picture.

mod class;
mod crash;
mod doors;
mod load;
mod stage;
mod support;
