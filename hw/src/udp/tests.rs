//! The engines held against each other over loopback. Where the host has no io_uring, its share of
//! the tests asserts that `Auto` says so and works.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use seccompiler::{SeccompAction, SeccompFilter};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

thread_local! {
    /// Rings made on this thread get what Linux 6.0 grants, not what this kernel does.
    pub(super) static OLD_KERNEL: Cell<bool> = const { Cell::new(false) };
}

const LONG: Duration = Duration::from_secs(20);

/// The engines this host has; without io_uring, that `Auto` copes and says why.
fn engines() -> Vec<Choice> {
    match uring_available() {
        Ok(()) => vec![Choice::Uring, Choice::Portable],
        Err(reason) => {
            let socket = socket("127.0.0.1:0", Choice::Auto);
            assert_eq!(socket.backend(), Backend::Portable);
            assert_eq!(socket.why_portable(), Some(reason.as_str()));
            vec![Choice::Portable]
        }
    }
}

fn config(backend: Choice) -> UdpConfig {
    UdpConfig { backend, ..UdpConfig::default() }
}

fn socket(addr: &str, backend: Choice) -> Socket {
    Socket::bind(addr.parse().unwrap(), &config(backend)).unwrap()
}

fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

type Packet = (SocketAddr, SocketAddr, Vec<u8>);

/// Receives until there are `count` packets, or none comes for two seconds.
fn receive(socket: &mut Socket, count: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    while packets.len() < count {
        let wakeup = socket
            .wait(Duration::from_secs(2), |d| packets.push((d.from, d.to, d.payload.to_vec())))
            .unwrap();
        if wakeup.datagrams == 0 {
            break;
        }
    }
    packets
}

fn send(socket: &mut Socket, to: SocketAddr, payload: &[u8]) {
    socket.queue(Transmit { to, from: None, payload });
    assert_eq!(socket.flush().unwrap(), FlushStats { sent: 1, dropped: 0 });
}

#[test]
fn auto_takes_io_uring_exactly_where_the_host_offers_it() {
    let socket = socket("127.0.0.1:0", Choice::Auto);
    match uring_available() {
        Ok(()) => {
            assert_eq!(socket.backend(), Backend::Uring);
            assert_eq!(socket.why_portable(), None);
        }
        Err(reason) => {
            assert_eq!(socket.backend(), Backend::Portable);
            assert_eq!(socket.why_portable(), Some(reason.as_str()));
        }
    }
}

#[test]
fn portable_on_demand_needs_no_reason() {
    let socket = socket("127.0.0.1:0", Choice::Portable);
    assert_eq!((socket.backend(), socket.why_portable()), (Backend::Portable, None));
}

/// A container's seccomp profile, on this test's thread only.
fn forbid_io_uring(errno: i32) {
    let rules = [(libc::SYS_io_uring_setup, Vec::new())].into_iter().collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(errno as u32));
    let filter = SeccompFilter::new(rules, allow, refuse, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[test]
fn where_io_uring_is_forbidden_auto_is_portable_and_says_why() {
    for (errno, word) in [(libc::EPERM, "forbid"), (libc::ENOSYS, "without io_uring")] {
        std::thread::spawn(move || {
            forbid_io_uring(errno);
            let mut socket = socket("127.0.0.1:0", Choice::Auto);
            assert_eq!(socket.backend(), Backend::Portable);
            let why = socket.why_portable().unwrap().to_owned();
            assert!(why.contains(word), "{why}");
            let to = socket.local_addr();
            send(&mut socket, to, b"still works");
            assert_eq!(receive(&mut socket, 1).len(), 1);

            let addr = "127.0.0.1:0".parse().unwrap();
            let error = Socket::bind(addr, &config(Choice::Uring)).unwrap_err();
            assert!(matches!(error, UdpError::Uring { .. }), "{error}");
        })
        .join()
        .unwrap();
    }
}

#[test]
fn a_packet_is_answered_from_the_address_it_was_sent_to() {
    for (one, other) in pairs() {
        let mut server = socket("[::]:0", one);
        let mut peer = socket("127.0.0.1:0", other);
        // All of 127/8 is this host: the kernel alone would answer from 127.0.0.1.
        let to = SocketAddr::from(([127, 0, 0, 9], server.local_addr().port()));
        send(&mut peer, to, b"ask");
        assert_eq!(receive(&mut server, 1), [(peer.local_addr(), to, b"ask".to_vec())]);

        let back = peer.local_addr();
        server.queue(Transmit { to: back, from: Some(to.ip()), payload: b"answer" });
        assert_eq!(server.flush().unwrap().sent, 1);
        assert_eq!(receive(&mut peer, 1), [(to, back, b"answer".to_vec())]);
    }
}

fn pairs() -> Vec<(Choice, Choice)> {
    let engines = engines();
    engines.iter().flat_map(|&one| engines.iter().map(move |&other| (one, other))).collect()
}

/// One burst: `count` packets of `size` bytes from or to a peer.
#[derive(Clone, Debug)]
struct Burst {
    peer: usize,
    to_server: bool,
    size: usize,
    count: usize,
}

fn burst() -> impl Strategy<Value = Burst> {
    (0..5usize, any::<bool>(), 1..1500usize, 1..14usize)
        .prop_map(|(peer, to_server, size, count)| Burst { peer, to_server, size, count })
}

/// Sends the turns' bursts between a dual-stack server and peers of both families, and asserts that
/// every packet arrives once, unchanged, in its peer's order and with its true addresses.
fn exchange(server: Choice, peer: Choice, turns: &[Vec<Burst>]) {
    let mut server = socket("[::]:0", server);
    let port = server.local_addr().port();
    let v4 = |last: u8| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port));
    // Peers' addresses, and the server's address as each of them knows it.
    let mut peers: Vec<(Socket, SocketAddr)> = vec![
        (socket("127.0.0.1:0", peer), v4(1)),
        (socket("127.0.0.2:0", peer), v4(7)),
        (socket("127.0.0.1:0", peer), v4(1)),
    ];
    if has_ipv6() {
        let v6: SocketAddr = format!("[::1]:{port}").parse().unwrap();
        peers.push((socket("[::1]:0", peer), v6));
        peers.push((socket("[::1]:0", peer), v6));
    }
    let mut serial = 0u32;
    for turn in turns {
        let mut to_server: BTreeMap<SocketAddr, Vec<Packet>> = BTreeMap::new();
        let mut to_peer: Vec<Vec<Packet>> = vec![Vec::new(); peers.len()];
        for burst in turn {
            let i = burst.peer % peers.len();
            let (peer, known_as) = &mut peers[i];
            for _ in 0..burst.count {
                serial += 1;
                let payload: Vec<u8> =
                    serial.to_be_bytes().into_iter().cycle().take(burst.size).collect();
                if burst.to_server {
                    peer.queue(Transmit { to: *known_as, from: None, payload: &payload });
                    let packet = (peer.local_addr(), *known_as, payload);
                    to_server.entry(peer.local_addr()).or_default().push(packet);
                } else {
                    let (to, from) = (peer.local_addr(), Some(known_as.ip()));
                    server.queue(Transmit { to, from, payload: &payload });
                    to_peer[i].push((*known_as, to, payload));
                }
            }
        }
        let mut sent = server.flush().unwrap();
        for (peer, _) in &mut peers {
            let flushed = peer.flush().unwrap();
            sent.sent += flushed.sent;
            sent.dropped += flushed.dropped;
        }
        let expected: usize = turn.iter().map(|burst| burst.count).sum();
        assert_eq!(sent, FlushStats { sent: expected, dropped: 0 });

        let mut seen: BTreeMap<SocketAddr, Vec<Packet>> = BTreeMap::new();
        for packet in receive(&mut server, to_server.values().map(Vec::len).sum()) {
            seen.entry(packet.0).or_default().push(packet);
        }
        assert_eq!(seen, to_server);
        for ((peer, _), expected) in peers.iter_mut().zip(to_peer) {
            assert_eq!(receive(peer, expected.len()), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pair_of_engines_delivers_the_same(
        // At most 6 * 13 packets in flight: they fit the smallest socket buffer hosts have.
        turns in proptest::collection::vec(proptest::collection::vec(burst(), 1..6), 1..4)
    ) {
        for (one, other) in pairs() {
            exchange(one, other, &turns);
        }
    }
}

#[test]
fn a_ring_without_the_newer_modes_delivers_the_same() {
    OLD_KERNEL.set(true);
    let turn: Vec<Burst> = (0..6)
        .map(|i| Burst { peer: i, to_server: i % 2 == 0, size: 100 + 200 * i, count: 13 })
        .collect();
    for (one, other) in pairs() {
        exchange(one, other, &vec![turn.clone(); 5]);
    }
    // A busy socket gathers in a second call, and a lone packet is not held by it.
    for engine in engines() {
        lone_after_busy(engine);
        let mut socket = socket("127.0.0.1:0", engine);
        assert!(!format!("{:?}", socket.engine).contains("min_wait: true"));
        let waker = socket.waker();
        waker.wake();
        assert!(socket.wait(LONG, |_| {}).unwrap().woken);
    }
}

#[test]
fn equal_packets_leave_as_one_gso_run_and_arrive_as_they_were() {
    for (one, other) in pairs() {
        let (mut from, mut to) = (socket("127.0.0.1:0", one), socket("127.0.0.1:0", other));
        let mut expected = Vec::new();
        for i in 0..20u8 {
            let payload = vec![i; if i == 19 { 321 } else { 1200 }];
            from.queue(Transmit { to: to.local_addr(), from: None, payload: &payload });
            expected.push((from.local_addr(), to.local_addr(), payload));
        }
        assert_eq!(from.flush().unwrap(), FlushStats { sent: 20, dropped: 0 });
        assert_eq!(receive(&mut to, 20), expected);
        let stats = from.stats();
        assert_eq!((stats.sent, stats.gso_runs, stats.dropped_send), (20, 1, 0));
    }
}

#[test]
fn packets_that_gso_refuses_leave_one_by_one_and_are_not_tried_so_again() {
    for (one, other) in pairs() {
        let (mut from, mut to) = (socket("127.0.0.1:0", one), socket("127.0.0.1:0", other));
        // A checksum-less socket is refused GSO by every kernel, with EIO (udp_send_skb).
        no_checksums(&from.socket);
        for turn in 0..2 {
            for i in 0..5u8 {
                from.queue(Transmit { to: to.local_addr(), from: None, payload: &[i; 700] });
            }
            assert_eq!(from.flush().unwrap(), FlushStats { sent: 5, dropped: 0 });
            let order: Vec<u8> = receive(&mut to, 5).iter().map(|(_, _, p)| p[0]).collect();
            assert_eq!(order, [0, 1, 2, 3, 4], "turn {turn}");
        }
        assert_eq!((from.stats().gso_runs, from.stats().sent), (0, 10));
    }
}

/// `SO_NO_CHECK`.
fn no_checksums(socket: &UdpSocket) {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads four bytes at `on`, which outlives the call.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(rc, 0);
}

#[test]
fn a_waker_ends_the_wait_on_another_thread_and_once() {
    for engine in engines() {
        let mut socket = socket("127.0.0.1:0", engine);
        // Both before the wait begins and while it lasts; many calls are one wake.
        for _ in 0..50 {
            let waker = socket.waker();
            let thread = std::thread::spawn(move || (0..10).for_each(|_| waker.wake()));
            let started = Instant::now();
            assert!(socket.wait(LONG, |_| {}).unwrap().woken);
            assert!(started.elapsed() < LONG);
            thread.join().unwrap();
            // Calls after the first wake was taken may make one more; then it is quiet.
            socket.wait(Duration::ZERO, |_| {}).unwrap();
            assert_eq!(socket.wait(Duration::ZERO, |_| {}).unwrap(), Wakeup::default());
        }
    }
}

#[test]
fn what_was_pushed_before_a_wake_is_there_after_the_wait() {
    for engine in engines() {
        let mut socket = socket("127.0.0.1:0", engine);
        let (sender, receiver) = std::sync::mpsc::channel();
        let waker = socket.waker();
        let count = 2_000;
        let thread = std::thread::spawn(move || {
            for i in 0..count {
                sender.send(i).unwrap();
                waker.wake();
            }
        });
        let mut seen = 0;
        while seen < count {
            // A lost wake would let this wait run out.
            assert!(socket.wait(LONG, |_| {}).unwrap().woken, "lost a wake after {seen}");
            seen += receiver.try_iter().count();
        }
        thread.join().unwrap();
    }
}

#[test]
fn a_wait_without_anything_ends_at_its_timeout() {
    for engine in engines() {
        let mut socket = socket("127.0.0.1:0", engine);
        let started = Instant::now();
        let wakeup = socket.wait(Duration::from_millis(30), |_| {}).unwrap();
        assert_eq!(wakeup, Wakeup::default());
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(29) && took < LONG, "{took:?}");
    }
}

#[test]
fn a_lone_packet_after_a_busy_time_is_not_held_for_a_batch() {
    engines().into_iter().for_each(lone_after_busy);
}

fn lone_after_busy(engine: Choice) {
    let (mut from, mut to) = (socket("127.0.0.1:0", engine), socket("127.0.0.1:0", engine));
    let addr = to.local_addr();
    for _ in 0..5 {
        for i in 0..16u8 {
            from.queue(Transmit { to: addr, from: None, payload: &[i; 50] });
        }
        from.flush().unwrap();
        assert_eq!(receive(&mut to, 16).len(), 16);
        send(&mut from, addr, b"lone");
        let started = Instant::now();
        assert_eq!(to.wait(LONG, |_| {}).unwrap().datagrams, 1);
        // It had arrived already. Half a millisecond is the promise; a scheduler's turn is
        // granted, a wait for 32 packets would last 20 s.
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn more_packets_than_buffers_lose_none_and_receiving_goes_on() {
    for engine in engines() {
        let cfg = UdpConfig { recv_buffers: 8, buffer_len: 256, ..config(engine) };
        let mut to = Socket::bind("127.0.0.1:0".parse().unwrap(), &cfg).unwrap();
        let mut from = socket("127.0.0.1:0", engine);
        let addr = to.local_addr();
        to.wait(Duration::ZERO, |_| {}).unwrap(); // armed
        for turn in 0..50u32 {
            let payloads: Vec<Vec<u8>> = (0..100u32)
                .map(|i| (turn * 100 + i).to_be_bytes().repeat(1 + i as usize % 60))
                .collect();
            for payload in &payloads {
                from.queue(Transmit { to: addr, from: None, payload });
            }
            assert_eq!(from.flush().unwrap().sent, 100);
            let seen: Vec<Vec<u8>> = receive(&mut to, 100).into_iter().map(|p| p.2).collect();
            assert_eq!(seen, payloads, "turn {turn}");
        }
        let stats = to.stats();
        assert_eq!(stats.received, 5_000);
        if to.backend() == Backend::Uring {
            assert!(stats.enobufs > 0 && stats.rearms >= stats.enobufs, "{stats:?}");
        }
    }
}

#[test]
fn oversized_datagrams_are_counted_and_dropped_and_empty_ones_arrive() {
    for engine in engines() {
        let cfg = UdpConfig { buffer_len: 100, ..config(engine) };
        let mut to = Socket::bind("127.0.0.1:0".parse().unwrap(), &cfg).unwrap();
        let mut from = socket("127.0.0.1:0", engine);
        let addr = to.local_addr();
        let sizes = [100, 101, 0, 0, 140, 9_000, 99, 0, 1];
        for size in sizes {
            send(&mut from, addr, &vec![7; size]);
        }
        let seen: Vec<usize> = receive(&mut to, 6).iter().map(|p| p.2.len()).collect();
        assert_eq!(seen, [100, 0, 0, 99, 0, 1]);
        assert_eq!((to.stats().truncated, to.stats().received), (3, 6));
    }
}

#[test]
fn a_payload_may_be_changed_where_it_lies() {
    for engine in engines() {
        let mut socket = socket("127.0.0.1:0", engine);
        let addr = socket.local_addr();
        for turn in 0..3_000u32 {
            // More turns than there are buffers: each comes back whole after it was scribbled on.
            send(&mut socket, addr, &turn.to_be_bytes());
            let mut seen = None;
            socket
                .wait(LONG, |d| {
                    seen = d.payload.first_chunk().map(|b| u32::from_be_bytes(*b));
                    d.payload.fill(0xff);
                })
                .unwrap();
            assert_eq!(seen, Some(turn));
        }
    }
}

#[test]
fn a_callback_that_panics_costs_no_buffer() {
    for engine in engines() {
        let cfg = UdpConfig { recv_buffers: 8, ..config(engine) };
        let mut socket = Socket::bind("127.0.0.1:0".parse().unwrap(), &cfg).unwrap();
        let addr = socket.local_addr();
        for _ in 0..40 {
            send(&mut socket, addr, b"x");
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _ = socket.wait(LONG, |_| std::panic::resume_unwind(Box::new(())));
            }));
            assert!(panicked.is_err());
        }
        send(&mut socket, addr, b"y");
        assert_eq!(receive(&mut socket, 1)[0].2, b"y");
    }
}

#[test]
fn dropping_a_socket_while_it_receives_frees_its_port_at_once() {
    for engine in engines() {
        let port = socket("127.0.0.1:0", engine).local_addr().port();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut from = socket("127.0.0.1:0", engine);
        for turn in 0..100 {
            let mut socket = match Socket::bind(addr, &config(engine)) {
                Ok(socket) => socket,
                Err(error) => panic!("{engine} turn {turn}: {error}"),
            };
            socket.wait(Duration::ZERO, |_| {}).unwrap(); // requests are in flight
            for i in 0..turn % 10 {
                from.queue(Transmit { to: addr, from: None, payload: &[i as u8; 1000] });
            }
            from.flush().unwrap();
            socket.queue(Transmit { to: from.local_addr(), from: None, payload: b"unflushed" });
            if turn % 3 == 0 {
                socket.wait(LONG.min(Duration::from_millis(turn as u64 % 2)), |_| {}).unwrap();
            }
        }
    }
}

#[test]
fn a_socket_may_move_before_its_first_use_and_not_after() {
    for engine in engines() {
        let mut socket = socket("127.0.0.1:0", engine);
        let addr = socket.local_addr();
        let mut socket = std::thread::spawn(move || {
            send(&mut socket, addr, b"from my thread");
            assert_eq!(receive(&mut socket, 1).len(), 1);
            socket
        })
        .join()
        .unwrap();
        if engine == Choice::Uring {
            let error = socket.wait(Duration::ZERO, |_| {}).unwrap_err();
            assert!(matches!(error, UdpError::WrongThread), "{error}");
            socket.queue(Transmit { to: addr, from: None, payload: b"x" });
            assert!(matches!(socket.flush().unwrap_err(), UdpError::WrongThread));
        }
    }
}

#[test]
fn what_cannot_be_sent_is_counted_and_the_rest_leaves() {
    for engine in engines() {
        let mut from = socket("127.0.0.1:0", engine);
        let mut to = socket("127.0.0.1:0", engine);
        let addr = to.local_addr();
        let long = vec![0; 70_000];
        from.queue(Transmit { to: addr, from: None, payload: b"1" });
        from.queue(Transmit { to: addr, from: None, payload: &long });
        from.queue(Transmit { to: "[::1]:9".parse().unwrap(), from: None, payload: b"six" });
        // From an address this host does not have (TEST-NET-1), and from one nobody can have.
        for foreign in [[192, 0, 2, 1], [224, 0, 0, 1]] {
            for payload in [b"x", b"x"] {
                from.queue(Transmit { to: addr, from: Some(foreign.into()), payload });
            }
        }
        from.queue(Transmit { to: addr, from: None, payload: b"2" });
        from.queue(Transmit { to: addr, from: None, payload: b"3" });
        assert_eq!(from.flush().unwrap(), FlushStats { sent: 3, dropped: 6 });
        let seen: Vec<Vec<u8>> = receive(&mut to, 3).into_iter().map(|p| p.2).collect();
        assert_eq!(seen, [b"1", b"2", b"3"]);
        assert_eq!((from.stats().sent, from.stats().dropped_send), (3, 6));
        // A bad source address is no reason to give up GSO.
        for payload in [b"4", b"5"] {
            from.queue(Transmit { to: addr, from: None, payload });
        }
        assert_eq!(from.flush().unwrap().sent, 2);
        assert_eq!(from.stats().gso_runs, 2);
    }
}

#[test]
fn closed_ports_of_peers_disturb_nobody() {
    for engine in engines() {
        let mut socket = socket("[::]:0", engine);
        let me = SocketAddr::from(([127, 0, 0, 1], socket.local_addr().port()));
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for _ in 0..20 {
            socket.queue(Transmit { to: closed, from: None, payload: b"nobody" });
            socket.queue(Transmit { to: me, from: None, payload: b"me" });
            assert_eq!(socket.flush().unwrap().sent, 2);
            assert_eq!(receive(&mut socket, 1).len(), 1);
        }
    }
}

#[test]
fn a_full_outbox_flushes_itself_and_the_next_flush_tells() {
    for engine in engines() {
        let (mut from, mut to) = (socket("127.0.0.1:0", engine), socket("127.0.0.1:0", engine));
        let addr = to.local_addr();
        // Alternating sizes make no runs, so 150 packets are more than the outbox holds.
        let sizes: Vec<usize> = (0..150).map(|i| 10 + i % 2).collect();
        for &size in &sizes {
            from.queue(Transmit { to: addr, from: None, payload: &vec![1; size] });
        }
        let flushed = from.flush().unwrap();
        assert_eq!(flushed, FlushStats { sent: 150, dropped: 0 });
        assert_eq!(from.flush().unwrap(), FlushStats::default());
        assert_eq!(receive(&mut to, 150).len(), 150);
    }
}

#[test]
fn a_taken_port_is_an_error_that_says_so() {
    let taken = socket("127.0.0.1:0", Choice::Portable);
    let error = Socket::bind(taken.local_addr(), &UdpConfig::default()).unwrap_err();
    assert!(error.is_address_in_use());
    let text = error.to_string();
    assert!(text.contains(&taken.local_addr().to_string()) && text.contains("ss -lunp"), "{text}");
}

#[test]
fn a_choice_reads_as_it_is_written_and_other_words_are_refused() {
    for choice in [Choice::Auto, Choice::Uring, Choice::Portable] {
        assert_eq!(choice.to_string().parse(), Ok(choice));
    }
    let error = "epoll".parse::<Choice>().unwrap_err().to_string();
    assert!(error.contains("io_uring") && error.contains("epoll"), "{error}");
}
