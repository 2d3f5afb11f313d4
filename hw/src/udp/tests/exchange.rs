//! The same packets through every pair of engines.

use super::super::*;
use super::{LONG, OLD_KERNEL, Packet, engines, has_ipv6, lone_after_busy, pairs, receive, socket};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

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
