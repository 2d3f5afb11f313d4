//! Packets through a UDP socket, both engines side by side: what the SFU's thread pays.
//!
//! `rx` is the receiver's processor time a packet at a steady pace; `tx` sends into sockets nobody
//! reads, whose buffers overflow at once, so that only the sender is measured; `echo` is the elapsed
//! time of a round trip with nothing else to do.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hw::clock::thread_cpu_us;
use hw::udp::{Choice, Socket, Transmit, UdpConfig, uring_available};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// Receiving from a sender on another core that keeps a steady pace, as publishers do. What is
/// measured is the receiving thread's processor time, not the pace.
fn rx(c: &mut Criterion) {
    let mut group = c.benchmark_group("udp rx");
    group.throughput(Throughput::Elements(1));
    for engine in engines() {
        for pace in [5_000, 50_000, 150_000] {
            let mut to = socket(engine, 8 << 20);
            let sender = Sender::start(to.local_addr(), pace);
            let mut figures = (0, 0);
            let id = BenchmarkId::new(format!("{}k packets a second", pace / 1000), engine);
            group.bench_function(id, |b| {
                b.iter_custom(|packets| {
                    let (before, started) = (to.stats(), thread_cpu_us());
                    let mut got = 0;
                    while got < packets {
                        let wakeup = to
                            .wait(Duration::from_secs(1), |d| {
                                std::hint::black_box(d.payload);
                            })
                            .expect("a wait");
                        assert!(wakeup.datagrams > 0, "the sender has stopped");
                        got += wakeup.datagrams as u64;
                    }
                    let spent = thread_cpu_us() - started;
                    let after = to.stats();
                    figures.0 += after.received - before.received;
                    figures.1 += after.syscalls - before.syscalls;
                    // By the packets asked for: the last batch brought a few more.
                    Duration::from_micros(spent as u64).mul_f64(packets as f64 / got as f64)
                });
            });
            eprintln!(
                "    {:.4} system calls a packet over {} packets",
                figures.1 as f64 / figures.0.max(1) as f64,
                figures.0
            );
            sender.stop();
        }
    }
    group.finish();
}

/// Sends packets at a pace from a thread of its own.
struct Sender {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Sender {
    fn start(to: SocketAddr, packets_a_second: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut from = socket(Choice::Portable, 4 << 20);
            let (payload, started, mut sent) = ([7u8; LEN], Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) {
                let due = (started.elapsed().as_secs_f64() * packets_a_second as f64) as u64;
                // After a pause of the scheduler's, go on at the pace; do not make up for it.
                sent = sent.max(due.saturating_sub(256));
                if sent == due {
                    std::thread::sleep(Duration::from_micros(50));
                    continue;
                }
                while sent < due {
                    from.queue(Transmit { to, from: None, payload: &payload });
                    sent += 1;
                }
                from.flush().expect("a loopback send");
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sender ends");
    }
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
