//! The command line: what can be asked for, and the exit codes.
//!
//! 0 is success, 1 is a failure while working, 2 is a command or a configuration that cannot be understood. Errors are one
//! sentence on stderr, never a backtrace.

mod check;
mod config;
mod log;
mod reload;
mod replay;
mod run;
mod sessions;
mod status;
mod time;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use outrigger_applier::Pattern;

use crate::config::ConfigError;
use crate::demo::{self, DemoArgs};
use crate::telemetry;

/// Keeps a MySQL-compatible target in step with a self-managed MySQL source.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: error, warn, info, debug, trace, or a filter like `info,outrigger_capture=debug`.
    #[arg(long, global = true, env = "OUTRIGGER_LOG", default_value = "info", value_name = "FILTER", value_parser = telemetry::logs::parse_filter)]
    log_level: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar: capture, copy, replay, proxy, HTTP.
    Run(ConfigArg),
    /// Apply a log to a target without the source, up to a place.
    Replay(Box<replay::ReplayArgs>),
    /// Show what a running sidecar is doing.
    Status(status::StatusArgs),
    /// Show who is connected to a running sidecar's proxy.
    Sessions(status::StatusArgs),
    /// Have a running sidecar read its configuration again, as SIGHUP does.
    Reload(status::StatusArgs),
    /// Connect to the source and to every target, and say what is missing.
    Check(ConfigArg),
    /// Look into the change log of a sidecar that runs or not, or trim it.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Write or validate a configuration file.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Start two servers of its own, fill, sync, kill, compare.
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(
        long,
        short,
        env = "OUTRIGGER_CONFIG",
        default_value = "outrigger.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
}

/// Parses the arguments, does what they ask for, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = telemetry::logs::install(&cli.log_level).and_then(|bars| match &cli.command {
        Command::Run(args) => run::run(&args.config, &bars),
        Command::Replay(args) => replay::replay(args),
        Command::Status(args) => status::status(args),
        Command::Sessions(args) => sessions::sessions(args),
        Command::Reload(args) => reload::reload(args),
        Command::Check(args) => check::check(&args.config),
        Command::Log(command) => log::log(command, &bars),
        Command::Config(command) => config::config(command),
        Command::Demo(args) => demo::run(args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            if error.is::<ConfigError>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// `DATABASE` or `DATABASE.TABLE`, with wildcards.
fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::try_from(text.to_owned())
}

/// Writes an error and what led to it as one sentence on stderr.
fn complain(error: &anyhow::Error) {
    // When even stderr is gone there is nobody left to tell.
    drop(writeln!(std::io::stderr(), "outrigger: {}", sentence(error)));
}

/// The error's text, then those of its causes that it does not quote itself.
fn sentence(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |text, cause| match text.as_str() {
            "" => cause,
            _ if text.contains(&cause) => text,
            _ => format!("{text}: {cause}"),
        })
}

/// Writes to stdout; a reader that went away (`outrigger status | head`) is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_cause_is_told_once() {
        let quoting = anyhow::anyhow!("it broke").context("the proxy can't listen: it broke");
        assert_eq!(sentence(&quoting), "the proxy can't listen: it broke");
        assert_eq!(sentence(&anyhow::anyhow!("b").context("a")), "a: b");
    }
}
