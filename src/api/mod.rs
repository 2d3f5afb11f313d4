//! HTTP besides the origin: WHIP and WHEP, rooms and their stages, the pages, what monitoring asks.

pub mod auth;
mod body;
pub mod chat;
mod openapi;
pub mod ops;
pub mod pages;
pub mod problem;
pub mod rooms;
pub mod routes;
mod session;
pub mod stage;
#[cfg(test)]
mod testing;
pub mod whep;
pub mod whip;

use crate::origin::hub::Hub;
use crate::rooms::Rooms;
use crate::rooms::board::Board;
use crate::rooms::stage::Stages;
use crate::rooms::token::Verifier;
use crate::sfu;
use auth::Context;
use axum::Router;
use axum::extract::FromRef;
use routes::Route;
use std::sync::Arc;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct State {
    /// The configured rooms.
    pub rooms: Rooms,
    /// What they are doing.
    pub board: Board,
    /// Who is on stage in them.
    pub stages: Stages,
    /// Their live playlists.
    pub hub: Hub,
    /// Whose tokens are believed.
    pub auth: Arc<Verifier>,
    /// The media side.
    pub sfu: sfu::Handle,
}

impl FromRef<State> for Context {
    fn from_ref(state: &State) -> Self {
        Self {
            sfu: state.sfu.clone(),
            auth: state.auth.clone(),
            rooms: state.rooms.clone(),
            stages: state.stages.clone(),
        }
    }
}

/// What other programs use; the OpenAPI document says all about it.
fn routes() -> Vec<Route<State>> {
    let mut routes = openapi::routes();
    routes.extend(rooms::routes());
    routes.extend(stage::routes());
    routes.extend(chat::routes());
    routes.extend(whip::routes());
    routes.extend(whep::routes());
    routes
}

/// All routes.
pub fn router(state: State) -> Router {
    Router::new()
        .merge(pages::router())
        .merge(ops::router())
        .merge(routes::collect(routes()))
        .with_state(state)
}
