//! Foreign keys that change rows: which tables they tie together, and who carries them out on a server.
//!
//! Up to MySQL 9.5 InnoDB does, and what it changes is not in the binary log. From 9.6 on the SQL layer does, and logs it, unless
//! the server was started with `innodb_native_foreign_keys = ON`.

use std::collections::BTreeSet;

use outrigger_protocol::definition::{AnswerRow, Several};

use crate::config::Selection;
use crate::error::{Error, Side};
use crate::link::Link;
use crate::schema::ObjectKey;

/// One foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignKey {
    pub(crate) child: ObjectKey,
    pub(crate) parent: ObjectKey,
    /// ON DELETE or ON UPDATE is CASCADE or SET NULL.
    pub(crate) acts: bool,
}

/// Whether the server leaves foreign keys to InnoDB. That can't change while it runs.
pub(crate) async fn left_to_innodb(conn: &mut Link, side: Side) -> Result<bool, Error> {
    let setting: Option<(String, String)> = conn
        .query_first("SHOW VARIABLES LIKE 'innodb_native_foreign_keys'")
        .await
        .map_err(|cause| Error::server(side, "reading its settings", cause))?;
    Ok(setting.is_none_or(|(_, value)| value != "OFF"))
}

/// Why a target can't follow a source that leaves foreign keys to InnoDB, and what to do. The SQL layer is no substitute: that of
/// MySQL 9.7.4 ends a cascade over three tables early, without an error, where a SET NULL follows.
pub(crate) const UNABLE_TARGET: &str = "the source does not log what its foreign keys do to other tables, so the target's own must do \
     the same, and this server does it in another way: start it with innodb_native_foreign_keys = ON";

/// Why a child without its parent can't be kept in step, and what to do.
pub(crate) fn why_astray(child: &ObjectKey, parent: &ObjectKey) -> String {
    format!(
        "rows of {} follow {} by ON DELETE or ON UPDATE, which is not selected, and the source does not write that to its binary \
         log (only MySQL 9.6 and later with innodb_native_foreign_keys = OFF do): include the parent, or leave out the child",
        child.quoted(),
        parent.quoted()
    )
}

/// All foreign keys that the account may see.
pub(crate) async fn load(conn: &mut Link, side: Side) -> Result<Vec<ForeignKey>, Error> {
    let mut answers = conn
        .ask(&[keys("1", "TRUE")])
        .await
        .map_err(|cause| Error::server(side, "reading foreign keys", cause))?;
    let rows = answers.pop().unwrap_or_default();
    let rows: Vec<AnswerRow> = rows
        .into_iter()
        .map(|row| row.into_iter().skip(1).collect())
        .collect();
    Ok(read(&rows))
}

/// What tells the foreign keys of tables.
pub(crate) fn question(children: Several<'_>) -> String {
    keys(
        &children.number("table_name"),
        &children.condition("constraint_schema", "table_name"),
    )
}

/// A table's foreign keys in the answer.
pub(crate) fn read(answer: &[AnswerRow]) -> Vec<ForeignKey> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    answer
        .iter()
        .filter_map(|row| match row.as_slice() {
            [child_in, child, parent_in, parent, acts] => Some(ForeignKey {
                child: ObjectKey::table(text(child_in), text(child)),
                parent: ObjectKey::table(text(parent_in), text(parent)),
                acts: acts.as_deref() == Some("1"),
            }),
            _ => None,
        })
        .collect()
}

/// A foreign key's child, its parent, whether it acts.
fn keys(number: &str, only: &str) -> String {
    format!(
        "SELECT {number}, CAST(constraint_schema AS CHAR), CAST(table_name AS CHAR), CAST(unique_constraint_schema AS CHAR), \
         CAST(referenced_table_name AS CHAR), \
         delete_rule IN ('CASCADE', 'SET NULL') OR update_rule IN ('CASCADE', 'SET NULL') \
         FROM information_schema.referential_constraints WHERE {only}"
    )
}

/// A selected table whose rows follow a table that is not selected.
pub(crate) fn astray<'k>(keys: &'k [ForeignKey], selection: &Selection) -> Option<&'k ForeignKey> {
    keys.iter()
        .find(|key| key.acts && key.child.is_selected(selection) && !key.parent.is_selected(selection))
}

/// The selected tables that must be copied at one place, set by set: those that foreign keys with actions tie together, and
/// those that such a table refers to or is referred to by otherwise, since a cascade is checked against them.
pub(crate) fn units(keys: &[ForeignKey], selection: &Selection) -> Vec<BTreeSet<ObjectKey>> {
    let within: Vec<&ForeignKey> = keys
        .iter()
        .filter(|key| key.child.is_selected(selection) && key.parent.is_selected(selection))
        .collect();
    let acting: BTreeSet<&ObjectKey> = within
        .iter()
        .filter(|key| key.acts)
        .flat_map(|key| [&key.child, &key.parent])
        .collect();
    let mut units: Vec<BTreeSet<ObjectKey>> = Vec::new();
    for key in within
        .iter()
        .filter(|key| acting.contains(&key.child) || acting.contains(&key.parent))
    {
        let mut unit = BTreeSet::from([key.child.clone(), key.parent.clone()]);
        units.retain(|other| {
            let apart = other.is_disjoint(&unit);
            if !apart {
                unit.extend(other.iter().cloned());
            }
            apart
        });
        units.push(unit);
    }
    units
}

/// What must be copied at one place, and what stands in the way.
#[derive(Debug, Default)]
pub(crate) struct Ties {
    /// Sets of tables, each to be copied at one place.
    pub(crate) units: Vec<BTreeSet<ObjectKey>>,
    /// Tables of which the target lacks a foreign key that makes them follow a parent.
    pub(crate) untied: BTreeSet<ObjectKey>,
}

impl Ties {
    /// The number of the unit that the table belongs to.
    pub(crate) fn unit(&self, table: &ObjectKey) -> Option<usize> {
        self.units.iter().position(|unit| unit.contains(table))
    }
}

/// The selected children that follow some parent by a key of `source`, and not by one of `target`.
pub(crate) fn untied(
    source: &[ForeignKey],
    target: &[ForeignKey],
    selection: &Selection,
) -> BTreeSet<ObjectKey> {
    source
        .iter()
        .filter(|key| key.acts && key.child.is_selected(selection) && !target.contains(key))
        .map(|key| key.child.clone())
        .collect()
}

/// Adds to `some` every table that is in a unit with one of them.
pub(crate) fn complete(some: &mut BTreeSet<ObjectKey>, units: &[BTreeSet<ObjectKey>]) {
    loop {
        let before = some.len();
        for unit in units {
            if !unit.is_disjoint(some) {
                some.extend(unit.iter().cloned());
            }
        }
        if some.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(child: &str, parent: &str, acts: bool) -> ForeignKey {
        let table = |name: &str| {
            let (database, name) = name.split_once('.').unwrap_or(("d", name));
            ObjectKey::table(database, name)
        };
        ForeignKey {
            child: table(child),
            parent: table(parent),
            acts,
        }
    }

    fn selection() -> Selection {
        crate::config::tests::selection(&["d"], &[])
    }

    fn set(names: &[&str]) -> BTreeSet<ObjectKey> {
        names.iter().map(|name| ObjectKey::table("d", *name)).collect()
    }

    #[test]
    fn what_actions_tie_together_is_one_unit_with_its_neighbours() {
        let keys = [
            key("b", "a", true),
            key("tree", "tree", true),
            key("d", "c", true),
            key("c", "b", true),
            // Checked against, not followed: the neighbour is in, what it refers to is not.
            key("guard", "a", false),
            key("guard", "far", false),
            key("e", "f", false),
            key("e.outside", "a", true),
        ];
        let mut found = units(&keys, &selection());
        found.sort();
        assert_eq!(found, [set(&["a", "b", "c", "d", "guard"]), set(&["tree"])]);
    }

    #[test]
    fn units_that_share_a_neighbour_are_one() {
        let keys = [
            key("b", "a", true),
            key("n", "a", false),
            key("n", "x", false),
            key("y", "x", true),
        ];
        assert_eq!(units(&keys, &selection()), [set(&["a", "b", "n", "x", "y"])]);
    }

    #[test]
    fn one_of_a_unit_takes_the_others_along() {
        let units = [set(&["a", "b"]), set(&["c", "d"]), set(&["b", "c"])];
        let mut some = set(&["d", "z"]);
        complete(&mut some, &units);
        assert_eq!(some, set(&["a", "b", "c", "d", "z"]));
    }

    #[test]
    fn a_child_is_untied_where_one_of_its_keys_is_missing() {
        let source = [key("b", "a", true), key("c", "a", true), key("e", "a", false)];
        assert_eq!(untied(&source, &source[..1], &selection()), set(&["c"]));
        // A key that only forbids is another one.
        let forbids = [key("b", "a", false), key("c", "a", true)];
        assert_eq!(untied(&source, &forbids, &selection()), set(&["b"]));
    }

    #[test]
    fn a_parent_that_is_not_selected_is_found() {
        let keys = [
            key("b", "e.a", false),
            key("e.b", "a", true),
            key("c", "e.a", true),
        ];
        assert_eq!(astray(&keys, &selection()), Some(&keys[2]));
        assert_eq!(astray(&keys[..2], &selection()), None);
    }
}
