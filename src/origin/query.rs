//! What a URL asks for: paths below a room, and the delivery directives of LL-HLS
//! (draft-pantos-hls-rfc8216bis-22, 6.2.5). Both are foreign bytes.

/// What a path below `/hls/{room}/` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `index.m3u8`.
    Multivariant,
    /// Something of one rendition of one session.
    Rendition {
        /// Session id.
        session: &'a str,
        /// Rendition name.
        name: &'a str,
        /// Which of its files.
        file: File,
    },
}

/// A file of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// `live.m3u8`.
    Playlist,
    /// `init.mp4`.
    Init,
    /// `{msn}.m4s`.
    Segment(u64),
    /// `{msn}.{part}.m4s`.
    Part(u64, u64),
}

impl<'a> Target<'a> {
    /// Reads a path below the room; `None` for any other.
    pub fn parse(path: &'a str) -> Option<Self> {
        if path == "index.m3u8" {
            return Some(Self::Multivariant);
        }
        let mut steps = path.split('/');
        let (session, name, file) = (steps.next()?, steps.next()?, steps.next()?);
        if steps.next().is_some() {
            return None;
        }
        let file = match file {
            "live.m3u8" => File::Playlist,
            "init.mp4" => File::Init,
            _ => {
                let numbers = file.strip_suffix(".m4s")?;
                match numbers.split_once('.') {
                    None => File::Segment(canonical(numbers)?),
                    Some((msn, part)) => File::Part(canonical(msn)?, canonical(part)?),
                }
            }
        };
        Some(Self::Rendition { session, name, file })
    }
}

/// A number in its one spelling, so that a cache never holds one thing under two names.
fn canonical(text: &str) -> Option<u64> {
    if text.len() > 1 && text.starts_with('0') {
        return None;
    }
    decimal(text)
}

fn decimal(text: &str) -> Option<u64> {
    // `parse` alone would also take a sign.
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The delivery directives of a playlist request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `_HLS_msn`.
    pub msn: Option<u64>,
    /// `_HLS_part`.
    pub part: Option<u64>,
    /// `_HLS_skip`.
    pub skip: bool,
}

impl Directives {
    /// Reads a query. Parameters that are no directive are somebody else's and ignored.
    ///
    /// # Errors
    /// What is wrong, for the 400.
    pub fn parse(query: &str) -> Result<Self, &'static str> {
        let mut found = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "_HLS_msn" => &mut found.msn,
                "_HLS_part" => &mut found.part,
                "_HLS_skip" => {
                    found.skip = matches!(value, "YES" | "v2");
                    continue;
                }
                _ => continue,
            };
            if slot.is_some() {
                return Err("a delivery directive appears twice");
            }
            *slot = Some(decimal(value).ok_or("_HLS_msn and _HLS_part must be decimal integers")?);
        }
        if found.part.is_some() && found.msn.is_none() {
            return Err("_HLS_part needs _HLS_msn");
        }
        Ok(found)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_have_one_spelling() {
        let file = |file| Some(Target::Rendition { session: "s", name: "r", file });
        assert_eq!(Target::parse("index.m3u8"), Some(Target::Multivariant));
        assert_eq!(Target::parse("s/r/live.m3u8"), file(File::Playlist));
        assert_eq!(Target::parse("s/r/init.mp4"), file(File::Init));
        assert_eq!(Target::parse("s/r/0.m4s"), file(File::Segment(0)));
        assert_eq!(Target::parse("s/r/12.3.m4s"), file(File::Part(12, 3)));
        for bad in [
            "",
            "/",
            "index.m3u8/",
            "s/r",
            "s/r/",
            "s/r/x/live.m3u8",
            "s/r/01.m4s",
            "s/r/1.00.m4s",
            "s/r/+1.m4s",
            "s/r/1.2.3.m4s",
            "s/r/.m4s",
            "s/r/1..m4s",
            "s/r/-1.m4s",
            "s/r/99999999999999999999.m4s",
            "s/r/1.mp4",
        ] {
            assert_eq!(Target::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn line_17_part_without_msn_is_an_error() {
        assert!(Directives::parse("_HLS_part=1").is_err());
        assert!(Directives::parse("_HLS_msn=3&_HLS_part=1").is_ok());
    }

    #[test]
    fn directives_are_read_and_strangers_ignored() {
        let all = Directives::parse("token=a=b&_HLS_part=0&_HLS_msn=7&_HLS_skip=v2&&x").unwrap();
        assert_eq!(all, Directives { msn: Some(7), part: Some(0), skip: true });
        assert_eq!(Directives::parse("").unwrap(), Directives::default());
        assert!(!Directives::parse("_HLS_skip=NO").unwrap().skip);
        for bad in [
            "_HLS_msn=",
            "_HLS_msn=-1",
            "_HLS_msn=+1",
            "_HLS_msn=1&_HLS_msn=1",
            "_HLS_msn=18446744073709551616",
        ] {
            assert!(Directives::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_is_no_panic(text in "\\PC{0,60}", directives in "(_HLS_(msn|part|skip)=[0-9A-Zv]{0,25}&?){0,4}") {
            let _ = (Target::parse(&text), Directives::parse(&text), Directives::parse(&directives));
        }
    }
}
