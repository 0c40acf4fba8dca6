//! `outrigger run`: the sidecar, until it is told to stop.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use indicatif::MultiProgress;
use outrigger_proxy::Inherited;

use crate::config::Config;
use crate::supervisor;
use crate::telemetry::metrics::Recorder;

/// How long threads that read files may take to finish; one on a file system that does not answer never does.
const ENDING: Duration = Duration::from_secs(1);

pub(super) fn run(file: &Path, screen: &MultiProgress) -> anyhow::Result<()> {
    // Before there are threads.
    let inherited = Inherited::from_environment();
    let config = Config::load(file)?;
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let recorder = Recorder::install()?;
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot start")?;
    let outcome = runtime.block_on(supervisor::run(
        (file.to_owned(), config),
        inherited,
        recorder,
        screen.clone(),
    ));
    // What is durable is durable (W3). A thread that still reads the log would find RocksDB's own end in the middle of its work.
    runtime.shutdown_timeout(ENDING);
    Ok(outcome?)
}
