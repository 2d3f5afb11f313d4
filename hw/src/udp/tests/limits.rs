//! Full buffers, odd sizes, panics, drops, threads, refusals.

use super::super::*;
use super::{LONG, config, engines, receive, send, socket};

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
