//! The OpenAPI document.

use super::routes::Route;
use axum::http::header;
use axum::routing::get;

/// OpenAPI 3.1, as a file so that editors and validators read it.
const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /api/v1/openapi.json`.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Vec<Route<S>> {
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=60")];
    let document = get(async move || (headers, DOCUMENT));
    vec![Route::new("/api/v1/openapi.json", "GET, HEAD, OPTIONS", None, document)]
}

#[cfg(test)]
mod tests;
