//! The source's columns as of an event, held against the target's (A4).
//!
//! Rows name columns by their places alone, so a target whose columns changed places, or read a number another way, would take
//! values into wrong columns without an error. Two tell what the source's columns were: the event's table map (types always,
//! signs and character sets since MySQL 8.0, names and members with `binlog_row_metadata = FULL`), and the log's version of
//! the definition at the event's offset, where that is exact. What nobody tells is not compared.
//!
//! Only what would make values go wrong counts. Keys, defaults, comments, visibility and widths are the target's own
//! business, and so is a wider type of the same kind, as long as it is told how the source's bytes are to be read. Pure.

use std::borrow::Cow;

use outrigger_protocol::binlog::rows::ColumnHint;
use outrigger_protocol::binlog::{self, ColumnType, TableMap};
use outrigger_protocol::charset;

use crate::definition::{ColumnDef, ColumnKind, TableDef};
use crate::literal::quote_name;

/// How many differing columns, and how many names, a sentence lists.
const LISTED: usize = 20;

/// A table's columns as the source had them when it wrote a table map.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    map: &'a TableMap,
    /// The log's exact definition, if it is of these columns.
    exact: Option<&'a TableDef>,
}

impl<'a> Layout<'a> {
    /// `exact` is the log's definition as of the event; one that contradicts the table map is not of these rows (a statement that
    /// the source did not log), and is left aside.
    pub(super) fn new(map: &'a TableMap, exact: Option<&'a TableDef>) -> Self {
        let describes = |def: &&TableDef| {
            let mut columns = map.columns.iter().zip(&def.columns);
            def.columns.len() == map.columns.len()
                && columns.all(|(event, known)| {
                    let named = |name| same_name(name, &known.name);
                    same_type(event.kind, known.kind) && event.name.as_deref().is_none_or(named)
                })
        };
        Self {
            map,
            exact: exact.filter(describes),
        }
    }

    /// Why rows of these columns would not stand right in `target`, as the rest of a sentence; `None` when they would.
    pub(super) fn contradiction(&self, target: &TableDef) -> Option<String> {
        let (theirs, ours) = (self.map.columns.len(), target.columns.len());
        if theirs != ours {
            let lists = self.lists(target);
            return Some(format!(
                "the source's rows have {theirs} columns, the target's table {ours}{lists}"
            ));
        }
        let differing: Vec<String> = self
            .columns()
            .zip(&target.columns)
            .enumerate()
            .filter_map(|(at, (told, ours))| told.contradicts(at + 1, ours))
            .collect();
        let more = match differing.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!(", and {more} columns more"),
        };
        let shown = differing.get(..LISTED).unwrap_or(&differing).join(", ");
        (!differing.is_empty()).then(|| format!("{shown}{more}{}", self.lists(target)))
    }

    /// What the table map may leave out, to decode rows that go into `target`.
    pub(super) fn hints(&self, target: &TableDef) -> Vec<ColumnHint> {
        let columns = &self.exact.unwrap_or(target).columns;
        let hint = |column: &ColumnDef| ColumnHint {
            unsigned: column.unsigned,
            binary: matches!(column.kind, ColumnKind::Binary { .. }),
        };
        columns.iter().map(hint).collect()
    }

    fn columns(&self) -> impl Iterator<Item = Told<'a>> {
        let exact = self.exact;
        let told = move |(at, event)| Told {
            event,
            exact: exact.and_then(|def| def.columns.get(at)),
        };
        self.map.columns.iter().enumerate().map(told)
    }

    /// Both sides' names, where the source's are told.
    fn lists(&self, target: &TableDef) -> String {
        let list = |names: Vec<&str>| {
            let mut list: Vec<String> = names.iter().take(LISTED).map(|name| quote_name(name)).collect();
            list.extend((names.len() > LISTED).then(|| "…".to_owned()));
            list.join(", ")
        };
        let ours = list(target.columns.iter().map(|column| column.name.as_str()).collect());
        let theirs: Option<Vec<&str>> = self.columns().map(|told| told.name()).collect();
        match theirs.map(list) {
            Some(theirs) => format!(" (the source's columns: {theirs}; the target's: {ours})"),
            None => format!(" (the target's columns: {ours})"),
        }
    }
}

/// What is told of one of the source's columns.
#[derive(Debug, Clone, Copy)]
struct Told<'a> {
    event: &'a binlog::ColumnDef,
    exact: Option<&'a ColumnDef>,
}

impl<'a> Told<'a> {
    fn name(&self) -> Option<&'a str> {
        let known = self.exact.map(|column| column.name.as_str());
        self.event.name.as_deref().or(known)
    }

    /// Whether a number is unsigned.
    fn unsigned(&self) -> Option<bool> {
        self.event.unsigned.or(self.exact.map(|column| column.unsigned))
    }

    /// The character set of a string; `binary` for bytes.
    fn charset(&self) -> Option<&'a str> {
        let by_event = self.event.collation.and_then(charset::charset_of);
        let by_exact = || match self.exact?.kind {
            ColumnKind::Binary { .. } | ColumnKind::VarBinary | ColumnKind::Blob => Some("binary"),
            ColumnKind::Char | ColumnKind::VarChar | ColumnKind::Text => self.exact?.charset.as_deref(),
            _ => None,
        };
        by_event
            .map(|(name, _)| name)
            .or_else(by_exact)
            .map(|name| if name == "utf8" { "utf8mb3" } else { name })
    }

    /// ENUM's or SET's members, where they can be read.
    fn members(&self) -> Option<Vec<Cow<'a, str>>> {
        let by_event = self
            .event
            .members
            .as_ref()
            .zip(self.event.collation.and_then(charset::charset_of));
        let by_event = by_event.and_then(|(members, (charset, _))| {
            let texts = members
                .iter()
                .map(|bytes| text(bytes, charset).map(Cow::Borrowed));
            texts.collect()
        });
        let by_exact = || Some(self.exact?.members().into_iter().map(Cow::Owned).collect());
        by_event.or_else(by_exact)
    }

    /// Why values of this column, the `at`th, would go wrong in `ours`.
    fn contradicts(&self, at: usize, ours: &ColumnDef) -> Option<String> {
        let name = quote_name(&ours.name);
        if let Some(theirs) = self.name().filter(|theirs| !same_name(theirs, &ours.name)) {
            let theirs = quote_name(theirs);
            return Some(format!(
                "column {at} is {theirs} on the source, {name} on the target"
            ));
        }
        let differs = |theirs: &str, ours: &str| {
            format!("column {at} ({name}) is {theirs} on the source, {ours} on the target")
        };
        let kind = self.event.kind;
        if !(same_type(kind, ours.kind) || is_wider(kind, ours.kind) && self.tells_how_to_read()) {
            return Some(differs(&kind.to_string(), &ours.declared));
        }
        self.sign_differs(ours)
            .or_else(|| self.charset_differs(ours))
            .map(|(theirs, ours)| differs(theirs, ours))
            .or_else(|| self.members_differ(at, ours))
            .or_else(|| {
                let (theirs, ours) = self.rounded(ours)?;
                Some(differs(&format!("{theirs} digits after the point"), ours))
            })
            .or_else(|| {
                let computed = ours.generated && self.exact.is_some_and(|column| !column.generated);
                computed.then(|| differs("written", "generated"))
            })
    }

    /// Whether the source's bytes can be read without the target's word on it.
    fn tells_how_to_read(&self) -> bool {
        if self.event.kind.is_character() {
            self.charset().is_some()
        } else {
            self.unsigned().is_some()
        }
    }

    /// An unsigned number may stand in a wider signed column, nothing else in one of another sign.
    fn sign_differs<'t>(&self, ours: &'t ColumnDef) -> Option<(&'static str, &'t str)> {
        let (theirs, kind) = (self.unsigned()?, self.event.kind);
        let wider = theirs && is_wider(kind, ours.kind);
        (integer(kind).is_some() && theirs != ours.unsigned && !wider)
            .then_some((if theirs { "unsigned" } else { "signed" }, ours.declared.as_str()))
    }

    /// Bytes of one character set would be taken for text in another. As bytes they are what they were.
    fn charset_differs<'t>(&self, ours: &'t ColumnDef) -> Option<(&'a str, &'t str)> {
        let into = match ours.kind {
            ColumnKind::Char | ColumnKind::VarChar | ColumnKind::Text => ours.charset.as_deref()?,
            ColumnKind::Binary { .. } => "binary",
            _ => return None,
        };
        let theirs = self.charset()?;
        let fine = match (theirs, into) {
            ("ascii", "utf8" | "utf8mb3" | "utf8mb4" | "latin1") | ("utf8mb3", "utf8" | "utf8mb4") => true,
            _ => theirs == into,
        };
        (!fine).then_some((theirs, into))
    }

    /// A value with more digits after the point than the target's column has is rounded there without an error.
    fn rounded<'t>(&self, ours: &'t ColumnDef) -> Option<(u16, &'t str)> {
        let (digits, scale) = ours.digits();
        let (theirs, has) = match (self.event.kind.0, ours.kind) {
            (17..=19, _) => (self.event.meta, digits),
            (_, ColumnKind::Decimal) => (self.event.meta & 0xff, scale),
            _ => return None,
        };
        (!ours.generated && theirs > has).then_some((theirs, ours.declared.as_str()))
    }

    /// Values are members' numbers: the target may have more of them, behind the source's.
    fn members_differ(&self, at: usize, ours: &ColumnDef) -> Option<String> {
        if !self.event.kind.is_enum_or_set() {
            return None;
        }
        let (theirs, members) = (self.members()?, ours.members());
        let differ = |(place, theirs): (usize, &Cow<'_, str>)| {
            let ours = members.get(place);
            ours.is_none_or(|ours| ours != theirs && *ours != as_shown(theirs))
        };
        let place = theirs.iter().enumerate().position(differ)?;
        let show = |member: Option<&str>| {
            member.map_or_else(|| "missing".to_owned(), |member| format!("'{member}'"))
        };
        Some(format!(
            "member {} of column {at} ({}) is {} on the source, {} on the target",
            place + 1,
            quote_name(&ours.name),
            show(theirs.get(place).map(Cow::as_ref)),
            show(members.get(place).map(String::as_str))
        ))
    }
}

/// Column names are the same in upper and lower case.
fn same_name(left: &str, right: &str) -> bool {
    left == right || left.to_lowercase() == right.to_lowercase()
}

/// A member as servers show it in definitions, which are text in utf8mb3: whatever takes four bytes is a question mark.
fn as_shown(member: &str) -> String {
    let shown = |c: char| if c.len_utf8() > 3 { '?' } else { c };
    member.chars().map(shown).collect()
}

/// A member's text; `None` where that takes a conversion.
fn text<'a>(bytes: &'a [u8], charset: &str) -> Option<&'a str> {
    match charset {
        "utf8mb4" | "utf8mb3" | "ascii" => std::str::from_utf8(bytes).ok(),
        // Not even letters are ASCII's there.
        "ucs2" | "utf16" | "utf16le" | "utf32" | "swe7" => None,
        _ => std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()),
    }
}

/// An integer type's place in the order of widths.
fn integer(kind: ColumnType) -> Option<u8> {
    match kind {
        ColumnType::TINY => Some(1),
        ColumnType::SHORT => Some(2),
        ColumnType::INT24 => Some(3),
        ColumnType::LONG => Some(4),
        ColumnType::LONGLONG => Some(8),
        _ => None,
    }
}

/// Whether every value of an event's column type can stand in a column of another, wider type.
fn is_wider(theirs: ColumnType, ours: ColumnKind) -> bool {
    use ColumnKind as K;
    let width = match ours {
        K::SmallInt => 2,
        K::MediumInt => 3,
        K::Int => 4,
        K::BigInt => 8,
        K::VarChar | K::VarBinary => return theirs == ColumnType::STRING,
        K::Text | K::Blob => return matches!(theirs, ColumnType::STRING | ColumnType::VARCHAR),
        _ => return false,
    };
    integer(theirs).is_some_and(|theirs| theirs < width)
}

/// Whether an event's column type is a column's own. Numbers are MySQL's `enum_field_types`.
fn same_type(theirs: ColumnType, ours: ColumnKind) -> bool {
    use ColumnKind as K;
    let types: &[u8] = match ours {
        K::TinyInt => &[1],
        K::SmallInt => &[2],
        K::MediumInt => &[9],
        K::Int => &[3],
        K::BigInt => &[8],
        K::Decimal => &[246],
        K::Float => &[4],
        K::Double => &[5],
        K::Bit => &[16],
        K::Year => &[13],
        K::Date => &[10, 14],
        K::Time => &[11, 19],
        K::DateTime => &[12, 18],
        K::Timestamp => &[7, 17],
        K::Char | K::Binary { .. } => &[254],
        K::VarChar | K::VarBinary => &[15, 253],
        K::Text | K::Blob => &[249, 250, 251, 252],
        K::Enum => &[247],
        K::Set => &[248],
        K::Json => &[245],
        K::Geometry => &[255],
        K::Vector => &[242],
    };
    types.contains(&theirs.0)
}

#[cfg(test)]
mod tests;
