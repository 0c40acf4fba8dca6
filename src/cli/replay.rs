//! `outrigger replay`: a log onto a target, without the source.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use outrigger_applier::{
    CopyConfig, GroupConfig, LimitsConfig, OnDivergence, OnExistingTables, Pattern, Selection,
};
use outrigger_protocol::endpoint::{Address, Endpoint, Secret, TlsMode};
use outrigger_protocol::gtid::Gtid;
use outrigger_storage::Offset;

use super::{print, time};
use crate::config;
use crate::log::place::{Held, Until};
use crate::replay::{self, Job, Outcome};

/// Where the password of a target given by `--target` is looked for.
const PASSWORD: &str = "OUTRIGGER_TARGET_PASSWORD";

/// Applies a log that no sidecar has open to a target, without the source. It goes on from the task's checkpoint on the
/// target; run again after an interruption, it resumes.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The configuration file whose log and task are meant. Not needed with --log, --target and --include.
    #[arg(long, short, env = "OUTRIGGER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The task; its checkpoint on the target says where to go on. Not needed when the file has one task.
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// The log's folder, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// The target, instead of the configuration's: [USER@]HOST[:PORT] or [USER@]/PATH/OF/SOCKET. The password is taken from the
    /// environment variable OUTRIGGER_TARGET_PASSWORD.
    #[arg(long, value_name = "ADDRESS")]
    target: Option<String>,
    /// What to replay, instead of the configuration's selection: DATABASE or DATABASE.TABLE with * as a wildcard; repeatable.
    #[arg(long, value_name = "PATTERN", value_parser = super::pattern)]
    include: Vec<Pattern>,
    /// The database on the target that holds the checkpoint, instead of the configuration's.
    #[arg(long, value_name = "NAME")]
    metadata_database: Option<String>,
    /// What the target holds, where it was restored otherwise and has no checkpoint: an offset of the log, a GTID set, or
    /// FILE:POSITION of the source's binlog.
    #[arg(long, value_name = "PLACE")]
    from: Option<Held>,
    /// Stop after this offset of the log.
    #[arg(long, value_name = "N", group = "until")]
    until_offset: Option<u64>,
    /// Stop after this transaction.
    #[arg(long, value_name = "GTID", group = "until")]
    until_gtid: Option<Gtid>,
    /// Stop before the first transaction that the source committed later than this (UTC).
    #[arg(long, value_name = "TIME", group = "until", value_parser = time::parse)]
    until_time: Option<u64>,
    /// The time zone of the source's machine, which definition statements of sessions with time_zone = SYSTEM depend on, instead of the
    /// configuration's: an offset or a name that the target knows.
    #[arg(long, value_name = "ZONE")]
    system_time_zone: Option<String>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<()> {
    let job = job(args)?;
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot start")?;
    let outcome = runtime.block_on(Box::pin(replay::run(job)))?;
    print(&if args.json {
        json(&outcome)?
    } else {
        text(&outcome)
    })?;
    ensure!(
        outcome.offset == outcome.through,
        "stopped before offset {}: start it again to go on",
        outcome.through
    );
    Ok(())
}

fn job(args: &ReplayArgs) -> anyhow::Result<Job> {
    let (mut log, mut task) = match (&args.config, &args.log, &args.target) {
        (None, Some(log), Some(_)) => {
            ensure!(
                !args.include.is_empty(),
                "--include says what to replay, where no configuration file does"
            );
            (outrigger_storage::Config::new(log), plain(args))
        }
        (file, ..) => {
            let file = file.as_deref().unwrap_or(Path::new("outrigger.toml"));
            config::log_and_task(file, args.task.as_deref())?
        }
    };
    if let Some(path) = &args.log {
        log.path.clone_from(path);
    }
    if let Some(address) = &args.target {
        task.target = endpoint(address)?;
    }
    if !args.include.is_empty() {
        task.selection = Selection {
            include: args.include.clone(),
            exclude: Vec::new(),
        };
    }
    if let Some(name) = &args.metadata_database {
        task.metadata_database.clone_from(name);
    }
    if let Some(zone) = &args.system_time_zone {
        task.system_time_zone = Some(zone.clone());
    }
    let until = match (args.until_offset, &args.until_gtid, args.until_time) {
        (Some(offset), ..) => Until::Offset(Offset(offset)),
        (_, Some(gtid), _) => Until::Gtid(gtid.clone()),
        (.., Some(micros)) => Until::Time(micros),
        (None, None, None) => Until::End,
    };
    Ok(Job {
        log,
        task,
        held: args.from.clone(),
        until,
    })
}

/// A task that no file describes.
fn plain(args: &ReplayArgs) -> outrigger_applier::Config {
    outrigger_applier::Config {
        name: args.task.clone().unwrap_or_else(|| "replay".to_owned()),
        source: config::nowhere(),
        target: config::nowhere(),
        selection: Selection::default(),
        copy: CopyConfig::default(),
        metadata_database: "outrigger".to_owned(),
        group: GroupConfig::default(),
        limits: LimitsConfig::default(),
        retry_window: Duration::from_secs(720 * 60),
        connect_timeout: Duration::from_secs(10),
        on_existing_tables: OnExistingTables::default(),
        on_divergence: OnDivergence::default(),
        // Whoever made the log did.
        allow_partial_row_images: true,
        system_time_zone: None,
    }
}

/// The server in `[USER@]HOST[:PORT]` or `[USER@]/PATH`.
fn endpoint(text: &str) -> anyhow::Result<Endpoint> {
    let (user, place) = text.rsplit_once('@').unwrap_or(("outrigger", text));
    let wrong = || format!("--target {text}: expected [USER@]HOST[:PORT] or [USER@]/PATH/OF/SOCKET");
    let address = if place.starts_with('/') {
        Address::Socket(place.into())
    } else {
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').with_context(wrong)?)),
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let port = port.map_or(Ok(3306), str::parse).with_context(wrong)?;
        Address::Tcp {
            host: host.to_owned(),
            port,
        }
    };
    let empty = matches!(&address, Address::Tcp { host, port } if host.is_empty() || *port == 0);
    if user.is_empty() || empty {
        bail!(wrong());
    }
    Ok(Endpoint {
        address,
        user: user.to_owned(),
        password: Secret::new(std::env::var(PASSWORD).unwrap_or_default()),
        tls: TlsMode::Disabled,
        tls_ca: None,
        tls_identity: None,
    })
}

fn text(outcome: &Outcome) -> String {
    let Outcome {
        offset,
        transactions,
        groups,
        ..
    } = outcome;
    let place = outcome
        .position
        .as_ref()
        .map_or_else(String::new, |position| format!(", which is {position}"));
    format!(
        "the target is at offset {offset}{place}; applied {transactions} transactions in {groups} groups\n"
    )
}

fn json(outcome: &Outcome) -> anyhow::Result<String> {
    let position = outcome.position.as_ref();
    let document = serde_json::json!({
        "offset": outcome.offset,
        "through": outcome.through,
        "gtids": position.and_then(|position| position.gtids.as_ref()),
        "file": position.map(|position| position.file.to_string()),
        "transactions": outcome.transactions,
        "groups": outcome.groups,
    });
    Ok(serde_json::to_string_pretty(&document).context("the outcome cannot be written as JSON")? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let said = |text: &str| endpoint(text).map(|e| format!("{} {}", e.user, e.address)).ok();
        for (text, expected) in [
            ("db", "outrigger db:3306"),
            ("me@db:3307", "me db:3307"),
            ("me@x@/run/db.sock", "me@x /run/db.sock"),
            ("[::1]:3307", "outrigger [::1]:3307"),
            ("[::1]", "outrigger [::1]:3306"),
        ] {
            assert_eq!(said(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["", "@db", "db:", "db:x", "db:0", "[::1]3306", ":3306"] {
            assert_eq!(said(wrong), None, "{wrong}");
        }
    }
}
