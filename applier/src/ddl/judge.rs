//! Decides what is to be done with a statement: apply, leave out, or stop because neither would be right.

use outrigger_protocol::binlog::QueryEvent;
use outrigger_protocol::sql::ddl::{Kind, ObjectKind, Verb};
use outrigger_protocol::sql::lexer::Lexer;

use crate::config::Selection;

use super::read::{Change, Named};

/// "A database with this name is there already", and a task that has only some of its tables needs no more.
const DATABASE_EXISTS: u16 = 1007;

/// By what a statement is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// What belongs to the task.
    pub(crate) selection: &'a Selection,
    /// The task's own database on the target: never touched.
    pub(crate) metadata_database: &'a str,
    /// The source takes `T` and `t` for one table.
    pub(crate) folds_names: bool,
}

/// What is to be done with a statement.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// All that it changes belongs to the task.
    Apply(Box<Change>),
    /// It changes nothing that the target has to show.
    Skip(Skipped),
    /// Neither is right, or it can't be known; the sentence says why and what to do.
    Stop(String),
}

/// Why a statement is left out; one counter each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Skipped {
    /// Nothing that it changes is selected.
    NotSelected,
    /// Triggers don't exist on the target while a task runs (S5).
    Trigger,
    /// Events neither (S3).
    Event,
    /// It concerns the server or its accounts.
    Server,
    /// It concerns a temporary table.
    Temporary,
}

impl Skipped {
    /// The word for it, for metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotSelected => "not_selected",
            Self::Trigger => "trigger",
            Self::Event => "event",
            Self::Server => "server",
            Self::Temporary => "temporary",
        }
    }
}

/// Judges a query event that is neither a transaction's beginning nor its end, nor a savepoint, nor XA.
pub(crate) fn judge(query: &QueryEvent<'_>, timestamp: u32, rules: Rules<'_>) -> Verdict {
    let change = Change::read(query, timestamp, rules.folds_names);
    match change.statement.kind {
        Kind::Ddl(_, ObjectKind::Trigger) => Verdict::Skip(Skipped::Trigger),
        Kind::Ddl(_, ObjectKind::Event) => Verdict::Skip(Skipped::Event),
        Kind::Ddl(verb, _) => rules.judge_objects(change, verb),
        Kind::Temporary => Verdict::Skip(Skipped::Temporary),
        Kind::Admin | Kind::Empty => Verdict::Skip(Skipped::Server),
        Kind::Dml | Kind::Query | Kind::Session => {
            let reason = by_statement(&change);
            rules.unless_elsewhere(&change, &reason, STATEMENT_FORMAT)
        }
        _ => {
            let reason = change.statement.reason.unwrap_or("it is no definition statement");
            rules.unless_elsewhere(
                &change,
                reason,
                "apply it to the target by hand, or leave what it changes out of the selection",
            )
        }
    }
}

const STATEMENT_FORMAT: &str =
    "set binlog_format = ROW on the source, also in sessions that change it, and copy the tables anew";

/// Who changed what by statement.
fn by_statement(change: &Change) -> String {
    let table = change
        .first_table()
        .filter(|_| change.statement.kind == Kind::Dml)
        .map(|table| format!(" of table {table}"));
    format!(
        "session {} of the source changed rows{} by statement (its binlog_format was STATEMENT or MIXED), whose effect on the \
         target can't be known",
        change.session,
        table.unwrap_or_default()
    )
}

impl Rules<'_> {
    fn judge_objects(self, mut change: Change, verb: Verb) -> Verdict {
        let (selected, others): (Vec<&Named>, Vec<&Named>) =
            change.objects.iter().partition(|named| self.selects(named));
        let Some(first) = selected.first() else {
            return Verdict::Skip(Skipped::NotSelected);
        };
        if let Some(other) = others.first() {
            return Verdict::Stop(format!(
                "`{}` changes {first}, which belongs to the task, together with {other}, which does not: select both or neither, \
                 and copy them anew",
                change.head()
            ));
        }
        if change.statement.makes_rows {
            return stop(&change, "its rows are in no row event", STATEMENT_FORMAT);
        }
        if first.kind == ObjectKind::Database && !self.selection.whole_database(&first.database) {
            match verb {
                Verb::Create => change.tolerated.push(DATABASE_EXISTS),
                Verb::Drop => {
                    return Verdict::Stop(format!(
                        "`{}` drops a database of which only some tables belong to the task: drop those on the target and \
                         take them out of the selection",
                        change.head()
                    ));
                }
                _ => {}
            }
        }
        change.template = change.template.filter(|template| !self.selects(template));
        Verdict::Apply(Box::new(change))
    }

    fn selects(self, named: &Named) -> bool {
        let database = named.database.as_str();
        database != self.metadata_database
            && match named.kind {
                ObjectKind::Database => self.selection.database(database),
                ObjectKind::Table | ObjectKind::Index | ObjectKind::View => {
                    self.selection.table(database, &named.name)
                }
                _ => self.selection.whole_database(database),
            }
    }

    /// Stops, unless nothing in the statement can be a selected database.
    fn unless_elsewhere(self, change: &Change, reason: &str, remedy: &str) -> Verdict {
        if self.may_touch(change) {
            stop(change, reason, remedy)
        } else {
            Verdict::Skip(Skipped::NotSelected)
        }
    }

    /// Whether the default database, one that the server noted, or any name in the text is a selected database.
    fn may_touch(self, change: &Change) -> bool {
        let fold = |name: &str| {
            if self.folds_names {
                name.to_lowercase()
            } else {
                name.to_owned()
            }
        };
        let selected = |name: &str| name != self.metadata_database && self.selection.database(&fold(name));
        if selected(&change.database)
            || change
                .settings
                .updated_databases
                .iter()
                .flatten()
                .any(|name| selected(name))
            || change.objects.iter().any(|named| selected(&named.database))
        {
            return true;
        }
        let text = change.lexable();
        Lexer::new(&text, change.mode())
            .filter_map(|token| token.name())
            .any(|name| std::str::from_utf8(&name).map_or(true, selected))
    }
}

fn stop(change: &Change, reason: &str, remedy: &str) -> Verdict {
    Verdict::Stop(format!(
        "`{}` can't be applied: {reason}: {remedy}",
        change.head()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::event;
    use super::*;
    use crate::config::Pattern;

    fn verdict(include: &[&str], schema: &str, sql: &str) -> String {
        let include = include
            .iter()
            .map(|p| Pattern::try_from((*p).to_owned()).unwrap())
            .collect();
        let selection = Selection {
            include,
            exclude: vec![Pattern::try_from("shop.tmp_*".to_owned()).unwrap()],
        };
        let rules = Rules {
            selection: &selection,
            metadata_database: "outrigger",
            folds_names: false,
        };
        match judge(&event(schema, sql.as_bytes()), 0, rules) {
            Verdict::Apply(change) => format!("apply {:?}", change.tolerated),
            Verdict::Skip(why) => why.as_str().to_owned(),
            Verdict::Stop(sentence) => sentence,
        }
    }

    #[test]
    fn selected_objects_are_applied_and_others_not() {
        let shop = |sql: &str| verdict(&["shop"], "shop", sql);
        for sql in [
            "CREATE TABLE a (b INT)",
            "ALTER TABLE a RENAME TO b",
            "DROP TABLE a, shop.b",
            "RENAME TABLE a TO c, b TO a, c TO b",
            "TRUNCATE a",
            "CREATE UNIQUE INDEX i ON a (b)",
            "CREATE DEFINER=u@h VIEW v AS SELECT 1",
            "CREATE PROCEDURE p() SELECT 1",
            "DROP DATABASE shop",
            "ALTER DATABASE CHARACTER SET latin1",
            "ALTER TABLE a EXCHANGE PARTITION p WITH TABLE b",
            "CREATE TABLE b (`id` int) START TRANSACTION",
        ] {
            assert_eq!(shop(sql), "apply [0]", "{sql}");
        }
        for sql in [
            "CREATE TABLE other.a (b INT)",
            "DROP TABLE tmp_1",
            "DROP DATABASE other",
            "CREATE FUNCTION o.f() RETURNS INT RETURN 1",
        ] {
            assert_eq!(shop(sql), "not_selected", "{sql}");
        }
        assert_eq!(
            shop("CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET @a = 1"),
            "trigger"
        );
        assert_eq!(shop("DROP EVENT e"), "event");
        assert_eq!(shop("GRANT ALL ON shop.* TO u"), "server");
        assert_eq!(shop("DROP TEMPORARY TABLE IF EXISTS t"), "temporary");
        assert_eq!(
            verdict(&["*"], "outrigger", "CREATE TABLE checkpoint (a INT)"),
            "not_selected"
        );
        assert_eq!(verdict(&["*"], "mysql", "CREATE TABLE x (a INT)"), "not_selected");
    }

    #[test]
    fn a_mixture_stops() {
        let shop = |sql: &str| verdict(&["shop"], "shop", sql);
        for sql in [
            "DROP TABLE a, tmp_1",
            "RENAME TABLE a TO other.a",
            "ALTER TABLE a EXCHANGE PARTITION p WITH TABLE tmp_x",
        ] {
            assert!(shop(sql).contains("select both or neither"), "{sql}");
        }
    }

    #[test]
    fn databases_of_single_tables() {
        let one = |sql: &str| verdict(&["shop.a"], "shop", sql);
        assert_eq!(one("CREATE DATABASE shop"), "apply [0, 1007]");
        assert!(one("DROP DATABASE shop").contains("only some tables"));
        assert_eq!(one("CREATE PROCEDURE p() SELECT 1"), "not_selected");
    }

    #[test]
    fn what_is_not_known_stops_where_it_may_touch_the_selection() {
        assert!(verdict(&["shop"], "shop", "FROBNICATE x").contains("begins with no keyword"));
        assert!(verdict(&["shop"], "", "FROBNICATE `shop`.x").contains("begins with no keyword"));
        assert_eq!(verdict(&["shop"], "other", "FROBNICATE x 'shop'"), "not_selected");
        assert!(verdict(&["shop"], "shop", "INSERT INTO t VALUES (1)").contains("binlog_format"));
        assert_eq!(
            verdict(&["shop"], "other", "INSERT INTO t VALUES (1)"),
            "not_selected"
        );
        assert!(verdict(&["shop"], "other", "SELECT shop.f()").contains("binlog_format"));
        assert!(verdict(&["shop"], "shop", "CREATE TABLE t SELECT 1").contains("no row event"));
        assert!(verdict(&["shop"], "shop", "ALTER TABLE t IMPORT TABLESPACE").contains("not in the binlog"));
    }
}
