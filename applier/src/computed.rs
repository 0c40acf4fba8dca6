//! What the target computes of a row itself: generated columns, and parts of functional indexes.
//!
//! The source may have cut such a value and stored the row all the same: INSERT IGNORE does so, and any session that is not strict. A
//! strict session refuses it. What is written is never cut: it is judged before anything is computed of it.

use crate::definition::ColumnDef;

/// Out of range, data truncated, a value of another type, a value that is not one of the column's, data truncated for an index.
const CODES: [u16; 5] = [1264, 1265, 1292, 1366, 3751];

/// Whether it says that a value is cut, or would be.
pub(crate) fn is_cut(code: u16) -> bool {
    CODES.contains(&code)
}

/// Whether a message of the server's is about what it computed of a row. One about a column names it.
pub(crate) fn is_of_it<'a>(
    code: u16,
    message: &str,
    mut written: impl Iterator<Item = &'a ColumnDef>,
) -> bool {
    let message = message.to_lowercase();
    is_cut(code) && !written.any(|column| message.contains(&format!("'{}'", column.name.to_lowercase())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::ColumnKind;
    use crate::definition::tests::plain;

    #[test]
    fn a_message_names_the_column_that_is_written() {
        let columns = [plain("a", ColumnKind::Int), plain("Name", ColumnKind::VarChar)];
        for (code, message, of_it) in [
            (1264, "Out of range value for column 'g' at row 1", true),
            (1264, "Out of range value for column 'a' at row 1", false),
            (1265, "Data truncated for column 'name' at row 3", false),
            (1292, "Truncated incorrect INTEGER value: '12ab'", true),
            (3751, "Data truncated for functional index 'fx' at row 1", true),
            (1406, "Data too long for column 'g' at row 1", false),
            (1062, "Duplicate entry", false),
        ] {
            assert_eq!(is_of_it(code, message, columns.iter()), of_it, "{message}");
        }
    }
}
