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

    let raised = house.api("POST", "/hands", &carol, Value::Null).await.is(201);
    let carol_id = raised["id"].as_str().unwrap();
    house.api("POST", "/invitations", &teacher, json!({ "id": carol_id })).await.is(201);
    let accept = format!("/invitations/{carol_id}/accept");
    house.api("POST", &accept, &carol, Value::Null).await.is(200);
    assert_eq!(house.publish("/whip/bar", &carol, &offer()).await.status, 201);
    // Accepted is enough to look around.
    let answer = house.publish(&path, &carol, &wish()).await;
    assert_ne!(answer.status, 403, "{}", answer.body);
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
