//! Errors of the API as RFC 9457 problem documents. The `detail` tells the cure.

use crate::time::RoomName;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A refusal, as it goes out.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    // Boxed: every handler's result carries a problem, few have headers.
    headers: Option<Box<HeaderMap>>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// Of any status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), headers: None }
    }

    /// 404 for a room that is not configured, or whose name is none.
    pub fn unknown_room(name: &str) -> Self {
        let name: String = name.chars().take(80).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no room '{name}': check the name, or add it to the configuration"),
        )
    }

    /// 404 for a room that is not configured.
    pub fn no_such_room(name: &RoomName) -> Self {
        Self::unknown_room(name.as_str())
    }

    /// 503: it will work later.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with(header::RETRY_AFTER, HeaderValue::from_static("3"))
    }

    /// The same with a header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.get_or_insert_default().insert(name, value);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, detail, headers } = self;
        let document = Document {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &detail,
        };
        // Three texts and a number always serialize.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let headers = headers.map(|headers| *headers).unwrap_or_default();
        let mut response = (status, headers, body).into_response();
        let kind = HeaderValue::from_static(crate::origin::problem::CONTENT_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
