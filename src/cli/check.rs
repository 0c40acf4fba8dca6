//! `outrigger check`: whether source and targets can be used, before anything is started.

use std::path::Path;

use anyhow::Context;

use super::print;
use crate::config::Config;
use crate::precheck;

pub(super) fn check(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(file)?;
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot start")?;
    let findings = runtime.block_on(precheck::check(&config));
    print(&precheck::render(&findings))?;
    let failed = findings.iter().filter(|finding| finding.outcome.is_err()).count();
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed", findings.len());
    Ok(())
}
