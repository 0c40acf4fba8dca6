//! SQL read at byte level: a lexer that knows what MySQL's own lexer knows, and a reader of statement heads on top of it.
//!
//! Nothing here builds a syntax tree. A statement is text of the source; we say what it is ([`ddl::classify`]), which objects it
//! changes and where in the text a name stands, and otherwise leave every byte as it was written.

use std::borrow::Cow;

use self::lexer::WIDE_SPACE;

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
/// In UTF-8, ASCII and binary, and where `charset` is empty, it is the text itself. In any other character set each byte of a character
/// beyond ASCII becomes 0x80, also those second bytes that look like a backslash or a quote (SJIS, GBK, Big5, GB 18030): strings and
/// comments then end where they end, and a name with such characters is not UTF-8, so not known, instead of wrong. What is a space there
/// becomes one that the lexer knows and that is not UTF-8 either.
pub fn lexable<'a>(text: &'a [u8], charset: &str) -> Cow<'a, [u8]> {
    if text.is_ascii() || matches!(charset, "" | "utf8" | "utf8mb3" | "utf8mb4" | "ascii" | "binary") {
        return Cow::Borrowed(text);
    }
    let space = wide_space(charset);
    let mut out = text.to_vec();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let length = wide(rest, charset);
        if let Some(character) = out.get_mut(at..at + length.max(1))
            && let Some(byte) = rest.first().filter(|byte| !byte.is_ascii())
        {
            character.fill(if Some(*byte) == space { WIDE_SPACE } else { 0x80 });
        }
        at += length.max(1);
    }
    Cow::Owned(out)
}

/// The ways in which `text` may have to be read: [`lexable`] where its character set is known. Where it is not (`charset` is empty), one for
/// each way in which characters of any set that a client may use end, or are spaces; first as UTF-8, and no two that come to the same.
pub fn readings<'a>(text: &'a [u8], charset: &str) -> Vec<Cow<'a, [u8]>> {
    if !charset.is_empty() || text.is_ascii() {
        return vec![lexable(text, charset)];
    }
    let mut readings = vec![lexable(text, "cp1251")];
    for charset in ["latin1", "cp852", "big5", "euckr", "gb18030", "gbk", "sjis"] {
        let reading = lexable(text, charset);
        if !readings.contains(&reading) {
            readings.push(reading);
        }
    }
    if let Some(first) = readings.first_mut() {
        *first = Cow::Borrowed(text);
    }
    readings
}

/// The modes in which `text` may have to be read: `mode` where it is known. Where it is not, one for each way in which what is quoted may
/// end; first the usual one, and no two that come to the same.
pub fn modes(text: &[u8], mode: Option<SqlMode>) -> Vec<SqlMode> {
    match mode {
        Some(mode) => vec![mode],
        None if !text.contains(&b'\\') => vec![SqlMode::empty()],
        // In names a backslash is none that escapes.
        None => vec![
            SqlMode::empty(),
            SqlMode::NO_BACKSLASH_ESCAPES,
            SqlMode::ANSI_QUOTES,
        ],
    }
}

/// The byte beyond ASCII that is a space to the server's lexer, where there is one (bit 3 of `ctype` in its `charsets/*.xml`).
fn wide_space(charset: &str) -> Option<u8> {
    match charset {
        "armscii8" | "cp1250" | "dec8" | "geostd8" | "greek" | "hebrew" | "latin1" | "latin2" | "latin5"
        | "latin7" => Some(0xa0),
        "cp852" | "cp866" | "keybcs2" => Some(0xff),
        _ => None,
    }
}

/// Bytes of the character at the front where its last ones may look like ASCII (`ismbchar` of the server's `strings/ctype-*.cc`, by which
/// its lexer reads strings); 0 for all else. A byte that begins such a character and is not followed by the rest of one stands alone.
fn wide(text: &[u8], charset: &str) -> usize {
    let &[head, second, ..] = text else {
        return 0;
    };
    let two = match charset {
        "big5" => matches!(head, 0xa1..=0xf9) && matches!(second, 0x40..=0x7e | 0xa1..=0xfe),
        "cp932" | "sjis" => {
            matches!(head, 0x81..=0x9f | 0xe0..=0xfc) && matches!(second, 0x40..=0x7e | 0x80..=0xfc)
        }
        "euckr" => matches!(head, 0x81..=0xfe) && matches!(second, 0x41..=0x5a | 0x61..=0x7a | 0x81..=0xfe),
        "gb18030" | "gbk" => matches!(head, 0x81..=0xfe) && matches!(second, 0x40..=0x7e | 0x80..=0xfe),
        _ => return 0,
    };
    match text {
        _ if two => 2,
        [0x81..=0xfe, b'0'..=b'9', 0x81..=0xfe, b'0'..=b'9', ..] if charset == "gb18030" => 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{lexable, readings};

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

    #[test]
    fn spaces_of_other_character_sets_are_spaces() {
        use super::lexer::{Lexer, TokenKind};
        let kinds = |text: &[u8], charset| {
            let text = lexable(text, charset);
            let tokens = Lexer::new(&text, super::SqlMode::empty());
            tokens.map(|token| token.kind).collect::<Vec<_>>()
        };
        let (spaced, name) = (
            [TokenKind::Word, TokenKind::Space, TokenKind::Word],
            [TokenKind::Word],
        );
        for (charset, early, late) in [
            ("latin1", &spaced[..], &name[..]),
            ("hebrew", &spaced, &name),
            ("cp866", &name, &spaced),
            ("cp1251", &name, &name),
            ("gbk", &name, &name),
        ] {
            assert_eq!(kinds(b"SET\xa0\xa0x", charset), early, "{charset}");
            assert_eq!(kinds(b"SET\xff\xffx", charset), late, "{charset}");
        }
        // In a name it is no space, and does not become one.
        let quoted = lexable(b"`a\xa0b`", "latin1");
        assert!(std::str::from_utf8(&quoted).is_err());
        assert_eq!(kinds(b"`a\xa0b`", "latin1"), [TokenKind::QuotedName]);
        assert_eq!(
            kinds(b"--\xa0'\n1", "latin1"),
            [TokenKind::Comment, TokenKind::Space, TokenKind::Number]
        );
        assert_eq!(readings(b"\xa0\xff", "").len(), 3);
    }

    /// A quote, a digit or the end behind the first byte of a character is none of it.
    #[test]
    fn what_is_no_character_hides_nothing() {
        for charset in ["big5", "cp932", "euckr", "gb18030", "gbk", "sjis", "ujis"] {
            let text = [b'\'', 0xe5, b'\'', 0xe5, b'7', b';', 0xe5];
            assert_eq!(
                &*lexable(&text, charset),
                [b'\'', 0x80, b'\'', 0x80, b'7', b';', 0x80],
                "{charset}"
            );
        }
    }

    #[test]
    fn what_is_not_known_is_read_in_every_way() {
        assert_eq!(readings(b"SELECT 'a'", "").len(), 1);
        assert_eq!(readings("SELECT '日本'".as_bytes(), "").len(), 1);
        assert_eq!(readings(&[0x95, 0x5c], "sjis").len(), 1);
        let ways = readings(&[b'\'', 0x95, 0x5c, b'\''], "");
        assert_eq!(
            ways.iter().map(|way| &**way).collect::<Vec<_>>(),
            [&[b'\'', 0x95, 0x5c, b'\''][..], &[b'\'', 0x80, 0x80, b'\''],]
        );
    }
}
