//! HTTP besides the origin: WHIP, the rooms, the pages, what monitoring asks.

pub mod ops;
pub mod pages;
pub mod problem;
pub mod rooms;
pub mod whip;

use crate::origin::hub::Hub;
use crate::rooms::Rooms;
use crate::rooms::board::Board;
use crate::rooms::token::Verifier;
use crate::sfu;
use axum::Router;
use axum::extract::FromRef;
use std::sync::Arc;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// The configured rooms.
    pub rooms: Rooms,
    /// What they are doing.
    pub board: Board,
    /// Their live playlists.
    pub hub: Hub,
    /// Whose tokens are believed.
    pub auth: Arc<Verifier>,
    /// The stage.
    pub sfu: sfu::Handle,
}

impl FromRef<State> for whip::Context {
    fn from_ref(state: &State) -> Self {
        Self { sfu: state.sfu.clone(), auth: state.auth.clone(), rooms: state.rooms.clone() }
    }
}

/// All routes.
pub fn router(state: State) -> Router {
    Router::new()
        .merge(pages::router())
        .merge(rooms::router())
        .merge(ops::router())
        .merge(whip::router())
        .with_state(state)
}
