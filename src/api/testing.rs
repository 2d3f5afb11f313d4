//! The whole API for one test, with the real SFU behind it and a daemon that makes no pictures.
#![allow(clippy::unwrap_used)]

use super::State;
use crate::link::ring::RingWriter;
use crate::origin::{self, hub::Hub};
use crate::rooms::board::Board;
use crate::rooms::stage::{self, Stage, Stages};
use crate::rooms::token::{Grant, Role, Signer, Verifier, unix_now};
use crate::rooms::{OpenError, Request, RoomConfig, Rooms};
use crate::sfu;
use crate::time::{HostTime, PersonId, RoomName};
use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tower::ServiceExt;

/// What all tokens here are signed with.
pub const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

/// A session that does not exist.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// The API, whole.
pub struct House {
    pub app: Router,
    pub sfu: sfu::Handle,
    pub stages: Stages,
}

/// Rooms `bar`, `foo` and `broken`; the daemon opens two and fails on the third.
const ROOMS: [&str; 3] = ["bar", "foo", "broken"];

fn now() -> HostTime {
    HostTime(hw::clock::monotonic_us())
}

pub fn bar() -> RoomName {
    RoomName::parse("bar").unwrap()
}

/// What the director does, without transcoders.
async fn direct(
    stages: Stages,
    sfu: sfu::Handle,
    mut requests: mpsc::Receiver<Request>,
    mut events: mpsc::Receiver<sfu::Event>,
) {
    let mut open = std::collections::BTreeSet::new();
    loop {
        tokio::select! {
            Some(request) = requests.recv() => match request {
                Request::Open { room, reply } if room.as_str() == "broken" => {
                    let _ = reply.send(Err(OpenError::Failed("no encoder".into())));
                }
                Request::Open { room, reply } => {
                    if open.insert(room.clone()) {
                        // The SFU may have ended: that is for the one who publishes to find out.
                        let _ = sfu.attach_ring(room.clone(), RingWriter::create(4 << 20).unwrap()).await;
                        stages.with(&room, now(), Stage::opened);
                    }
                    let _ = reply.send(Ok(()));
                }
                Request::End { room } => {
                    open.remove(&room);
                    stages.with(&room, now(), |stage| stage.ended(now()));
                    let _ = sfu.detach_ring(room).await;
                }
            },
            Some(event) = events.recv() => match event {
                sfu::Event::Joined { room, source, person, kind } => {
                    let join = |stage: &mut Stage| stage.joined(person, kind, source, now());
                    if stages.with(&room, now(), join).unwrap().is_err() {
                        let _ = sfu.send_away(room, person).await;
                    }
                }
                sfu::Event::Left { room, source, .. } => {
                    stages.with(&room, now(), |stage| stage.left(source, now()));
                }
                _ => {}
            },
            else => return,
        }
    }
}

/// A bearer token, as the header wants it; `exp` in Unix seconds.
pub fn token(room: &str, role: Role, sub: &str, exp: u64) -> String {
    let grant = Grant {
        room: room.parse().unwrap(),
        role,
        sub: sub.into(),
        exp,
        nbf: None,
        name: Some(format!("The {sub}")),
    };
    format!("Bearer {}", Signer::with_secret(SECRET).sign(&grant).unwrap())
}

/// One that is valid for a minute in room `bar`.
pub fn valid(role: Role, sub: &str) -> String {
    token("bar", role, sub, unix_now() + 60)
}

/// An offer of picture and sound.
pub fn offer() -> String {
    sdp(str0m::media::Direction::SendOnly)
}

/// An offer to take picture and sound.
pub fn wish() -> String {
    sdp(str0m::media::Direction::RecvOnly)
}

fn sdp(direction: str0m::media::Direction) -> String {
    use str0m::media::MediaKind;
    let mut rtc = str0m::RtcConfig::new().build(std::time::Instant::now());
    let mut api = rtc.sdp_api();
    api.add_media(MediaKind::Video, direction, None, None, None);
    api.add_media(MediaKind::Audio, direction, None, None, None);
    api.apply().unwrap().0.to_sdp_string()
}

/// A response in full.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// It is of that status; what came with it.
    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// It is a problem document of that status, and its detail tells about `word`.
    #[track_caller]
    pub fn is_problem(&self, status: u16, word: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("access-control-allow-origin"), "*");
        let document = self.json();
        assert_eq!(document["status"], status);
        assert!(document["detail"].as_str().unwrap().contains(word), "{} of {word}", self.body);
    }
}

impl House {
    pub async fn new() -> Self {
        Self::with(stage::Config::default()).await
    }

    pub async fn with(config: stage::Config) -> Self {
        let media = sfu::Config {
            bind: "127.0.0.1".parse().unwrap(),
            port: 0,
            tcp: false,
            socket: sfu::Socket::Portable,
            ..sfu::Config::default()
        };
        let (sfu, events) = sfu::start(&media).unwrap();
        let names = ROOMS.map(|name| RoomName::parse(name).unwrap());
        let stages = Stages::new(names.clone(), &config, media.max_on_stage);
        let (rooms, requests) = Rooms::new(names.map(|name| RoomConfig { name, title: None }));
        tokio::spawn(direct(stages.clone(), sfu.clone(), requests, events));
        let state = State {
            rooms,
            board: Board::default(),
            stages: stages.clone(),
            hub: Hub::new(&origin::Config::default()),
            auth: Arc::new(Verifier::with_secret(SECRET)),
            sfu: sfu.clone(),
        };
        House { app: super::router(state), sfu, stages }
    }

    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = axum::http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Answer { status, headers, body: String::from_utf8(body.into()).unwrap() }
    }

    /// The room API of `bar`, by somebody with that token; without one where it is empty.
    pub async fn api(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let mut headers = vec![("content-type", "application/json")];
        if !token.is_empty() {
            headers.push(("authorization", token));
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(method, &format!("/api/v1/rooms/bar{path}"), &headers, body).await
    }

    pub async fn publish(&self, path: &str, authorization: &str, offer: &str) -> Answer {
        let headers = [("content-type", "application/sdp"), ("authorization", authorization)];
        self.ask("POST", path, &headers, offer.to_owned()).await
    }

    /// A class that a teacher has opened, with a camera on stage; the teacher's token and id.
    pub async fn class(&self) -> (String, PersonId) {
        let teacher = valid(Role::Teacher, "teacher");
        assert_eq!(self.publish("/whip/bar", &teacher, &offer()).await.status, 201);
        let me = self.api("GET", "/me", &teacher, Value::Null).await.is(200);
        let id = me["id"].as_str().unwrap().parse().unwrap();
        self.until(|shown| shown["people"][0]["camera"] == true).await;
        (teacher, id)
    }

    /// Waits until the public stage is as `wanted`, ten seconds at most.
    pub async fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = tokio::time::Instant::now() + Duration::from_secs(10);
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            let shown = self.api("GET", "/stage", "", Value::Null).await.is(200);
            if wanted(&shown) {
                return shown;
            }
            assert!(tokio::time::Instant::now() < end, "it never came to it: {shown}");
            tick.tick().await;
        }
    }
}
