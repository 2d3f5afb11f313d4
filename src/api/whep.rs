//! WHEP (draft-ietf-wish-whep): `POST /whep/{room}/{person}` with an SDP offer begins to receive what
//! somebody on stage sends, without the seconds that HLS takes. For those on stage; everybody else
//! watches the class.

use super::auth::{Caller, Context};
use super::body;
use super::problem::Problem;
use super::routes::Route;
use super::session::{self, ACCEPT_PATCH, ACCEPT_POST, FRAGMENT, SDP};
use crate::sfu::{PatchError, Subscribe, SubscribeError};
use axum::body::Body;
use axum::extract::FromRef;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{patch, post, put};
use serde::Deserialize;

/// The routes, for any state that holds a [`Context`].
pub fn routes<S>() -> Vec<Route<S>>
where
    Context: FromRef<S>,
    S: Clone + Send + Sync + 'static,
{
    let accept = Some((ACCEPT_POST, SDP));
    vec![
        Route::new("/whep/{room}/{person}", "POST, OPTIONS", accept, post(subscribe)),
        Route::new(
            "/whep/{room}/{person}/{session}",
            "PATCH, DELETE, OPTIONS",
            Some((ACCEPT_PATCH, FRAGMENT)),
            patch(session::patch).delete(session::delete),
        ),
        Route::new("/whep/{room}/{person}/{session}/view", "PUT, OPTIONS", None, put(view)),
    ]
}

async fn subscribe(
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let kind = session::media(&uri)?;
    let viewer = caller.ask(|stage, now| stage.may_publish(&caller.who(), now))?;
    // What is no id is nobody's, as somebody else's is who has left.
    let person = caller.visitor.part("person").parse().map_err(|_| SubscribeError::NotOnStage)?;
    let offer = session::offer(&headers, body).await?;
    let room = caller.room();
    let subscribe = Subscribe { room: room.clone(), viewer, person, kind, offer };
    let subscribed = caller.visitor.context.sfu.subscribe(subscribe).await?;
    let location = format!("/whep/{room}/{person}/{}", subscribed.resource);
    Ok(session::created(subscribed.answer, location, subscribed.etag))
}

/// How large the page shows it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct View {
    /// Pixels; 0 for not at all.
    height: u32,
}

async fn view(caller: Caller, headers: HeaderMap, body: Body) -> Result<StatusCode, Problem> {
    caller.ask(|stage, now| stage.may_publish(&caller.who(), now))?;
    let resource = session::resource(&caller)?;
    let View { height } = body::json(&headers, body).await?;
    let sfu = &caller.visitor.context.sfu;
    if sfu.view(caller.room().clone(), resource, height).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(PatchError::NotFound.into())
    }
}

#[cfg(test)]
mod tests;
