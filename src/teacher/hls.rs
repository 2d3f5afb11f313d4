//! A Low-Latency HLS client that stores what it gets: enough to check a stream, not to play it.
//!
//! It reads playlists with m3u8-rs, waits with `_HLS_msn` for each segment to be complete, and
//! appends it to one file a rendition, after the init segment.

use std::path::{Path, PathBuf};

use m3u8_rs::{AlternativeMediaType, MediaPlaylist};

use super::http::{Http, HttpError, resolve};

/// Sound's segments end up to an AAC frame beside the picture's: that much less is enough, seconds.
const SLACK: f64 = 0.03;

/// Why a stream could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum HlsError {
    /// A request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A playlist is none, or says what it must not.
    #[error("{url}: {what}")]
    Playlist {
        /// The playlist.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file could not be written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// A rendition as the multivariant playlist describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendition {
    /// A name for files and reports: the last folder of its URL.
    pub name: String,
    /// Its media playlist.
    pub url: String,
    /// Picture size; nothing for sound.
    pub size: Option<(u64, u64)>,
    /// The CODECS attribute; empty for sound.
    pub codecs: String,
}

/// A rendition on disk.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Which.
    pub rendition: Rendition,
    /// Init segment and segments in one file.
    pub file: PathBuf,
    /// Sequence number and duration in seconds of each segment, in order.
    pub segments: Vec<(u64, f64)>,
    /// Whether it went away while it was collected: the server gave the rung up.
    pub gone: bool,
}

/// The client.
#[derive(Clone, Debug, Default)]
pub struct Hls {
    http: Http,
}

impl Hls {
    /// The renditions of the multivariant playlist at `index`.
    ///
    /// # Errors
    /// It cannot be had, or is no multivariant playlist.
    pub async fn renditions(&self, index: &str) -> Result<Vec<Rendition>, HlsError> {
        let body = self.http.get(index).await?.body;
        let bad = |what: &str| HlsError::Playlist { url: index.to_owned(), what: what.to_owned() };
        let (_, playlist) =
            m3u8_rs::parse_master_playlist(&body).map_err(|_| bad("no multivariant playlist"))?;
        let mut renditions = Vec::new();
        for variant in &playlist.variants {
            renditions.push(Rendition {
                url: resolve(index, &variant.uri).ok_or_else(|| bad("a variant without a URL"))?,
                name: String::new(),
                size: variant.resolution.map(|size| (size.width, size.height)),
                codecs: variant.codecs.clone().unwrap_or_default(),
            });
        }
        for media in &playlist.alternatives {
            if let (AlternativeMediaType::Audio, Some(uri)) = (&media.media_type, &media.uri) {
                let url = resolve(index, uri).ok_or_else(|| bad("a rendition without a URL"))?;
                renditions.push(Rendition {
                    url,
                    name: String::new(),
                    size: None,
                    codecs: String::new(),
                });
            }
        }
        for rendition in &mut renditions {
            rendition.name = rendition.url.rsplit('/').nth(1).unwrap_or("rendition").to_owned();
        }
        renditions.dedup_by(|a, b| a.url == b.url);
        Ok(renditions)
    }

    /// Whether the media playlist at `url` lists a part or a whole segment yet.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn has_media(&self, url: &str) -> Result<bool, HlsError> {
        let text = self.http.get(url).await?.text();
        Ok(text
            .lines()
            .any(|line| line.starts_with("#EXT-X-PART:") || line.starts_with("#EXTINF:")))
    }

    async fn playlist(&self, url: &str) -> Result<(MediaPlaylist, String), HlsError> {
        let body = self.http.get(url).await?.body;
        let parsed = m3u8_rs::parse_media_playlist(&body);
        let bad = |_| HlsError::Playlist { url: url.to_owned(), what: "no media playlist".into() };
        Ok((parsed.map_err(bad)?.1, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Collects about `seconds` of every rendition at `index` into files in `folder`, from one
    /// segment on that is the same for all.
    ///
    /// # Errors
    /// Something cannot be had or written.
    pub async fn collect(
        &self,
        index: &str,
        seconds: f64,
        folder: &Path,
    ) -> Result<Vec<Collected>, HlsError> {
        let renditions = self.renditions(index).await?;
        let Some(first) = renditions.first() else {
            return Err(HlsError::Playlist { url: index.to_owned(), what: "no rendition".into() });
        };
        let (playlist, _) = self.playlist(&first.url).await?;
        // The segment that is being made now: whole in every rendition when its turn comes.
        let from = playlist.media_sequence + playlist.segments.len() as u64;
        let mut tasks = tokio::task::JoinSet::new();
        for (place, rendition) in renditions.into_iter().enumerate() {
            let (client, folder) = (self.clone(), folder.to_owned());
            tasks.spawn(async move {
                (place, client.collect_one(rendition, from, seconds, &folder).await)
            });
        }
        let mut all = Vec::new();
        while let Some(Ok((place, collected))) = tasks.join_next().await {
            all.push((place, collected?));
        }
        all.sort_by_key(|(place, _)| *place);
        Ok(all.into_iter().map(|(_, collected)| collected).collect())
    }

    async fn collect_one(
        &self,
        rendition: Rendition,
        from: u64,
        seconds: f64,
        folder: &Path,
    ) -> Result<Collected, HlsError> {
        let file = folder.join(format!("{}.mp4", rendition.name));
        let mut bytes = Vec::new();
        let mut segments = Vec::new();
        let (mut length, mut gone) = (0.0, false);
        while length + SLACK < seconds {
            let msn = from + segments.len() as u64;
            match self.fetch(&rendition, msn, bytes.is_empty()).await {
                Ok(Some((more, duration))) => {
                    bytes.extend_from_slice(&more);
                    segments.push((msn, duration));
                    length += duration;
                }
                Ok(None) => break,
                Err(HlsError::Http(HttpError::Refused { status, .. }))
                    if matches!(status.as_u16(), 404 | 410) =>
                {
                    gone = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let write = {
            let file = file.clone();
            move || std::fs::write(file, bytes)
        };
        let written = tokio::task::spawn_blocking(write)
            .await
            .unwrap_or_else(|e| Err(std::io::Error::other(e)));
        written.map_err(|error| HlsError::File { path: file.clone(), error })?;
        Ok(Collected { rendition, file, segments, gone })
    }

    /// Segment `msn` once it is whole, after the init segment if that is wanted too, and its duration;
    /// nothing if the stream ended before it.
    async fn fetch(
        &self,
        rendition: &Rendition,
        msn: u64,
        init: bool,
    ) -> Result<Option<(Vec<u8>, f64)>, HlsError> {
        let bad = |what: String| HlsError::Playlist { url: rendition.url.clone(), what };
        let (playlist, text) = self.playlist(&format!("{}?_HLS_msn={msn}", rendition.url)).await?;
        let place = msn.checked_sub(playlist.media_sequence).map(|n| n as usize);
        let Some(segment) = place.and_then(|n| playlist.segments.get(n)) else {
            if text.contains("#EXT-X-ENDLIST") {
                return Ok(None);
            }
            return Err(bad(format!("asked for segment {msn} to be there, and it is not")));
        };
        let mut bytes = Vec::new();
        let mut append = async |uri: &str| {
            let url =
                resolve(&rendition.url, uri).ok_or_else(|| bad(format!("a bad URL: {uri}")))?;
            bytes.extend_from_slice(&self.http.get(&url).await?.body);
            Ok::<_, HlsError>(())
        };
        if init {
            let map = playlist.segments.iter().find_map(|s| s.map.as_ref());
            append(&map.ok_or_else(|| bad("no EXT-X-MAP".into()))?.uri).await?;
        }
        append(&segment.uri).await?;
        Ok(Some((bytes, f64::from(segment.duration))))
    }
}
