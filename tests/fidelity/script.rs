//! A session written down: payloads to send, and a client that plays them, one after the other or all at once.

use outrigger_protocol::auth::{AUTH_MORE_DATA, AUTH_SWITCH};
use outrigger_protocol::command::CommandByte;
use outrigger_protocol::cursor::{Cursor, put_lenenc, put_lenenc_bytes};
use outrigger_protocol::handshake::{Capabilities, StatusFlags};
use outrigger_protocol::packet::{MAX_PAYLOAD, put};
use outrigger_protocol::reply::{EOF, ERR, EofPacket, LOCAL_INFILE, OK, OkPacket};

use crate::support::raw::Raw;

/// What a client sends, in the form on which it agreed with the server.
pub(crate) struct Script {
    pub(crate) name: &'static str,
    steps: Vec<Step>,
    capabilities: Capabilities,
}

/// One command, and what the server may ask for: a local file in pieces, or the proof of a password.
struct Step {
    payload: Vec<u8>,
    answer: Option<Vec<Vec<u8>>>,
}

/// A parameter of a prepared statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    /// What COM_STMT_SEND_LONG_DATA has sent.
    Sent,
}

impl Script {
    pub(crate) fn new(name: &'static str, capabilities: Capabilities) -> Self {
        Self {
            name,
            steps: Vec::new(),
            capabilities,
        }
    }

    /// A command as it is.
    pub(crate) fn command(mut self, command: CommandByte, rest: &[u8]) -> Self {
        self.steps.push(Step {
            payload: [&[command.byte()], rest].concat(),
            answer: None,
        });
        self
    }

    /// A payload as it is.
    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.steps.push(Step {
            payload: payload.to_vec(),
            answer: None,
        });
        self
    }

    pub(crate) fn query(self, sql: &str) -> Self {
        self.query_with(&[], sql)
    }

    pub(crate) fn queries(self, statements: &[&str]) -> Self {
        statements.iter().fold(self, |script, sql| script.query(sql))
    }

    /// A query with attributes, where those were agreed on.
    pub(crate) fn query_with(self, attributes: &[(&str, &str)], sql: &str) -> Self {
        let mut rest = Vec::new();
        if self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES) {
            put_lenenc(&mut rest, attributes.len() as u64);
            rest.push(1);
            if !attributes.is_empty() {
                // Nothing is NULL; types follow: strings, with their names.
                rest.extend(vec![0; attributes.len().div_ceil(8)]);
                rest.push(1);
                for (name, _) in attributes {
                    rest.extend([0xfe, 0]);
                    put_lenenc_bytes(&mut rest, name.as_bytes());
                }
                for (_, value) in attributes {
                    put_lenenc_bytes(&mut rest, value.as_bytes());
                }
            }
        }
        rest.extend_from_slice(sql.as_bytes());
        self.command(CommandByte::Query, &rest)
    }

    /// A statement that asks for a local file, which comes in these pieces.
    pub(crate) fn load(mut self, sql: &str, pieces: &[&[u8]]) -> Self {
        self = self.query(sql);
        if let Some(step) = self.steps.last_mut() {
            step.answer = Some(pieces.iter().map(|piece| piece.to_vec()).collect());
        }
        self
    }

    pub(crate) fn prepare(self, sql: &str) -> Self {
        self.command(CommandByte::StmtPrepare, sql.as_bytes())
    }

    /// Runs a prepared statement, with a cursor or without.
    pub(crate) fn execute(self, statement: u32, cursor: bool, values: &[Value<'_>]) -> Self {
        let mut rest = statement.to_le_bytes().to_vec();
        rest.push(u8::from(cursor));
        rest.extend(1_u32.to_le_bytes());
        if !values.is_empty() {
            let named = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
            if named {
                put_lenenc(&mut rest, values.len() as u64);
            }
            let mut nulls = vec![0; values.len().div_ceil(8)];
            let mut types = Vec::new();
            let mut bytes = Vec::new();
            for (at, value) in values.iter().enumerate() {
                types.push(match value {
                    Value::Null => 6,
                    Value::Int(_) => 8,
                    Value::Text(_) => 0xfd,
                    Value::Sent => 0xfc,
                });
                types.push(0);
                if named {
                    types.push(0);
                }
                match value {
                    Value::Null => nulls[at / 8] |= 1 << (at % 8),
                    Value::Int(value) => bytes.extend(value.to_le_bytes()),
                    Value::Text(text) => put_lenenc_bytes(&mut bytes, text.as_bytes()),
                    Value::Sent => {}
                }
            }
            rest.extend(nulls);
            rest.push(1);
            rest.extend(types);
            rest.extend(bytes);
        }
        self.command(CommandByte::StmtExecute, &rest)
    }

    pub(crate) fn long_data(self, statement: u32, parameter: u16, data: &[u8]) -> Self {
        let rest = [&statement.to_le_bytes()[..], &parameter.to_le_bytes(), data].concat();
        self.command(CommandByte::StmtSendLongData, &rest)
    }

    pub(crate) fn fetch(self, statement: u32, rows: u32) -> Self {
        let rest = [statement.to_le_bytes(), rows.to_le_bytes()].concat();
        self.command(CommandByte::StmtFetch, &rest)
    }

    pub(crate) fn reset(self, statement: u32) -> Self {
        self.command(CommandByte::StmtReset, &statement.to_le_bytes())
    }

    pub(crate) fn close(self, statement: u32) -> Self {
        self.command(CommandByte::StmtClose, &statement.to_le_bytes())
    }

    /// The session goes on as another account, or the same one. The server asks for a proof with a nonce of its own.
    pub(crate) fn change_user(mut self, user: &str, proof: &[u8], database: &str) -> Self {
        let mut rest = [user.as_bytes(), &[0, 0]].concat();
        rest.extend([database.as_bytes(), &[0, 45, 0]].concat());
        if self.capabilities.contains(Capabilities::PLUGIN_AUTH) {
            rest.extend(b"caching_sha2_password\0");
        }
        self = self.command(CommandByte::ChangeUser, &rest);
        if let Some(step) = self.steps.last_mut() {
            step.answer = Some(vec![proof.to_vec()]);
        }
        self
    }

    /// True when nothing is sent in reply to something: it can all be sent at once.
    pub(crate) fn is_one_way(&self) -> bool {
        self.steps.iter().all(|step| step.answer.is_none())
    }

    /// All of it, and a farewell.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for step in &self.steps {
            put(&mut out, &step.payload, 0);
        }
        put(&mut out, &[CommandByte::Quit.byte()], 0);
        out
    }

    /// Sends each command when the reply before it has ended, and returns all that was heard up to the end of the connection.
    pub(crate) async fn play(&self, mut raw: Raw) -> std::io::Result<Vec<u8>> {
        for step in &self.steps {
            if raw.send(&step.payload, 0).await.is_err() {
                break;
            }
            if !listen(&mut raw, step).await? {
                break;
            }
        }
        // After a farewell of the server's nobody hears ours.
        raw.send(&[CommandByte::Quit.byte()], 0).await.ok();
        while raw.receive().await.is_ok_and(|payload| payload.is_some()) {}
        Ok(raw.heard)
    }
}

/// Reads one reply. False when the server has closed.
async fn listen(raw: &mut Raw, step: &Step) -> std::io::Result<bool> {
    match step.payload.first().copied().and_then(CommandByte::from_byte) {
        Some(CommandByte::StmtSendLongData) if step.payload.len() >= 7 => Ok(true),
        Some(CommandByte::StmtClose) if step.payload.len() >= 5 => Ok(true),
        Some(CommandByte::Query | CommandByte::StmtExecute | CommandByte::ProcessInfo) => {
            results(raw, step.answer.as_deref()).await
        }
        Some(CommandByte::StmtFetch | CommandByte::FieldList) => Ok(rows(raw).await?.is_some()),
        Some(CommandByte::StmtPrepare) => prepared(raw).await,
        Some(CommandByte::ChangeUser) => authenticate(raw, step.answer.as_deref().unwrap_or_default()).await,
        _ => Ok(raw.receive().await?.is_some()),
    }
}

/// Another account's login. False where it failed: the server closes.
async fn authenticate(raw: &mut Raw, answer: &[Vec<u8>]) -> std::io::Result<bool> {
    loop {
        match raw.receive().await? {
            Some(payload) if payload[0] == AUTH_SWITCH => {
                raw.forget_nonce();
                for proof in answer {
                    raw.send(proof, raw.next_seq).await?;
                }
            }
            Some(payload) if payload[0] == AUTH_MORE_DATA => {}
            outcome => return Ok(outcome.is_some_and(|payload| payload[0] == OK)),
        }
    }
}

/// The results of a command, one or several.
async fn results(raw: &mut Raw, file: Option<&[Vec<u8>]>) -> std::io::Result<bool> {
    loop {
        let Some(head) = raw.receive().await? else {
            return Ok(false);
        };
        let status = match head[0] {
            ERR => return Ok(true),
            OK => OkPacket::parse_head(&mut Cursor::new(&head)).unwrap().status,
            LOCAL_INFILE => {
                let mut seq = raw.next_seq;
                for piece in file.unwrap_or_default() {
                    seq = raw.send(piece, seq).await?;
                }
                raw.send(b"", seq).await?;
                continue;
            }
            _ => {
                let mut cursor = Cursor::new(&head);
                let optional = raw
                    .capabilities
                    .contains(Capabilities::OPTIONAL_RESULTSET_METADATA);
                let columns = cursor.lenenc().unwrap();
                let described = !optional || cursor.u8().unwrap() == 1;
                let told = definitions(raw, columns, described).await?;
                if told.contains(StatusFlags::CURSOR_EXISTS) {
                    return Ok(true);
                }
                let Some(mut status) = rows(raw).await? else {
                    return Ok(false);
                };
                // Behind OUT parameters comes an OK packet, whatever their EOF packet says.
                if told.contains(StatusFlags::PS_OUT_PARAMS) {
                    status |= StatusFlags::MORE_RESULTS_EXISTS;
                }
                status
            }
        };
        if !status.contains(StatusFlags::MORE_RESULTS_EXISTS) {
            return Ok(true);
        }
    }
}

/// Column definitions, unless they are left out, and what ends them, with the status that it tells.
async fn definitions(raw: &mut Raw, count: u64, described: bool) -> std::io::Result<StatusFlags> {
    for _ in 0..if described { count } else { 0 } {
        raw.receive().await?;
    }
    if count == 0 || raw.capabilities.contains(Capabilities::DEPRECATE_EOF) {
        return Ok(StatusFlags::empty());
    }
    let end = raw.receive().await?.unwrap();
    Ok(EofPacket::parse(&end).unwrap().status)
}

/// Rows, and the status at their end; nothing of it after an error. `None` when the server has closed.
async fn rows(raw: &mut Raw) -> std::io::Result<Option<StatusFlags>> {
    let modern = raw.capabilities.contains(Capabilities::DEPRECATE_EOF);
    loop {
        let Some(row) = raw.receive().await? else {
            return Ok(None);
        };
        match row[0] {
            ERR => return Ok(Some(StatusFlags::empty())),
            EOF if modern && row.len() < MAX_PAYLOAD => {
                return Ok(Some(OkPacket::parse_head(&mut Cursor::new(&row)).unwrap().status));
            }
            EOF if !modern && row.len() < 9 => return Ok(Some(EofPacket::parse(&row).unwrap().status)),
            _ => {}
        }
    }
}

/// The answer to a prepare.
async fn prepared(raw: &mut Raw) -> std::io::Result<bool> {
    let Some(head) = raw.receive().await? else {
        return Ok(false);
    };
    if head[0] == ERR {
        return Ok(true);
    }
    let mut cursor = Cursor::new(&head);
    cursor.skip(5).unwrap();
    let (columns, parameters) = (cursor.u16().unwrap(), cursor.u16().unwrap());
    cursor.skip(3).unwrap();
    let optional = raw
        .capabilities
        .contains(Capabilities::OPTIONAL_RESULTSET_METADATA);
    let described = !optional || cursor.u8().unwrap() == 1;
    definitions(raw, parameters.into(), described).await?;
    definitions(raw, columns.into(), described).await?;
    Ok(true)
}
