//! JSON as MySQL stores it in rows, to text; and the diffs of partial updates, applied.
//!
//! The text is valid JSON in UTF-8, in the server's own spelling (a space after comma and colon, members in stored order), that the
//! server parses back to the same document. Values that JSON text can't hold become what the server prints for them: decimals numbers,
//! dates and times strings, other opaque values `"base64:typeN:…"`. Doubles always keep a point or an exponent, so that they come back
//! as doubles.

mod binary;
mod diff;
mod number;
mod text;

use self::binary::Element;
use self::diff::Node;
use super::Error;

const WHAT: &str = "JSON value";

/// The text of a stored document. An empty one, which `UPDATE IGNORE` can leave behind, is the JSON literal null.
///
/// # Errors
/// When the bytes are no document. Work and output are bounded by the input's size.
pub fn to_text(document: &[u8]) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    write_text(document, &mut text)?;
    Ok(text)
}

/// The same, appended to `text`.
pub(super) fn write_text(document: &[u8], text: &mut Vec<u8>) -> Result<(), Error> {
    text.reserve(document.len() + document.len() / 2 + 8);
    text::write(Element::root(document)?, text)
}

/// The text of a stored document after the diffs of a PARTIAL_UPDATE_ROWS event, in order.
///
/// # Errors
/// When document or diffs are malformed, or a diff points to a place that the document doesn't have.
pub fn apply_diffs(document: &[u8], diffs: &[u8]) -> Result<Vec<u8>, Error> {
    let mut root = Node::new(Element::root(document)?)?;
    diff::apply(&mut root, diffs)?;
    let mut text = Vec::with_capacity(document.len() + diffs.len());
    root.write(&mut text)?;
    Ok(text)
}
