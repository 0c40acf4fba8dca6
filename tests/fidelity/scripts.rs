//! The sessions that are played: all that a client can do, each thing in a session of its own.

use outrigger_protocol::command::CommandByte;
use outrigger_protocol::handshake::Capabilities;
use outrigger_protocol::packet::MAX_PAYLOAD;

use super::script::{Script, Value};

/// What every session begins with: the database of an earlier one is gone.
const AFRESH: [&str; 2] = ["CREATE DATABASE play", "USE play"];

/// Payloads around the borders at which they go on in another packet.
const SIZES: [usize; 7] = [
    MAX_PAYLOAD - 1,
    MAX_PAYLOAD,
    MAX_PAYLOAD + 1,
    MAX_PAYLOAD + 2,
    2 * MAX_PAYLOAD - 1,
    2 * MAX_PAYLOAD,
    2 * MAX_PAYLOAD + 1,
];

/// All sessions, for a client that agreed with the server on `capabilities`.
pub(crate) fn all(capabilities: Capabilities) -> Vec<Script> {
    let afresh = |name| Script::new(name, capabilities).queries(&AFRESH);
    vec![
        several(afresh("several statements and results")),
        procedures(afresh("procedures")),
        statements(afresh("prepared statements")),
        cursors(afresh("cursors")),
        files(afresh("local files")),
        transactions(afresh("transactions")),
        accounts(afresh("accounts and resets")),
        stranger(afresh("an account that is refused")),
        tracking(afresh("session tracking")),
        attributes(afresh("query attributes")),
        metadata(afresh("metadata on demand")),
        shapes(afresh("wide and long results")),
        commands(afresh("commands of all kinds")),
        malformed(afresh("commands cut short")),
        streams(afresh("streams that are refused")),
        ahead(afresh("thousands of commands")),
    ]
}

fn several(script: Script) -> Script {
    let script = script.queries(&[
        "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(20))",
        "SELECT 1; SELECT 'a', NULL UNION ALL SELECT 'b', 2; DO 0; INSERT INTO t (s) VALUES ('x'), ('y'); SELECT * FROM t",
        "SELECT 1; SELECT nonsense; SELECT 2",
        "SELECT 1;; SELECT 2",
        "UPDATE t SET s = 'z'; SELECT ROW_COUNT(), LAST_INSERT_ID()",
    ]);
    let script = script.command(CommandByte::SetOption, &[0, 0]);
    let script = script.query("SELECT 3; SELECT 4");
    let script = script.command(CommandByte::SetOption, &[1, 0]);
    script.queries(&["SELECT 5; SELECT 6", "SELECT 7"])
}

fn procedures(script: Script) -> Script {
    let script = script.queries(&[
        "CREATE PROCEDURE p(IN a INT, INOUT b INT, OUT c TEXT) BEGIN SELECT a, b; SELECT 'second'; SET b = b + 1, c = 'out'; END",
        "CREATE PROCEDURE bad() BEGIN SELECT 1; SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'as it should'; SELECT 2; END",
        "CREATE PROCEDURE quiet() DO 0",
        "SET @b = 7",
        "CALL p(1, @b, @c)",
        "SELECT @b, @c",
        "CALL bad()",
        "CALL quiet()",
    ]);
    let script = script.prepare("CALL p(?, ?, ?)");
    let script = script.execute(1, false, &[Value::Int(3), Value::Int(4), Value::Null]);
    let script = script.execute(1, true, &[Value::Int(5), Value::Int(6), Value::Text("in")]);
    let script = script.prepare("CALL bad()").execute(2, false, &[]);
    script
        .prepare("CALL quiet()")
        .execute(3, false, &[])
        .query("SELECT 'still here'")
}

fn statements(script: Script) -> Script {
    let script = script.queries(&[
        "CREATE TABLE t (id INT PRIMARY KEY, s TEXT, b LONGBLOB, d DATETIME(6), n DECIMAL(10, 3), j JSON)",
    ]);
    let script = script.prepare("INSERT INTO t VALUES (?, ?, ?, '2026-11-23 01:02:03.000004', 1.5, '[1]')");
    let script = script.execute(1, false, &[Value::Int(1), Value::Text("one"), Value::Null]);
    let script = script
        .long_data(1, 2, b"in three ")
        .long_data(1, 2, b"")
        .long_data(1, 2, b"pieces");
    let script = script.execute(1, false, &[Value::Int(2), Value::Null, Value::Sent]);
    let script = script.execute(1, false, &[Value::Int(2), Value::Null, Value::Null]);
    // Forgotten before it is used; and more for a statement that isn't there, which is said when it is run.
    let script = script.long_data(1, 2, b"forgotten").reset(1);
    let script = script.execute(1, false, &[Value::Int(3), Value::Null, Value::Text("new")]);
    let script = script.long_data(9, 0, b"nobody's").execute(9, false, &[]);
    let script = script.prepare("SELECT * FROM t WHERE id >= ? ORDER BY id");
    let script = script
        .execute(2, false, &[Value::Int(1)])
        .execute(2, false, &[Value::Int(9)]);
    let script = script.prepare("SELECT nothing FROM nowhere").prepare("DO ?");
    let script = script.execute(3, false, &[Value::Int(1)]);
    let script = script.close(1).close(99).execute(1, false, &[]);
    let script = script
        .query("ALTER TABLE t DROP COLUMN j")
        .execute(2, false, &[Value::Int(1)]);
    script
        .prepare("SELECT 1")
        .execute(4, false, &[])
        .reset(9)
        .query("SELECT 8")
}

fn cursors(script: Script) -> Script {
    let script = script.queries(&[
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7)",
    ]);
    let script = script.prepare("SELECT id, REPEAT('x', id) FROM t WHERE id > ? ORDER BY id");
    let script = script.execute(1, true, &[Value::Int(0)]).fetch(1, 2).fetch(1, 2);
    // Other commands may come in between.
    let script = script.query("SELECT COUNT(*) FROM t").fetch(1, 100).fetch(1, 1);
    let script = script
        .execute(1, true, &[Value::Int(3)])
        .fetch(1, 1)
        .reset(1)
        .fetch(1, 1);
    let script = script.execute(1, true, &[Value::Int(100)]).fetch(1, 1);
    let script = script.execute(1, true, &[Value::Int(0)]).close(1).fetch(1, 1);
    let script = script.prepare("INSERT INTO t VALUES (8)").execute(2, true, &[]);
    script.fetch(77, 1).query("SELECT 9")
}

fn files(script: Script) -> Script {
    let long = b"0123456789".repeat(20_000);
    let load = "LOAD DATA LOCAL INFILE 'some file' INTO TABLE t";
    script
        .queries(&["CREATE TABLE t (s LONGTEXT)", "CREATE TABLE n (id INT PRIMARY KEY)"])
        .load(load, &[b"one\ntwo\nthr", b"ee\n", &long, b"\nfour"])
        .load(load, &[])
        .load("LOAD DATA LOCAL INFILE 'f' INTO TABLE nowhere", &[b"never sent\n"])
        .load("LOAD DATA LOCAL INFILE 'f' INTO TABLE n", &[b"1\n2\nnumber\n1\n"])
        .load("LOAD DATA LOCAL INFILE 'f' REPLACE INTO TABLE n (@x) SET id = nothing", &[b"1\n"])
        .load(
            "SELECT 1; LOAD DATA LOCAL INFILE 'f' INTO TABLE t; SELECT COUNT(*) FROM t; LOAD DATA LOCAL INFILE 'g' INTO TABLE t; SELECT 2",
            &[b"several\n"],
        )
        .load("LOAD DATA LOCAL INFILE 'f' INTO TABLE t", &[&vec![b'w'; MAX_PAYLOAD], &[b'w'; 100]])
        .load("LOAD DATA LOCAL INFILE 'f' INTO TABLE t", &[&vec![b'v'; 2 * MAX_PAYLOAD + 9], b"v\nbehind it\n", &vec![b'u'; MAX_PAYLOAD + 1]])
        .queries(&["SELECT LENGTH(s) FROM t", "SELECT * FROM n"])
}

fn transactions(script: Script) -> Script {
    script.queries(&[
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "BEGIN",
        "INSERT INTO t VALUES (1)",
        "SAVEPOINT s",
        "INSERT INTO t VALUES (1)",
        "ROLLBACK TO s",
        "COMMIT",
        "START TRANSACTION READ ONLY",
        "INSERT INTO t VALUES (2)",
        "ROLLBACK",
        "SET autocommit = 0",
        "SELECT * FROM t",
        "COMMIT AND CHAIN",
        "ROLLBACK AND NO CHAIN",
        "SET autocommit = 1",
        "XA START 'x'",
        "INSERT INTO t VALUES (3)",
        "XA END 'x'",
        "XA ROLLBACK 'x'",
        "SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')",
        "SELECT '\\'",
        "LOCK TABLES t WRITE",
        "UNLOCK TABLES",
    ])
}

fn accounts(script: Script) -> Script {
    let script = script.queries(&["SET @left = 1", "CREATE TEMPORARY TABLE gone (id INT)"]);
    let script = script.command(CommandByte::ResetConnection, b"");
    let script = script.queries(&["SELECT @left, DATABASE()", "SELECT * FROM gone", "SET @left = 2"]);
    let script = script.change_user("other", b"\0", "play");
    let script = script.queries(&["SELECT @left, CURRENT_USER(), DATABASE()", "BEGIN"]);
    let script = script.change_user("open", b"\0", "");
    script.queries(&["SELECT CURRENT_USER(), DATABASE()", "SELECT * FROM nowhere"])
}

fn stranger(script: Script) -> Script {
    script
        .query("SELECT 1")
        .change_user("locked", b"\0", "play")
        .query("SELECT 'never'")
}

fn tracking(script: Script) -> Script {
    script.queries(&[
        "SET SESSION session_track_schema = ON, session_track_state_change = ON, session_track_system_variables = 'sql_mode,time_zone,lock_wait_timeout,\
         character_set_client,autocommit,transaction_isolation'",
        "SET SESSION session_track_transaction_info = 'CHARACTERISTICS'",
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "USE mysql",
        "USE play",
        "SET SESSION sql_mode = 'ANSI', time_zone = '+01:00', lock_wait_timeout = 12345",
        "SET NAMES latin1",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        "SELECT * FROM t",
        "COMMIT",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "BEGIN",
        "INSERT INTO t VALUES (1)",
        "SELECT * FROM t",
        "ROLLBACK",
        "SET @u = 1",
        "PREPARE s FROM 'SELECT 1'",
        "EXECUTE s",
        "SET SESSION session_track_system_variables = ''",
    ])
}

fn attributes(script: Script) -> Script {
    let ask = "SELECT mysql_query_attribute_string('trace'), mysql_query_attribute_string('none')";
    let long = "v".repeat(70_000);
    script
        .query_with(&[("trace", "a-b-c"), ("other", "")], ask)
        .query_with(&[], ask)
        .query_with(&[("trace", &long)], ask)
        .query_with(&[("trace", "; DROP TABLE x --")], "SELECT 1")
        .query_with(&[("trace", "1")], "SELECT nonsense")
}

fn metadata(script: Script) -> Script {
    let script = script.queries(&[
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "INSERT INTO t VALUES (1), (2)",
    ]);
    let script = script.query("SET resultset_metadata = NONE");
    let script = script.queries(&[
        "SELECT * FROM t",
        "SELECT * FROM t WHERE FALSE",
        "SELECT 1; SELECT 2",
    ]);
    let script = script.prepare("SELECT * FROM t WHERE id > ?");
    let script = script.execute(1, false, &[Value::Int(0)]);
    let script = script.query("SET resultset_metadata = FULL");
    script
        .execute(1, false, &[Value::Int(0)])
        .query("SELECT * FROM t")
}

fn shapes(script: Script) -> Script {
    let wide = format!("SELECT {}", vec!["1"; 300].join(", "));
    let script = script.queries(&[
        &wide,
        "SELECT '' FROM DUAL WHERE FALSE",
        "SELECT NULL, '', NULL",
        "SELECT REPEAT('a', 250), REPEAT('b', 251), REPEAT('c', 65535), REPEAT('d', 65536)",
        "SET SESSION cte_max_recursion_depth = 100000",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, REPEAT('r', i % 100) FROM n",
        "SELECT CAST(1.5 AS FLOAT), 1e300, DATE'2026-02-28', TIME'-838:59:59', b'101', X'00FF', POINT(1, 2), CAST('{}' AS JSON)",
        "SHOW WARNINGS",
        "SELECT 1 / 0, CAST('x' AS SIGNED)",
        "SHOW WARNINGS",
    ]);
    let script = script.prepare(&wide).execute(1, false, &[]);
    let script = script.prepare(
        "SELECT CAST(1.5 AS FLOAT), 1e300, DATE'2026-02-28', TIME'-838:59:59', b'101', X'00FF', TIMESTAMP'2026-01-01 00:00:00.5'",
    );
    script.execute(2, false, &[])
}

fn commands(script: Script) -> Script {
    let script = script
        .command(CommandByte::Ping, b"")
        .command(CommandByte::InitDb, b"mysql");
    let script = script
        .command(CommandByte::InitDb, b"nowhere")
        .query("SELECT DATABASE()");
    let script = script
        .command(CommandByte::FieldList, b"user\0%")
        .command(CommandByte::Refresh, &[2]);
    let script = script.command(CommandByte::ProcessKill, &u32::MAX.to_le_bytes());
    // What the server knows no more or never knew.
    let script = [
        CommandByte::Sleep,
        CommandByte::CreateDb,
        CommandByte::DropDb,
        CommandByte::Connect,
        CommandByte::Time,
        CommandByte::DelayedInsert,
        CommandByte::TableDump,
        CommandByte::ConnectOut,
        CommandByte::Daemon,
    ]
    .into_iter()
    .fold(script, |script, command| script.command(command, b"x"));
    let script = script.payload(&[0x70, 1, 2]).payload(b"").payload(&[0xff]);
    script.query("").query("SELECT 'alive'").query("-- nothing")
}

/// Shorter than the server takes them: it answers all of these.
fn malformed(script: Script) -> Script {
    [
        (CommandByte::StmtClose, 3),
        (CommandByte::StmtSendLongData, 5),
        (CommandByte::StmtClose, 0),
        (CommandByte::StmtSendLongData, 0),
        (CommandByte::StmtExecute, 8),
        (CommandByte::StmtFetch, 7),
        (CommandByte::StmtReset, 3),
        (CommandByte::SetOption, 1),
        (CommandByte::ProcessKill, 3),
    ]
    .into_iter()
    .fold(script, |script, (command, size)| {
        script.command(command, &[0; 8][..size]).query("SELECT 'alive'")
    })
}

/// Streams that are not begun for an account without privileges: the session goes on.
fn streams(script: Script) -> Script {
    [
        CommandByte::BinlogDump,
        CommandByte::BinlogDumpGtid,
        CommandByte::Clone,
        CommandByte::SubscribeGroupReplication,
    ]
    .into_iter()
    .fold(script.change_user("poor", b"", ""), |script, command| {
        script.command(command, &[0; 32]).query("SELECT 'alive'")
    })
}

fn ahead(script: Script) -> Script {
    (0..3000)
        .fold(script, |script, _| script.query("DO 0"))
        .query("SELECT 3000")
}

/// Payloads of sizes around the borders, both ways.
pub(crate) fn large(capabilities: Capabilities) -> Vec<Script> {
    let modern = capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
    let up = SIZES
        .iter()
        .fold(Script::new("large queries", capabilities), |script, size| {
            // The command's byte, the count of attributes and of their sets.
            let around = if modern { 3 } else { 1 } + "SELECT LENGTH('')".len();
            script.query(&format!("SELECT LENGTH('{}')", "x".repeat(size - around)))
        });
    let down = SIZES
        .iter()
        .fold(Script::new("large rows", capabilities), |script, size| {
            // A length of three bytes behind its head, or of eight.
            let text = if size - 4 < 1 << 24 { size - 4 } else { size - 9 };
            script.query(&format!("SELECT REPEAT('x', {text})"))
        });
    let begun = Script::new("large long data", capabilities).prepare("SELECT LENGTH(?), MD5(?)");
    let data = SIZES.iter().fold(begun, |script, size| {
        script
            .long_data(1, 0, &vec![b'x'; size - 7])
            .long_data(1, 1, b"small")
            .execute(1, false, &[Value::Sent, Value::Sent])
    });
    vec![up, down, data]
}
