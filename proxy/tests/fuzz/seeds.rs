//! Sessions as they are: logins of several kinds, and commands with their replies.

use std::io::Write;

use flate2::write::ZlibEncoder;
use outrigger_protocol::auth::{AuthSwitchRequest, CACHING_SHA2_PASSWORD};
use outrigger_protocol::handshake::{Capabilities, Greeting, HandshakeResponse, StatusFlags};
use outrigger_protocol::reply::{EofPacket, ErrPacket, OkPacket};

use crate::session::{ANEW, BARE, CLOSE, OVER_TCP, SAFE, SOURCE, TLS, WAIT};

/// What mutations put in: statements that the guard knows, heads of packets, moves.
pub(crate) const WORDS: &[&[u8]] = &[
    b"\x03SET sql_log_bin = 0",
    b"\x03CREATE TABLE `shop`.`_t_gho` LIKE `shop`.`t`",
    b"\x03PURGE BINARY LOGS TO 'b.9'",
    b"\x11user\0\0shop\0",
    b"\xff\xff\xff\0",
    b"\xfe\0\0\x02\0",
    b"\x0c\x01\0\x0e",
    b"\x09\x07\0\0\0\0\x02\0\0\0",
    b"\xfbfile",
];

const OLD: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS);

struct Session {
    moves: Vec<u8>,
    capabilities: Capabilities,
}

impl Session {
    /// Up to the client's response.
    fn begin(how: u8, capabilities: Capabilities, plugin: &str) -> Self {
        Self::begin_secured(how, capabilities, plugin, 0)
    }

    /// The same with TLS to the source where `how` says so, and to the client where `client` is it.
    fn begin_secured(how: u8, capabilities: Capabilities, plugin: &str, client: u8) -> Self {
        let greeting = Greeting {
            server_version: b"9.7.4".to_vec(),
            connection_id: 8,
            capabilities: Capabilities::all(),
            collation: 255,
            status: StatusFlags::AUTOCOMMIT,
            auth_data: vec![b'n'; 20],
            auth_plugin: CACHING_SHA2_PASSWORD.as_bytes().to_vec(),
        };
        let response = HandshakeResponse {
            capabilities,
            max_packet_size: 1 << 24,
            collation: 45,
            user: b"user",
            auth_response: &[7; 32],
            database: Some(b"shop"),
            auth_plugin: Some(plugin.as_bytes()),
            attributes: Vec::new(),
            zstd_level: capabilities.contains(Capabilities::ZSTD_COMPRESSION).then_some(3),
        };
        let request = response.tls_request();
        let mut payload = response.encode();
        let greeted = Self {
            moves: vec![how],
            capabilities,
        }
        .says(SOURCE | WAIT, &greeting.encode());
        let asked = match client == TLS {
            true => {
                payload[..4].copy_from_slice(&request[..4]);
                greeted.says(TLS | WAIT, &request)
            }
            false => greeted,
        };
        let answered = asked.says(WAIT, &payload);
        match how & SAFE != 0 {
            true => answered.says(SOURCE | TLS | WAIT, b""),
            false => answered,
        }
    }

    fn says(mut self, kind: u8, bytes: &[u8]) -> Self {
        self.moves.push(kind);
        self.moves.extend((bytes.len() as u16).to_le_bytes());
        self.moves.extend(bytes);
        self
    }

    /// Logged in.
    fn made(how: u8, capabilities: Capabilities) -> Self {
        Self::made_secured(how, capabilities, 0)
    }

    fn made_secured(how: u8, capabilities: Capabilities, client: u8) -> Self {
        let session = Self::begin_secured(how, capabilities, CACHING_SHA2_PASSWORD, client);
        let ok = session.ok(StatusFlags::AUTOCOMMIT);
        session.says(SOURCE | WAIT, b"\x01\x03").says(SOURCE | WAIT, &ok)
    }

    fn ok(&self, status: StatusFlags) -> Vec<u8> {
        let ok = OkPacket {
            status,
            ..OkPacket::default()
        };
        ok.encode(self.capabilities)
    }

    /// What ends rows.
    fn end(&self, status: StatusFlags) -> Vec<u8> {
        if self.capabilities.contains(Capabilities::DEPRECATE_EOF) {
            let mut ok = self.ok(status);
            ok[0] = 0xfe;
            return ok;
        }
        EofPacket { warnings: 0, status }.encode()
    }

    fn asks(self, payload: &[u8]) -> Self {
        self.says(ANEW | WAIT, payload)
    }

    fn answers(self, payload: &[u8]) -> Self {
        self.says(SOURCE | WAIT, payload)
    }

    fn result(self, status: StatusFlags) -> Self {
        let end = self.end(status);
        let deprecated = self.capabilities.contains(Capabilities::DEPRECATE_EOF);
        let begun = self
            .answers(b"\x01")
            .answers(b"\x03def\0\0\0\x01a\0\x0c\x3f\0\0\0\0\0\x08\x81\0\0\0\0");
        let begun = if deprecated { begun } else { begun.answers(&end) };
        begun.answers(b"\x011").answers(&end)
    }
}

pub(crate) fn sessions() -> Vec<Vec<u8>> {
    let modern = OLD | Capabilities::DEPRECATE_EOF | Capabilities::SESSION_TRACK;
    let switch = AuthSwitchRequest {
        plugin: b"sha256_password",
        data: &[b'm'; 20],
    }
    .encode();
    let refusal = ErrPacket::new(1045, "28000", "Access denied").encode();
    let mut sessions = vec![
        // Refused at once, and after a plugin that wants the password itself: over TCP the proxy gives a key of its own.
        Session {
            moves: vec![0],
            capabilities: modern,
        }
        .says(SOURCE | WAIT | CLOSE, &refusal),
        Session::begin(0, modern, "mysql_native_password")
            .answers(&switch)
            .says(WAIT, b"secret\0")
            .answers(&refusal),
        Session::begin(OVER_TCP, modern, "sha256_password")
            .answers(&switch)
            .says(WAIT, b"\x01")
            .says(WAIT, &[9; 256]),
        Session::begin(OVER_TCP, modern, CACHING_SHA2_PASSWORD)
            .answers(b"\x01\x04")
            .says(WAIT, b"\x02")
            .says(WAIT, &[9; 256]),
        Session::begin(0, modern, CACHING_SHA2_PASSWORD)
            .answers(b"\x01\x04")
            .says(WAIT, b"secret\0")
            .answers(b"\0\0\0\x02\0\0\0"),
        Session {
            moves: vec![0],
            capabilities: modern,
        }
        .says(WAIT | BARE, b"GET / HTTP/1.1\r\n\r\n"),
    ];
    for (how, client) in [(0, TLS), (OVER_TCP, TLS), (SAFE, 0), (OVER_TCP | SAFE, TLS)] {
        sessions.extend(secured(how, modern, client));
    }
    for method in [Capabilities::COMPRESS, Capabilities::ZSTD_COMPRESSION] {
        sessions.extend(compressed(modern | method));
    }
    for capabilities in [OLD, modern, modern | Capabilities::OPTIONAL_RESULTSET_METADATA] {
        sessions.extend(talks(capabilities, &switch, &refusal));
    }
    sessions.into_iter().map(|session| session.moves).collect()
}

/// Sessions with TLS on one link or on both: a query and its end, a password in clear, another login.
fn secured(how: u8, capabilities: Capabilities, client: u8) -> Vec<Session> {
    let made = || Session::made_secured(how, capabilities, client);
    let ok = made().ok(StatusFlags::AUTOCOMMIT);
    vec![
        made()
            .asks(b"\x03SELECT 1")
            .result(StatusFlags::AUTOCOMMIT)
            .asks(b"\x03SET sql_log_bin = 0")
            .asks(b"\x01"),
        Session::begin_secured(how, capabilities, CACHING_SHA2_PASSWORD, client)
            .answers(b"\x01\x04")
            .says(WAIT, b"secret\0")
            .answers(&ok)
            .asks(b"\x11other\0\0shop\0\x2d\0caching_sha2_password\0")
            .answers(&ok),
    ]
}

/// A command in a compressed packet that says of itself what it likes.
fn packed(seq: u8, says: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![payload.len() as u8, 0, 0, seq, says, 0, 0];
    bytes.extend(payload);
    bytes
}

/// Sessions with a client that compresses: as it is, in pieces, several in one, and another login.
fn compressed(capabilities: Capabilities) -> Vec<Session> {
    let made = || Session::made(0, capabilities);
    let ok = made().ok(StatusFlags::AUTOCOMMIT);
    let sql = b"\x38\0\0\0\x03SELECT 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ";
    let bytes = match capabilities.contains(Capabilities::COMPRESS) {
        true => {
            let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(sql).unwrap();
            encoder.finish().unwrap()
        }
        false => zstd::bulk::compress(sql, 3).unwrap(),
    };
    let query = packed(0, sql.len() as u8, &bytes);
    let (head, tail) = query.split_at(20);
    vec![
        made()
            .says(WAIT | BARE, &query)
            .result(StatusFlags::AUTOCOMMIT)
            .says(WAIT | BARE, &packed(0, 0, b"\x01\0\0\0\x0e"))
            .answers(&ok)
            .says(WAIT | BARE, &packed(0, 0, b"\x01\0\0\0\x01")),
        made()
            .says(WAIT | BARE, head)
            .says(WAIT | BARE, tail)
            .answers(&ok),
        made()
            .says(WAIT | BARE, &packed(0, 0, b"\x01\0\0\0"))
            .says(WAIT | BARE, &packed(1, 0, b"\x0e\x01\0\0\0\x1f"))
            .answers(&ok)
            .answers(&ok),
        made()
            .says(
                WAIT | BARE,
                &packed(0, 0, b"\x10\0\0\0\x11other\0\0shop\0\x2d\0x\0"),
            )
            .answers(&ok),
        made()
            .says(WAIT | BARE, &packed(0, 0, b"\x05\0\0\0\x03LOAD"))
            .answers(b"\xfbx")
            .says(WAIT | BARE, &packed(2, 0, b"\x02\0\0\x09a\n\0\0\0\x0a"))
            .answers(&ok),
    ]
}

/// Commands and their replies, in the forms on which client and source agreed.
fn talks(capabilities: Capabilities, switch: &[u8], refusal: &[u8]) -> Vec<Session> {
    let idle = StatusFlags::AUTOCOMMIT;
    let made = || Session::made(0, capabilities);
    let more = idle | StatusFlags::MORE_RESULTS_EXISTS;
    let ok = made().ok(idle);
    vec![
        made()
            .asks(b"\x03SELECT 1")
            .result(idle)
            .asks(b"\x0e")
            .answers(&ok)
            .asks(b"\x01"),
        made()
            .asks(b"\x03CALL p()")
            .result(more)
            .result(more)
            .answers(&ok),
        made()
            .asks(b"\x03LOAD DATA LOCAL INFILE 'x' INTO TABLE t")
            .answers(b"\xfbx")
            .says(WAIT, b"1\n2\n")
            .says(WAIT, b"")
            .answers(&ok),
        made()
            .asks(b"\x16SELECT ?")
            .answers(b"\0\x01\0\0\0\x01\0\x01\0\0\0\0\x01")
            .answers(b"\x03def\0\0\0\x01?\0\x0c\x3f\0\0\0\0\0\x08\x81\0\0\0\0")
            .asks(b"\x18\x01\0\0\0\0\0data")
            .asks(b"\x17\x01\0\0\0\x01\x01\0\0\0\0\x01\xfe\0")
            .result(idle | StatusFlags::CURSOR_EXISTS)
            .asks(b"\x1c\x01\0\0\0\x05\0\0\0")
            .answers(b"\0\0\x01a")
            .asks(b"\x19\x01\0\0\0"),
        made()
            .asks(b"\x11other\0\0shop\0\x2d\0caching_sha2_password\0")
            .answers(switch)
            .says(WAIT, b"pw\0")
            .answers(&ok)
            .asks(b"\x0e"),
        made()
            .asks(b"\x03SET sql_log_bin = 0")
            .asks(b"\x03ALTER TABLE `_t_gho` ADD x INT")
            .asks(b"\x1f")
            .answers(&ok),
        made()
            .says(ANEW | BARE, b"\x02\0\0\0\x03A\x02\0\0\0\x03B\x01\0\0\0\x0e")
            .answers(refusal)
            .answers(&ok)
            .answers(&ok),
        made().asks(b"\x03BEGIN").answers(&ok).says(
            SOURCE | WAIT | CLOSE,
            &ErrPacket::new(4031, "HY000", "too long").encode(),
        ),
        made()
            .asks(b"\x1e\0\0\x01\0\0\0")
            .answers(b"\0event")
            .answers(b"\0another"),
    ]
}
