//! Workloads that a seed makes: tables of every shape, and endless writers whose transactions mix what applications do.
//!
//! Pure but for [`drive`]: the same seed gives the same SQL, statement by statement. Statements may fail (rows that exist
//! already, deadlocks, tables that another writer has just renamed): what was committed is what the source's binlog says, and
//! the same on the target is all that is asked for.

mod changes;
mod definitions;
pub(crate) mod drive;
mod tables;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Every database of a workload begins with this; a task that includes the pattern `app*` has all of it.
pub(crate) const PREFIX: &str = "app";

/// What a workload may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Writers of rows.
    pub(crate) writers: u64,
    /// One more writer, of definitions and of the server's binlog settings.
    pub(crate) definitions: bool,
    /// `gtid_mode` is ON: tags and GTIDs of other servers are written too.
    pub(crate) gtids: bool,
    /// XA transactions are among the work.
    pub(crate) xa: bool,
    /// The most bytes of a single large value or transaction.
    pub(crate) large: u32,
    /// The longest pause between two transactions of a writer.
    pub(crate) pause: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            writers: 4,
            definitions: true,
            gtids: true,
            xa: true,
            large: 3 << 20,
            pause: Duration::from_millis(20),
        }
    }
}

/// Something that one seed makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    seed: u64,
    shape: Shape,
}

impl Workload {
    pub(crate) fn new(seed: u64, shape: Shape) -> Self {
        Self { seed, shape }
    }

    /// Databases, tables and the rows in them before anybody writes.
    pub(crate) fn setup(&self) -> Vec<String> {
        tables::setup(&mut self.dice(0))
    }

    /// The writers, each for a connection of its own.
    pub(crate) fn writers(&self) -> Vec<Writer> {
        let rows = (1..=self.shape.writers).map(|number| {
            let mut dice = self.dice(number);
            let session = changes::session(&mut dice, self.shape.gtids);
            Writer {
                session,
                source: Source::Rows(changes::Changes::new(dice, number, self.seed, self.shape)),
            }
        });
        let definitions = self.shape.definitions.then(|| Writer {
            session: Vec::new(),
            source: Source::Definitions(definitions::Definitions::new(self.dice(1000))),
        });
        rows.chain(definitions).collect()
    }

    fn dice(&self, stream: u64) -> StdRng {
        // Streams of neighbouring seeds must not be each other's.
        StdRng::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(stream))
    }
}

/// One connection's endless work.
#[derive(Debug)]
pub(crate) struct Writer {
    /// What its session runs first, also after a reconnect.
    pub(crate) session: Vec<String>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Rows(changes::Changes),
    Definitions(definitions::Definitions),
}

impl Iterator for Writer {
    type Item = Work;

    fn next(&mut self) -> Option<Work> {
        Some(match &mut self.source {
            Source::Rows(changes) => changes.next_work(),
            Source::Definitions(definitions) => definitions.next_work(),
        })
    }
}

/// One transaction, or a few statements that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) steps: Vec<Step>,
    /// How long the writer rests afterwards.
    pub(crate) pause: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Sql(String),
    /// The connection is closed and another one opened: what follows comes from a stranger.
    Reconnect,
}

impl Work {
    fn of(statements: Vec<String>, pause: Duration) -> Self {
        Self {
            steps: statements.into_iter().map(Step::Sql).collect(),
            pause,
        }
    }
}

/// Small and large numbers alike, up to `most`.
pub(crate) fn spread(dice: &mut StdRng, most: u32) -> u32 {
    let bits = dice.random_range(0..=32 - most.leading_zeros());
    let within = u32::try_from((1_u64 << bits) - 1).unwrap_or(u32::MAX);
    dice.random_range(0..=within.min(most))
}

#[test]
fn a_seed_is_a_workload() {
    let first = |seed| {
        let workload = Workload::new(seed, Shape::default());
        let works = workload.writers().into_iter().flat_map(|writer| writer.take(200));
        (workload.setup(), works.collect::<Vec<_>>())
    };
    assert_eq!(first(1), first(1));
    assert_ne!(first(1).1, first(2).1);
}
