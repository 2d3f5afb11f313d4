//! One function a parser of foreign bytes. Each takes any bytes, must not panic, and asserts what
//! holds for whatever comes out.

mod link;
mod origin;
pub mod rtp;
mod sfu;

/// A parser, and well-formed input for it to start from.
pub struct Target {
    /// As the libFuzzer target is called.
    pub name: &'static str,
    /// Panics if the parser does, or breaks its promise.
    pub run: fn(&[u8]),
    /// Input that is not, or hardly, wrong.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($constant:ident = $name:literal, $module:ident::$run:ident, $seeds:ident;)*) => {
        $(pub const $constant: Target =
            Target { name: $name, run: $module::$run, seeds: $module::$seeds };)*
        /// All of them.
        pub const ALL: &[Target] = &[$($constant),*];
    };
}

targets! {
    FROM_TRANSCODER = "from_transcoder", link::from_transcoder, from_transcoder_seeds;
    TO_TRANSCODER = "to_transcoder", link::to_transcoder, to_transcoder_seeds;
    WINDOW = "window", origin::window, window_seeds;
    RING_RECORD = "ring_record", link::ring_record, ring_record_seeds;
    RTP = "rtp", rtp::rtp, rtp_seeds;
    ORIGIN = "origin", origin::origin, origin_seeds;
    FRAMING = "framing", sfu::framing, framing_seeds;
    OFFER = "offer", sfu::offer, offer_seeds;
    FRAGMENT = "fragment", sfu::fragment, fragment_seeds;
    DATAGRAMS = "datagrams", sfu::datagrams, datagrams_seeds;
    TOKEN = "token", sfu::token, token_seeds;
    CODEC_HEADERS = "codec_headers", rtp::codec_headers, codec_headers_seeds;
}

/// Takes `input` apart into pieces behind a length of 16 bits, big endian; the last may be short.
fn pieces(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (piece, rest) = rest.split_at(length);
        input = rest;
        Some(piece)
    })
}

/// What [`pieces`] takes apart.
fn join<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut joined = Vec::new();
    for piece in pieces {
        let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        joined.extend_from_slice(&length.to_be_bytes());
        joined.extend_from_slice(&piece[..usize::from(length)]);
    }
    joined
}
