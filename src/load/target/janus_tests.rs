//! The client's signalling against answers of the shapes that Janus' documentation shows.
#![allow(clippy::unwrap_used)]

use super::*;
use axum::extract::{Path, State};
use axum::{Json, Router, routing};
use tokio::sync::mpsc;

/// A Janus by script: remembers what it was asked, and sends the events a test gives it.
struct Script {
    asked: Mutex<Vec<(String, Value)>>,
    events: mpsc::UnboundedSender<Value>,
    queue: tokio::sync::Mutex<mpsc::UnboundedReceiver<Value>>,
    handles: AtomicU64,
    joins: AtomicU64,
}

type Shared = State<Arc<Script>>;

async fn janus() -> (String, Arc<Script>) {
    let (events, queue) = mpsc::unbounded_channel();
    let script = Arc::new(Script {
        asked: Mutex::default(),
        events,
        queue: tokio::sync::Mutex::new(queue),
        handles: AtomicU64::new(100),
        joins: AtomicU64::new(0),
    });
    let app = Router::new()
        .route("/janus", routing::post(session))
        .route("/janus/7", routing::post(session).get(poll))
        .route("/janus/7/{handle}", routing::post(handle))
        .with_state(Arc::clone(&script));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/janus", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    (url, script)
}

async fn session(State(script): Shared, Json(asked): Json<Value>) -> Json<Value> {
    let kind = asked["janus"].as_str().unwrap().to_owned();
    let id = match kind.as_str() {
        "create" => 7,
        _ => script.handles.fetch_add(1, Ordering::Relaxed),
    };
    let answer = json!({
        "janus": "success", "transaction": asked["transaction"], "data": { "id": id },
    });
    script.asked.lock().unwrap().push((kind, asked));
    Json(answer)
}

async fn poll(State(script): Shared) -> Json<Value> {
    let mut queue = script.queue.lock().await;
    let first = queue.recv().await.unwrap();
    // News nobody asked for comes among the answers.
    Json(json!([{ "janus": "webrtcup", "sender": 1 }, first]))
}

async fn handle(
    State(script): Shared,
    Path(handle): Path<u64>,
    Json(asked): Json<Value>,
) -> Json<Value> {
    let request = asked["body"]["request"].as_str().unwrap().to_owned();
    let transaction = asked["transaction"].clone();
    let event = |data: Value, jsep: Option<Value>| {
        let mut event = json!({
            "janus": "event", "sender": handle, "transaction": transaction,
            "plugindata": { "plugin": "janus.plugin.videoroom", "data": data },
        });
        if let Some(jsep) = jsep {
            event["jsep"] = jsep;
        }
        script.events.send(event).unwrap();
    };
    match request.as_str() {
        "joinandconfigure" => event(
            json!({ "videoroom": "joined", "id": 4_239_433_295_526_572_u64 }),
            Some(json!({ "type": "answer", "sdp": "v=0 answer" })),
        ),
        "join" if script.joins.fetch_add(1, Ordering::Relaxed) < 2 => {
            event(
                json!({ "videoroom": "event", "error_code": 428, "error": "No such feed" }),
                None,
            );
        }
        "join" => event(
            json!({ "videoroom": "attached" }),
            Some(json!({ "type": "offer", "sdp": "v=0 offer" })),
        ),
        "start" => event(json!({ "videoroom": "event", "started": "ok" }), None),
        _ => {}
    }
    let answer = match request.as_str() {
        "create" if asked["body"]["room"] == FIRST_ROOM + 2 => json!({
            "janus": "success", "transaction": transaction,
            "plugindata": { "data": { "videoroom": "event", "error_code": 427, "error": "exists" } },
        }),
        "create" | "destroy" => json!({
            "janus": "success", "transaction": transaction,
            "plugindata": { "data": { "videoroom": "created" } },
        }),
        _ => json!({ "janus": "ack", "transaction": transaction }),
    };
    script.asked.lock().unwrap().push((request, asked));
    Json(answer)
}

const WHO: Who = Who { room: 0, publishes: true, number: 0 };

#[tokio::test]
async fn publishing_joining_and_leaving_say_what_janus_wants_to_hear() {
    let (url, script) = janus().await;
    let mut janus = Janus::open(&format!("{url}/"), 3).await.unwrap();
    let rooms = janus.rooms(1).await.unwrap();
    assert_eq!(rooms, [FIRST_ROOM.to_string()]);

    let (answer, _, feed) = janus.publish(&rooms[0], WHO, "v=0 mine".into()).await.unwrap();
    assert_eq!(answer, "v=0 answer");
    assert_eq!(feed, Feed::Videoroom(4_239_433_295_526_572));
    // Twice the feed is not there yet.
    let (offer, handle) = janus.subscribe(&rooms[0], &feed).await.unwrap();
    assert_eq!((offer.as_str(), script.joins.load(Ordering::Relaxed)), ("v=0 offer", 3));
    janus.start(handle, "v=0 my answer".into()).await.unwrap();
    assert!(lock(&janus.pending).is_empty(), "nobody waits any more");
    janus.leave().await;

    let asked = std::mem::take(&mut *script.asked.lock().unwrap());
    let of = |kind: &str| -> Vec<&Value> {
        asked.iter().filter(|(k, _)| k == kind).map(|(_, asked)| asked).collect()
    };
    assert_eq!(of("create")[1]["body"]["publishers"], 3);
    let publish = of("joinandconfigure")[0];
    assert_eq!(publish["jsep"], json!({ "type": "offer", "sdp": "v=0 mine", "trickle": false }));
    assert_eq!(publish["body"]["ptype"], "publisher");
    let join = of("join")[0];
    assert_eq!(join["body"]["streams"], json!([{ "feed": 4_239_433_295_526_572_u64 }]));
    assert!(join.get("jsep").is_none());
    assert_eq!(of("start")[0]["jsep"]["sdp"], "v=0 my answer");
    assert_eq!(of("destroy").len(), 2, "the room, then the session");
    let transactions: std::collections::BTreeSet<String> =
        asked.iter().map(|(_, a)| a["transaction"].to_string()).collect();
    assert_eq!(transactions.len(), asked.len(), "each its own");
}

#[tokio::test]
async fn refusals_are_told_with_janus_words() {
    let (url, _script) = janus().await;
    let mut janus = Janus::open(&url, 1).await.unwrap();
    let error = janus.rooms(3).await.unwrap_err();
    assert_eq!(error.to_string(), "Janus refused 'create': exists (427)");
    let outer = json!({ "janus": "error", "error": { "code": 458, "reason": "No such session" } });
    let error = refusal("attach", &outer).unwrap_err();
    assert_eq!(error.to_string(), "Janus refused 'attach': No such session (458)");
    let away = Janus::open("http://127.0.0.1:1/janus", 1).await.err().unwrap();
    assert!(matches!(away, JanusError::Http(HttpError::Unreachable { .. })), "{away}");
}
