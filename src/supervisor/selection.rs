//! What the tasks select together, as capture asks for it.

use outrigger_applier::{Selection, coverage};

/// The selections of all tasks.
#[derive(Debug)]
pub(super) struct Wanted {
    written: Vec<Selection>,
    /// For a source that keeps names in lower case.
    folded: Vec<Selection>,
}

impl Wanted {
    /// What these tasks want.
    pub(super) fn of(tasks: &[outrigger_applier::Config]) -> Self {
        Self::from(
            tasks
                .iter()
                .map(|task| task.selection.clone())
                .collect::<Vec<_>>(),
        )
    }

    /// The words that a log notes about keeping no more than this.
    pub(super) fn words(&self) -> String {
        coverage::words(&self.written)
    }

    /// A source that takes `T` and `t` for one table may log either spelling, and DDL is read in lower case then: whatever is
    /// selected in one of the two is wanted.
    fn any(&self, names: [&str; 2], selects: impl Fn(&Selection, [&str; 2]) -> bool) -> bool {
        let lower = names.map(str::to_lowercase);
        let lower = [lower[0].as_str(), lower[1].as_str()];
        self.written.iter().any(|selection| selects(selection, names))
            || self.folded.iter().any(|selection| selects(selection, lower))
    }
}

impl From<Vec<Selection>> for Wanted {
    fn from(written: Vec<Selection>) -> Self {
        let folded = written.iter().map(Selection::folded).collect();
        Self { written, folded }
    }
}

impl outrigger_capture::Selection for Wanted {
    fn table(&self, database: &str, table: &str) -> bool {
        self.any([database, table], |selection, [database, table]| {
            selection.table(database, table)
        })
    }

    fn database(&self, database: &str) -> bool {
        self.any([database, ""], |selection, [database, _]| {
            selection.database(database)
        })
    }
}

#[cfg(test)]
mod tests {
    use outrigger_applier::Pattern;
    use outrigger_capture::Selection as _;

    use super::*;

    #[test]
    fn either_spelling_is_wanted() {
        let parse = |text: &str| vec![Pattern::try_from(text.to_owned()).unwrap()];
        let wanted = Wanted::from(vec![
            Selection {
                include: parse("shop.orders"),
                exclude: Vec::new(),
            },
            Selection {
                include: parse("Log"),
                exclude: parse("Log.X"),
            },
        ]);
        assert!(wanted.table("shop", "orders") && wanted.table("Shop", "Orders"));
        assert!(wanted.table("Log", "x") && !wanted.table("Log", "X"));
        assert!(wanted.table("log", "y") && !wanted.table("log", "x"));
        assert!(wanted.database("shop") && !wanted.database("other"));
        assert!(!wanted.table("shop", "other"));
    }
}
