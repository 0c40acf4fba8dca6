//! `outrigger config`: an example, and a check.

use std::path::PathBuf;

use clap::Subcommand;

use super::print;
use crate::config::Config;

/// What can be done with a configuration file.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print a complete, commented configuration file.
    Example,
    /// Validate a configuration file and print what it says, without secrets.
    Check {
        /// The file.
        #[arg(
            env = "OUTRIGGER_CONFIG",
            default_value = "outrigger.toml",
            value_name = "FILE"
        )]
        file: PathBuf,
    },
}

pub(super) fn config(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Example => print(&Config::example()),
        ConfigCommand::Check { file } => print(&Config::load(file)?.render()),
    }
}
