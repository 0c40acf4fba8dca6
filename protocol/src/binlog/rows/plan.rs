//! How to decode the rows of one table: made once per table map, used for all its rows events.

use std::borrow::Cow;

use super::codec::{Codec, prefixed};
use super::{RowsEvent, RowsKind};
use crate::binlog::error::Within;
use crate::binlog::{Error, TableMap, json};
use crate::cursor::Cursor;
use crate::value::Value;

/// What a table map may leave out and the decoder must know, from the table's definition as of the event (A4). Where the
/// table map tells by itself, the table map is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ColumnHint {
    /// The number is unsigned.
    pub unsigned: bool,
    /// A fixed-length string is BINARY(n): its values are padded with zero bytes to n.
    pub binary: bool,
}

/// One row's image: a value per column of the table; `None`: the column is not in the image.
pub type Row<'a> = Vec<Option<Value<'a>>>;

/// One changed row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange<'a> {
    /// As it was: updates and deletes.
    pub before: Option<Row<'a>>,
    /// As it is now: inserts and updates.
    pub after: Option<Row<'a>>,
}

/// How each column of a table is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPlan {
    table: String,
    columns: Vec<Codec>,
    /// How many of them are JSON.
    json_columns: usize,
}

impl RowPlan {
    /// Plans the decoding of `map`'s rows. `hints` has one entry per column, or none at all when the table map tells signedness and
    /// character sets by itself (MySQL 8.0 and later).
    ///
    /// # Errors
    /// When a column's type is not known, `hints` has another length than the table map, or neither tells what must be known.
    pub fn new(map: &TableMap, hints: &[ColumnHint]) -> Result<Self, Error> {
        let table = map.name();
        if !hints.is_empty() && hints.len() != map.columns.len() {
            let detail = format!(
                "its definition has {} columns, the binlog {}",
                hints.len(),
                map.columns.len()
            );
            return Err(Error::Mismatch { table, detail });
        }
        let mut columns = Vec::with_capacity(map.columns.len());
        for (at, column) in map.columns.iter().enumerate() {
            let codec = Codec::new(column, hints.get(at).copied());
            columns.push(codec.map_err(|source| in_column(&table, at, source))?);
        }
        let json_columns = columns
            .iter()
            .filter(|codec| matches!(codec, Codec::Json(_)))
            .count();
        Ok(Self {
            table,
            columns,
            json_columns,
        })
    }

    /// The rows of `event`, decoded one by one. After an error the iterator ends.
    pub fn rows<'a>(&self, event: &RowsEvent<'a>) -> Rows<'_, 'a> {
        Rows {
            plan: self,
            kind: event.kind,
            before: Image::new(event.columns_before, self.columns.len()),
            after: Image::new(event.columns_after, self.columns.len()),
            partial: event.partial,
            cursor: Cursor::new(event.data),
            state: if event.column_count == self.columns.len() {
                State::Reading
            } else {
                State::Mismatch(event.column_count)
            },
        }
    }
}

/// Names the column in which an error was found.
#[cold]
fn in_column(table: &str, at: usize, source: Error) -> Error {
    Error::Column {
        table: table.to_owned(),
        column: at + 1,
        source: Box::new(source),
    }
}

/// Which columns an image holds.
#[derive(Debug, Clone, Copy)]
struct Image<'a> {
    bitmap: &'a [u8],
    present: usize,
}

impl<'a> Image<'a> {
    fn new(bitmap: &'a [u8], columns: usize) -> Self {
        Self {
            bitmap,
            present: (0..columns).filter(|at| bit(bitmap, *at)).count(),
        }
    }
}

/// Bit `at`, the first in the lowest bit of the first byte; no bit beyond the end is set.
#[inline]
fn bit(bitmap: &[u8], at: usize) -> bool {
    bitmap.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
}

#[derive(Debug, Clone, Copy)]
enum State {
    Reading,
    /// The event has this number of columns, the plan another.
    Mismatch(usize),
    Over,
}

/// Iterator of [`RowPlan::rows`].
#[derive(Debug)]
pub struct Rows<'p, 'a> {
    plan: &'p RowPlan,
    kind: RowsKind,
    before: Image<'a>,
    after: Image<'a>,
    partial: bool,
    cursor: Cursor<'a>,
    state: State,
}

impl<'a> Rows<'_, 'a> {
    fn read(&mut self) -> Result<RowChange<'a>, Error> {
        let left = self.cursor.remaining();
        let mut documents = Documents::default();
        let before = match self.kind {
            RowsKind::Insert => None,
            RowsKind::Update | RowsKind::Delete => {
                let keep = self.partial.then_some(&mut documents);
                Some(read_image(self.plan, &mut self.cursor, self.before, keep)?)
            }
        };
        let after = match self.kind {
            RowsKind::Delete => None,
            RowsKind::Update if self.partial => Some(read_partial_image(
                self.plan,
                &mut self.cursor,
                self.after,
                &documents,
            )?),
            RowsKind::Insert | RowsKind::Update => {
                Some(read_image(self.plan, &mut self.cursor, self.after, None)?)
            }
        };
        if left == self.cursor.remaining() {
            let detail = format!("{left} bytes are left of rows that hold no column");
            return Err(Error::Mismatch {
                table: self.plan.table.clone(),
                detail,
            });
        }
        Ok(RowChange { before, after })
    }
}

impl<'a> Iterator for Rows<'_, 'a> {
    type Item = Result<RowChange<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Over => None,
            State::Mismatch(columns) => Some(Err(Error::Mismatch {
                table: self.plan.table.clone(),
                detail: format!(
                    "{columns} columns in the rows, {} in the table map",
                    self.plan.columns.len()
                ),
            })),
            State::Reading if self.cursor.is_empty() => None,
            State::Reading => {
                let row = self.read();
                if row.is_ok() {
                    self.state = State::Reading;
                }
                Some(row)
            }
        }
    }
}

/// The stored form of a before image's JSON columns, by column: what diffs in the after image refer to.
type Documents<'a> = Vec<(usize, &'a [u8])>;

/// Takes one image: a bit per present column that says NULL, then the values of the others.
#[inline]
fn read_image<'a>(
    plan: &RowPlan,
    cursor: &mut Cursor<'a>,
    image: Image<'a>,
    mut keep: Option<&mut Documents<'a>>,
) -> Result<Row<'a>, Error> {
    let nulls = cursor
        .bytes(image.present.div_ceil(8))
        .within("row's NULL bits")?;
    let mut row = Vec::with_capacity(plan.columns.len());
    let mut place = 0;
    for (at, codec) in plan.columns.iter().enumerate() {
        if !bit(image.bitmap, at) {
            row.push(None);
            continue;
        }
        let value = if bit(nulls, place) {
            Ok(Value::Null)
        } else {
            if let (Some(keep), Codec::Json(length)) = (&mut keep, codec) {
                let mut ahead = *cursor;
                if let Ok(document) = prefixed(&mut ahead, *length) {
                    keep.push((at, document));
                }
            }
            codec.read(cursor)
        };
        row.push(Some(value.map_err(|source| in_column(&plan.table, at, source))?));
        place += 1;
    }
    Ok(row)
}

/// Takes the after image of a PARTIAL_UPDATE_ROWS event: options, a bit per JSON column of the table that says "diff", then as usual.
fn read_partial_image<'a>(
    plan: &RowPlan,
    cursor: &mut Cursor<'a>,
    image: Image<'a>,
    before: &Documents<'a>,
) -> Result<Row<'a>, Error> {
    const WHAT: &str = "PARTIAL_UPDATE_ROWS event";
    const PARTIAL_JSON: u64 = 1;
    let options = cursor.lenenc().within(WHAT)?;
    if options & !PARTIAL_JSON != 0 {
        return Err(Error::Unsupported {
            what: format!("an update with value options {options}"),
            advice: "set binlog_row_value_options='' on the source, or update this program",
        });
    }
    let diffs: &[u8] = if options & PARTIAL_JSON == 0 {
        &[]
    } else {
        cursor.bytes(plan.json_columns.div_ceil(8)).within(WHAT)?
    };
    let nulls = cursor
        .bytes(image.present.div_ceil(8))
        .within("row's NULL bits")?;
    let mut row = Vec::with_capacity(plan.columns.len());
    let (mut place, mut json_place) = (0, 0);
    for (at, codec) in plan.columns.iter().enumerate() {
        let mut is_diff = false;
        if matches!(codec, Codec::Json(_)) {
            is_diff = bit(diffs, json_place);
            json_place += 1;
        }
        if !bit(image.bitmap, at) {
            row.push(None);
            continue;
        }
        let value = match codec {
            _ if bit(nulls, place) => Ok(Value::Null),
            Codec::Json(length) if is_diff => read_diff(cursor, *length, at, before),
            _ => codec.read(cursor),
        };
        row.push(Some(value.map_err(|source| in_column(&plan.table, at, source))?));
        place += 1;
    }
    Ok(row)
}

/// Takes the diffs of one column and applies them to what the before image holds.
fn read_diff<'a>(
    cursor: &mut Cursor<'a>,
    length: u8,
    at: usize,
    before: &Documents<'a>,
) -> Result<Value<'a>, Error> {
    let diffs = prefixed(cursor, length)?;
    let Some((_, document)) = before.iter().find(|(column, _)| *column == at) else {
        return Err(Error::Unsupported {
            what: "a JSON column as a diff to a document that the event leaves out".to_owned(),
            advice: "set binlog_row_image=FULL or binlog_row_value_options='' on the source, then copy this table anew",
        });
    };
    Ok(Value::Json(Cow::Owned(json::apply_diffs(document, diffs)?)))
}
