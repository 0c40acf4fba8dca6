//! Status, health and metrics over HTTP: `/api/v1/status` and `/api/v1/sessions` (JSON), `/healthz` (200 or 503 with reasons), `/metrics` (Prometheus).
//! Two orders: `POST /api/v1/log/trim` gives back what every task has applied, and nothing else; `POST /api/v1/reload` reads the
//! configuration file again.
//!
//! No secrets in any answer (W1). What is served comes in as functions, so that a test brings its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::status::{Document, Sessions};
use crate::supervisor::reload::Reloaded;

/// Where the answers come from.
#[derive(Clone)]
pub struct Pages {
    /// The status, now.
    pub status: Arc<dyn Fn() -> Document + Send + Sync>,
    /// Who is connected to the proxy, now.
    pub sessions: Arc<dyn Fn() -> Sessions + Send + Sync>,
    /// All metrics, now, in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Trims the log; an error is a sentence for whoever asked. Blocks for the disk.
    pub trim: Arc<dyn Fn(TrimOrder) -> Result<TrimAnswer, String> + Send + Sync>,
    /// Reads the configuration file again, in a task of its own; an error is a sentence likewise.
    pub reload: Arc<dyn Fn() -> JoinHandle<Result<Reloaded, String>> + Send + Sync>,
}

/// What `POST /api/v1/log/trim` is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrimOrder {
    /// The last offset to go; absent: everything that every task has applied.
    pub through: Option<u64>,
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrimAnswer {
    /// The first offset kept.
    pub first: u64,
    /// Bytes on disk now.
    pub bytes: u64,
    /// Bytes on disk before.
    pub bytes_before: u64,
}

/// The HTTP server, listening but not answering yet.
pub struct Server {
    listener: TcpListener,
    pages: Pages,
}

impl Server {
    /// Listens on `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// When the address is taken or is not this machine's.
    pub async fn bind(address: SocketAddr, pages: Pages) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            pages,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `cancel` is cancelled, then finishes what it is answering.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn run(self, cancel: CancellationToken) -> io::Result<()> {
        axum::serve(self.listener, router(self.pages))
            .with_graceful_shutdown(cancel.cancelled_owned())
            .await
    }
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/api/v1/status", get(status))
        .route("/api/v1/sessions", get(sessions))
        .route("/api/v1/log/trim", post(trim))
        .route("/api/v1/reload", post(reload))
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .with_state(pages)
}

async fn index() -> &'static str {
    "Outrigger\n/api/v1/status\n/api/v1/sessions\n/healthz\n/metrics\n"
}

async fn status(State(pages): State<Pages>) -> Json<Document> {
    Json((pages.status)())
}

async fn sessions(State(pages): State<Pages>) -> Json<Sessions> {
    Json((pages.sessions)())
}

async fn trim(State(pages): State<Pages>, Json(order): Json<TrimOrder>) -> Response {
    answer(tokio::task::spawn_blocking(move || (pages.trim)(order))).await
}

/// Waits for what was ordered, and says what came of it.
async fn answer<A: Serialize>(order: JoinHandle<Result<A, String>>) -> Response {
    match order.await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(sentence)) => (StatusCode::CONFLICT, sentence + "\n").into_response(),
        Err(defect) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{defect}\n")).into_response(),
    }
}

async fn reload(State(pages): State<Pages>) -> Response {
    answer((pages.reload)()).await
}

async fn health(State(pages): State<Pages>) -> (StatusCode, String) {
    let troubles = (pages.status)().troubles();
    if troubles.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n")
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        (pages.metrics)(),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{LogPart, Phase, SourcePart};

    fn document(phase: Phase) -> Document {
        Document {
            version: "1".to_owned(),
            uptime_seconds: 1.0,
            resident_bytes: 1,
            source: SourcePart {
                address: "a:1".to_owned(),
                server_version: None,
                phase,
                file: None,
                gtids: None,
                semi_sync: false,
                transactions: 0,
                passed: 0,
                transactions_per_second: 0.0,
                bytes_per_second: 0.0,
                silent_seconds: None,
                delay_seconds: 0.0,
            },
            log: LogPart {
                path: "/l".to_owned(),
                id: "i".to_owned(),
                first: 1,
                last: 0,
                bytes: 0,
                quota: 1,
                paused: false,
                overdue: false,
                held: None,
                found: Vec::new(),
                phase: Phase::plain("open"),
            },
            proxy: None,
            tasks: Vec::new(),
        }
    }

    /// Serves a document on a free port and asks for `path`: status code and body.
    async fn ask(phase: Phase, path: &str) -> (u16, String) {
        let pages = Pages {
            status: Arc::new(move || document(phase.clone())),
            sessions: Arc::new(Sessions::default),
            metrics: Arc::new(|| "up 1\n".to_owned()),
            trim: Arc::new(|order| Err(format!("not through {order:?}"))),
            reload: Arc::new(|| tokio::spawn(async { Ok(Reloaded::default()) })),
        };
        let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), pages)
            .await
            .unwrap();
        let url = format!("http://{}{path}", server.local_address().unwrap());
        let cancel = CancellationToken::new();
        let running = tokio::spawn(server.run(cancel.clone()));
        let answer = tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .build()
                .into();
            let mut answer = agent.get(&url).call().unwrap();
            (
                answer.status().as_u16(),
                answer.body_mut().read_to_string().unwrap(),
            )
        });
        let answer = answer.await.unwrap();
        cancel.cancel();
        running.await.unwrap().unwrap();
        answer
    }

    #[tokio::test]
    async fn status_is_the_document() {
        let (code, body) = ask(Phase::plain("streaming"), "/api/v1/status").await;
        assert_eq!(code, 200);
        assert_eq!(
            serde_json::from_str::<Document>(&body).unwrap(),
            document(Phase::plain("streaming"))
        );
    }

    #[tokio::test]
    async fn health_says_what_is_wrong() {
        assert_eq!(
            ask(Phase::plain("streaming"), "/healthz").await,
            (200, "ok\n".to_owned())
        );
        let (code, body) = ask(Phase::stopped(Some("it was purged".to_owned())), "/healthz").await;
        assert_eq!((code, body.as_str()), (503, "source is stopped: it was purged\n"));
    }

    #[tokio::test]
    async fn metrics_are_text_and_unknown_paths_are_not_found() {
        assert_eq!(
            ask(Phase::plain("streaming"), "/metrics").await,
            (200, "up 1\n".to_owned())
        );
        assert_eq!(ask(Phase::plain("streaming"), "/nothing").await.0, 404);
    }
}
