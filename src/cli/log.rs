//! `outrigger log`: the change log of a sidecar that runs or not. Looking never disturbs the process that writes it.

mod export;
mod info;
mod range;
mod show;
mod trim;
mod verify;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::MultiProgress;
use outrigger_storage::{Info, View};
use serde::Serialize;

use super::status::{base_url, fetch, local_url};
use super::{ConfigArg, print};
use crate::config;
use crate::status::Document;

/// What can be done with a log.
#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// What it holds: offsets, bytes, positions, times, who reads it.
    Info(info::InfoArgs),
    /// The transactions in it, decoded.
    Show(Box<show::ShowArgs>),
    /// Binlog files of it, which mysqlbinlog and replicas read.
    Export(Box<export::ExportArgs>),
    /// Check every checksum of all that is stored; exit code 1 if something is damaged.
    Verify(verify::VerifyArgs),
    /// Give back the space of transactions that every task has applied.
    Trim(trim::TrimArgs),
}

pub(super) fn log(command: &LogCommand, screen: &MultiProgress) -> anyhow::Result<()> {
    match command {
        LogCommand::Info(args) => info::info(args),
        LogCommand::Show(args) => show::show(args),
        LogCommand::Export(args) => export::export(args),
        LogCommand::Verify(args) => verify::verify(args, screen),
        LogCommand::Trim(args) => trim::trim(args),
    }
}

/// Which log is meant, and how to print.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Its [log] section says where the log is.
    #[command(flatten)]
    config: ConfigArg,
    /// The log's folder, instead of what the configuration file says.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// Where the process that writes the log is asked, instead of what the configuration file says: `http://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// A log as the command line or a configuration file names it.
pub(super) struct Place {
    /// Settings; those of a folder named alone are the defaults.
    pub(super) config: outrigger_storage::Config,
    /// Whether they are from a configuration file.
    pub(super) configured: bool,
    /// Where its process answers, where that is known.
    url: Option<String>,
}

impl Which {
    /// Finds the log.
    pub(super) fn place(&self) -> anyhow::Result<Place> {
        let url = self.url.as_deref().map(base_url);
        match &self.log {
            Some(folder) => Ok(Place {
                config: outrigger_storage::Config::new(folder),
                configured: false,
                url,
            }),
            None => {
                let (config, http) = config::log_and_http(&self.config.config)?;
                Ok(Place {
                    config,
                    configured: true,
                    url: Some(url.unwrap_or_else(|| local_url(http))),
                })
            }
        }
    }

    /// Opens the log to look at it.
    pub(super) fn open(&self) -> anyhow::Result<View> {
        Ok(View::open(&self.place()?.config.path)?)
    }
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        &self.config.path
    }

    /// What the process that has the log open says of itself; an error with a sentence if nobody can be asked.
    pub(super) fn ask(&self, info: &Info) -> anyhow::Result<(String, Document)> {
        let holder = info
            .in_use
            .as_ref()
            .context("no process has the log open, so nobody says what the tasks have applied")?;
        let url = self.url.clone().with_context(|| {
            format!("{holder} has the log open; --config or --url says where it can be asked what the tasks have applied")
        })?;
        let document = fetch(&url)?;
        anyhow::ensure!(
            document.log.id == info.id.to_string(),
            "what answers at {url} has another log ({}), not this one; --url says where the process answers that has it \
             open ({holder})",
            document.log.path
        );
        Ok((url, document))
    }
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(value).context("the answer cannot be written as JSON")?;
    print(&(json + "\n"))
}
