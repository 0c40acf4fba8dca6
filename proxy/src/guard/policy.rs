//! The guard that applies the rules: what each command shows, what is to be done about it, what the client and the log are told.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use metrics::{Counter, counter, describe_counter};
use outrigger_protocol::command::CommandByte;
use outrigger_protocol::reply::ErrPacket;
use tracing::warn;

use super::attributes::{self, NoStatement};
use super::read::{self, Finding, Scene};
use super::{Action, Command, Config, Description, Guard, RULES, Rule, Session, Verdict};
use crate::pipe::CAPACITY;
use crate::throttle::Throttle;

/// ER_NOT_SUPPORTED_YET and its SQLSTATE.
const ERROR: (u16, &str) = (1235, "42000");
/// Clients cut messages that are longer.
const LONGEST_MESSAGE: usize = 500;
/// Of a bulk statement that does not fit the buffer, this much is waited for: verb and comments stand there.
const HEAD: usize = 4096;
/// COM_REFRESH's bit for RESET MASTER.
const REFRESH_SOURCE: u8 = 0x80;

const ALLOW: u8 = Action::Allow as u8;
const WARN: u8 = Action::Warn as u8;

/// What the configuration says of a rule, or else the rule itself.
fn action(config: &Config, rule: &Description) -> Action {
    config.rules.get(rule.name).copied().unwrap_or(rule.action)
}

/// What matters for the sync, as the rules ask for it. Called on relaying tasks: answers at once.
pub trait Watched: Send + Sync {
    /// True when some task selects the table.
    fn table(&self, database: &str, table: &str) -> bool;
    /// True when some task may select tables of the database.
    fn database(&self, database: &str) -> bool;
    /// True when the source may lose its binlog files before this one; without one, up to some moment.
    fn may_purge(&self, before: Option<&str>) -> bool;
}

/// How often a rule caught something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hits {
    /// The rule.
    pub rule: Rule,
    /// Commands refused by it.
    pub refused: u64,
    /// Commands that passed with a warning.
    pub warned: u64,
}

/// A rule as it is applied.
struct Applied {
    /// An [`Action`] as a number: one may be put in its place at any time.
    action: AtomicU8,
    refused: AtomicU64,
    warned: AtomicU64,
    refusals: Counter,
    warnings: Counter,
    said: Throttle,
}

/// The rules with their actions, and what they are about. Counts what they catch.
pub struct Policy {
    rules: Vec<Applied>,
    watched: Arc<dyn Watched>,
}

impl Policy {
    /// The rules with the configuration's actions. Makes its metrics' handles.
    pub fn new(config: &Config, watched: Arc<dyn Watched>) -> Self {
        const NAME: &str = "outrigger_proxy_guard_total";
        describe_counter!(
            NAME,
            "Commands that a rule of the guard caught, by rule and what was done"
        );
        let rules = RULES.iter().map(|description| Applied {
            action: AtomicU8::new(action(config, description) as u8),
            refused: AtomicU64::new(0),
            warned: AtomicU64::new(0),
            refusals: counter!(NAME, "rule" => description.name, "action" => "reject"),
            warnings: counter!(NAME, "rule" => description.name, "action" => "warn"),
            said: Throttle::default(),
        });
        Self {
            rules: rules.collect(),
            watched,
        }
    }

    /// Has the configuration's actions hold from now on, for all sessions.
    pub fn reload(&self, config: &Config) {
        for (description, applied) in RULES.iter().zip(&self.rules) {
            applied
                .action
                .store(action(config, description) as u8, Ordering::Relaxed);
        }
    }

    /// The rules that caught something, in their order.
    pub fn hits(&self) -> Vec<Hits> {
        RULES
            .iter()
            .zip(&self.rules)
            .map(|(description, applied)| Hits {
                rule: description.rule,
                refused: applied.refused.load(Ordering::Relaxed),
                warned: applied.warned.load(Ordering::Relaxed),
            })
            .filter(|hits| hits.refused > 0 || hits.warned > 0)
            .collect()
    }

    fn judge_text(&self, command: &Command<'_>, text: &[u8], session: &mut Session) -> Verdict {
        if command.more {
            // Rows in bulk are not held back for what may stand behind them.
            let fits = command.size < CAPACITY;
            if fits || text.len() < HEAD || !read::is_plain(text) {
                return Verdict::More;
            }
        }
        if !read::is_of_interest(text) {
            return Verdict::Pass;
        }
        let cut = command.payload.len() < command.size;
        let mut scene = Scene::new(session, &*self.watched, cut);
        read::text(text, command.sql_mode, &mut scene);
        let findings = scene.findings;
        self.decide(&findings)
    }

    /// The first finding that is to be refused decides; those before it that are only warned of are told too.
    fn decide(&self, findings: &[Finding]) -> Verdict {
        for Finding { rule, seen } in findings {
            let Some(applied) = self.rules.get(*rule as usize) else {
                continue;
            };
            let name = rule.description().name;
            match applied.action.load(Ordering::Relaxed) {
                ALLOW => {}
                WARN => {
                    applied.warned.fetch_add(1, Ordering::Relaxed);
                    applied.warnings.increment(1);
                    if let Some(unsaid) = applied.said.pass(Instant::now()) {
                        warn!(rule = name, %seen, unsaid, "the guard let a statement pass that may harm the sync");
                    }
                }
                _reject => {
                    applied.refused.fetch_add(1, Ordering::Relaxed);
                    applied.refusals.increment(1);
                    if let Some(unsaid) = applied.said.pass(Instant::now()) {
                        warn!(rule = name, %seen, unsaid, "the guard refused a statement");
                    }
                    return Verdict::Refuse(refusal(*rule, seen));
                }
            }
        }
        Verdict::Pass
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("hits", &self.hits())
            .finish_non_exhaustive()
    }
}

impl Guard for Policy {
    fn judge(&self, command: &Command<'_>, session: &mut Session) -> Verdict {
        let found = |rule, seen: &str| {
            self.decide(&[Finding {
                rule,
                seen: seen.to_owned(),
            }])
        };
        match command.kind {
            Some(CommandByte::Query) => match attributes::statement(command.payload, command.capabilities) {
                Ok(text) => self.judge_text(command, text, session),
                Err(NoStatement::Cut) if command.more => Verdict::More,
                Err(_) => Verdict::Pass,
            },
            Some(CommandByte::StmtPrepare) => {
                let text = command.payload.get(1..).unwrap_or_default();
                self.judge_text(command, text, session)
            }
            Some(CommandByte::InitDb | CommandByte::ChangeUser) if command.more => Verdict::More,
            Some(CommandByte::InitDb) => {
                session.asks_for(command.payload.get(1..).unwrap_or_default(), true);
                Verdict::Pass
            }
            Some(CommandByte::ChangeUser) => {
                session.restarted(command.payload, command.capabilities);
                Verdict::Pass
            }
            Some(CommandByte::ResetConnection) => {
                session.reset();
                Verdict::Pass
            }
            Some(CommandByte::BinlogDump) => found(Rule::BinlogDump, "COM_BINLOG_DUMP"),
            Some(CommandByte::BinlogDumpGtid) => found(Rule::BinlogDump, "COM_BINLOG_DUMP_GTID"),
            Some(CommandByte::Refresh)
                if command
                    .payload
                    .get(1)
                    .is_some_and(|bits| bits & REFRESH_SOURCE != 0) =>
            {
                found(Rule::ResetBinlogs, "COM_REFRESH of the binary logs")
            }
            _ => Verdict::Pass,
        }
    }
}

/// The error that the client gets: which rule, what was seen, what to do instead.
fn refusal(rule: Rule, seen: &str) -> ErrPacket<'static> {
    let description = rule.description();
    let name = description.name;
    let frame = format!(
        "Refused by Outrigger's proxy, rule {name}: . {} ([proxy.guard] rules can change this.)",
        description.instead
    );
    // Names may be long, the advice must not be cut off.
    let room = LONGEST_MESSAGE.saturating_sub(frame.len());
    let mut end = seen.len().min(room);
    while !seen.is_char_boundary(end) {
        end -= 1;
    }
    let message = format!(
        "Refused by Outrigger's proxy, rule {name}: {}. {} ([proxy.guard] rules can change this.)",
        &seen[..end],
        description.instead
    );
    ErrPacket::new(ERROR.0, ERROR.1, message)
}
