//! One state of a class, shared by every request that is answered from it.
//!
//! A playlist is rendered when it is first asked for, and compressed when somebody first accepts that
//! coding: once a part, however many ask (a second asker on another core waits for the first).

use crate::package::playlist;
use crate::package::window::Window;
use bytes::Bytes;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::OnceLock;

/// A content coding of playlists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// As it stands in Content-Encoding.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The best coding that an Accept-Encoding header allows (RFC 9110 12.5.3); `None` for identity.
    pub fn accepted(header: Option<&str>) -> Option<Self> {
        let (mut brotli, mut gzip, mut any) = (None, None, None);
        for item in header?.split(',') {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight = parameters.split(';').find_map(|p| p.trim().strip_prefix("q="));
            let allowed = weight.is_none_or(|q| q.trim().parse::<f32>().is_ok_and(|q| q > 0.0));
            let name = name.trim();
            if name.eq_ignore_ascii_case("br") {
                brotli = Some(allowed);
            } else if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                gzip = Some(allowed);
            } else if name == "*" {
                any = Some(allowed);
            }
        }
        let allows = |own: Option<bool>| own.or(any).unwrap_or(false);
        if allows(brotli) {
            Some(Self::Brotli)
        } else if allows(gzip) {
            Some(Self::Gzip)
        } else {
            None
        }
    }
}

/// A rendered playlist.
#[derive(Debug)]
pub struct Text {
    plain: Bytes,
    etag: String,
    gzip: OnceLock<Option<Bytes>>,
    brotli: OnceLock<Option<Bytes>>,
}

impl Text {
    fn new(text: String) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        // Weak: the codings of one playlist share it.
        let etag = format!("W/\"{:016x}\"", hasher.finish());
        Self { plain: Bytes::from(text), etag, gzip: OnceLock::new(), brotli: OnceLock::new() }
    }

    /// The bytes in a coding, and the coding they really have: identity should compression fail.
    pub fn bytes(&self, coding: Option<Coding>) -> (Bytes, Option<Coding>) {
        let packed = match coding {
            None => &None,
            Some(Coding::Gzip) => self.gzip.get_or_init(|| gzip(&self.plain)),
            Some(Coding::Brotli) => self.brotli.get_or_init(|| brotli(&self.plain)),
        };
        match packed {
            Some(bytes) => (bytes.clone(), coding),
            None => (self.plain.clone(), None),
        }
    }

    /// Its entity tag.
    pub fn etag(&self) -> &str {
        &self.etag
    }
}

fn gzip(plain: &[u8]) -> Option<Bytes> {
    let out = Vec::with_capacity(plain.len() / 3);
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(4));
    encoder.write_all(plain).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn brotli(plain: &[u8]) -> Option<Bytes> {
    let mut out = Vec::with_capacity(plain.len() / 3);
    // Quality 4 is the last fast one; a window of 64 KiB holds the longest live playlist.
    let params = brotli::enc::BrotliEncoderParams { quality: 4, lgwin: 16, ..Default::default() };
    brotli::BrotliCompress(&mut &*plain, &mut out, &params).ok()?;
    Some(Bytes::from(out))
}

/// A window and its playlists.
#[derive(Debug)]
pub struct Snapshot {
    window: Window,
    multivariant: OnceLock<Text>,
    /// By rendition: the whole playlist, and the delta update.
    media: Vec<[OnceLock<Option<Text>>; 2]>,
}

impl Snapshot {
    /// Nothing is rendered yet.
    pub fn new(window: Window) -> Self {
        let media = window.presentation().renditions.iter().map(|_| Default::default()).collect();
        Self { window, multivariant: OnceLock::new(), media }
    }

    /// The state itself.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// The multivariant playlist.
    pub fn multivariant(&self) -> &Text {
        self.multivariant.get_or_init(|| Text::new(playlist::multivariant(&self.window)))
    }

    /// A rendition's playlist, or its delta update.
    pub fn media(&self, rendition: usize, skip: bool) -> Option<&Text> {
        let slot = self.media.get(rendition)?.get(usize::from(skip))?;
        slot.get_or_init(|| playlist::media(&self.window, rendition, skip).map(Text::new)).as_ref()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::package::testing::{Parts, presentation};
    use std::io::Read;

    #[test]
    fn accept_encoding_is_read_with_weights() {
        for (header, coding) in [
            ("gzip, deflate, br", Some(Coding::Brotli)),
            ("gzip, deflate", Some(Coding::Gzip)),
            ("GZIP;q=0.5", Some(Coding::Gzip)),
            ("br;q=0, gzip", Some(Coding::Gzip)),
            ("br; q=0, *", Some(Coding::Gzip)),
            ("*", Some(Coding::Brotli)),
            ("*;q=0", None),
            ("identity", None),
            ("gzip;q=x", None),
            ("", None),
        ] {
            assert_eq!(Coding::accepted(Some(header)), coding, "{header}");
        }
        assert_eq!(Coding::accepted(None), None);
    }

    #[test]
    fn line_23_playlists_come_compressed_and_unpack_to_the_same_text() {
        let mut window = Window::new(presentation(), "s", 0, &Default::default()).unwrap();
        let mut parts = Parts::new();
        for _ in 0..60 {
            let (part, bytes) = parts.next();
            window.publish(&part, &bytes).unwrap();
        }
        let snapshot = Snapshot::new(window);
        let text = snapshot.media(0, false).unwrap();
        let (plain, _) = text.bytes(None);
        let (gz, coding) = text.bytes(Some(Coding::Gzip));
        assert_eq!(coding, Some(Coding::Gzip));
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*gz).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
        let (br, coding) = text.bytes(Some(Coding::Brotli));
        assert_eq!(coding, Some(Coding::Brotli));
        unpacked.clear();
        brotli::Decompressor::new(&*br, 4096).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
        assert!(
            br.len() * 3 < plain.len() && gz.len() * 3 < plain.len(),
            "{} {} {}",
            br.len(),
            gz.len(),
            plain.len()
        );
    }

    #[test]
    fn line_25_a_playlist_is_rendered_once_a_part() {
        let snapshot =
            Snapshot::new(Window::new(presentation(), "s", 0, &Default::default()).unwrap());
        let first = snapshot.media(1, false).unwrap().bytes(Some(Coding::Gzip)).0;
        let second = snapshot.media(1, false).unwrap().bytes(Some(Coding::Gzip)).0;
        assert_eq!(first.as_ptr(), second.as_ptr());
    }
}
