//! Tables of one database that a server is asked about in one statement.

use super::AnswerRow;
use crate::sql::quote_text;

/// Which tables. What it makes is right under any `sql_mode` that takes a backslash for an escape.
#[derive(Debug, Clone, Copy)]
pub struct Several<'a> {
    /// Their database.
    pub database: &'a str,
    /// Their names.
    pub names: &'a [&'a str],
}

impl Several<'_> {
    /// The condition that these columns of a row name one of the tables: the server compares names as it does.
    pub fn condition(&self, database: &str, table: &str) -> String {
        let ours = quote_text(self.database);
        format!("{database} = {ours} AND {table} IN ({})", self.list())
    }

    /// What a statement has to select first: which one the row belongs to.
    pub fn number(&self, table: &str) -> String {
        format!("FIELD({table}, {})", self.list())
    }

    /// The rows of each of the tables, without that first column.
    pub fn sort(&self, rows: Vec<AnswerRow>) -> Vec<Vec<AnswerRow>> {
        let mut sorted = vec![Vec::new(); self.names.len()];
        for mut row in rows {
            let number = if row.is_empty() { None } else { row.remove(0) };
            let number = number.and_then(|number| number.parse::<usize>().ok());
            let place = number.and_then(|number| number.checked_sub(1));
            if let Some(rows) = place.and_then(|place| sorted.get_mut(place)) {
                rows.push(row);
            }
        }
        sorted
    }

    fn list(&self) -> String {
        let names: Vec<String> = self.names.iter().map(|name| quote_text(name)).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_given_to_their_tables() {
        let several = Several {
            database: "d",
            names: &["a", "it's", "c"],
        };
        assert_eq!(
            several.condition("s", "t"),
            "s = 'd' AND t IN ('a', 'it\\'s', 'c')"
        );
        assert_eq!(several.number("t"), "FIELD(t, 'a', 'it\\'s', 'c')");
        let row = |number: &str, value: &str| vec![Some(number.to_owned()), Some(value.to_owned())];
        let rows = vec![
            row("3", "x"),
            row("1", "y"),
            row("3", "z"),
            row("0", "odd"),
            row("4", "odd"),
        ];
        let of = |value: &str| vec![Some(value.to_owned())];
        assert_eq!(
            several.sort(rows),
            [vec![of("y")], vec![], vec![of("x"), of("z")]]
        );
    }
}
