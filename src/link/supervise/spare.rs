//! The spare: a transcoder that waits, its encoders open and itself locked in, for the one at work to die. Then it
//! need only be told where to go on.

use super::Config;
use super::process::Process;
use crate::link::wire::FromTranscoder;
use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Parts that the transcoder at work makes before a spare is started: it needs the box for itself while it begins,
/// and even more while it catches up with its predecessor.
const AFTER_PARTS: u64 = 12;
/// How long after a spare was lost the next is tried.
const AGAIN: Duration = Duration::from_secs(15);

/// What became of it.
pub(super) enum News {
    /// One is to be started.
    Due,
    /// It is there and waits.
    Ready,
    /// It is gone.
    Lost(String),
}

/// See the module.
pub(super) struct Spare {
    wanted: bool,
    patience: Duration,
    state: State,
}

enum State {
    None { not_before: Instant },
    Preparing { process: Box<Process>, until: Instant },
    Ready(Box<Process>),
}

impl Spare {
    pub(super) fn new(config: &Config) -> Self {
        let state = State::None { not_before: Instant::now() };
        Self { wanted: config.spare, patience: config.first_part.0, state }
    }

    /// Waits for news; `parts` is what the transcoder at work has made. May be dropped and called again.
    pub(super) async fn news(&mut self, parts: u64) -> News {
        match &mut self.state {
            State::None { not_before } if self.wanted && parts >= AFTER_PARTS => {
                sleep_until(*not_before).await;
                News::Due
            }
            State::None { .. } => pending().await,
            State::Preparing { process, until } => loop {
                tokio::select! {
                    () = sleep_until(*until) => return self.lose("was not ready in time".into()),
                    message = process.message() => match message {
                        Ok(FromTranscoder::Hello { pid }) if pid == process.pid() => {}
                        Ok(FromTranscoder::Ready) => {
                            let none = State::None { not_before: Instant::now() };
                            if let State::Preparing { process, .. } = std::mem::replace(&mut self.state, none) {
                                self.state = State::Ready(process);
                            }
                            return News::Ready;
                        }
                        Ok(_) => return self.lose("said something else than that it is ready".into()),
                        Err(why) => return self.lose(why),
                    },
                }
            },
            State::Ready(process) => {
                let why = match process.message().await {
                    Ok(_) => "spoke without being asked".into(),
                    Err(why) => why,
                };
                self.lose(why)
            }
        }
    }

    fn lose(&mut self, why: String) -> News {
        // Dropping it ends it, if it has not ended by itself.
        self.state = State::None { not_before: Instant::now() + AGAIN };
        News::Lost(why)
    }

    /// One was started, and told what to prepare.
    pub(super) fn started(&mut self, process: Process) {
        let until = Instant::now() + self.patience;
        self.state = State::Preparing { process: Box::new(process), until };
    }

    /// None could be started.
    pub(super) fn failed(&mut self) {
        self.state = State::None { not_before: Instant::now() + AGAIN };
    }

    /// Whether it could take over at once.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// The spare, if it is ready. One that is still preparing goes on with that.
    pub(super) fn take(&mut self) -> Option<Process> {
        if !self.is_ready() {
            return None;
        }
        match std::mem::replace(&mut self.state, State::None { not_before: Instant::now() }) {
            State::Ready(process) => Some(*process),
            _ => None,
        }
    }
}
