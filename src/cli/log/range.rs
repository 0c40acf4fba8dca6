//! Which transactions, as the command line says it.

use clap::Args;
use outrigger_protocol::gtid::GtidSet;
use outrigger_storage::Offset;

use crate::cli::time;
use crate::log::range::Range;

/// A choice of transactions: those that meet every condition given.
#[derive(Debug, Args)]
pub(super) struct RangeArgs {
    /// From this offset of the log on.
    #[arg(long, value_name = "N")]
    from_offset: Option<u64>,
    /// Up to and including this offset.
    #[arg(long, value_name = "N")]
    until_offset: Option<u64>,
    /// Only transactions with these GTIDs: one, or a set.
    #[arg(long, visible_alias = "gtid", value_name = "SET")]
    gtids: Option<GtidSet>,
    /// Only what the source committed then or later (UTC).
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    from_time: Option<u64>,
    /// Only what the source committed then or earlier (UTC).
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until_time: Option<u64>,
}

impl RangeArgs {
    pub(super) fn range(&self) -> Range {
        Range {
            first: self.from_offset.map(Offset),
            last: self.until_offset.map(Offset),
            gtids: self.gtids.clone(),
            since: self.from_time,
            until: self.until_time,
        }
    }
}
