//! JSON documents as SQL, every part in its own type.
//!
//! A document may hold parts of types that JSON's text doesn't have: decimals, dates and times, bytes, unsigned integers. Text parsed by the server
//! knows only integers, doubles and strings, so a document with such parts is written as an expression: each of them by a CAST,
//! what holds them by `JSON_ARRAY` and `JSON_OBJECT`, text for the rest. Bytes of a column type that no expression has
//! (TINYBLOB) become the string that the server prints for them.

use outrigger_protocol::value::{JsonKind, TypedJson, TypedPart};

use super::quoted;

/// The server refuses documents nested deeper.
const DEPTH: usize = 100;
/// Bytes that a part's expression takes besides its text, at most about.
const PART: usize = 200;

/// Appends a string that becomes the same document in a JSON column.
pub(super) fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(b"_utf8mb4");
    quoted(out, text);
}

/// Appends an expression of type JSON.
pub(super) fn write_typed(out: &mut Vec<u8>, document: &TypedJson) {
    let began = out.len();
    let mut writer = Writer {
        text: &document.text,
        at: 0,
        parts: &document.parts,
    };
    if writer.value(out, 0).is_none() || !writer.parts.is_empty() {
        // Not a document as servers print them: let the server judge it.
        out.truncate(began);
        write_text(out, &document.text);
    }
}

/// About how many bytes a document takes as an expression.
pub(crate) fn typed_json_size(document: &TypedJson) -> usize {
    document.text.len() + document.text.len() / 8 + document.parts.len() * PART
}

/// Bytes of the value that `text` begins with; `None` when it is none. What is inside is not checked.
pub(crate) fn value_length(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => Some(string_length(text)),
        b'[' | b'{' => {
            let (mut at, mut open) = (0, 0_usize);
            loop {
                match text.get(at)? {
                    b'"' => {
                        at += string_length(&text[at..]);
                        continue;
                    }
                    b'[' | b'{' => open += 1,
                    b']' | b'}' => open -= 1,
                    _ => {}
                }
                at += 1;
                if open == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let ends = |b: &u8| matches!(b, b',' | b']' | b'}' | b':' | b' ');
            Some(text.iter().position(ends).unwrap_or(text.len())).filter(|length| *length > 0)
        }
    }
}

/// Bytes of the string that begins here, quotes included; all that is left when it does not end.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Walks a document and writes it as an expression.
struct Writer<'a> {
    text: &'a [u8],
    at: usize,
    /// Those that are still to come.
    parts: &'a [TypedPart],
}

impl<'a> Writer<'a> {
    /// Skips white space; what is left.
    fn blank(&mut self) -> &'a [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let blanks = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        self.at += blanks;
        &rest[blanks..]
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.blank().first() == Some(&wanted)).then(|| self.at += 1)
    }

    /// Writes the next value; `None` when there is none.
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        let rest = self.blank();
        let text = rest.get(..value_length(rest)?)?;
        let end = self.at + text.len();
        match self.parts.split_first() {
            Some((part, others)) if part.at < end => match rest.first()? {
                b'[' => return self.container(out, depth, b']'),
                b'{' => return self.container(out, depth, b'}'),
                _ if part.at == self.at => {
                    out.extend_from_slice(b"CAST(");
                    write_part(out, part.kind, text)?;
                    out.extend_from_slice(b" AS JSON)");
                    self.parts = others;
                }
                _ => return None,
            },
            _ => {
                out.extend_from_slice(b"CAST(");
                write_text(out, text);
                out.extend_from_slice(b" AS JSON)");
            }
        }
        self.at = end;
        Some(())
    }

    fn container(&mut self, out: &mut Vec<u8>, depth: usize, end: u8) -> Option<()> {
        self.at += 1;
        out.extend_from_slice(if end == b']' {
            b"JSON_ARRAY("
        } else {
            b"JSON_OBJECT("
        });
        let mut first = true;
        while self.blank().first()? != &end {
            if !first {
                self.take(b',')?;
                out.push(b',');
            }
            first = false;
            if end == b'}' {
                let rest = self.blank();
                (rest.first() == Some(&b'"')).then_some(())?;
                let key = rest.get(..string_length(rest))?;
                self.at += key.len();
                // The server undoes the escapes of a JSON string.
                out.extend_from_slice(b"JSON_UNQUOTE(");
                write_text(out, key);
                out.push(b')');
                out.push(b',');
                self.take(b':')?;
            }
            self.value(out, depth + 1)?;
        }
        self.at += 1;
        out.push(b')');
        Some(())
    }
}

fn put(out: &mut Vec<u8>, sql: &str) {
    out.extend_from_slice(sql.as_bytes());
}

/// Appends an expression of the part's type; `None` when the text is no such value.
fn write_part(out: &mut Vec<u8>, kind: JsonKind, text: &[u8]) -> Option<()> {
    let text = std::str::from_utf8(text).ok()?;
    if kind == JsonKind::Decimal {
        let is_part = |b: u8| matches!(b, b'0'..=b'9' | b'-' | b'.');
        text.bytes().all(is_part).then_some(())?;
        let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        put(out, &format!("CAST({text} AS DECIMAL(65,{scale}))"));
        return Some(());
    }
    if kind == JsonKind::Unsigned {
        text.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
        put(out, &format!("CAST({text} AS UNSIGNED)"));
        return Some(());
    }
    let spelled = text.strip_prefix('"')?.strip_suffix('"')?;
    if let JsonKind::Opaque(kind) = kind {
        return write_opaque(out, kind, text, spelled);
    }
    let is_part = |b: u8| matches!(b, b'0'..=b'9' | b'-' | b':' | b'.' | b' ');
    spelled.bytes().all(is_part).then_some(())?;
    match kind {
        JsonKind::Date => put(out, &format!("CAST('{spelled}' AS DATE)")),
        JsonKind::Time => put(out, &format!("CAST('{spelled}' AS TIME(6))")),
        // In the document it is without a time zone; what no TIMESTAMP in UTC can hold is the same as a DATETIME.
        JsonKind::Timestamp
            if ("1970-01-01 00:00:01".."2038-01-19 03:14:08").contains(&spelled)
                || spelled == "0000-00-00 00:00:00.000000" =>
        {
            put(out, &column(&format!("'[\"{spelled}\"]'"), "TIMESTAMP(6)", "c"));
        }
        _ => put(out, &format!("CAST('{spelled}' AS DATETIME(6))")),
    }
    Some(())
}

/// An expression over `c`, the first item of an array as a column of this type. Functions know no other way to some types.
fn column(array: &str, of: &str, expression: &str) -> String {
    format!(
        "(SELECT {expression} FROM JSON_TABLE({array},'$[0]' COLUMNS(n FOR ORDINALITY,\
         c {of} PATH '$' ERROR ON EMPTY ERROR ON ERROR))j)"
    )
}

/// Appends bytes of a column type, by its number in the protocol.
fn write_opaque(out: &mut Vec<u8>, kind: u8, text: &str, spelled: &str) -> Option<()> {
    const VARCHAR: u8 = 15;
    const BIT: u8 = 16;
    const MEDIUM_BLOB: u8 = 250;
    const LONG_BLOB: u8 = 251;
    const BLOB: u8 = 252;
    const STRING: u8 = 254;
    let bytes = from_base64(spelled.strip_prefix("base64:type")?.split_once(':')?.1)?;
    let length = bytes.len();
    let mut binary = b"_binary".to_vec();
    quoted(&mut binary, &bytes);
    let (of, expression) = match kind {
        VARCHAR => {
            out.extend_from_slice(&binary);
            return Some(());
        }
        BIT if (1..=8).contains(&length) => {
            let number = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            let of = format!("BIT({})", 8 * length);
            put(out, &column(&format!("'[{number}]'"), &of, "c"));
            return Some(());
        }
        STRING if length <= 255 => (format!("BINARY({length})"), "c"),
        BLOB => ("LONGBLOB".to_owned(), "c"),
        // The type of an IF is the wider one of both its branches'; n is never NULL.
        MEDIUM_BLOB => (
            "LONGBLOB".to_owned(),
            "IF(n IS NULL,CAST(_binary'' AS BINARY(65536)),c)",
        ),
        LONG_BLOB => (
            "LONGBLOB".to_owned(),
            "IF(n IS NULL,JSON_VALUE('[\"\"]','$[0]' RETURNING CHAR CHARACTER SET binary),c)",
        ),
        _ => {
            write_text(out, text.as_bytes());
            return Some(());
        }
    };
    // The bytes are no text, so the expression is put together around them.
    let around = column("JSON_ARRAY(?)", &of, expression);
    let (before, after) = around.split_once('?')?;
    out.extend_from_slice(before.as_bytes());
    out.extend_from_slice(&binary);
    out.extend_from_slice(after.as_bytes());
    Some(())
}

/// The bytes that base64 stands for, in lines of which the ends are escaped as in JSON.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for byte in text.split("\\n").flat_map(str::bytes).take_while(|b| *b != b'=') {
        let sextet = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(sextet);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The document with `kinds` at the places of the text's `#`s.
    fn written(text: &str, kinds: &[JsonKind]) -> String {
        let mut document = TypedJson::default();
        let mut kinds = kinds.iter();
        for byte in text.bytes() {
            if byte == b'#' {
                let at = document.text.len();
                let kind = *kinds.next().unwrap();
                document.parts.push(TypedPart { at, kind });
            } else {
                document.text.push(byte);
            }
        }
        let mut out = Vec::new();
        write_typed(&mut out, &document);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_are_cast_and_the_rest_is_text() {
        use JsonKind as K;
        assert_eq!(
            written("#1.10", &[K::Decimal]),
            "CAST(CAST(1.10 AS DECIMAL(65,2)) AS JSON)"
        );
        assert_eq!(written("#7", &[K::Unsigned]), "CAST(CAST(7 AS UNSIGNED) AS JSON)");
        assert_eq!(
            written(
                r#"{"a\"": [#5, "x]", null], "b": {"c": [1.5, "]"]}}"#,
                &[K::Decimal]
            ),
            r#"JSON_OBJECT(JSON_UNQUOTE(_utf8mb4'"a\\""'),JSON_ARRAY(CAST(CAST(5 AS DECIMAL(65,0)) AS JSON),CAST(_utf8mb4'"x]"' AS JSON),CAST(_utf8mb4'null' AS JSON)),JSON_UNQUOTE(_utf8mb4'"b"'),CAST(_utf8mb4'{"c": [1.5, "]"]}' AS JSON))"#
        );
        assert_eq!(
            written(
                r#"[#"2020-01-01", #"-10:00:00.500000", #"2020-01-01 00:00:00.000000", #"base64:type15:JwA="]"#,
                &[K::Date, K::Time, K::DateTime, K::Opaque(15)]
            ),
            "JSON_ARRAY(CAST(CAST('2020-01-01' AS DATE) AS JSON),CAST(CAST('-10:00:00.500000' AS TIME(6)) AS JSON),\
             CAST(CAST('2020-01-01 00:00:00.000000' AS DATETIME(6)) AS JSON),CAST(_binary'\\'\\0' AS JSON))"
        );
    }

    #[test]
    fn a_timestamp_beyond_its_range_is_a_datetime() {
        let of = |text: &str| written(&format!("#\"{text}\""), &[JsonKind::Timestamp]);
        assert!(of("2038-01-19 03:14:07.999999").contains("TIMESTAMP(6)"));
        assert!(of("2038-01-19 03:14:08.000000").contains("DATETIME(6)"));
        assert!(of("0000-00-00 00:00:00.000000").contains("TIMESTAMP(6)"));
        assert!(of("1970-01-01 00:00:00.000000").contains("DATETIME(6)"));
    }

    #[test]
    fn bytes_of_a_type_that_no_expression_has_stay_text() {
        assert_eq!(
            written(r#"#"base64:type249:AA==""#, &[JsonKind::Opaque(249)]),
            r#"CAST(_utf8mb4'"base64:type249:AA=="' AS JSON)"#
        );
    }

    #[test]
    fn what_is_no_document_is_left_to_the_server() {
        use JsonKind::{Date, Decimal};
        for (text, kind) in [
            ("[#1.10", Decimal),
            ("{#1.10: 2}", Decimal),
            ("[#1.10,]]", Decimal),
            ("[n#onsense]", Decimal),
            ("#1e5", Decimal),
            ("#\"'); DROP\"", Date),
        ] {
            assert!(written(text, &[kind]).starts_with("_utf8mb4'"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_written(
            text in proptest::collection::vec(any::<u8>(), 0..200),
            at in proptest::collection::vec((0..200_usize, any::<u8>()), 0..4),
        ) {
            let parts = at.iter().map(|(at, kind)| TypedPart { at: *at, kind: JsonKind::Opaque(*kind) }).collect();
            write_typed(&mut Vec::new(), &TypedJson { text, parts });
        }
    }
}
