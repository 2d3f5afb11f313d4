//! Packets through a UDP socket, both engines side by side: what the SFU's thread pays.
//!
//! `rx` and `echo` are elapsed time a burst or a round trip; `tx` sends into sockets nobody reads,
//! whose buffers overflow at once, so that only the sender is measured.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hw::udp::{Choice, Socket, Transmit, UdpConfig, uring_available};
use std::net::SocketAddr;
use std::time::Duration;

const BURST: usize = 64;
const LEN: usize = 1200;
const PEERS: usize = 16;

fn engines() -> Vec<Choice> {
    match uring_available() {
        Ok(()) => vec![Choice::Uring, Choice::Portable],
        Err(reason) => {
            eprintln!("only the portable engine is measured: {reason}");
            vec![Choice::Portable]
        }
    }
}

fn socket(backend: Choice, socket_buffer: usize) -> Socket {
    let cfg = UdpConfig { backend, socket_buffer, ..UdpConfig::default() };
    let addr: SocketAddr = ([127, 0, 0, 1], 0).into();
    Socket::bind(addr, &cfg).expect("a loopback socket")
}

fn burst(from: &mut Socket, to: impl Fn(usize) -> SocketAddr) {
    let payload = [7u8; LEN];
    for i in 0..BURST {
        from.queue(Transmit { to: to(i), from: None, payload: &payload });
    }
    from.flush().expect("a loopback send");
}

/// Receiving a burst of 64 packets; sending it is not counted.
fn rx(c: &mut Criterion) {
    let mut group = c.benchmark_group("udp rx");
    group.throughput(Throughput::Elements(BURST as u64));
    for engine in engines() {
        let mut to = socket(engine, 4 << 20);
        let mut from = socket(Choice::Portable, 4 << 20);
        let addr = to.local_addr();
        group.bench_function(BenchmarkId::from_parameter(engine), |b| {
            b.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    burst(&mut from, |_| addr);
                    let started = std::time::Instant::now();
                    let mut got = 0;
                    while got < BURST {
                        let wakeup = to.wait(Duration::from_millis(100), |_| {}).expect("a wait");
                        assert!(wakeup.datagrams > 0, "the burst of {BURST} stopped at {got}");
                        got += wakeup.datagrams;
                    }
                    spent += started.elapsed();
                }
                spent
            });
        });
        eprintln!("{engine}: {:?}", to.stats());
    }
    group.finish();
}

/// Sending 64 packets: each to another peer than the one before, and in runs of 8 a peer.
fn tx(c: &mut Criterion) {
    let mut group = c.benchmark_group("udp tx");
    group.throughput(Throughput::Elements(BURST as u64));
    let sinks: Vec<Socket> = (0..PEERS).map(|_| socket(Choice::Portable, 4096)).collect();
    let addrs: Vec<SocketAddr> = sinks.iter().map(Socket::local_addr).collect();
    for engine in engines() {
        for (shape, run) in [("one a peer", 1), ("runs of 8", 8)] {
            let mut from = socket(engine, 4 << 20);
            group.bench_function(BenchmarkId::new(shape, engine), |b| {
                b.iter(|| burst(&mut from, |i| addrs[i / run % PEERS]));
            });
        }
    }
    group.finish();
}

/// A packet there and back between two sockets of one thread: no batch to wait for.
fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("udp echo");
    for engine in engines() {
        let mut one = socket(engine, 4 << 20);
        let mut other = socket(engine, 4 << 20);
        let (one_addr, other_addr) = (one.local_addr(), other.local_addr());
        let step = |from: &mut Socket, to: &mut Socket, addr| {
            from.queue(Transmit { to: addr, from: None, payload: &[1; 100] });
            from.flush().expect("a loopback send");
            let wakeup = to.wait(Duration::from_millis(100), |_| {}).expect("a wait");
            assert_eq!(wakeup.datagrams, 1);
        };
        group.bench_function(BenchmarkId::from_parameter(engine), |b| {
            b.iter(|| {
                step(&mut one, &mut other, other_addr);
                step(&mut other, &mut one, one_addr);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = rx, tx, echo
}
criterion_main!(benches);
