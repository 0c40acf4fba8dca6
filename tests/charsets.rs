//! The character sets of clients: where characters end for the server's own lexer, and for ours.

use mysql_async::prelude::Queryable;
use outrigger_protocol::charset;
use outrigger_protocol::sql::SqlMode;
use outrigger_protocol::sql::lexable;
use outrigger_protocol::sql::lexer::{Lexer, TokenKind};

use crate::support::connect;
use crate::support::stage::Stage;

/// What a string with this pair of bytes and `\n` in it stands for, as we read it: backslashes escape and quotes are doubled where they are
/// no part of a character.
fn read(literal: &[u8], charset: &str) -> Vec<u8> {
    let lexable = lexable(literal, charset);
    let mut tokens = Lexer::new(&lexable, SqlMode::default()).map(|token| (token.kind, token.text.len()));
    assert_eq!(
        tokens.next(),
        Some((TokenKind::String, literal.len())),
        "{charset} {literal:x?}"
    );
    let mut value = Vec::new();
    let mut at = 1;
    while at < literal.len() - 1 {
        let escapes = lexable[at] == b'\\' || lexable[at] == b'\'';
        at += usize::from(escapes);
        value.push(match (lexable[at], escapes) {
            (b'n', true) => b'\n',
            _ => literal[at],
        });
        at += 1;
    }
    value
}

/// A pair that is a character hides its second byte, and one that is none leaves that to begin another: both show in what comes after it.
/// Where neither does, a lexer need not know.
#[tokio::test]
async fn every_pair_of_bytes_is_read_as_the_server_reads_it() {
    let stage = Stage::new(&[], "").await;
    let mut conn = connect(&stage.server).await;
    let charsets: Vec<String> = conn
        .query("SELECT character_set_name FROM information_schema.character_sets WHERE maxlen > 1")
        .await
        .unwrap();
    for charset in charsets.iter().filter(|name| charset::of_client(name).is_some()) {
        conn.query_drop(format!("SET NAMES {charset}")).await.unwrap();
        for head in 0x80..=0xff_u8 {
            let literals: Vec<Vec<u8>> = (0..=0xff_u8)
                .map(|tail| match tail {
                    b'\'' => [b"'", [head].as_slice(), b"''\\n'"].concat(),
                    _ => [b"'", [head, tail].as_slice(), b"\\n'"].concat(),
                })
                .collect();
            let columns: Vec<Vec<u8>> = literals
                .iter()
                .map(|literal| [b"HEX(", literal.as_slice(), b")"].concat())
                .collect();
            let sql = [
                b"SELECT CONCAT_WS(' ', ",
                columns.join(&b", "[..]).as_slice(),
                b")",
            ]
            .concat();
            let values: String = conn.query_first(sql).await.unwrap().unwrap();
            for (value, literal) in values.split(' ').zip(&literals) {
                let ours: String = read(literal, charset)
                    .iter()
                    .map(|byte| format!("{byte:02X}"))
                    .collect();
                assert_eq!(value, ours, "{charset} {literal:x?}");
            }
            // A backtick ends a name unless it ends a character: then none does. What else is wrong with the name is told otherwise.
            let sql = [b"SELECT `".as_slice(), &[head], b"``"].concat();
            let open = Lexer::new(&lexable(&sql, charset), SqlMode::default())
                .any(|token| token.kind == TokenKind::Unterminated);
            let Err(mysql_async::Error::Server(error)) = conn.query_drop(sql).await else {
                panic!("there is no such column");
            };
            let expected = if open { 1064 } else { 1054 };
            assert_eq!(error.code, expected, "{charset} {head:x}: {error}");
        }
    }
}
