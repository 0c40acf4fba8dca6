//! `outrigger log export`: binlog files of what a log holds.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use bytesize::ByteSize;
use clap::Args;
use outrigger_protocol::gtid::GtidSet;
use outrigger_storage::{Offset, View};
use serde::Serialize;

use super::range::RangeArgs;
use super::{Which, print_json};
use crate::cli::print;
use crate::log::export::{Export, Written};
use crate::log::range::Range;

/// Which transactions, and where to.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    range: RangeArgs,
    /// The folder to write the files into; created when missing. Nothing in it is overwritten.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// What the files are called before the dot and the number.
    #[arg(long, value_name = "NAME", default_value = "binlog")]
    prefix: String,
    /// A file that would become larger ends before the next transaction; one that is larger by itself has a file of its own.
    #[arg(long, value_name = "SIZE", default_value = "1 GiB")]
    max_size: ByteSize,
}

/// What was written, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Answer {
    files: Vec<Written>,
    transactions: u64,
    bytes: u64,
}

pub(super) fn export(args: &ExportArgs) -> anyhow::Result<()> {
    ensure!(
        !args.prefix.is_empty() && !args.prefix.contains(['/', '.', '\n']),
        "--prefix {:?} is no file's name without a dot",
        args.prefix
    );
    let mut view = args.which.open()?;
    let range = args.range.range();
    let files = write(&mut view, args, &range)?;
    let answer = Answer {
        transactions: files.iter().map(|file| file.transactions).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
    };
    if args.which.json {
        return print_json(&answer);
    }
    let mut text: String = answer
        .files
        .iter()
        .map(|file| {
            format!(
                "{}  offsets {} to {}, {} transactions, {}\n",
                file.path.display(),
                file.first,
                file.last,
                file.transactions,
                ByteSize(file.bytes)
            )
        })
        .collect();
    text.push_str(&format!(
        "{} transactions in {} files\n",
        answer.transactions,
        answer.files.len()
    ));
    print(&text)
}

fn write(view: &mut View, args: &ExportArgs, range: &Range) -> anyhow::Result<Vec<Written>> {
    let previous = previous(view, range)?;
    let mut export = Export::new(&args.to, &args.prefix, args.max_size.as_u64(), previous)?;
    let mut meant = false;
    for record in view.records(range.first.unwrap_or(Offset::ZERO)) {
        let record = record?;
        if let Some(begin) = &record.begin {
            if range.is_over(record.offset) {
                break;
            }
            meant = range.holds(record.offset, begin);
        }
        if meant {
            export.record(&record)?;
        }
    }
    Ok(export.finish()?)
}

/// Every transaction before the first that is meant: what the log's end has less what follows. The log's end alone is stored as
/// a set, so what lies between is read once more.
fn previous(view: &mut View, range: &Range) -> anyhow::Result<GtidSet> {
    let position = view
        .info()?
        .position
        .context("the log is empty: capture has not begun yet")?;
    let Some(all) = position.gtids else {
        return Ok(GtidSet::default());
    };
    let mut later = GtidSet::default();
    let mut begun = false;
    for record in view.records(range.first.unwrap_or(Offset::ZERO)) {
        let record = record?;
        if let Some(begin) = record.begin {
            begun = begun || range.holds(record.offset, &begin);
            if begun && let Some(gtid) = begin.gtid {
                later.insert(gtid);
            }
        }
    }
    Ok(all.subtract(&later))
}
