//! A connection to the source: logging in, short queries, and the request for its binlog.

use std::fmt;
use std::time::Duration;

use outrigger_protocol::binlog::ChecksumAlg;
use outrigger_protocol::command::CommandByte;
use outrigger_protocol::cursor::Cursor;
use outrigger_protocol::endpoint::{Address, Endpoint, SESSION};
use outrigger_protocol::gtid::GtidSet;
use outrigger_protocol::position::FilePosition;
use outrigger_protocol::reply::{EOF, ERR, EofPacket, ErrPacket, LOCAL_INFILE, OK};

use crate::Error;
use crate::login;
use crate::semi_sync::{self, Acknowledger};
use crate::version::Version;
use crate::wire::Wire;

/// Dump flag: heartbeats of version 2, which carry 64-bit offsets (`sql/rpl_constants.h`).
const USE_HEARTBEAT_EVENT_V2: u16 = 1 << 1;

/// Offset of a file's first event.
const FILE_BEGIN: u32 = 4;

/// Longest host name that every server version takes in a registration.
const REPLICA_HOST_LEN: usize = 60;

/// How long the source waits for us to read before it drops the connection: a log at its quota makes it wait.
const NET_WRITE_TIMEOUT: u32 = 3600;

/// What is being done once the binlog was asked for, for messages.
const READING: &str = "reading its binlog";

/// A session on the source.
pub(crate) struct Connection {
    wire: Wire,
    version: Version,
    patience: Duration,
    /// What the stream was asked to start from, for messages.
    dump_from: String,
}

/// Under which name the binlog is asked for.
pub(crate) struct Replica {
    /// Differs from every server's.
    pub(crate) server_id: u32,
    /// Stays the same over reconnects: the source then ends the stream that it still holds for it.
    pub(crate) uuid: String,
    /// Shown by `SHOW REPLICAS`.
    pub(crate) host: String,
    /// How often an idle source says that it lives.
    pub(crate) heartbeat: Duration,
}

/// A row of a text result; `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row(Vec<Option<Vec<u8>>>);

impl Row {
    /// A column as text; empty when it is NULL or not there.
    pub(crate) fn text(&self, column: usize) -> String {
        let bytes = self.0.get(column).and_then(Option::as_deref).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// All columns as text.
    pub(crate) fn texts(&self) -> Vec<Option<String>> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        self.0.iter().map(|field| field.as_ref().map(text)).collect()
    }
}

impl Connection {
    /// Connects and logs in; every answer is waited for at most `patience`.
    pub(crate) async fn open(endpoint: &Endpoint, patience: Duration) -> Result<Self, Error> {
        let mut wire = Wire::connect(&endpoint.address, patience).await?;
        let version = login::login(&mut wire, endpoint, patience).await?;
        let mut connection = Self {
            wire,
            version,
            patience,
            dump_from: String::new(),
        };
        connection.query(SESSION, "setting the session up").await?;
        Ok(connection)
    }

    /// One that has asked for the binlog already.
    #[cfg(test)]
    pub(crate) fn streaming(wire: Wire, patience: Duration) -> Self {
        Self {
            wire,
            version: Version::new("9.7.4"),
            patience,
            dump_from: String::new(),
        }
    }

    /// The server's address.
    pub(crate) fn address(&self) -> &Address {
        self.wire.address()
    }

    /// The server's version.
    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// Says goodbye; a server that doesn't listen any more is none the worse.
    pub(crate) async fn close(mut self) {
        self.wire.restart_sequence();
        let _said = self
            .wire
            .send(&[CommandByte::Quit.byte()], "leaving", self.patience)
            .await
            .is_ok();
    }

    /// Runs a statement with a small result, or none.
    pub(crate) async fn query(&mut self, sql: &str, doing: &'static str) -> Result<Vec<Row>, Error> {
        self.command(CommandByte::Query, sql.as_bytes(), doing).await?;
        self.answer(doing).await
    }

    /// Runs statements with small results, which are sent together: the server runs each right behind the one before, however far away it is.
    /// What a server refuses stands in the refused one's place.
    pub(crate) async fn queries(
        &mut self,
        statements: &[&str],
        doing: &'static str,
    ) -> Result<Vec<Result<Vec<Row>, Error>>, Error> {
        for sql in statements {
            self.command(CommandByte::Query, sql.as_bytes(), doing).await?;
        }
        let mut answers = Vec::with_capacity(statements.len());
        for _statement in statements {
            self.wire.expect_answer();
            match self.answer(doing).await {
                Err(error) if !matches!(error, Error::Server { .. }) => return Err(error),
                answer => answers.push(answer),
            }
        }
        Ok(answers)
    }

    async fn answer(&mut self, doing: &'static str) -> Result<Vec<Row>, Error> {
        let patience = self.patience;
        let address = self.wire.address().clone();
        let first = self.wire.receive(doing, patience).await?;
        let columns = match first {
            [OK, ..] => return Ok(Vec::new()),
            [ERR, ..] => return Err(server_error(&address, doing, first)),
            [LOCAL_INFILE, ..] => return Err(self.protocol(doing, "a request for a local file")),
            _ => Cursor::new(first).lenenc(),
        };
        let columns = columns.map_err(|_cut| self.protocol(doing, "a result without a column count"))?;
        for _column in 0..columns {
            self.wire.receive(doing, patience).await?;
        }
        if !is_eof(self.wire.receive(doing, patience).await?) {
            return Err(self.protocol(doing, "more columns than it announced"));
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.wire.receive(doing, patience).await?;
            if is_eof(packet) {
                return Ok(rows);
            }
            if packet.first() == Some(&ERR) {
                return Err(server_error(&address, doing, packet));
            }
            match row(packet, columns) {
                Some(row) => rows.push(row),
                None => return Err(self.protocol(doing, "a row that is cut off")),
            }
        }
    }

    /// The first column of a result's only row.
    pub(crate) async fn scalar(&mut self, sql: &str, doing: &'static str) -> Result<String, Error> {
        let rows = self.query(sql, doing).await?;
        match rows.first() {
            Some(row) => Ok(row.text(0)),
            None => Err(self.protocol(doing, "no row where one was due")),
        }
    }

    /// The account that the server took us for, quoted for a GRANT statement.
    pub(crate) async fn account(&mut self) -> Result<String, Error> {
        let account = self
            .scalar("SELECT CURRENT_USER()", "asking for the account's name")
            .await?;
        let quote = |part: &str| format!("'{}'", part.replace('\'', "''"));
        Ok(match account.rsplit_once('@') {
            Some((user, host)) => format!("{}@{}", quote(user), quote(host)),
            None => quote(&account),
        })
    }

    /// Registers as a replica and asks for the binlog: after `gtids` where given, else from `file` on. Returns how the first
    /// events are protected. From here on only [`Connection::event`] may be used.
    pub(crate) async fn dump(
        &mut self,
        replica: &Replica,
        gtids: Option<&GtidSet>,
        file: &FilePosition,
    ) -> Result<ChecksumAlg, Error> {
        const DOING: &str = "preparing for its binlog";
        let checksum = self.prepare(replica).await?;
        self.command(CommandByte::RegisterReplica, &registration(replica), DOING)
            .await?;
        let patience = self.patience;
        let answer = self.wire.receive(DOING, patience).await?;
        if answer.first() != Some(&OK) {
            let answer = answer.to_vec();
            return Err(self.refusal(DOING, &answer).await);
        }
        let flags = if self.version.at_least(8, 0, 26) {
            USE_HEARTBEAT_EVENT_V2
        } else {
            0
        };
        let (command, body) = match gtids {
            Some(gtids) => {
                self.dump_from = format!("after {}", crate::error::gtids_in_words(gtids));
                (
                    CommandByte::BinlogDumpGtid,
                    dump_by_gtids(replica.server_id, flags, gtids),
                )
            }
            None => {
                self.dump_from = file.to_string();
                // The command has 32 bits for it. A place beyond is reached from the file's beginning: the assembler
                // passes over what the log has.
                let offset = u32::try_from(file.offset).unwrap_or(FILE_BEGIN);
                (
                    CommandByte::BinlogDump,
                    dump_by_file(replica.server_id, flags, &file.file, offset),
                )
            }
        };
        self.command(command, &body, DOING).await?;
        Ok(checksum)
    }

    async fn prepare(&mut self, replica: &Replica) -> Result<ChecksumAlg, Error> {
        const DOING: &str = "preparing for its binlog";
        let heartbeat = replica.heartbeat.as_nanos();
        let uuid = &replica.uuid;
        // Both spellings: before and after 8.0.26.
        self.query(
            &format!(
                "SET @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum, \
                 @master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}, \
                 @slave_uuid = '{uuid}', @replica_uuid = '{uuid}', net_write_timeout = {NET_WRITE_TIMEOUT}"
            ),
            DOING,
        )
        .await?;
        match self
            .scalar("SELECT @master_binlog_checksum", DOING)
            .await?
            .as_str()
        {
            "CRC32" => Ok(ChecksumAlg::Crc32),
            "NONE" => Ok(ChecksumAlg::Off),
            other => Err(self.protocol(DOING, &format!("checksum algorithm '{other}'"))),
        }
    }

    /// Tells a source that has semi-synchronous replication that this replica acknowledges. One that has not is read all the
    /// same: its commits don't wait. True if they do; before [`Connection::dump`].
    pub(crate) async fn announce_acknowledgements(&mut self) -> Result<bool, Error> {
        const DOING: &str = "asking for semi-synchronous replication";
        let rows = self
            .query("SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync_%_enabled'", DOING)
            .await?;
        let found = rows
            .iter()
            .find(|row| row.text(0).contains("_source_") || row.text(0).contains("_master_"));
        match found.map(|row| row.text(1)) {
            None => tracing::warn!(
                "the source has no semi-synchronous replication, so its commits don't wait for the log; run on the source: INSTALL \
                 PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so' (before 8.0.26: rpl_semi_sync_master, \
                 'semisync_master.so'), then restart outrigger"
            ),
            Some(enabled) => {
                if enabled != "ON" {
                    tracing::warn!(
                        "semi-synchronous replication is off on the source, so its commits don't wait for the log; run on the \
                         source: SET PERSIST rpl_semi_sync_source_enabled = ON"
                    );
                }
                // Both spellings: before and after 8.0.26.
                self.query("SET @rpl_semi_sync_replica = 1, @rpl_semi_sync_slave = 1", DOING)
                    .await?;
                self.wire.expect_semi_sync();
            }
        }
        Ok(self.wire.expects_semi_sync())
    }

    /// The way back to a source that waits for acknowledgements; `None` if it doesn't. Once, after [`Connection::dump`].
    pub(crate) fn acknowledger(&mut self) -> Option<Acknowledger> {
        let patience = self.patience;
        self.wire.split_off_writer().map(|writer| {
            let address = self.wire.address().clone();
            Acknowledger::new(writer, address, patience)
        })
    }

    /// Receives the next event of the stream, or the first part of a large one ([`has_more`](Self::has_more)); `patience` is how
    /// long the source may stay silent.
    pub(crate) async fn event(&mut self, patience: Duration) -> Result<(), Error> {
        self.wire.receive_part(READING, patience).await?;
        self.received_event().map(drop)
    }

    /// Whether more of the event is to come than was received.
    pub(crate) fn has_more(&self) -> bool {
        self.wire.has_more()
    }

    /// The next part of the event.
    pub(crate) async fn part(&mut self, patience: Duration) -> Result<&[u8], Error> {
        self.wire.receive_part(READING, patience).await
    }

    /// All of the event that was received, joined if it is a large one.
    pub(crate) async fn whole(&mut self, patience: Duration) -> Result<&[u8], Error> {
        self.wire.receive_rest(READING, patience).await?;
        self.received_event()
    }

    /// What was received of an event last, from its header on.
    pub(crate) fn received_event(&self) -> Result<&[u8], Error> {
        let acknowledged = self.wire.expects_semi_sync();
        match self.wire.received() {
            [OK, semi_sync::MAGIC, _flag, event @ ..] if acknowledged => Ok(event),
            [OK, event @ ..] if !acknowledged => Ok(event),
            packet => Err(self.no_event(packet, READING)),
        }
    }

    /// What a packet says instead of bringing an event.
    fn no_event(&self, packet: &[u8], doing: &'static str) -> Error {
        let address = self.wire.address().clone();
        match packet {
            [ERR, ..] => match server_error(&address, doing, packet) {
                // ER_SOURCE_FATAL_ERROR_READING_BINLOG, the number of every refusal to dump.
                Error::Server {
                    code: code @ 1236,
                    message,
                    ..
                } => Error::Dump {
                    address,
                    position: self.dump_from.clone(),
                    code,
                    message,
                },
                other => other,
            },
            [EOF, ..] if is_eof(packet) => {
                let source =
                    std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the server ended the stream");
                Error::Broken {
                    address,
                    doing,
                    source,
                }
            }
            _ => Error::Protocol {
                address,
                doing,
                what: "a packet that is no event".to_owned(),
            },
        }
    }

    /// Gives back the memory of the event received last, if that was a large one.
    pub(crate) fn forget(&mut self) {
        self.wire.forget();
    }

    /// True when the next event, or a part of a large one, is here already.
    pub(crate) fn has_next(&self) -> bool {
        self.wire.has_next()
    }

    async fn command(&mut self, command: CommandByte, body: &[u8], doing: &'static str) -> Result<(), Error> {
        self.wire.restart_sequence();
        let payload = [&[command.byte()], body].concat();
        self.wire.send(&payload, doing, self.patience).await
    }

    /// A refused registration: without REPLICATION SLAVE the account may not.
    async fn refusal(&mut self, doing: &'static str, packet: &[u8]) -> Error {
        match server_error(self.wire.address(), doing, packet) {
            Error::Server {
                code: 1045 | 1227,
                address,
                ..
            } => match self.account().await {
                Ok(account) => Error::Privilege {
                    address,
                    account,
                    privilege: "REPLICATION SLAVE",
                },
                Err(error) => error,
            },
            other => other,
        }
    }

    fn protocol(&self, doing: &'static str, what: &str) -> Error {
        Error::Protocol {
            address: self.wire.address().clone(),
            doing,
            what: what.to_owned(),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", self.wire.address())
            .finish_non_exhaustive()
    }
}

/// An ERR packet as an error.
pub(crate) fn server_error(address: &Address, doing: &'static str, packet: &[u8]) -> Error {
    match ErrPacket::parse(packet) {
        Ok(error) => Error::Server {
            address: address.clone(),
            doing,
            code: error.code,
            state: error
                .sqlstate
                .map(|state| String::from_utf8_lossy(&state).into_owned())
                .unwrap_or_default(),
            message: error.text().into_owned(),
        },
        Err(error) => Error::Protocol {
            address: address.clone(),
            doing,
            what: error.to_string(),
        },
    }
}

fn is_eof(packet: &[u8]) -> bool {
    packet
        .first()
        .is_some_and(|&head| EofPacket::is_eof(head, packet.len()))
}

fn row(packet: &[u8], columns: u64) -> Option<Row> {
    let mut cursor = Cursor::new(packet);
    let mut fields = Vec::new();
    for _column in 0..columns {
        if cursor.peek().first() == Some(&0xfb) {
            cursor.skip(1).ok()?;
            fields.push(None);
        } else {
            fields.push(Some(cursor.lenenc_bytes().ok()?.to_vec()));
        }
    }
    cursor.is_empty().then_some(Row(fields))
}

/// COM_REGISTER_SLAVE's body: id, host, user, password, port, rank, source's id.
fn registration(replica: &Replica) -> Vec<u8> {
    let mut host = replica.host.as_str();
    while host.len() > REPLICA_HOST_LEN {
        host = &host[..host.char_indices().next_back().map_or(0, |(last, _)| last)];
    }
    let mut out = replica.server_id.to_le_bytes().to_vec();
    out.extend(u8::try_from(host.len()));
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(&[0; 2 + 2 + 4 + 4]);
    out
}

/// COM_BINLOG_DUMP's body.
fn dump_by_file(server_id: u32, flags: u16, file: &str, offset: u32) -> Vec<u8> {
    let mut out = offset.to_le_bytes().to_vec();
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&server_id.to_le_bytes());
    out.extend_from_slice(file.as_bytes());
    out
}

/// COM_BINLOG_DUMP_GTID's body: no file, from offset 4, and the set of what we have. The set's encoding says by itself whether
/// it holds tags; only servers before 8.3 would need telling to ignore those.
fn dump_by_gtids(server_id: u32, flags: u16, gtids: &GtidSet) -> Vec<u8> {
    let set = gtids.encode();
    let mut out = flags.to_le_bytes().to_vec();
    out.extend_from_slice(&server_id.to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&4_u64.to_le_bytes());
    out.extend_from_slice(&u32::try_from(set.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&set);
    out
}
