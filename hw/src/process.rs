//! Child processes and the sockets that reach them.
