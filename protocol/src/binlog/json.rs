//! JSON as MySQL stores it in rows, to text; and the diffs of partial updates, applied.
//!
//! The text is valid JSON in UTF-8, in the server's own spelling (a space after comma and colon, members in stored order), that the
//! server parses back to the same document. Values that JSON text can't hold become what the server prints for them: decimals numbers,
//! dates and times strings, other opaque values `"base64:typeN:…"`; what they are stands beside the text. Doubles always keep a point or an exponent, so that they come back
//! as doubles.

mod binary;
mod diff;
mod number;
mod text;

use std::borrow::Cow;

use self::binary::Element;
use self::diff::Node;
use super::Error;
use crate::value::{TypedJson, TypedPart, Value};

const WHAT: &str = "JSON value";

/// A stored document as a value. An empty one, which `UPDATE IGNORE` can leave behind, is the JSON literal null. `memory` is used
/// for the text.
///
/// # Errors
/// When the bytes are no document. Work and output are bounded by the input's size.
pub(super) fn value(document: &[u8], memory: Vec<u8>) -> Result<Value<'static>, Error> {
    let mut out = Spelled {
        text: memory,
        parts: Vec::new(),
    };
    out.text.reserve(document.len() + document.len() / 2 + 8);
    text::write(Element::root(document)?, &mut out)?;
    Ok(out.into_value())
}

/// A stored document after the diffs of a PARTIAL_UPDATE_ROWS event, in order.
///
/// # Errors
/// When document or diffs are malformed, or a diff points to a place that the document doesn't have.
pub(super) fn changed_value(document: &[u8], diffs: &[u8]) -> Result<Value<'static>, Error> {
    changed(document, diffs).map(Spelled::into_value)
}

/// The text of a stored document.
///
/// # Errors
/// When the bytes are no document.
pub fn to_text(document: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Spelled::default();
    text::write(Element::root(document)?, &mut out)?;
    Ok(out.text)
}

/// The text of a stored document after diffs.
///
/// # Errors
/// When document or diffs are malformed, or a diff points to a place that the document doesn't have.
pub fn apply_diffs(document: &[u8], diffs: &[u8]) -> Result<Vec<u8>, Error> {
    changed(document, diffs).map(|out| out.text)
}

fn changed(document: &[u8], diffs: &[u8]) -> Result<Spelled, Error> {
    let mut root = Node::new(Element::root(document)?)?;
    diff::apply(&mut root, diffs)?;
    let mut out = Spelled::default();
    out.text.reserve(document.len() + diffs.len());
    root.write(&mut out)?;
    Ok(out)
}

/// A document being written.
#[derive(Debug, Default)]
struct Spelled {
    text: Vec<u8>,
    /// The parts whose type the text can't tell.
    parts: Vec<TypedPart>,
}

impl Spelled {
    fn into_value(self) -> Value<'static> {
        let Self { text, parts } = self;
        if parts.is_empty() {
            Value::Json(Cow::Owned(text))
        } else {
            Value::TypedJson(Box::new(TypedJson { text, parts }))
        }
    }
}
