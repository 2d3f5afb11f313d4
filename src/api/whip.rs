//! WHIP (RFC 9725): `POST /whip/{room}` with an SDP offer begins a session, `PATCH` and `DELETE`
//! on the session's own URL trickle, restart ICE and end it.
//!
//! Refusals are problem documents whose `detail` says what to do. Every request is authorised, the
//! session's URL is no secret that grants anything. Candidates that are trickled are acknowledged
//! and otherwise not needed: see [`crate::sfu::sdp`].

use super::problem::Problem;
use crate::rooms::token::{Grant, Refusal, Verifier, unix_now};
use crate::rooms::{OpenError, Rooms};
use crate::sfu::{self, CommandError, PatchError, Patched, Publish, PublishError, ResourceId};
use crate::time::{MediaKind, PersonId, RoomName};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, Path, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Longest offer or fragment, bytes. A browser's is under 10 KiB.
pub const MAX_BODY: usize = 64 * 1024;

/// How long a body may take to come.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// What the handlers work with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The stage.
    pub sfu: sfu::Handle,
    /// Whose tokens are believed.
    pub auth: Arc<Verifier>,
    /// The configured rooms.
    pub rooms: Rooms,
}

/// The routes, for any state that holds a [`Context`].
pub fn router<S>() -> Router<S>
where
    Context: FromRef<S>,
    S: Clone + Send + Sync + 'static,
{
    let endpoint = on(MethodFilter::POST, post)
        .on(MethodFilter::OPTIONS, async || options("POST, OPTIONS", ACCEPT_POST, SDP))
        .fallback(async |method: Method| refuse_method(&method, "POST, OPTIONS"));
    let session = on(MethodFilter::PATCH, patch)
        .on(MethodFilter::DELETE, delete)
        .on(MethodFilter::OPTIONS, async || {
            options("PATCH, DELETE, OPTIONS", ACCEPT_PATCH, FRAGMENT)
        })
        .fallback(async |method: Method| refuse_method(&method, "PATCH, DELETE, OPTIONS"));
    Router::new()
        .route("/whip/{room}", endpoint)
        .route("/whip/{room}/{session}", session)
        .layer(map_response(allow_any_origin))
}

/// CORS (RFC 9725 §4.8): a page of the school's portal may publish; a token is needed anyway, and
/// no cookie is looked at.
async fn allow_any_origin(mut response: Response) -> Response {
    let fixed = HeaderValue::from_static;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, fixed("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        fixed("Location, ETag, Accept-Post, Accept-Patch, WWW-Authenticate, Retry-After"),
    );
    response
}

fn options(methods: &'static str, accept: HeaderName, kind: &'static str) -> Response {
    let headers = [
        (header::ALLOW, methods),
        (accept, kind),
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn refuse_method(method: &Method, allowed: &'static str) -> Problem {
    let detail = format!("{method} means nothing here: use {allowed}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        .with(header::ALLOW, HeaderValue::from_static(allowed))
}

async fn post(
    State(context): State<Context>,
    Path(room): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (room, grant) = authorise(&context, &room, &headers)?;
    let offer = read(&headers, body, SDP, ACCEPT_POST).await?;
    context.rooms.open_for_publish(&room).await?;
    let (person, kind) = (person(&room, &grant.sub), MediaKind::Camera);
    let publish = Publish { room: room.clone(), person, kind, offer };
    let published = context.sfu.publish(publish).await?;
    let headers = [
        (header::CONTENT_TYPE, SDP.to_owned()),
        (header::LOCATION, format!("/whip/{room}/{}", published.resource)),
        (header::ETAG, published.etag),
        (ACCEPT_PATCH, FRAGMENT.to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::CREATED, headers, published.answer).into_response())
}

/// The same for the same subject in the same room, as long as this process lives; says nothing
/// about who it is.
fn person(room: &RoomName, subject: &str) -> PersonId {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    let key = KEY.get_or_init(RandomState::new);
    PersonId::new(key.hash_one((room.as_str(), subject)))
}

async fn patch(
    State(context): State<Context>,
    Path((room, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (room, _) = authorise(&context, &room, &headers)?;
    let resource = ResourceId::parse(&session).ok_or(PatchError::NotFound)?;
    let fragment = read(&headers, body, FRAGMENT, ACCEPT_PATCH).await?;
    let if_match = headers.get(header::IF_MATCH).map(|value| {
        // Not text is no tag of ours, so it is stale like any other.
        value.to_str().unwrap_or("\"\"").to_owned()
    });
    match context.sfu.patch(room, resource, if_match, fragment).await? {
        Patched::Trickled => Ok(StatusCode::NO_CONTENT.into_response()),
        Patched::Restarted { fragment, etag } => {
            let headers = [(header::CONTENT_TYPE, FRAGMENT.to_owned()), (header::ETAG, etag)];
            Ok((StatusCode::OK, headers, fragment).into_response())
        }
    }
}

async fn delete(
    State(context): State<Context>,
    Path((room, session)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (room, _) = authorise(&context, &room, &headers)?;
    let resource = ResourceId::parse(&session).ok_or(PatchError::NotFound)?;
    if context.sfu.delete(room, resource).await? {
        Ok(StatusCode::OK.into_response())
    } else {
        Err(PatchError::NotFound.into())
    }
}

/// Who asks, and whether they may publish in this room, which exists. What a token does not cover
/// is forbidden before it is looked up: its holder does not learn which rooms there are.
fn authorise(
    context: &Context,
    room: &str,
    headers: &HeaderMap,
) -> Result<(RoomName, Grant), Problem> {
    let token = bearer(headers).ok_or_else(|| {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "send a token in the header Authorization: Bearer ...; 'proscenium token' makes one",
        )
        .with(header::WWW_AUTHENTICATE, challenge(""))
    })?;
    let grant = context.auth.verify(token, unix_now())?;
    let name = RoomName::parse(room).map_err(|_| Problem::unknown_room(room))?;
    let forbidden = |detail: &str| {
        Problem::new(StatusCode::FORBIDDEN, detail)
            .with(header::WWW_AUTHENTICATE, challenge(", error=\"insufficient_scope\""))
    };
    if !grant.room.covers(&name) {
        return Err(forbidden("the token is for another room: ask for one for this room"));
    }
    if !grant.role.may_publish() {
        return Err(forbidden("the token is for watching: ask for one as speaker or teacher"));
    }
    if context.rooms.get(&name).is_none() {
        return Err(Problem::no_such_room(&name));
    }
    Ok((name, grant))
}

/// RFC 6750 §2.1. The scheme's name is taken in any case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn challenge(error: &str) -> HeaderValue {
    HeaderValue::try_from(format!("Bearer realm=\"proscenium\"{error}"))
        .unwrap_or(HeaderValue::from_static("Bearer"))
}

/// The body as text, if it is of the right kind, short enough, and comes in time.
async fn read(
    headers: &HeaderMap,
    body: Body,
    kind: &'static str,
    accept: HeaderName,
) -> Result<String, Problem> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|value| value.split(';').next()).map(str::trim).unwrap_or("nothing");
    if !sent.eq_ignore_ascii_case(kind) {
        let sent: String = sent.chars().take(60).collect();
        let detail = format!("the body is declared as {sent}: send it with Content-Type: {kind}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
            .with(accept, HeaderValue::from_static(kind)));
    }
    let too_long = || {
        let detail = format!("the body is longer than {MAX_BODY} bytes: no offer needs that");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|n| n.parse().ok()).is_some_and(|n: u64| n > MAX_BODY as u64) {
        return Err(too_long());
    }
    let bytes = tokio::time::timeout(BODY_PATIENCE, axum::body::to_bytes(body, MAX_BODY)).await;
    let bytes = bytes
        .map_err(|_| {
            let detail = "the body did not come within 10 s: try again";
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
        })?
        // Too long, or broken off; whom it broke off from does not see the answer.
        .map_err(|_| too_long())?;
    String::from_utf8(bytes.into()).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "the body is not text in UTF-8, as SDP is")
    })
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, refusal.to_string())
            .with(header::WWW_AUTHENTICATE, challenge(", error=\"invalid_token\""))
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

#[cfg(test)]
mod live;
#[cfg(test)]
mod statuses;
