//! SQL read at byte level: a lexer that knows what MySQL's own lexer knows, and a reader of statement heads on top of it.
//!
//! Nothing here builds a syntax tree. A statement is text of the source; we say what it is ([`ddl::classify`]), which objects it
//! changes and where in the text a name stands, and otherwise leave every byte as it was written.

use std::borrow::Cow;

pub mod ddl;
pub mod digest;
pub mod lexer;
mod quote;

pub use quote::{quote_bytes, quote_name, quote_text};

bitflags::bitflags! {
    /// The `sql_mode` of a session, in the bits in which a query event stores it. Only the bits that change how text
    /// is read have names here; the others are kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SqlMode: u64 {
        /// `"x"` is a name, not a string.
        const ANSI_QUOTES = 1 << 2;
        /// A backslash in a string is an ordinary character.
        const NO_BACKSLASH_ESCAPES = 1 << 20;
        /// Every other bit.
        const _ = !0;
    }
}

/// `text` in the character set `charset` (by MySQL's name), made readable for the lexer: same length, ASCII unchanged.
///
/// In UTF-8, ASCII and binary it is the text itself. In any other character set each byte of a character beyond ASCII
/// becomes 0x80, also those second bytes that look like a backslash or a quote (SJIS, GBK, Big5, GB 18030): strings and
/// comments then end where they end, and a name with such characters is not UTF-8, so not known, instead of wrong.
pub fn lexable<'a>(text: &'a [u8], charset: &str) -> Cow<'a, [u8]> {
    if text.is_ascii() || matches!(charset, "utf8" | "utf8mb3" | "utf8mb4" | "ascii" | "binary") {
        return Cow::Borrowed(text);
    }
    let two_bytes = matches!(
        charset,
        "big5" | "cp932" | "eucjpms" | "euckr" | "gb2312" | "gb18030" | "gbk" | "sjis" | "ujis"
    );
    let mut out = text.to_vec();
    let mut at = 0;
    while let Some(&byte) = out.get(at) {
        let length = match byte {
            0..=0x7f => 0,
            // Single bytes of these two: half-width katakana.
            0x80 | 0xa0..=0xdf if matches!(charset, "cp932" | "sjis") => 1,
            _ if !two_bytes => 1,
            _ if charset == "gb18030" && out.get(at + 1).is_some_and(u8::is_ascii_digit) => 4,
            _ => 2,
        };
        let end = (at + length).min(out.len());
        if let Some(character) = out.get_mut(at..end) {
            character.fill(0x80);
        }
        at = end.max(at + 1);
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::lexable;

    #[test]
    fn second_bytes_that_look_like_ascii_are_hidden() {
        // "表" is 0x95 0x5c in SJIS: a backslash to whoever reads bytes.
        assert_eq!(&*lexable("'é'".as_bytes(), "utf8mb4"), "'é'".as_bytes());
        assert_eq!(
            &*lexable(&[b'\'', 0x95, 0x5c, b'\''], "sjis"),
            [b'\'', 0x80, 0x80, b'\'']
        );
        assert_eq!(&*lexable(&[0xb1, b'\''], "sjis"), [0x80, b'\'']);
        assert_eq!(&*lexable(&[0xe9, b'\''], "latin1"), [0x80, b'\'']);
        assert_eq!(
            &*lexable(&[0x81, 0x30, 0x81, 0x30, b'`'], "gb18030"),
            [0x80, 0x80, 0x80, 0x80, b'`']
        );
        assert_eq!(&*lexable(&[b'a', 0x81], "gbk"), [b'a', 0x80]);
    }
}
