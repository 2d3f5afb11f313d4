//! The pages over HTTP: `/`, `/watch/{room}`, `/teach/{room}` and what they load.
//!
//! The files are in [`crate::web`]; a page is the same bytes for every room and reads the room's
//! name from its own address. Scripts and styles carry their hash in their names and may be kept
//! for ever; a page itself is revalidated each time (a `304` costs next to nothing), so a box that
//! was updated shows its new pages at once.

use crate::time::RoomName;
use crate::web::{self, Asset};
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use bytes::Bytes;

/// What a page may load and from where: itself, nothing else. Media elements play `blob:` URLs,
/// that is how Media Source Extensions hand them their media.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; media-src 'self' blob:; worker-src 'self'; manifest-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// The player's controls (media-chrome) keep their styles in their shadow roots, as `<style>`
/// elements; a policy cannot tell those from injected ones. Scripts stay strict.
const PLAYER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; media-src 'self' blob:; worker-src 'self'; \
     manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors *";

/// The routes of the pages, for any state.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async |headers: HeaderMap| page("index.html", Page::Home, &headers)))
        .route(
            "/watch/{room}",
            get(async |Path(room): Path<String>, headers: HeaderMap| {
                room_page("watch.html", Page::Watch, &room, &headers)
            }),
        )
        .route(
            "/teach/{room}",
            get(async |Path(room): Path<String>, headers: HeaderMap| {
                room_page("teach.html", Page::Teach, &room, &headers)
            }),
        )
        .route("/assets/{*path}", get(asset))
        .route("/favicon.ico", get(async |headers: HeaderMap| icon(&headers)))
}

/// Which page a header set is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Page {
    Home,
    Watch,
    Teach,
}

fn room_page(file: &str, page_kind: Page, room: &str, headers: &HeaderMap) -> Response<Body> {
    // The page itself explains a name that no room can have, in the reader's language; the status
    // says the same to everything that is not a person.
    let mut response = page(file, page_kind, headers);
    if RoomName::parse(room).is_err() && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

fn page(file: &str, page: Page, headers: &HeaderMap) -> Response<Body> {
    let Some(asset) = web::find(file) else { return nothing() };
    let mut response = answer(asset, headers, HeaderValue::from_static("no-cache"));
    let set = [
        (header::CONTENT_SECURITY_POLICY, if page == Page::Watch { PLAYER_POLICY } else { POLICY }),
        // The teacher's token is in the fragment, which no Referer carries; the room's name need not leak either.
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("permissions-policy"),
            match page {
                Page::Teach => {
                    "camera=(self), microphone=(self), display-capture=(self), geolocation=()"
                }
                // Whoever is called up is seen and heard from here. Within another site's frame, that site decides.
                Page::Watch => {
                    "camera=(self), microphone=(self), display-capture=(self), geolocation=(), autoplay=(self), fullscreen=(self), picture-in-picture=(self)"
                }
                Page::Home => "camera=(), microphone=(), display-capture=(), geolocation=()",
            },
        ),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in set {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response<Body> {
    match web::find(&format!("assets/{path}")) {
        Some(asset) => {
            answer(asset, &headers, HeaderValue::from_static("public, max-age=31536000, immutable"))
        }
        None => nothing(),
    }
}

/// Browsers ask for this name unbidden. The pages name their own icon.
fn icon(headers: &HeaderMap) -> Response<Body> {
    let icon =
        web::all().iter().find(|a| a.path.starts_with("assets/icon-") && a.path.ends_with(".svg"));
    match icon {
        Some(asset) => answer(asset, headers, HeaderValue::from_static("public, max-age=86400")),
        None => nothing(),
    }
}

/// One asset in the smallest form that the client takes, or `304` where it has it already.
fn answer(asset: &'static Asset, headers: &HeaderMap, cache: HeaderValue) -> Response<Body> {
    let (encoding, bytes) =
        match (accepts(headers, "br"), accepts(headers, "gzip"), asset.brotli, asset.gzip) {
            (true, _, Some(bytes), _) => (Some("br"), bytes),
            (_, true, _, Some(bytes)) => (Some("gzip"), bytes),
            _ => (None, asset.plain),
        };
    // RFC 9110, 8.8.3.3: each encoding is a representation of its own, with its own tag.
    let tag = format!(
        "\"{}{}{}\"",
        asset.hash,
        if encoding.is_some() { "-" } else { "" },
        encoding.unwrap_or("")
    );
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|candidate| {
            candidate.trim() == "*" || candidate.trim().trim_start_matches("W/") == tag
        });

    let mut response =
        Response::new(if known { Body::empty() } else { Body::from(Bytes::from_static(bytes)) });
    let out = response.headers_mut();
    out.insert(header::CACHE_CONTROL, cache);
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(header::ETAG, tag);
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    if let Some(encoding) = encoding {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// Whether `Accept-Encoding` names `coding` with a weight above zero (RFC 9110, 12.5.3).
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let weights = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    for item in weights {
        let mut fields = item.split(';').map(str::trim);
        if fields.next().is_some_and(|name| name.eq_ignore_ascii_case(coding)) {
            let weight = fields.find_map(|f| f.strip_prefix("q=").or_else(|| f.strip_prefix("Q=")));
            return weight.is_none_or(|q| q.parse::<f32>().is_ok_and(|q| q > 0.0));
        }
    }
    false
}

fn nothing() -> Response<Body> {
    let mut response = Response::new(Body::from("There is nothing at this address.\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    async fn get(path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = router::<()>().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn each_page_comes_with_its_policies() {
        for (path, inline_styles, camera) in [
            ("/", false, "camera=()"),
            ("/watch/physics-101", true, "camera=(self)"),
            ("/teach/physics-101", false, "camera=(self)"),
        ] {
            let (status, headers, body) = get(path, &[]).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert_eq!(headers["content-type"], "text/html; charset=utf-8");
            assert_eq!(headers["x-content-type-options"], "nosniff");
            assert_eq!(headers["referrer-policy"], "no-referrer");
            assert_eq!(headers["cache-control"], "no-cache");
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
            assert_eq!(policy.contains("unsafe"), inline_styles, "{policy}");
            assert!(headers["permissions-policy"].to_str().unwrap().contains(camera));
            assert!(body.starts_with(b"<!doctype html>"));
        }
    }

    #[tokio::test]
    async fn a_name_that_no_room_can_have_is_not_found_but_explained() {
        for path in ["/watch/Physics", "/teach/-x", "/watch/a%2Fb"] {
            let (status, headers, body) = get(path, &[]).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(headers["content-type"], "text/html; charset=utf-8");
            assert!(body.starts_with(b"<!doctype html>"));
        }
    }

    #[tokio::test]
    async fn everything_a_page_names_is_served_and_may_be_kept_for_ever() {
        for page in ["/", "/watch/r", "/teach/r"] {
            let (_, _, body) = get(page, &[]).await;
            let html = String::from_utf8(body.to_vec()).unwrap();
            let named: Vec<&str> = html.split('"').filter(|s| s.starts_with("/assets/")).collect();
            assert!(named.len() >= 2, "{page}: {named:?}");
            for path in named {
                let (status, headers, _) = get(path, &[]).await;
                assert_eq!(status, StatusCode::OK, "{path}");
                assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
            }
        }
    }

    #[tokio::test]
    async fn the_client_gets_the_smallest_form_it_takes() {
        let script =
            web::all().iter().find(|a| a.path.ends_with(".js") && a.brotli.is_some()).unwrap();
        let path = format!("/{}", script.path);
        for (accept, encoding, bytes) in [
            ("gzip, deflate, br", Some("br"), script.brotli.unwrap()),
            ("gzip, br;q=0", Some("gzip"), script.gzip.unwrap()),
            ("identity", None, script.plain),
            ("gzip;q=0.0, x-br", None, script.plain),
        ] {
            let (_, headers, body) = get(&path, &[("accept-encoding", accept)]).await;
            assert_eq!(
                headers.get("content-encoding").map(|v| v.to_str().unwrap()),
                encoding,
                "{accept}"
            );
            assert_eq!(headers["vary"], "accept-encoding");
            assert_eq!(body, bytes);
        }
    }

    #[tokio::test]
    async fn what_the_client_has_is_not_sent_again_and_other_forms_are() {
        let (_, headers, _) = get("/", &[("accept-encoding", "br")]).await;
        let tag = headers["etag"].to_str().unwrap().to_owned();
        let (status, headers, body) =
            get("/", &[("accept-encoding", "br"), ("if-none-match", &format!("\"x\", W/{tag}"))])
                .await;
        assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
        assert!(headers.contains_key("content-security-policy"), "a 304 renews the stored headers");
        let (status, _, body) = get("/", &[("if-none-match", &tag)]).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!body.is_empty());
    }

    #[tokio::test]
    async fn there_is_nothing_beside_the_files() {
        for path in [
            "/assets/",
            "/assets/x.js",
            "/assets/..%2Findex.html",
            "/watch",
            "/teach/",
            "/index.html",
        ] {
            let (status, ..) = get(path, &[]).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        }
        let (status, headers, _) = get("/favicon.ico", &[]).await;
        assert_eq!(
            (status, headers["content-type"].to_str().unwrap()),
            (StatusCode::OK, "image/svg+xml")
        );
    }
}
