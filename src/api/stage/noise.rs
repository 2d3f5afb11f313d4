//! Requests that nobody should send: each gets an answer that says what is wrong, none does harm.
#![allow(clippy::unwrap_used)]

use crate::api::testing::{House, KEY, valid};
use crate::rooms::token::Role;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "BREW"];

const KINDS: [&str; 5] = [
    "application/json",
    "application/sdp",
    "application/trickle-ice-sdpfrag",
    "text/plain",
    "\u{7f}",
];

const BODIES: [&str; 12] = [
    "",
    "{}",
    "{\"layout\": \"grid\", \"pinned\": null, \"locked\": false}",
    "{\"pinned\": \"0123456789abcdef\"}",
    "{\"name\": \"Foo \\u202e\\u0000 Bar\"}",
    "{\"id\": \"0123456789abcdef\"}",
    "{\"muted\": true}",
    "{\"text\": \"hello\", \"name\": \"Foo\"}",
    "{\"slow_s\": 18446744073709551615, \"open\": true}",
    "{\"height\": 4294967295}",
    "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
    "a=ice-ufrag:x\r\na=ice-pwd:y\r\n",
];

/// What may stand where a URL names somebody or something.
const PARTS: [&str; 9] = [
    "0123456789abcdef",
    KEY,
    "1",
    "18446744073709551616",
    "-1",
    "%00",
    "%ff%fe",
    "..%2f..",
    "king",
];

fn mutated(rng: &mut StdRng, text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.random_range(0..4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..4) {
            0 => bytes.insert(at, rng.random()),
            1 => bytes.truncate(at),
            2 => bytes.extend_from_within(at..),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = rng.random();
                }
            }
        }
    }
    bytes
}

#[tokio::test]
async fn whatever_is_sent_gets_an_answer_that_says_what_is_wrong() {
    let house = House::new().await;
    let (teacher, id) = house.class().await;
    let viewer = valid(Role::Viewer, "carol");
    let mut rng = StdRng::seed_from_u64(3);
    let paths: Vec<&str> = crate::api::routes().into_iter().map(|route| route.path).collect();
    let known = id.to_string();
    let mut answered = std::collections::BTreeSet::new();
    for _ in 0..4000 {
        let mut path = paths.choose(&mut rng).unwrap().replace("{room}", "bar");
        for name in ["{id}", "{person}", "{session}", "{seq}"] {
            let part = if rng.random_bool(0.3) {
                known.as_str()
            } else {
                *PARTS.choose(&mut rng).unwrap()
            };
            path = path.replace(name, part);
        }
        if rng.random_bool(0.1) {
            path.push_str(
                ["?media=screen", "?after=1", "?after=x", "?&%%=", "?media=%ff"]
                    .choose(&mut rng)
                    .unwrap(),
            );
        }
        let method = METHODS.choose(&mut rng).unwrap();
        // Ending the class would leave nothing to disturb.
        let path = if path.ends_with("/end") { path.replace("bar", "foo") } else { path };
        let token = ["", &teacher, &viewer, "Bearer x"].choose(&mut rng).unwrap().to_string();
        let body = *BODIES.choose(&mut rng).unwrap();
        let body = mutated(&mut rng, body);
        let mut headers = vec![("content-type", *KINDS.choose(&mut rng).unwrap())];
        headers.retain(|header| header.1 != "\u{7f}");
        if !token.is_empty() {
            headers.push(("authorization", &token));
        }
        let answer = house.ask(method, &path, &headers, body.clone()).await;
        let shown = format!(
            "{method} {path} {headers:?} {:?}: {answer:?}",
            body.escape_ascii().to_string()
        );
        assert!(matches!(answer.status, 200..=299 | 400..=499 | 503), "{shown}");
        if answer.status >= 400 && *method != "HEAD" {
            let problem = answer.json();
            assert_eq!(problem["status"], answer.status, "{shown}");
            assert!(problem["detail"].as_str().unwrap().len() > 10, "{shown}");
        }
        answered.insert(answer.status);
    }
    for status in [200, 201, 204, 400, 401, 403, 404, 405, 415, 422] {
        assert!(answered.contains(&status), "never {status}, only {answered:?}");
    }
    house.until(|shown| shown["version"].is_u64()).await;
}
