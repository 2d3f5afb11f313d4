//! A small HTTP client: one request, one whole answer, with a limit on both size and time. Plain
//! `http://` only: the teacher runs beside the server, or in front of its proxy.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

/// Longest answer that is read: a segment of 4 s at 100 Mb/s.
const LARGEST_ANSWER: usize = 50 << 20;
/// Longest wait for an answer. Blocked playlists of a stalled class are given up after this.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be used here.
    #[error("'{0}' is no http:// URL")]
    BadUrl(String),
    /// No connection, or it broke.
    #[error("{url}: {why}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What went wrong, with its causes.
        why: String,
    },
    /// The server did not answer in time.
    #[error("{0}: no answer within 20 s")]
    TimedOut(String),
    /// The server said no.
    #[error("{url} answered {status}: {body}")]
    Refused {
        /// What was asked.
        url: String,
        /// Its status.
        status: StatusCode,
        /// The beginning of what it said, usually a problem document (RFC 9457).
        body: String,
    },
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The error that this answer is.
    pub fn refusal(&self, url: &str) -> HttpError {
        let body = self.text().chars().take(400).collect();
        HttpError::Refused { url: url.to_owned(), status: self.status, body }
    }
}

/// The client; clones share its connections.
#[derive(Clone, Debug)]
pub struct Http(Client<HttpConnector, Full<Bytes>>);

impl Default for Http {
    fn default() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl Http {
    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// There is no whole answer.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, HttpError> {
        let uri: Uri = url.parse().map_err(|_| HttpError::BadUrl(url.to_owned()))?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            return Err(HttpError::BadUrl(url.to_owned()));
        }
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).map_err(|error| broken(url, &error))?;
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| broken(url, &error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await;
            let body = body.map_err(|error| broken(url, error.as_ref()))?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await;
        answer.map_err(|_| HttpError::TimedOut(url.to_owned()))?
    }

    /// Gets what is at `url`.
    ///
    /// # Errors
    /// There is no whole answer, or its status is no success.
    pub async fn get(&self, url: &str) -> Result<Answer, HttpError> {
        let answer = self.send(Method::GET, url, &[], Bytes::new()).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(answer.refusal(url)) }
    }
}

fn broken(url: &str, error: &dyn std::error::Error) -> HttpError {
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    HttpError::Unreachable { url: url.to_owned(), why }
}

/// `reference` against `base`: absolute, or a path from the root, or a path beside the base (RFC
/// 3986, 5.2, as far as Location and playlists need it).
pub fn resolve(base: &str, reference: &str) -> Option<String> {
    let base: Uri = base.parse().ok()?;
    let root = format!("{}://{}", base.scheme_str()?, base.authority()?);
    if reference.starts_with("http://") || reference.starts_with("https://") {
        Some(reference.to_owned())
    } else if reference.starts_with('/') {
        Some(format!("{root}{reference}"))
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        Some(format!("{root}{folder}/{reference}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved() {
        let base = "http://host:8080/whip/bar?x=1";
        assert_eq!(resolve(base, "/a/b").as_deref(), Some("http://host:8080/a/b"));
        assert_eq!(resolve(base, "s/1").as_deref(), Some("http://host:8080/whip/s/1"));
        assert_eq!(resolve(base, "http://other/x").as_deref(), Some("http://other/x"));
        assert_eq!(resolve("nothing", "x"), None);
    }
}
