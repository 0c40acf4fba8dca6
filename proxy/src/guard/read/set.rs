//! `SET`: settings without which the binary log does not hold what the target needs.

use outrigger_protocol::sql::lexer::TokenKind;

use super::{Reader, Scene, content, may_be};
use crate::guard::Rule;

/// Settings, their rules, and the values that do no harm.
const SETTINGS: [(&str, Rule, &[&str]); 7] = [
    ("sql_log_bin", Rule::SqlLogBin, &["1", "ON", "TRUE", "DEFAULT"]),
    ("binlog_format", Rule::BinlogFormat, &["ROW", "2", "DEFAULT"]),
    (
        "binlog_row_image",
        Rule::BinlogRowImage,
        &["FULL", "2", "DEFAULT"],
    ),
    ("binlog_row_metadata", Rule::BinlogRowMetadata, &["FULL", "1"]),
    (
        "binlog_row_value_options",
        Rule::BinlogRowValueOptions,
        &["", "DEFAULT"],
    ),
    ("gtid_mode", Rule::GtidMode, &["ON", "3"]),
    ("gtid_purged", Rule::GtidPurged, &[]),
];

/// Reads the assignments behind `SET`.
pub(super) fn read(reader: &mut Reader<'_>, scene: &mut Scene<'_>) {
    let mut quotes = false;
    loop {
        let variable = variable(reader);
        reader.eat_punct(b':');
        let value = if reader.eat_punct(b'=') {
            value(reader, scene)
        } else {
            None
        };
        pass_expression(reader);
        if let Some(variable) = &variable {
            let is = |name: &str| may_be(variable, name);
            if let Some((name, rule, _)) = SETTINGS.iter().find(|(name, _, harmless)| {
                is(name)
                    && !value
                        .as_ref()
                        .is_some_and(|value| harmless.contains(&value.as_str()))
            }) {
                scene.found(*rule, format_args!("a SET of {name}"));
            }
            scene.turns |= [
                "NAMES",
                "CHARSET",
                "CHARACTER",
                "CHAR",
                "character_set_client",
                "sql_mode",
            ]
            .into_iter()
            .any(is);
            // In one statement, in this order.
            quotes |= is("SQL_QUOTE_SHOW_CREATE");
            if quotes && is("SQL_MODE") {
                scene.session.percona = true;
            }
        }
        if !reader.eat_punct(b',') {
            return;
        }
    }
}

/// The system variable that is set; `None` for a user's, and for what is no variable.
fn variable(reader: &mut Reader<'_>) -> Option<String> {
    if reader.eat_punct(b'@') {
        if !reader.eat_punct(b'@') {
            reader.next();
            return None;
        }
    } else {
        let _scoped = ["GLOBAL", "SESSION", "LOCAL", "PERSIST", "PERSIST_ONLY"]
            .into_iter()
            .any(|scope| reader.eat(scope));
    }
    let mut name = reader.part()?;
    while reader.eat_punct(b'.') {
        name = reader.part()?;
    }
    Some(name)
}

/// Goes to the comma before the next assignment, which is none in parentheses.
fn pass_expression(reader: &mut Reader<'_>) {
    let mut depth = 0_usize;
    while let Some(token) = reader.peek() {
        match token.kind {
            TokenKind::Punct(b'(') => depth += 1,
            TokenKind::Punct(b')') => depth = depth.saturating_sub(1),
            TokenKind::Punct(b',') if depth == 0 => return,
            _ => {}
        }
        reader.next();
    }
}

/// A value that is one word, string or number, in capitals; `None` for an expression, of which no more than such a beginning is read.
fn value(reader: &mut Reader<'_>, scene: &Scene<'_>) -> Option<String> {
    let token = reader.peek()?;
    let bytes = match token.kind {
        TokenKind::Word | TokenKind::Number => token.text.to_vec(),
        TokenKind::String => content(token, scene.mode)?,
        TokenKind::QuotedName => token.name()?.into_owned(),
        _ => return None,
    };
    reader.next();
    let alone = reader.peek().is_none_or(|next| next.is_punct(b','));
    let value = String::from_utf8(bytes).ok().filter(|_| alone)?;
    Some(value.to_ascii_uppercase())
}
