//! What monitoring asks: is it alive, can it serve, what are its figures.

use super::State;
use super::problem::Problem;
use axum::extract;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

/// `/healthz`, `/readyz`, `/metrics`.
pub fn router() -> Router<State> {
    Router::new()
        .route("/healthz", get(async || Json(serde_json::json!({ "status": "ok" }))))
        .route("/readyz", get(ready))
        .route("/metrics", get(figures))
}

/// Ready is who can take a publisher: the media thread runs. 503 otherwise, with the reason.
async fn ready(extract::State(state): extract::State<State>) -> Response {
    if state.sfu.is_running() {
        Json(serde_json::json!({ "status": "ready", "live": state.board.live() })).into_response()
    } else {
        Problem::unavailable("the media thread has stopped: restart the service").into_response()
    }
}

async fn figures() -> impl IntoResponse {
    let text = crate::observe::metrics().render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
