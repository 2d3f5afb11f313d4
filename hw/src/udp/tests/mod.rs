//! The engines held against each other over loopback. Where the host has no io_uring, its share of
//! the tests asserts that `Auto` says so and works.
#![allow(clippy::unwrap_used)]

use super::*;
use seccompiler::{SeccompAction, SeccompFilter};
use std::cell::Cell;
use std::time::Instant;

mod exchange;
mod limits;

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
