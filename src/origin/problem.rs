//! Errors as RFC 9457 problem documents.

use serde::Serialize;

/// The media type of a problem document.
pub const CONTENT_TYPE: &str = "application/problem+json";

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

/// The document's bytes. `detail` says what was wrong and what to do about it.
pub fn document(status: u16, detail: &str) -> Vec<u8> {
    let title = match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        503 => "Service Unavailable",
        _ => "Error",
    };
    // A struct of texts and a number always serializes.
    serde_json::to_vec(&Document { r#type: "about:blank", title, status, detail })
        .unwrap_or_default()
}
