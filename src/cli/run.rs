//! `outrigger run`: the sidecar, until it is told to stop.

use std::path::Path;

use anyhow::Context;
use indicatif::MultiProgress;
use outrigger_proxy::Inherited;

use crate::config::Config;
use crate::supervisor;
use crate::telemetry::metrics::Recorder;

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
    // Nothing that is worth waiting for is left: what is durable is durable (W3).
    runtime.shutdown_background();
    Ok(outcome?)
}
