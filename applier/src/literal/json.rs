//! JSON documents as SQL, their decimals kept.
//!
//! A document may hold DECIMAL numbers (`JSON_ARRAY(1.10)`), and prints them with all their digits: `1.10`. Text parsed by the
//! server knows only integers and doubles, and would print `1.1` from then on. So a document with a number that no double
//! prints as is written as an expression: `JSON_ARRAY(1.10)` for the part that holds it, text for the rest. A decimal that
//! prints like a double (`1.5`) becomes one; no query of the document's text can tell.

use super::quoted;

/// The server refuses documents nested deeper.
const DEPTH: usize = 100;

/// Appends an expression of type JSON, or a string that becomes the same document in a JSON column.
pub(crate) fn write_json(out: &mut Vec<u8>, text: &[u8]) {
    if !has_decimal(text) {
        write_text(out, text);
        return;
    }
    let began = out.len();
    let mut reader = Reader { text, at: 0 };
    if reader.value(out, 0).is_none() || !reader.blank().is_empty() {
        // Not a document as servers print them: let the server judge it.
        out.truncate(began);
        write_text(out, text);
    }
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(b"_utf8mb4");
    quoted(out, text);
}

/// True when some number in the text is a DECIMAL.
fn has_decimal(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| matches!(b, b'"' | b'-' | b'0'..=b'9')) {
        rest = &rest[at..];
        let length = if rest[0] == b'"' {
            string_length(rest)
        } else {
            number_length(rest)
        };
        if rest[0] != b'"' && is_decimal(&rest[..length]) {
            return true;
        }
        rest = &rest[length..];
    }
    false
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

fn number_length(text: &[u8]) -> usize {
    let part = |b: &u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    text.iter().position(|b| !part(b)).unwrap_or(text.len()).max(1)
}

/// True when neither an integer nor a double is printed like this.
fn is_decimal(number: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(number) else {
        return false;
    };
    if text.contains(['e', 'E']) {
        return false;
    }
    if !text.contains('.') {
        return text.parse::<i64>().is_err() && text.parse::<u64>().is_err();
    }
    match text.parse::<f64>() {
        Ok(double) => printed(double).as_deref() != Some(text),
        Err(_not_a_number) => false,
    }
}

/// A double as the server prints it in JSON without an exponent; `None` when it prints one.
///
/// Source: `my_gcvt` in MySQL's `strings/dtoa.cc`, which uses no exponent while the decimal point is 14 places left to 15 places
/// right of the first digit, and `Json_dom`'s `.0` after whole numbers.
fn printed(double: f64) -> Option<String> {
    if double == 0.0 {
        return Some(if double.is_sign_negative() { "-0.0" } else { "0.0" }.to_owned());
    }
    let scientific = format!("{double:e}");
    let exponent: i32 = scientific.split('e').nth(1)?.parse().ok()?;
    if !(-15..=14).contains(&exponent) {
        return None;
    }
    let mut text = format!("{double}");
    if !text.contains('.') {
        text.push_str(".0");
    }
    Some(text)
}

/// Walks a document and writes it as an expression.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
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

    /// Takes this many bytes of what is left.
    fn scalar(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.text.get(self.at..self.at + length)?;
        self.at += length;
        Some(bytes)
    }

    /// Writes the next value; `None` when there is none.
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        let rest = self.blank();
        match rest.first()? {
            b'[' => self.container(out, depth, b']'),
            b'{' => self.container(out, depth, b'}'),
            b'"' => {
                let text = self.scalar(string_length(rest))?;
                document(out, text);
                Some(())
            }
            b'-' | b'0'..=b'9' => {
                let number = self.scalar(number_length(rest))?;
                if is_decimal(number) {
                    // A bare number with a point, or one too large for an integer, is a DECIMAL to the server.
                    out.extend_from_slice(b"CAST(");
                    out.extend_from_slice(number);
                    out.extend_from_slice(b" AS JSON)");
                } else {
                    document(out, number);
                }
                Some(())
            }
            _ => {
                let word = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
                let word = self
                    .scalar(word)
                    .filter(|word| matches!(*word, b"null" | b"true" | b"false"))?;
                document(out, word);
                Some(())
            }
        }
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
                let key = self.scalar(string_length(rest))?;
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

/// Appends a part of the document that text can carry.
fn document(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(b"CAST(");
    write_text(out, text);
    out.extend_from_slice(b" AS JSON)");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_json(&mut out, text.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_text_can_carry_stays_text() {
        for text in [
            "{}",
            "[1, -2.5, 1e300, 0.1, -0.0, 2.0, 18446744073709551615]",
            r#"{"1.10": "2.20 \" 3.30"}"#,
            "0.00001",
            "null",
        ] {
            assert!(!has_decimal(text.as_bytes()), "{text}");
        }
        assert_eq!(written("[2.0]"), "_utf8mb4'[2.0]'");
    }

    #[test]
    fn decimals_are_written_bare() {
        assert_eq!(written("1.10"), "CAST(1.10 AS JSON)");
        assert_eq!(
            written(r#"{"a\"": [1.10, "x", null], "b": {}}"#),
            r#"JSON_OBJECT(JSON_UNQUOTE(_utf8mb4'"a\\""'),JSON_ARRAY(CAST(1.10 AS JSON),CAST(_utf8mb4'"x"' AS JSON),CAST(_utf8mb4'null' AS JSON)),JSON_UNQUOTE(_utf8mb4'"b"'),JSON_OBJECT())"#
        );
        for text in [
            "0.10",
            "-1.000",
            "123456789012345678901234567890",
            "0.12345678901234567890",
            "1000000000000000000.5",
            "0.0000000000000000001",
        ] {
            assert!(has_decimal(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_no_document_is_left_to_the_server() {
        for text in ["[1.10", "1.10 x", "{1.10: 2}", "[1.10,]]", "[nonsense, 1.10]"] {
            assert!(written(text).starts_with("_utf8mb4'"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_written(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            write_json(&mut Vec::new(), &text);
        }

        #[test]
        fn doubles_are_never_decimals(double in any::<f64>().prop_filter("finite", |d| d.is_finite())) {
            if let Some(text) = printed(double) {
                prop_assert!(!is_decimal(text.as_bytes()));
            }
        }
    }
}
