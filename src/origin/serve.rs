//! HTTP/1.1 to players: one single-threaded runtime and one listener a core.
//!
//! The kernel spreads connections over the listeners (`SO_REUSEPORT`), so no connection ever moves between
//! threads and no lock is shared but the room table's. What is not below `/hls/` goes to the router. TLS and
//! HTTP/2 have their seam in [`connection`]: they wrap the stream and choose the protocol there.

use super::answer::{Answer, Kind, Request, Response, answer};
use super::body::{Bounded, Outgoing};
use super::figures::Figures;
use super::hub::{Channel, Hub, Shard};
use super::stall::Stall;
use super::{Config, problem};
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt;

/// Connections the kernel may hold until they are accepted: with 1024 a herd of 5,000 takes two seconds.
const BACKLOG: u32 = 8192;

/// How long to rest when accepting fails: almost always because file descriptors have run out.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error(
        "port {port} is taken: another program already listens on {0}. Stop it (`ss -ltnp 'sport = :{port}'` shows \
         which it is), or set http.listen to another port",
        port = .0.port()
    )]
    Taken(SocketAddr),
    /// Not allowed.
    #[error(
        "port {port} needs privileges: use a port from 1024 on in http.listen, or give the program \
         CAP_NET_BIND_SERVICE",
        port = .0.port()
    )]
    Denied(SocketAddr),
    /// No such address here.
    #[error(
        "{0} is no address of this machine: set http.listen to one that `ip address` shows, or to [::]"
    )]
    NoAddress(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// No thread or no runtime.
    #[error("cannot start a worker: {0}")]
    Worker(std::io::Error),
}

impl ServeError {
    fn listen(address: SocketAddr, error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::AddrInUse => Self::Taken(address),
            std::io::ErrorKind::PermissionDenied => Self::Denied(address),
            std::io::ErrorKind::AddrNotAvailable => Self::NoAddress(address),
            _ => Self::Listen { address, error },
        }
    }
}

/// The running server. Dropping it closes every connection at once; see [`Server::shutdown`].
pub struct Server {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    stop: watch::Sender<Option<Instant>>,
    done: Vec<oneshot::Receiver<()>>,
}

/// What all connections of a worker share.
struct Worker {
    hub: Hub,
    shard: Arc<Shard>,
    fallback: axum::Router,
    config: Config,
    figures: Figures,
    open: Arc<AtomicUsize>,
    /// Set to the deadline when the server stops.
    stop: watch::Receiver<Option<Instant>>,
}

impl Server {
    /// Binds and starts the workers on threads of their own.
    ///
    /// # Errors
    /// The address cannot be listened on; a stray process that shares the port counts as such, although the
    /// kernel would let both have it.
    pub fn start(config: &Config, hub: Hub, fallback: axum::Router) -> Result<Self, ServeError> {
        let (address, mut sockets) = listen(config.listen, hub.shards().len())?;
        let (stop, stopped) = watch::channel(None);
        let open = Arc::new(AtomicUsize::new(0));
        let mut done = Vec::new();
        for (index, shard) in hub.shards().iter().enumerate() {
            let Some(socket) = sockets.pop() else { break };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(ServeError::Worker)?;
            let worker = Worker {
                hub: hub.clone(),
                shard: shard.clone(),
                fallback: fallback.clone(),
                config: config.clone(),
                figures: Figures::new(),
                open: open.clone(),
                stop: stopped.clone(),
            };
            // Listening before the threads start: who has seen `start` return can connect.
            let listener = {
                let _inside = runtime.enter();
                socket.listen(BACKLOG).map_err(|e| ServeError::listen(address, e))?
            };
            let (finished, finish) = oneshot::channel();
            std::thread::Builder::new()
                .name(format!("origin-{index}"))
                .spawn(move || {
                    runtime.block_on(async move {
                        let relay = tokio::spawn(worker.shard.clone().relay());
                        Arc::new(worker).accept(listener).await;
                        relay.abort();
                    });
                    // The receiver may be gone: nobody waits for the end then.
                    let _ = finished.send(());
                })
                .map_err(ServeError::Worker)?;
            done.push(finish);
        }
        Ok(Self { address, open, stop, done })
    }

    /// Where it listens; the port is the real one where the configuration said 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Stops: no new connections, requests in flight are answered, those that still wait for a part get a
    /// 503, and after `grace` whatever is left is cut. End the classes first, so that players learn the end.
    pub async fn shutdown(mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.stop.send_replace(Some(deadline));
        for done in self.done.drain(..) {
            // An error means that the worker is gone already.
            let _ = timeout_at(deadline + Duration::from_millis(500), done).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.stop.borrow().is_none() {
            self.stop.send_replace(Some(Instant::now()));
        }
    }
}

/// One bound socket a worker, all on one port.
fn listen(wanted: SocketAddr, count: usize) -> Result<(SocketAddr, Vec<TcpSocket>), ServeError> {
    let mut address = wanted;
    let first = match guard(address) {
        // No IPv6 on this machine: `[::]` was only meant as "everywhere".
        Err(ServeError::Listen { error, .. }) if wanted.ip() == std::net::Ipv6Addr::UNSPECIFIED => {
            tracing::info!(%error, "no IPv6 here, listening on IPv4 only");
            address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port()));
            guard(address).and_then(|()| bind(address))
        }
        guarded => guarded.and_then(|()| bind(address)),
    }?;
    address = first.local_addr().map_err(|e| ServeError::listen(address, e))?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(bind(address)?);
    }
    Ok((address, sockets))
}

/// Fails if anybody listens on `address`, even a process that would share it: binding without SO_REUSEPORT
/// is refused while any such socket lives. Otherwise an old process that nobody remembers would silently
/// take every other connection.
fn guard(address: SocketAddr) -> Result<(), ServeError> {
    if address.port() == 0 {
        return Ok(());
    }
    let probe = socket(address).map_err(|e| ServeError::listen(address, e))?;
    // Connections of a server that just ended, waiting out their time, are no reason to refuse.
    let bound = probe.set_reuseaddr(true).and_then(|()| probe.bind(address));
    bound.map_err(|e| ServeError::listen(address, e))
}

fn bind(address: SocketAddr) -> Result<TcpSocket, ServeError> {
    let make = || {
        let socket = socket(address)?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    make().map_err(|e| ServeError::listen(address, e))
}

fn socket(address: SocketAddr) -> std::io::Result<TcpSocket> {
    if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }
}

/// Counts a connection while it lives.
struct Open(Arc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.figures.connections.decrement(1.0);
    }
}

impl Worker {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(Option::is_some) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let count = self.open.fetch_add(1, Relaxed);
                        self.figures.connections.increment(1.0);
                        let open = Open(self.clone());
                        if count >= self.config.max_connections {
                            self.figures.refused.increment(1);
                            refuse(stream);
                        } else {
                            connections.spawn(connection(open, stream, peer));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                },
            }
        }
        drop(listener);
        let deadline = self.stop.borrow().unwrap_or_else(Instant::now);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_err() {
            connections.shutdown().await;
        }
    }

    async fn respond(
        &self,
        peer: SocketAddr,
        request: hyper::Request<Incoming>,
    ) -> hyper::Response<Outgoing> {
        let Some(below) = request.uri().path().strip_prefix("/hls/") else {
            return self.route(peer, request).await;
        };
        let method = request.method();
        if method == Method::OPTIONS {
            self.figures.count(Kind::Other, 204, 0);
            return preflight();
        }
        if method != Method::GET && method != Method::HEAD {
            let mut error =
                Response::error(405, Kind::Other, "playlists and media are read with GET and HEAD");
            error.max_age = 0;
            let mut response = self.finish(error, false);
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
            return response;
        }
        let (room, path) = below.split_once('/').unwrap_or((below, ""));
        let Some(channel) = self.hub.channel(room) else {
            let error = Response::error(404, Kind::Other, "no class is live in this room");
            return self.finish(error, method == Method::HEAD);
        };
        let text = |name: HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok());
        let asked = Request {
            path,
            query: request.uri().query().unwrap_or(""),
            range: text(header::RANGE),
            if_range: text(header::IF_RANGE),
            if_none_match: text(header::IF_NONE_MATCH),
            accept_encoding: text(header::ACCEPT_ENCODING),
        };
        let response = self.live(&channel, &asked).await;
        if response.kind == Kind::Video && response.status == 200 {
            channel.polled();
        }
        self.finish(response, method == Method::HEAD)
    }

    /// Answers from a class, now or when the point is reached.
    async fn live(&self, channel: &Arc<Channel>, request: &Request<'_>) -> Response {
        let mut deadline = None;
        loop {
            let snapshot = channel.snapshot();
            let point = match answer(&snapshot, request) {
                Answer::Ready(response) => return response,
                Answer::Wait(point) => point,
            };
            let target = snapshot.window().geometry().target_duration();
            let deadline =
                *deadline.get_or_insert_with(|| Instant::now() + Duration::from_secs(3 * target));
            let Ok(wait) = self.hub.wait(&self.shard, channel, point) else {
                return Response::error(
                    503,
                    Kind::Other,
                    "too many requests wait for this class; come back soon",
                );
            };
            // The old state must not be kept alive by those who wait for the next.
            drop(snapshot);
            self.figures.waiting.increment(1.0);
            let mut stop = self.stop.clone();
            let reached = tokio::select! {
                reached = timeout_at(deadline, wait) => reached.is_ok(),
                _ = stop.wait_for(Option::is_some) => false,
            };
            self.figures.waiting.decrement(1.0);
            if !reached {
                return Response::timed_out();
            }
        }
    }

    /// Adds the headers that all answers have.
    fn finish(&self, answer: Response, head: bool) -> hyper::Response<Outgoing> {
        let len = answer.len();
        self.figures.count(answer.kind, answer.status, if head { 0 } else { len });
        let mut response = hyper::Response::new(if head {
            Outgoing::empty()
        } else {
            Outgoing::pieces(answer.body)
        });
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        cors(headers);
        let mut put = |name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        };
        let owned = |text: Option<String>| text.and_then(|t| HeaderValue::try_from(t).ok());
        let immutable = if answer.immutable { ", immutable" } else { "" };
        put(header::CACHE_CONTROL, owned(Some(format!("max-age={}{immutable}", answer.max_age))));
        if answer.status != 304 {
            put(header::CONTENT_LENGTH, Some(HeaderValue::from(len)));
            put(header::CONTENT_TYPE, Some(HeaderValue::from_static(answer.content_type)));
        }
        put(header::ETAG, owned(answer.etag));
        put(header::CONTENT_RANGE, owned(answer.content_range));
        put(header::ACCEPT_RANGES, answer.ranges.then(|| HeaderValue::from_static("bytes")));
        put(header::CONTENT_ENCODING, answer.coding.map(|c| HeaderValue::from_static(c.name())));
        put(header::VARY, answer.varies.then(|| HeaderValue::from_static("accept-encoding")));
        put(header::RETRY_AFTER, answer.retry_after.map(HeaderValue::from));
        response
    }

    /// Hands a request to the router.
    async fn route(
        &self,
        peer: SocketAddr,
        request: hyper::Request<Incoming>,
    ) -> hyper::Response<Outgoing> {
        let (limit, time) = (self.config.max_body, self.config.body_timeout.0);
        let announced = request
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse().ok());
        if announced.is_some_and(|n: u64| n > limit as u64) {
            return too_large(limit);
        }
        let mut request = request.map(|body| {
            if hyper::body::Body::is_end_stream(&body) {
                axum::body::Body::empty()
            } else {
                axum::body::Body::new(Bounded::new(body, limit, time))
            }
        });
        request.extensions_mut().insert(ConnectInfo(peer));
        match self.fallback.clone().oneshot(request).await {
            Ok(response) => response.map(Outgoing::Router),
            Err(never) => match never {},
        }
    }
}

/// Serves one connection until it ends or the server stops.
async fn connection(open: Open, stream: TcpStream, peer: SocketAddr) {
    let worker = open.0.clone();
    // Parts are written whole; waiting for more to fill a packet would only delay their ends.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let io = TokioIo::new(Stall::new(stream, worker.config.body_timeout.0));
    let service = service_fn(|request| {
        let worker = &worker;
        async move { Ok::<_, Infallible>(worker.respond(peer, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(worker.config.header_timeout.0)
        .writev(true)
        .keep_alive(true);
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let mut stop = worker.stop.clone();
    tokio::select! {
        // How a client's connection ends is its own affair.
        _ = connection.as_mut() => return,
        _ = stop.wait_for(Option::is_some) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Tells a connection too many to come back, if it takes the answer at once.
fn refuse(stream: TcpStream) {
    let text = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let _ = stream.try_write(text);
}

fn too_large(limit: usize) -> hyper::Response<Outgoing> {
    let detail = format!("the request body may have at most {limit} bytes");
    let body = problem::document(413, &detail);
    let mut response = hyper::Response::new(Outgoing::pieces(vec![body.into()]));
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Anybody's page may play a class: what must be protected is not protected by origin.
fn cors(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed =
        HeaderValue::from_static("content-length, content-range, date, etag, age, retry-after");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    headers.insert(HeaderName::from_static("timing-allow-origin"), HeaderValue::from_static("*"));
}

fn preflight() -> hyper::Response<Outgoing> {
    let mut response = hyper::Response::new(Outgoing::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    cors(headers);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, OPTIONS"),
    );
    let allowed = HeaderValue::from_static("range, if-range, if-none-match, cache-control");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
