//! The whole API of a room through the router, and every refusal of it.
#![allow(clippy::unwrap_used)]

use crate::api::testing::{House, bar, offer, token, valid};
use crate::rooms::stage;
use crate::rooms::token::{Role, Verifier, unix_now};
use crate::units::Span;
use serde_json::{Value, json};

const NOTHING: Value = Value::Null;

fn carol() -> String {
    valid(Role::Viewer, "carol")
}

/// A raised hand's id.
async fn hand(house: &House, token: &str) -> String {
    let raised = house.api("POST", "/hands", token, NOTHING).await.is(201);
    raised["id"].as_str().unwrap().to_owned()
}

async fn called_up(house: &House, teacher: &str, token: &str) -> String {
    let id = hand(house, token).await;
    house.api("POST", "/invitations", teacher, json!({ "id": id })).await.is(201);
    id
}

async fn admitted(house: &House, teacher: &str, token: &str) -> String {
    let id = called_up(house, teacher, token).await;
    house.api("POST", &format!("/invitations/{id}/accept"), token, NOTHING).await.is(200);
    id
}

#[tokio::test]
async fn a_viewer_is_called_up_publishes_and_is_removed() {
    let house = House::new().await;
    let (teacher, teacher_id) = house.class().await;
    let carol = carol();
    house.publish("/whip/bar", &carol, &offer()).await.is_problem(403, "watching");
    let id = hand(&house, &carol).await;
    let again = house.api("POST", "/hands", &carol, NOTHING).await.is(200);
    assert_eq!(again["id"], id.as_str(), "it was up");
    let queue = house.api("GET", "/hands", &teacher, NOTHING).await.is(200);
    assert_eq!(
        (&queue["hands"][0]["id"], &queue["hands"][0]["name"]),
        (&json!(id), &json!("The carol"))
    );
    let since = queue["hands"][0]["since_ms"].as_i64().unwrap();
    assert!((hw::clock::wall_us() / 1000 - since).abs() < 60_000, "{since}");

    house.api("POST", "/invitations", &teacher, json!({ "id": id })).await.is(201);
    let me = house.api("GET", "/me", &carol, NOTHING).await.is(200);
    assert_eq!((&me["state"], &me["role"]), (&json!("invited"), &json!("viewer")));
    house.publish("/whip/bar", &carol, &offer()).await.is_problem(403, "watching");
    let accept = format!("/invitations/{id}/accept");
    assert_eq!(house.api("POST", &accept, &carol, NOTHING).await.is(200)["id"], id.as_str());
    house.api("POST", &accept, &carol, NOTHING).await.is_problem(409, "accepted already");

    let session = house.publish("/whip/bar", &carol, &offer()).await;
    assert_eq!(session.status, 201, "{}", session.body);
    assert_eq!(house.publish("/whip/bar?media=screen", &carol, &offer()).await.status, 201);
    let shown = house.until(|shown| shown["people"][1]["screen"] == true).await;
    let expected = json!({
        "id": id, "name": "The carol", "role": "speaker", "camera": true, "screen": true, "muted": false,
    });
    assert_eq!(shown["people"][1], expected);
    assert_eq!((&shown["hands"], &shown["invited"]), (&json!(0), &json!([])));

    let mute = house.api("PUT", &format!("/people/{id}"), &teacher, json!({"muted": true})).await;
    assert_eq!(mute.is(200)["muted"], true);
    let open = house.api("PUT", &format!("/people/{id}"), &carol, json!({"muted": false})).await;
    open.is_problem(403, "only a teacher");
    let wanted = json!({"layout": "grid", "pinned": id, "locked": true});
    let stage = house.api("PUT", "/stage", &teacher, wanted).await.is(200);
    assert_eq!((&stage["layout"], &stage["pinned"]), (&json!("grid"), &json!(id)));
    let stage = house.api("PUT", "/stage", &teacher, json!({"pinned": null})).await.is(200);
    assert_eq!((&stage["layout"], &stage["pinned"]), (&json!("grid"), &NOTHING), "the rest stays");

    house
        .api("DELETE", &format!("/people/{teacher_id}"), &carol, NOTHING)
        .await
        .is_problem(403, "somebody else");
    house.api("DELETE", &format!("/people/{id}"), &teacher, NOTHING).await.is(204);
    let gone = house.stages.orders(&bar()).unwrap().gone;
    assert_eq!(gone.first().map(ToString::to_string), Some(id.clone()), "the SFU shall hear of it");
    house.publish("/whip/bar", &carol, &offer()).await.is_problem(403, "watching");
    house.api("POST", &accept, &carol, NOTHING).await.is_problem(409, "accepted already");
    let shown = house.api("GET", "/stage", "", NOTHING).await.is(200);
    assert_eq!(shown["people"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn every_route_that_needs_a_token_says_so_and_takes_no_other_rooms() {
    let house = House::new().await;
    let (_, id) = house.class().await;
    let expired = token("bar", Role::Teacher, "teacher", unix_now() - 3600);
    let elsewhere = token("foo", Role::Teacher, "teacher", unix_now() + 60);
    let cases = [
        ("PUT", "/stage".to_owned()),
        ("GET", "/hands".to_owned()),
        ("DELETE", format!("/hands/{id}")),
        ("POST", "/invitations".to_owned()),
        ("DELETE", format!("/invitations/{id}")),
        ("POST", format!("/invitations/{id}/accept")),
        ("DELETE", format!("/people/{id}")),
        ("PUT", format!("/people/{id}")),
        ("POST", "/end".to_owned()),
        ("GET", "/me".to_owned()),
        ("PUT", "/chat".to_owned()),
        ("DELETE", "/chat/1".to_owned()),
    ];
    for (method, path) in cases {
        let anonymous = house.api(method, &path, "", NOTHING).await;
        anonymous.is_problem(401, "Authorization: Bearer");
        assert!(anonymous.header("www-authenticate").starts_with("Bearer"));
        for (token, status, word) in [
            ("Basic YTpi", 401, "Authorization: Bearer"),
            ("Bearer nonsense", 401, "not valid here"),
            (expired.as_str(), 401, "expired"),
            (elsewhere.as_str(), 403, "another room"),
        ] {
            house.api(method, &path, token, NOTHING).await.is_problem(status, word);
        }
    }
    // Where nobody need be known, a bad token is still not the same as none.
    for (method, path) in
        [("GET", "/stage"), ("GET", "/chat"), ("POST", "/hands"), ("POST", "/chat")]
    {
        house.api(method, path, &expired, NOTHING).await.is_problem(401, "expired");
        house.api(method, path, &elsewhere, NOTHING).await.is_problem(403, "another room");
    }
    for path in ["/api/v1/rooms/nowhere/stage", "/api/v1/rooms/No%20Room/chat"] {
        house.ask("GET", path, &[], "").await.is_problem(404, "there is no room");
    }
}

#[tokio::test]
async fn what_teachers_do_is_refused_to_all_others() {
    let house = House::new().await;
    let (teacher, teacher_id) = house.class().await;
    let seq =
        house.api("POST", "/chat", &teacher, json!({"text": "hello"})).await.is(201)["seq"].clone();
    let id = hand(&house, &carol()).await;
    for who in [carol(), valid(Role::Speaker, "bob")] {
        let cases = [
            ("PUT", "/stage".to_owned(), json!({"locked": true})),
            ("PUT", "/stage".to_owned(), json!("nonsense")),
            ("GET", "/hands".to_owned(), NOTHING),
            ("POST", "/invitations".to_owned(), json!({ "id": id })),
            ("POST", "/end".to_owned(), NOTHING),
            ("PUT", "/chat".to_owned(), json!({"open": false})),
            ("DELETE", format!("/chat/{seq}"), NOTHING),
        ];
        for (method, path, body) in cases {
            house.api(method, &path, &who, body).await.is_problem(403, "only a teacher");
        }
        let muted = json!({"muted": true});
        let people = format!("/people/{teacher_id}");
        house.api("PUT", &people, &who, muted).await.is_problem(403, "somebody else");
        house.api("DELETE", &people, &who, NOTHING).await.is_problem(403, "somebody else");
    }
    let bob = valid(Role::Speaker, "bob");
    house
        .api("DELETE", &format!("/hands/{id}"), &bob, NOTHING)
        .await
        .is_problem(403, "somebody else");
    house.api("DELETE", &format!("/hands/{id}"), &carol(), NOTHING).await.is(204);
    // An admin is a teacher of every room the token names.
    let admin = token("*", Role::Admin, "root", unix_now() + 60);
    house.api("PUT", "/stage", &admin, json!({"layout": "single"})).await.is(200);
}

#[tokio::test]
async fn invitations_are_for_one_person_and_one_use() {
    let config = stage::Config { invitation: Span::millis(50), ..stage::Config::default() };
    let house = House::with(config).await;
    let (teacher, teacher_id) = house.class().await;
    let (carol, dave) = (carol(), valid(Role::Viewer, "dave"));
    let id = hand(&house, &carol).await;
    let (mine, accept) = (format!("/invitations/{id}"), format!("/invitations/{id}/accept"));
    house.api("POST", &accept, &carol, NOTHING).await.is_problem(404, "no invitation");
    house.api("POST", "/invitations", &teacher, json!({ "id": id })).await.is(201);
    house.api("POST", &accept, &dave, NOTHING).await.is_problem(403, "somebody else");
    house.until(|shown| shown["invited"] == json!([])).await;
    house.api("POST", &accept, &carol, NOTHING).await.is_problem(410, "run out");
    for (who, word) in [(&teacher, "withdrawn"), (&carol, "declined")] {
        house.api("POST", "/invitations", &teacher, json!({ "id": id })).await.is(201);
        house.api("DELETE", &mine, who, NOTHING).await.is(204);
        house.api("POST", &accept, &carol, NOTHING).await.is_problem(410, word);
        house.api("DELETE", &mine, who, NOTHING).await.is_problem(410, word);
    }
    for (body, status, word) in [
        (json!({ "id": "0123456789abcdef" }), 404, "nobody"),
        (json!({ "id": teacher_id }), 409, "teacher needs no"),
        (json!({ "id": "king" }), 422, "16 hexadecimal"),
        (json!({}), 422, "id"),
        (json!({ "id": id, "x": 1 }), 422, "unknown field"),
    ] {
        house.api("POST", "/invitations", &teacher, body).await.is_problem(status, word);
    }
    house.api("DELETE", "/hands/king", &teacher, NOTHING).await.is_problem(404, "nobody");
    house.api("POST", "/hands", &teacher, NOTHING).await.is_problem(409, "teacher needs no");
}

#[tokio::test]
async fn a_removed_speaker_is_told_and_may_ask_again() {
    let house = House::new().await;
    let (teacher, _) = house.class().await;
    let bob = valid(Role::Speaker, "bob");
    assert_eq!(house.publish("/whip/bar", &bob, &offer()).await.status, 201);
    let shown = house.until(|shown| shown["people"][1]["camera"] == true).await;
    let id = shown["people"][1]["id"].as_str().unwrap().to_owned();
    let invited = house.api("POST", "/invitations", &teacher, json!({ "id": id })).await;
    invited.is_problem(409, "on stage already");
    house.api("POST", "/hands", &bob, NOTHING).await.is_problem(409, "on stage already");
    house.api("DELETE", &format!("/people/{id}"), &teacher, NOTHING).await.is(204);
    house.publish("/whip/bar", &bob, &offer()).await.is_problem(403, "taken off the stage");
    let muted = house.api("PUT", &format!("/people/{id}"), &teacher, json!({"muted": true})).await;
    muted.is_problem(404, "not on stage");
    let pinned = house.api("PUT", "/stage", &teacher, json!({ "pinned": id })).await;
    pinned.is_problem(404, "not on stage");
    admitted(&house, &teacher, &bob).await;
    assert_eq!(house.publish("/whip/bar", &bob, &offer()).await.status, 201);
    // One's own way down, and up again without being asked.
    house.api("DELETE", &format!("/people/{id}"), &bob, NOTHING).await.is(204);
    assert_eq!(house.publish("/whip/bar", &bob, &offer()).await.status, 201);
}

#[tokio::test]
async fn a_locked_stage_says_so() {
    let house = House::new().await;
    let (teacher, _) = house.class().await;
    house.api("PUT", "/stage", &teacher, json!({"locked": true})).await.is(200);
    house.api("POST", "/hands", &carol(), NOTHING).await.is_problem(409, "locked");
    house.api("POST", "/hands", "", json!({"name": "Foo"})).await.is_problem(409, "locked");
    let bob = valid(Role::Speaker, "bob");
    house.publish("/whip/bar", &bob, &offer()).await.is_problem(409, "locked");
    assert_eq!(house.publish("/whip/bar", &teacher, &offer()).await.status, 201);
}

#[tokio::test]
async fn a_guest_gets_a_token_and_can_come_on_stage_with_it() {
    let house = House::new().await;
    let (teacher, _) = house.class().await;
    let raised = house.api("POST", "/hands", "", json!({"name": " Foo\u{202e} "})).await.is(201);
    let text = raised["token"].as_str().unwrap();
    let grant =
        Verifier::with_secret(crate::api::testing::SECRET).verify(text, unix_now()).unwrap();
    assert_eq!((grant.role, grant.room.to_string()), (Role::Viewer, "bar".to_owned()));
    assert_eq!(grant.name.as_deref(), Some("Foo"));
    let guest = format!("Bearer {text}");
    let again = house.api("POST", "/hands", &guest, NOTHING).await.is(200);
    assert_eq!((&again["id"], again.get("token")), (&raised["id"], None));
    let id = raised["id"].as_str().unwrap();
    house.api("POST", "/invitations", &teacher, json!({ "id": id })).await.is(201);
    house.api("POST", &format!("/invitations/{id}/accept"), &guest, NOTHING).await.is(200);
    assert_eq!(house.publish("/whip/bar", &guest, &offer()).await.status, 201);
    let written =
        house.api("POST", "/chat", "", json!({"text": "hello", "name": "Baz"})).await.is(201);
    assert!(written["token"].is_string());

    let closed = House::with(stage::Config { guests: false, ..stage::Config::default() }).await;
    for (path, body) in [("/hands", NOTHING), ("/chat", json!({"text": "a"}))] {
        let refused = closed.api("POST", path, "", body).await;
        refused.is_problem(401, "no guests");
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
    }
}

#[tokio::test]
async fn whoever_is_too_fast_is_told_when_to_come_back() {
    let house = House::new().await;
    let carol = carol();
    for _ in 0..3 {
        let id = hand(&house, &carol).await;
        house.api("DELETE", &format!("/hands/{id}"), &carol, NOTHING).await.is(204);
    }
    let refused = house.api("POST", "/hands", &carol, NOTHING).await;
    refused.is_problem(429, "try again in");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    let mut statuses = Vec::new();
    for _ in 0..130 {
        statuses.push(house.api("POST", "/hands", "", NOTHING).await.status);
    }
    assert!(statuses.iter().filter(|status| **status == 201).count() >= 100, "{statuses:?}");
    assert!(statuses.contains(&429), "one address cannot be everybody: {statuses:?}");
    let metrics = house.ask("GET", "/metrics", &[], "").await;
    assert_eq!(metrics.status, 200);
}

#[tokio::test]
async fn the_end_of_a_class_is_the_teachers_to_say() {
    let house = House::new().await;
    let teacher = valid(Role::Teacher, "teacher");
    house.api("POST", "/end", &teacher, NOTHING).await.is_problem(409, "no class is open");
    let id = hand(&house, &carol()).await;
    let early = house.api("POST", "/invitations", &teacher, json!({ "id": id })).await;
    early.is_problem(409, "no class is open");
    let (teacher, _) = house.class().await;
    admitted(&house, &teacher, &valid(Role::Viewer, "dave")).await;
    assert_eq!(house.api("POST", "/end", &teacher, NOTHING).await.is(202)["ending"], true);
    house.until(|shown| shown["people"] == json!([])).await;
    let bob = valid(Role::Speaker, "bob");
    house.publish("/whip/bar", &bob, &offer()).await.is_problem(409, "the class is over");
    house
        .publish("/whip/bar", &valid(Role::Viewer, "dave"), &offer())
        .await
        .is_problem(403, "watching");
    // The same teacher begins the next one.
    house.class().await;
    assert_eq!(house.publish("/whip/bar", &bob, &offer()).await.status, 201);
}

#[tokio::test]
async fn what_everybody_reads_is_for_caches_and_costs_nothing_twice() {
    let house = House::new().await;
    let first = house.api("GET", "/stage", "", NOTHING).await;
    assert_eq!(first.header("cache-control"), "public, max-age=1");
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.header("access-control-allow-origin"), "*");
    let empty = json!({
        "version": 1, "live": false, "locked": false, "layout": "auto", "pinned": null, "speaker": null,
        "people": [], "invited": [], "hands": 0, "chat": {"last": 0, "slow_s": 0, "open": true},
    });
    assert_eq!(first.json(), empty);
    for path in ["/stage", "/chat", "/chat?after=0"] {
        let url = format!("/api/v1/rooms/bar{path}");
        let tag = house.ask("GET", &url, &[], "").await.header("etag").to_owned();
        assert!(tag.starts_with('"') && tag.len() > 8, "{tag}");
        for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let same = house.ask("GET", &url, &[("if-none-match", &known)], "").await;
            assert_eq!((same.status, same.body.as_str()), (304, ""), "{path} {known}");
            assert_eq!(
                (same.header("etag"), same.header("cache-control")),
                (&*tag, "public, max-age=1")
            );
        }
        house.api("POST", "/chat", &carol(), json!({"text": path})).await.is(201);
        let new = house.ask("GET", &url, &[("if-none-match", &tag)], "").await;
        assert_eq!(new.status, 200, "{path}");
        assert_ne!(new.header("etag"), tag);
    }
    let me = house.api("GET", "/me", &carol(), NOTHING).await;
    assert_eq!(me.header("cache-control"), "no-store");
    let room = house.ask("GET", "/api/v1/rooms/bar", &[], "").await;
    assert_eq!((&room.json()["people"], &room.json()["hands"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn the_chat_has_slow_mode_deletion_and_limits() {
    let house = House::new().await;
    let teacher = valid(Role::Teacher, "teacher");
    let write = async |who: &str, text: &str| {
        house.api("POST", "/chat", who, json!({ "text": text })).await
    };
    write(&carol(), " \n ").await.is_problem(422, "empty");
    write(&carol(), &"a".repeat(501)).await.is_problem(413, "500 characters");
    write(&carol(), &"\u{1f600}".repeat(500)).await.is(201);
    let rules = house.api("PUT", "/chat", &teacher, json!({"slow_s": 30})).await.is(200);
    assert_eq!(rules, json!({"last": 1, "slow_s": 30, "open": true}));
    let slow = write(&carol(), "again").await;
    slow.is_problem(429, "slow mode");
    let wait: u64 = slow.header("retry-after").parse().unwrap();
    assert!((25..=30).contains(&wait), "{wait}");
    house.api("DELETE", "/chat/1", &teacher, NOTHING).await.is(204);
    house.api("DELETE", "/chat/1", &teacher, NOTHING).await.is_problem(404, "no message");
    house.api("DELETE", "/chat/one", &teacher, NOTHING).await.is_problem(404, "no message");
    let page = house.api("GET", "/chat?after=1", "", NOTHING).await.is(200);
    assert_eq!(page, json!({"last": 2, "more": false, "messages": [{"seq": 1, "deleted": true}]}));
    house.api("PUT", "/chat", &teacher, json!({"open": false})).await.is(200);
    write(&valid(Role::Viewer, "dave"), "hello").await.is_problem(403, "closed");
    write(&teacher, "hello").await.is(201);
    for path in ["/chat?after=x", "/chat?after=-1"] {
        house.api("GET", path, "", NOTHING).await.is_problem(400, "?after=N");
    }
    for (body, status) in [("{", 400), ("[]", 422), ("", 422), ("{\"text\": 1}", 422)] {
        let headers = [("content-type", "application/json")];
        house
            .ask("POST", "/api/v1/rooms/bar/chat", &headers, body)
            .await
            .is_problem(status, "openapi.json");
    }
    let headers = [("content-type", "text/plain")];
    let wrong = house.ask("POST", "/api/v1/rooms/bar/chat", &headers, "{}").await;
    wrong.is_problem(415, "application/json");
    let long = json!({ "text": "a".repeat(20_000) });
    house.api("POST", "/chat", &carol(), long).await.is_problem(413, "16384 bytes");
}

#[test]
fn only_a_proxy_on_the_box_is_believed_about_addresses() {
    use axum::extract::ConnectInfo;
    use axum::http::{Extensions, HeaderMap};
    use std::net::SocketAddr;
    let seen = |peer: &str, forwarded: &[&str]| {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        super::address(&extensions, &headers).to_string()
    };
    assert_eq!(seen("192.0.2.1:1", &["203.0.113.9"]), "192.0.2.1", "a stranger's word");
    assert_eq!(seen("127.0.0.1:1", &["10.0.0.1, 203.0.113.9"]), "203.0.113.9");
    assert_eq!(seen("[::ffff:127.0.0.1]:1", &["10.0.0.1", "2001:db8::1"]), "2001:db8::1");
    assert_eq!(seen("[::1]:1", &["nonsense"]), "::1");
    assert_eq!(seen("[::1]:1", &[]), "::1");
}
