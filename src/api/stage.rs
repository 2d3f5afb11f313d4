//! `/api/v1/rooms/{room}/...`: the stage as everybody sees it, hands, invitations, people, the end.
//!
//! Reading needs no token and is the same for everybody, so a cache can answer it: the audience asks
//! once a second. Who must be known says so with a token; a guest gets one with the first hand or message.
//! What changes who is on stage is logged with the subject of the token: a school may have to know.

use super::auth::{Caller, Context, Visitor, wall_ms};
use super::body;
use super::problem::Problem;
use super::routes::Route;
use crate::link::wire::Layout;
use crate::rooms::stage::registry::Shown;
use crate::rooms::stage::view::{Me, Public};
use crate::rooms::stage::{Change, Refusal, Who};
use crate::rooms::token::{Grant, Role, Scope, unix_now};
use crate::time::PersonId;
use axum::Json;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRef};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tracing::info;

/// The routes, for any state that holds a [`Context`].
pub fn routes<S>() -> Vec<Route<S>>
where
    Context: FromRef<S>,
    S: Clone + Send + Sync + 'static,
{
    let route = |path, methods, handlers| Route::new(path, methods, None, handlers);
    vec![
        route("/api/v1/rooms/{room}/stage", "GET, HEAD, PUT, OPTIONS", get(stage).put(change)),
        route("/api/v1/rooms/{room}/hands", "GET, HEAD, POST, OPTIONS", get(hands).post(raise)),
        route("/api/v1/rooms/{room}/hands/{id}", "DELETE, OPTIONS", delete(lower)),
        route("/api/v1/rooms/{room}/invitations", "POST, OPTIONS", post(invite)),
        route("/api/v1/rooms/{room}/invitations/{id}", "DELETE, OPTIONS", delete(withdraw)),
        route("/api/v1/rooms/{room}/invitations/{id}/accept", "POST, OPTIONS", post(accept)),
        route("/api/v1/rooms/{room}/people/{id}", "PUT, DELETE, OPTIONS", delete(remove).put(mute)),
        route("/api/v1/rooms/{room}/end", "POST, OPTIONS", post(end)),
        route("/api/v1/rooms/{room}/me", "GET, HEAD, OPTIONS", get(me)),
    ]
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What is for one person alone is kept by no cache.
const PRIVATE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// A body that everybody gets alike and a cache may keep for a second, or 304 for whoever has it.
pub(super) fn public(headers: &HeaderMap, shown: Shown) -> Response {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let known = known
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == shown.etag);
    let fixed =
        [(header::CACHE_CONTROL, "public, max-age=1".to_owned()), (header::ETAG, shown.etag)];
    if known {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    (fixed, [(header::CONTENT_TYPE, "application/json")], shown.body).into_response()
}

async fn stage(visitor: Visitor, headers: HeaderMap) -> Result<Response, Problem> {
    let shown = visitor.context.stages.shown(&visitor.room, super::auth::now());
    let shown = shown.ok_or_else(|| Problem::no_such_room(&visitor.room))?;
    Ok(public(&headers, shown))
}

/// `PUT /stage`: what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    layout: Option<Layout>,
    /// `null` pins nobody, which is not the same as saying nothing.
    #[serde(default, deserialize_with = "said")]
    pinned: Option<Option<PersonId>>,
    #[serde(default)]
    locked: Option<bool>,
}

fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

type Private<T> = ([(HeaderName, &'static str); 1], Json<T>);

async fn change(
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Private<Public>, Problem> {
    caller.ask(|_, _| teacher(&caller))?;
    let Wanted { layout, pinned, locked } = body::json(&headers, body).await?;
    let change = Change { layout, pinned, locked };
    let stage = caller.ask(|stage, _| {
        stage.change(&caller.who(), change)?;
        Ok(stage.public())
    })?;
    if let Some(locked) = locked {
        info!(room = %caller.room(), locked, by = caller.grant.sub, "the stage's lock");
    }
    Ok((PRIVATE, Json(stage)))
}

/// Refuses before the body is looked at: what is wrong with it is nobody else's business.
pub(super) fn teacher(caller: &Caller) -> Result<(), Refusal> {
    if caller.who().is_teacher() { Ok(()) } else { Err(Refusal::NotTeacher) }
}

async fn hands(caller: Caller) -> Result<Private<serde_json::Value>, Problem> {
    let hands = caller.ask(|stage, now| stage.hands(&caller.who(), now, wall_ms()))?;
    Ok((PRIVATE, Json(json!({ "hands": hands }))))
}

/// `POST /hands`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Called {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Serialize)]
struct Raised {
    id: PersonId,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

async fn raise(
    visitor: Visitor,
    extensions: Extensions,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Called { name } = body::json(&headers, body).await?;
    let (grant, token) = known(&visitor, name, address(&extensions, &headers))?;
    let (id, new) = visitor.ask(|stage, now| stage.raise(&Who::from(&grant), now))?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, PRIVATE, Json(Raised { id, token })).into_response())
}

/// Where a request comes from. A proxy on the box itself, such as one that does TLS, is believed where it
/// says for whom it asks: it appends to `X-Forwarded-For`, so the last entry is its own word. Nobody
/// else is believed.
pub(super) fn address(extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>();
    // Without a connection, as in tests of the router, all guests share an address.
    let peer = peer.map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip().to_canonical());
    if !peer.is_loopback() {
        return peer;
    }
    let forwarded = headers.get_all(FORWARDED_FOR).iter().next_back();
    let last =
        forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    last.unwrap_or(peer)
}

/// Whoever asks, called `name` where their token says nothing else; with a new token where they had none.
pub(super) fn known(
    visitor: &Visitor,
    name: Option<String>,
    address: IpAddr,
) -> Result<(Grant, Option<String>), Problem> {
    if let Some(grant) = &visitor.grant {
        let mut grant = grant.clone();
        grant.name = grant.name.or(name);
        return Ok((grant, None));
    }
    let name = name.unwrap_or_default();
    let (guest, valid) = visitor
        .ask(|stage, now| Ok((stage.guest(&name, address, now)?, stage.guest_token_valid())))?;
    let grant = Grant {
        room: Scope::Room(visitor.room.clone()),
        role: Role::Viewer,
        sub: guest.sub,
        exp: unix_now().saturating_add(valid.as_secs()),
        nbf: None,
        name: Some(guest.name).filter(|name| !name.is_empty()),
    };
    let token = visitor.context.auth.signer().sign(&grant);
    let token = token.map_err(|error| Problem::unavailable(error.to_string()))?;
    Ok((grant, Some(token)))
}

async fn lower(caller: Caller) -> Result<StatusCode, Problem> {
    let id = caller.visitor.person("id")?;
    caller.ask(|stage, now| stage.lower(&caller.who(), id, now))?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /invitations`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whom {
    id: PersonId,
}

async fn invite(caller: Caller, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    caller.ask(|_, _| teacher(&caller))?;
    let Whom { id } = body::json(&headers, body).await?;
    caller.ask(|stage, now| stage.invite(&caller.who(), id, now))?;
    info!(room = %caller.room(), person = %id, by = caller.grant.sub, "called up");
    Ok((StatusCode::CREATED, PRIVATE, Json(json!({ "id": id }))).into_response())
}

async fn withdraw(caller: Caller) -> Result<StatusCode, Problem> {
    let id = caller.visitor.person("id")?;
    caller.ask(|stage, now| stage.withdraw(&caller.who(), id, now))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn accept(caller: Caller) -> Result<Private<serde_json::Value>, Problem> {
    let id = caller.visitor.person("id")?;
    caller.ask(|stage, now| stage.accept(&caller.who(), id, now))?;
    info!(room = %caller.room(), person = %id, by = caller.grant.sub, "accepted");
    Ok((PRIVATE, Json(json!({ "id": id }))))
}

async fn remove(caller: Caller) -> Result<StatusCode, Problem> {
    let id = caller.visitor.person("id")?;
    caller.ask(|stage, now| stage.remove(&caller.who(), id, now))?;
    info!(room = %caller.room(), person = %id, by = caller.grant.sub, "off the stage");
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /people/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Microphone {
    muted: bool,
}

async fn mute(
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Private<serde_json::Value>, Problem> {
    let id = caller.visitor.person("id")?;
    let Microphone { muted } = body::json(&headers, body).await?;
    caller.ask(|stage, now| stage.mute(&caller.who(), id, muted, now))?;
    info!(room = %caller.room(), person = %id, muted, by = caller.grant.sub, "a microphone");
    Ok((PRIVATE, Json(json!({ "id": id, "muted": muted }))))
}

async fn end(caller: Caller) -> Result<Response, Problem> {
    caller.ask(|stage, _| stage.may_end(&caller.who()))?;
    caller.visitor.context.rooms.end(caller.room())?;
    info!(room = %caller.room(), by = caller.grant.sub, "the class is ended");
    Ok((StatusCode::ACCEPTED, PRIVATE, Json(json!({ "ending": true }))).into_response())
}

async fn me(caller: Caller) -> Result<Private<Me>, Problem> {
    let me = caller.ask(|stage, now| stage.me(&caller.who(), now))?;
    Ok((PRIVATE, Json(me)))
}

#[cfg(test)]
mod noise;
#[cfg(test)]
mod tests;
