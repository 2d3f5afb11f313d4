//! ICE-TCP connections (RFC 6544, passive): accepted and read on the async runtime, spoken for by
//! the SFU's thread.
//!
//! Each connection is one task. What it reads goes, frame by frame, into the thread's command
//! queue; when that is full the task waits, and TCP slows its sender down. What the thread sends
//! goes into a bounded queue; when that is full the frame is dropped, as UDP would. A connection
//! that is silent, or whose frames belong to nobody, is closed.

use super::framing::{Deframer, MAX_FRAME, frame};
use super::handle::Command;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

/// Frames that wait to be written: a second of feedback. Media flows the other way.
const OUT_QUEUE: usize = 256;

/// A connection that says nothing for so long is closed; ICE checks come every few seconds.
const IDLE: Duration = Duration::from_secs(30);

/// A write that takes so long will not end.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// What connections tell the SFU's thread.
pub(super) enum FromTcp {
    /// A connection stands; `out` sends on it, and closes it when dropped.
    Opened { from: SocketAddr, out: mpsc::Sender<Vec<u8>> },
    /// A datagram came on it.
    Frame { from: SocketAddr, to: SocketAddr, payload: Vec<u8> },
    /// It is closed.
    Closed { from: SocketAddr },
}

/// The way into the thread.
#[derive(Clone)]
pub(super) struct ToThread {
    pub commands: mpsc::WeakSender<Command>,
    pub waker: hw::udp::Waker,
}

impl ToThread {
    /// Waits for room in the queue; says whether the thread still lives.
    async fn send(&self, message: FromTcp) -> bool {
        let Some(commands) = self.commands.upgrade() else { return false };
        let sent = commands.send(Command::Tcp(message)).await.is_ok();
        self.waker.wake();
        sent
    }
}

/// Accepts until the task is aborted.
pub(super) async fn accept(listener: TcpListener, most: usize, thread: ToThread) {
    let permits = Arc::new(Semaphore::new(most));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, usually: those of others close with time.
                tracing::warn!(%error, "ICE-TCP cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => {
                tokio::spawn(serve(stream, canonical(from), thread.clone(), permit));
            }
            Err(_) => metrics::counter!("proscenium_sfu_tcp_refused_total").increment(1),
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

async fn serve(
    stream: TcpStream,
    from: SocketAddr,
    thread: ToThread,
    _permit: OwnedSemaphorePermit,
) {
    // Feedback is small and late feedback is worthless.
    let local = stream.set_nodelay(true).and_then(|()| stream.local_addr());
    let Ok(to) = local.map(canonical) else { return };
    let (out, outgoing) = mpsc::channel(OUT_QUEUE);
    if thread.send(FromTcp::Opened { from, out }).await {
        carry(stream, from, to, &thread, outgoing).await;
        thread.send(FromTcp::Closed { from }).await;
    }
}

/// Until either end, silence or the thread ends it.
async fn carry(
    stream: TcpStream,
    from: SocketAddr,
    to: SocketAddr,
    thread: &ToThread,
    mut outgoing: mpsc::Receiver<Vec<u8>>,
) {
    let (mut reader, mut writer) = stream.into_split();
    let read = async {
        let mut deframer = Deframer::default();
        let mut buffer = vec![0; 8 * MAX_FRAME];
        let mut frames: Vec<Vec<u8>> = Vec::new();
        loop {
            let Ok(Ok(length @ 1..)) = timeout(IDLE, reader.read(&mut buffer)).await else {
                return;
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            let whole = deframer.push(bytes, |frame| frames.push(frame.to_vec()));
            for payload in frames.drain(..) {
                if !thread.send(FromTcp::Frame { from, to, payload }).await {
                    return;
                }
            }
            if whole.is_err() {
                return;
            }
        }
    };
    let write = async {
        let (mut batch, mut bytes) = (Vec::new(), Vec::new());
        while outgoing.recv_many(&mut batch, 64).await > 0 {
            bytes.clear();
            for datagram in batch.drain(..) {
                frame(&datagram, &mut bytes);
            }
            if !matches!(timeout(WRITE_PATIENCE, writer.write_all(&bytes)).await, Ok(Ok(()))) {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}
