//! Global transaction identifiers and sets of them, in MySQL's text form and in its two binary forms.
//!
//! A set is kept as sorted, disjoint, non-adjacent intervals per source and tag, so sets compare by value and a long
//! history costs a few words. The binary form is that of `COM_BINLOG_DUMP_GTID` and of `Previous_gtids` events
//! (`Gtid_set::encode` in the server's `sql/rpl_gtid_set.cc`): the tagged one, of MySQL 8.3 and later, is written only when
//! a tag is present, so that older servers understand what they can.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cursor::{Cursor, Truncated};

/// The largest number a GTID may have (`GNO_END - 1`).
const LAST_NUMBER: u64 = i64::MAX as u64 - 1;

/// Why a text or some bytes are no GTID set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not of MySQL's form.
    #[error("{0:?} is no GTID or GTID set: expected a form like 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7")]
    Text(String),
    /// The bytes ended too soon.
    #[error("the encoded GTID set ends too soon: {0}")]
    Truncated(#[from] Truncated),
    /// The bytes say something that no server writes.
    #[error("the encoded GTID set is malformed: {0}")]
    Malformed(&'static str),
}

/// The UUID of the server on which a transaction was first committed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SourceId(pub [u8; 16]);

/// The tag between UUID and number; empty for nearly all GTIDs. Lower case, at most 32 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tag(String);

/// One transaction's identifier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    /// Where it was first committed.
    pub source: SourceId,
    /// Its tag; empty when it has none.
    pub tag: Tag,
    /// Its number there, from 1.
    pub number: u64,
}

/// A run of numbers, first and last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interval {
    /// The first number, at least 1.
    pub first: u64,
    /// The last number, at least `first`.
    pub last: u64,
}

/// A set of GTIDs.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct GtidSet {
    /// No entry is empty; intervals are sorted, with at least one missing number between neighbours.
    members: BTreeMap<(SourceId, Tag), Vec<Interval>>,
}

impl SourceId {
    /// Reads the 36-character text form; upper and lower case are the same.
    fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 16];
        let mut nibbles = 0;
        for (at, byte) in text.bytes().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            let digit = u8::try_from(char::from(byte).to_digit(16)?).ok()?;
            *id.get_mut(nibbles / 2)? |= if nibbles % 2 == 0 { digit << 4 } else { digit };
            nibbles += 1;
        }
        (nibbles == 32).then_some(Self(id))
    }
}

impl FromStr for SourceId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text.trim()).ok_or_else(|| Error::Text(text.to_owned()))
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Tag {
    /// A tag from its text, made lower case: a letter or `_`, then letters, digits and `_`, at most 32; or nothing.
    pub fn new(text: &str) -> Option<Self> {
        let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let form = match text.as_bytes() {
            [] => true,
            [head, tail @ ..] => {
                letter(*head) && tail.iter().all(|byte| letter(*byte) || byte.is_ascii_digit())
            }
        };
        (form && text.len() <= 32).then(|| Self(text.to_ascii_lowercase()))
    }

    /// The tag's text; empty when there is none.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when there is no tag.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tag.is_empty() {
            write!(f, "{}:{}", self.source, self.number)
        } else {
            write!(f, "{}:{}:{}", self.source, self.tag.as_str(), self.number)
        }
    }
}

impl FromStr for Gtid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let mut parts = text.trim().split(':');
            let source = SourceId::parse(parts.next()?.trim())?;
            let (tag, number) = match (parts.next()?.trim(), parts.next()) {
                (number, None) => ("", number),
                (tag, Some(number)) => (tag, number.trim()),
            };
            if parts.next().is_some() {
                return None;
            }
            Some(Self {
                source,
                tag: Tag::new(tag)?,
                number: parse_number(number)?,
            })
        };
        parse().ok_or_else(|| Error::Text(text.to_owned()))
    }
}

impl GtidSet {
    /// True when no GTID is in the set.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// True when `gtid` is in the set.
    pub fn contains(&self, gtid: &Gtid) -> bool {
        // The key is a pair by value; a tag is empty, and cloning it free, for nearly all GTIDs.
        self.members
            .get(&(gtid.source, gtid.tag.clone()))
            .is_some_and(|intervals| {
                let after = intervals.partition_point(|interval| interval.first <= gtid.number);
                after > 0 && intervals[after - 1].last >= gtid.number
            })
    }

    /// Adds one GTID. Numbers outside 1..2^63−1 are no GTIDs and are not added.
    pub fn insert(&mut self, gtid: Gtid) {
        if (1..=LAST_NUMBER).contains(&gtid.number) {
            let only = Interval {
                first: gtid.number,
                last: gtid.number,
            };
            insert_interval(self.members.entry((gtid.source, gtid.tag)).or_default(), only);
        }
    }

    /// Adds every GTID of `other`.
    pub fn union(&mut self, other: &Self) {
        for (key, theirs) in &other.members {
            let ours = self.members.entry(key.clone()).or_default();
            for interval in theirs {
                insert_interval(ours, *interval);
            }
        }
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut members = BTreeMap::new();
        for (key, ours) in &self.members {
            let left = match other.members.get(key) {
                Some(theirs) => subtract_intervals(ours, theirs),
                None => ours.clone(),
            };
            if !left.is_empty() {
                members.insert(key.clone(), left);
            }
        }
        Self { members }
    }

    /// True when every GTID of this set is in `other`.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.members.iter().all(|(key, ours)| {
            other
                .members
                .get(key)
                .is_some_and(|theirs| subtract_intervals(ours, theirs).is_empty())
        })
    }

    /// Every source and tag with its intervals, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&SourceId, &Tag, &[Interval])> {
        self.members
            .iter()
            .map(|((source, tag), intervals)| (source, tag, intervals.as_slice()))
    }

    /// How many GTIDs are in the set, saturating.
    pub fn count(&self) -> u64 {
        let sizes = self
            .members
            .values()
            .flatten()
            .map(|interval| interval.last - interval.first + 1);
        sizes.fold(0, u64::saturating_add)
    }

    /// The binary form of `COM_BINLOG_DUMP_GTID` and `Previous_gtids`, tagged only if a tag is in the set.
    pub fn encode(&self) -> Vec<u8> {
        let tagged = self.members.keys().any(|(_, tag)| !tag.is_empty());
        let count = u64::try_from(self.members.len()).unwrap_or(u64::MAX);
        let head = if tagged { 1 << 56 | count << 8 | 1 } else { count };
        let mut out = head.to_le_bytes().to_vec();
        for ((source, tag), intervals) in &self.members {
            out.extend_from_slice(&source.0);
            if tagged {
                // The serialization library's variable-length integer: one byte, shifted, below 128. A tag has at most 32.
                out.push(u8::try_from(tag.0.len() << 1).unwrap_or(0));
                out.extend_from_slice(tag.0.as_bytes());
            }
            out.extend_from_slice(&u64::try_from(intervals.len()).unwrap_or(u64::MAX).to_le_bytes());
            for interval in intervals {
                out.extend_from_slice(&interval.first.to_le_bytes());
                out.extend_from_slice(&(interval.last + 1).to_le_bytes());
            }
        }
        out
    }

    /// Reads what [`encode`](Self::encode) or a server wrote; bytes after the set are refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(bytes);
        let head = cursor.u64()?;
        let (tagged, count) = match head >> 56 {
            0 => (false, head),
            1 => (true, head >> 8 & 0xffff_ffff_ffff),
            _ => return Err(Error::Malformed("a format newer than the tagged one")),
        };
        let mut set = Self::default();
        for _ in 0..count {
            let source = SourceId(cursor.array()?);
            let tag = if tagged {
                decode_tag(&mut cursor)?
            } else {
                Tag::default()
            };
            let mut intervals = Vec::new();
            for _ in 0..cursor.u64()? {
                let (first, end) = (cursor.u64()?, cursor.u64()?);
                if first == 0 || end <= first || end > LAST_NUMBER + 1 {
                    return Err(Error::Malformed("an interval that is empty or out of range"));
                }
                insert_interval(&mut intervals, Interval { first, last: end - 1 });
            }
            if intervals.is_empty() {
                continue;
            }
            if set.members.insert((source, tag), intervals).is_some() {
                return Err(Error::Malformed("the same source twice"));
            }
        }
        if cursor.is_empty() {
            Ok(set)
        } else {
            Err(Error::Malformed("bytes after its end"))
        }
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut previous = None;
        for ((source, tag), intervals) in &self.members {
            if previous != Some(source) {
                let comma = if previous.is_some() { "," } else { "" };
                write!(f, "{comma}{source}")?;
                previous = Some(source);
            }
            if !tag.is_empty() {
                write!(f, ":{}", tag.as_str())?;
            }
            for Interval { first, last } in intervals {
                if first == last {
                    write!(f, ":{first}")?;
                } else {
                    write!(f, ":{first}-{last}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GtidSet({self})")
    }
}

impl FromStr for GtidSet {
    type Err = Error;

    /// Reads MySQL's text form; blanks and line breaks around each part and empty parts between commas are allowed.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            parse_source(part, &mut set).ok_or_else(|| Error::Text(part.to_owned()))?;
        }
        Ok(set)
    }
}

impl Serialize for GtidSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Gtid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Gtid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Adds `uuid[:tag]:interval…[:tag:interval…]…` to `set`.
fn parse_source(text: &str, set: &mut GtidSet) -> Option<()> {
    let mut parts = text.split(':').map(str::trim);
    let source = SourceId::parse(parts.next()?)?;
    let mut tag = Tag::default();
    let mut pending = true;
    for part in parts {
        if part.starts_with(|head: char| head.is_ascii_digit()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let interval = Interval {
                first: parse_number(first.trim())?,
                last: parse_number(last.trim())?,
            };
            if interval.first > interval.last {
                return None;
            }
            insert_interval(set.members.entry((source, tag.clone())).or_default(), interval);
            pending = false;
        } else {
            // A tag must be followed by an interval before the next one.
            if pending && !tag.is_empty() {
                return None;
            }
            tag = Tag::new(part).filter(|tag| !tag.is_empty())?;
            pending = true;
        }
    }
    (!pending).then_some(())
}

fn parse_number(text: &str) -> Option<u64> {
    let number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())??;
    (1..=LAST_NUMBER).contains(&number).then_some(number)
}

fn decode_tag(cursor: &mut Cursor<'_>) -> Result<Tag, Error> {
    let length = cursor.u8()?;
    if length & 1 == 1 || length > 64 {
        return Err(Error::Malformed("a tag longer than 32 characters"));
    }
    let text = cursor.bytes(usize::from(length >> 1))?;
    let text = std::str::from_utf8(text).map_err(|_not_utf8| Error::Malformed("a tag that is no text"))?;
    Tag::new(text).ok_or(Error::Malformed("a tag with characters that no tag has"))
}

/// Adds `new`, merging with what it overlaps or touches. Appending at the end, the usual case, costs no search.
fn insert_interval(intervals: &mut Vec<Interval>, new: Interval) {
    match intervals.last_mut() {
        None => return intervals.push(new),
        Some(last) if new.first > last.last + 1 => return intervals.push(new),
        Some(last) if new.first >= last.first => {
            last.last = last.last.max(new.last);
            return;
        }
        Some(_) => {}
    }
    // Those in `from..to` overlap or touch `new`.
    let from = intervals.partition_point(|interval| interval.last + 1 < new.first);
    let to = intervals.partition_point(|interval| interval.first <= new.last + 1);
    let merged = intervals[from..to].iter().fold(new, |sum, interval| Interval {
        first: sum.first.min(interval.first),
        last: sum.last.max(interval.last),
    });
    intervals.splice(from..to, [merged]);
}

/// What `ours` holds and `theirs` does not, in one pass over both.
fn subtract_intervals(ours: &[Interval], theirs: &[Interval]) -> Vec<Interval> {
    let mut left = Vec::new();
    let mut next = 0;
    for interval in ours {
        let mut first = interval.first;
        while next < theirs.len() && theirs[next].last < first {
            next += 1;
        }
        let mut at = next;
        while first <= interval.last {
            match theirs.get(at) {
                Some(hole) if hole.first <= interval.last => {
                    if first < hole.first {
                        left.push(Interval {
                            first,
                            last: hole.first - 1,
                        });
                    }
                    first = hole.last + 1;
                    at += 1;
                }
                _ => {
                    left.push(Interval {
                        first,
                        last: interval.last,
                    });
                    break;
                }
            }
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "ffffffff-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().expect("a GTID set")
    }

    fn gtid(source: u8, tag: &str, number: u64) -> Gtid {
        Gtid {
            source: SourceId([source; 16]),
            tag: Tag::new(tag).expect("a tag"),
            number,
        }
    }

    #[test]
    fn text_as_servers_print_it() {
        let printed = format!("{A}:1-3:5:clerk:1:7-9,\n{B}:2");
        assert_eq!(set(&printed).to_string(), format!("{A}:1-3:5:clerk:1:7-9,{B}:2"));
        assert_eq!(
            set(&format!(" {}:4-5 : 1-3 : 3 , ,", A.to_uppercase())).to_string(),
            format!("{A}:1-5")
        );
        assert_eq!(set(&format!("{A}:CLERK:1")).to_string(), format!("{A}:clerk:1"));
        assert_eq!(set("\n").to_string(), "");
    }

    #[test]
    fn text_that_is_none() {
        for text in [
            "x",
            A,
            &format!("{A}:"),
            &format!("{A}:0"),
            &format!("{A}:3-1"),
            &format!("{A}:a"),
            &format!("{A}:a:b:1"),
        ] {
            assert!(text.parse::<GtidSet>().is_err(), "{text}");
        }
        assert!(format!("{A}:1-9223372036854775806").parse::<GtidSet>().is_ok());
        assert!(format!("{A}:1-9223372036854775807").parse::<GtidSet>().is_err());
        assert!(format!("{A}:1:2:3").parse::<Gtid>().is_err());
    }

    #[test]
    fn sets_are_closed_under_their_operations() {
        let (all, some) = (
            set(&format!("{A}:1-10,{B}:x:1-4")),
            set(&format!("{A}:3-4:8,{B}:x:4")),
        );
        assert_eq!(all.subtract(&some), set(&format!("{A}:1-2:5-7:9-10,{B}:x:1-3")));
        assert!(some.is_subset_of(&all) && !all.is_subset_of(&some));
        let mut sum = all.subtract(&some);
        sum.union(&some);
        assert_eq!(sum, all);
        assert!(all.contains(&format!("{B}:x:3").parse().expect("a GTID")));
        assert!(!all.contains(&format!("{B}:3").parse().expect("a GTID")));
    }

    #[test]
    fn untagged_and_tagged_encodings() {
        let plain = set(&format!("{A}:1-3")).encode();
        assert_eq!(plain[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            plain[24..],
            [
                1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0
            ]
        );
        let tagged = set(&format!("{A}:1-3:ab:9")).encode();
        assert_eq!(tagged[..8], [1, 2, 0, 0, 0, 0, 0, 1]);
        assert_eq!(tagged[24], 0);
        assert_eq!(tagged[65..68], [4, b'a', b'b']);
    }

    fn any_gtid() -> impl Strategy<Value = Gtid> {
        (0..3u8, prop::sample::select(vec!["", "", "a", "b_1"]), 1..40u64)
            .prop_map(|(source, tag, number)| gtid(source, tag, number))
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(left in prop::collection::vec(any_gtid(), 0..60), right in prop::collection::vec(any_gtid(), 0..60)) {
            let build = |gtids: &[Gtid]| gtids.iter().fold(GtidSet::default(), |mut set, gtid| { set.insert(gtid.clone()); set });
            let (a, b) = (build(&left), build(&right));
            let minus = a.subtract(&b);
            let mut sum = a.clone();
            sum.union(&b);
            for source in 0..3 {
                for tag in ["", "a", "b_1"] {
                    for number in 1..41 {
                        let one = gtid(source, tag, number);
                        let (in_a, in_b) = (left.contains(&one), right.contains(&one));
                        prop_assert_eq!(a.contains(&one), in_a);
                        prop_assert_eq!(minus.contains(&one), in_a && !in_b);
                        prop_assert_eq!(sum.contains(&one), in_a || in_b);
                    }
                }
            }
            prop_assert_eq!(a.is_subset_of(&b), left.iter().all(|one| right.contains(one)));
            prop_assert_eq!(set(&sum.to_string()), sum.clone());
            prop_assert_eq!(GtidSet::decode(&sum.encode()), Ok(sum));
        }

        #[test]
        fn arbitrary_input_never_panics(bytes: Vec<u8>, text: String) {
            let _ = (GtidSet::decode(&bytes).is_ok(), text.parse::<GtidSet>().is_ok(), text.parse::<Gtid>().is_ok());
            if let Ok(set) = GtidSet::decode(&bytes) {
                prop_assert_eq!(GtidSet::decode(&set.encode()), Ok(set));
            }
        }
    }
}
