//! How to decode the rows of one table: made once per table map, used for all its rows events.

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

/// One changed row that is still held by the [`Rows`] that decoded it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Images<'r, 'a> {
    /// As it was: updates and deletes.
    pub before: Option<&'r [Option<Value<'a>>]>,
    /// As it is now: inserts and updates.
    pub after: Option<&'r [Option<Value<'a>>]>,
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

    /// The rows of `event`, decoded one by one: by [`Rows::read`], or as an iterator that gives each row away. After an error nothing
    /// more comes.
    pub fn rows<'a>(&self, event: &RowsEvent<'a>) -> Rows<'_, 'a> {
        let after = Image::new(event.columns_after, self.columns.len());
        let bare = event.kind == RowsKind::Insert && after.present == 0 && event.data.is_empty();
        Rows {
            plan: self,
            kind: event.kind,
            before: Image::new(event.columns_before, self.columns.len()),
            after,
            partial: event.partial,
            cursor: Cursor::new(event.data),
            state: match event.column_count == self.columns.len() {
                true if bare => State::Bare,
                true => State::Reading,
                false => State::Mismatch(event.column_count),
            },
            before_row: Row::new(),
            after_row: Row::new(),
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

    /// Takes the bits that say which of the present columns are NULL.
    #[inline]
    fn nulls(self, cursor: &mut Cursor<'a>) -> Result<&'a [u8], Error> {
        cursor.bytes(self.present.div_ceil(8)).within("row's NULL bits")
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
    /// One inserted row of which no column was given: it takes no bytes, and the server refuses to log two.
    Bare,
    /// The event has this number of columns, the plan another.
    Mismatch(usize),
    Over,
}

/// The rows of one event, from [`RowPlan::rows`].
#[derive(Debug)]
pub struct Rows<'p, 'a> {
    plan: &'p RowPlan,
    kind: RowsKind,
    before: Image<'a>,
    after: Image<'a>,
    partial: bool,
    cursor: Cursor<'a>,
    state: State,
    /// The images last read, whose memory the next ones use again.
    before_row: Row<'a>,
    after_row: Row<'a>,
}

impl<'a> Rows<'_, 'a> {
    /// The next changed row, valid until the next call; `None` after the last. Memory is taken for the first row only: the others use
    /// it again, also that of the values which are no bytes of the event (decimals, JSON).
    ///
    /// # Errors
    /// When the bytes don't fit the table map, end within a row, or hold a value that no server writes.
    #[inline]
    pub fn read(&mut self) -> Result<Option<Images<'_, 'a>>, Error> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Over => return Ok(None),
            State::Mismatch(columns) => return Err(self.mismatch(columns)),
            State::Bare => {
                places(&mut self.after_row, self.plan);
                return Ok(Some(Images {
                    before: None,
                    after: Some(&*self.after_row),
                }));
            }
            State::Reading if self.cursor.is_empty() => return Ok(None),
            State::Reading => self.decode()?,
        }
        self.state = State::Reading;
        Ok(Some(Images {
            before: (self.kind != RowsKind::Insert).then_some(&*self.before_row),
            after: (self.kind != RowsKind::Delete).then_some(&*self.after_row),
        }))
    }

    fn decode(&mut self) -> Result<(), Error> {
        let left = self.cursor.remaining();
        let mut documents = Documents::default();
        if self.kind != RowsKind::Insert {
            if self.partial {
                let mut ahead = self.cursor;
                documents = stored_documents(self.plan, &mut ahead, self.before)?;
            }
            read_image(self.plan, &mut self.cursor, self.before, &mut self.before_row)?;
        }
        if self.kind != RowsKind::Delete {
            let row = &mut self.after_row;
            if self.partial {
                read_partial_image(self.plan, &mut self.cursor, self.after, &documents, row)?;
            } else {
                read_image(self.plan, &mut self.cursor, self.after, row)?;
            }
        }
        if left == self.cursor.remaining() {
            return Err(Error::Mismatch {
                table: self.plan.table.clone(),
                detail: format!("{left} bytes are left of rows that hold no column"),
            });
        }
        Ok(())
    }

    #[cold]
    fn mismatch(&self, columns: usize) -> Error {
        Error::Mismatch {
            table: self.plan.table.clone(),
            detail: format!(
                "{columns} columns in the rows, {} in the table map",
                self.plan.columns.len()
            ),
        }
    }
}

impl<'a> Iterator for Rows<'_, 'a> {
    type Item = Result<RowChange<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Err(error) => Some(Err(error)),
            Ok(None) => None,
            Ok(Some(Images { before, after })) => {
                let (before, after) = (before.is_some(), after.is_some());
                Some(Ok(RowChange {
                    before: before.then(|| std::mem::take(&mut self.before_row)),
                    after: after.then(|| std::mem::take(&mut self.after_row)),
                }))
            }
        }
    }
}

/// The stored form of a before image's JSON columns, by column: what diffs in the after image refer to.
type Documents<'a> = Vec<(usize, &'a [u8])>;

/// The places of a row, one per column.
#[inline]
fn places<'r, 'a>(row: &'r mut Row<'a>, plan: &RowPlan) -> &'r mut [Option<Value<'a>>] {
    if row.len() != plan.columns.len() {
        row.resize_with(plan.columns.len(), || None);
    }
    row
}

/// Takes one image into `row`: a bit per present column that says NULL, then the values of the others.
#[inline]
fn read_image<'a>(
    plan: &RowPlan,
    cursor: &mut Cursor<'a>,
    image: Image<'a>,
    row: &mut Row<'a>,
) -> Result<(), Error> {
    let nulls = image.nulls(cursor)?;
    let whole = image.present == plan.columns.len();
    let mut place = 0;
    for (at, (codec, slot)) in plan.columns.iter().zip(places(row, plan)).enumerate() {
        if !whole && !bit(image.bitmap, at) {
            *slot = None;
            continue;
        }
        if bit(nulls, place) {
            *slot = Some(Value::Null);
        } else if let Err(source) = codec.read(cursor, slot) {
            return Err(in_column(&plan.table, at, source));
        }
        place += 1;
    }
    Ok(())
}

/// Passes over a before image and keeps its JSON columns as they are stored.
fn stored_documents<'a>(
    plan: &RowPlan,
    cursor: &mut Cursor<'a>,
    image: Image<'a>,
) -> Result<Documents<'a>, Error> {
    let nulls = image.nulls(cursor)?;
    let (mut documents, mut place, mut passed) = (Documents::new(), 0, None);
    for (at, codec) in plan.columns.iter().enumerate() {
        if !bit(image.bitmap, at) {
            continue;
        }
        if !bit(nulls, place) {
            let taken = match codec {
                Codec::Json(length) => {
                    prefixed(cursor, *length).map(|document| documents.push((at, document)))
                }
                _ => codec.read(cursor, &mut passed),
            };
            taken.map_err(|source| in_column(&plan.table, at, source))?;
        }
        place += 1;
    }
    Ok(documents)
}

/// Takes the after image of a PARTIAL_UPDATE_ROWS event: options, a bit per JSON column of the table that says "diff", then as usual.
fn read_partial_image<'a>(
    plan: &RowPlan,
    cursor: &mut Cursor<'a>,
    image: Image<'a>,
    before: &Documents<'a>,
    row: &mut Row<'a>,
) -> Result<(), Error> {
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
    let nulls = image.nulls(cursor)?;
    let (mut place, mut json_place) = (0, 0);
    for (at, (codec, slot)) in plan.columns.iter().zip(places(row, plan)).enumerate() {
        let mut is_diff = false;
        if matches!(codec, Codec::Json(_)) {
            is_diff = bit(diffs, json_place);
            json_place += 1;
        }
        if !bit(image.bitmap, at) {
            *slot = None;
            continue;
        }
        let taken = match codec {
            _ if bit(nulls, place) => {
                *slot = Some(Value::Null);
                Ok(())
            }
            Codec::Json(length) if is_diff => {
                read_diff(cursor, *length, at, before).map(|value| *slot = Some(value))
            }
            _ => codec.read(cursor, slot),
        };
        taken.map_err(|source| in_column(&plan.table, at, source))?;
        place += 1;
    }
    Ok(())
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
    json::changed_value(document, diffs)
}
