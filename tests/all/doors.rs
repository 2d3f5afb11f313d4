//! What knocks at the box's doors and is not welcome gets a clear answer, or silence.

use crate::support::{TestBox, get, request, token};
use proscenium::rooms::board::State;
use proscenium::rooms::token::Role;

#[tokio::test(flavor = "multi_thread")]
async fn bad_offers_and_bad_tokens_get_problem_documents_that_tell_the_cure() {
    let stage = TestBox::start().await;
    let good = format!("Bearer {}", token("bar", Role::Teacher, "alice", 600));
    let expired = format!("Bearer {}", token("bar", Role::Teacher, "alice", -600));
    let viewer = format!("Bearer {}", token("bar", Role::Viewer, "carol", 600));
    let elsewhere = format!("Bearer {}", token("foo", Role::Teacher, "alice", 600));
    let nowhere = format!("Bearer {}", token("*", Role::Teacher, "alice", 600));
    let large = vec![b'a'; 300_000];
    let sdp = "application/sdp";
    let cases: [(&str, &str, &str, &[u8], u16); 9] = [
        ("/whip/bar", &good, sdp, b"v=0\r\nthis is no SDP", 400),
        ("/whip/bar", &good, "text/plain", b"v=0", 415),
        ("/whip/bar", &good, sdp, &large, 413),
        ("/whip/bar", "Bearer x.y.z", sdp, b"v=0", 401),
        ("/whip/bar", &expired, sdp, b"v=0", 401),
        ("/whip/bar", &viewer, sdp, b"v=0", 403),
        ("/whip/bar", &elsewhere, sdp, b"v=0", 403),
        ("/whip/nowhere", &nowhere, sdp, b"v=0", 404),
        ("/whip/BAD%20NAME", &nowhere, sdp, b"v=0", 404),
    ];
    for (path, auth, kind, body, status) in cases {
        let headers = [("authorization", auth), ("content-type", kind)];
        let answer = request("POST", &stage.url(path), &headers, body).await;
        assert_eq!(answer.status, status, "{path} {kind}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem: serde_json::Value =
            serde_json::from_slice(&answer.body).expect("a JSON document");
        assert!(problem["detail"].as_str().is_some_and(|text| text.len() > 10), "{problem}");
    }
    stage.daemon.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_teacher_comes_beside_the_first_and_the_same_one_takes_over() {
    let stage = TestBox::start().await;
    let teacher = stage.publish(|_| {}).await;
    stage.until("a live room", |status| status.state == State::Live).await;
    let second = stage.publish(|publish| *publish = stage.publish_request("bob")).await;
    // The same person from elsewhere takes over, and the class goes on.
    let again = stage.publish_request("alice");
    let again = proscenium::teacher::publish::Publisher::start(again).await.expect("taken over");
    teacher.gone().await;
    assert_eq!(stage.daemon.board().get(&crate::support::room()).state, State::Live);
    drop((second, again));
    stage.daemon.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_on_the_media_port_is_met_with_silence() {
    let stage = TestBox::start().await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let port = stage.daemon.media_port();
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for length in (0..1400).step_by(7) {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise as u8
            })
            .collect();
        socket.send_to(&bytes, ("127.0.0.1", port)).await.expect("sent");
    }
    // A class after the noise shows that it did no harm; nothing came back meanwhile.
    let teacher = stage.publish(|_| {}).await;
    stage.until("a live room", |status| status.state == State::Live).await;
    let mut buffer = [0; 2048];
    assert!(socket.try_recv(&mut buffer).is_err(), "noise was answered");
    drop(teacher);
    stage.daemon.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_sees_health_readiness_and_figures() {
    let stage = TestBox::start().await;
    assert_eq!(get(&stage.url("/healthz")).await.status, 200);
    assert_eq!(get(&stage.url("/readyz")).await.status, 200);
    let teacher = stage.publish(|_| {}).await;
    stage.until("a live room", |status| status.state == State::Live).await;
    let room: serde_json::Value =
        serde_json::from_slice(&get(&stage.url("/api/v1/rooms/bar")).await.body).expect("JSON");
    assert_eq!((&room["state"], &room["publisher"]), (&"live".into(), &true.into()), "{room}");
    assert_eq!(get(&stage.url("/api/v1/rooms/nowhere")).await.status, 404);
    let metrics = get(&stage.url("/metrics")).await.text();
    assert!(metrics.contains("proscenium_part_publish_delay_seconds"), "{metrics}");
    drop(teacher);
    stage.daemon.shutdown().await;
}
