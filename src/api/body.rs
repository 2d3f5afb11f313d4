//! Bodies that come in: of the right kind, short enough, in time.

use super::problem::Problem;
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest JSON, bytes: the longest message of the chat, every character escaped, with room for a name.
const MAX_JSON: usize = 16 * 1024;

const JSON: &str = "application/json";

/// The body as text, if it is declared as `kind`. `accept` is the header in which a refusal names the
/// right kind.
///
/// # Errors
/// 400, 408, 413, 415.
pub async fn text(
    headers: &HeaderMap,
    body: Body,
    kind: &'static str,
    accept: HeaderName,
    max: usize,
) -> Result<String, Problem> {
    if !is(headers, kind) {
        return Err(wrong_kind(headers, kind).with(accept, HeaderValue::from_static(kind)));
    }
    let bytes = read(headers, body, max).await?;
    String::from_utf8(bytes.into()).map_err(|_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not text in UTF-8, as {kind} is"),
        )
    })
}

/// The body as JSON; no body at all is `{}`.
///
/// # Errors
/// 400, 408, 413, 415, 422.
pub async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let bytes = read(headers, body, MAX_JSON).await?;
    if !bytes.is_empty() && !is(headers, JSON) {
        return Err(wrong_kind(headers, JSON));
    }
    let bytes = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| {
        let status = match error.classify() {
            serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_REQUEST,
        };
        // The parser quotes what it found, which may be long.
        let error: String = error.to_string().chars().take(200).collect();
        let detail = format!("the body is not the JSON that belongs here: {error}; /api/v1/openapi.json says what does");
        Problem::new(status, detail)
    })
}

fn declared(headers: &HeaderMap) -> &str {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    sent.and_then(|value| value.split(';').next()).map(str::trim).unwrap_or("nothing")
}

fn is(headers: &HeaderMap, kind: &str) -> bool {
    declared(headers).eq_ignore_ascii_case(kind)
}

fn wrong_kind(headers: &HeaderMap, kind: &str) -> Problem {
    let sent: String = declared(headers).chars().take(60).collect();
    let detail = format!("the body is declared as {sent}: send it with Content-Type: {kind}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}

async fn read(headers: &HeaderMap, body: Body, max: usize) -> Result<bytes::Bytes, Problem> {
    let too_long = || {
        let detail = format!("the body is longer than {max} bytes: nothing here needs that");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|n| n.parse().ok()).is_some_and(|n: u64| n > max as u64) {
        return Err(too_long());
    }
    let bytes = tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, max)).await;
    let bytes = bytes.map_err(|_| {
        let detail = "the body did not come within 10 s: try again";
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
    })?;
    // Too long, or broken off; whom it broke off from does not see the answer.
    bytes.map_err(|_| too_long())
}
