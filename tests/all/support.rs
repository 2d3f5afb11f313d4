//! A box for one test: its own ports, its own state, its own rooms, transcoders from the real program.

use proscenium::config::Config;
use proscenium::daemon::{Daemon, Options};
use proscenium::ladder::Plan;
use proscenium::link::supervise::Launch;
use proscenium::link::wire::{Rung, VideoCodec};
use proscenium::rooms::RoomConfig;
use proscenium::rooms::token::{Grant, Role, Scope, Signer, Verifier, unix_now};
use proscenium::teacher::class::Class;
use proscenium::teacher::lecture::Look;
use proscenium::teacher::publish::{Publish, Publisher};
use proscenium::time::{Bitrate, RoomName};
use proscenium::units::Span;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// Live classes need the machine to themselves: one at a time.
static ONE_CLASS: Mutex<()> = Mutex::const_new(());

pub const SECRET: &[u8] = b"a secret for tests, long enough to sign with";

pub struct TestBox {
    pub daemon: Daemon,
    _alone: MutexGuard<'static, ()>,
}

pub fn room() -> RoomName {
    RoomName::parse("bar").expect("a good name")
}

fn rung(codec: VideoCodec, height: u32, kbps: u64) -> Rung {
    let (name, preset) = match codec {
        VideoCodec::H264 => ("h264", "superfast"),
        VideoCodec::Av1 => ("av1", "9"),
    };
    Rung {
        name: format!("{name}-{height}"),
        codec,
        width: height * 16 / 9,
        height,
        bitrate: Bitrate(kbps * 1000),
        preset: preset.into(),
        threads: 1,
    }
}

/// Two rungs of H.264 and one of AV1, small enough for a test machine that also runs the teacher.
pub fn small_plan() -> Plan {
    let rungs = vec![
        rung(VideoCodec::H264, 360, 800),
        rung(VideoCodec::H264, 270, 400),
        rung(VideoCodec::Av1, 360, 800),
    ];
    Plan { rungs, cores: 2, budget: 1.6, expected: 0.3, considered: Vec::new(), words: Vec::new() }
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.http.workers = 1;
    config.sfu.port = 0;
    // Tests read the whole class at once, at its end too.
    config.live.window = Span::secs(600);
    config.class.linger_stopped = Span::secs(1);
    config.room = vec![RoomConfig { name: room(), title: None }];
    config
}

impl TestBox {
    pub async fn start() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: Config) -> Self {
        let alone = ONE_CLASS.lock().await;
        let mut launch = Launch::this_program();
        launch.exe = env!("CARGO_BIN_EXE_proscenium").into();
        let options =
            Options { launch, plan: small_plan(), verifier: Verifier::with_secret(SECRET) };
        let daemon = Daemon::start(&config, options).await.expect("the box starts");
        Self { daemon, _alone: alone }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.daemon.http_addr())
    }

    pub fn index(&self) -> String {
        self.url("/hls/bar/index.m3u8")
    }

    /// How `who` would publish to the room.
    pub fn publish_request(&self, who: &str) -> Publish {
        let look = Look { width: 640, height: 360, ..Look::default() };
        let class = Class { look, video_bitrate: 800_000, ..Class::default() };
        Publish {
            endpoint: self.url("/whip/bar"),
            token: Some(token("bar", Role::Teacher, who, 3600)),
            class,
            network: None,
        }
    }

    pub async fn publish(&self, change: impl FnOnce(&mut Publish)) -> Publisher {
        let mut publish = self.publish_request("alice");
        change(&mut publish);
        Publisher::start(publish).await.expect("the teacher publishes")
    }

    /// Waits until the room is what `wanted` says, half a minute at most.
    pub async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&proscenium::rooms::board::Status) -> bool,
    ) {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !wanted(&self.daemon.board().get(&room())) {
            assert!(tokio::time::Instant::now() < deadline, "waited 30 s for: {what}");
            tick.tick().await;
        }
    }
}

/// A token, valid for `ttl` seconds from now; negative for one that has expired.
pub fn token(room: &str, role: Role, sub: &str, ttl: i64) -> String {
    let grant = Grant {
        room: room.parse::<Scope>().expect("a scope"),
        role,
        sub: sub.into(),
        exp: unix_now().saturating_add_signed(ttl),
        nbf: None,
        name: None,
    };
    Signer::with_secret(SECRET).sign(&grant).expect("a signed token")
}

/// A response in full.
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub body: bytes::Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

/// One request on a connection of its own.
pub async fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    use http_body_util::{BodyExt, Full};
    let connector = hyper_util::client::legacy::connect::HttpConnector::new();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build::<_, Full<bytes::Bytes>>(connector);
    let mut request = hyper::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::from(body.to_vec())).expect("a request");
    let answer = async {
        let response = client.request(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    };
    tokio::time::timeout(Duration::from_secs(20), answer).await.expect("an answer in time")
}

pub async fn get(url: &str) -> Answer {
    request("GET", url, &[], b"").await
}
