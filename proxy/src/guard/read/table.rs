//! `CREATE` and `ALTER`: tables that tools make, tables without a key, engines whose rows don't replicate; triggers of tools.

use outrigger_protocol::sql::lexer::{Token, TokenKind};

use super::{Name, Program, Reader, Scene, may_be};
use crate::guard::Rule;
use crate::guard::session::Hint;
use crate::guard::tools::{self, Shape};

/// Engines whose rows change without the binary log, are gone after a restart, or that have no transactions: the copy and the replay
/// refuse those, too.
const ENGINES: [&str; 13] = [
    "ARCHIVE",
    "ARIA",
    "BLACKHOLE",
    "CSV",
    "EXAMPLE",
    "FEDERATED",
    "HEAP",
    "MEMORY",
    "MERGE",
    "MRG_MYISAM",
    "MYISAM",
    "NDB",
    "NDBCLUSTER",
];

/// What stands behind a table's name.
#[derive(Debug, Default)]
struct Definition {
    like: Option<Name>,
    /// The text is what SHOW CREATE TABLE gives, from the bracket on.
    shown: bool,
    keyed: bool,
    /// The one of [`ENGINES`] that it names.
    engine: Option<&'static str>,
    /// A column is named as Facebook's tool names those of its own.
    osc_columns: bool,
    /// All of it was read.
    whole: bool,
}

/// Behind `CREATE`.
pub(super) fn create(reader: &mut Reader<'_>, scene: &mut Scene<'_>) {
    while let Some(token) = reader.next() {
        if token.is("TABLE") {
            return create_table(reader, scene);
        } else if token.is("TEMPORARY") {
            // Seen by one session only.
            return;
        } else if token.is("TRIGGER") {
            return create_trigger(reader, scene);
        } else if token.is("DEFINER") {
            reader.eat_punct(b'=');
            reader.next();
            if reader.eat_punct(b'@') {
                reader.next();
            }
        } else if let Some(program) = Program::of(token) {
            return reader.skip_program(program);
        } else if is_any(
            token,
            &[
                "VIEW", "INDEX", "DATABASE", "SCHEMA", "USER", "ROLE", "SERVER", "LIBRARY",
            ],
        ) {
            return;
        }
    }
}

/// Behind `ALTER`.
pub(super) fn alter(reader: &mut Reader<'_>, scene: &mut Scene<'_>) {
    while let Some(token) = reader.next() {
        if token.is("TABLE") {
            return alter_table(reader, scene);
        } else if token.is("INSTANCE") {
            let (mut disable, mut binlog) = (false, false);
            while let Some(token) = reader.next() {
                disable |= token.is("DISABLE");
                binlog |= token.is("BINLOG");
            }
            if disable && binlog {
                scene.found(Rule::DisableBinlog, "ALTER INSTANCE that disables the binary log");
            }
        } else if token.is("EVENT") {
            return reader.skip_program(Program::Event);
        }
    }
}

fn create_table(reader: &mut Reader<'_>, scene: &mut Scene<'_>) {
    reader.eat_if_exists();
    let Some(name) = reader.name() else {
        return;
    };
    let definition = definition(reader);
    if scene.session.is_program(tools::program(Rule::PtOsc)) && scene.is_selected(&name, &name.name) {
        // --new-table-name: any name is one of the tool's.
        scene.found(
            Rule::PtOsc,
            format_args!("a table named `{}`, {}", name.name, calls_itself(Rule::PtOsc)),
        );
    } else if let Some(shape) = tools::of_table(&name.name)
        && (scene.is_selected(&name, &name.name) || scene.is_selected(&name, shape.of))
    {
        let (rule, sign) = second_sign(shape, &name, &definition, scene);
        judge_name(rule, shape, "table", &name, sign, scene);
    }
    if !scene.is_selected(&name, &name.name) {
        return;
    }
    judge_engine(definition.engine, &name, scene);
    if definition.whole && !scene.cut && !definition.keyed && definition.like.is_none() {
        scene.found(
            Rule::TableWithoutKey,
            format_args!("a table `{}` without PRIMARY KEY or UNIQUE", name.name),
        );
    }
}

/// What else speaks for a tool, and then for which one.
fn second_sign(
    shape: Shape<'_>,
    name: &Name,
    definition: &Definition,
    scene: &Scene<'_>,
) -> (Rule, Option<String>) {
    let rule = shape.rule;
    if scene.session.is_program(tools::program(rule)) {
        return (rule, Some(calls_itself(rule)));
    }
    if let Some(like) = &definition.like {
        let trimmed = like.name.trim_start_matches('_');
        let meant = shape.of.is_empty() || trimmed.eq_ignore_ascii_case(shape.of);
        // Of the two that name tables so, only Spirit makes them LIKE.
        let rule = if rule == Rule::PtOsc { Rule::Spirit } else { rule };
        return (rule, meant.then(|| format!("made LIKE `{}`", like.name)));
    }
    if rule == Rule::PtOsc && scene.session.percona {
        return (rule, Some("a session set up as Percona Toolkit does".to_owned()));
    }
    if rule == Rule::FacebookOsc && definition.osc_columns {
        return (rule, Some("columns named as the tool names its own".to_owned()));
    }
    if rule == Rule::Vitess && tools::is_vitess_in_full(&name.name) {
        return (rule, Some("with the identifier and time of Vitess".to_owned()));
    }
    // A dump of an application's own table has its definition, but not the database's name.
    if definition.shown && (rule != Rule::PtOsc || name.database.is_some()) {
        return (
            rule,
            Some("with a definition as SHOW CREATE TABLE gives it".to_owned()),
        );
    }
    // An application may have several tables named so, each for something of its own.
    let before = scene.session.hint.as_ref().filter(|hint| {
        hint.rule == rule
            && !shape.of.is_empty()
            && hint.of.eq_ignore_ascii_case(shape.of)
            && !hint.name.eq_ignore_ascii_case(&name.name)
    });
    (
        rule,
        before.map(|hint| format!("after one named `{}`", hint.name)),
    )
}

fn calls_itself(rule: Rule) -> String {
    format!("a client that calls itself {}", tools::program(rule))
}

/// A name and, with luck, a second sign.
fn judge_name(
    rule: Rule,
    shape: Shape<'_>,
    noun: &str,
    name: &Name,
    sign: Option<String>,
    scene: &mut Scene<'_>,
) {
    if let Some(sign) = sign {
        scene.found(rule, format_args!("a {noun} named `{}`, {sign}", name.name));
    } else {
        let tool = shape.rule.description().name;
        scene.found(
            Rule::ShadowName,
            format_args!("a {noun} named `{}`, as {tool} names them", name.name),
        );
        scene.session.hint = Some(Hint {
            rule: shape.rule,
            name: name.name.clone(),
            of: shape.of.to_owned(),
        });
    }
}

fn judge_engine(engine: Option<&str>, name: &Name, scene: &mut Scene<'_>) {
    if let Some(engine) = engine {
        scene.found(
            Rule::UnreplicatedEngine,
            format_args!("a table `{}` with ENGINE={engine}", name.name),
        );
    }
}

/// Reads a table's definition from behind its name.
fn definition(reader: &mut Reader<'_>) -> Definition {
    let mut found = Definition::default();
    if let Some(open) = reader.peek().filter(|token| token.is_punct(b'(')) {
        let body = reader.text.get(open.end()..).unwrap_or_default();
        found.shown = body.starts_with(b"\n  `");
    }
    let (mut depth, mut item_begins, mut first) = (0_usize, false, true);
    // Rows follow, in which a column may be called engine.
    let mut rows = false;
    let mut typed = "";
    while let Some(token) = reader.next() {
        let begins = std::mem::replace(&mut item_begins, false);
        let was_first = first;
        first &= token.is_punct(b'(');
        match token.kind {
            TokenKind::Punct(b'(') => {
                depth += 1;
                item_begins = depth == 1;
            }
            TokenKind::Punct(b')') => depth = depth.saturating_sub(1),
            TokenKind::Punct(b',') => item_begins = depth == 1,
            TokenKind::Unterminated => return found,
            TokenKind::QuotedName if begins => found.osc_columns |= is_osc_column(token),
            TokenKind::Word => {
                if token.is("LIKE") && was_first {
                    found.like = reader.name();
                } else if depth == 0 {
                    rows |= is_any(token, &["AS", "SELECT", "TABLE", "VALUES", "WITH"]);
                    if !rows && token.is("ENGINE") {
                        found.engine = found.engine.or_else(|| engine(reader));
                    }
                } else if depth == 1 {
                    found.osc_columns |= begins && is_osc_column(token);
                    found.keyed |=
                        token.is("PRIMARY") || token.is("UNIQUE") || (!begins && token.is("SERIAL"));
                    // Of a column: its primary key. Of an item: an index.
                    found.keyed |=
                        token.is("KEY") && !begins && !matches!(typed, "FOREIGN" | "FULLTEXT" | "SPATIAL");
                }
                typed = ["FOREIGN", "FULLTEXT", "SPATIAL"]
                    .into_iter()
                    .find(|word| token.is(word))
                    .unwrap_or_default();
            }
            _ => {}
        }
    }
    found.whole = true;
    found
}

/// `_osc_ID_`, `_osc_dml_type_`.
fn is_osc_column(name: Token<'_>) -> bool {
    name.name().is_some_and(|name| {
        name.get(..5)
            .is_some_and(|head| head.eq_ignore_ascii_case(b"_osc_"))
    })
}

fn is_any(token: Token<'_>, words: &[&str]) -> bool {
    words.iter().any(|word| token.is(word))
}

/// The one of [`ENGINES`] that `[=] engine` behind ENGINE names. It is not passed over: where ENGINE was a name, it may be the option.
fn engine(reader: &mut Reader<'_>) -> Option<&'static str> {
    reader.eat_punct(b'=');
    let token = reader.peek()?;
    let bytes = match token.kind {
        TokenKind::String => super::content(token, outrigger_protocol::sql::SqlMode::empty())?,
        _ => token.name()?.into_owned(),
    };
    let name = String::from_utf8_lossy(&bytes);
    ENGINES.into_iter().find(|known| may_be(&name, known))
}

/// What an item of ALTER TABLE begins with in which a column may be called engine; options are items of their own.
const ACTIONS: [&str; 7] = ["ADD", "ALTER", "CHANGE", "DROP", "MODIFY", "ORDER", "RENAME"];

fn alter_table(reader: &mut Reader<'_>, scene: &mut Scene<'_>) {
    let Some(name) = reader.name() else {
        return;
    };
    let (mut depth, mut dropped, mut keyed) = (0_usize, false, false);
    let mut new_engine = None;
    let (mut begins, mut acts) = (true, false);
    while let Some(token) = reader.next() {
        if std::mem::replace(&mut begins, depth == 0 && token.is_punct(b',')) {
            acts = is_any(token, &ACTIONS);
        }
        match token.kind {
            TokenKind::Punct(b'(') => depth += 1,
            TokenKind::Punct(b')') => depth = depth.saturating_sub(1),
            TokenKind::Unterminated => return,
            TokenKind::Word if token.is("DROP") && reader.eat("PRIMARY") => dropped = true,
            TokenKind::Word if token.is("PRIMARY") || token.is("UNIQUE") => keyed = true,
            TokenKind::Word if depth == 0 && !acts && token.is("ENGINE") => {
                new_engine = new_engine.or_else(|| engine(reader));
            }
            _ => {}
        }
    }
    if !scene.is_selected(&name, &name.name) {
        return;
    }
    judge_engine(new_engine, &name, scene);
    if dropped && !keyed && !scene.cut {
        scene.found(
            Rule::TableWithoutKey,
            format_args!("a table `{}` that loses its PRIMARY KEY", name.name),
        );
    }
}

fn create_trigger(reader: &mut Reader<'_>, scene: &mut Scene<'_>) {
    reader.eat_if_exists();
    if let Some(name) = reader.name() {
        while let Some(token) = reader.next() {
            if token.is("ON") {
                break;
            }
        }
        if let Some(table) = reader.name()
            && let Some(shape) = tools::of_trigger(&name.name)
            && scene.is_selected(&table, &table.name)
        {
            let sign = tools::speaks_of(shape.of, &table.name).then(|| format!("on `{}`", table.name));
            judge_name(shape.rule, shape, "trigger", &name, sign, scene);
        }
    }
    reader.skip_program(Program::Trigger);
}
