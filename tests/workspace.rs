//! The workspace's own promises: which crate may know which, and which licences come in.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Everything that each crate may depend on; ARCHITECTURE.md explains the arrows.
fn allowed() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let all = ["applier", "capture", "protocol", "proxy", "storage", "tls"];
    BTreeMap::from([
        ("outrigger-protocol", BTreeSet::new()),
        ("outrigger-storage", BTreeSet::from(["protocol"])),
        ("outrigger-tls", BTreeSet::from(["protocol"])),
        (
            "outrigger-capture",
            BTreeSet::from(["protocol", "storage", "tls"]),
        ),
        ("outrigger-applier", BTreeSet::from(["protocol", "storage"])),
        ("outrigger-proxy", BTreeSet::from(["protocol", "tls"])),
        ("outrigger", BTreeSet::from(all)),
        ("outrigger-bench", all.into_iter().chain(["outrigger"]).collect()),
    ])
}

#[test]
fn crates_know_only_whom_they_may() {
    let metadata = MetadataCommand::new()
        .other_options(["--locked".to_owned()])
        .no_deps()
        .exec()
        .unwrap();
    let allowed = allowed();
    let mut seen = BTreeSet::new();
    for package in &metadata.packages {
        let may = allowed
            .get(package.name.as_str())
            .unwrap_or_else(|| panic!("{} has no arrows here yet", package.name));
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind != DependencyKind::Development)
        {
            let Some(name) = dependency.name.strip_prefix("outrigger") else {
                continue;
            };
            let name = if name.is_empty() {
                "outrigger"
            } else {
                name.trim_start_matches('-')
            };
            assert!(
                may.contains(name),
                "{} must not depend on {}",
                package.name,
                dependency.name
            );
        }
        seen.insert(package.name.to_string());
    }
    assert_eq!(seen.len(), allowed.len(), "a crate is missing: {seen:?}");
}

#[test]
fn licences_are_those_of_deny_toml() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
    let deny: toml::Table = toml::from_str(&text).unwrap();
    let allow: BTreeSet<&str> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let metadata = MetadataCommand::new()
        .other_options(["--locked".to_owned()])
        .exec()
        .unwrap();
    for package in &metadata.packages {
        let licence = package.license.clone().unwrap_or_default().replace('/', " OR ");
        let parts = |text: &str, by: &str| -> Vec<String> {
            text.split(by)
                .map(|part| part.trim_matches(|c| " ()".contains(c)).to_owned())
                .collect()
        };
        // Every part joined by AND must offer one that is allowed.
        let fine = parts(&licence, " AND ").iter().all(|part| {
            parts(part, " OR ")
                .iter()
                .any(|name| allow.contains(name.as_str()))
        });
        assert!(
            fine,
            "{} {} has the licence {licence:?}",
            package.name, package.version
        );
    }
}
