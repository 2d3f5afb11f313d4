//! The ladder at work: one thread a rung, one stream of pictures in, samples of every rung out.
//!
//! Every queue is bounded by [`QUEUE`] pictures a rung. A full queue makes [`Ladder::push`] wait: the
//! grid has no holes, so a picture is never left out to save time. The waiting shows as lag, and lag
//! is what [`Shedding`](super::cadence::Shedding) acts on. A rung that takes nothing for [`STALL`] is
//! given up, so that the wait ends even if an encoder hangs.

use super::encoder_of;
use super::queue::{Queue, Refused};
use super::scaling::{Sizes, Tree};
use crate::link::wire::{OutputFormat, Rung, RungFigures, VideoCodec};
use bytes::Bytes;
use hw::codec::{CodecError, Picture, VideoEncoder, VideoEncoderConfig, VideoHeader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pictures that may wait for each rung: a quarter of a second at 30 frames a second.
pub const QUEUE: usize = 8;

/// A rung that takes no picture for this long is given up. Counted in [turns](TURN) of the thread
/// that waits: where the whole box is starved, that thread is too, and the time stretches.
pub const STALL: Duration = Duration::from_secs(10);

/// How long a wait lasts before it looks around.
const TURN: Duration = Duration::from_millis(20);

/// One encoded picture of one rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Which rung, by number in [`Ladder::rungs`].
    pub rung: usize,
    /// Its frame's number on the grid.
    pub frame: u64,
    /// Whether decoding can start here.
    pub key: bool,
    /// An mp4 sample.
    pub data: Bytes,
}

/// What comes out of the ladder. Samples of one rung come in order; rungs do not wait for each other.
#[derive(Debug)]
pub enum Output {
    /// A sample.
    Encoded(Encoded),
    /// A rung died. Nothing more comes of it; the others go on.
    Failed(LadderError),
}

/// Why a rung is not, or no longer, encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LadderError {
    /// Its encoder did not open, or broke.
    #[error("rung {name}: {error}")]
    Encoder {
        /// Which rung, by number.
        rung: usize,
        /// Its name.
        name: String,
        /// What happened.
        error: CodecError,
    },
    /// Its encoder hangs.
    #[error("rung {name}: the encoder took no picture for {} s", STALL.as_secs())]
    Stalled {
        /// Which rung, by number.
        rung: usize,
        /// Its name.
        name: String,
    },
    /// Its thread could not be started.
    #[error("rung {name}: no thread: {said}")]
    Thread {
        /// Which rung, by number.
        rung: usize,
        /// Its name.
        name: String,
        /// What the system said.
        said: String,
    },
    /// There is no H.264 rung to encode.
    #[error("no H.264 rung can be encoded{}", .0.as_ref().map(|e| format!(": {e}")).unwrap_or_default())]
    NoH264(Option<Box<LadderError>>),
    /// Frames must come in order.
    #[error("frame {got} after frame {last}: frame numbers rise by one")]
    Order {
        /// The last frame taken.
        last: u64,
        /// The one that came.
        got: u64,
    },
    /// Scaling is impossible.
    #[error("scaling: {0}")]
    Scaling(CodecError),
}

impl LadderError {
    /// The number of the rung at fault, where one is.
    pub fn rung(&self) -> Option<usize> {
        match self {
            Self::Encoder { rung, .. } | Self::Stalled { rung, .. } | Self::Thread { rung, .. } => {
                Some(*rung)
            }
            Self::NoH264(_) | Self::Order { .. } | Self::Scaling(_) => None,
        }
    }
}

/// A picture on its way to one rung.
struct Job {
    frame: u64,
    key: bool,
    sizes: Arc<Sizes>,
}

/// What an encoder thread says.
enum Said {
    Encoded(Encoded),
    Failed(usize, CodecError),
}

#[derive(Default)]
struct Counters {
    encoded: AtomicU64,
    dropped: AtomicU64,
    encode_us: AtomicU64,
    bytes: AtomicU64,
}

struct Worker {
    rung: Rung,
    header: VideoHeader,
    jobs: Queue<Job>,
    counters: Arc<Counters>,
    /// The thread has said its last.
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Not given up.
    live: bool,
}

/// All rungs of a class, at work.
pub struct Ladder {
    workers: Vec<Worker>,
    said: Queue<Said>,
    canvas: (u32, u32),
    tree: Arc<Tree>,
    last: Option<u64>,
    left_out: Vec<LadderError>,
    /// [`STALL`], except in tests.
    stall: Duration,
}

impl Ladder {
    /// Opens an encoder a rung and starts their threads. Pictures will be of the size `canvas`
    /// (width, height). `notify` is called, from the encoders' threads, after something came out:
    /// for a caller that waits for other things too.
    ///
    /// A rung whose encoder does not open is [left out](Ladder::left_out); numbers of rungs are
    /// those of [`Ladder::rungs`].
    ///
    /// # Errors
    /// No H.264 encoder opens.
    pub fn start(
        rungs: &[Rung],
        format: &OutputFormat,
        canvas: (u32, u32),
        notify: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, LadderError> {
        // Threads take a job each and say one thing a job, so this never fills while the caller
        // drains at each push; if a caller does not, encoders wait for it.
        let said = Queue::new(rungs.len().max(1) * (QUEUE + 4));
        let notify: Arc<dyn Fn() + Send + Sync> = Arc::new(notify);
        let mut workers: Vec<Worker> = Vec::new();
        let mut left_out = Vec::new();
        for (asked, rung) in rungs.iter().enumerate() {
            let name = || rung.name.clone();
            let encoder = match VideoEncoder::open(&encoder_config(rung, format)) {
                Ok(encoder) => encoder,
                Err(error) => {
                    left_out.push(LadderError::Encoder { rung: asked, name: name(), error });
                    continue;
                }
            };
            let header = encoder.header().clone();
            let jobs = Queue::new(QUEUE);
            let counters = Arc::new(Counters::default());
            let done = Arc::new(AtomicBool::new(false));
            let bench = Bench {
                rung: workers.len(),
                size: (rung.width, rung.height),
                encoder,
                jobs: jobs.clone(),
                said: said.clone(),
                counters: Arc::clone(&counters),
                done: Arc::clone(&done),
                notify: Arc::clone(&notify),
            };
            // Thread names are cut off at 15 bytes.
            let builder = std::thread::Builder::new().name(format!("rung {}", rung.name));
            match builder.spawn(move || bench.run()) {
                Ok(thread) => workers.push(Worker {
                    rung: rung.clone(),
                    header,
                    jobs,
                    counters,
                    done,
                    thread: Some(thread),
                    live: true,
                }),
                Err(error) => {
                    let said = error.to_string();
                    left_out.push(LadderError::Thread { rung: asked, name: name(), said });
                }
            }
        }
        if !workers.iter().any(|worker| worker.rung.codec == VideoCodec::H264) {
            return Err(LadderError::NoH264(left_out.pop().map(Box::new)));
        }
        let tree = Arc::new(Tree::new(canvas, &sizes(&workers)).map_err(LadderError::Scaling)?);
        Ok(Self { workers, said, canvas, tree, last: None, left_out, stall: STALL })
    }

    /// The rungs at work, in the order asked for. Their positions are their numbers, and stay even
    /// when a rung is given up.
    pub fn rungs(&self) -> impl ExactSizeIterator<Item = &Rung> {
        self.workers.iter().map(|worker| &worker.rung)
    }

    /// Each rung's share of the init segment.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = &VideoHeader> {
        self.workers.iter().map(|worker| &worker.header)
    }

    /// Rungs asked for whose encoders did not open; numbers are those asked with.
    pub fn left_out(&self) -> &[LadderError] {
        &self.left_out
    }

    /// Whether a rung is still encoded.
    pub fn is_live(&self, rung: usize) -> bool {
        self.workers.get(rung).is_some_and(|worker| worker.live)
    }

    /// Gives the next picture to every rung, a key frame if `key` says so (the first always is).
    /// Adds to `out` what has come out meanwhile. Waits while a rung's queue is full; see the module.
    ///
    /// # Errors
    /// [`LadderError::Order`], [`LadderError::Scaling`] if the picture is not of the canvas' size;
    /// the ladder goes on. [`LadderError::NoH264`]: the last H.264 rung died, start anew.
    pub fn push(
        &mut self,
        frame: u64,
        picture: Picture,
        key: bool,
        out: &mut Vec<Output>,
    ) -> Result<(), LadderError> {
        if let Some(last) = self.last
            && frame != last + 1
        {
            return Err(LadderError::Order { last, got: frame });
        }
        if picture.size() != self.canvas {
            return Err(LadderError::Scaling(CodecError::Size {
                what: "ladder",
                width: picture.width(),
                height: picture.height(),
                rule: format!("it was started for {}x{}", self.canvas.0, self.canvas.1),
            }));
        }
        let key = key || self.last.is_none();
        self.last = Some(frame);
        let sizes = Arc::new(Sizes::new(Arc::clone(&self.tree), picture));
        for rung in 0..self.workers.len() {
            let mut job = Job { frame, key, sizes: Arc::clone(&sizes) };
            let mut progress = (self.workers[rung].jobs.taken(), 0);
            while self.workers[rung].live {
                match self.workers[rung].jobs.push(job, TURN) {
                    Ok(()) => break,
                    Err(Refused::Closed) => break,
                    Err(Refused::Full(back)) => job = back,
                }
                // While one rung is waited for, the others' output is taken, so nobody is stuck.
                self.poll(out)?;
                let taken = self.workers[rung].jobs.taken();
                if taken != progress.0 {
                    progress = (taken, 0);
                    continue;
                }
                progress.1 += 1;
                if TURN * progress.1 > self.stall {
                    let name = self.workers[rung].rung.name.clone();
                    self.give_up(LadderError::Stalled { rung, name }, rung, out)?;
                }
            }
        }
        self.poll(out)
    }

    /// Adds to `out` what has come out since it was last asked; does not wait.
    ///
    /// # Errors
    /// [`LadderError::NoH264`]: the last H.264 rung died.
    pub fn poll(&mut self, out: &mut Vec<Output>) -> Result<(), LadderError> {
        while let Some(said) = self.said.pop(Duration::ZERO) {
            self.take(said, out)?;
        }
        Ok(())
    }

    /// As [`Ladder::poll`], but waits up to `patience` for the first output.
    ///
    /// # Errors
    /// As [`Ladder::poll`].
    pub fn wait(&mut self, patience: Duration, out: &mut Vec<Output>) -> Result<(), LadderError> {
        if let Some(said) = self.said.pop(patience) {
            self.take(said, out)?;
        }
        self.poll(out)
    }

    fn take(&mut self, said: Said, out: &mut Vec<Output>) -> Result<(), LadderError> {
        match said {
            // A rung that was given up may still have said something before.
            Said::Encoded(encoded) if self.is_live(encoded.rung) => {
                out.push(Output::Encoded(encoded));
                Ok(())
            }
            Said::Failed(rung, error) if self.is_live(rung) => {
                let name = self.workers[rung].rung.name.clone();
                self.give_up(LadderError::Encoder { rung, name, error }, rung, out)
            }
            Said::Encoded(_) | Said::Failed(..) => Ok(()),
        }
    }

    fn give_up(
        &mut self,
        error: LadderError,
        rung: usize,
        out: &mut Vec<Output>,
    ) -> Result<(), LadderError> {
        tracing::warn!(target: "ladder", "{error}");
        self.drop_rung(rung);
        out.push(Output::Failed(error.clone()));
        let h264 = |worker: &&Worker| worker.live && worker.rung.codec == VideoCodec::H264;
        match self.workers.iter().any(|worker| h264(&worker)) {
            true => Ok(()),
            false => Err(LadderError::NoH264(Some(Box::new(error)))),
        }
    }

    /// Gives a rung up, so that the others stay live: what waits for it is thrown away, and nothing
    /// more comes of it.
    pub fn drop_rung(&mut self, rung: usize) {
        let Some(worker) = self.workers.get_mut(rung).filter(|worker| worker.live) else { return };
        worker.live = false;
        let dropped = worker.jobs.abort() as u64;
        worker.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
        // Sizes that only this rung needed are not to be steps to others any more.
        if let Ok(tree) = Tree::new(self.canvas, &sizes(&self.workers)) {
            self.tree = Arc::new(tree);
        }
    }

    /// Pictures waiting for the rung that is furthest behind.
    pub fn backlog(&self) -> usize {
        let live = self.workers.iter().filter(|worker| worker.live);
        live.map(|worker| worker.jobs.len()).max().unwrap_or(0)
    }

    /// Each rung's figures so far; live or not.
    pub fn figures(&self) -> Vec<RungFigures> {
        let of = |worker: &Worker| RungFigures {
            encoded: worker.counters.encoded.load(Ordering::Relaxed),
            dropped: worker.counters.dropped.load(Ordering::Relaxed),
            encode_us: worker.counters.encode_us.load(Ordering::Relaxed),
            bytes: worker.counters.bytes.load(Ordering::Relaxed),
        };
        self.workers.iter().map(of).collect()
    }

    /// Ends the stream: every rung encodes what waits for it and gives out all it has, within
    /// `patience`. Whether all rungs managed that.
    ///
    /// # Errors
    /// [`LadderError::NoH264`]: the last H.264 rung died while at it.
    pub fn finish(
        mut self,
        patience: Duration,
        out: &mut Vec<Output>,
    ) -> Result<bool, LadderError> {
        for worker in &self.workers {
            worker.jobs.close();
        }
        let until = Instant::now() + patience;
        loop {
            // Read before polling: what a thread said before it was done is then in the queue.
            let busy = |worker: &Worker| worker.live && !worker.done.load(Ordering::Acquire);
            let all_done = !self.workers.iter().any(busy);
            self.poll(out)?;
            if all_done {
                break;
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            self.wait(TURN, out)?;
        }
        for worker in self.workers.iter_mut().filter(|worker| worker.live) {
            // Done means that it is about to return.
            worker.thread.take().map(JoinHandle::join);
        }
        Ok(true)
    }
}

impl Drop for Ladder {
    fn drop(&mut self) {
        // Threads end by themselves; one that hangs in its encoder must not hang the caller too.
        for worker in &self.workers {
            worker.jobs.abort();
        }
        self.said.abort();
    }
}

fn sizes(workers: &[Worker]) -> Vec<(u32, u32)> {
    let live = workers.iter().filter(|worker| worker.live);
    live.map(|worker| (worker.rung.width, worker.rung.height)).collect()
}

/// A rung's encoder settings.
pub fn encoder_config(rung: &Rung, format: &OutputFormat) -> VideoEncoderConfig {
    VideoEncoderConfig {
        preset: rung.preset.clone(),
        gop_frames: format.gop_frames,
        threads: rung.threads,
        // A class is slides and screens first; a camera's picture takes no harm from these tools.
        screen: true,
        ..VideoEncoderConfig::live(
            encoder_of(rung.codec),
            rung.width,
            rung.height,
            format.fps,
            rung.bitrate.0,
        )
    }
}

/// What one encoder thread works with.
struct Bench {
    rung: usize,
    size: (u32, u32),
    encoder: VideoEncoder,
    jobs: Queue<Job>,
    said: Queue<Said>,
    counters: Arc<Counters>,
    done: Arc<AtomicBool>,
    notify: Arc<dyn Fn() + Send + Sync>,
}

impl Bench {
    fn run(mut self) {
        if let Err(error) = self.work() {
            self.jobs.abort();
            self.say(Said::Failed(self.rung, error));
        }
        self.done.store(true, Ordering::Release);
        (self.notify)();
    }

    fn work(&mut self) -> Result<(), CodecError> {
        let mut out = Vec::new();
        loop {
            let Some(job) = self.jobs.pop(Duration::from_secs(1)) else {
                if self.jobs.is_closed() && self.jobs.len() == 0 {
                    break;
                }
                continue;
            };
            let picture = job.sizes.get(self.size)?;
            // The other sizes need not outlive the scaling of this one.
            drop(job.sizes);
            let started = Instant::now();
            self.encoder.encode(&picture, job.frame as i64, job.key, &mut out)?;
            let us = started.elapsed().as_micros() as u64;
            self.counters.encode_us.fetch_add(us, Ordering::Relaxed);
            self.give(&mut out);
        }
        self.encoder.flush(&mut out)?;
        self.give(&mut out);
        Ok(())
    }

    fn give(&self, out: &mut Vec<hw::codec::Encoded>) {
        for sample in out.drain(..) {
            let frame = sample.frame.max(0) as u64; // it was a u64
            self.counters.encoded.fetch_add(1, Ordering::Relaxed);
            self.counters.bytes.fetch_add(sample.data.len() as u64, Ordering::Relaxed);
            let (rung, key, data) = (self.rung, sample.key, sample.data);
            self.say(Said::Encoded(Encoded { rung, frame, key, data }));
        }
    }

    /// Says something, waiting for room as long as anybody listens.
    fn say(&self, mut said: Said) {
        while let Err(Refused::Full(back)) = self.said.push(said, Duration::from_secs(1)) {
            said = back;
        }
        (self.notify)();
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
