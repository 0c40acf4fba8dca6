//! What client and server agree on at connect, and what the server says about a session after each reply.

bitflags::bitflags! {
    /// Capability flags (`CLIENT_…` in the server's `include/mysql_com.h`). Both sides offer; what both have, holds.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Capabilities: u32 {
        /// Unused by MySQL and always set; MariaDB clears it to say that it is MariaDB.
        const LONG_PASSWORD = 1;
        /// Affected rows of an UPDATE are rows found, not rows changed.
        const FOUND_ROWS = 1 << 1;
        /// Longer flags in column definitions.
        const LONG_FLAG = 1 << 2;
        /// The response names a database.
        const CONNECT_WITH_DB = 1 << 3;
        /// `database.table.column` is refused.
        const NO_SCHEMA = 1 << 4;
        /// The session is compressed with zlib after the handshake.
        const COMPRESS = 1 << 5;
        /// An ODBC client.
        const ODBC = 1 << 6;
        /// LOAD DATA LOCAL may ask the client for a file.
        const LOCAL_FILES = 1 << 7;
        /// Blanks before `(` are ignored.
        const IGNORE_SPACE = 1 << 8;
        /// The protocol of 4.1 and later.
        const PROTOCOL_41 = 1 << 9;
        /// A person is typing: `interactive_timeout` applies.
        const INTERACTIVE = 1 << 10;
        /// The session goes over to TLS after a short request.
        const SSL = 1 << 11;
        /// Client libraries' own.
        const IGNORE_SIGPIPE = 1 << 12;
        /// Status flags about transactions.
        const TRANSACTIONS = 1 << 13;
        /// Unused.
        const RESERVED = 1 << 14;
        /// Challenge-response authentication.
        const SECURE_CONNECTION = 1 << 15;
        /// Several statements in one COM_QUERY.
        const MULTI_STATEMENTS = 1 << 16;
        /// Several results for one COM_QUERY.
        const MULTI_RESULTS = 1 << 17;
        /// Several results for one COM_STMT_EXECUTE.
        const PS_MULTI_RESULTS = 1 << 18;
        /// Authentication plugins by name.
        const PLUGIN_AUTH = 1 << 19;
        /// The response carries attributes of the client.
        const CONNECT_ATTRS = 1 << 20;
        /// The response's authentication data has a length-encoded length.
        const PLUGIN_AUTH_LENENC_CLIENT_DATA = 1 << 21;
        /// The client can tell the user that the password has expired.
        const CAN_HANDLE_EXPIRED_PASSWORDS = 1 << 22;
        /// OK packets carry changes of session state.
        const SESSION_TRACK = 1 << 23;
        /// No EOF packet after column definitions; rows end with an OK packet.
        const DEPRECATE_EOF = 1 << 24;
        /// A result may come without column definitions.
        const OPTIONAL_RESULTSET_METADATA = 1 << 25;
        /// The session is compressed with zstd after the handshake.
        const ZSTD_COMPRESSION = 1 << 26;
        /// COM_QUERY and COM_STMT_EXECUTE carry attributes.
        const QUERY_ATTRIBUTES = 1 << 27;
        /// Authentication with several factors.
        const MULTI_FACTOR_AUTHENTICATION = 1 << 28;
        /// Client libraries' own.
        const CAPABILITY_EXTENSION = 1 << 29;
        /// Client libraries' own: verify the server's certificate.
        const SSL_VERIFY_SERVER_CERT = 1 << 30;
        /// Client libraries' own.
        const REMEMBER_OPTIONS = 1 << 31;
    }
}

bitflags::bitflags! {
    /// Status flags (`SERVER_…` in `include/mysql_com.h`) in OK and EOF packets.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct StatusFlags: u16 {
        /// A transaction is open.
        const IN_TRANS = 1;
        /// `autocommit` is on.
        const AUTOCOMMIT = 1 << 1;
        /// Another result of the same command follows.
        const MORE_RESULTS_EXISTS = 1 << 3;
        /// No good index was used.
        const NO_GOOD_INDEX_USED = 1 << 4;
        /// No index was used.
        const NO_INDEX_USED = 1 << 5;
        /// A cursor is open: rows come with COM_STMT_FETCH.
        const CURSOR_EXISTS = 1 << 6;
        /// The cursor's last row was sent.
        const LAST_ROW_SENT = 1 << 7;
        /// A database was dropped.
        const DB_DROPPED = 1 << 8;
        /// `sql_mode` has NO_BACKSLASH_ESCAPES.
        const NO_BACKSLASH_ESCAPES = 1 << 9;
        /// Prepared again, the statement has other columns.
        const METADATA_CHANGED = 1 << 10;
        /// The statement was slow.
        const QUERY_WAS_SLOW = 1 << 11;
        /// The result holds a procedure's OUT parameters.
        const PS_OUT_PARAMS = 1 << 12;
        /// The open transaction is READ ONLY.
        const IN_TRANS_READONLY = 1 << 13;
        /// The OK packet carries changes of session state.
        const SESSION_STATE_CHANGED = 1 << 14;
    }
}
