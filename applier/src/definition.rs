//! A table's definition as a server has it: what is needed to turn rows into statements, no more.
//!
//! The same type serves both paths: the copy reads it from the source, replay from the target, where it is the definition
//! as of the replayed offset because DDL is applied in order (A4).

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::error::{Error, Side};
use crate::literal::{quote_name, quote_text};

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableDef {
    /// Its database.
    pub(crate) database: String,
    /// Its name.
    pub(crate) table: String,
    /// All columns that rows events carry, in order, generated and invisible ones included.
    pub(crate) columns: Vec<ColumnDef>,
    /// What identifies a row: the primary key, else a unique key without nullable columns.
    pub(crate) key: Option<KeyDef>,
    /// How many unique keys there are besides `key`.
    pub(crate) other_unique_keys: usize,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnDef {
    /// Its name.
    pub(crate) name: String,
    /// Its type.
    pub(crate) kind: ColumnKind,
    /// The declared type as the server prints it (`varchar(20)`, `int unsigned`).
    pub(crate) declared: String,
    /// True for an unsigned number.
    pub(crate) unsigned: bool,
    /// The character set of CHAR, VARCHAR and TEXT.
    pub(crate) charset: Option<String>,
    /// True when NULL is allowed.
    pub(crate) nullable: bool,
    /// True for VIRTUAL and STORED columns: the server computes them, nobody writes them.
    pub(crate) generated: bool,
    /// True for `ON UPDATE CURRENT_TIMESTAMP`: an UPDATE that leaves the column out would change it.
    pub(crate) on_update: bool,
}

/// The types, as far as statements and events tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    TinyInt,
    SmallInt,
    MediumInt,
    Int,
    BigInt,
    Decimal,
    Float,
    Double,
    Bit,
    Year,
    Date,
    Time,
    DateTime,
    Timestamp,
    /// CHAR.
    Char,
    /// VARCHAR.
    VarChar,
    /// TINYTEXT, TEXT, MEDIUMTEXT, LONGTEXT.
    Text,
    /// BINARY(n).
    Binary {
        /// The declared length: shorter values are padded with zero bytes.
        length: u16,
    },
    /// VARBINARY.
    VarBinary,
    /// TINYBLOB, BLOB, MEDIUMBLOB, LONGBLOB.
    Blob,
    Enum,
    Set,
    Json,
    Geometry,
    Vector,
}

/// A unique key over columns that are never NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyDef {
    /// Its name, `PRIMARY` for the primary key.
    pub(crate) name: String,
    /// Indexes into [`TableDef::columns`], in the key's order.
    pub(crate) columns: Vec<usize>,
}

impl TableDef {
    /// `` `database`.`table` ``.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote_name(&self.database), quote_name(&self.table))
    }

    /// Reads a table's definition; `None` when there is no such base table.
    pub(crate) async fn load(
        conn: &mut Conn,
        side: Side,
        database: &str,
        table: &str,
    ) -> Result<Option<Self>, Error> {
        let doing = || {
            format!(
                "reading the definition of {}.{}",
                quote_name(database),
                quote_name(table)
            )
        };
        let fail = |cause| Error::server(side, doing(), cause);
        let (db, name) = (quote_text(database), quote_text(table));
        let rows: Vec<Row> = conn
            .query(format!(
                "SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR), CAST(column_type AS CHAR), \
                 CAST(character_set_name AS CHAR), character_maximum_length, is_nullable = 'YES', CAST(extra AS CHAR) \
                 FROM information_schema.columns WHERE table_schema = {db} AND table_name = {name} ORDER BY ordinal_position"
            ))
            .await
            .map_err(fail)?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut columns = Vec::with_capacity(rows.len());
        for row in rows {
            columns.push(column(row).map_err(|what| Error::Unsuitable {
                side,
                what: format!("{}: {what}", doing()),
            })?);
        }
        let parts: Vec<(String, Option<String>, bool)> = conn
            .query(format!(
                "SELECT CAST(index_name AS CHAR), CAST(column_name AS CHAR), nullable = 'YES' FROM information_schema.statistics \
                 WHERE table_schema = {db} AND table_name = {name} AND non_unique = 0 \
                 ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index"
            ))
            .await
            .map_err(fail)?;
        let (key, other_unique_keys) = choose_key(&columns, &parts);
        Ok(Some(Self {
            database: database.to_owned(),
            table: table.to_owned(),
            columns,
            key,
            other_unique_keys,
        }))
    }
}

impl TableDef {
    /// Why rows of this table on the source can't be replayed into `theirs` on the target; `None` when they can.
    ///
    /// Rows events name columns by their places, and values are written in the column's own type and character set: so
    /// these must be the same, and the key too, by which rows are found.
    pub(crate) fn unlike(&self, theirs: &Self) -> Option<String> {
        if self.columns.len() != theirs.columns.len() {
            return Some(format!(
                "it has {} columns, the source's {}",
                theirs.columns.len(),
                self.columns.len()
            ));
        }
        let describe = |c: &ColumnDef| {
            let charset = c
                .charset
                .as_deref()
                .map(|name| if name == "utf8" { "utf8mb3" } else { name });
            let charset = charset.map_or_else(String::new, |name| format!(" in {name}"));
            let generated = if c.generated { ", generated" } else { "" };
            format!(
                "{} {}{charset}{generated}",
                quote_name(&c.name),
                c.without_width()
            )
        };
        let pairs = self.columns.iter().zip(&theirs.columns).enumerate();
        for (n, (ours, theirs)) in pairs {
            let (ours, theirs) = (describe(ours), describe(theirs));
            if ours != theirs {
                return Some(format!(
                    "its column {} is {theirs}, the source's is {ours}",
                    n + 1
                ));
            }
        }
        let key = |def: &Self| {
            def.key.as_ref().map(|key| {
                let mut columns = key.columns.clone();
                columns.sort_unstable();
                columns
            })
        };
        (key(self) != key(theirs))
            .then(|| "its primary key (or the unique key that serves as one) is not the source's".to_owned())
    }
}

impl ColumnDef {
    /// The declared type without the display width that old servers print: `int(11)` is `int`.
    fn without_width(&self) -> String {
        use ColumnKind::{BigInt, Int, MediumInt, SmallInt, TinyInt, Year};
        let declared = self.declared.as_str();
        match (self.kind, declared.split_once('('), declared.split_once(')')) {
            (TinyInt | SmallInt | MediumInt | Int | BigInt | Year, Some((before, _)), Some((_, after))) => {
                format!("{before}{after}")
            }
            _ => declared.to_owned(),
        }
    }
}

/// Picks the key by which rows are found: the primary key, else the first unique key that no NULL can hide from.
fn choose_key(columns: &[ColumnDef], parts: &[(String, Option<String>, bool)]) -> (Option<KeyDef>, usize) {
    let mut indexes: Vec<(&str, Option<Vec<usize>>)> = Vec::new();
    for (index, column, nullable) in parts {
        // No column: a functional key part. Its expression is not in any row image.
        let place = column
            .as_ref()
            .and_then(|c| columns.iter().position(|d| d.name == *c))
            .filter(|_| !nullable);
        if indexes.last().is_none_or(|(name, _)| name != index) {
            indexes.push((index, Some(Vec::new())));
        }
        if let Some((_, slots)) = indexes.last_mut() {
            match (slots.as_mut(), place) {
                (Some(slots), Some(place)) => slots.push(place),
                _ => *slots = None,
            }
        }
    }
    let count = indexes.len();
    let chosen = indexes.into_iter().find_map(|(name, slots)| {
        slots.map(|columns| KeyDef {
            name: name.to_owned(),
            columns,
        })
    });
    let others = count - usize::from(chosen.is_some());
    (chosen, others)
}

type ColumnRow = (String, String, String, Option<String>, Option<u64>, bool, String);

fn column(row: Row) -> Result<ColumnDef, String> {
    let (name, data_type, declared, charset, length, nullable, extra): ColumnRow =
        mysql_async::from_row_opt(row)
            .map_err(|error| format!("an answer of an unexpected shape: {error}"))?;
    let kind = kind(&data_type, length)
        .ok_or_else(|| format!("column {name} has type {declared}, which is not supported"))?;
    Ok(ColumnDef {
        name,
        kind,
        unsigned: declared.contains("unsigned"),
        declared,
        charset: charset
            .filter(|_| matches!(kind, ColumnKind::Char | ColumnKind::VarChar | ColumnKind::Text)),
        nullable,
        generated: extra.contains("VIRTUAL GENERATED") || extra.contains("STORED GENERATED"),
        on_update: extra.to_ascii_lowercase().contains("on update"),
    })
}

fn kind(data_type: &str, length: Option<u64>) -> Option<ColumnKind> {
    Some(match data_type.to_ascii_lowercase().as_str() {
        "tinyint" => ColumnKind::TinyInt,
        "smallint" => ColumnKind::SmallInt,
        "mediumint" => ColumnKind::MediumInt,
        "int" => ColumnKind::Int,
        "bigint" => ColumnKind::BigInt,
        "decimal" => ColumnKind::Decimal,
        "float" => ColumnKind::Float,
        "double" => ColumnKind::Double,
        "bit" => ColumnKind::Bit,
        "year" => ColumnKind::Year,
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time,
        "datetime" => ColumnKind::DateTime,
        "timestamp" => ColumnKind::Timestamp,
        "char" => ColumnKind::Char,
        "varchar" => ColumnKind::VarChar,
        "tinytext" | "text" | "mediumtext" | "longtext" => ColumnKind::Text,
        "binary" => ColumnKind::Binary {
            length: u16::try_from(length?).ok()?,
        },
        "varbinary" => ColumnKind::VarBinary,
        "tinyblob" | "blob" | "mediumblob" | "longblob" => ColumnKind::Blob,
        "enum" => ColumnKind::Enum,
        "set" => ColumnKind::Set,
        "json" => ColumnKind::Json,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geomcollection" | "geometrycollection" => ColumnKind::Geometry,
        "vector" => ColumnKind::Vector,
        _ => return None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plain nullable column for tests.
    pub(crate) fn plain(name: &str, kind: ColumnKind) -> ColumnDef {
        let charset = matches!(kind, ColumnKind::Char | ColumnKind::VarChar | ColumnKind::Text)
            .then(|| "utf8mb4".to_owned());
        ColumnDef {
            name: name.into(),
            kind,
            declared: String::new(),
            unsigned: false,
            charset,
            nullable: true,
            generated: false,
            on_update: false,
        }
    }

    #[test]
    fn a_table_is_like_another_when_rows_mean_the_same_in_both() {
        let column = |name: &str, kind, declared: &str| ColumnDef {
            declared: declared.into(),
            ..plain(name, kind)
        };
        let def = |columns: Vec<ColumnDef>, key: Option<Vec<usize>>| TableDef {
            database: "d".into(),
            table: "t".into(),
            columns,
            key: key.map(|columns| KeyDef {
                name: "PRIMARY".into(),
                columns,
            }),
            other_unique_keys: 0,
        };
        let id = || column("id", ColumnKind::Int, "int unsigned");
        let v = || column("v", ColumnKind::VarChar, "varchar(9)");
        let w = || column("w", ColumnKind::VarChar, "varchar(9)");
        let ours = def(vec![id(), v(), w()], Some(vec![0]));
        let old = column("id", ColumnKind::Int, "int(10) unsigned");
        assert_eq!(ours.unlike(&ours), None);
        assert_eq!(ours.unlike(&def(vec![old, v(), w()], Some(vec![0]))), None);
        let latin1 = ColumnDef {
            charset: Some("latin1".into()),
            ..w()
        };
        let wide = column("w", ColumnKind::VarChar, "varchar(10)");
        for (columns, key) in [
            (vec![id(), w(), v()], Some(vec![0])),
            (vec![id(), v()], Some(vec![0])),
            (vec![id(), v(), latin1], Some(vec![0])),
            (vec![id(), v(), wide], Some(vec![0])),
            (vec![id(), v(), w()], None),
            (vec![id(), v(), w()], Some(vec![0, 1])),
        ] {
            assert!(ours.unlike(&def(columns, key)).is_some());
        }
    }

    #[test]
    fn the_first_unique_key_without_null_or_expression_is_taken() {
        let columns = [plain("a", ColumnKind::Int), plain("b", ColumnKind::Int)];
        let part = |index: &str, column: Option<&str>, nullable| {
            (index.to_owned(), column.map(str::to_owned), nullable)
        };
        let parts = [
            part("k1", Some("a"), true),
            part("k2", None, false),
            part("k3", Some("b"), false),
            part("k3", Some("a"), false),
        ];
        let (key, others) = choose_key(&columns, &parts);
        assert_eq!(
            key,
            Some(KeyDef {
                name: "k3".into(),
                columns: vec![1, 0]
            })
        );
        assert_eq!(others, 2);
        assert_eq!(choose_key(&columns, &parts[..2]), (None, 2));
    }
}
