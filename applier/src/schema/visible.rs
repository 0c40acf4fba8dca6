//! What an account can't see can't be copied, and the server doesn't say what it hides: databases, tables and routines
//! without a grant are simply missing from every list. So the grants are held against the selection.

use crate::config::{Pattern, Selection};
use crate::literal::quote_name;
use crate::schema::{ObjectKey, Space};

/// What the account may see, by its grants as `SHOW GRANTS` prints them.
#[derive(Debug)]
pub(crate) struct Sight {
    /// It may SELECT from every database.
    everything: bool,
    /// Names or patterns of databases from which it may SELECT.
    databases: Vec<String>,
    /// It has roles: what they grant is not printed.
    roles: bool,
    /// It sees routines.
    pub(crate) routines: bool,
}

impl Sight {
    /// Reads the lines of `SHOW GRANTS`.
    pub(crate) fn of(grants: &[String]) -> Self {
        let mut sight = Self {
            everything: false,
            databases: Vec::new(),
            roles: false,
            routines: false,
        };
        for grant in grants {
            let Some((what, on)) = grant.split_once(" ON ") else {
                sight.roles = true;
                continue;
            };
            let reads = what.contains("SELECT") || what.contains("ALL PRIVILEGES");
            let object = on.split(" TO ").next().unwrap_or(on);
            sight.routines |= what.contains("SHOW_ROUTINE");
            if reads && object == "*.*" {
                sight.everything = true;
                sight.routines = true;
            } else if let Some(name) = object.strip_suffix(".*").filter(|_| reads) {
                sight.databases.push(name.trim_matches('`').replace("``", "`"));
            }
        }
        sight
    }

    /// What of the selection may be hidden: what to grant SELECT on. `None` when nothing is, as far as can be told.
    pub(crate) fn hidden(&self, selection: &Selection, listed: &[ObjectKey]) -> Option<String> {
        if self.everything {
            return None;
        }
        let mut literals = selection.include.iter().filter_map(Pattern::literal);
        if let Some((database, _)) = literals.find(|literal| !is_listed(literal, listed)) {
            return Some(format!("{}.*", quote_name(&database)));
        }
        let mut databases = listed.iter().filter(|key| key.space == Space::Database);
        if databases.clone().next().is_none() {
            return Some("*.*".to_owned());
        }
        let partly = |key: &&ObjectKey| selection.whole_database(&key.database) && !self.reads(&key.database);
        databases.find(partly).map(|key| format!("{}.*", key.quoted()))
    }

    /// Whether it may SELECT from the whole database; with roles, that can't be ruled out.
    fn reads(&self, database: &str) -> bool {
        self.roles || self.databases.iter().any(|granted| like(granted, database))
    }
}

/// The patterns of `include` that name nothing of what is listed; one with a wildcard, for what is to come, counts only where nothing is
/// listed at all.
pub(crate) fn absent(selection: &Selection, listed: &[ObjectKey]) -> Vec<String> {
    let names_nothing = |pattern: &&Pattern| match pattern.literal() {
        Some(literal) => !is_listed(&literal, listed),
        None => listed.is_empty(),
    };
    let absent = selection.include.iter().filter(names_nothing);
    absent.map(ToString::to_string).collect()
}

fn is_listed((database, table): &(String, Option<String>), listed: &[ObjectKey]) -> bool {
    listed.contains(&match table {
        Some(table) => ObjectKey::table(database, table),
        None => ObjectKey::database(database),
    })
}

/// A granted database name: `%` and `_` are wildcards unless a backslash stands before them.
fn like(pattern: &str, name: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => name.is_empty(),
        Some('%') => {
            let rest = rest.as_str();
            like(rest, name)
                || name
                    .char_indices()
                    .any(|(at, c)| like(rest, &name[at + c.len_utf8()..]))
        }
        Some(first) => {
            let (any, first) = match first {
                '_' => (true, first),
                '\\' => (false, rest.next().unwrap_or('\\')),
                other => (false, other),
            };
            let mut name = name.chars();
            name.next().is_some_and(|c| any || c == first) && like(rest.as_str(), name.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::selection;

    fn hidden(grants: &[&str], include: &[&str], listed: &[ObjectKey]) -> Option<String> {
        let grants: Vec<String> = grants.iter().map(|g| (*g).to_owned()).collect();
        let include = include
            .iter()
            .map(|p| Pattern::try_from((*p).to_owned()).unwrap())
            .collect();
        Sight::of(&grants).hidden(
            &Selection {
                include,
                exclude: Vec::new(),
            },
            listed,
        )
    }

    #[test]
    fn what_may_be_hidden_is_named() {
        let shop = [ObjectKey::database("shop"), ObjectKey::table("shop", "a")];
        let all = "GRANT SELECT, RELOAD ON *.* TO `u`@`%`";
        let usage = "GRANT USAGE ON *.* TO `u`@`%`";
        let on_shop = "GRANT SELECT, SHOW VIEW ON `shop`.* TO `u`@`%`";
        assert_eq!(hidden(&[all], &["nothing"], &[]), None);
        assert_eq!(hidden(&[usage], &["shop"], &[]).as_deref(), Some("`shop`.*"));
        assert_eq!(hidden(&[usage], &["s*"], &[]).as_deref(), Some("*.*"));
        assert_eq!(hidden(&[usage, on_shop], &["shop"], &shop), None);
        assert_eq!(hidden(&[usage, on_shop], &["shop.a"], &shop), None);
        assert_eq!(
            hidden(&[usage, on_shop], &["shop.b"], &shop).as_deref(),
            Some("`shop`.*")
        );
        let one_table = "GRANT SELECT ON `shop`.`a` TO `u`@`%`";
        assert_eq!(
            hidden(&[usage, one_table], &["shop"], &shop).as_deref(),
            Some("`shop`.*")
        );
        assert_eq!(hidden(&[usage, one_table], &["shop.a"], &shop), None);
        assert_eq!(
            hidden(&[usage, one_table, "GRANT `r`@`%` TO `u`@`%`"], &["shop"], &shop),
            None
        );
    }

    #[test]
    fn patterns_that_name_nothing_are_told() {
        let listed = [ObjectKey::database("shop"), ObjectKey::table("shop", "a")];
        let include = ["shop", "shop.a", "shop.*", "shop.b", "shops", "log*"];
        assert_eq!(absent(&selection(&include, &[]), &listed), ["shop.b", "shops"]);
        assert_eq!(absent(&selection(&["shop", "l*"], &[]), &[]), ["shop", "l*"]);
    }

    #[test]
    fn granted_names_are_patterns() {
        assert!(like("sh%", "shop") && like("s_op", "shop") && like(r"my\_db", "my_db") && like("%", ""));
        assert!(!like(r"my\_db", "myxdb") && !like("sh", "shop") && !like("", "x"));
    }

    #[test]
    fn routines_take_their_own_privilege() {
        let sight = |grant: &str| Sight::of(&[grant.to_owned()]).routines;
        assert!(
            sight("GRANT SHOW_ROUTINE ON *.* TO `u`@`%`") && sight("GRANT ALL PRIVILEGES ON *.* TO `u`@`%`")
        );
        assert!(!sight("GRANT SELECT ON `shop`.* TO `u`@`%`"));
    }
}
