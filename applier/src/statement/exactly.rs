//! Conditions for a row without a key: that its values are the same, where equal is not enough.

use outrigger_protocol::value::Value;

use crate::definition::ColumnDef;
use crate::json_kinds;
use crate::literal::{quote_name, quoted, write_literal};

/// Appends what an equal value must have in common besides to be the same one: the bytes of text that a collation takes for
/// equal, the zero's sign, and the text of a JSON document and the types of its parts, where 1 equals 1.0 and a decimal a double.
pub(super) fn write_exactly(out: &mut Vec<u8>, value: &Value<'_>, table: &str, column: &ColumnDef) {
    let name = quote_name(&column.name);
    match value {
        Value::Bytes(bytes) if column.charset.is_some() => {
            out.extend_from_slice(b" AND CAST(");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b" AS BINARY)=_binary");
            quoted(out, bytes);
        }
        Value::Json(_) | Value::TypedJson(_) => {
            out.extend_from_slice(b" AND ");
            write_same_document(out, value, table, column);
        }
        Value::Float(_) | Value::Double(_) => {
            let (zero, negative) = match value {
                Value::Float(v) => (*v == 0.0, v.is_sign_negative()),
                Value::Double(v) => (*v == 0.0, v.is_sign_negative()),
                _ => (false, false),
            };
            if zero {
                out.extend_from_slice(b" AND LEFT(");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(if negative { b",1)='-'" } else { b",1)<>'-'" });
            }
        }
        _ => {}
    }
}

/// Appends a condition that holds for documents of the same text, whose parts have the same types.
pub(super) fn write_same_document(out: &mut Vec<u8>, value: &Value<'_>, table: &str, column: &ColumnDef) {
    // Of what the document is stored as: some parts become others on the way.
    let document = format!("{table}.{}", quote_name(&column.name));
    let bytes = |document: &str| format!("CAST(CAST({document} AS CHAR) AS BINARY)");
    let (ours, theirs) = (
        json_kinds::expression("wanted.j"),
        json_kinds::expression(&document),
    );
    let same = format!(
        "(SELECT {}={} AND {ours}={theirs} FROM (SELECT CAST(",
        bytes("wanted.j"),
        bytes(&document)
    );
    out.extend_from_slice(same.as_bytes());
    write_literal(out, value, column);
    out.extend_from_slice(b" AS JSON)j)wanted)");
}
