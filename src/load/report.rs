//! What a run of the load generator found: the JSON that others rely on, and the same as a table.

use serde::{Deserialize, Serialize};
use std::fmt;

use super::driver::Totals;
use super::histogram::Histogram;
use super::run::{Plan, SetUp, Where, Window};
use super::usage::Usage;

/// The report. Fields are only ever added; what could not be measured is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `proscenium` or `janus`.
    pub target: String,
    /// Rooms, publishers a room and participants a room that were asked for.
    pub rooms: usize,
    /// See `rooms`.
    pub publishers: usize,
    /// See `rooms`.
    pub participants: usize,
    /// Subscriptions that were up when measuring began: each is a connection.
    pub subscriptions: usize,
    /// Connections that did not come up, publishers and subscribers.
    pub connect_failures: usize,
    /// Why the first of them failed.
    pub first_failure: Option<String>,
    /// Connections that came up and went away before the end.
    pub disconnects: u64,
    /// Median and longest time from asking for a subscription to its connection, milliseconds.
    pub connect_ms: Percentiles,
    /// Length of the measurement, seconds.
    pub seconds: f64,
    /// RTP packets the publishers sent, in all.
    pub published_packets: u64,
    /// RTP packets that reached subscribers, retransmissions among them.
    pub forwarded_packets: u64,
    /// The same a second.
    pub forwarded_packets_per_second: f64,
    /// Their bits a second, with RTP and SRTP but without UDP and IP.
    pub forwarded_bits_per_second: f64,
    /// What was lost on the way to subscribers.
    pub loss: Loss,
    /// Round trip of STUN checks, milliseconds.
    pub rtt_ms: Percentiles,
    /// From a publisher's send to a subscriber's receive, milliseconds, of the packets that were
    /// decrypted.
    pub delay_ms: Percentiles,
    /// One media packet in so many was decrypted.
    pub decrypt_one_in: u32,
    /// Key frames the publishers were asked for.
    pub key_frames_asked: u64,
    /// What the server's process cost, if its pid was given.
    pub server: Option<Server>,
    /// Forwarded packets a CPU-second of the server's process, children not counted.
    pub forwarded_packets_per_second_per_core: Option<f64>,
    /// What the generator itself cost.
    pub generator: Generator,
}

/// Percentiles of something; `null` where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half are at most this.
    pub p50: Option<f64>,
    /// Ninety-nine in a hundred are at most this.
    pub p99: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// How many there are.
    pub count: u64,
}

/// Packets that were lost, and how that was mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Share of packets that never came, retransmissions considered, 0 to 1.
    pub share: f64,
    /// The same of the subscriber that lost most.
    pub worst_share: f64,
    /// Packets that never came.
    pub packets: u64,
    /// Packets that came after they were asked for or overtaken.
    pub late: u64,
    /// Packets asked for again.
    pub nacked: u64,
    /// Retransmissions that came.
    pub repairs: u64,
    /// Of all that was lost, packets for which the generator's own socket had no room: the server
    /// is not to blame for these.
    pub generator_drops: Option<u64>,
}

/// Cost of the server's process during the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// The process.
    pub pid: u32,
    /// Its CPU seconds.
    pub cpu_seconds: f64,
    /// Of those, in the kernel.
    pub system_seconds: f64,
    /// CPU seconds of the processes below it (transcoders).
    pub children_cpu_seconds: f64,
    /// CPU seconds a second: 1 is one core.
    pub cores: f64,
    /// Resident memory before the first connection, bytes.
    pub resident_before: u64,
    /// Resident memory at the end of the measurement, bytes.
    pub resident: u64,
    /// The difference, a subscription.
    pub resident_per_subscription: Option<f64>,
}

/// Cost of the generator during the measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// CPU seconds of the threads that carry media.
    pub cpu_seconds: f64,
    /// Threads that carry media.
    pub threads: usize,
    /// Forwarded packets a CPU-second of it.
    pub packets_per_second_per_core: Option<f64>,
    /// Packets that were decrypted.
    pub decrypted: u64,
}

impl Report {
    /// Of what the parts of a run found.
    pub(super) fn of(
        plan: &Plan,
        set_up: &SetUp,
        window: &Window,
        before: Option<Usage>,
        parts: Vec<Totals>,
    ) -> Self {
        let subscriptions = set_up.took.count() as usize;
        let threads = parts.len();
        let mut all = Totals::default();
        for part in parts {
            all.seconds = all.seconds.max(part.seconds);
            all.worst_loss = all.worst_loss.max(part.worst_loss);
            all.counts += part.counts;
            all.published += part.published;
            all.key_frames_asked += part.key_frames_asked;
            all.cpu += part.cpu;
            all.gone += part.gone;
            all.round_trips.merge(&part.round_trips);
            all.measured.add(&part.measured);
        }
        let (counts, measured) = (all.counts, &all.measured);
        let rate = |count: u64| count as f64 / all.seconds.max(1e-9);
        let each_core = |cpu: f64| (cpu > 0.0).then(|| measured.datagrams as f64 / cpu);
        let server = window.server.zip(plan.server_pid).map(|((from, to), pid)| {
            let resident_before = before.map_or(from.resident, |usage| usage.resident);
            let grown = to.resident as f64 - resident_before as f64;
            Server {
                pid,
                cpu_seconds: to.cpu - from.cpu,
                system_seconds: to.system - from.system,
                children_cpu_seconds: (to.children_cpu - from.children_cpu).max(0.0),
                cores: (to.cpu - from.cpu) / all.seconds.max(1e-9),
                resident_before,
                resident: to.resident,
                resident_per_subscription: (subscriptions > 0)
                    .then(|| grown / subscriptions as f64),
            }
        });
        Self {
            target: match plan.server {
                Where::Proscenium { .. } => "proscenium",
                Where::Janus { .. } => "janus",
            }
            .to_owned(),
            rooms: plan.rooms,
            publishers: plan.publishers,
            participants: plan.participants,
            subscriptions,
            connect_failures: set_up.failures.len(),
            first_failure: set_up.failures.first().cloned(),
            disconnects: all.gone,
            connect_ms: percentiles(&set_up.took),
            seconds: all.seconds,
            published_packets: all.published,
            forwarded_packets: measured.datagrams,
            forwarded_packets_per_second: rate(measured.datagrams),
            forwarded_bits_per_second: rate(measured.bytes * 8),
            loss: Loss {
                share: counts.lost as f64 / (counts.received + counts.lost).max(1) as f64,
                worst_share: all.worst_loss,
                packets: counts.lost,
                late: counts.late,
                nacked: counts.asked,
                repairs: measured.repairs,
                generator_drops: window.drops,
            },
            rtt_ms: percentiles(&all.round_trips),
            delay_ms: percentiles(&measured.delays),
            decrypt_one_in: plan.decrypt(),
            key_frames_asked: all.key_frames_asked,
            forwarded_packets_per_second_per_core: server
                .and_then(|server| each_core(server.cpu_seconds)),
            server,
            generator: Generator {
                cpu_seconds: all.cpu,
                threads,
                packets_per_second_per_core: each_core(all.cpu),
                decrypted: measured.decrypted,
            },
        }
    }
}

/// Of microseconds, in milliseconds.
pub(super) fn percentiles(of: &Histogram) -> Percentiles {
    let ms = |us: u64| us as f64 * 1e-3;
    Percentiles {
        p50: of.percentile(0.5).map(ms),
        p99: of.percentile(0.99).map(ms),
        max: (of.count() > 0).then(|| ms(of.greatest())),
        count: of.count(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |p: &Percentiles| match (p.p50, p.p99, p.max) {
            (Some(p50), Some(p99), Some(max)) => {
                format!("p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")
            }
            _ => "nothing measured".to_owned(),
        };
        let rooms = if self.rooms == 1 { "room" } else { "rooms" };
        writeln!(
            f,
            "{} {rooms}, {} publishing and {} watching in each: {} subscriptions for {:.1} s on {}",
            self.rooms,
            self.publishers,
            self.participants,
            self.subscriptions,
            self.seconds,
            self.target
        )?;
        writeln!(
            f,
            "  connections  {} failed, {} broke off; set up in {}",
            self.connect_failures,
            self.disconnects,
            ms(&self.connect_ms)
        )?;
        if let Some(why) = &self.first_failure {
            writeln!(f, "               the first failed with: {why}")?;
        }
        writeln!(
            f,
            "  forwarded    {:.0} packets/s, {:.1} Mb/s",
            self.forwarded_packets_per_second,
            self.forwarded_bits_per_second * 1e-6
        )?;
        let loss = &self.loss;
        write!(
            f,
            "  loss         {:.3} % ({} packets, worst subscriber {:.3} %); {} asked for again, {} came again",
            loss.share * 100.0,
            loss.packets,
            loss.worst_share * 100.0,
            loss.nacked,
            loss.repairs
        )?;
        match loss.generator_drops {
            Some(drops) if drops > 0 => {
                writeln!(f, "\n               the generator's own socket dropped {drops}")?;
            }
            _ => writeln!(f)?,
        }
        writeln!(f, "  delay        {}", ms(&self.delay_ms))?;
        writeln!(f, "  round trip   {}", ms(&self.rtt_ms))?;
        if let Some(server) = &self.server {
            write!(
                f,
                "  server       {:.2} cores ({:.0} % in the kernel), {:.2} more below it; {:.0} MB",
                server.cores,
                server.system_seconds / server.cpu_seconds.max(1e-9) * 100.0,
                server.children_cpu_seconds / self.seconds.max(1e-9),
                server.resident as f64 * 1e-6
            )?;
            match server.resident_per_subscription {
                Some(each) => writeln!(f, ", {:.0} kB a subscription", each * 1e-3)?,
                None => writeln!(f)?,
            }
        }
        if let Some(each) = self.forwarded_packets_per_second_per_core {
            writeln!(f, "  each core    {each:.0} packets/s forwarded")?;
        }
        let generator = &self.generator;
        write!(
            f,
            "  generator    {:.2} cores, {:.0} packets/s each; one packet in {} decrypted",
            generator.cpu_seconds / self.seconds.max(1e-9),
            generator.packets_per_second_per_core.unwrap_or(0.0),
            self.decrypt_one_in
        )
    }
}
