//! `/api/v1/rooms`: what the rooms are doing.

use super::State;
use super::problem::Problem;
use super::routes::Route;
use crate::rooms::RoomConfig;
use crate::rooms::board;
use crate::time::RoomName;
use axum::Json;
use axum::extract::{self, Path};
use axum::http::{HeaderName, header};
use axum::routing::get;
use serde::Serialize;

/// A room as the API shows it.
#[derive(Debug, Serialize)]
pub struct Room {
    room: RoomName,
    title: String,
    /// Players that asked for a playlist lately.
    viewers: u64,
    /// People with a place on stage.
    people: usize,
    /// Raised hands.
    hands: usize,
    #[serde(flatten)]
    status: board::Status,
}

/// `GET /api/v1/rooms` and `GET /api/v1/rooms/{room}`.
pub fn routes() -> Vec<Route<State>> {
    let methods = "GET, HEAD, OPTIONS";
    vec![
        Route::new("/api/v1/rooms", methods, None, get(all)),
        Route::new("/api/v1/rooms/{room}", methods, None, get(one)),
    ]
}

// Players ask every few seconds while they wait; a cache in front may answer for a second.
const HEADERS: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "max-age=1")];

type Answer<T> = ([(HeaderName, &'static str); 1], Json<T>);

async fn all(extract::State(state): extract::State<State>) -> Answer<serde_json::Value> {
    let rooms: Vec<Room> = state.rooms.iter().map(|room| show(&state, room)).collect();
    (HEADERS, Json(serde_json::json!({ "rooms": rooms })))
}

async fn one(
    extract::State(state): extract::State<State>,
    Path(name): Path<String>,
) -> Result<Answer<Room>, Problem> {
    let unknown = || Problem::unknown_room(&name);
    let name = RoomName::parse(&name).map_err(|_| unknown())?;
    let room = state.rooms.get(&name).ok_or_else(unknown)?;
    Ok((HEADERS, Json(show(&state, room))))
}

fn show(state: &State, room: &RoomConfig) -> Room {
    let (people, hands) = state.stages.count(&room.name);
    Room {
        people,
        hands,
        room: room.name.clone(),
        title: room.title().to_owned(),
        viewers: state.hub.live(&room.name).map_or(0, |live| live.viewers),
        status: state.board.get(&room.name),
    }
}
