//! `/api/v1/rooms/{room}/chat`: what a class writes. Read by everybody, without a token and from a cache.

use super::auth::{Caller, Context, Visitor, refused, wall_ms};
use super::problem::Problem;
use super::routes::Route;
use super::{body, stage};
use crate::rooms::stage::registry::Shown;
use crate::rooms::stage::{Refusal, Who};
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRef, Query};
use axum::http::header::{self, HeaderMap};
use axum::http::{Extensions, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use tracing::info;

/// The routes, for any state that holds a [`Context`].
pub fn routes<S>() -> Vec<Route<S>>
where
    Context: FromRef<S>,
    S: Clone + Send + Sync + 'static,
{
    vec![
        Route::new(
            "/api/v1/rooms/{room}/chat",
            "GET, HEAD, POST, PUT, OPTIONS",
            None,
            get(read).post(write).put(set),
        ),
        Route::new("/api/v1/rooms/{room}/chat/{seq}", "DELETE, OPTIONS", None, delete(take_away)),
    ]
}

/// `?after=N`, if anything.
fn after(uri: &Uri) -> Result<Option<u64>, Problem> {
    let wrong = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "the query says nothing that is known: use ?after=N with the `last` of the page before",
        )
    };
    let query = Query::<BTreeMap<String, String>>::try_from_uri(uri).map_err(|_| wrong())?;
    query.get("after").map(|text| text.parse().map_err(|_| wrong())).transpose()
}

async fn read(visitor: Visitor, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let after = after(&uri)?;
    let ((tag, revision), page) =
        visitor.ask(|stage, _| Ok((stage.chat_tag(), stage.chat_page(after))))?;
    // The tag is of the chat, not of the page: the URL says which page it is.
    let etag = format!("\"{tag:08x}-chat-{revision}\"");
    // Texts, numbers and lists always serialize.
    let body = serde_json::to_vec(&page).unwrap_or_default().into();
    Ok(stage::public(&headers, Shown { etag, body }))
}

/// `POST /chat`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    text: String,
    #[serde(default)]
    name: Option<String>,
}

async fn write(
    visitor: Visitor,
    extensions: Extensions,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Written { text, name } = body::json(&headers, body).await?;
    let (grant, token) = stage::known(&visitor, name, stage::address(&extensions, &headers))?;
    let who = Who::from(&grant);
    let seq = visitor.ask(|stage, now| stage.say(&who, &text, now, wall_ms()))?;
    metrics::counter!("proscenium_chat_messages_total", "room" => visitor.room.to_string())
        .increment(1);
    let answer = match token {
        Some(token) => json!({ "seq": seq, "token": token }),
        None => json!({ "seq": seq }),
    };
    let private = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, private, Json(answer)).into_response())
}

/// `PUT /chat`: what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    #[serde(default)]
    slow_s: Option<u64>,
    #[serde(default)]
    open: Option<bool>,
}

async fn set(caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    caller.ask(|_, _| stage::teacher(&caller))?;
    let Rules { slow_s, open } = body::json(&headers, body).await?;
    let chat = caller.ask(|stage, _| {
        stage.set_chat(&caller.who(), slow_s, open)?;
        Ok(stage.public().chat)
    })?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(chat)).into_response())
}

async fn take_away(caller: Caller) -> Result<StatusCode, Problem> {
    let seq = caller.visitor.part("seq").parse();
    let seq: u64 = seq.map_err(|_| refused(caller.room(), Refusal::UnknownMessage))?;
    caller.ask(|stage, _| stage.delete_message(&caller.who(), seq))?;
    info!(room = %caller.room(), seq, by = caller.grant.sub, "a message was deleted");
    Ok(StatusCode::NO_CONTENT)
}
