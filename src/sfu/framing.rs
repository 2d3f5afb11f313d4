//! RFC 4571: datagrams on a TCP stream, each behind its length as 16 bits, big endian.
//!
//! What ICE-TCP (RFC 6544 §4.2) carries: STUN, DTLS and SRTP packets. None is longer than a
//! datagram would be, so a longer frame means that the other end is no ICE agent.

/// Longest frame taken, bytes.
pub const MAX_FRAME: usize = 2048;

/// Why a stream is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes, of at most {MAX_FRAME}")]
pub struct FrameTooLong(pub usize);

/// Cuts a stream into frames. Holds at most one unfinished frame.
#[derive(Debug, Default)]
pub struct Deframer {
    partial: Vec<u8>,
    broken: Option<FrameTooLong>,
}

impl Deframer {
    /// Takes the stream's next bytes, hands out every frame that is complete. Empty frames are
    /// passed over (RFC 4571 §2 allows them; they carry nothing).
    ///
    /// # Errors
    /// A frame that is too long. The stream cannot be picked up again: every later call says the
    /// same.
    pub fn push(&mut self, bytes: &[u8], mut on: impl FnMut(&[u8])) -> Result<(), FrameTooLong> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let mut bytes = bytes;
        // The usual case, whole frames in one read, does not go through the buffer.
        while !bytes.is_empty() {
            if self.partial.is_empty() {
                match whole(bytes).inspect_err(|e| self.broken = Some(*e))? {
                    Some((frame, rest)) => {
                        if !frame.is_empty() {
                            on(frame);
                        }
                        bytes = rest;
                        continue;
                    }
                    None => {
                        self.partial.extend_from_slice(bytes);
                        return Ok(());
                    }
                }
            }
            let wanted = match self.partial[..] {
                [a, b, ..] => 2 + usize::from(u16::from_be_bytes([a, b])),
                _ => 2,
            };
            let take = bytes.len().min(wanted.saturating_sub(self.partial.len()));
            let (now, rest) = bytes.split_at(take);
            self.partial.extend_from_slice(now);
            bytes = rest;
            if let Some((frame, _)) =
                whole(&self.partial).inspect_err(|e| self.broken = Some(*e))?
            {
                if !frame.is_empty() {
                    on(frame);
                }
                self.partial.clear();
            }
        }
        Ok(())
    }

    /// Bytes held back for an unfinished frame.
    pub fn held(&self) -> usize {
        self.partial.len()
    }
}

/// The first frame and what follows it, if it is complete.
type FrameAndRest<'a> = Option<(&'a [u8], &'a [u8])>;

fn whole(bytes: &[u8]) -> Result<FrameAndRest<'_>, FrameTooLong> {
    let [a, b, rest @ ..] = bytes else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*a, *b]));
    if length > MAX_FRAME {
        return Err(FrameTooLong(length));
    }
    Ok((rest.len() >= length).then(|| rest.split_at(length)))
}

/// Appends `datagram` as a frame; says whether it fits one.
pub fn frame(datagram: &[u8], out: &mut Vec<u8>) -> bool {
    let Ok(length) = u16::try_from(datagram.len()) else { return false };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(datagram);
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn deframe(chunks: impl Iterator<Item = Vec<u8>>) -> Result<Vec<Vec<u8>>, FrameTooLong> {
        let mut deframer = Deframer::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            deframer.push(&chunk, |frame| frames.push(frame.to_vec()))?;
            assert!(deframer.held() < 2 + MAX_FRAME);
        }
        Ok(frames)
    }

    #[test]
    fn a_frame_that_is_too_long_ends_the_stream_for_good() {
        let mut deframer = Deframer::default();
        let error = FrameTooLong(MAX_FRAME + 1);
        let length = (MAX_FRAME as u16 + 1).to_be_bytes();
        assert_eq!(deframer.push(&length[..1], |_| unreachable!()), Ok(()));
        assert_eq!(deframer.push(&length[1..], |_| unreachable!()), Err(error));
        assert_eq!(deframer.push(&[0, 1, 7], |_| unreachable!()), Err(error));
        assert!(!frame(&vec![0; 65_536], &mut Vec::new()));
    }

    proptest! {
        #[test]
        fn what_is_framed_comes_out_however_it_is_cut(
            datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20),
            cut in 1_usize..700,
        ) {
            let mut stream = Vec::new();
            for datagram in &datagrams {
                prop_assert!(frame(datagram, &mut stream));
            }
            let frames = deframe(stream.chunks(cut).map(<[u8]>::to_vec)).unwrap();
            let expected: Vec<_> = datagrams.into_iter().filter(|d| !d.is_empty()).collect();
            prop_assert_eq!(frames, expected);
        }

        #[test]
        fn any_stream_is_survived_and_cutting_changes_nothing(
            stream in proptest::collection::vec(any::<u8>(), 0..6000),
            cut in 1_usize..100,
        ) {
            let whole = deframe(std::iter::once(stream.clone()));
            let cut = deframe(stream.chunks(cut).map(<[u8]>::to_vec));
            prop_assert_eq!(whole, cut);
        }
    }
}
