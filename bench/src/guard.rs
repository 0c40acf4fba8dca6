//! What judging a statement costs that is no DDL, with every rule on; timed by criterion.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use criterion::Criterion;
use outrigger_protocol::command::CommandByte;
use outrigger_protocol::handshake::Capabilities;
use outrigger_protocol::sql::SqlMode;
use outrigger_proxy::guard::{Action, Command, Config, Guard, Policy, RULES, Session, Verdict, Watched};

use crate::bar::{self, Figure};
use crate::decode::median_nanoseconds;

/// What can be changed.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// How often each statement has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A small run, to see that it works.
    #[arg(long)]
    quick: bool,
}

/// Microseconds that a statement may cost.
const LIMIT: f64 = 1.0;
/// Bytes of each statement.
const SIZE: usize = 200;

/// Statements, filled up to [`SIZE`] where they have a `~`.
const STATEMENTS: [(&str, &str); 4] = [
    (
        "guard_cost",
        "SELECT id, k, c, pad FROM sbtest1 WHERE id = 4711 AND c = '~'",
    ),
    (
        "guard_cost_insert",
        "INSERT INTO sbtest1 (id, k, c, pad) VALUES (4711, 12, '~', 'x')",
    ),
    // Both make the lexer read all of it.
    (
        "guard_cost_comment",
        "SELECT /* from the shop */ id, k FROM sbtest1 WHERE c = 'a; ~'",
    ),
    (
        "guard_cost_set",
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES', @note = '~', autocommit = 1",
    ),
];

/// Everything is selected.
struct Everything;

impl Watched for Everything {
    fn table(&self, _database: &str, _table: &str) -> bool {
        true
    }

    fn database(&self, _database: &str) -> bool {
        true
    }

    fn may_purge(&self, _before: Option<&str>) -> bool {
        false
    }
}

pub(crate) fn run(flags: &Flags) -> Result<()> {
    let (rounds, time) = match flags.quick {
        true => (3, Duration::from_millis(100)),
        false => (flags.rounds, Duration::from_millis(700)),
    };
    let folder = tempfile::tempdir()?;
    let mut criterion = Criterion::default()
        .output_directory(folder.path())
        .without_plots()
        .sample_size(20)
        .nresamples(2000)
        .warm_up_time(time / 4)
        .measurement_time(time);
    let config = Config {
        rules: RULES
            .iter()
            .map(|rule| (rule.name.to_owned(), Action::Reject))
            .collect(),
    };
    let policy = Policy::new(&config, Arc::new(Everything));
    let mut session = Session::default();
    for (figure, statement) in STATEMENTS {
        let filling = "z".repeat((SIZE + 1).saturating_sub(statement.len()));
        let payload = [b"\x03", statement.replace('~', &filling).as_bytes()].concat();
        ensure!(
            payload.len() == SIZE + 1,
            "{figure} has {} bytes",
            payload.len() - 1
        );
        let command = Command {
            kind: Some(CommandByte::Query),
            payload: &payload,
            size: payload.len(),
            more: false,
            capabilities: Capabilities::PROTOCOL_41,
            sql_mode: Some(SqlMode::empty()),
        };
        ensure!(
            policy.judge(&command, &mut session) == Verdict::Pass,
            "{figure} is refused"
        );
        let mut costs = Vec::new();
        for round in 0..rounds {
            let name = format!("{figure}-{round}");
            criterion.bench_function(&name, |bencher| {
                bencher.iter(|| policy.judge(black_box(&command), &mut session));
            });
            costs.push(median_nanoseconds(folder.path(), &name)? / 1e3);
        }
        let unit = "us";
        bar::print(Figure { name: figure, unit }, &costs, "limit", &[LIMIT])?;
    }
    Ok(())
}
