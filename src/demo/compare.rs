//! Compares whole tables of two servers, every row, without moving the rows: each side computes an order-independent checksum
//! over all columns by their bytes. Also used by the tests.

use anyhow::{Context, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// One table on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// `database.table`.
    pub table: String,
    /// What the source holds; `None` when the table is absent there.
    pub source: Option<Digest>,
    /// What the target holds; `None` when the table is absent there.
    pub target: Option<Digest>,
}

impl Comparison {
    /// True when both sides hold the same rows.
    #[must_use]
    pub fn equal(&self) -> bool {
        self.source.is_some() && self.source == self.target
    }
}

/// A table's content, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Number of rows.
    pub rows: u64,
    /// Sum and exclusive or of a 64-bit hash of each row, in hexadecimal: the sum sees rows that stand twice.
    pub checksum: String,
}

/// Compares all base tables of the named databases, on either side.
pub async fn databases(source: &mut Conn, target: &mut Conn, names: &[&str]) -> Result<Vec<Comparison>> {
    let mut comparisons = Vec::new();
    for database in names {
        let mut tables = tables(source, database).await?;
        tables.extend(self::tables(target, database).await?);
        tables.sort();
        tables.dedup();
        for table in tables {
            let (ours, theirs) =
                tokio::join!(digest(source, database, &table), digest(target, database, &table));
            comparisons.push(Comparison {
                table: format!("{database}.{table}"),
                source: ours?,
                target: theirs?,
            });
        }
    }
    Ok(comparisons)
}

async fn tables(conn: &mut Conn, database: &str) -> Result<Vec<String>> {
    let sql = "SELECT CONVERT(table_name USING utf8mb4) FROM information_schema.tables
               WHERE table_schema = ? AND table_type = 'BASE TABLE'";
    Ok(conn.exec(sql, (database,)).await?)
}

/// A table's row count and checksum; `None` when there is no such table.
pub async fn digest(conn: &mut Conn, database: &str, table: &str) -> Result<Option<Digest>> {
    let sql = "SELECT CONVERT(column_name USING utf8mb4), CONVERT(data_type USING utf8mb4)
               FROM information_schema.columns WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position";
    let columns: Vec<(String, String)> = conn.exec(sql, (database, table)).await?;
    if columns.is_empty() {
        return Ok(None);
    }
    conn.query_drop("SET time_zone = '+00:00', group_concat_max_len = 67108864, sql_mode = ''")
        .await?;
    let parts: Vec<String> = columns.iter().map(|(name, kind)| part(name, kind)).collect();
    let row = format!("CONCAT_WS(',', {})", parts.join(", "));
    let hash = format!("CAST(CONV(LEFT(SHA2({row}, 256), 16), 16, 10) AS UNSIGNED)");
    let sql = format!(
        "SELECT COUNT(*), CONCAT(HEX(COALESCE(SUM(h & 0xffffffff), 0)), '-', HEX(COALESCE(SUM(h >> 32), 0)), '-', HEX(BIT_XOR(h)))
         FROM (SELECT {hash} AS h FROM {}.{} AS compared) AS hashes",
        quote(database),
        quote(table)
    );
    let found: Option<(u64, String)> = conn
        .query_first(sql)
        .await
        .with_context(|| format!("checksum of {database}.{table}"))?;
    Ok(found.map(|(rows, checksum)| Digest { rows, checksum }))
}

/// One column as text that differs whenever its bytes do.
fn part(name: &str, kind: &str) -> String {
    let name = quote(name);
    let text = match kind {
        // Without the cast, FLOAT prints six digits, and (M,D) only D of the fraction's.
        "float" | "double" => format!("CAST({name} AS DOUBLE)"),
        "bit" | "enum" | "set" => format!("CAST({name} AS UNSIGNED)"),
        "json" => format!(
            "CONCAT({}, '/', JSON_TYPE({name}), {}, {})",
            bytes(&format!("CAST({name} AS CHAR)")),
            types(&name, "$**.*"),
            types(&name, "$**[*]"),
        ),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "binary" | "varbinary"
        | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" | "geometry" | "point"
        | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon" | "geomcollection" => {
            bytes(&name)
        }
        _ => name,
    };
    format!("COALESCE({text}, 'NULL')")
}

/// The types of the parts of a document, of which its text does not tell all.
fn types(name: &str, path: &str) -> String {
    format!(
        "COALESCE((SELECT SHA2(GROUP_CONCAT(JSON_TYPE(v) ORDER BY n), 256) FROM JSON_TABLE(compared.{name}, '{path}'
         COLUMNS (n FOR ORDINALITY, v JSON PATH '$')) AS parts), '')"
    )
}

/// A string's bytes as text; long ones by their hash, because HEX of them may not fit into a packet.
fn bytes(expression: &str) -> String {
    format!("IF(LENGTH({expression}) > 1000, SHA2({expression}, 256), HEX({expression}))")
}

fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
