//! Transactions for programs: one JSON object a line. It is written as it is decoded, so a line may be larger than memory.

use std::io::{self, Write};

use outrigger_protocol::binlog::rows::{Row, RowChange};
use serde_json::{Map, Value};

use super::column::Column;
use super::text::{committed, verb};
use super::{Head, Rows, Sink, Tail, value};

/// Prints JSON lines to `out`.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
    rows: bool,
    /// Changes of the open transaction so far.
    changes: u64,
    /// Rows of the open change so far.
    images: u64,
}

impl<W: Write> Json<W> {
    /// JSON with rows or without.
    pub fn new(out: W, rows: bool) -> Self {
        Self {
            out,
            rows,
            changes: 0,
            images: 0,
        }
    }

    /// Begins the next element of the list of changes.
    fn change(&mut self, fields: &Map<String, Value>) -> io::Result<()> {
        let comma = if self.changes == 0 { "" } else { "," };
        self.changes += 1;
        write!(self.out, "{comma}{}", open(fields))
    }
}

/// An object without its end, so that more can follow.
fn open(fields: &Map<String, Value>) -> String {
    let mut text = Value::Object(fields.clone()).to_string();
    text.pop();
    text
}

fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// The row's columns in their order.
fn image(columns: &[Column], row: &Row<'_>) -> String {
    let mut text = String::new();
    for (column, value) in columns.iter().zip(row) {
        if let Some(value) = value {
            let comma = if text.is_empty() { "" } else { "," };
            let (name, value) = (Value::from(column.name.as_str()), value::json(column, value));
            text.push_str(&format!("{comma}{name}:{value}"));
        }
    }
    format!("{{{text}}}")
}

impl<W: Write> Sink for Json<W> {
    fn begin(&mut self, head: &Head) -> io::Result<()> {
        self.changes = 0;
        let gtid = head.begin.gtid.as_ref().map(ToString::to_string);
        let fields = fields([
            ("offset", head.offset.0.into()),
            ("gtid", gtid.into()),
            ("committed", committed(head.begin.commit_micros).into()),
            ("start", head.begin.start.to_string().into()),
        ]);
        write!(self.out, "{},\"changes\":[", open(&fields))
    }

    fn statement(&mut self, database: &str, text: &str) -> io::Result<()> {
        self.change(&fields([
            ("kind", "statement".into()),
            ("database", database.into()),
            ("text", text.into()),
        ]))?;
        write!(self.out, "}}")
    }

    fn xa(&mut self, action: &str, xid: &str) -> io::Result<()> {
        self.change(&fields([
            ("kind", format!("xa {action}").into()),
            ("xid", xid.into()),
        ]))?;
        write!(self.out, "}}")
    }

    fn rows(&mut self, rows: &Rows<'_>) -> io::Result<()> {
        let mut fields = fields([
            ("kind", verb(rows.kind).into()),
            ("database", rows.database.into()),
            ("table", rows.table.into()),
        ]);
        if let Some(cause) = rows.cause {
            fields.insert("by".to_owned(), cause.into());
        }
        self.change(&fields)?;
        self.images = 0;
        if self.rows {
            write!(self.out, ",\"images\":[")?;
        }
        Ok(())
    }

    fn row(&mut self, columns: &[Column], change: &RowChange<'_>) -> io::Result<()> {
        let comma = if self.images == 0 { "" } else { "," };
        self.images += 1;
        let both: Vec<String> = [("before", &change.before), ("after", &change.after)]
            .into_iter()
            .filter_map(|(key, row)| Some(format!("\"{key}\":{}", image(columns, row.as_ref()?))))
            .collect();
        write!(self.out, "{comma}{{{}}}", both.join(","))
    }

    fn rows_end(&mut self, count: u64) -> io::Result<()> {
        let end = if self.rows { "]" } else { "" };
        write!(self.out, "{end},\"rows\":{count}}}")
    }

    fn end(&mut self, tail: &Tail) -> io::Result<()> {
        writeln!(
            self.out,
            "],\"end\":{},\"bytes\":{},\"pieces\":{},\"compressed\":{}}}",
            Value::from(tail.end.to_string()),
            tail.bytes,
            tail.pieces,
            tail.compressed
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
