//! The origin's figures, as handles made once: a request must not pay for a look-up by name.

use super::answer::Kind;
use metrics::{Counter, Gauge};

/// From the swap of a snapshot until a core has woken its waiting requests, seconds.
pub(super) const WAKE_DELAY: &str = "proscenium_origin_wake_delay_seconds";
const REQUESTS: &str = "proscenium_origin_requests_total";
const BYTES: &str = "proscenium_origin_bytes_total";
const WAITING: &str = "proscenium_origin_waiting_requests";
const CONNECTIONS: &str = "proscenium_origin_connections";
const REFUSED: &str = "proscenium_origin_connections_refused_total";

const KINDS: [(Kind, &str); 7] = [
    (Kind::Multivariant, "multivariant"),
    (Kind::Video, "video playlist"),
    (Kind::Sound, "sound playlist"),
    (Kind::Init, "init"),
    (Kind::Part, "part"),
    (Kind::Segment, "segment"),
    (Kind::Other, "other"),
];
const STATUSES: [u16; 9] = [200, 204, 206, 304, 400, 404, 405, 416, 503];

/// Handles of one worker.
pub(super) struct Figures {
    requests: Vec<Vec<Counter>>,
    bytes: Vec<Counter>,
    pub(super) waiting: Gauge,
    pub(super) connections: Gauge,
    pub(super) refused: Counter,
}

impl Figures {
    pub(super) fn new() -> Self {
        metrics::describe_histogram!(
            WAKE_DELAY,
            "from publishing a part until a core has woken its waiting requests"
        );
        metrics::describe_counter!(REQUESTS, "requests below /hls by kind and status");
        metrics::describe_counter!(BYTES, "response bodies below /hls, bytes");
        metrics::describe_gauge!(WAITING, "requests that wait for a part");
        metrics::describe_gauge!(CONNECTIONS, "open HTTP connections");
        metrics::describe_counter!(REFUSED, "connections refused because too many were open");
        let by_status = |kind: &'static str| {
            STATUSES
                .map(|s| metrics::counter!(REQUESTS, "kind" => kind, "status" => s.to_string()))
                .to_vec()
        };
        Self {
            requests: KINDS.map(|(_, name)| by_status(name)).to_vec(),
            bytes: KINDS.map(|(_, name)| metrics::counter!(BYTES, "kind" => name)).to_vec(),
            waiting: metrics::gauge!(WAITING),
            connections: metrics::gauge!(CONNECTIONS),
            refused: metrics::counter!(REFUSED),
        }
    }

    /// Counts a response.
    pub(super) fn count(&self, kind: Kind, status: u16, bytes: usize) {
        let Some(kind) = KINDS.iter().position(|(k, _)| *k == kind) else { return };
        let status = STATUSES.iter().position(|s| *s == status);
        if let Some(counter) = status.and_then(|s| self.requests.get(kind)?.get(s)) {
            counter.increment(1);
        }
        if let Some(counter) = self.bytes.get(kind) {
            counter.increment(bytes as u64);
        }
    }
}
