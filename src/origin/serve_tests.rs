//! Over real sockets.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::origin::hub::LivePublisher;
use crate::package::testing::{Parts, presentation};
use crate::time::RoomName;
use crate::units::Span;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Origin {
    server: Server,
    hub: Hub,
    publisher: LivePublisher,
    parts: Parts,
}

fn config() -> Config {
    Config { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), workers: 2, ..Default::default() }
}

fn origin(config: &Config) -> Origin {
    let hub = Hub::new(config);
    let fallback = axum::Router::new()
        .route("/hello", get(|| async { "from the router" }))
        .route("/echo", post(|body: axum::body::Bytes| async move { body }))
        .route(
            "/who",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
        );
    let server = Server::start(config, hub.clone(), fallback).unwrap();
    let room = RoomName::parse("bar").unwrap();
    let publisher = hub.open(&room, presentation(), "abc", 0, &Default::default()).unwrap();
    Origin { server, hub, publisher, parts: Parts::new() }
}

impl Origin {
    fn publish(&mut self, count: usize) {
        for _ in 0..count {
            let (part, bytes) = self.parts.next();
            self.publisher.publish(&part, &bytes).unwrap();
        }
    }

    async fn connect(&self) -> Client {
        Client {
            stream: TcpStream::connect(self.server.local_addr()).await.unwrap(),
            buffer: Vec::new(),
        }
    }

    /// Until `count` requests wait: an event of the origin, not a guess about time.
    async fn waiting(&self, count: usize) {
        let channel = self.hub.channel("bar").unwrap();
        let registered = || self.hub.shards().iter().map(|s| s.waiting().1).sum::<usize>();
        while channel.waiting() != count || registered() != count {
            tokio::task::yield_now().await;
        }
    }
}

/// A client of its own making, so that hyper is not tested with hyper.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|l| {
            l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|p| p.1)
        })
    }
}

impl Client {
    async fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        self.stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    }

    async fn receive(&mut self, has_body: bool) -> Reply {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.stream.read_buf(&mut self.buffer).await.unwrap() > 0,
                "closed within a head"
            );
        };
        let headers = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = headers[9..12].parse().unwrap();
        let mut reply = Reply { status, headers, body: Vec::new() };
        let len: usize = reply.header("content-length").map_or(0, |n| n.parse().unwrap());
        if has_body {
            while self.buffer.len() < len {
                assert!(
                    self.stream.read_buf(&mut self.buffer).await.unwrap() > 0,
                    "closed within a body"
                );
            }
            reply.body = self.buffer.drain(..len).collect();
        }
        reply
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, "", b"").await;
        self.receive(true).await
    }
}

const LIST: &str = "/hls/bar/abc/h264-720/live.m3u8";

#[tokio::test]
async fn blocked_clients_wake_on_publish_and_get_what_they_asked_for() {
    let mut origin = origin(&config());
    origin.publish(3);
    let mut clients = Vec::new();
    for n in 0..200 {
        let mut client = origin.connect().await;
        let path = if n % 4 == 0 {
            "/hls/bar/abc/audio/0.3.m4s"
        } else {
            &format!("{LIST}?_HLS_msn=0&_HLS_part=3")
        };
        client.send("GET", path, "", b"").await;
        clients.push(client);
    }
    origin.waiting(200).await;
    origin.publish(1);
    for (n, client) in clients.iter_mut().enumerate() {
        let reply = client.receive(true).await;
        assert_eq!(reply.status, 200);
        if n % 4 == 0 {
            assert_eq!(reply.body, Parts::text(0, 3, 3).as_bytes());
        } else {
            assert!(String::from_utf8(reply.body).unwrap().contains("\"0.3.m4s\""));
        }
    }
    origin.waiting(0).await;
    origin.server.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn disconnects_leave_no_waiter_behind() {
    let mut origin = origin(&config());
    origin.publish(1);
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = origin.connect().await;
        client.send("GET", &format!("{LIST}?_HLS_msn=0&_HLS_part=1"), "", b"").await;
        clients.push(client);
    }
    origin.waiting(50).await;
    clients.truncate(20);
    origin.waiting(20).await;
    clients.clear();
    origin.waiting(0).await;
}

#[tokio::test]
async fn too_many_waiting_requests_are_told_to_come_back() {
    let mut origin = origin(&Config { max_waiting: 2, ..config() });
    origin.publish(1);
    let path = format!("{LIST}?_HLS_msn=0&_HLS_part=1");
    let (mut a, mut b, mut c) =
        (origin.connect().await, origin.connect().await, origin.connect().await);
    a.send("GET", &path, "", b"").await;
    b.send("GET", &path, "", b"").await;
    origin.waiting(2).await;
    let refused = c.get(&path).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    origin.publish(1);
    assert_eq!(a.receive(true).await.status, 200);
    assert_eq!(c.get(&path).await.status, 200);
}

#[tokio::test]
async fn line_19_a_request_that_waits_in_vain_gets_503_after_three_targets() {
    let origin = origin(&config());
    let mut short = presentation();
    (short.format.segment_frames, short.format.gop_frames) = (30, 30);
    let room = RoomName::parse("short").unwrap();
    let _publisher = origin.hub.open(&room, short, "def", 0, &Default::default()).unwrap();
    let mut client = origin.connect().await;
    let before = Instant::now();
    let reply = client.get("/hls/short/def/audio/live.m3u8").await;
    let waited = before.elapsed().as_secs_f64();
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    assert!((3.0..5.0).contains(&waited), "{waited}");
    assert_eq!(origin.hub.channel("short").unwrap().waiting(), 0);
}

#[tokio::test]
async fn line_26_head_range_options_and_cross_origin_headers() {
    let mut origin = origin(&config());
    origin.publish(14);
    let mut client = origin.connect().await;
    let segment = "/hls/bar/abc/audio/0.m4s";
    let whole = client.get(segment).await;
    assert_eq!(whole.header("access-control-allow-origin"), Some("*"));
    assert_eq!(whole.header("cache-control"), Some("max-age=24, immutable"));
    assert_eq!((whole.header("vary"), whole.header("accept-ranges")), (None, Some("bytes")));
    assert_eq!(whole.body, (0..12).map(|n| Parts::text(0, n, 3)).collect::<String>().as_bytes());

    client.send("HEAD", segment, "", b"").await;
    let head = client.receive(false).await;
    assert_eq!(head.header("content-length"), Some(whole.body.len().to_string().as_str()));
    assert_eq!(head.header("etag"), whole.header("etag"));

    client.send("GET", segment, "Range: bytes=20-79\r\n", b"").await;
    let range = client.receive(true).await;
    assert_eq!((range.status, range.body.as_slice()), (206, &whole.body[20..80]));

    let condition = format!("If-None-Match: {}\r\n", whole.header("etag").unwrap());
    client.send("GET", segment, &condition, b"").await;
    assert_eq!(client.receive(false).await.status, 304);

    client
        .send("OPTIONS", segment, "Origin: http://y\r\nAccess-Control-Request-Method: GET\r\n", b"")
        .await;
    let options = client.receive(true).await;
    assert_eq!(
        (options.status, options.header("access-control-allow-methods")),
        (204, Some("GET, HEAD, OPTIONS"))
    );

    client.send("DELETE", segment, "", b"").await;
    let refused = client.receive(true).await;
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD, OPTIONS")));

    client.send("GET", LIST, "Accept-Encoding: gzip\r\n", b"").await;
    let list = client.receive(true).await;
    assert_eq!(
        (list.header("content-encoding"), list.header("vary")),
        (Some("gzip"), Some("accept-encoding"))
    );
    assert_eq!(list.header("content-type"), Some("application/vnd.apple.mpegurl"));

    assert_eq!(client.get("/hls/nobody/index.m3u8").await.status, 404);
    assert_eq!(client.get("/hls/bar").await.status, 404);
}

#[tokio::test]
async fn what_is_not_hls_goes_to_the_router_within_limits() {
    let origin = origin(&Config { max_body: 20_000, body_timeout: Span::millis(300), ..config() });
    let mut client = origin.connect().await;
    assert_eq!(client.get("/hello").await.body, b"from the router");
    let peer = client.stream.local_addr().unwrap().to_string();
    assert_eq!(client.get("/who").await.body, peer.as_bytes());
    client.send("POST", "/echo", "Content-Length: 5\r\n", b"12345").await;
    assert_eq!(client.receive(true).await.body, b"12345");
    client.send("POST", "/echo", "Content-Length: 20001\r\n", b"").await;
    assert_eq!(client.receive(true).await.status, 413);

    // Announced by nobody: cut where the limit is.
    let mut client = origin.connect().await;
    client.send("POST", "/echo", "Transfer-Encoding: chunked\r\n", b"").await;
    let chunk = [b"5000\r\n".as_slice(), &[b'x'; 0x5000], b"\r\n"].concat();
    client.stream.write_all(&chunk).await.unwrap();
    client.stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert!(client.receive(true).await.status >= 400);

    // A body that never comes is not waited for.
    let mut client = origin.connect().await;
    client.send("POST", "/echo", "Content-Length: 5\r\n", b"12").await;
    assert!(client.receive(true).await.status >= 400);
}

#[tokio::test]
async fn shutdown_answers_what_is_in_flight() {
    let mut origin = origin(&config());
    origin.publish(1);
    let (mut waiting, mut ended, mut idle) =
        (origin.connect().await, origin.connect().await, origin.connect().await);
    assert_eq!(idle.get("/hello").await.status, 200);
    ended.send("GET", &format!("{LIST}?_HLS_msn=0&_HLS_part=1"), "", b"").await;
    origin.waiting(1).await;
    origin.publisher.end();
    let reply = ended.receive(true).await;
    assert!(String::from_utf8(reply.body).unwrap().ends_with("#EXT-X-ENDLIST\n"));

    // A class that was not ended: its requests get an answer all the same.
    let room = RoomName::parse("bar").unwrap();
    let _other = origin.hub.open(&room, presentation(), "def", 0, &Default::default()).unwrap();
    waiting.send("GET", "/hls/bar/def/audio/live.m3u8", "", b"").await;
    origin.waiting(1).await;
    let address = origin.server.local_addr();
    let begun = Instant::now();
    origin.server.shutdown(Duration::from_secs(10)).await;
    assert_eq!(waiting.receive(true).await.status, 503);
    assert_eq!(idle.stream.read(&mut [0]).await.unwrap(), 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "idle connections held the server up");
    assert!(TcpStream::connect(address).await.is_err());
    // And the port is free for a successor.
    let again = Config { listen: address, ..config() };
    Server::start(&again, Hub::new(&again), axum::Router::new()).unwrap();
}

#[tokio::test]
async fn a_port_that_somebody_shares_is_taken() {
    let first = origin(&config());
    let address = first.server.local_addr();
    let second = Config { listen: address, ..config() };
    let error =
        Server::start(&second, Hub::new(&second), axum::Router::new()).map(|_| ()).unwrap_err();
    assert!(matches!(error, ServeError::Taken(_)));
    let text = error.to_string();
    assert!(
        text.contains(&format!("port {}", address.port())) && text.contains("http.listen"),
        "{text}"
    );
    // It is the guard that says so: the kernel would let both have the port.
    assert!(bind(address).is_ok());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let origin = origin(&Config { max_connections: 2, ..config() });
    let (mut a, mut b) = (origin.connect().await, origin.connect().await);
    assert_eq!((a.get("/hello").await.status, b.get("/hello").await.status), (200, 200));
    let mut c = origin.connect().await;
    assert_eq!(c.receive(true).await.status, 503);
    drop(a);
    // Served again as soon as one has gone.
    loop {
        let mut d = origin.connect().await;
        if d.stream.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok()
            && d.receive(true).await.status == 200
        {
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_loses_its_connection() {
    let mut origin = origin(&Config { body_timeout: Span::millis(200), ..config() });
    let (mut part, _) = origin.parts.next();
    let big = vec![7; 64 << 20];
    for fragment in &mut part.fragments {
        (fragment.offset, fragment.len) = (0, big.len() as u32);
    }
    origin.publisher.publish(&part, &big.into()).unwrap();
    let mut client = origin.connect().await;
    client.send("GET", "/hls/bar/abc/audio/0.0.m4s", "", b"").await;
    client.stream.readable().await.unwrap();
    while origin.server.connections() > 0 {
        tokio::task::yield_now().await;
    }
    let mut got = Vec::new();
    // The end may be a reset.
    let _ = client.stream.read_to_end(&mut got).await;
    assert!(got.len() < 64 << 20, "{}", got.len());
}
