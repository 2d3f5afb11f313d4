//! A viewer that follows one playlist part by part, and notes when each was listed.

use proscenium::teacher::hls::Hls;
use proscenium::teacher::http::Http;
use std::time::{Duration, Instant};

/// What it saw.
#[derive(Debug, Default)]
pub struct Followed {
    /// When each part was listed.
    pub parts: Vec<Instant>,
    pub discontinuities: u64,
    pub gaps: u64,
}

/// Where a playlist ends: the open segment's number and how many parts it has.
fn end(playlist: &str) -> (u64, u64) {
    let (mut msn, mut parts) = (0, 0);
    for line in playlist.lines() {
        if let Some(first) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
            msn = first.trim().parse().unwrap_or(0);
        } else if line.starts_with("#EXTINF:") {
            (msn, parts) = (msn + 1, 0);
        } else if line.starts_with("#EXT-X-PART:") {
            parts += 1;
        }
    }
    (msn, parts)
}

/// Follows the smallest rendition with pictures for `time`.
pub async fn follow(index: &str, time: Duration) -> Result<Followed, String> {
    let renditions = Hls::default().renditions(index).await.map_err(|e| e.to_string())?;
    let smallest = renditions.iter().filter(|r| r.codecs.contains("avc1")).min_by_key(|r| r.size);
    let url = &smallest.ok_or("no H.264 rendition")?.url;
    let http = Http::default();
    let mut followed = Followed::default();
    let until = Instant::now() + time;
    let mut playlist = http.get(url).await.map_err(|e| e.to_string())?.text();
    while Instant::now() < until {
        let (msn, part) = end(&playlist);
        let next = format!("{url}?_HLS_msn={msn}&_HLS_part={part}");
        match http.get(&next).await {
            Ok(answer) => playlist = answer.text(),
            // 503 after three target durations without a part: that is seen as a pause.
            Err(error) => {
                eprintln!("the viewer: {error}");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        }
        followed.parts.push(Instant::now());
        let count =
            |tag: &str| playlist.lines().filter(|line| line.trim_end() == tag).count() as u64;
        followed.discontinuities = followed.discontinuities.max(count("#EXT-X-DISCONTINUITY"));
        followed.gaps = followed.gaps.max(count("#EXT-X-GAP"));
    }
    Ok(followed)
}

impl Followed {
    /// From each of `hurts` to the first part of another transcoder, milliseconds, sorted. What was made before may
    /// still be on its way for a moment; then comes the longest pause, and the part that ends it.
    pub fn recoveries(&self, hurts: &[Instant]) -> Vec<f64> {
        let window = Duration::from_millis(400);
        let mut all: Vec<f64> = hurts
            .iter()
            .filter_map(|hurt| {
                let near = self
                    .parts
                    .windows(2)
                    .filter(|pair| pair[1] > *hurt && pair[0] < *hurt + window);
                let longest = near.max_by_key(|pair| pair[1] - pair[0])?;
                Some((longest[1] - *hurt).as_secs_f64() * 1000.0)
            })
            .collect();
        all.sort_by(f64::total_cmp);
        all
    }
}
