//! Media playlists.
