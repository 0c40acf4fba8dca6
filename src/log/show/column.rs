//! What is known of a table's columns: from the table map, and from the table's definition where one is kept.

use outrigger_protocol::binlog::rows::ColumnHint;
use outrigger_protocol::binlog::{self, ColumnType, TableMap};
use outrigger_protocol::charset;
use outrigger_protocol::definition::{self, ColumnKind, TableDef};
use outrigger_storage::{Offset, Records};

/// A column as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, or `@` and its place from 1 where nobody tells.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// What the table map adds to the type.
    pub meta: u16,
    /// ENUM's or SET's members.
    pub members: Vec<String>,
    /// How its bytes are meant.
    pub bytes: Bytes,
}

/// How a column's bytes are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bytes {
    /// Text in UTF-8 or a part of it.
    Text,
    /// Text in this character set.
    Charset(String),
    /// Bytes.
    Binary,
    /// Nobody tells.
    Unknown,
}

/// Definitions of tables as of an offset (A4).
pub trait Definitions {
    /// The table's definition; `None` when it is not known for certain.
    ///
    /// # Errors
    /// When what is kept can't be read.
    fn definition(
        &self,
        database: &str,
        table: &str,
        at: Offset,
    ) -> Result<Option<TableDef>, outrigger_storage::Error>;
}

impl Definitions for Records<'_> {
    fn definition(
        &self,
        database: &str,
        table: &str,
        at: Offset,
    ) -> Result<Option<TableDef>, outrigger_storage::Error> {
        let version = self.schema(database, table, at)?;
        Ok(version.and_then(|version| Some(version.exact()?.table.clone())))
    }
}

/// The columns of a table map, and how to decode its rows. A definition of another number of columns is not this table's.
pub(super) fn columns(map: &TableMap, definition: Option<&TableDef>) -> (Vec<Column>, Vec<ColumnHint>) {
    let definition = definition.filter(|table| table.columns.len() == map.columns.len());
    let described = |at: usize| definition.and_then(|table| table.columns.get(at));
    let columns = map.columns.iter().enumerate().map(|(at, column)| {
        let known = described(at);
        let name = column.name.clone().or(known.map(|known| known.name.clone()));
        let members = match (&column.members, known) {
            (Some(members), _) => members
                .iter()
                .map(|member| String::from_utf8_lossy(member).into_owned())
                .collect(),
            (None, Some(known)) if column.kind.is_enum_or_set() => members(&known.declared),
            (None, _) => Vec::new(),
        };
        Column {
            name: name.unwrap_or_else(|| format!("@{}", at + 1)),
            kind: column.kind,
            meta: column.meta,
            members,
            bytes: bytes(column, known),
        }
    });
    let hints = (0..map.columns.len()).map(|at| ColumnHint {
        unsigned: described(at).is_some_and(|known| known.unsigned),
        binary: described(at).is_some_and(|known| matches!(known.kind, ColumnKind::Binary { .. })),
    });
    (columns.collect(), hints.collect())
}

fn bytes(column: &binlog::ColumnDef, known: Option<&definition::ColumnDef>) -> Bytes {
    if matches!(column.kind, ColumnType::GEOMETRY | ColumnType::VECTOR) {
        return Bytes::Binary;
    }
    let told = column
        .collation
        .and_then(charset::charset_of)
        .map(|(name, _)| name);
    match told.or(known.and_then(|known| known.charset.as_deref())) {
        Some("binary") => Bytes::Binary,
        Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii") => Bytes::Text,
        Some(name) => Bytes::Charset(name.to_owned()),
        None => match known.map(|known| known.kind) {
            Some(ColumnKind::Binary { .. } | ColumnKind::VarBinary | ColumnKind::Blob) => Bytes::Binary,
            _ => Bytes::Unknown,
        },
    }
}

/// The members in `enum('a','b''c')`.
fn members(declared: &str) -> Vec<String> {
    let mut members = Vec::new();
    let mut open: Option<String> = None;
    let mut chars = declared.chars().peekable();
    while let Some(c) = chars.next() {
        match (&mut open, c) {
            (None, '\'') => open = Some(String::new()),
            (None, _) => {}
            (Some(member), '\'') if chars.peek() == Some(&'\'') => {
                chars.next();
                member.push('\'');
            }
            (Some(member), '\'') => {
                members.push(std::mem::take(member));
                open = None;
            }
            (Some(member), c) => member.push(c),
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_declared_type() {
        assert_eq!(members("enum('a','b''c','','d,e')"), ["a", "b'c", "", "d,e"]);
        assert_eq!(members("set('x') /* no more */"), ["x"]);
        assert!(members("int").is_empty() && members("enum('unended").is_empty());
    }

    #[test]
    fn a_definition_tells_what_the_table_map_leaves_out() {
        let column = |kind, meta| binlog::ColumnDef {
            kind,
            meta,
            nullable: true,
            unsigned: None,
            collation: None,
            name: None,
            members: None,
            geometry: None,
            dimension: None,
            visible: None,
        };
        let mut map = TableMap {
            table_id: 1,
            flags: 0,
            database: "app".to_owned(),
            table: "t".to_owned(),
            columns: vec![
                column(ColumnType::LONG, 0),
                column(ColumnType::STRING, 9),
                column(ColumnType::ENUM, 1),
                column(ColumnType::VARCHAR, 40),
            ],
            primary_key: None,
        };
        let table: TableDef = serde_json::from_value(serde_json::json!({
            "database": "app", "table": "t", "key": null, "columns": [
                {"name": "id", "kind": "int", "declared": "int unsigned", "unsigned": true},
                {"name": "b", "kind": {"binary": {"length": 9}}, "declared": "binary(9)"},
                {"name": "e", "kind": "enum", "declared": "enum('x','y')"},
                {"name": "s", "kind": "varchar", "declared": "varchar(10)", "charset": "latin1"},
            ],
        }))
        .unwrap();
        let (shown, hints) = columns(&map, Some(&table));
        let names = |columns: &[Column]| {
            columns
                .iter()
                .map(|column| column.name.clone())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(names(&shown), "id b e s");
        assert_eq!(shown[2].members, ["x", "y"]);
        assert_eq!(
            (&shown[1].bytes, &shown[3].bytes),
            (&Bytes::Binary, &Bytes::Charset("latin1".to_owned()))
        );
        assert!(hints[0].unsigned && hints[1].binary && !hints[3].binary);
        // What the map tells itself is believed; a definition of another number of columns is not this table's.
        map.columns[0].name = Some("told".to_owned());
        map.columns[3].collation = Some(255);
        let (shown, _) = columns(&map, Some(&table));
        assert_eq!(
            (names(&shown).as_str(), &shown[3].bytes),
            ("told b e s", &Bytes::Text)
        );
        map.columns.pop();
        assert_eq!(names(&columns(&map, Some(&table)).0), "told @2 @3");
        assert_eq!(names(&columns(&map, None).0), "told @2 @3");
    }
}
