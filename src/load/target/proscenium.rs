//! Proscenium: WHIP to publish, WHEP to subscribe, a bearer token for each.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::{Feed, Session, Who};
use crate::rooms::token::{Grant, KeyError, Role, Scope, Signer, unix_now};
use crate::teacher::http::{Http, HttpError};
use crate::teacher::whip::{Whip, WhipError};

/// Signed tokens hold this long, in seconds: longer than any run may take.
const TOKEN_SECONDS: u64 = 24 * 3600;

/// Why Proscenium did not take a connection.
#[derive(Debug, thiserror::Error)]
pub enum ProsceniumError {
    /// There was no answer, or it was a refusal.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Likewise, of WHIP or WHEP.
    #[error(transparent)]
    Whip(#[from] WhipError),
    /// The token was not accepted.
    #[error(
        "the server does not accept the token ({said}); sign with the secret the server has \
         (--token-secret), or show a token for these rooms (--token)"
    )]
    Token {
        /// What the server said.
        said: String,
    },
    /// Fewer rooms than were asked for.
    #[error(
        "the server has {had} rooms, {wanted} were asked for; add [[room]] sections to its \
         configuration or ask for fewer with --rooms"
    )]
    TooFewRooms {
        /// Rooms there are.
        had: usize,
        /// Rooms asked for.
        wanted: usize,
    },
    /// A room that was named is not there.
    #[error("the server has no room '{0}'")]
    NoSuchRoom(String),
    /// An answer that is not as the API documents it.
    #[error("{url} answered something unexpected: {what}")]
    Unexpected {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// A token could not be signed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Somebody else's feed.
    #[error("a feed of another kind of server")]
    Foreign,
}

/// What is shown to the server.
pub(in crate::load) enum Auth {
    /// The same token for everybody: all are one person.
    Token(Option<String>),
    /// One for each, signed here.
    Signer(Arc<Signer>),
}

pub(in crate::load) struct Proscenium {
    base: String,
    auth: Auth,
    /// Rooms that were named; else those the server has are taken.
    named: Vec<String>,
    /// Different for every run, so that a run is nobody of the last.
    run: u32,
    http: Http,
}

#[derive(Deserialize)]
struct Rooms {
    rooms: Vec<Room>,
}

#[derive(Deserialize)]
struct Room {
    room: String,
}

#[derive(Deserialize)]
struct Me {
    id: String,
}

impl Proscenium {
    pub(in crate::load) fn new(base: &str, auth: Auth, named: Vec<String>) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        Self { base, auth, named, run: rand::random(), http: Http::default() }
    }

    pub(super) async fn rooms(&self, wanted: usize) -> Result<Vec<String>, ProsceniumError> {
        let url = format!("{}/api/v1/rooms", self.base);
        let answer = self.http.get(&url).await?;
        let there: Rooms = serde_json::from_slice(&answer.body)
            .map_err(|error| ProsceniumError::Unexpected { url, what: error.to_string() })?;
        let mut there: Vec<String> = there.rooms.into_iter().map(|room| room.room).collect();
        if let Some(missing) = self.named.iter().find(|room| !there.contains(room)) {
            return Err(ProsceniumError::NoSuchRoom(missing.clone()));
        }
        if !self.named.is_empty() {
            there.clone_from(&self.named);
        }
        if there.len() < wanted {
            return Err(ProsceniumError::TooFewRooms { had: there.len(), wanted });
        }
        there.truncate(wanted);
        Ok(there)
    }

    pub(in crate::load) fn token(
        &self,
        room: &str,
        who: Who,
    ) -> Result<Option<String>, ProsceniumError> {
        match &self.auth {
            Auth::Token(token) => Ok(token.clone()),
            Auth::Signer(signer) => {
                let scope: Scope =
                    room.parse().map_err(|_| ProsceniumError::NoSuchRoom(room.to_owned()))?;
                // The first gives the class, the others take part in it.
                let first = who.publishes && who.number == 0;
                let kind = if who.publishes { "p" } else { "s" };
                let sub = format!("load-{:08x}-{kind}{}", self.run, who.number);
                Ok(Some(signer.sign(&Grant {
                    room: scope,
                    role: if first { Role::Teacher } else { Role::Speaker },
                    sub,
                    exp: unix_now() + TOKEN_SECONDS,
                    nbf: None,
                    name: Some(format!("Load {kind}{}", who.number)),
                })?))
            }
        }
    }

    pub(super) async fn publish(
        &self,
        room: &str,
        who: Who,
        offer: String,
    ) -> Result<(String, Session, Feed), ProsceniumError> {
        let token = self.token(room, who)?;
        let url = format!("{}/whip/{room}", self.base);
        let session = refused(Whip::new(token.clone()).publish(&url, offer).await)?;
        let me = self.me(room, token.as_deref()).await;
        let kept = Session { who, url: Some(session.url.clone()) };
        match me {
            Ok(id) => Ok((session.answer, kept, Feed::Person(id))),
            Err(error) => {
                // Nobody could subscribe to it.
                let _ = self.end(&kept).await;
                Err(error)
            }
        }
    }

    /// The public id of whoever holds `token`.
    pub(in crate::load) async fn me(
        &self,
        room: &str,
        token: Option<&str>,
    ) -> Result<String, ProsceniumError> {
        let url = format!("{}/api/v1/rooms/{room}/me", self.base);
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.as_deref().map(|b| ("authorization", b)).into_iter().collect();
        let answer = self.http.send(Method::GET, &url, &headers, "").await?;
        if !answer.status.is_success() {
            return Err(answer.refusal(&url).into());
        }
        let me: Result<Me, _> = serde_json::from_slice(&answer.body);
        me.map(|me| me.id)
            .map_err(|error| ProsceniumError::Unexpected { url, what: error.to_string() })
    }

    pub(super) async fn subscribe(
        &self,
        room: &str,
        who: Who,
        feed: &Feed,
        offer: String,
    ) -> Result<(String, Session), ProsceniumError> {
        let Feed::Person(person) = feed else { return Err(ProsceniumError::Foreign) };
        let url = format!("{}/whep/{room}/{person}?media=camera", self.base);
        let whip = Whip::new(self.token(room, who)?);
        let session = refused(whip.publish(&url, offer).await)?;
        Ok((session.answer, Session { who, url: Some(session.url) }))
    }

    pub(super) async fn end(&self, session: &Session) -> Result<(), ProsceniumError> {
        let Some(url) = &session.url else { return Ok(()) };
        // .../whip/ROOM/SESSION, .../whep/ROOM/PERSON/SESSION
        let room = url.strip_prefix(&self.base).and_then(|path| path.split('/').nth(2));
        let token = self.token(room.unwrap_or_default(), session.who)?;
        Ok(Whip::new(token).end(url).await?)
    }
}

/// A refused token is the one refusal a person can do something about at once.
fn refused<T>(outcome: Result<T, WhipError>) -> Result<T, ProsceniumError> {
    match outcome {
        Err(WhipError::Http(HttpError::Refused { status, body, .. }))
            if status == StatusCode::UNAUTHORIZED =>
        {
            let said = serde_json::from_str::<serde_json::Value>(&body).ok();
            let said = said.as_ref().and_then(|problem| problem.get("detail")?.as_str());
            let said = said.map_or_else(|| format!("{status}: {body}"), str::to_owned);
            Err(ProsceniumError::Token { said })
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::response::IntoResponse;
    use axum::{Json, Router, http, routing};
    use serde_json::json;

    async fn server() -> String {
        let app = Router::new()
            .route(
                "/api/v1/rooms",
                routing::get(async || {
                    Json(json!({"rooms": [{"room": "bar", "title": "Bar"}, {"room": "foo"}]}))
                }),
            )
            .route(
                "/whip/bar",
                routing::post(async || {
                    let problem = json!({"detail": "the token has expired"});
                    (http::StatusCode::UNAUTHORIZED, Json(problem)).into_response()
                }),
            )
            .route("/whip/foo", routing::post(async || http::StatusCode::SERVICE_UNAVAILABLE));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        url
    }

    const FIRST: Who = Who { room: 0, publishes: true, number: 0 };

    #[tokio::test]
    async fn rooms_are_those_named_or_those_there_and_too_few_is_said() {
        let url = server().await;
        let of = |named: &[&str]| {
            let named = named.iter().map(|s| (*s).to_owned()).collect();
            Proscenium::new(&url, Auth::Token(None), named)
        };
        assert_eq!(of(&[]).rooms(1).await.unwrap(), ["bar"]);
        assert_eq!(of(&["foo"]).rooms(1).await.unwrap(), ["foo"]);
        let error = of(&[]).rooms(3).await.unwrap_err().to_string();
        assert!(error.contains("has 2 rooms, 3 were asked for"), "{error}");
        let error = of(&["baz"]).rooms(1).await.unwrap_err().to_string();
        assert!(error.contains("'baz'"), "{error}");
    }

    #[tokio::test]
    async fn refusals_say_what_to_do() {
        let server = Proscenium::new(&server().await, Auth::Token(Some("x".into())), vec![]);
        let error = server.publish("bar", FIRST, "v=0".into()).await.unwrap_err().to_string();
        assert!(error.contains("has expired") && error.contains("--token-secret"), "{error}");
        let error = server.publish("foo", FIRST, "v=0".into()).await.unwrap_err().to_string();
        assert!(error.contains("503"), "{error}");
    }

    #[test]
    fn everybody_is_somebody_else() {
        let signer = Arc::new(Signer::with_secret(b"a secret of more than thirty-two bytes"));
        let server = Proscenium::new("http://h/", Auth::Signer(signer), vec![]);
        let token = |who| server.token("bar", who).unwrap().unwrap();
        let second = Who { number: 1, ..FIRST };
        let listener = Who { publishes: false, ..FIRST };
        assert!(token(FIRST) != token(second) && token(FIRST) != token(listener));
        assert!(server.token("No Room", FIRST).is_err());
    }
}
