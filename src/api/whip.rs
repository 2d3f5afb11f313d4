//! WHIP (RFC 9725): `POST /whip/{room}` with an SDP offer begins to send. `?media=screen` makes it the
//! shared screen beside the camera.
//!
//! Refusals are problem documents whose `detail` says what to do. Every request is authorised, the
//! session's URL is no secret that grants anything.

use super::auth::{Caller, Context};
use super::problem::Problem;
use super::routes::Route;
use super::session::{self, ACCEPT_PATCH, ACCEPT_POST, FRAGMENT, SDP};
use crate::sfu::Publish;
use axum::body::Body;
use axum::extract::FromRef;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{patch, post};

/// The routes, for any state that holds a [`Context`].
pub fn routes<S>() -> Vec<Route<S>>
where
    Context: FromRef<S>,
    S: Clone + Send + Sync + 'static,
{
    let accept = Some((ACCEPT_POST, SDP));
    let endpoint = Route::new("/whip/{room}", "POST, OPTIONS", accept, post(publish));
    let session = Route::new(
        "/whip/{room}/{session}",
        "PATCH, DELETE, OPTIONS",
        Some((ACCEPT_PATCH, FRAGMENT)),
        patch(session::patch).delete(session::delete),
    );
    vec![endpoint, session]
}

async fn publish(
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let kind = session::media(&uri)?;
    caller.ask(|stage, now| stage.may_publish(&caller.who(), now))?;
    let offer = session::offer(&headers, body).await?;
    let (context, room) = (&caller.visitor.context, caller.room());
    context.rooms.open_for_publish(room).await?;
    // Asked again: the class before may have ended while this one was waited for, and taken with it
    // what was known of people.
    let person = caller.ask(|stage, now| stage.may_publish(&caller.who(), now))?;
    let publish = Publish { room: room.clone(), person, kind, offer };
    let published = context.sfu.publish(publish).await?;
    let location = format!("/whip/{room}/{}", published.resource);
    Ok(session::created(published.answer, location, published.etag))
}

#[cfg(test)]
mod live;
#[cfg(test)]
mod statuses;
