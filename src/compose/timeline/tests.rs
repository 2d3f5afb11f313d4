//! The timeline on a virtual clock: hours of seeded jitter, loss and lies in seconds.
#![allow(clippy::unwrap_used)]

use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SETTINGS: Settings = Settings { playout_delay_us: 250_000 };
const SOURCE: SourceId = SourceId(1);
const AUDIO: TrackId = TrackId(1);
const VIDEO: TrackId = TrackId(2);

/// One stream of a simulated publisher. Times are seconds of the box's clock.
struct Stream {
    track: TrackId,
    rate: u32,
    audio: bool,
    interval: f64,
    starts: f64,
    /// How fast the stream's RTP clock runs against the box's, ppm.
    ppm: f64,
    rtp_base: u32,
    /// Way through encoder and network: constant, and random on top.
    delay: f64,
    jitter: f64,
    report_every: f64,
    /// Random error of the reports' NTP time, seconds to each side.
    report_error: f64,
    loss: f64,
}

impl Stream {
    fn audio() -> Self {
        Self {
            track: AUDIO,
            rate: 48_000,
            audio: true,
            interval: 0.02,
            starts: 0.0,
            ppm: 0.0,
            rtp_base: 0xFFFF_0000,
            delay: 0.03,
            jitter: 0.03,
            report_every: 5.0,
            report_error: 0.0,
            loss: 0.05,
        }
    }

    fn video() -> Self {
        Self {
            track: VIDEO,
            rate: 90_000,
            audio: false,
            interval: 1.0 / 30.0,
            delay: 0.08,
            rtp_base: 0xFFF0_0000,
            report_every: 1.0,
            ..Self::audio()
        }
    }

    fn rtp(&self, captured: f64) -> u32 {
        let ticks = captured * (1.0 + self.ppm / 1e6) * f64::from(self.rate);
        self.rtp_base.wrapping_add(ticks.round() as i64 as u32)
    }
}

/// NTP time the sender's wall clock shows.
fn ntp(seconds: f64) -> u64 {
    ((3.9e9 + seconds) * 4_294_967_296.0) as u64
}

type Check<'a> = &'a mut dyn FnMut(f64, &BTreeMap<TrackId, f64>, &Timeline);

struct Run<'a> {
    streams: Vec<Stream>,
    seconds: f64,
    seed: u64,
    /// The sender's wall clock against the box's, at a time.
    wall: &'a dyn Fn(f64) -> f64,
    /// Called every second: (time, host time of a capture at that time by each stream).
    check: Check<'a>,
}

fn simulate(run: Run<'_>) -> Timeline {
    let mut rng = StdRng::seed_from_u64(run.seed);
    let mut timeline = Timeline::new(SETTINGS);
    timeline.start(HostTime(0));
    enum Event {
        Packet(usize, f64),
        Report(usize, f64, u64),
    }
    // Events by arrival, generated second by second so that hours fit in memory.
    let mut next_packet: Vec<f64> = run.streams.iter().map(|s| s.starts).collect();
    let mut next_report: Vec<f64> =
        run.streams.iter().map(|s| s.starts + s.report_every / 2.0).collect();
    let mut second = 0.0;
    let mut pending: Vec<(f64, Event)> = Vec::new();
    let mut last: BTreeMap<TrackId, i64> = BTreeMap::new();
    while second < run.seconds {
        for (index, stream) in run.streams.iter().enumerate() {
            while next_packet[index] < second + 1.0 {
                let captured = next_packet[index];
                next_packet[index] += stream.interval;
                if rng.random::<f64>() >= stream.loss {
                    let way = stream.delay + rng.random::<f64>().powi(2) * stream.jitter;
                    pending.push((captured + way, Event::Packet(index, captured)));
                }
            }
            while next_report[index] < second + 1.0 {
                let at = next_report[index];
                next_report[index] += stream.report_every * rng.random_range(0.5..1.5);
                let error = rng.random_range(-1.0..=1.0) * stream.report_error;
                pending.push((
                    at + stream.delay,
                    Event::Report(index, at, ntp(at + (run.wall)(at) + error)),
                ));
            }
        }
        second += 1.0;
        pending.sort_by(|a, b| a.0.total_cmp(&b.0));
        let due = pending.partition_point(|(at, _)| *at < second);
        for (at, event) in pending.drain(..due) {
            let arrived = HostTime((at * 1e6) as i64);
            match event {
                Event::Packet(index, captured) => {
                    let s = &run.streams[index];
                    let rtp =
                        timeline.on_rtp(SOURCE, s.track, s.rate, s.audio, s.rtp(captured), arrived);
                    last.insert(s.track, rtp);
                }
                Event::Report(index, at, ntp) => {
                    let s = &run.streams[index];
                    timeline.on_report(s.track, ntp, s.rtp(at), arrived);
                }
            }
        }
        let placed = run.streams.iter().filter_map(|s| {
            // What was captured at this very second, in unwrapped RTP time.
            let near = *last.get(&s.track)?;
            let rtp = near + i64::from(s.rtp(second).wrapping_sub(near as u32) as i32);
            Some((s.track, timeline.media_of(s.track, rtp)?.as_secs_f64()))
        });
        (run.check)(second, &placed.collect(), &timeline);
    }
    timeline
}

/// Largest |A-V| in milliseconds after `from` seconds.
fn worst(
    streams: Vec<Stream>,
    seconds: f64,
    from: f64,
    wall: &dyn Fn(f64) -> f64,
    seed: u64,
) -> f64 {
    let mut worst: f64 = 0.0;
    let mut check = |at: f64, placed: &BTreeMap<TrackId, f64>, _: &Timeline| {
        if let (Some(a), Some(v), true) = (placed.get(&AUDIO), placed.get(&VIDEO), at >= from) {
            worst = worst.max((a - v).abs() * 1000.0);
        }
    };
    simulate(Run { streams, seconds, seed, wall, check: &mut check });
    worst
}

#[test]
fn sound_and_picture_that_start_three_seconds_apart_are_in_step() {
    for (audio_starts, video_starts) in [(0.0, 3.0), (3.0, 0.0)] {
        let streams = vec![
            Stream { starts: audio_starts, ..Stream::audio() },
            Stream { starts: video_starts, ..Stream::video() },
        ];
        // Once each has sent its first report.
        let worst = worst(streams, 60.0, 3.0 + 7.6, &|_| 0.0, 1);
        assert!(worst <= 5.0, "{worst:.1} ms");
    }
}

#[test]
fn clocks_200_ppm_apart_stay_within_20_ms_for_four_hours() {
    for (audio_ppm, video_ppm, seed) in [(100.0, -100.0, 2), (-200.0, 0.0, 3), (200.0, 200.0, 4)] {
        let streams = vec![
            Stream { ppm: audio_ppm, ..Stream::audio() },
            Stream { ppm: video_ppm, ..Stream::video() },
        ];
        let worst = worst(streams, 4.0 * 3600.0, 10.0, &|at| at * 50e-6, seed);
        assert!(worst <= 10.0, "{audio_ppm}/{video_ppm} ppm: {worst:.1} ms");
    }
}

#[test]
fn latency_does_not_creep_while_clocks_drift() {
    // Against the box's own clock: after four hours at 200 ppm a naive mapping is 2.9 s off.
    let streams =
        vec![Stream { ppm: 200.0, ..Stream::audio() }, Stream { ppm: 200.0, ..Stream::video() }];
    let mut worst: f64 = 0.0;
    let mut check = |at: f64, placed: &BTreeMap<TrackId, f64>, _: &Timeline| {
        if at > 10.0 {
            worst = worst.max((placed[&AUDIO] - at - 0.03).abs());
        }
    };
    simulate(Run { streams, seconds: 4.0 * 3600.0, seed: 5, wall: &|_| 0.0, check: &mut check });
    assert!(worst < 0.012, "{worst:.4} s");
}

#[test]
fn reports_stamped_badly_do_not_shake_the_picture() {
    let streams = vec![
        Stream { report_error: 0.02, ..Stream::audio() },
        Stream { report_error: 0.02, ..Stream::video() },
    ];
    let worst = worst(streams, 3600.0, 330.0, &|_| 0.0, 6);
    assert!(worst <= 20.0, "{worst:.1} ms");
}

#[test]
fn a_stepping_wall_clock_at_the_sender_is_not_seen() {
    for step in [-5.0, 0.4, 3600.0] {
        let streams = vec![Stream::audio(), Stream::video()];
        let wall = move |at: f64| if at > 60.0 { step } else { 0.0 };
        let worst = worst(streams, 180.0, 10.0, &wall, 7);
        assert!(worst <= 10.0, "step {step}: {worst:.1} ms");
    }
}

#[test]
fn without_reports_streams_are_tied_to_their_arrival() {
    let never = 1e9;
    let streams = vec![
        Stream { report_every: never, ..Stream::audio() },
        Stream { report_every: never, ..Stream::video() },
    ];
    let worst = worst(streams, 300.0, 1.0, &|_| 0.0, 8);
    assert!((40.0..70.0).contains(&worst), "the video's 50 ms longer way is all: {worst:.1} ms");
}

#[test]
fn reports_of_unrelated_clocks_are_not_believed() {
    // Video's reports count from its boot, audio's from 1900: the difference is no lip sync.
    let mut timeline = Timeline::new(SETTINGS);
    timeline.start(HostTime(0));
    for ms in (0..60_000i64).step_by(20) {
        let arrived = HostTime(ms * 1000);
        timeline.on_rtp(SOURCE, AUDIO, 48_000, true, (ms * 48) as u32, arrived);
        timeline.on_rtp(SOURCE, VIDEO, 90_000, false, (ms * 90) as u32, arrived);
        if ms % 1000 == 0 {
            timeline.on_report(AUDIO, ntp(ms as f64 / 1e3), (ms * 48) as u32, arrived);
            timeline.on_report(VIDEO, ntp(ms as f64 / 1e3 + 40.0), (ms * 90) as u32, arrived);
        }
    }
    let (a, v) = (
        timeline.media_of(AUDIO, 59_000 * 48).unwrap(),
        timeline.media_of(VIDEO, 59_000 * 90).unwrap(),
    );
    assert!((a - v).as_micros().abs() < 2_000, "{a:?} {v:?}");
}

#[test]
fn sound_never_moves_faster_than_the_resampler_can_follow() {
    let streams = vec![
        Stream { jitter: 0.2, ppm: 150.0, report_error: 0.01, ..Stream::audio() },
        Stream { starts: 2.0, ..Stream::video() },
    ];
    let mut before: Option<(f64, f64)> = None;
    let mut check = |at: f64, placed: &BTreeMap<TrackId, f64>, _: &Timeline| {
        let now = placed[&AUDIO];
        if let Some((then, was)) = before {
            let speed = (now - was) / (at - then);
            assert!(at < 2.0 || (speed - 1.0).abs() < 0.005, "at {at}: {speed}");
        }
        before = Some((at, now));
    };
    simulate(Run { streams, seconds: 1200.0, seed: 9, wall: &|_| 0.0, check: &mut check });
}

#[test]
fn a_source_that_jumps_is_followed_within_a_second() {
    for jump in [-3_000_000i64, 48_000 * 30, 1 << 31] {
        let mut timeline = Timeline::new(SETTINGS);
        timeline.start(HostTime(0));
        let mut last = 0;
        for step in 0..1000i64 {
            let extra = if step >= 500 { jump } else { 0 };
            let arrived = HostTime(step * 20_000);
            last =
                timeline.on_rtp(SOURCE, AUDIO, 48_000, true, (step * 960 + extra) as u32, arrived);
            let placed = timeline.media_of(AUDIO, last).unwrap().as_micros();
            if !(500..550).contains(&step) {
                assert!((placed - arrived.0).abs() < 5_000, "jump {jump}, step {step}: {placed}");
            }
        }
        assert_eq!(timeline.jumps(), 1, "jump {jump}, {last}");
    }
}

#[test]
fn a_stalled_network_is_no_jump() {
    let mut timeline = Timeline::new(SETTINGS);
    timeline.start(HostTime(0));
    for step in 0..500i64 {
        // Two seconds of packets arrive late, in a burst.
        let made = step * 20_000;
        let arrived = HostTime(if (200..300).contains(&step) { 6_000_000 + step } else { made });
        let rtp = timeline.on_rtp(SOURCE, AUDIO, 48_000, true, (step * 960) as u32, arrived);
        let placed = timeline.media_of(AUDIO, rtp).unwrap().as_micros();
        assert!((placed - made).abs() < 10_000, "step {step}");
    }
    assert_eq!(timeline.jumps(), 0);
}

#[test]
fn a_successor_maps_every_stream_as_its_predecessor_did() {
    let streams = || vec![Stream::audio(), Stream { starts: 3.0, ..Stream::video() }];
    let timeline = simulate(Run {
        streams: streams(),
        seconds: 60.0,
        seed: 10,
        wall: &|_| 0.0,
        check: &mut |_, _, _| {},
    });
    let clocks = timeline.clocks();
    assert_eq!(clocks.len(), 2);
    let mut next = Timeline::resume(SETTINGS, timeline.zero().unwrap(), &clocks);
    for stream in streams() {
        // Its first packet is one from the ring, from before the predecessor stopped.
        let (captured, arrived) = (57.0, HostTime(57_150_000));
        let rtp = next.on_rtp(
            SOURCE,
            stream.track,
            stream.rate,
            stream.audio,
            stream.rtp(captured),
            arrived,
        );
        let was = timeline.media_of(stream.track, rtp).unwrap();
        let is = next.media_of(stream.track, rtp).unwrap();
        assert!((was - is).as_micros().abs() <= 500, "{was:?} {is:?}");
    }
}

#[test]
fn the_inverse_is_exact() {
    let mut timeline = Timeline::new(SETTINGS);
    timeline.start(HostTime(123_456));
    timeline.on_rtp(SOURCE, AUDIO, 48_000, true, 4_000_000_000, HostTime(777_777));
    for media in [0, 1, 15_360, 720_000 * 3600 * 5] {
        let (rtp, fraction) = timeline.rtp_at(AUDIO, MediaTime(media)).unwrap();
        let back = timeline.media_of(AUDIO, rtp).unwrap().0 + (fraction * 15.0).round() as i64;
        assert!((back - media).abs() <= 1, "{media} {back}");
    }
}

#[test]
fn pictures_that_take_longer_than_the_playout_delay_are_waited_for() {
    // An encoder with 600 ms of delay: sound waits for it, both stay together, nothing is always late.
    let streams = vec![Stream::audio(), Stream { delay: 0.6, ..Stream::video() }];
    let mut late: f64 = 0.0;
    let mut apart: f64 = 0.0;
    let mut check = |at: f64, placed: &BTreeMap<TrackId, f64>, _: &Timeline| {
        if at > 150.0 {
            // Captured at `at`, it arrives by at + 0.63.
            late = late.max(at + 0.63 - placed[&VIDEO]);
            apart = apart.max((placed[&VIDEO] - placed[&AUDIO]).abs());
        }
    };
    simulate(Run { streams, seconds: 300.0, seed: 11, wall: &|_| 0.0, check: &mut check });
    assert!(late < 0.25, "{late:.3} s, more than the playout delay");
    assert!(apart < 0.02, "{apart:.3} s");
}

#[test]
fn a_report_before_the_first_packet_counts() {
    let mut timeline = Timeline::new(SETTINGS);
    timeline.start(HostTime(0));
    let begin = 0.0;
    timeline.on_report(AUDIO, ntp(begin), 1000, HostTime(1_000));
    timeline.on_report(VIDEO, ntp(begin), 2000, HostTime(1_000));
    // Sound comes a packet's length later than pictures, from the first one on.
    timeline.on_rtp(SOURCE, AUDIO, 48_000, true, 1000, HostTime(22_000));
    timeline.on_rtp(SOURCE, VIDEO, 90_000, false, 2000, HostTime(22_500));
    let (a, v) = (timeline.media_of(AUDIO, 1000).unwrap(), timeline.media_of(VIDEO, 2000).unwrap());
    assert_eq!(a, v);
}

mod absurd {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Any timestamps at any times, any reports: no overflow, and time maps back to where it came from.
        #[test]
        fn evidence_is_survived(
            events in proptest::collection::vec(
                (0u8..8, any::<u32>(), any::<u64>(), 0i64..40_000_000), 1..120,
            ),
        ) {
            let mut timeline = Timeline::new(SETTINGS);
            let mut now = 1_000_000_000i64;
            for (kind, rtp, ntp, pause) in events {
                now += pause >> (kind * 2);
                let track = TrackId(u32::from(kind % 3));
                let audio = kind % 3 == 0;
                let rate = if audio { 48_000 } else { 90_000 };
                let arrived = HostTime(now);
                if kind < 6 {
                    let unwrapped = timeline.on_rtp(SOURCE, track, rate, audio, rtp, arrived);
                    prop_assert_eq!(unwrapped as u32, rtp);
                    timeline.start(arrived);
                    let media = timeline.media_of(track, unwrapped).unwrap();
                    let (back, _) = timeline.rtp_at(track, media).unwrap();
                    prop_assert!((back - unwrapped).abs() <= 1);
                } else {
                    timeline.on_report(track, ntp, rtp, arrived);
                }
            }
            prop_assert!(timeline.clocks().len() <= 3);
        }
    }
}
