//! `outrigger log show`: transactions, decoded.

use std::io::{self, BufWriter, ErrorKind};

use clap::Args;
use outrigger_applier::{Pattern, Selection};
use outrigger_storage::{Offset, View};

use super::Which;
use super::range::RangeArgs;
use crate::log::show::{Error, Json, Show, Sink, Text, Wanted};

/// Which transactions, and how much of them.
#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    range: RangeArgs,
    /// Only changes of these tables: DATABASE or DATABASE.TABLE with * as a wildcard; repeatable.
    #[arg(long, value_name = "PATTERN", value_parser = crate::cli::pattern)]
    table: Vec<Pattern>,
    /// Print the rows and their values too, and the statements that caused them.
    #[arg(long)]
    rows: bool,
}

pub(super) fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let mut view = args.which.open()?;
    let wanted = Wanted {
        range: args.range.range(),
        tables: (!args.table.is_empty()).then(|| Selection {
            include: args.table.clone(),
            exclude: Vec::new(),
        }),
        rows: args.rows,
    };
    let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let shown = if args.which.json {
        all(&mut view, Json::new(out, args.rows), wanted)
    } else {
        all(&mut view, Text::new(out, args.rows), wanted)
    };
    match shown {
        // A reader that went away (`… | head`) has seen what it wanted.
        Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn all(view: &mut View, sink: impl Sink, wanted: Wanted) -> Result<(), Error> {
    let mut records = view.records(wanted.range.first.unwrap_or(Offset::ZERO));
    let mut show = Show::new(sink, wanted);
    while let Some(record) = records.next() {
        if !show.record(&record?, &records)? {
            break;
        }
    }
    Ok(show.into_sink().flush()?)
}
