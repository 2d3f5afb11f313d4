//! Who asks about which room. Every handler below a room's URL takes a [`Caller`] or a [`Visitor`], so
//! none can forget to ask.

use super::problem::Problem;
use crate::rooms::Rooms;
use crate::rooms::stage::{Refusal, Stage, Stages, Who};
use crate::rooms::token::{self, Grant, Verifier, unix_now};
use crate::sfu;
use crate::time::{HostTime, PersonId, RoomName};
use axum::extract::{FromRef, FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::request::Parts;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the handlers of a room work with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The media side.
    pub sfu: sfu::Handle,
    /// Whose tokens are believed.
    pub auth: Arc<Verifier>,
    /// The configured rooms.
    pub rooms: Rooms,
    /// Who is on stage in them.
    pub stages: Stages,
}

/// Somebody, perhaps with a token, at the URL of a room that exists.
#[derive(Debug)]
pub struct Visitor {
    /// What there is to work with.
    pub context: Context,
    /// The room of the URL.
    pub room: RoomName,
    /// What the token says, where one was sent; it covers the room.
    pub grant: Option<Grant>,
    /// The URL's other parts.
    parts: BTreeMap<String, String>,
}

/// Somebody with a token that covers the room of the URL, which exists.
#[derive(Debug)]
pub struct Caller {
    /// As of anybody.
    pub visitor: Visitor,
    /// What the token says.
    pub grant: Grant,
}

/// The box's clock.
pub(super) fn now() -> HostTime {
    HostTime(hw::clock::monotonic_us())
}

/// Milliseconds since 1970.
pub(super) fn wall_ms() -> i64 {
    hw::clock::wall_us() / 1000
}

impl Visitor {
    /// A part of the URL, such as `session`; empty where the route has none of that name.
    pub fn part(&self, name: &str) -> &str {
        self.parts.get(name).map_or("", String::as_str)
    }

    /// The person that the URL names.
    ///
    /// # Errors
    /// 404: what is no id is nobody's.
    pub fn person(&self, name: &str) -> Result<PersonId, Problem> {
        self.part(name).parse().map_err(|_| refused(&self.room, Refusal::UnknownPerson))
    }

    /// Asks the stage of the room, now.
    ///
    /// # Errors
    /// What it refuses, counted.
    pub fn ask<T>(
        &self,
        ask: impl FnOnce(&mut Stage, HostTime) -> Result<T, Refusal>,
    ) -> Result<T, Problem> {
        let now = now();
        let answer = self.context.stages.with(&self.room, now, |stage| ask(stage, now));
        let answer = answer.ok_or_else(|| Problem::no_such_room(&self.room))?;
        answer.map_err(|refusal| refused(&self.room, refusal))
    }
}

impl Caller {
    /// As the stage knows people.
    pub fn who(&self) -> Who<'_> {
        Who::from(&self.grant)
    }

    /// As [`Visitor::ask`].
    ///
    /// # Errors
    /// What the stage refuses.
    pub fn ask<T>(
        &self,
        ask: impl FnOnce(&mut Stage, HostTime) -> Result<T, Refusal>,
    ) -> Result<T, Problem> {
        self.visitor.ask(ask)
    }

    /// The room.
    pub fn room(&self) -> &RoomName {
        &self.visitor.room
    }
}

impl<S> FromRequestParts<S> for Visitor
where
    Context: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    /// What a token does not cover is forbidden before it is looked up: its holder does not learn which
    /// rooms there are.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let context = Context::from_ref(state);
        let path = Path::<BTreeMap<String, String>>::from_request_parts(parts, state).await;
        let Path(mut path) = path.map_err(|_| Problem::unknown_room(parts.uri.path()))?;
        let grant = match bearer(&parts.headers) {
            Some(token) => Some(context.auth.verify(token, unix_now())?),
            // Something was sent that is no bearer token: that is not the same as nothing.
            None if parts.headers.contains_key(header::AUTHORIZATION) => return Err(anonymous()),
            None => None,
        };
        let room = path.remove("room").unwrap_or_default();
        let room = RoomName::parse(&room).map_err(|_| Problem::unknown_room(&room))?;
        if grant.as_ref().is_some_and(|grant| !grant.room.covers(&room)) {
            return Err(forbidden("the token is for another room: ask for one for this room"));
        }
        if context.rooms.get(&room).is_none() {
            return Err(Problem::no_such_room(&room));
        }
        Ok(Self { context, room, grant, parts: path })
    }
}

impl<S> FromRequestParts<S> for Caller
where
    Context: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if bearer(&parts.headers).is_none() {
            return Err(anonymous());
        }
        let visitor = Visitor::from_request_parts(parts, state).await?;
        let grant = visitor.grant.clone().ok_or_else(anonymous)?;
        Ok(Self { visitor, grant })
    }
}

fn anonymous() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "send a token in the header Authorization: Bearer ...; 'proscenium token' makes one",
    )
    .with(header::WWW_AUTHENTICATE, challenge(""))
}

fn forbidden(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
        .with(header::WWW_AUTHENTICATE, challenge(", error=\"insufficient_scope\""))
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

impl From<token::Refusal> for Problem {
    fn from(refusal: token::Refusal) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, refusal.to_string())
            .with(header::WWW_AUTHENTICATE, challenge(", error=\"invalid_token\""))
    }
}

/// A refusal of the stage as it goes out; counted by room and reason.
pub(super) fn refused(room: &RoomName, refusal: Refusal) -> Problem {
    let labels = [("room", room.to_string()), ("reason", refusal.reason().to_owned())];
    metrics::counter!("proscenium_stage_refusals_total", &labels).increment(1);
    let status = match refusal {
        Refusal::NotTeacher
        | Refusal::NotYours
        | Refusal::NotAdmitted
        | Refusal::Removed
        | Refusal::MutedByTeacher
        | Refusal::ChatClosed => return forbidden(&refusal.to_string()),
        Refusal::NoGuests => {
            return Problem::new(StatusCode::UNAUTHORIZED, refusal.to_string())
                .with(header::WWW_AUTHENTICATE, challenge(""));
        }
        Refusal::UnknownPerson
        | Refusal::NotOnStage
        | Refusal::NotInvited
        | Refusal::UnknownMessage => StatusCode::NOT_FOUND,
        Refusal::Locked
        | Refusal::HandsFull
        | Refusal::NeedsNone
        | Refusal::OnStage
        | Refusal::StageFull
        | Refusal::InvitationsFull
        | Refusal::AlreadyAccepted
        | Refusal::ClassOver
        | Refusal::NoClass => StatusCode::CONFLICT,
        Refusal::Withdrawn | Refusal::Declined | Refusal::RanOut => StatusCode::GONE,
        Refusal::SlowMode { .. }
        | Refusal::TooFast { .. }
        | Refusal::RoomBusy { .. }
        | Refusal::AddressBusy { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::RoomFull => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::EmptyMessage => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::LongMessage => StatusCode::PAYLOAD_TOO_LARGE,
    };
    let problem = Problem::new(status, refusal.to_string());
    match refusal.retry_after_s() {
        Some(seconds) => problem.with(header::RETRY_AFTER, HeaderValue::from(seconds)),
        None => problem,
    }
}
