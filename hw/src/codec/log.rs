//! FFmpeg's log goes to `tracing`, target `ffmpeg`.
//!
//! FFmpeg logs through one process-wide callback, from any thread. A decoder that is fed garbage
//! writes thousands of lines a second, so lines are limited to [`LINES_A_SECOND`] and the rest
//! counted. While a codec is being opened, the opening thread also keeps its lines, so that an
//! [`OpenError`](super::OpenError) can say what FFmpeg said: error codes alone do not tell a missing
//! driver from a wrong option.

use super::ff;
use std::cell::RefCell;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// More lines than this in one second are counted, not written.
pub const LINES_A_SECOND: u32 = 20;

/// Most lines kept while a codec is being opened.
const KEPT: usize = 16;

/// FFmpeg's levels, less severe is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Something cannot go on: panic and fatal.
    Fatal,
    /// An operation failed; for a decoder that is often only bad input.
    Error,
    /// Something looks wrong.
    Warning,
    /// All else.
    Chatter,
}

thread_local! {
    static KEEPING: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Sends FFmpeg's log to `tracing` and asks SVT-AV1, which writes to standard error by itself, to
/// keep to errors. Every codec calls this when it is opened; a program calls it first thing in
/// `main`, because SVT-AV1 takes its level from the environment, which can only be changed safely
/// while no other thread runs. With other threads about, that part is left out.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        ff::quiet_svt_av1();
        ff::set_log_callback();
    });
}

/// Whether anyone reads lines of this severity, so that formatting can be saved.
pub(super) fn wanted(severity: Severity) -> bool {
    let read = match severity {
        Severity::Fatal => tracing::enabled!(target: "ffmpeg", tracing::Level::ERROR),
        Severity::Error => tracing::enabled!(target: "ffmpeg", tracing::Level::WARN),
        Severity::Warning => tracing::enabled!(target: "ffmpeg", tracing::Level::INFO),
        Severity::Chatter => tracing::enabled!(target: "ffmpeg", tracing::Level::DEBUG),
    };
    read || (severity < Severity::Chatter && KEEPING.with_borrow(Option::is_some))
}

/// Takes one formatted line.
pub(super) fn line(severity: Severity, text: &str) {
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    if severity < Severity::Chatter {
        KEEPING.with_borrow_mut(|kept| {
            if let Some(lines) = kept
                && lines.len() < KEPT
            {
                lines.push(strip_address(text).to_owned());
            }
        });
    }
    if !within_limit() {
        return;
    }
    match severity {
        Severity::Fatal => tracing::error!(target: "ffmpeg", "{text}"),
        Severity::Error => tracing::warn!(target: "ffmpeg", "{text}"),
        Severity::Warning => tracing::info!(target: "ffmpeg", "{text}"),
        Severity::Chatter => tracing::debug!(target: "ffmpeg", "{text}"),
    }
}

/// Runs `work` and gives back what FFmpeg complained about meanwhile on this thread.
pub(super) fn keeping<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    install();
    KEEPING.set(Some(Vec::new()));
    let result = work();
    (result, KEEPING.take().unwrap_or_default())
}

/// `[libx264 @ 0x55d0c8] text` without the address, which differs from run to run.
fn strip_address(text: &str) -> &str {
    match text.split_once("] ") {
        Some((head, tail)) if head.starts_with('[') && head.contains(" @ 0x") => tail,
        _ => text,
    }
}

fn within_limit() -> bool {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    static SECOND: AtomicU64 = AtomicU64::new(0);
    static LINES: AtomicU32 = AtomicU32::new(0);
    let second = START.get_or_init(Instant::now).elapsed().as_secs() + 1;
    if SECOND.swap(second, Ordering::Relaxed) != second {
        let hidden = LINES.swap(0, Ordering::Relaxed).saturating_sub(LINES_A_SECOND);
        if hidden > 0 {
            tracing::warn!(target: "ffmpeg", hidden, "more log lines than are worth keeping");
        }
    }
    LINES.fetch_add(1, Ordering::Relaxed) < LINES_A_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_from_kept_lines() {
        assert_eq!(strip_address("[libx264 @ 0x55d0c8] broken"), "broken");
        assert_eq!(strip_address("plain [x] text"), "plain [x] text");
    }

    #[test]
    fn lines_are_kept_only_while_asked() {
        line(Severity::Error, "before");
        let ((), lines) = keeping(|| {
            line(Severity::Error, "[a @ 0x1] one\n");
            line(Severity::Chatter, "not this");
            for _ in 0..100 {
                line(Severity::Warning, "flood");
            }
        });
        assert_eq!(lines[0], "one");
        assert_eq!(lines.len(), KEPT);
        let ((), lines) = keeping(|| {});
        assert!(lines.is_empty());
    }
}
