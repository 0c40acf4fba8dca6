//! Walking a table in key order: the WHERE and ORDER BY of one chunk, from the key where the last chunk ended.
//!
//! Pure text. Key values are SQL literals that the source compares in the column's own character set and collation, so that
//! its index gives the order, whatever the collation folds together.

/// One column of the key that a table is walked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyColumn {
    /// The column's name, unquoted.
    pub(crate) name: String,
    /// The index keeps this column in descending order.
    pub(crate) descending: bool,
}

/// The key that a table is walked by: an index whose columns are whole, stored and not null, unique together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The index's name, unquoted.
    pub(crate) index: String,
    /// Its columns in order.
    pub(crate) columns: Vec<KeyColumn>,
}

/// A part of a table by the first column of its key, for splitting large tables: `from <= column <= through`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Range {
    /// Lowest value, inclusive; `None`: from the beginning.
    pub(crate) from: Option<i128>,
    /// Highest value, inclusive; `None`: to the end.
    pub(crate) through: Option<i128>,
}

/// A name in backticks.
pub(crate) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Key {
    /// What follows `FROM table`: index, condition, order and limit of the chunk after `last` (SQL literals, one per column).
    pub(crate) fn tail(&self, range: Range, last: Option<&[String]>, limit: u64) -> String {
        let mut conditions = Vec::new();
        if let Some(first) = self.columns.first() {
            let column = quote(&first.name);
            // The bound where the walk began would only make the optimizer's choice harder besides `last`.
            let (begun_at_from, begun_at_through) = (
                last.is_some() && !first.descending,
                last.is_some() && first.descending,
            );
            if let (Some(from), false) = (range.from, begun_at_from) {
                conditions.push(format!("{column} >= {from}"));
            }
            if let (Some(through), false) = (range.through, begun_at_through) {
                conditions.push(format!("{column} <= {through}"));
            }
        }
        if let Some(last) = last {
            conditions.push(self.after(last));
        }
        let mut text = format!(" FORCE INDEX ({})", quote(&self.index));
        if !conditions.is_empty() {
            text.push_str(" WHERE ");
            text.push_str(&conditions.join(" AND "));
        }
        let order: Vec<String> = self
            .columns
            .iter()
            .map(|c| format!("{}{}", quote(&c.name), if c.descending { " DESC" } else { "" }))
            .collect();
        text.push_str(&format!(" ORDER BY {} LIMIT {limit}", order.join(", ")));
        text
    }

    /// `(k1, k2, …)` comes after `last` in the index. Spelled out, since MySQL makes no range of a row comparison; the
    /// leading `k1 >= v1` bounds the range where the optimizer gives up on the rest.
    fn after(&self, last: &[String]) -> String {
        let mut text = String::new();
        let mut open = 0;
        let mut pairs = self.columns.iter().zip(last).peekable();
        let mut first = true;
        while let Some((column, value)) = pairs.next() {
            let name = quote(&column.name);
            let beyond = if column.descending { "<" } else { ">" };
            if pairs.peek().is_none() {
                text.push_str(&format!("{name} {beyond} {value}"));
            } else {
                if first {
                    text.push_str(&format!("{name} {beyond}= {value} AND "));
                    first = false;
                }
                text.push_str(&format!("({name} {beyond} {value} OR ({name} = {value} AND "));
                open += 2;
            }
        }
        text.push_str(&")".repeat(open));
        text
    }
}

/// Cuts `[low, high]` into at most `parts` ranges of about equal width that together hold every value: the first is open
/// below. Rows above `high` were inserted after it was read and come by the log.
pub(crate) fn split(low: i128, high: i128, parts: usize) -> Vec<Range> {
    let parts = i128::try_from(parts.max(1)).unwrap_or(1);
    let width = high.saturating_sub(low).max(0) / parts + 1;
    let mut ranges = Vec::new();
    let mut from = low;
    while from <= high {
        let through = from.saturating_add(width - 1).min(high);
        ranges.push(Range {
            from: (from != low).then_some(from),
            through: Some(through),
        });
        from = through.saturating_add(1);
    }
    if ranges.is_empty() {
        ranges.push(Range::default());
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(columns: &[(&str, bool)]) -> Key {
        let columns = columns
            .iter()
            .map(|(n, d)| KeyColumn {
                name: (*n).into(),
                descending: *d,
            })
            .collect();
        Key {
            index: "PRIMARY".into(),
            columns,
        }
    }

    #[test]
    fn one_column() {
        let key = key(&[("i`d", false)]);
        assert_eq!(
            key.tail(Range::default(), None, 5),
            " FORCE INDEX (`PRIMARY`) ORDER BY `i``d` LIMIT 5"
        );
        assert_eq!(
            key.tail(
                Range {
                    from: Some(1),
                    through: Some(9)
                },
                Some(&["4".into()]),
                5
            ),
            " FORCE INDEX (`PRIMARY`) WHERE `i``d` <= 9 AND `i``d` > 4 ORDER BY `i``d` LIMIT 5"
        );
    }

    #[test]
    fn three_columns_one_descending() {
        let key = key(&[("a", false), ("b", true), ("c", false)]);
        let tail = key.tail(Range::default(), Some(&["1".into(), "2".into(), "3".into()]), 7);
        assert_eq!(
            tail,
            " FORCE INDEX (`PRIMARY`) WHERE `a` >= 1 AND (`a` > 1 OR (`a` = 1 AND (`b` < 2 OR (`b` = 2 AND `c` > 3)))) \
             ORDER BY `a`, `b` DESC, `c` LIMIT 7"
        );
    }

    #[test]
    fn a_descending_part_keeps_its_lower_bound() {
        let key = key(&[("a", true), ("b", false)]);
        let range = Range {
            from: Some(1),
            through: Some(9),
        };
        assert_eq!(
            key.tail(range, None, 5),
            " FORCE INDEX (`PRIMARY`) WHERE `a` >= 1 AND `a` <= 9 ORDER BY `a` DESC, `b` LIMIT 5"
        );
        assert_eq!(
            key.tail(range, Some(&["4".into(), "7".into()]), 5),
            " FORCE INDEX (`PRIMARY`) WHERE `a` >= 1 AND `a` <= 4 AND (`a` < 4 OR (`a` = 4 AND `b` > 7)) ORDER BY `a` DESC, `b` LIMIT 5"
        );
    }

    proptest! {
        #[test]
        fn ranges_are_adjacent_and_cover(low in -1000i128..1000, width in 0i128..5000, parts in 1usize..9) {
            let ranges = split(low, low + width, parts);
            prop_assert!(ranges.len() <= parts.max(1));
            prop_assert_eq!(ranges[0].from, None);
            prop_assert_eq!(ranges.last().unwrap().through, Some(low + width));
            for pair in ranges.windows(2) {
                prop_assert_eq!(pair[0].through.map(|t| t + 1), pair[1].from);
            }
        }
    }
}
