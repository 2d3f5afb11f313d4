//! WHIP from the publisher's side (RFC 9725): an offer goes out in a POST, the answer and the
//! session's URL come back, a DELETE ends it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, LOCATION};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

/// Longest answer that is read.
const LARGEST_ANSWER: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a WHIP exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum WhipError {
    /// The endpoint is no URL this client can use.
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
    #[error("{0}: no answer within 10 s")]
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
    /// The server said yes, but not as RFC 9725 wants it.
    #[error("{url}: {what}")]
    BadAnswer {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A session the server has opened.
#[derive(Clone, Debug)]
pub struct WhipSession {
    /// The session's URL, absolute.
    pub url: String,
    /// Its entity tag, which identifies the ICE session.
    pub etag: Option<String>,
    /// The SDP answer.
    pub answer: String,
}

/// A WHIP client.
#[derive(Clone, Debug)]
pub struct Whip {
    client: Client<HttpConnector, Full<Bytes>>,
    token: Option<String>,
}

impl Whip {
    /// A client that shows `token` as its bearer token.
    pub fn new(token: Option<String>) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), token }
    }

    /// Offers `sdp` at `endpoint`.
    pub async fn publish(&self, endpoint: &str, sdp: String) -> Result<WhipSession, WhipError> {
        let (status, headers, body) = self.send(Method::POST, endpoint, Some(sdp)).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if status != StatusCode::CREATED {
            return Err(refused(endpoint, status, text));
        }
        let bad = |what| WhipError::BadAnswer { url: endpoint.to_owned(), what };
        let header =
            |name| headers.get(name).and_then(|v: &hyper::header::HeaderValue| v.to_str().ok());
        if header(CONTENT_TYPE).and_then(|t| t.split(';').next()).map(str::trim)
            != Some("application/sdp")
        {
            return Err(bad("a 201 without an SDP answer"));
        }
        let location = header(LOCATION).ok_or_else(|| bad("a 201 without Location"))?;
        let url = absolute(endpoint, location).ok_or_else(|| bad("a Location that is no URL"))?;
        Ok(WhipSession { url, etag: header(ETAG).map(str::to_owned), answer: text })
    }

    /// Ends the session at `url`.
    pub async fn end(&self, url: &str) -> Result<(), WhipError> {
        let (status, _, body) = self.send(Method::DELETE, url, None).await?;
        if status.is_success() {
            Ok(())
        } else {
            Err(refused(url, status, String::from_utf8_lossy(&body).into_owned()))
        }
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        sdp: Option<String>,
    ) -> Result<(StatusCode, hyper::HeaderMap, Bytes), WhipError> {
        let uri: Uri = url.parse().map_err(|_| WhipError::BadUrl(url.to_owned()))?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            return Err(WhipError::BadUrl(url.to_owned()));
        }
        let mut request = Request::builder().method(method).uri(uri);
        if sdp.is_some() {
            request =
                request.header(CONTENT_TYPE, "application/sdp").header(ACCEPT, "application/sdp");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = Full::new(Bytes::from(sdp.unwrap_or_default()));
        let request = request.body(body).map_err(|error| unreachable_at(url, &error))?;
        let exchange = async {
            let response =
                self.client.request(request).await.map_err(|error| unreachable_at(url, &error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LARGEST_ANSWER).collect().await;
            let body = body.map_err(|error| unreachable_at(url, error.as_ref()))?.to_bytes();
            Ok((parts.status, parts.headers, body))
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| WhipError::TimedOut(url.to_owned()))?
    }
}

fn unreachable_at(url: &str, error: &dyn std::error::Error) -> WhipError {
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    WhipError::Unreachable { url: url.to_owned(), why }
}

fn refused(url: &str, status: StatusCode, body: String) -> WhipError {
    WhipError::Refused { url: url.to_owned(), status, body: body.chars().take(400).collect() }
}

/// `location` against `base`: absolute, or a path from the root, or a path beside the base (RFC
/// 3986, 5.2, as far as a Location needs it).
fn absolute(base: &str, location: &str) -> Option<String> {
    let base: Uri = base.parse().ok()?;
    let root = format!("{}://{}", base.scheme_str()?, base.authority()?);
    if location.starts_with("http://") || location.starts_with("https://") {
        Some(location.to_owned())
    } else if location.starts_with('/') {
        Some(format!("{root}{location}"))
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        Some(format!("{root}{folder}/{location}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::{Router, http, response::IntoResponse, routing};

    async fn server() -> String {
        let offer =
            async |headers: http::HeaderMap, body: String| match headers.get("authorization") {
                Some(token) if token == "Bearer good" => {
                    assert_eq!(headers["content-type"], "application/sdp");
                    let answer = [
                        ("content-type", "application/sdp"),
                        ("location", "/whip/session/1"),
                        ("etag", "\"e\""),
                    ];
                    (http::StatusCode::CREATED, answer, format!("answer to {body}")).into_response()
                }
                _ => (http::StatusCode::UNAUTHORIZED, "who are you?").into_response(),
            };
        let app = Router::new()
            .route("/whip/bar", routing::post(offer))
            .route("/whip/session/1", routing::delete(async || http::StatusCode::OK))
            .route("/plain", routing::post(async || http::StatusCode::CREATED));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        url
    }

    #[tokio::test]
    async fn an_offer_is_answered_and_a_session_ends() {
        let url = server().await;
        let whip = Whip::new(Some("good".into()));
        let session = whip.publish(&format!("{url}/whip/bar"), "offer".into()).await.unwrap();
        assert_eq!(session.answer, "answer to offer");
        assert_eq!(session.url, format!("{url}/whip/session/1"));
        assert_eq!(session.etag.as_deref(), Some("\"e\""));
        whip.end(&session.url).await.unwrap();
        assert!(matches!(
            whip.end(&format!("{url}/nothing")).await,
            Err(WhipError::Refused { .. })
        ));
    }

    #[tokio::test]
    async fn refusals_are_told_apart() {
        let url = server().await;
        let refused =
            Whip::new(None).publish(&format!("{url}/whip/bar"), "offer".into()).await.unwrap_err();
        assert!(
            refused.to_string().contains("401") && refused.to_string().contains("who are you?"),
            "{refused}"
        );
        let whip = Whip::new(Some("good".into()));
        let plain = whip.publish(&format!("{url}/plain"), "offer".into()).await;
        assert!(matches!(plain, Err(WhipError::BadAnswer { .. })));
        assert!(matches!(whip.publish("ftp://x", String::new()).await, Err(WhipError::BadUrl(_))));
        let closed = whip.publish("http://127.0.0.1:1/whip/bar", String::new()).await;
        assert!(matches!(closed, Err(WhipError::Unreachable { .. })));
    }

    #[test]
    fn locations_are_resolved() {
        let base = "http://host:8080/whip/bar";
        assert_eq!(absolute(base, "/a/b").as_deref(), Some("http://host:8080/a/b"));
        assert_eq!(absolute(base, "s/1").as_deref(), Some("http://host:8080/whip/s/1"));
        assert_eq!(absolute(base, "http://other/x").as_deref(), Some("http://other/x"));
    }
}
