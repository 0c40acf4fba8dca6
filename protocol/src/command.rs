//! What a client asks for: the first byte of a command's payload.

/// A command (`enum_server_command` in the server's `include/my_command.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum CommandByte {
    /// Internal to the server.
    Sleep = 0x00,
    /// The session ends; no reply.
    Quit = 0x01,
    /// Another default database.
    InitDb = 0x02,
    /// A statement as text.
    Query = 0x03,
    /// A table's columns (removed in newer servers).
    FieldList = 0x04,
    /// Long gone: a database is created.
    CreateDb = 0x05,
    /// Long gone: a database is dropped.
    DropDb = 0x06,
    /// FLUSH in an old form.
    Refresh = 0x07,
    /// The server stops.
    Shutdown = 0x08,
    /// One line about the server.
    Statistics = 0x09,
    /// The process list.
    ProcessInfo = 0x0a,
    /// Internal to the server.
    Connect = 0x0b,
    /// KILL in an old form.
    ProcessKill = 0x0c,
    /// The server dumps debugging information into its log.
    Debug = 0x0d,
    /// Are you there?
    Ping = 0x0e,
    /// Internal to the server.
    Time = 0x0f,
    /// Internal to the server.
    DelayedInsert = 0x10,
    /// The session starts again with another account.
    ChangeUser = 0x11,
    /// Binlog events from a file and offset on.
    BinlogDump = 0x12,
    /// Long gone.
    TableDump = 0x13,
    /// Internal to the server.
    ConnectOut = 0x14,
    /// A replica presents itself.
    RegisterReplica = 0x15,
    /// A statement is prepared.
    StmtPrepare = 0x16,
    /// A prepared statement is run.
    StmtExecute = 0x17,
    /// A piece of a parameter; no reply.
    StmtSendLongData = 0x18,
    /// A prepared statement is forgotten; no reply.
    StmtClose = 0x19,
    /// A prepared statement's cursor and long data are forgotten.
    StmtReset = 0x1a,
    /// Several statements per command on or off.
    SetOption = 0x1b,
    /// Rows from a cursor.
    StmtFetch = 0x1c,
    /// Internal to the server.
    Daemon = 0x1d,
    /// Binlog events not in a GTID set.
    BinlogDumpGtid = 0x1e,
    /// The session starts again with the same account.
    ResetConnection = 0x1f,
    /// A clone of the data directory.
    Clone = 0x20,
    /// A stream of group replication.
    SubscribeGroupReplication = 0x21,
}

impl CommandByte {
    /// Every command, in the order of their bytes.
    pub const ALL: [Self; 34] = [
        Self::Sleep,
        Self::Quit,
        Self::InitDb,
        Self::Query,
        Self::FieldList,
        Self::CreateDb,
        Self::DropDb,
        Self::Refresh,
        Self::Shutdown,
        Self::Statistics,
        Self::ProcessInfo,
        Self::Connect,
        Self::ProcessKill,
        Self::Debug,
        Self::Ping,
        Self::Time,
        Self::DelayedInsert,
        Self::ChangeUser,
        Self::BinlogDump,
        Self::TableDump,
        Self::ConnectOut,
        Self::RegisterReplica,
        Self::StmtPrepare,
        Self::StmtExecute,
        Self::StmtSendLongData,
        Self::StmtClose,
        Self::StmtReset,
        Self::SetOption,
        Self::StmtFetch,
        Self::Daemon,
        Self::BinlogDumpGtid,
        Self::ResetConnection,
        Self::Clone,
        Self::SubscribeGroupReplication,
    ];

    /// The command that a payload begins with.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// The byte itself.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// A name for metrics and logs, in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sleep => "sleep",
            Self::Quit => "quit",
            Self::InitDb => "init_db",
            Self::Query => "query",
            Self::FieldList => "field_list",
            Self::CreateDb => "create_db",
            Self::DropDb => "drop_db",
            Self::Refresh => "refresh",
            Self::Shutdown => "shutdown",
            Self::Statistics => "statistics",
            Self::ProcessInfo => "process_info",
            Self::Connect => "connect",
            Self::ProcessKill => "process_kill",
            Self::Debug => "debug",
            Self::Ping => "ping",
            Self::Time => "time",
            Self::DelayedInsert => "delayed_insert",
            Self::ChangeUser => "change_user",
            Self::BinlogDump => "binlog_dump",
            Self::TableDump => "table_dump",
            Self::ConnectOut => "connect_out",
            Self::RegisterReplica => "register_replica",
            Self::StmtPrepare => "stmt_prepare",
            Self::StmtExecute => "stmt_execute",
            Self::StmtSendLongData => "stmt_send_long_data",
            Self::StmtClose => "stmt_close",
            Self::StmtReset => "stmt_reset",
            Self::SetOption => "set_option",
            Self::StmtFetch => "stmt_fetch",
            Self::Daemon => "daemon",
            Self::BinlogDumpGtid => "binlog_dump_gtid",
            Self::ResetConnection => "reset_connection",
            Self::Clone => "clone",
            Self::SubscribeGroupReplication => "subscribe_group_replication",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_commands_agree() {
        for byte in 0..=u8::MAX {
            match CommandByte::from_byte(byte) {
                Some(command) => assert_eq!(command.byte(), byte),
                None => assert!(byte > 0x21),
            }
        }
    }
}
