//! Child processes, the sockets that reach them, and the walls around them.
//!
//! A child is this program's own executable, started with exactly the descriptors it is given (3, 4,
//! 5, ...), an almost empty environment, and no way to gain rights. It dies with the process that
//! started it, however that ends. [`sandbox`] is what the child puts on itself once it is set up.

mod bell;
mod inherited;
mod pollable;
mod sandbox;
mod socket;
mod spawn;

pub use bell::Bell;
pub use inherited::{InheritError, inherited};
pub use pollable::{pollable_child, pollable_socket};
pub use sandbox::{SandboxError, sandbox};
pub use socket::{Received, SeqPacket, wait};
pub use spawn::{Child, Exit, Spawn, SpawnError, spawn};
