//! What a JSON document's text does not tell, to whoever reads or compares it with a query: which of its parts are decimals, dates, times, bytes.
//!
//! Beside each document the source is asked for its parts' types, as letters: of the document itself, of all members of
//! objects, of all items of arrays. `**` visits containers in the text's order, each with all its parts, before any of what they
//! hold; so the letters can be laid beside the text. Pure; what doesn't fit together is refused, never guessed.

use std::borrow::Cow;

use outrigger_protocol::value::{JsonKind, TypedJson, TypedPart, Value};

use crate::literal::value_length;

/// What the expression gives where the text tells all.
const PLAIN: &[u8] = b".||";

/// An expression for the parts of a column's documents: `document|members|items`, each of the last two empty where all parts
/// are what the text says. `document` is the column, with its table and quoted. The session's `group_concat_max_len` must not cut it.
pub(crate) fn expression(document: &str) -> String {
    let number = |value: &str| {
        format!(
            "FIELD(JSON_TYPE({value}),'DECIMAL','DATE','TIME','DATETIME','TIMESTAMP','BLOB','BIT','OPAQUE','GEOMETRY','UNSIGNED INTEGER')"
        )
    };
    let letter = |value: &str| format!("SUBSTR('.ndtmsbbbbu',1+{},1)", number(value));
    let parts = |path: &str| {
        format!(
            "(SELECT IF(MAX({}),GROUP_CONCAT({} ORDER BY n SEPARATOR ''),'') \
             FROM JSON_TABLE({document},'{path}' COLUMNS(n FOR ORDINALITY,v JSON PATH '$'))parts)",
            number("v"),
            letter("v")
        )
    };
    format!(
        "CONCAT({},'|',{},'|',{})",
        letter(document),
        parts("$**.*"),
        parts("$**[*]")
    )
}

/// The document with what the expression gave for it; `None` where the two don't belong together.
pub(crate) fn attach(text: Vec<u8>, kinds: &[u8]) -> Option<Value<'static>> {
    if kinds == PLAIN {
        return Some(Value::Json(Cow::Owned(text)));
    }
    let mut lists = kinds.split(|b| *b == b'|');
    let root = lists.next()?;
    let mut walk = Walk {
        text: &text,
        members: Letters::new(lists.next()?),
        items: Letters::new(lists.next()?),
        parts: Vec::new(),
    };
    walk.part(0, root.first().copied()?)?;
    walk.children(0)?;
    (walk.members.is_used_up() && walk.items.is_used_up() && lists.next().is_none()).then_some(())?;
    let mut parts = walk.parts;
    parts.sort_unstable_by_key(|part| part.at);
    Some(Value::TypedJson(Box::new(TypedJson { text, parts })))
}

/// One letter for each part, or none at all.
struct Letters<'a> {
    all: bool,
    left: &'a [u8],
}

impl<'a> Letters<'a> {
    fn new(letters: &'a [u8]) -> Self {
        Self {
            all: letters.is_empty(),
            left: letters,
        }
    }

    fn next(&mut self) -> Option<u8> {
        if self.all {
            return Some(b'.');
        }
        let (letter, left) = self.left.split_first()?;
        self.left = left;
        Some(*letter)
    }

    fn is_used_up(&self) -> bool {
        self.left.is_empty()
    }
}

struct Walk<'a> {
    text: &'a [u8],
    members: Letters<'a>,
    items: Letters<'a>,
    parts: Vec<TypedPart>,
}

impl Walk<'_> {
    /// Notes the value at `at` if its letter says that it is something else than its text.
    fn part(&mut self, at: usize, letter: u8) -> Option<()> {
        let kind = match letter {
            b'.' => return Some(()),
            b'n' => JsonKind::Decimal,
            b'u' => JsonKind::Unsigned,
            b'd' => JsonKind::Date,
            b't' => JsonKind::Time,
            b'm' => JsonKind::DateTime,
            b's' => JsonKind::Timestamp,
            b'b' => {
                let spelled = self.text.get(at..)?.strip_prefix(b"\"base64:type")?;
                let digits = spelled.iter().position(|b| *b == b':')?;
                let number = std::str::from_utf8(&spelled[..digits]).ok()?;
                JsonKind::Opaque(number.parse().ok()?)
            }
            _ => return None,
        };
        let is_number = matches!(self.text.get(at)?, b'-' | b'0'..=b'9');
        let is_string = self.text.get(at) == Some(&b'"');
        let fits = match kind {
            JsonKind::Decimal | JsonKind::Unsigned => is_number,
            _ => is_string,
        };
        fits.then(|| self.parts.push(TypedPart { at, kind }))
    }

    /// Gives the parts of the container at `at` their letters, then goes into those that are containers.
    fn children(&mut self, at: usize) -> Option<()> {
        let object = match self.text.get(at)? {
            b'{' => true,
            b'[' => false,
            _ => return Some(()),
        };
        let mut containers = Vec::new();
        let mut at = self.skip(at + 1, b" ,");
        while !matches!(self.text.get(at)?, b']' | b'}') {
            if object {
                at += value_length(&self.text[at..])?;
                at = self.skip(at, b" :");
            }
            let letter = if object {
                self.members.next()?
            } else {
                self.items.next()?
            };
            self.part(at, letter)?;
            if matches!(self.text.get(at)?, b'[' | b'{') {
                containers.push(at);
            }
            at += value_length(&self.text[at..])?;
            at = self.skip(at, b" ,");
        }
        containers
            .into_iter()
            .try_for_each(|container| self.children(container))
    }

    /// The first place from `at` on with none of these bytes.
    fn skip(&self, at: usize, these: &[u8]) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|b| these.contains(b)).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text with each noted part in brackets behind its kind.
    fn marked(text: &str, kinds: &str) -> Option<String> {
        let Value::TypedJson(document) = attach(text.as_bytes().to_vec(), kinds.as_bytes())? else {
            return Some(text.to_owned());
        };
        let mut marked = text.to_owned();
        for part in document.parts.iter().rev() {
            marked.insert_str(part.at, &format!("{:?}:", part.kind));
        }
        Some(marked)
    }

    #[test]
    fn letters_go_to_containers_before_what_they_hold() {
        let text =
            r#"{"a": {"y": [8.5], "z": "2020-01-01"}, "b": [1, [2, {"x": 3, "aa": [4, 5]}], 6], "c": [[9]]}"#;
        // Members: a b c, y z, x aa. Items: of y, of b, of b[1], of aa, of c, of c[0].
        assert_eq!(
            marked(text, ".|....d..|n..n........").as_deref(),
            None,
            "a letter too many"
        );
        assert_eq!(
            marked(text, ".|....d..|n...n....n").as_deref(),
            Some(
                r#"{"a": {"y": [Decimal:8.5], "z": Date:"2020-01-01"}, "b": [1, [Decimal:2, {"x": 3, "aa": [4, 5]}], 6], "c": [[Decimal:9]]}"#
            )
        );
        assert_eq!(marked("7", "n||").as_deref(), Some("Decimal:7"));
        assert_eq!(marked("7", "u||").as_deref(), Some("Unsigned:7"));
        assert_eq!(
            marked(r#"["base64:type15:YQ==", ""]"#, ".||b.").as_deref(),
            Some(r#"[Opaque(15):"base64:type15:YQ==", ""]"#)
        );
        assert_eq!(marked("[1]", ".||").as_deref(), Some("[1]"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (text, kinds) in [
            ("[1]", ".||d"),
            (r#"["x"]"#, ".||n"),
            (r#"["x"]"#, ".||b"),
            ("[1, 2]", ".||n"),
            ("[1]", ".||n.|"),
            ("[1", ".||n"),
            ("[1]", "."),
            ("[1]", ".||x"),
        ] {
            assert_eq!(marked(text, kinds), None, "{text} {kinds}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(text in proptest::collection::vec(any::<u8>(), 0..100), kinds in "[.ndtmsbu|]{0,12}") {
            attach(text, kinds.as_bytes());
        }
    }
}
