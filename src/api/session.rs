//! What WHIP and WHEP have in common: an SDP offer begins a session with a URL of its own, on which
//! `PATCH` trickles and restarts ICE and `DELETE` ends it (RFC 9725 §4; the WHEP draft says the same).
//!
//! Candidates that are trickled are acknowledged and otherwise not needed: see [`crate::sfu::sdp`].

use super::auth::Caller;
use super::body;
use super::problem::Problem;
use crate::rooms::OpenError;
use crate::sfu::{CommandError, PatchError, Patched, PublishError, ResourceId, SubscribeError};
use crate::time::MediaKind;
use axum::body::Body;
use axum::extract::Query;
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;

/// Longest offer or fragment, bytes. A browser's is under 10 KiB.
pub const MAX_BODY: usize = 64 * 1024;

/// What an offer is declared as.
pub const SDP: &str = "application/sdp";
/// What an ICE fragment is declared as (RFC 8840).
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// Names [`SDP`] where it is taken.
pub const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// Names [`FRAGMENT`] where it is taken.
pub const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// `?media=camera` or `?media=screen`; a camera where nothing is said.
///
/// # Errors
/// 400: anything else.
pub fn media(uri: &Uri) -> Result<MediaKind, Problem> {
    let wrong = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "the query says nothing that is known: use ?media=camera or ?media=screen",
        )
    };
    let query = Query::<BTreeMap<String, String>>::try_from_uri(uri).map_err(|_| wrong())?;
    match query.get("media").map(String::as_str) {
        None | Some("camera") => Ok(MediaKind::Camera),
        Some("screen") => Ok(MediaKind::Screen),
        Some(_) => Err(wrong()),
    }
}

/// The offer in a body.
///
/// # Errors
/// As [`body::text`].
pub async fn offer(headers: &HeaderMap, body: Body) -> Result<String, Problem> {
    body::text(headers, body, SDP, ACCEPT_POST, MAX_BODY).await
}

/// 201: the answer, where the session is, and its ICE session's tag.
pub fn created(answer: String, location: String, etag: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, SDP.to_owned()),
        (header::LOCATION, location),
        (header::ETAG, etag),
        (ACCEPT_PATCH, FRAGMENT.to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (StatusCode::CREATED, headers, answer).into_response()
}

/// The session that the URL names.
///
/// # Errors
/// 404.
pub fn resource(caller: &Caller) -> Result<ResourceId, Problem> {
    Ok(ResourceId::parse(caller.visitor.part("session")).ok_or(PatchError::NotFound)?)
}

/// `PATCH` on a session: for whoever may be on stage still.
pub async fn patch(caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    caller.ask(|stage, now| stage.may_publish(&caller.who(), now))?;
    let resource = resource(&caller)?;
    let fragment = body::text(&headers, body, FRAGMENT, ACCEPT_PATCH, MAX_BODY).await?;
    let if_match = headers.get(header::IF_MATCH).map(|value| {
        // Not text is no tag of ours, so it is stale like any other.
        value.to_str().unwrap_or("\"\"").to_owned()
    });
    let sfu = &caller.visitor.context.sfu;
    match sfu.patch(caller.room().clone(), resource, if_match, fragment).await? {
        Patched::Trickled => Ok(StatusCode::NO_CONTENT.into_response()),
        Patched::Restarted { fragment, etag } => {
            let headers = [(header::CONTENT_TYPE, FRAGMENT.to_owned()), (header::ETAG, etag)];
            Ok((StatusCode::OK, headers, fragment).into_response())
        }
    }
}

/// `DELETE` on a session: for everybody who knows its URL and has a token for the room, as whoever was
/// just taken off the stage may end what has ended.
pub async fn delete(caller: Caller) -> Result<Response, Problem> {
    let resource = resource(&caller)?;
    if caller.visitor.context.sfu.delete(caller.room().clone(), resource).await? {
        Ok(StatusCode::OK.into_response())
    } else {
        Err(PatchError::NotFound.into())
    }
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unknown(room) => Self::no_such_room(&room),
            OpenError::Busy | OpenError::Failed(_) | OpenError::Stopping => {
                Self::unavailable(error.to_string())
            }
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let status = match &error {
            PublishError::BadSdp(_) => StatusCode::BAD_REQUEST,
            PublishError::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            PublishError::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            PublishError::StageFull => StatusCode::CONFLICT,
            PublishError::NotOpen | PublishError::Full | PublishError::Command(_) => {
                return Self::unavailable(error.to_string());
            }
        };
        Self::new(status, error.to_string())
    }
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Self {
        let status = match &error {
            SubscribeError::BadSdp(_) => StatusCode::BAD_REQUEST,
            SubscribeError::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            SubscribeError::NotAcceptable(_) => StatusCode::NOT_ACCEPTABLE,
            SubscribeError::NotOnStage => StatusCode::NOT_FOUND,
            SubscribeError::Full | SubscribeError::Command(_) => {
                return Self::unavailable(error.to_string());
            }
        };
        Self::new(status, error.to_string())
    }
}

impl From<PatchError> for Problem {
    fn from(error: PatchError) -> Self {
        let status = match &error {
            PatchError::NotFound => StatusCode::NOT_FOUND,
            PatchError::NoPrecondition => StatusCode::PRECONDITION_REQUIRED,
            PatchError::Stale => StatusCode::PRECONDITION_FAILED,
            PatchError::BadFragment(_) => StatusCode::BAD_REQUEST,
            PatchError::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            PatchError::Command(_) => return Self::unavailable(error.to_string()),
        };
        Self::new(status, error.to_string())
    }
}
