//! WHIP from the publisher's side (RFC 9725): an offer goes out in a POST, the answer and the
//! session's URL come back, a DELETE ends it.

use hyper::{Method, StatusCode};

use super::http::{Http, HttpError, resolve};

/// Why a WHIP exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum WhipError {
    /// There was no answer, or it was a refusal.
    #[error(transparent)]
    Http(#[from] HttpError),
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
    http: Http,
    bearer: Option<String>,
}

impl Whip {
    /// A client that shows `token` as its bearer token.
    pub fn new(token: Option<String>) -> Self {
        Self { http: Http::default(), bearer: token.map(|token| format!("Bearer {token}")) }
    }

    /// Offers `sdp` at `endpoint`.
    ///
    /// # Errors
    /// [`WhipError`].
    pub async fn publish(&self, endpoint: &str, sdp: String) -> Result<WhipSession, WhipError> {
        let mut headers = vec![("content-type", "application/sdp"), ("accept", "application/sdp")];
        headers.extend(self.bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let answer = self.http.send(Method::POST, endpoint, &headers, sdp).await?;
        if answer.status != StatusCode::CREATED {
            return Err(answer.refusal(endpoint).into());
        }
        let bad = |what| WhipError::BadAnswer { url: endpoint.to_owned(), what };
        let media_type = answer.header("content-type").and_then(|t| t.split(';').next());
        if media_type.map(str::trim) != Some("application/sdp") {
            return Err(bad("a 201 without an SDP answer"));
        }
        let location = answer.header("location").ok_or_else(|| bad("a 201 without Location"))?;
        let url = resolve(endpoint, location).ok_or_else(|| bad("a Location that is no URL"))?;
        let etag = answer.header("etag").map(str::to_owned);
        Ok(WhipSession { url, etag, answer: answer.text() })
    }

    /// Ends the session at `url`.
    ///
    /// # Errors
    /// There was no answer, or it was a refusal.
    pub async fn end(&self, url: &str) -> Result<(), WhipError> {
        let headers: Vec<_> =
            self.bearer.as_deref().map(|b| ("authorization", b)).into_iter().collect();
        let answer = self.http.send(Method::DELETE, url, &headers, "").await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.refusal(url).into()) }
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
            Err(WhipError::Http(HttpError::Refused { .. }))
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
        assert!(matches!(
            whip.publish("ftp://x", String::new()).await,
            Err(WhipError::Http(HttpError::BadUrl(_)))
        ));
        let closed = whip.publish("http://127.0.0.1:1/whip/bar", String::new()).await;
        assert!(matches!(closed, Err(WhipError::Http(HttpError::Unreachable { .. }))));
    }
}
