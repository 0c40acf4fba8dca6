//! Transactions for people.

use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use outrigger_protocol::binlog::RowsKind;
use outrigger_protocol::binlog::rows::{Row, RowChange};

use super::column::Column;
use super::{Head, Rows, Sink, Tail, value};

/// Prints text to `out`.
#[derive(Debug)]
pub struct Text<W> {
    out: W,
    /// Rows follow the line that announces them.
    rows: bool,
}

impl<W: Write> Text<W> {
    /// Text with rows or without.
    pub fn new(out: W, rows: bool) -> Self {
        Self { out, rows }
    }

    fn image(&mut self, sign: char, columns: &[Column], row: &Row<'_>) -> io::Result<()> {
        write!(self.out, "    {sign} ")?;
        let present = columns
            .iter()
            .zip(row)
            .filter_map(|(column, value)| Some((column, value.as_ref()?)));
        for (at, (column, value)) in present.enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(self.out, "{comma}{}={}", column.name, value::sql(column, value))?;
        }
        writeln!(self.out)
    }
}

/// A commit's time in UTC.
pub(super) fn committed(micros: u64) -> String {
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_micros(micros)).to_string()
}

/// The word for what happened to rows.
pub(super) fn verb(kind: RowsKind) -> &'static str {
    match kind {
        RowsKind::Insert => "insert",
        RowsKind::Update => "update",
        RowsKind::Delete => "delete",
    }
}

impl<W: Write> Sink for Text<W> {
    fn begin(&mut self, head: &Head) -> io::Result<()> {
        let gtid = head
            .begin
            .gtid
            .as_ref()
            .map_or_else(|| "anonymous".to_owned(), ToString::to_string);
        let committed = committed(head.begin.commit_micros);
        writeln!(
            self.out,
            "offset {}, {gtid}, committed {committed}, from {}",
            head.offset, head.begin.start
        )
    }

    fn statement(&mut self, database: &str, text: &str) -> io::Result<()> {
        if database.is_empty() {
            write!(self.out, "  statement: ")?;
        } else {
            write!(self.out, "  statement in {database}: ")?;
        }
        writeln!(self.out, "{}", text.replace('\n', "\n    "))
    }

    fn xa(&mut self, action: &str, xid: &str) -> io::Result<()> {
        writeln!(self.out, "  XA {action} {xid}")
    }

    fn rows(&mut self, rows: &Rows<'_>) -> io::Result<()> {
        if let Some(cause) = rows.cause {
            writeln!(self.out, "  by: {}", cause.replace('\n', "\n    "))?;
        }
        let end = if self.rows { "\n" } else { "" };
        write!(
            self.out,
            "  {} {}.{}{end}",
            verb(rows.kind),
            rows.database,
            rows.table
        )
    }

    fn row(&mut self, columns: &[Column], change: &RowChange<'_>) -> io::Result<()> {
        if let Some(before) = &change.before {
            self.image('-', columns, before)?;
        }
        match &change.after {
            Some(after) => self.image('+', columns, after),
            None => Ok(()),
        }
    }

    fn rows_end(&mut self, count: u64) -> io::Result<()> {
        if self.rows {
            return Ok(());
        }
        let s = if count == 1 { "" } else { "s" };
        writeln!(self.out, ": {count} row{s}")
    }

    fn end(&mut self, tail: &Tail) -> io::Result<()> {
        let compressed = if tail.compressed { ", compressed" } else { "" };
        let pieces = match tail.pieces {
            1 => String::new(),
            pieces => format!(" in {pieces} pieces"),
        };
        writeln!(
            self.out,
            "  to {}, {} bytes{pieces}{compressed}",
            tail.end, tail.bytes
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
