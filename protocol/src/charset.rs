//! Character sets and collations by their numbers.
//!
//! The table is MySQL 9.7's `information_schema.COLLATIONS`; numbers are never given twice, so it holds for older servers too.

mod table;

/// A collation and the character set it sorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collation {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: &'static str,
    /// Its character set's name, as `CONVERT(… USING name)` takes it.
    pub charset: &'static str,
    /// The most bytes that one character takes in that character set.
    pub max_len: u8,
}

/// The number of the pseudo collation of byte strings.
pub const BINARY: u16 = 63;

/// The collation of that number; `None` when MySQL has none.
pub fn collation(id: u16) -> Option<&'static Collation> {
    let at = table::COLLATIONS
        .binary_search_by_key(&id, |collation| collation.id)
        .ok()?;
    table::COLLATIONS.get(at)
}

/// The name of the collation's character set and the most bytes that one of its characters takes.
pub fn charset_of(collation_id: u16) -> Option<(&'static str, u8)> {
    collation(collation_id).map(|collation| (collation.charset, collation.max_len))
}

/// The character set of that name, upper and lower case the same, `utf8` for `utf8mb3`; `None` where a client can't use it: MySQL's lexer
/// reads no text in which ASCII takes several bytes.
pub fn of_client(name: &str) -> Option<&'static str> {
    let name = if name.eq_ignore_ascii_case("utf8") {
        "utf8mb3"
    } else {
        name
    };
    let found = table::COLLATIONS
        .iter()
        .find(|collation| collation.charset.eq_ignore_ascii_case(name))?;
    let wide = matches!(found.charset, "ucs2" | "utf16" | "utf16le" | "utf32");
    (!wide).then_some(found.charset)
}

/// True for a character set's name; upper and lower case are the same, `utf8` stands for `utf8mb3`.
pub fn is_charset(name: &str) -> bool {
    name.eq_ignore_ascii_case("utf8")
        || table::COLLATIONS
            .iter()
            .any(|collation| collation.charset.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_whole() {
        assert!(table::COLLATIONS.is_sorted_by(|left, right| left.id < right.id));
        assert_eq!(table::COLLATIONS.len(), 286);
    }

    #[test]
    fn some_known_ones() {
        assert_eq!(charset_of(255), Some(("utf8mb4", 4)));
        assert_eq!(charset_of(8), Some(("latin1", 1)));
        assert_eq!(charset_of(BINARY), Some(("binary", 1)));
        assert_eq!(charset_of(33), Some(("utf8mb3", 3)));
        assert_eq!(charset_of(0), None);
        assert_eq!(charset_of(u16::MAX), None);
        assert_eq!(
            (of_client("GBK"), of_client("utf8")),
            (Some("gbk"), Some("utf8mb3"))
        );
        assert_eq!((of_client("ucs2"), of_client("default")), (None, None));
        assert!(is_charset("UTF8MB4") && is_charset("utf8") && !is_charset("latin1_bin"));
    }
}
