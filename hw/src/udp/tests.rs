//! The engines held against each other over loopback.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_packet_comes_back_from_the_address_it_was_sent_to() {
    let cfg = UdpConfig::default();
    let mut server = Socket::bind("[::]:0".parse().unwrap(), &cfg).unwrap();
    let mut peer = Socket::bind("127.0.0.1:0".parse().unwrap(), &cfg).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 9], server.local_addr().port()));
    peer.queue(Transmit { to, from: None, payload: b"hello" });
    assert_eq!(peer.flush().unwrap(), FlushStats { sent: 1, dropped: 0 });

    let mut seen = None;
    server
        .wait(Duration::from_secs(5), |d| seen = Some((d.from, d.to, d.payload.to_vec())))
        .unwrap();
    assert_eq!(seen, Some((peer.local_addr(), to, b"hello".to_vec())));

    server.queue(Transmit { to: peer.local_addr(), from: Some(to.ip()), payload: b"hello back" });
    assert_eq!(server.flush().unwrap(), FlushStats { sent: 1, dropped: 0 });
    let mut seen = None;
    peer.wait(Duration::from_secs(5), |d| seen = Some((d.from, d.payload.to_vec()))).unwrap();
    assert_eq!(seen, Some((to, b"hello back".to_vec())));
}

#[test]
fn a_waker_ends_the_wait_on_another_thread_and_once() {
    let mut socket = Socket::bind("[::]:0".parse().unwrap(), &UdpConfig::default()).unwrap();
    let waker = socket.waker();
    let thread = std::thread::spawn(move || waker.wake());
    let wakeup = socket.wait(Duration::from_secs(20), |_| {}).unwrap();
    assert_eq!(wakeup, Wakeup { datagrams: 0, woken: true });
    thread.join().unwrap();
    let wakeup = socket.wait(Duration::from_millis(1), |_| {}).unwrap();
    assert_eq!(wakeup, Wakeup::default());
}
