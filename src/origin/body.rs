//! Bodies: a response's pieces as they lie in memory, and a request's body within a size and a time.

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// What the origin sends.
pub(super) enum Outgoing {
    /// Pieces of parts; hyper writes them with `writev`, none is copied.
    Pieces(std::vec::IntoIter<Bytes>),
    /// What the router answered.
    Router(axum::body::Body),
}

impl Outgoing {
    pub(super) fn pieces(mut pieces: Vec<Bytes>) -> Self {
        pieces.retain(|p| !p.is_empty());
        Self::Pieces(pieces.into_iter())
    }

    pub(super) fn empty() -> Self {
        Self::Pieces(Vec::new().into_iter())
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::Pieces(pieces) => Poll::Ready(pieces.next().map(|p| Ok(Frame::data(p)))),
            Self::Router(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Pieces(pieces) => pieces.as_slice().is_empty(),
            Self::Router(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Pieces(pieces) => {
                SizeHint::with_exact(pieces.as_slice().iter().map(|p| p.len() as u64).sum())
            }
            Self::Router(body) => body.size_hint(),
        }
    }
}

/// Why a request's body was cut off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the request body did not come in time")]
    TooSlow,
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// A request's body that ends with an error past a size or a time.
pub(super) struct Bounded {
    inner: Incoming,
    limit: usize,
    left: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Bounded {
    pub(super) fn new(inner: Incoming, limit: usize, time: Duration) -> Self {
        Self { inner, limit, left: limit, deadline: Box::pin(tokio::time::sleep(time)) }
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, Buf::remaining);
                match this.left.checked_sub(len) {
                    Some(left) => {
                        this.left = left;
                        Poll::Ready(Some(Ok(frame)))
                    }
                    None => Poll::Ready(Some(Err(BodyError::TooLarge(this.limit)))),
                }
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match this.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::TooSlow))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
