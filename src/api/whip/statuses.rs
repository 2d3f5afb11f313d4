//! Every status, through the router, with the real SFU behind it.
#![allow(clippy::unwrap_used)]

use crate::api::session::{FRAGMENT, MAX_BODY, SDP};
use crate::api::testing::{House, KEY, offer, token};
use crate::rooms::token::{Role, unix_now};
use crate::sfu;
use axum::body::Body;

fn alice() -> String {
    token("bar", Role::Teacher, "alice", unix_now() + 60)
}

#[tokio::test]
async fn a_session_from_its_201_to_its_end() {
    let house = House::new().await;
    let answer = house.publish("/whip/bar", &alice(), &offer()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.header("content-type"), SDP);
    assert!(answer.body.starts_with("v=0\r\n") && answer.body.contains("a=ice-lite"));
    assert!(answer.body.contains(&format!("127.0.0.1 {} typ host", house.sfu.port())));
    let session = answer.header("location").to_owned();
    assert!(session.starts_with("/whip/bar/") && session.len() == 10 + 32, "{session}");
    let etag = answer.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "a strong tag: {etag}");
    assert!(answer.header("access-control-expose-headers").contains("Location"));

    let alice = alice();
    let patch = async |if_match: Option<&str>, body: &str| {
        let mut headers = vec![("content-type", FRAGMENT), ("authorization", alice.as_str())];
        headers.extend(if_match.map(|tag| ("if-match", tag)));
        house.ask("PATCH", &session, &headers, body.to_owned()).await
    };
    let trickle = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n\
        a=candidate:1 1 udp 2113937151 x.local 5000 typ host\r\n";
    assert_eq!(patch(Some(&etag), trickle).await.status, 204);
    patch(None, trickle).await.is_problem(428, "If-Match");
    patch(Some("\"old\""), trickle).await.is_problem(412, "latest");
    patch(Some(&etag), "hello").await.is_problem(400, "RFC 8840");
    let restart = "a=ice-ufrag:fresh\r\na=ice-pwd:0123456789012345678901\r\n";
    let restarted = patch(Some("*"), restart).await;
    assert_eq!((restarted.status, restarted.header("content-type")), (200, FRAGMENT));
    assert!(restarted.body.contains("a=ice-ufrag:") && restarted.body.contains("a=candidate:"));
    assert_ne!(restarted.header("etag"), etag);
    patch(Some(&etag), trickle).await.is_problem(412, "latest");
    assert_eq!(patch(Some(restarted.header("etag")), trickle).await.status, 204);

    let authorization = [("authorization", alice.as_str())];
    assert_eq!(house.ask("DELETE", &session, &authorization, "").await.status, 200);
    house.ask("DELETE", &session, &authorization, "").await.is_problem(404, "session");
    patch(Some("*"), trickle).await.is_problem(404, "session");
}

#[tokio::test]
async fn who_may_not_is_told_what_is_missing() {
    let house = House::new().await;
    let anonymous = house.ask("POST", "/whip/bar", &[("content-type", SDP)], offer()).await;
    anonymous.is_problem(401, "Authorization: Bearer");
    assert_eq!(anonymous.header("www-authenticate"), "Bearer realm=\"proscenium\"");

    let later = unix_now() + 60;
    let cases = [
        ("Basic YTpi".to_owned(), 401, "Authorization: Bearer"),
        ("Bearer ".to_owned(), 401, "Authorization: Bearer"),
        ("Bearer nonsense".to_owned(), 401, "not valid here"),
        (token("bar", Role::Teacher, "alice", unix_now() - 3600), 401, "expired"),
        (token("other", Role::Teacher, "alice", later), 403, "another room"),
        (token("bar", Role::Viewer, "carol", later), 403, "watching"),
    ];
    for (authorization, status, word) in cases {
        let answer = house.publish("/whip/bar", &authorization, &offer()).await;
        answer.is_problem(status, word);
        assert!(!answer.header("www-authenticate").is_empty());
        let session = format!("/whip/bar/{KEY}");
        let headers = [("authorization", authorization.as_str())];
        house.ask("PATCH", &session, &headers, "").await.is_problem(status, word);
        // Ending is for everybody in the room who knows the session.
        let (status, word) = if word == "watching" { (404, "session") } else { (status, word) };
        house.ask("DELETE", &session, &headers, "").await.is_problem(status, word);
    }
    let lower = alice().replace("Bearer", "bearer");
    assert_eq!(house.publish("/whip/bar", &lower, &offer()).await.status, 201);
}

#[tokio::test]
async fn rooms_that_are_not_there_or_not_ready() {
    let house = House::new().await;
    let admin = token("*", Role::Admin, "root", unix_now() + 60);
    house.publish("/whip/nowhere", &admin, &offer()).await.is_problem(404, "nowhere");
    house.publish("/whip/No%20Room", &admin, &offer()).await.is_problem(404, "No Room");
    let broken = house.publish("/whip/broken", &admin, &offer()).await;
    broken.is_problem(503, "no encoder");
    assert!(!broken.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_second_publisher_replaces_itself_and_nobody_else() {
    let house = House::new().await;
    let first = house.publish("/whip/bar", &alice(), &offer()).await;
    let bob = token("bar", Role::Speaker, "bob", unix_now() + 60);
    assert_eq!(house.publish("/whip/bar", &bob, &offer()).await.status, 201);
    let second = house.publish("/whip/bar", &alice(), &offer()).await;
    assert_eq!(second.status, 201);
    let headers = [("authorization", bob.as_str())];
    let gone = house.ask("DELETE", first.header("location"), &headers, "").await;
    gone.is_problem(404, "session");
    for n in 2..sfu::Config::default().max_on_stage {
        let carol = token("bar", Role::Speaker, &format!("carol {n}"), unix_now() + 60);
        assert_eq!(house.publish("/whip/bar", &carol, &offer()).await.status, 201);
    }
    let dave = token("bar", Role::Speaker, "dave", unix_now() + 60);
    house.publish("/whip/bar", &dave, &offer()).await.is_problem(409, "stage is full");
}

#[tokio::test]
async fn bodies_of_the_wrong_kind_or_size() {
    let house = House::new().await;
    let alice = alice();
    let post = async |kind: Option<&str>, body: Body| {
        let mut headers = vec![("authorization", alice.as_str())];
        headers.extend(kind.map(|kind| ("content-type", kind)));
        house.ask("POST", "/whip/bar", &headers, body).await
    };
    let wrong = post(Some("application/json"), "{}".into()).await;
    wrong.is_problem(415, "application/sdp");
    assert_eq!(wrong.header("accept-post"), SDP);
    post(None, offer().into()).await.is_problem(415, "nothing");
    assert_eq!(post(Some("Application/SDP; charset=utf-8"), offer().into()).await.status, 201);
    post(Some(SDP), "x".repeat(MAX_BODY + 1).into()).await.is_problem(413, "longer");
    // Without a length, as chunks.
    let endless = Body::new(Chunks(MAX_BODY / 1024 + 1));
    post(Some(SDP), endless).await.is_problem(413, "longer");
    post(Some(SDP), vec![0xff, 0xfe].into()).await.is_problem(400, "UTF-8");
    post(Some(SDP), "hello".into()).await.is_problem(400, "x=value");
    post(Some(SDP), "v=0\r\n".into()).await.is_problem(422, "no media");
    let receive = offer().replace("a=sendonly", "a=recvonly");
    post(Some(SDP), receive.into()).await.is_problem(406, "sendonly");

    let headers = [("authorization", alice.as_str()), ("content-type", SDP), ("if-match", "*")];
    let patch = house.ask("PATCH", &format!("/whip/bar/{KEY}"), &headers, "").await;
    patch.is_problem(415, FRAGMENT);
    assert_eq!(patch.header("accept-patch"), FRAGMENT);
}

/// So many chunks of 1 KiB.
struct Chunks(usize);

impl hyper::body::Body for Chunks {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.checked_sub(1).map(|left| {
            self.0 = left;
            Ok(hyper::body::Frame::data(bytes::Bytes::from_static(&[b'x'; 1024])))
        }))
    }
}

#[tokio::test]
async fn options_and_methods_that_mean_nothing() {
    let house = House::new().await;
    let endpoint = house.ask("OPTIONS", "/whip/bar", &[], "").await;
    assert_eq!((endpoint.status, endpoint.header("accept-post")), (204, SDP));
    assert_eq!(endpoint.header("access-control-allow-origin"), "*");
    assert!(endpoint.header("access-control-allow-headers").contains("Authorization"));
    let session = format!("/whip/bar/{KEY}");
    let options = house.ask("OPTIONS", &session, &[], "").await;
    assert_eq!(options.header("access-control-allow-methods"), "PATCH, DELETE, OPTIONS");
    for (path, methods) in [
        ("/whip/bar", &["GET", "PUT", "DELETE", "PATCH"]),
        (&session, &["GET", "PUT", "POST", "HEAD"]),
    ] {
        for method in *methods {
            let answer = house.ask(method, path, &[], "").await;
            assert_eq!(answer.status, 405, "{method} {path}");
            assert!(answer.header("allow").contains("OPTIONS"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn after_the_end_of_the_stage_everything_is_503() {
    let house = House::new().await;
    assert_eq!(house.publish("/whip/bar", &alice(), &offer()).await.status, 201);
    house.sfu.stop().await;
    house.publish("/whip/bar", &alice(), &offer()).await.is_problem(503, "shutting down");
    let headers = [("authorization", &*alice())];
    let ended = house.ask("DELETE", &format!("/whip/bar/{KEY}"), &headers, "").await;
    ended.is_problem(503, "shutting down");
}
