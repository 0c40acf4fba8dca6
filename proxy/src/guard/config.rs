//! What the guard is told: an action for a rule, where it is not to be the rule's own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is done with a statement that a rule catches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The client gets an error; the source never sees the statement.
    Reject,
    /// It passes; a log line and a metric say so.
    Warn,
    /// It passes.
    Allow,
}

impl Action {
    /// As it is written in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Warn => "warn",
            Self::Allow => "allow",
        }
    }
}

/// The guard's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Actions by rule, instead of the rules' own; see [`RULES`](super::RULES) for names. Default: none.
    pub rules: BTreeMap<String, Action>,
}
