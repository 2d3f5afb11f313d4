//! Playlists and parts, from memory to players.
