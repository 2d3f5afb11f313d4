//! WHEP through the router, with the real SFU behind it.
#![allow(clippy::unwrap_used)]

use crate::api::session::{FRAGMENT, SDP};
use crate::api::testing::{House, KEY, offer, valid, wish};
use crate::rooms::token::Role;
use crate::time::PersonId;
use serde_json::{Value, json};

#[tokio::test]
async fn who_is_not_on_stage_may_not_take_part_and_who_is_there_need_not_wait() {
    let house = House::new().await;
    let (teacher, id) = house.class().await;
    let path = format!("/whep/bar/{id}");
    let anonymous = house.ask("POST", &path, &[("content-type", SDP)], wish()).await;
    anonymous.is_problem(401, "Authorization: Bearer");
    let carol = valid(Role::Viewer, "carol");
    house.publish(&path, &carol, &wish()).await.is_problem(403, "watching");
    for nobody in [PersonId::new(7).to_string(), "king".to_owned()] {
        let answer = house.publish(&format!("/whep/bar/{nobody}"), &teacher, &wish()).await;
        answer.is_problem(404, "does not show that now");
    }
    let screen = house.publish(&format!("{path}?media=screen"), &teacher, &wish()).await;
    screen.is_problem(404, "does not show that now");
    house
        .publish(&format!("{path}?media=smell"), &teacher, &wish())
        .await
        .is_problem(400, "?media=");
    let kind = [("content-type", "text/plain"), ("authorization", teacher.as_str())];
    house.ask("POST", &path, &kind, wish()).await.is_problem(415, SDP);
    house.publish(&path, &teacher, "hello").await.is_problem(400, "x=value");

    let raised = house.api("POST", "/hands", &carol, Value::Null).await.is(201);
    let carol_id = raised["id"].as_str().unwrap();
    house.api("POST", "/invitations", &teacher, json!({ "id": carol_id })).await.is(201);
    let accept = format!("/invitations/{carol_id}/accept");
    house.api("POST", &accept, &carol, Value::Null).await.is(200);
    assert_eq!(house.publish("/whip/bar", &carol, &offer()).await.status, 201);
    // Accepted is enough to look around.
    let answer = house.publish(&path, &carol, &wish()).await;
    assert_eq!((answer.status, answer.header("content-type")), (201, SDP), "{}", answer.body);
    assert!(
        answer.body.contains("a=sendonly") && answer.body.contains("a=ice-lite"),
        "{}",
        answer.body
    );
    let session = answer.header("location").to_owned();
    assert!(
        session.starts_with(&format!("{path}/")) && session.len() == path.len() + 33,
        "{session}"
    );
    let etag = answer.header("etag").to_owned();
    let headers = |kind: &'static str| {
        [("authorization", carol.as_str()), ("content-type", kind), ("if-match", etag.as_str())]
    };
    let candidates = "a=candidate:1 1 udp 2113937151 192.0.2.1 5000 typ host\r\n";
    let trickled = house.ask("PATCH", &session, &headers(FRAGMENT), candidates).await;
    assert_eq!(trickled.status, 204, "{}", trickled.body);
    let view = format!("{session}/view");
    for height in ["{\"height\": 0}", "{\"height\": 360}"] {
        let viewed = house.ask("PUT", &view, &headers("application/json"), height).await;
        assert_eq!(viewed.status, 204, "{}", viewed.body);
    }
    // Off the stage is out of the room: not even one's own session can be gone on with.
    house.api("DELETE", &format!("/people/{carol_id}"), &carol, Value::Null).await.is(204);
    let late = house.ask("PUT", &view, &headers("application/json"), "{\"height\": 0}").await;
    late.is_problem(403, "watching");
    let end = house.ask("DELETE", &session, &headers(SDP), "").await;
    assert_eq!(end.status, 200, "ended all the same: {}", end.body);
    house.ask("DELETE", &session, &headers(SDP), "").await.is_problem(404, "no such session");
}

#[tokio::test]
async fn sessions_that_are_not_there() {
    let house = House::new().await;
    let (teacher, id) = house.class().await;
    let session = format!("/whep/bar/{id}/{KEY}");
    let json = [("content-type", "application/json"), ("authorization", teacher.as_str())];
    let view = format!("{session}/view");
    house.ask("PUT", &view, &json, "{\"height\": 360}").await.is_problem(404, "no such session");
    house.ask("PUT", &view, &json, "{\"height\": -1}").await.is_problem(422, "openapi.json");
    house.ask("DELETE", &session, &json, "").await.is_problem(404, "no such session");
    let fragment =
        [("content-type", FRAGMENT), ("authorization", teacher.as_str()), ("if-match", "*")];
    house
        .ask("PATCH", &session, &fragment, "a=end-of-candidates\r\n")
        .await
        .is_problem(404, "session");
    let carol = valid(Role::Viewer, "carol");
    let viewer = [("content-type", "application/json"), ("authorization", carol.as_str())];
    house.ask("PUT", &view, &viewer, "{\"height\": 360}").await.is_problem(403, "watching");
    let options = house.ask("OPTIONS", &format!("/whep/bar/{id}"), &[], "").await;
    assert_eq!((options.status, options.header("accept-post")), (204, SDP));
}
