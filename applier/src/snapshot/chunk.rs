//! A chunk: rows of one table as statements for the target, cut to size, with the key where it ends. Pure.

use std::sync::Arc;

use outrigger_protocol::value::Value;

use crate::definition::ColumnKind;
use crate::literal::{quote_name, write_stored};
use crate::snapshot::decode::key_literal;
use crate::snapshot::plan::TablePlan;

/// Bytes at which a statement is closed, if the target takes that much.
const STATEMENT_BYTES: usize = 1 << 20;

/// What one transaction on the target writes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The statements in order.
    pub(crate) statements: Vec<Statement>,
    /// Rows in them.
    pub(crate) rows: u64,
    /// Bytes of them.
    pub(crate) bytes: u64,
    /// The key of the last row, as SQL literals; `None` without rows or without a key.
    pub(crate) last_key: Option<Vec<String>>,
    /// Nothing follows.
    pub(crate) end: bool,
}

/// A multi-row INSERT or REPLACE.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) sql: Vec<u8>,
    /// Holds an ENUM's error value (ordinal 0), which a strict session refuses.
    pub(crate) lenient: bool,
}

/// Turns rows into chunks.
pub(crate) struct Encoder {
    plan: Arc<TablePlan>,
    head: Vec<u8>,
    /// Statements end before this many bytes, a single longer row excepted.
    limit: usize,
    chunk: Chunk,
    current: Statement,
    /// The last row's key; not the row, which may be large.
    last: Vec<Value<'static>>,
}

impl Encoder {
    /// An encoder for a target that takes statements of `max_packet` bytes.
    pub(crate) fn new(plan: Arc<TablePlan>, max_packet: usize) -> Self {
        let verb = if plan.replace { "REPLACE" } else { "INSERT" };
        let columns: Vec<String> = plan.selected[..plan.written]
            .iter()
            .map(|c| quote_name(&c.name))
            .collect();
        let head = format!(
            "{verb} INTO {} ({}) VALUES ",
            plan.object.quoted(),
            columns.join(",")
        )
        .into_bytes();
        let limit = STATEMENT_BYTES.min(max_packet.saturating_sub(64));
        let current = Statement {
            sql: Vec::new(),
            lenient: false,
        };
        Self {
            plan,
            head,
            limit,
            chunk: Chunk::default(),
            current,
            last: Vec::new(),
        }
    }

    /// Adds a row, one value per selected column.
    pub(crate) fn push(&mut self, mut row: Vec<Value<'static>>) {
        let written = &self.plan.selected[..self.plan.written];
        let lenient = row
            .iter()
            .zip(written)
            .any(|(v, c)| c.kind == ColumnKind::Enum && matches!(v, Value::UInt(0)));
        if !self.current.sql.is_empty() && lenient != self.current.lenient {
            self.close();
        }
        let before = self.current.sql.len();
        if before == 0 {
            self.current.sql.reserve(self.limit + self.limit / 8);
            self.current.sql.extend_from_slice(&self.head);
            self.current.lenient = lenient;
        } else {
            self.current.sql.push(b',');
        }
        write_row(&mut self.current.sql, &row, &self.plan);
        if self.current.sql.len() > self.limit && before != 0 {
            // The row goes into the next statement.
            let row = self.current.sql.split_off(before + 1);
            self.current.sql.truncate(before);
            self.close();
            self.current.sql.extend_from_slice(&self.head);
            self.current.sql.extend_from_slice(&row);
            self.current.lenient = lenient;
        }
        self.chunk.rows += 1;
        self.last.clear();
        let slots = self.plan.walk.iter().flat_map(|walk| &walk.slots);
        let keys = slots.filter_map(|slot| {
            row.get_mut(*slot)
                .map(|value| std::mem::replace(value, Value::Null))
        });
        self.last.extend(keys);
    }

    /// Bytes of the chunk so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.chunk.bytes.saturating_add(self.current.sql.len() as u64)
    }

    /// Rows of the chunk so far.
    pub(crate) fn rows(&self) -> u64 {
        self.chunk.rows
    }

    /// The chunk so far; the next row begins another.
    pub(crate) fn cut(&mut self, end: bool) -> Chunk {
        self.close();
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.end = end;
        if chunk.rows > 0 {
            chunk.last_key = self.last_key();
        }
        chunk
    }

    fn last_key(&self) -> Option<Vec<String>> {
        let walk = self.plan.walk.as_ref()?;
        let pairs = walk.slots.iter().zip(&self.last);
        pairs
            .map(|(slot, value)| Some(key_literal(value, self.plan.selected.get(*slot)?)))
            .collect()
    }

    fn close(&mut self) {
        let closed = std::mem::replace(
            &mut self.current,
            Statement {
                sql: Vec::new(),
                lenient: false,
            },
        );
        if !closed.sql.is_empty() {
            self.chunk.bytes += closed.sql.len() as u64;
            self.chunk.statements.push(closed);
        }
    }
}

fn write_row(out: &mut Vec<u8>, row: &[Value<'_>], plan: &TablePlan) {
    out.push(b'(');
    for (at, (value, column)) in row.iter().zip(&plan.selected[..plan.written]).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_stored(out, value, column);
    }
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::definition::tests::plain;
    use crate::schema::ObjectKey;
    use crate::snapshot::key::{Key, KeyColumn};
    use crate::snapshot::plan::Walk;

    fn encoder(max_packet: usize) -> Encoder {
        let key = Key {
            index: "PRIMARY".into(),
            columns: vec![KeyColumn {
                name: "a".into(),
                descending: false,
            }],
        };
        let selected = vec![
            plain("a", ColumnKind::Int),
            plain("e", ColumnKind::Enum),
            plain("t", ColumnKind::Text),
        ];
        let plan = TablePlan {
            object: ObjectKey::table("d", "t"),
            selected,
            written: 3,
            walk: Some(Walk { key, slots: vec![0] }),
            rows_estimated: 0,
            row_bytes: 0,
            replace: false,
        };
        Encoder::new(Arc::new(plan), max_packet)
    }

    fn row(a: i64, e: u64, t: &'static str) -> Vec<Value<'static>> {
        vec![
            Value::Int(a),
            Value::UInt(e),
            Value::Bytes(Cow::Borrowed(t.as_bytes())),
        ]
    }

    fn texts(chunk: &Chunk) -> Vec<String> {
        chunk
            .statements
            .iter()
            .map(|s| String::from_utf8_lossy(&s.sql).into_owned())
            .collect()
    }

    #[test]
    fn rows_share_a_statement_and_the_chunk_knows_its_last_key() {
        let mut encoder = encoder(1 << 20);
        encoder.push(row(1, 1, "x"));
        encoder.push(row(2, 1, "y"));
        let chunk = encoder.cut(true);
        assert_eq!(
            texts(&chunk),
            ["INSERT INTO `d`.`t` (`a`,`e`,`t`) VALUES (1,1,_utf8mb4'x'),(2,1,_utf8mb4'y')"]
        );
        assert_eq!(
            (chunk.rows, chunk.last_key, chunk.end),
            (2, Some(vec!["2".to_owned()]), true)
        );
        assert_eq!(
            encoder.cut(true),
            Chunk {
                end: true,
                ..Chunk::default()
            }
        );
    }

    #[test]
    fn statements_stay_below_the_limit_and_lose_no_row() {
        let mut encoder = encoder(64 + 80);
        for a in 0..9 {
            encoder.push(row(a, 1, "abc"));
        }
        let chunk = encoder.cut(false);
        assert!(chunk.statements.len() > 2);
        assert!(chunk.statements.iter().all(|s| s.sql.len() <= 80));
        let all = texts(&chunk).concat();
        assert!((0..9).all(|a| all.contains(&format!("({a},1,_utf8mb4'abc')"))));
        assert_eq!(chunk.rows, 9);
    }

    #[test]
    fn an_enums_error_value_has_a_statement_of_its_own() {
        let mut encoder = encoder(1 << 20);
        for (a, e) in [(1, 1), (2, 0), (3, 0), (4, 2)] {
            encoder.push(row(a, e, ""));
        }
        let lenient: Vec<bool> = encoder.cut(false).statements.iter().map(|s| s.lenient).collect();
        assert_eq!(lenient, [false, true, false]);
    }
}
