//! What a task is told: servers, selection, how to copy, how to group. Each field says its meaning, default and bounds.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use outrigger_protocol::endpoint::Endpoint;
use serde::{Deserialize, Serialize};

/// One task: a selection of one source's databases, kept in step on one target.
#[derive(Debug, Clone)]
pub struct Config {
    /// Names the task in the metadata database, metrics and messages; 1 to 64 characters.
    pub name: String,
    /// The server that is copied.
    pub source: Endpoint,
    /// The server that is written.
    pub target: Endpoint,
    /// Which databases and tables belong to the task.
    pub selection: Selection,
    /// What is copied before replay, and how.
    pub copy: CopyConfig,
    /// The name of the time zone that the source's machine keeps, where the target can't be told it otherwise.
    pub system_time_zone: Option<String>,
    /// The target database that holds the checkpoint; created when absent.
    pub metadata_database: String,
    /// How source transactions are merged.
    pub group: GroupConfig,
    /// How fast it may be.
    pub limits: LimitsConfig,
    /// How long a failing server is tried again before the task stops.
    pub retry_window: Duration,
    /// How long one connection attempt may take.
    pub connect_timeout: Duration,
    /// What to do when a table to be copied is already on the target.
    pub on_existing_tables: OnExistingTables,
    /// What to do about a row that should be on the target and isn't, or the other way round.
    pub on_divergence: OnDivergence,
    /// Whether the source may log a part of each row only. Every table is then copied whole at one place.
    pub allow_partial_row_images: bool,
}

/// Which databases and tables belong to a task. MySQL's own schemas never do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// `database` or `database.table`; `*` stands for any run of characters. At least one.
    pub include: Vec<Pattern>,
    /// What to leave out of it, in the same form.
    #[serde(default)]
    pub exclude: Vec<Pattern>,
}

impl Selection {
    /// True when the table belongs to the task.
    pub fn table(&self, database: &str, table: &str) -> bool {
        !is_system(database)
            && self.include.iter().any(|p| p.matches(database, table))
            && !self.exclude.iter().any(|p| p.matches(database, table))
    }

    /// True when some of the database's tables may belong to the task.
    pub fn database(&self, database: &str) -> bool {
        !is_system(database)
            && self.include.iter().any(|p| glob(&p.database, database))
            && !self
                .exclude
                .iter()
                .any(|p| p.table.is_none() && glob(&p.database, database))
    }

    /// The same for a source that keeps names in lower case: its patterns in lower case.
    #[must_use]
    pub fn folded(&self) -> Self {
        let fold = |patterns: &[Pattern]| patterns.iter().map(Pattern::folded).collect();
        Self {
            include: fold(&self.include),
            exclude: fold(&self.exclude),
        }
    }

    /// True when the whole database belongs to the task, its own definition included.
    pub fn whole_database(&self, database: &str) -> bool {
        self.database(database)
            && self
                .include
                .iter()
                .any(|p| p.table.is_none() && glob(&p.database, database))
    }
}

fn is_system(database: &str) -> bool {
    ["mysql", "sys", "information_schema", "performance_schema"]
        .iter()
        .any(|s| database.eq_ignore_ascii_case(s))
}

/// `database` or `database.table`, with `*` as a wildcard; a name that contains a dot or a star is written in backticks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    database: Vec<Glob>,
    table: Option<Vec<Glob>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Glob {
    Any,
    Char(char),
}

impl Pattern {
    /// The database and the table that it names, if it has no wildcard.
    pub(crate) fn literal(&self) -> Option<(String, Option<String>)> {
        let name = |glob: &[Glob]| -> Option<String> {
            glob.iter()
                .map(|g| if let Glob::Char(c) = g { Some(*c) } else { None })
                .collect()
        };
        let table = self.table.as_ref().map(|t| name(t));
        match table {
            Some(None) => None,
            table => Some((name(&self.database)?, table.flatten())),
        }
    }

    fn folded(&self) -> Self {
        let fold = |glob: &[Glob]| -> Vec<Glob> {
            glob.iter()
                .flat_map(|g| match g {
                    Glob::Any => vec![Glob::Any],
                    Glob::Char(c) => c.to_lowercase().map(Glob::Char).collect(),
                })
                .collect()
        };
        Self {
            database: fold(&self.database),
            table: self.table.as_deref().map(fold),
        }
    }

    fn matches(&self, database: &str, table: &str) -> bool {
        glob(&self.database, database) && self.table.as_ref().is_none_or(|t| glob(t, table))
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts: Vec<Vec<Glob>> = vec![Vec::new()];
        let mut quoted = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let part = parts.last_mut().ok_or("an empty pattern")?;
            match c {
                '`' if quoted && chars.peek() == Some(&'`') => {
                    chars.next();
                    part.push(Glob::Char('`'));
                }
                '`' => quoted = !quoted,
                '*' if !quoted => part.push(Glob::Any),
                '.' if !quoted => parts.push(Vec::new()),
                _ => part.push(Glob::Char(c)),
            }
        }
        if quoted || parts.len() > 2 || parts.iter().any(Vec::is_empty) {
            return Err(format!("`{text}` is neither `database` nor `database.table`"));
        }
        let table = if parts.len() == 2 { parts.pop() } else { None };
        let database = parts.pop().unwrap_or_default();
        Ok(Self { database, table })
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |glob: &[Glob]| -> String {
            let literal = |g: &Glob| matches!(g, Glob::Char('.' | '*' | '`'));
            let quote = glob.iter().any(literal);
            let mut text = String::new();
            let mut open = false;
            for g in glob {
                let want = quote && matches!(g, Glob::Char(_));
                if want != open {
                    text.push('`');
                    open = want;
                }
                match g {
                    Glob::Any => text.push('*'),
                    Glob::Char('`') => text.push_str("``"),
                    Glob::Char(c) => text.push(*c),
                }
            }
            if open {
                text.push('`');
            }
            text
        };
        f.write_str(&part(&self.database))?;
        match &self.table {
            Some(table) => write!(f, ".{}", part(table)),
            None => Ok(()),
        }
    }
}

/// True when every table that `inner` names is one that `outer` names.
pub(crate) fn contains(outer: &Pattern, inner: &Pattern) -> bool {
    let any = [Glob::Any];
    let table = |pattern: &'_ Pattern| pattern.table.clone().unwrap_or_else(|| any.to_vec());
    glob_matches(&outer.database, &inner.database) && glob_matches(&table(outer), &table(inner))
}

/// Wildcard match, linear in both lengths' product at worst; names have 64 characters at most.
fn glob(pattern: &[Glob], name: &str) -> bool {
    let name: Vec<Glob> = name.chars().map(Glob::Char).collect();
    glob_matches(pattern, &name)
}

/// The same for a name that may itself have wildcards: each is matched by a wildcard only, so that whatever it stands for is.
fn glob_matches(pattern: &[Glob], name: &[Glob]) -> bool {
    let (mut p, mut n, mut star, mut mark) = (0, 0, None, 0);
    while n < name.len() {
        match pattern.get(p) {
            Some(Glob::Any) => {
                star = Some(p);
                mark = n;
                p += 1;
            }
            Some(c) if *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some(s) = star else { return false };
                mark += 1;
                n = mark;
                p = s + 1;
            }
        }
    }
    pattern[p..].iter().all(|g| *g == Glob::Any)
}

/// What is copied before replay, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CopyConfig {
    /// Create databases and tables on the target. Default true.
    pub schema: bool,
    /// Copy the rows. Default true; false expects a target that equals the source where the log begins.
    pub rows: bool,
    /// Connections to each side during the copy, 1 to 64. Default 4.
    pub connections: usize,
    /// Bytes of rows per chunk, committed as one. Default 4 MiB.
    pub chunk_bytes: ByteSize,
    /// Rows per chunk at most, 1 to 1,000,000. Default 20,000.
    pub chunk_rows: u64,
}

impl Default for CopyConfig {
    fn default() -> Self {
        Self {
            schema: true,
            rows: true,
            connections: 4,
            chunk_bytes: ByteSize::mib(4),
            chunk_rows: 20_000,
        }
    }
}

/// How source transactions are merged into target transactions. With no backlog one transaction goes out at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupConfig {
    /// Source transactions per target transaction at most, 1 to 100,000. Default 500.
    pub max_transactions: usize,
    /// Connections on which groups are executed at the same time, 1 to 64. Default 4.
    pub lanes: usize,
    /// In which order groups are committed. Default: as on the source.
    pub order: CommitOrder,
    /// Bytes of statements per target transaction at most (a larger source transaction goes alone, in parts). Default 2 MiB.
    pub max_bytes: ByteSize,
    /// How long an incomplete group may wait for more, for targets that are paid by the commit. Default 0: never wait.
    #[serde(with = "humantime_serde")]
    pub max_delay: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            max_transactions: 500,
            lanes: 4,
            order: CommitOrder::Source,
            max_bytes: ByteSize::mib(2),
            max_delay: Duration::ZERO,
        }
    }
}

/// In which order groups are committed. Those that have a row in common keep the source's order in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitOrder {
    /// The source's: at any moment the target is as the source was at one place.
    #[default]
    Source,
    /// Each as soon as it is executed: the target may show a transaction before an older one that has nothing in common with it,
    /// and is as the source was once nothing is under way.
    Eventual,
}

/// How fast a task may be, over replay and copy together. Nothing is limited by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Rows written to the target per second, on average. Default 0: no limit.
    pub rows_per_second: u64,
    /// Bytes of statements sent to the target per second, on average; 0 or at least 64 KiB. Default 0: no limit.
    pub bytes_per_second: ByteSize,
    /// A commit on the target that takes longer halves the lanes; they come back one by one. Default 0: never.
    #[serde(with = "humantime_serde")]
    pub max_latency: Duration,
}

/// What to do when a table to be copied is already on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExistingTables {
    /// Stop with a sentence that names it.
    #[default]
    Refuse,
    /// Keep its definition and its rows; copied rows replace those with the same key.
    Keep,
}

/// What to do about a row that should be on the target and isn't, or the other way round. Each is counted and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDivergence {
    /// Stop with a sentence that names table, place and key. Nothing of the transaction is applied.
    #[default]
    Stop,
    /// Make the row what it is on the source after the change: insert it, or replace what is in its way.
    Overwrite,
    /// Leave the row's change out.
    Ignore,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A selection from its patterns' texts.
    pub(crate) fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        let parse = |list: &[&str]| {
            list.iter()
                .map(|p| Pattern::try_from((*p).to_owned()).unwrap())
                .collect()
        };
        Selection {
            include: parse(include),
            exclude: parse(exclude),
        }
    }

    #[test]
    fn selects_by_database_and_table() {
        let s = selection(&["shop", "log.2*"], &["shop.tmp_*"]);
        assert!(s.table("shop", "orders"));
        assert!(!s.table("shop", "tmp_1"));
        assert!(s.table("log", "2024") && !s.table("log", "1999"));
        assert!(s.database("log") && !s.whole_database("log") && s.whole_database("shop"));
        assert!(!selection(&["*"], &[]).table("mysql", "user"));
    }

    #[test]
    fn patterns_are_folded() {
        let s = selection(&["SHOP", "Log.`A.É`*"], &["Shop.TMP_*"]).folded();
        assert_eq!(s, selection(&["shop", "log.`a.é`*"], &["shop.tmp_*"]));
    }

    #[test]
    fn a_quoted_name_may_contain_dot_and_star() {
        let s = selection(&["`a.b`.`c*`"], &[]);
        assert!(s.table("a.b", "c*") && !s.table("a.b", "cd"));
        assert_eq!(s.include[0].to_string(), "`a.b`.`c*`");
        assert!(Pattern::try_from("a.b.c".to_owned()).is_err());
        assert!(Pattern::try_from("a.".to_owned()).is_err());
    }
}
