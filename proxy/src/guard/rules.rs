//! The rules as data: name, what each catches, what is done about it, and the sentence shown.

use super::Action;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is described in RULES")]
pub enum Rule {
    GhOst,
    PtOsc,
    Spirit,
    Lhm,
    FacebookOsc,
    Vitess,
    Dms,
    ShadowName,
    BinlogDump,
    SqlLogBin,
    BinlogFormat,
    BinlogRowImage,
    BinlogRowMetadata,
    BinlogRowValueOptions,
    GtidMode,
    GtidPurged,
    ResetBinlogs,
    PurgeBinlogs,
    DisableBinlog,
    UnreplicatedEngine,
    TableWithoutKey,
    PreparedVariable,
}

impl Rule {
    /// What there is to say about it.
    pub fn description(self) -> &'static Description {
        &RULES[self as usize]
    }

    /// The rule of that name.
    pub fn named(name: &str) -> Option<Self> {
        RULES
            .iter()
            .find(|description| description.name == name)
            .map(|description| description.rule)
    }
}

/// A rule in words.
#[derive(Debug)]
pub struct Description {
    /// Which one it is.
    pub rule: Rule,
    /// Its name in the configuration, in metrics and messages.
    pub name: &'static str,
    /// What it catches.
    pub catches: &'static str,
    /// What is done unless the configuration says otherwise.
    pub action: Action,
    /// Why, and what to do instead: a sentence for whoever sent the statement.
    pub instead: &'static str,
}

/// What to do instead of an online change of a table's definition by a tool.
const PLAIN_ALTER: &str = "The tool's copy of the table would go to the target row by row, and its triggers or binlog reading bypass the \
                           proxy. Use ALTER TABLE (ALGORITHM=INSTANT or INPLACE where possible): it is carried over.";

/// Every rule, in the order of [`Rule`].
pub const RULES: [Description; 22] = [
    tool(
        Rule::GhOst,
        "gh-ost",
        "the comment /* gh-ost */; _T_gho, _T_ghc or _T_del made LIKE T",
    ),
    tool(
        Rule::PtOsc,
        "pt-osc",
        "the comment /* pt-online-schema-change … */; any table made by a client that calls itself so; _T_new with T's definition; \
         triggers pt_osc_… on T",
    ),
    tool(Rule::Spirit, "spirit", "_T_new or _T_old made LIKE T"),
    tool(
        Rule::Lhm,
        "lhm",
        "the comment /* large hadron migration … */; lhmn_T with T's definition; triggers lhmt_… on T",
    ),
    tool(
        Rule::FacebookOsc,
        "facebook-osc",
        "__osc_new_T with T's definition; __osc_chg_T with its columns; triggers __osc_… on T",
    ),
    tool(
        Rule::Vitess,
        "vitess",
        "_vt_… with the identifier and time that Vitess gives its tables, or made LIKE another",
    ),
    tool(
        Rule::Dms,
        "dms",
        "tp_N_ogt_T, tp_N_del_T or tp_N_ogl_T with T's definition or made LIKE T",
    ),
    Description {
        rule: Rule::ShadowName,
        name: "shadow-name",
        catches: "a table or trigger that is named like one of these tools', without a second sign",
        action: Action::Warn,
        instead: "Choose another name if the table is your own, or use ALTER TABLE instead of a tool.",
    },
    Description {
        rule: Rule::BinlogDump,
        name: "binlog-dump",
        catches: "COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID: a client that reads the binlog through the proxy",
        action: Action::Reject,
        instead: "Online-DDL tools do that. Connect replicas and other readers of the binlog to the source itself.",
    },
    setting(
        Rule::SqlLogBin,
        "sql-log-bin",
        "SET sql_log_bin to anything but 1, ON, TRUE or DEFAULT",
        "What is not in the binary log never reaches the target. Leave it on; what is meant for the source alone can be run on a direct \
         connection.",
    ),
    setting(
        Rule::BinlogFormat,
        "binlog-format",
        "SET binlog_format to anything but ROW or DEFAULT, in any scope",
        "Statements can't be replayed exactly, rows can: a statement in the log stops the task. Keep ROW.",
    ),
    setting(
        Rule::BinlogRowImage,
        "binlog-row-image",
        "SET binlog_row_image to anything but FULL or DEFAULT, in any scope",
        "Rows with columns left out can't be found and checked on the target. Keep FULL.",
    ),
    setting(
        Rule::BinlogRowMetadata,
        "binlog-row-metadata",
        "SET binlog_row_metadata to anything but FULL",
        "Without names in the log, rows that are caught up with late can't be told from rows of another definition. Keep it as it is, or \
         set FULL.",
    ),
    setting(
        Rule::BinlogRowValueOptions,
        "binlog-row-value-options",
        "SET binlog_row_value_options to anything but '' or DEFAULT, in any scope",
        "Partial JSON updates leave out the rest of the document. Keep it empty.",
    ),
    setting(
        Rule::GtidMode,
        "gtid-mode",
        "SET gtid_mode to anything but ON",
        "The place in the source's history is known by its GTIDs. Stop the tasks first, and copy anew after such a change.",
    ),
    setting(
        Rule::GtidPurged,
        "gtid-purged",
        "any SET of gtid_purged, as dumps have it",
        "GTIDs that were never in the binary log look like transactions that were missed. Dump with --set-gtid-purged=OFF.",
    ),
    setting(
        Rule::ResetBinlogs,
        "reset-binlogs",
        "RESET BINARY LOGS AND GTIDS, RESET MASTER, and their form as COM_REFRESH",
        "It deletes what was not read yet, and the place in the source's history with it. PURGE BINARY LOGS frees space.",
    ),
    setting(
        Rule::PurgeBinlogs,
        "purge-binlogs",
        "PURGE BINARY LOGS of files that capture still needs",
        "They are not read yet, so everything would have to be copied anew. `outrigger status` shows how far the source was read: purge up \
         to there.",
    ),
    setting(
        Rule::DisableBinlog,
        "disable-binlog",
        "ALTER INSTANCE DISABLE … BINLOG",
        "What is not in the binary log never reaches the target. Leave it on.",
    ),
    Description {
        rule: Rule::UnreplicatedEngine,
        name: "unreplicated-engine",
        catches: "CREATE TABLE or ALTER TABLE with ENGINE = ARCHIVE, ARIA, BLACKHOLE, CSV, EXAMPLE, FEDERATED, MEMORY, MERGE, MYISAM or \
                  NDB in a selected database",
        action: Action::Reject,
        instead: "Its rows change without transactions or without the binary log, or are lost at a restart, so the target could differ. Use \
                  InnoDB, or leave the table out with `exclude`.",
    },
    Description {
        rule: Rule::TableWithoutKey,
        name: "table-without-key",
        catches: "CREATE TABLE without PRIMARY KEY or UNIQUE, ALTER TABLE … DROP PRIMARY KEY without a new one, in a selected database",
        action: Action::Warn,
        instead: "Each change of such a table has to find its row by all columns, and its copy locks it for a moment. Give it a primary \
                  key; an invisible one will do.",
    },
    Description {
        rule: Rule::PreparedVariable,
        name: "prepared-variable",
        catches: "PREPARE s FROM @variable: the statement is not seen, so it can't be judged",
        action: Action::Allow,
        instead: "Prepare from the statement's text, which can be judged.",
    },
];

const fn tool(rule: Rule, name: &'static str, catches: &'static str) -> Description {
    setting(rule, name, catches, PLAIN_ALTER)
}

/// A rule that refuses.
const fn setting(
    rule: Rule,
    name: &'static str,
    catches: &'static str,
    instead: &'static str,
) -> Description {
    Description {
        rule,
        name,
        catches,
        action: Action::Reject,
        instead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_by_number_and_name() {
        for (number, description) in RULES.iter().enumerate() {
            assert_eq!(description.rule as usize, number, "{}", description.name);
            assert_eq!(Rule::named(description.name), Some(description.rule));
            assert_eq!(description.rule.description().name, description.name);
        }
        assert_eq!(Rule::named("pt_osc"), None);
    }
}
