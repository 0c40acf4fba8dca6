//! What was found of rows that the target should have had and hadn't, or had with other values, or the other way round (A8): counted
//! since the process began.

use std::collections::BTreeMap;

/// What is wrong with a row of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DivergenceKind {
    /// It should be there and isn't.
    MissingRow,
    /// It should not be there: it has a key of a row that is to be written.
    ExtraRow,
    /// It is there, and other values of it are not what they were on the source.
    DifferentRow,
}

impl DivergenceKind {
    /// As metrics and the status name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingRow => "missing_row",
            Self::ExtraRow => "extra_row",
            Self::DifferentRow => "different_row",
        }
    }
}

/// The last row that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastDivergence {
    /// The table, quoted.
    pub table: String,
    /// What is wrong with it.
    pub kind: DivergenceKind,
    /// The transaction that met it.
    pub place: String,
    /// When, Unix seconds.
    pub at: u64,
}

/// All rows that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Divergences {
    /// How many, by table (quoted) and kind.
    pub rows: BTreeMap<(String, DivergenceKind), u64>,
    /// The last one.
    pub last: Option<LastDivergence>,
}

impl Divergences {
    /// How many there are.
    pub fn total(&self) -> u64 {
        self.rows.values().sum()
    }

    /// Counts rows of one table and kind, the last of which `last` is; returns how many there were before.
    pub(crate) fn add(&mut self, rows: u64, last: LastDivergence) -> u64 {
        let count = self.rows.entry((last.table.clone(), last.kind)).or_default();
        let before = *count;
        *count += rows;
        self.last = Some(last);
        before
    }
}
