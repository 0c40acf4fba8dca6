//! A proxy inside the test's own process, before any server.

use std::path::PathBuf;
use std::sync::Arc;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use outrigger_protocol::endpoint::Endpoint;
use outrigger_proxy::guard::{self, Action, Guard, Policy, Watched};
use outrigger_proxy::{Config, Gate, ListenAddress, Metrics, Proxy};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A proxy that runs, and what it counts.
pub(crate) struct Front {
    pub(crate) port: u16,
    pub(crate) socket: PathBuf,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), outrigger_proxy::Error>>,
    metrics: PrometheusHandle,
    counts: Arc<Metrics>,
    pub(crate) gate: Arc<Gate>,
}

impl Front {
    /// Listens at a free port and at `socket`, whatever `config` says of that. Every rule of the guard is on but the one
    /// against readers of the binlog.
    pub(crate) async fn start(socket: PathBuf, upstream: Endpoint, config: Config) -> Self {
        let config = Config {
            listen: vec![
                "127.0.0.1:0".parse().unwrap(),
                ListenAddress::Unix(socket.clone()).into(),
            ],
            ..config
        };
        let recorder = PrometheusBuilder::new().build_recorder();
        let counts = Arc::new(metrics::with_local_recorder(&recorder, Metrics::new));
        let rules = guard::Config {
            rules: [("binlog-dump".to_owned(), Action::Allow)].into(),
        };
        let policy: Arc<dyn Guard> = Arc::new(Policy::new(&rules, Arc::new(Unwatched)));
        let proxy = Proxy::bind(config, upstream)
            .await
            .unwrap()
            .guarded_by(policy)
            .counting_with(Arc::clone(&counts));
        let ListenAddress::Tcp(address) = proxy.listening().addresses()[0].clone() else {
            panic!("no port");
        };
        let cancel = CancellationToken::new();
        let gate = proxy.gate();
        Self {
            port: address.port(),
            socket,
            task: tokio::spawn(proxy.run(cancel.clone())),
            cancel,
            metrics: recorder.handle(),
            counts,
            gate,
        }
    }

    /// What it has counted, as Prometheus would read it.
    pub(crate) fn counted(&self) -> String {
        self.metrics.render() + &self.counts.exposition()
    }

    /// Ends it; all sessions are over then.
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// No task selects anything.
struct Unwatched;

impl Watched for Unwatched {
    fn table(&self, _database: &str, _table: &str) -> bool {
        false
    }

    fn database(&self, _database: &str) -> bool {
        false
    }

    fn may_purge(&self, _before: Option<&str>) -> bool {
        true
    }
}
