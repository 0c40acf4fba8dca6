//! Partial updates: a document as a tree, and what a PARTIAL_UPDATE_ROWS event changes in it (`sql-common/json_diff.cc`).

use std::borrow::Cow;

use super::Spelled;
use super::binary::{Budget, Element, Shape, utf8};
use super::text::{check_depth, separate, write_scalar, write_string};
use crate::binlog::Error;
use crate::binlog::error::Within;
use crate::cursor::Cursor;

const WHAT: &str = "JSON diff";

/// A document that can be changed; scalars stay as they are stored.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Scalar(Shape<'a>),
    Array(Vec<Node<'a>>),
    /// In stored order: shorter keys first, then by bytes.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The tree of a stored document.
    pub(super) fn new(element: Element<'a>) -> Result<Self, Error> {
        Self::build(element, 1, &mut Budget::new(element.size()))
    }

    fn build(element: Element<'a>, depth: usize, budget: &mut Budget) -> Result<Self, Error> {
        Ok(match element.shape()? {
            Shape::Array(items) => {
                check_depth(depth)?;
                budget.spend(items.len())?;
                let nodes = (0..items.len()).map(|index| Self::build(items.value(index)?, depth + 1, budget));
                Self::Array(nodes.collect::<Result<_, _>>()?)
            }
            Shape::Object(members) => {
                check_depth(depth)?;
                budget.spend(members.len())?;
                let nodes = (0..members.len()).map(|index| {
                    let key = utf8(members.key(index)?)?;
                    budget.spend(key.len())?;
                    Ok((
                        Cow::Borrowed(key),
                        Self::build(members.value(index)?, depth + 1, budget)?,
                    ))
                });
                Self::Object(nodes.collect::<Result<_, Error>>()?)
            }
            scalar => {
                // Written later, maybe after a diff has removed it: what it takes is counted where it is found.
                budget.spend(match scalar {
                    Shape::String(text) => text.len(),
                    Shape::Opaque(_, bytes) => bytes.len(),
                    _ => 0,
                })?;
                Self::Scalar(scalar)
            }
        })
    }

    /// Appends the tree's text.
    pub(super) fn write(&self, out: &mut Spelled) -> Result<(), Error> {
        self.write_within(out, 1)
    }

    fn write_within(&self, out: &mut Spelled, depth: usize) -> Result<(), Error> {
        match self {
            Self::Scalar(scalar) => write_scalar(*scalar, out, &mut Budget::new(usize::MAX))?,
            Self::Array(items) => {
                check_depth(depth)?;
                out.text.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    separate(index, &mut out.text);
                    item.write_within(out, depth + 1)?;
                }
                out.text.push(b']');
            }
            Self::Object(members) => {
                check_depth(depth)?;
                out.text.push(b'{');
                for (index, (key, value)) in members.iter().enumerate() {
                    separate(index, &mut out.text);
                    write_string(key.as_bytes(), &mut out.text)?;
                    out.text.extend_from_slice(b": ");
                    value.write_within(out, depth + 1)?;
                }
                out.text.push(b'}');
            }
        }
        Ok(())
    }

    /// The part that a path leads to.
    fn seek(&mut self, path: &[Leg<'_>]) -> Option<&mut Self> {
        let mut node = self;
        for leg in path {
            node = match (node, leg) {
                (Self::Array(items), Leg::Cell(cell)) => {
                    let index = cell.within(items.len())?;
                    items.get_mut(index)?
                }
                (Self::Object(members), Leg::Member(name)) => {
                    let place = find(members, name).ok()?;
                    &mut members.get_mut(place)?.1
                }
                _ => return None,
            };
        }
        Some(node)
    }

    fn insert(&mut self, leg: &Leg<'a>, value: Self) -> Option<()> {
        match (self, leg) {
            (Self::Array(items), Leg::Cell(cell)) => {
                let place = cell.position(items.len());
                items.insert(place, value);
            }
            (Self::Object(members), Leg::Member(name)) => {
                let place = find(members, name).err()?;
                members.insert(place, (name.clone(), value));
            }
            _ => return None,
        }
        Some(())
    }

    fn remove(&mut self, leg: &Leg<'_>) -> Option<()> {
        match (self, leg) {
            (Self::Array(items), Leg::Cell(cell)) => {
                let place = cell.within(items.len())?;
                items.remove(place);
            }
            (Self::Object(members), Leg::Member(name)) => {
                let place = find(members, name).ok()?;
                members.remove(place);
            }
            _ => return None,
        }
        Some(())
    }
}

/// Where a member is, or where it would be inserted.
fn find(members: &[(Cow<'_, str>, Node<'_>)], name: &str) -> Result<usize, usize> {
    members.binary_search_by(|(key, _)| (key.len(), key.as_ref()).cmp(&(name.len(), name)))
}

/// Applies diffs in order: each an operation, a path, and a value unless it removes.
pub(super) fn apply<'a>(root: &mut Node<'a>, diffs: &'a [u8]) -> Result<(), Error> {
    const REPLACE: u8 = 0;
    const INSERT: u8 = 1;
    const REMOVE: u8 = 2;
    let mut cursor = Cursor::new(diffs);
    while !cursor.is_empty() {
        let operation = cursor.u8().within(WHAT)?;
        let path_text = cursor.lenenc_bytes().within(WHAT)?;
        let rejected = || {
            Error::malformed(
                WHAT,
                format!("no place {} in the document", String::from_utf8_lossy(path_text)),
            )
        };
        let path = parse_path(path_text)?;
        let mut value = || Node::new(Element::root(cursor.lenenc_bytes().within(WHAT)?)?);
        match operation {
            REPLACE => {
                let value = value()?;
                *root.seek(&path).ok_or_else(rejected)? = value;
            }
            INSERT | REMOVE => {
                let (last, parent) = path.split_last().ok_or_else(rejected)?;
                let value = if operation == INSERT { Some(value()?) } else { None };
                let parent = root.seek(parent).ok_or_else(rejected)?;
                let done = match value {
                    Some(value) => parent.insert(last, value),
                    None => parent.remove(last),
                };
                done.ok_or_else(rejected)?;
            }
            other => return Err(Error::malformed(WHAT, format!("operation {other}"))),
        }
    }
    Ok(())
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leg<'a> {
    Member(Cow<'a, str>),
    Cell(Cell),
}

/// A place in an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    index: usize,
    /// Counted from the last item, which is 0.
    from_end: bool,
}

impl Cell {
    /// The place in an array of so many items: past the end is the end, before the beginning the beginning.
    fn position(self, length: usize) -> usize {
        if self.from_end {
            length.saturating_sub(self.index.saturating_add(1))
        } else {
            self.index.min(length)
        }
    }

    /// The same, if there is an item.
    fn within(self, length: usize) -> Option<usize> {
        (self.index < length).then(|| self.position(length))
    }
}

/// `$`, then `.name`, `."name"`, `[n]`, `[last]`, `[last-n]`: all that the server writes into diffs.
fn parse_path(bytes: &[u8]) -> Result<Vec<Leg<'_>>, Error> {
    let text = std::str::from_utf8(bytes).ok();
    let legs = text.and_then(|text| text.strip_prefix('$')).and_then(parse_legs);
    legs.ok_or_else(|| Error::malformed(WHAT, format!("path {}", String::from_utf8_lossy(bytes))))
}

fn parse_legs(mut rest: &str) -> Option<Vec<Leg<'_>>> {
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if let Some(cell) = rest.strip_prefix('[') {
            let (inside, after) = cell.split_once(']')?;
            legs.push(Leg::Cell(parse_cell(inside.trim())?));
            rest = after;
        } else if let Some(quoted) = rest.strip_prefix(".\"") {
            let (name, after) = parse_quoted(quoted)?;
            legs.push(Leg::Member(name));
            rest = after;
        } else {
            let name = rest.strip_prefix('.')?;
            let end = name.find(['.', '[']).unwrap_or(name.len());
            if end == 0 {
                return None;
            }
            let (name, after) = name.split_at(end);
            legs.push(Leg::Member(Cow::Borrowed(name)));
            rest = after;
        }
    }
    Some(legs)
}

fn parse_cell(inside: &str) -> Option<Cell> {
    let number = |text: &str| text.trim().parse().ok();
    match inside.strip_prefix("last") {
        None => Some(Cell {
            index: number(inside)?,
            from_end: false,
        }),
        Some("") => Some(Cell {
            index: 0,
            from_end: true,
        }),
        Some(back) => Some(Cell {
            index: number(back.trim().strip_prefix('-')?)?,
            from_end: true,
        }),
    }
}

/// A JSON string after its opening quote: its value, and what follows the closing quote.
fn parse_quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = text[..end].to_owned();
    let mut chars = text[end..].chars();
    loop {
        match chars.next()? {
            '"' => return Some((Cow::Owned(value), chars.as_str())),
            '\\' => value.push(match chars.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    // The server escapes control characters only: no surrogates.
                    let (code, after) = chars.as_str().split_at_checked(4)?;
                    chars = after.chars();
                    char::from_u32(u32::from_str_radix(code, 16).ok()?)?
                }
                plain @ ('"' | '\\' | '/') => plain,
                _ => return None,
            }),
            plain => value.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let member = |name: &str| Leg::Member(Cow::Owned(name.to_owned()));
        let cell = |index, from_end| Leg::Cell(Cell { index, from_end });
        assert_eq!(parse_path(b"$").unwrap(), []);
        assert_eq!(
            parse_path(b"$.a[3].\"b c\"[last]").unwrap(),
            [member("a"), cell(3, false), member("b c"), cell(0, true)]
        );
        assert_eq!(
            parse_path(br#"$."q\"\\\u0001"[last-2]"#).unwrap(),
            [member("q\"\\\u{1}"), cell(2, true)]
        );
        for wrong in ["", "a", "$.", "$..a", "$[", "$[x]", "$.\"a", "$[last+1]"] {
            assert!(parse_path(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
