//! Routes as data: path, methods, handlers. Every one answers OPTIONS (CORS), refuses other methods with
//! the list of its own, and stands in the OpenAPI document: a test holds the two against each other.

use super::problem::Problem;
use axum::Router;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};

/// One URL of the API.
pub struct Route<S> {
    /// As axum and OpenAPI write it.
    pub path: &'static str,
    /// What [`header::ALLOW`] says; OPTIONS is among them.
    pub methods: &'static str,
    handlers: MethodRouter<S>,
}

/// A header that OPTIONS answers with, such as `Accept-Post`.
pub type Accept = Option<(HeaderName, &'static str)>;

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// `handlers` answer `methods`, all but OPTIONS.
    pub fn new(
        path: &'static str,
        methods: &'static str,
        accept: Accept,
        handlers: MethodRouter<S>,
    ) -> Self {
        let handlers = handlers
            .on(MethodFilter::OPTIONS, async move || options(methods, accept))
            .fallback(async move |method: Method| refuse(&method, methods));
        Self { path, methods, handlers }
    }
}

/// The router of `routes`, with CORS on every answer.
pub fn collect<S: Clone + Send + Sync + 'static>(routes: Vec<Route<S>>) -> Router<S> {
    let add = |router: Router<S>, route: Route<S>| router.route(route.path, route.handlers);
    routes.into_iter().fold(Router::new(), add).layer(map_response(allow_any_origin))
}

/// CORS (RFC 9725 §4.8 for WHIP): a page of the school's portal may use the API; what needs a token
/// needs it anyway, and no cookie is looked at.
async fn allow_any_origin(mut response: Response) -> Response {
    let fixed = HeaderValue::from_static;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, fixed("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        fixed("Location, ETag, Accept-Post, Accept-Patch, WWW-Authenticate, Retry-After"),
    );
    response
}

fn options(methods: &'static str, accept: Accept) -> Response {
    let headers = [
        (header::ALLOW, methods),
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, If-Match, If-None-Match",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
    ];
    let mut response = (StatusCode::NO_CONTENT, headers).into_response();
    if let Some((name, kind)) = accept {
        response.headers_mut().insert(name, HeaderValue::from_static(kind));
    }
    response
}

fn refuse(method: &Method, allowed: &'static str) -> Problem {
    let detail = format!("{method} means nothing here: use {allowed}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        .with(header::ALLOW, HeaderValue::from_static(allowed))
}
