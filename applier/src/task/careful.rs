//! How far replay goes on row by row after a group did not find the rows that it expected.
//!
//! Finding that out costs a new start from the checkpoint, so where it happens again soon, each time is for twice as many
//! transactions: a table in which every row is wrong does not cost a start per group.

use outrigger_storage::Offset;

/// Transactions after the one that failed, the first time.
const LEAST: u64 = 64;
/// And at most.
const MOST: u64 = 1 << 16;

/// The last transaction that is replayed row by row.
#[derive(Debug, Default)]
pub(super) struct Careful {
    through: Offset,
    width: u64,
}

impl Careful {
    pub(super) fn through(&self) -> Offset {
        self.through
    }

    /// A group that ends with the transaction at `offset` did not find its rows.
    pub(super) fn failed(&mut self, offset: Offset) {
        let soon = offset.0 <= self.through.0.saturating_add(4 * self.width);
        self.width = match soon {
            true => (2 * self.width).clamp(LEAST, MOST),
            false => LEAST,
        };
        self.through = Offset(offset.0.saturating_add(self.width));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_every_row_wrong_costs_few_starts() {
        let mut careful = Careful::default();
        let mut starts = 0;
        let mut offset = Offset(1000);
        while offset.0 < 1_000_000 {
            careful.failed(offset);
            assert!(careful.through() > offset);
            starts += 1;
            offset = Offset(careful.through().0 + 1);
        }
        assert!(starts < 30, "{starts}");
    }

    #[test]
    fn a_row_now_and_then_costs_little_time() {
        let mut careful = Careful::default();
        for offset in [1_000, 10_000, 20_000] {
            careful.failed(Offset(offset));
            assert_eq!(careful.through(), Offset(offset + LEAST));
        }
    }
}
