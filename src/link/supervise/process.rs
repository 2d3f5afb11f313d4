//! One transcoder's process and both ways of hearing from it.

use super::Launch;
use crate::link::wire::{self, FromTranscoder, MAX_MESSAGE, ToTranscoder};
use hw::process::{Child, Received, SeqPacket, Spawn, SpawnError, pollable_child, pollable_socket};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// See the module. Dropping it kills the process.
pub(super) struct Process {
    pub(super) child: AsyncFd<Child>,
    pub(super) socket: AsyncFd<SeqPacket>,
    pub(super) buffer: Vec<u8>,
}

impl Process {
    /// Starts a process, which inherits `fds` besides its end of the socket, and tells it its first `order`.
    pub(super) async fn start(
        launch: &Launch,
        fds: Vec<OwnedFd>,
        order: &ToTranscoder,
    ) -> Result<Self, String> {
        let order = wire::encode(order).map_err(|e| e.to_string())?;
        let (socket, theirs) = SeqPacket::pair().map_err(|e| format!("socket pair: {e}"))?;
        let fds = std::iter::once(theirs.into()).chain(fds).collect();
        let Launch { exe, args, env } = launch.clone();
        let what = Spawn { exe, args, env, fds };
        // fork and exec take milliseconds, more on a loaded box.
        let spawned = tokio::task::spawn_blocking(move || hw::process::spawn(what)).await;
        let child = spawned.map_err(|e| e.to_string())?.map_err(|e: SpawnError| e.to_string())?;
        socket.send(&order, None).map_err(|e| format!("send the first order: {e}"))?;
        let child = pollable_child(child).map_err(|e| e.to_string())?;
        let socket = pollable_socket(socket).map_err(|e| e.to_string())?;
        Ok(Self { child, socket, buffer: vec![0; MAX_MESSAGE] })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.get_ref().pid()
    }

    /// Tells it something.
    pub(super) fn tell(&self, order: &ToTranscoder) -> Result<(), String> {
        let order = wire::encode(order).map_err(|e| e.to_string())?;
        self.socket.get_ref().send(&order, None).map_err(|e| e.to_string())
    }

    /// The next message of one that has no part to send.
    pub(super) async fn message(&mut self) -> Result<FromTranscoder, String> {
        match next(&self.socket, &mut self.buffer).await {
            Ok(Received::Message { len, fd: None }) => {
                wire::decode(self.buffer.get(..len).unwrap_or_default()).map_err(|e| e.to_string())
            }
            Ok(Received::Message { .. }) => Err("sent a descriptor".into()),
            Ok(Received::Broken(why)) => Err(why.into()),
            Ok(Received::Closed) => Err("ended".into()),
            Err(e) => Err(format!("socket: {e}")),
        }
    }
}

/// The next datagram.
pub(super) async fn next(socket: &AsyncFd<SeqPacket>, buffer: &mut [u8]) -> io::Result<Received> {
    loop {
        let mut ready = socket.readable().await?;
        if let Ok(result) = ready.try_io(|socket| socket.get_ref().recv(buffer)) {
            return result;
        }
    }
}
