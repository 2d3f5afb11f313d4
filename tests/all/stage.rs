//! The stage over real sockets: somebody from the audience is called up, publishes, and is taken off again.

use crate::support::{Answer, TestBox, config, get, request, room, token};
use proscenium::rooms::board::State;
use proscenium::rooms::token::Role;
use proscenium::teacher::publish::{Publish, Publisher};
use serde_json::{Value, json};
use std::time::Duration;

async fn api(stage: &TestBox, method: &str, path: &str, token: &str, body: Value) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let url = stage.url(&format!("/api/v1/rooms/bar{path}"));
    request(method, &url, &headers, body.as_bytes()).await
}

fn text(answer: &Answer, key: &str) -> String {
    let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
    json[key].as_str().map(str::to_owned).unwrap_or_else(|| panic!("no {key} in {json}"))
}

/// Waits until the public stage is as `wanted`, half a minute at most.
async fn until(stage: &TestBox, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        tick.tick().await;
        let shown = get(&stage.url("/api/v1/rooms/bar/stage")).await;
        let shown: Value = serde_json::from_slice(&shown.body).expect("JSON");
        if wanted(&shown) {
            return shown;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited 30 s for: {what}; {shown}");
    }
}

fn on_stage(shown: &Value) -> usize {
    shown["people"].as_array().map_or(0, Vec::len)
}

fn publish_as(stage: &TestBox, token: &str) -> Publish {
    let mut publish = stage.publish_request("carol");
    publish.token = Some(token.to_owned());
    publish
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_is_called_up_publishes_and_is_removed_while_the_class_goes_on() {
    let stage = TestBox::start().await;
    let (alice, carol) =
        (token("bar", Role::Teacher, "alice", 600), token("bar", Role::Viewer, "carol", 600));
    let teacher = stage.publish(|_| {}).await;
    stage.until("a live room", |status| status.state == State::Live).await;
    until(&stage, "the teacher on stage", |shown| shown["live"] == true && on_stage(shown) == 1)
        .await;

    let refused = Publisher::start(publish_as(&stage, &carol)).await.err().expect("a viewer");
    assert!(refused.to_string().contains("403"), "{refused}");
    let raised = api(&stage, "POST", "/hands", &carol, json!({"name": "Carol"})).await;
    assert_eq!(raised.status, 201, "{}", raised.text());
    let id = text(&raised, "id");
    let invited = api(&stage, "POST", "/invitations", &alice, json!({ "id": id })).await;
    assert_eq!(invited.status, 201, "{}", invited.text());
    let accept = format!("/invitations/{id}/accept");
    assert_eq!(api(&stage, "POST", &accept, &carol, Value::Null).await.status, 200);
    let speaker = Publisher::start(publish_as(&stage, &carol)).await.expect("a place on stage");
    let shown = until(&stage, "two on stage", |shown| shown["people"][1]["camera"] == true).await;
    assert_eq!(
        (&shown["people"][1]["id"], &shown["people"][1]["name"]),
        (&json!(id), &json!("Carol"))
    );

    // What is written lies on the recording's timeline.
    let written = api(&stage, "POST", "/chat", &carol, json!({"text": "I am here"})).await;
    assert_eq!(written.status, 201, "{}", written.text());
    let page = get(&stage.url("/api/v1/rooms/bar/chat?after=0")).await;
    let page: Value = serde_json::from_slice(&page.body).expect("JSON");
    let message = &page["messages"][0];
    assert_eq!((&message["role"], &message["text"]), (&json!("speaker"), &json!("I am here")));
    let since = stage.daemon.board().get(&room()).since_ms.expect("a beginning");
    let (at, class) = (message["at_ms"].as_i64(), message["class_ms"].as_i64());
    let apart = at.expect("a time") - class.expect("a place in the recording") - since;
    assert!(apart.abs() <= 2, "{apart} ms: {message}, class since {since}");

    let removed = api(&stage, "DELETE", &format!("/people/{id}"), &alice, Value::Null).await;
    assert_eq!(removed.status, 204, "{}", removed.text());
    let gone = tokio::time::timeout(Duration::from_secs(30), speaker.gone()).await;
    assert!(gone.is_ok(), "the connection of who was removed ends");
    until(&stage, "one on stage", |shown| on_stage(shown) == 1).await;
    let again = Publisher::start(publish_as(&stage, &carol)).await.err().expect("removed");
    assert!(again.to_string().contains("403"), "{again}");
    let before = teacher.figures().frames;
    assert_eq!(stage.daemon.board().get(&room()).state, State::Live);
    until(&stage, "the teacher still there", |shown| shown["people"][0]["camera"] == true).await;
    assert!(teacher.figures().frames >= before);

    let metrics = get(&stage.url("/metrics")).await.text();
    for name in
        ["proscenium_stage_people", "proscenium_chat_messages_total", "reason=\"not_admitted\""]
    {
        assert!(metrics.contains(name), "{name} is missing: {metrics}");
    }
    assert_eq!(api(&stage, "POST", "/end", &alice, Value::Null).await.status, 202);
    stage.until("the end", |status| status.state == State::Ended).await;
    until(&stage, "an empty stage", |shown| on_stage(shown) == 0 && shown["live"] == false).await;
    stage.daemon.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_ends_with_its_teacher_and_not_with_a_speaker() {
    let mut config = config();
    config.class.linger_lost = proscenium::units::Span::secs(2);
    let stage = TestBox::with(config).await;
    let bob = token("bar", Role::Speaker, "bob", 600);
    // Nobody leads yet: a speaker may open the room.
    let speaker = Publisher::start(publish_as(&stage, &bob)).await.expect("a speaker opens");
    stage.until("a live room", |status| status.state == State::Live).await;
    let teacher = stage.publish(|_| {}).await;
    until(&stage, "two on stage", |shown| on_stage(shown) == 2).await;
    teacher.stop().await.expect("the teacher says goodbye");
    stage.until("the end", |status| status.state == State::Ended).await;
    // A page that connects again by itself does not open another class; a teacher does.
    let again = Publisher::start(publish_as(&stage, &bob)).await.err().expect("over");
    assert!(again.to_string().contains("409"), "{again}");
    assert!(speaker.stop().await.is_err(), "who was on stage was sent home: the session is gone");
    let teacher = stage.publish(|_| {}).await;
    stage.until("a live room again", |status| status.state == State::Live).await;
    drop(teacher);
    stage.daemon.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_in_the_waiting_room_raises_a_hand_that_is_up_when_the_class_begins() {
    let mut config = config();
    config.stage.address_rate = 1;
    let stage = TestBox::with(config).await;
    let hands = stage.url("/api/v1/rooms/bar/hands");
    let json = [("content-type", "application/json")];
    let raised = request("POST", &hands, &json, b"{\"name\": \"Guest\"}").await;
    assert_eq!(raised.status, 201, "{}", raised.text());
    let (id, guest) = (text(&raised, "id"), text(&raised, "token"));
    let me = api(&stage, "GET", "/me", &guest, Value::Null).await;
    assert_eq!((text(&me, "id"), text(&me, "state")), (id.clone(), "hand".into()));
    // One address is not a crowd: its guests are counted by the connection they come from.
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(request("POST", &hands, &json, b"").await.status);
    }
    assert!(statuses.contains(&201) && statuses.contains(&429), "{statuses:?}");
    let teacher = stage.publish(|_| {}).await;
    until(&stage, "the teacher on stage", |shown| on_stage(shown) == 1).await;
    let alice = token("bar", Role::Teacher, "alice", 600);
    let queue = api(&stage, "GET", "/hands", &alice, Value::Null).await;
    let queue: Value = serde_json::from_slice(&queue.body).expect("JSON");
    assert_eq!(
        (&queue["hands"][0]["id"], &queue["hands"][0]["name"]),
        (&json!(id), &json!("Guest"))
    );
    drop(teacher);
    stage.daemon.shutdown().await;
}
