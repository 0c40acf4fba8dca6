//! `outrigger log trim`: gives back the space of what is not needed any more.
//!
//! While a process has the log open, that process trims, and never what a task has not applied (C4). Otherwise nobody knows
//! what the targets have applied, and only who says `--force` may trim.

use anyhow::{Context, bail, ensure};
use bytesize::ByteSize;
use clap::Args;
use outrigger_storage::{Log, Offset, View};

use super::{Place, Which, print_json};
use crate::cli::print;
use crate::http::{TrimAnswer, TrimOrder};

/// Which log, and how much of it.
#[derive(Debug, Args)]
pub(in crate::cli) struct TrimArgs {
    #[command(flatten)]
    which: Which,
    /// The last offset to go; left out, everything that every task has applied.
    #[arg(long, value_name = "OFFSET")]
    through: Option<u64>,
    /// Trim although no process has the log open that could say what the tasks have applied. A target that has not applied
    /// what goes must be copied anew.
    #[arg(long)]
    force: bool,
}

pub(super) fn trim(args: &TrimArgs) -> anyhow::Result<()> {
    let place = args.which.place()?;
    let info = View::open(place.path())?.info()?;
    let answer = if info.in_use.is_some() {
        let (url, _) = place.ask(&info)?;
        order(&url, args.through)?
    } else {
        let through = args
            .through
            .context("no process has the log open: --through says what may go")?;
        ensure!(
            args.force,
            "no process has the log open, so nobody says what the tasks have applied; start it and trim then, or give \
             --force: a target that has not applied offset {through} must then be copied anew"
        );
        offline(place, Offset(through))?
    };
    if args.which.json {
        return print_json(&answer);
    }
    print(&format!(
        "the log now begins at offset {}; it takes {}, {} less than before\n",
        answer.first,
        ByteSize(answer.bytes),
        ByteSize(answer.bytes_before.saturating_sub(answer.bytes))
    ))
}

/// Has the process that answers at `url` trim.
fn order(url: &str, through: Option<u64>) -> anyhow::Result<TrimAnswer> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent
        .post(format!("{url}/api/v1/log/trim"))
        .send_json(TrimOrder { through })
        .with_context(|| format!("nothing answers at {url}"))?;
    if !answer.status().is_success() {
        bail!("{}", answer.body_mut().read_to_string()?.trim_end());
    }
    Ok(answer.body_mut().read_json()?)
}

/// Trims a log that nobody has open.
fn offline(place: Place, through: Offset) -> anyhow::Result<TrimAnswer> {
    let log = Log::open(place.config)?;
    let before = log.stats();
    log.trim(through)?;
    log.reclaim()?;
    let stats = log.stats();
    log.close()?;
    Ok(TrimAnswer {
        first: stats.first.0,
        bytes: stats.bytes.0,
        bytes_before: before.bytes.0,
    })
}
