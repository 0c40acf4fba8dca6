//! What differs between two configuration files, by the names of keys; never by their values (W1).

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::schema::{self, Kind, SECTIONS, Section};

/// Keys that differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those that a running sidecar takes up.
    pub live: Vec<String>,
    /// Those that hold from the next start on.
    pub at_start: Vec<String>,
}

/// Compares two files that were both accepted. A key that is left out counts as its default.
pub fn between(before: &str, after: &str) -> Changes {
    let (before, after) = (settings(before), settings(after));
    let mut changes = Changes::default();
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        // A proxy that was not there, or is to be no more, is no key that is taken up.
        let both = before.contains_key("proxy.listen") && after.contains_key("proxy.listen");
        match name.starts_with("proxy.") && both {
            true => changes.live.push(name.clone()),
            false => changes.at_start.push(name.clone()),
        }
    }
    let whole = |name: &String| name.starts_with("proxy.") && name != "proxy.listen";
    if before.contains_key("proxy.listen") != after.contains_key("proxy.listen") {
        changes.at_start.retain(|name| !whole(name));
    }
    changes
}

/// Every setting by its dotted name; of tasks, with the task's name in it.
fn settings(text: &str) -> BTreeMap<String, Value> {
    let root: Table = text.parse().unwrap_or_default();
    let mut found = BTreeMap::new();
    for section in SECTIONS.iter().filter(|section| !section.name.contains('.')) {
        match (root.get(section.name), section.kind) {
            (Some(Value::Table(table)), _) => collect(section, section.name, table, &mut found),
            (Some(Value::Array(tables)), _) => {
                for table in tables.iter().filter_map(Value::as_table) {
                    let name = table.get("name").and_then(Value::as_str).unwrap_or_default();
                    collect(section, &format!("{}.{name}", section.name), table, &mut found);
                }
            }
            (_, Kind::Defaulted) => collect(section, section.name, &Table::new(), &mut found),
            _ => {}
        }
    }
    found
}

/// The settings of one section, called `path`, and of those inside it.
fn collect(section: &Section, path: &str, table: &Table, found: &mut BTreeMap<String, Value>) {
    for key in section.keys {
        let value = table.get(key.name).cloned().or_else(|| default(&key.value));
        if let Some(value) = value {
            found.insert(format!("{path}.{}", key.name), value);
        }
    }
    let nothing = Table::new();
    for inner in SECTIONS {
        let name = inner
            .name
            .strip_prefix(section.name)
            .and_then(|rest| rest.strip_prefix('.'));
        if let Some(name) = name {
            let table = table.get(name).and_then(Value::as_table).unwrap_or(&nothing);
            collect(inner, &format!("{path}.{name}"), table, found);
        }
    }
}

fn default(value: &schema::Value) -> Option<Value> {
    let schema::Value::Default(text) = value else {
        return None;
    };
    let table: Table = format!("value = {text}").parse().ok()?;
    table.get("value").cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "
[source]
user = \"o\"
password = \"hunter2\"
[log]
path = \"log\"
[proxy]
listen = [\"127.0.0.1:1\", \"/s\"]
[[task]]
name = \"main\"
include = [\"shop\"]
[task.target]
user = \"o\"
password = \"p\"
";

    fn names(change: impl Fn(&str) -> String) -> (String, String) {
        let after = change(BEFORE);
        assert_ne!(after, BEFORE);
        let changes = between(BEFORE, &after);
        (changes.live.join(" "), changes.at_start.join(" "))
    }

    fn only(live: &str, at_start: &str) -> (String, String) {
        (live.to_owned(), at_start.to_owned())
    }

    #[test]
    fn keys_are_named_and_told_apart() {
        assert_eq!(between(BEFORE, BEFORE), Changes::default());
        let more =
            |text: &'static str| move |before: &str| before.replace("[log]\n", &format!("{text}\n[log]\n"));
        let instead = |old: &'static str, new: &'static str| move |before: &str| before.replacen(old, new, 1);
        assert_eq!(names(instead("hunter2", "other")), only("", "source.password"));
        assert_eq!(names(more("heartbeat = \"1s\"")), only("", "source.heartbeat"));
        // A default that is spelled out is no change.
        assert_eq!(names(more("heartbeat = \"5s\"")), only("", ""));
        assert_eq!(
            names(instead("\"shop\"", "\"shop\", \"a\"")),
            only("", "task.main.include")
        );
        assert_eq!(
            names(more("[http]\nlisten = \"127.0.0.1:9\"")),
            only("", "http.listen")
        );
        assert_eq!(
            names(instead("[[task]]", "max_connections = 3\n[[task]]")),
            only("proxy.max_connections", "")
        );
        assert_eq!(
            names(instead(
                "[[task]]",
                "[proxy.tls]\nssl_mode = \"required\"\n[proxy.guard]\nrules = { gh-ost = \"warn\" }\n[[task]]"
            )),
            only("proxy.guard.rules proxy.tls.ssl_mode", "")
        );
        assert_eq!(
            names(instead(
                "\"127.0.0.1:1\"",
                "{ address = \"127.0.0.1:1\", allow = [\"::1\"] }"
            )),
            only("proxy.listen", "")
        );
        assert_eq!(
            names(instead("127.0.0.1:1", "127.0.0.1:2")),
            only("proxy.listen", "")
        );
        assert_eq!(
            names(instead("[proxy]\nlisten = [\"127.0.0.1:1\", \"/s\"]\n", "")),
            only("", "proxy.listen")
        );
    }

    /// Whatever is changed is told, and what a running sidecar can take up is the proxy's.
    #[test]
    fn no_key_changes_in_silence() {
        for section in SECTIONS {
            for key in section.keys {
                let mut root: Table = BEFORE.parse().unwrap();
                let mut table = &mut root;
                for part in section.name.split('.') {
                    let inner = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
                    let inner = match inner {
                        Value::Array(tasks) => tasks.first_mut().unwrap(),
                        other => other,
                    };
                    table = inner.as_table_mut().unwrap();
                }
                table.insert(key.name.to_owned(), Value::String("another".to_owned()));
                let changes = between(BEFORE, &root.to_string());
                let name = format!("{}.{}", section.name, key.name);
                let told = if name.starts_with("proxy.") {
                    &changes.live
                } else {
                    &changes.at_start
                };
                let last = format!(".{}", key.name);
                assert!(
                    told.iter().any(|told| told.ends_with(&last)),
                    "{name}: {changes:?}"
                );
            }
        }
    }
}
