//! Janus (janus.plugin.videoroom) by its HTTP interface: the peer that benchmarks compare with.
//!
//! One session holds a handle a connection; what answers a request later comes as an event through
//! a long poll and is matched by its transaction. Publishers offer; subscribers are offered to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Feed, Session, Who};
use crate::teacher::http::{Http, HttpError};

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Number of the first room; chosen so that it meets nobody's.
const FIRST_ROOM: u64 = 7_100_000;
/// Its code for a feed that is not there, or not yet.
const NO_SUCH_FEED: i64 = 428;
/// A feed that is not there yet is asked for so many times, this far apart.
const FEED_TRIES: u32 = 50;
const FEED_AGAIN: Duration = Duration::from_millis(100);
/// Events fetched at once.
const EVENTS: u32 = 50;

/// Why Janus did not take a connection.
#[derive(Debug, thiserror::Error)]
pub enum JanusError {
    /// There was no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It refused.
    #[error("Janus refused '{request}': {reason} ({code})")]
    Refused {
        /// What was asked.
        request: String,
        /// Its error code.
        code: i64,
        /// Its words.
        reason: String,
    },
    /// An answer that is not as its documentation says.
    #[error("Janus answered '{request}' without {missing}")]
    Unexpected {
        /// What was asked.
        request: String,
        /// What was looked for.
        missing: &'static str,
    },
    /// An event that never came.
    #[error("Janus sent no event for '{0}' within 20 s")]
    NoEvent(String),
    /// Somebody else's feed.
    #[error("a feed of another kind of server")]
    Foreign,
}

type Pending = Arc<Mutex<HashMap<String, oneshot::Sender<Value>>>>;

pub(in crate::load) struct Janus {
    http: Http,
    /// `.../janus/SESSION`.
    session: String,
    rooms: Vec<u64>,
    publishers: usize,
    next: AtomicU64,
    pending: Pending,
    poll: JoinHandle<()>,
}

impl Janus {
    /// A session at `base` (`http://host:8088/janus`); rooms will take `publishers` each.
    pub(in crate::load) async fn open(base: &str, publishers: usize) -> Result<Self, JanusError> {
        let http = Http::default();
        let base = base.trim_end_matches('/');
        let create = json!({ "janus": "create", "transaction": "create" });
        let id = id(&ask(&http, base, "create", &create).await?, "create")?;
        let session = format!("{base}/{id}");
        let pending = Pending::default();
        let poll = tokio::spawn(poll(http.clone(), session.clone(), Arc::clone(&pending)));
        let next = AtomicU64::new(1);
        Ok(Self { http, session, rooms: Vec::new(), publishers, next, pending, poll })
    }

    pub(super) async fn rooms(&mut self, wanted: usize) -> Result<Vec<String>, JanusError> {
        let handle = self.attach().await?;
        for number in 0..wanted as u64 {
            let room = FIRST_ROOM + number;
            let body = json!({
                "request": "create", "room": room, "description": "load", "is_private": true,
                "publishers": self.publishers, "videocodec": "h264", "audiocodec": "opus",
                "notify_joining": false,
            });
            let answer = self.message(handle, "create", body, None).await?;
            refusal("create", answer.pointer("/plugindata/data").unwrap_or(&Value::Null))?;
            self.rooms.push(room);
        }
        Ok(self.rooms.iter().map(u64::to_string).collect())
    }

    pub(super) async fn publish(
        &self,
        room: &str,
        who: Who,
        offer: String,
    ) -> Result<(String, Session, Feed), JanusError> {
        let request = "joinandconfigure";
        let handle = self.attach().await?;
        let body = json!({
            "request": request, "ptype": "publisher", "room": number(room),
            "display": format!("load {}", who.number), "bitrate": 0,
        });
        let jsep = json!({ "type": "offer", "sdp": offer, "trickle": false });
        let event = self.event(handle, request, body, Some(jsep)).await?;
        let feed = event.pointer("/plugindata/data/id").and_then(Value::as_u64);
        let feed =
            feed.ok_or(JanusError::Unexpected { request: request.into(), missing: "an id" })?;
        Ok((sdp(&event, request)?, Session { who, url: None }, Feed::Videoroom(feed)))
    }

    /// The offer, and the handle that waits for its answer.
    pub(super) async fn subscribe(
        &self,
        room: &str,
        feed: &Feed,
    ) -> Result<(String, u64), JanusError> {
        let Feed::Videoroom(feed) = feed else { return Err(JanusError::Foreign) };
        let handle = self.attach().await?;
        let body = json!({
            "request": "join", "ptype": "subscriber", "room": number(room),
            "streams": [{ "feed": feed }],
        });
        // A publisher can be joined when Janus, too, has seen its handshake end: a moment later.
        let mut tries = 0;
        let event = loop {
            tries += 1;
            match self.event(handle, "join", body.clone(), None).await {
                Err(JanusError::Refused { code: NO_SUCH_FEED, .. }) if tries < FEED_TRIES => {
                    tokio::time::sleep(FEED_AGAIN).await;
                }
                outcome => break outcome?,
            }
        };
        Ok((sdp(&event, "join")?, handle))
    }

    /// Answers the offer.
    pub(super) async fn start(&self, handle: u64, answer: String) -> Result<(), JanusError> {
        let jsep = json!({ "type": "answer", "sdp": answer, "trickle": false });
        self.event(handle, "start", json!({ "request": "start" }), Some(jsep)).await.map(drop)
    }

    /// Ends the session, its handles and the rooms.
    pub(super) async fn leave(&self) {
        // What cannot be told now, Janus finds out by itself within a minute.
        if let Ok(handle) = self.attach().await {
            for room in &self.rooms {
                let body = json!({ "request": "destroy", "room": room });
                let _ = self.message(handle, "destroy", body, None).await;
            }
        }
        let destroy = json!({ "janus": "destroy", "transaction": self.transaction() });
        let _ = ask(&self.http, &self.session, "destroy", &destroy).await;
        self.poll.abort();
    }

    fn transaction(&self) -> String {
        format!("load-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    async fn attach(&self) -> Result<u64, JanusError> {
        let request = json!({
            "janus": "attach", "plugin": "janus.plugin.videoroom", "transaction": self.transaction(),
        });
        id(&ask(&self.http, &self.session, "attach", &request).await?, "attach")
    }

    /// Sends a request; its answer.
    async fn message(
        &self,
        handle: u64,
        request: &str,
        body: Value,
        transaction: Option<(String, Option<Value>)>,
    ) -> Result<Value, JanusError> {
        let (transaction, jsep) = transaction.unwrap_or_else(|| (self.transaction(), None));
        let mut message = json!({ "janus": "message", "transaction": transaction, "body": body });
        if let (Some(message), Some(jsep)) = (message.as_object_mut(), jsep) {
            message.insert("jsep".into(), jsep);
        }
        ask(&self.http, &format!("{}/{handle}", self.session), request, &message).await
    }

    /// Sends a request that is answered by an event.
    async fn event(
        &self,
        handle: u64,
        request: &str,
        body: Value,
        jsep: Option<Value>,
    ) -> Result<Value, JanusError> {
        let transaction = self.transaction();
        let (tx, rx) = oneshot::channel();
        lock(&self.pending).insert(transaction.clone(), tx);
        let asked = self.message(handle, request, body, Some((transaction.clone(), jsep))).await;
        let event = match asked {
            Ok(_) => tokio::time::timeout(PATIENCE, rx).await.ok().and_then(Result::ok),
            Err(error) => {
                lock(&self.pending).remove(&transaction);
                return Err(error);
            }
        };
        lock(&self.pending).remove(&transaction);
        let event = event.ok_or_else(|| JanusError::NoEvent(request.to_owned()))?;
        refusal(request, event.pointer("/plugindata/data").unwrap_or(&Value::Null))?;
        Ok(event)
    }
}

impl Drop for Janus {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

fn lock(pending: &Pending) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Value>>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fetches events and hands them to who waits, until it is aborted.
async fn poll(http: Http, session: String, pending: Pending) {
    let url = format!("{session}?maxev={EVENTS}");
    loop {
        let events = match http.get(&url).await {
            Ok(answer) => serde_json::from_slice(&answer.body).unwrap_or(Value::Null),
            // Nothing happened for a while: it is asked again.
            Err(HttpError::TimedOut(_)) => continue,
            Err(error) => {
                tracing::debug!(%error, "no events from Janus");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let events = match events {
            Value::Array(events) => events,
            one => vec![one],
        };
        for event in events {
            let Some(transaction) = event.get("transaction").and_then(Value::as_str) else {
                continue;
            };
            if let Some(waiting) = lock(&pending).remove(transaction) {
                let _ = waiting.send(event);
            }
        }
    }
}

async fn ask(http: &Http, url: &str, request: &str, body: &Value) -> Result<Value, JanusError> {
    let headers = [("content-type", "application/json")];
    let answer = http.send(Method::POST, url, &headers, body.to_string()).await?;
    if !answer.status.is_success() {
        return Err(answer.refusal(url).into());
    }
    let answer: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| JanusError::Unexpected { request: request.to_owned(), missing: "JSON" })?;
    refusal(request, &answer)?;
    Ok(answer)
}

/// Janus says no in two ways: `{"error": {"code", "reason"}}` itself, `{"error", "error_code"}` the
/// plugin.
fn refusal(request: &str, answer: &Value) -> Result<(), JanusError> {
    let Some(error) = answer.get("error") else { return Ok(()) };
    let code = error.get("code").or_else(|| answer.get("error_code")).and_then(Value::as_i64);
    let reason = error.get("reason").unwrap_or(error).as_str().unwrap_or("no reason given");
    Err(JanusError::Refused {
        request: request.to_owned(),
        code: code.unwrap_or(0),
        reason: reason.to_owned(),
    })
}

fn id(answer: &Value, request: &str) -> Result<u64, JanusError> {
    let id = answer.pointer("/data/id").and_then(Value::as_u64);
    id.ok_or_else(|| JanusError::Unexpected { request: request.to_owned(), missing: "an id" })
}

fn sdp(event: &Value, request: &str) -> Result<String, JanusError> {
    let sdp = event.pointer("/jsep/sdp").and_then(Value::as_str);
    sdp.map(str::to_owned)
        .ok_or_else(|| JanusError::Unexpected { request: request.to_owned(), missing: "an SDP" })
}

fn number(room: &str) -> u64 {
    room.parse().unwrap_or(FIRST_ROOM)
}

#[cfg(test)]
#[path = "janus_tests.rs"]
mod tests;
