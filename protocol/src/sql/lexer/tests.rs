//! Examples from MySQL's manual and its lexer, then properties.

use proptest::prelude::*;

use super::{Lexer, TokenKind};
use crate::sql::SqlMode;

/// Significant tokens as text, joined by `|`.
fn cut(sql: &str, mode: SqlMode) -> String {
    let mut lexer = Lexer::new(sql.as_bytes(), mode);
    let mut texts = Vec::new();
    while let Some(token) = lexer.next_significant() {
        texts.push(String::from_utf8_lossy(token.text).into_owned());
    }
    texts.join("|")
}

fn plain(sql: &str) -> String {
    cut(sql, SqlMode::empty())
}

fn kinds(sql: &[u8]) -> Vec<TokenKind> {
    Lexer::new(sql, SqlMode::empty())
        .filter(|token| token.kind != TokenKind::Space)
        .map(|token| token.kind)
        .collect()
}

#[test]
fn comments_of_every_form_are_skipped() {
    assert_eq!(
        plain("a # b\nc -- d\ne --\tf\ng /* h * / */ i--1"),
        "a|c|e|g|i|-|-|1"
    );
    assert_eq!(plain("a --\nb"), "a|b");
    assert_eq!(plain("a --"), "a");
    assert_eq!(plain("drop /* gh-ost */ table/**/x"), "drop|table|x");
    assert_eq!(plain("select /*+ MAX_EXECUTION_TIME(1) */ 1"), "select|1");
    assert_eq!(kinds(b"/* never"), [TokenKind::Unterminated]);
}

#[test]
fn version_comments_count() {
    assert_eq!(plain("CREATE /*!50001 TABLE*/ t /*! IF */"), "CREATE|TABLE|t|IF");
    assert_eq!(plain("/*!040101 SET*/ x"), "SET|x");
    assert_eq!(plain("/*!80016 a /* b */ c */ d"), "a|c|d");
    assert_eq!(plain("/*!4 */"), "4");
    // Six digits have a space behind them (seen on MySQL 9.7.4); to those before 8.1 a version has five.
    assert_eq!(plain("/*!100000SET*/"), "0SET");
    assert_eq!(plain("/*!0401010 SET*/"), "10|SET");
    for (version, text) in [(80_100, "a|e"), (80_036, "a|0|b|e")] {
        let mut lexer = Lexer::new(b"a /*!100000 b */ e", SqlMode::empty()).for_version(version);
        let mut read = Vec::new();
        while let Some(token) = lexer.next_significant() {
            read.push(std::str::from_utf8(token.text).unwrap());
        }
        assert_eq!(read.join("|"), text, "{version}");
    }
    assert_eq!(plain("a /*!99999 b */ c * d"), "a|b|c|*|d");
    let mut lexer = Lexer::new(b"a /*!99999 b /* c */ d */ e", SqlMode::empty()).for_version(90700);
    assert!(lexer.next_significant().unwrap().is("A"));
    assert!(lexer.next_significant().unwrap().is("e"));
    assert!(lexer.next_significant().is_none());
}

#[test]
fn names_keep_what_quotes_hold() {
    let name = |sql: &str, mode| {
        Lexer::new(sql.as_bytes(), mode)
            .next()
            .unwrap()
            .name()
            .map(|n| n.into_owned())
    };
    assert_eq!(name("`a``b`", SqlMode::empty()).unwrap(), b"a`b");
    assert_eq!(name("\"a\"\"b\"", SqlMode::ANSI_QUOTES).unwrap(), b"a\"b");
    assert_eq!(name("\"a\"", SqlMode::empty()), None);
    assert_eq!(name("`a\\`", SqlMode::empty()).unwrap(), b"a\\");
    assert_eq!(name("größe", SqlMode::empty()).unwrap(), "größe".as_bytes());
    assert_eq!(plain("`db` . `t`.c"), "`db`|.|`t`|.|c");
    assert_eq!(kinds(b"`open"), [TokenKind::Unterminated]);
}

#[test]
fn names_may_begin_with_digits() {
    assert_eq!(kinds(b"1st 2 3e4 5e 6e+7 0x1g 0b12 0xAF 0b01 1.5e3 .5 7."), {
        use TokenKind::{Bits, Number, Word};
        [
            Word, Number, Number, Word, Number, Word, Word, Bits, Bits, Number, Number, Number,
        ]
    });
    assert_eq!(
        plain("db.1st db.22 db.3e4 `db`.5"),
        "db|.|1st|db|.|22|db|.|3e4|`db`|.|5"
    );
    assert_eq!(plain("a.b.c"), "a|.|b|.|c");
    assert_eq!(plain("db .5"), "db|.5");
}

#[test]
fn strings_under_both_modes() {
    assert_eq!(plain(r"'a\'b' 'c''d' "), r"'a\'b'|'c''d'");
    assert_eq!(cut(r"'a\' b", SqlMode::NO_BACKSLASH_ESCAPES), r"'a\'|b");
    assert_eq!(plain(r#""a\"b" "c""d""#), r#""a\"b"|"c""d""#);
    assert_eq!(kinds(br"'a\"), [TokenKind::Unterminated]);
    assert_eq!(kinds(b"N'x' n'y' x'4F' B'01' _utf8mb4'z' _latin1 x'00'"), {
        use TokenKind::{Bits, String, Word};
        [String, String, Bits, Bits, Word, String, Word, Bits]
    });
    assert_eq!(plain("/* it's */ 'x;y' ; `;`"), "'x;y'|;|`;`");
}

#[test]
fn accounts_and_variables() {
    assert_eq!(
        plain("u@h.example.org 'u'@'%' @a.b @@global.x @`q` u @ 10.0.0.1"),
        { "u|@|h.example.org|'u'|@|'%'|@|a.b|@|@|global|.|x|@|`q`|u|@|10.0|.0|.1" }
    );
    assert_eq!(
        plain("u@10.0.0.1 DEFINER=root@localhost VIEW"),
        "u|@|10.0.0.1|DEFINER|=|root|@|localhost|VIEW"
    );
}

#[test]
fn dollar_quotes_hold_javascript() {
    assert_eq!(
        plain("AS $$ return 'x' + \"; $$ x"),
        "AS|$$ return 'x' + \"; $$|x"
    );
    assert_eq!(plain("$js$ $$ ' $js$ y"), "$js$ $$ ' $js$|y");
    assert_eq!(plain("$a b$c $d$ e"), "$a|b$c|$d$|e");
}

/// MySQL 9 takes no text with a tag that is never closed, and those before quote nothing with dollar signs.
#[test]
fn behind_a_dollar_quote_that_is_never_closed_there_is_none() {
    assert_eq!(plain("$a$ $b$ ' $b$ '"), "$a$|$b$|' $b$ '");
    // Looked for once, not from each of them on.
    let many: String = (0..300_000).map(|tag| format!("$t{tag}$ ")).collect();
    assert_eq!(kinds(many.as_bytes()), vec![TokenKind::Word; 300_000]);
}

#[test]
fn dollar_signs_quote_nothing_where_the_server_knows_no_such_quotes() {
    let kinds: Vec<_> = Lexer::new(b"$a$ ' $a$ '", SqlMode::empty())
        .without_dollar_quotes()
        .map(|token| token.kind)
        .collect();
    use TokenKind::{Space, String, Word};
    assert_eq!(kinds, [Word, Space, String]);
}

#[test]
fn bytes_beyond_ascii_belong_to_names() {
    assert_eq!(kinds(b"\xfd\xfe\xff`\xff`\xff'\xff' \x00"), {
        use TokenKind::{Punct, QuotedName, String, Word};
        [Word, QuotedName, String, Punct(0)]
    });
}

/// Fragments that make texts in which quoting and comments meet.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop::sample::select(vec![
        "'", "\"", "`", "\\", "/*", "*/", "/*!", "/*!80000", "#", "--", " ", "\n", ".", "@", "@@", "$", "$$",
        "x'", "N'", "0x", "1e", "e3", "db", "7", ";", "(", ")", "CREATE", "TABLE", "é",
    ]);
    prop::collection::vec(fragment, 0..40).prop_map(|parts| parts.concat().into_bytes())
}

fn check(sql: &[u8], mode: SqlMode, version: u32) {
    let mut at = 0;
    let mut joined = Vec::new();
    for token in Lexer::new(sql, mode).for_version(version) {
        assert_eq!(token.start, at);
        assert!(!token.text.is_empty());
        token.name();
        joined.extend_from_slice(token.text);
        at = token.end();
    }
    assert_eq!(joined, sql);
}

proptest! {
    #[test]
    fn tokens_join_to_the_input(sql in prop::collection::vec(any::<u8>(), 0..200), bits: u64, version in 0_u32..1_000_000) {
        check(&sql, SqlMode::from_bits_retain(bits), version);
    }

    #[test]
    fn tokens_of_fragments_join_to_the_input(sql in fragments(), bits: u64, version in 0_u32..1_000_000) {
        check(&sql, SqlMode::from_bits_retain(bits), version);
    }

    #[test]
    fn a_quoted_name_reads_back(name in "[^\0]{1,20}") {
        let sql = format!("`{}`", name.replace('`', "``"));
        let mut lexer = Lexer::new(sql.as_bytes(), SqlMode::empty());
        let token = lexer.next().unwrap();
        let read = token.name().unwrap();
        prop_assert_eq!(read.as_ref(), name.as_bytes());
        prop_assert!(lexer.next().is_none());
    }
}
