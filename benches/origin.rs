//! The origin's hot object, `answer`, and then the whole path: a server, real sockets, blocked clients.

mod class;

use class::Class;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proscenium::origin::answer::{Answer, Request, answer};
use proscenium::origin::hub::Hub;
use proscenium::origin::serve::Server;
use proscenium::origin::snapshot::Snapshot;
use proscenium::time::RoomName;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn answers(c: &mut Criterion) {
    let class = Class::new(12 * 20 + 5);
    let snapshot = Snapshot::new(class.window.clone());
    let session = class.window.session();
    for (name, path, query) in [
        ("playlist, answered", "h264-720/live.m3u8", "_HLS_msn=20&_HLS_part=4"),
        ("playlist, waits", "h264-720/live.m3u8", "_HLS_msn=20&_HLS_part=5"),
        ("part", "h264-720/20.4.m4s", ""),
        ("segment", "h264-720/19.m4s", ""),
        ("not found", "h264-720/999.m4s", ""),
    ] {
        let path = format!("{session}/{path}");
        let request = Request {
            path: &path,
            query,
            accept_encoding: Some("gzip, deflate"),
            ..Default::default()
        };
        assert!(name.contains("waits") == matches!(answer(&snapshot, &request), Answer::Wait(_)));
        c.bench_function(&format!("answer/{name}"), |b| {
            b.iter(|| answer(black_box(&snapshot), black_box(&request)))
        });
    }
}

/// Clients that wait for a part each: from publishing it until the last one has its playlist.
fn herd(c: &mut Criterion) {
    const CLIENTS: usize = 500;
    let config = proscenium::origin::Config {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        ..Default::default()
    };
    let hub = Hub::new(&config);
    let server = Server::start(&config, hub.clone(), axum::Router::new()).expect("a free port");
    let address = server.local_addr();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let room = RoomName::parse("bench").expect("a name");
    let mut group = c.benchmark_group("herd");
    group.throughput(Throughput::Elements(CLIENTS as u64)).sample_size(20);
    group.bench_function("publish until the last of 500 clients has its playlist", |b| {
        b.iter_custom(|rounds| {
            runtime.block_on(async {
                let session = proscenium::origin::hub::new_session();
                let mut class = Class::new(0);
                let opened = hub.open(&room, class::presentation(), &session, 0, &Default::default());
                let mut publisher = opened.expect("a good presentation");
                let mut clients = Vec::new();
                for _ in 0..CLIENTS {
                    clients.push(TcpStream::connect(address).await.expect("the server listens"));
                }
                let mut spent = Duration::ZERO;
                for round in 0..rounds {
                    let (msn, part) = (round / 12, round % 12);
                    let request = format!(
                        "GET /hls/bench/{session}/h264-720/live.m3u8?_HLS_msn={msn}&_HLS_part={part} HTTP/1.1\r\n\
                         Host: x\r\nAccept-Encoding: gzip\r\n\r\n"
                    );
                    for client in &mut clients {
                        client.write_all(request.as_bytes()).await.expect("open");
                    }
                    while hub.live(&room).is_none_or(|live| live.waiting < CLIENTS) {
                        tokio::task::yield_now().await;
                    }
                    let (part, bytes) = class.next();
                    let begun = Instant::now();
                    publisher.publish(&part, &bytes).expect("parts follow each other");
                    let mut buffer = vec![0; 64 * 1024];
                    for client in &mut clients {
                        let mut got = 0;
                        // The playlist is compressed and fits one read; its head says how long it is.
                        while !complete(&buffer[..got]) {
                            got += client.read(&mut buffer[got..]).await.expect("an answer");
                        }
                    }
                    spent += begun.elapsed();
                }
                spent
            })
        })
    });
    group.finish();
}

fn complete(bytes: &[u8]) -> bool {
    let Some(head) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let len = text.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
    len.is_some_and(|len| bytes.len() >= head + 4 + len)
}

criterion_group!(group, answers, herd);
criterion_main!(group);
