//! The configuration file described as data: every section, every key, its meaning, bounds and default.
//!
//! Three things are made from it: the commented example, the check for unknown keys, and the hints about the nearest
//! known key. A test compares it with the structs that are read, field by field and default by default.

/// One section of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// Dotted name, as it stands between the brackets.
    pub name: &'static str,
    /// Whether it is written `[name]` or `[[name]]`, and whether it may be left out.
    pub kind: Kind,
    /// What it is about; one or more lines.
    pub about: &'static str,
    /// Its keys in the order of the example.
    pub keys: &'static [Key],
}

/// How a section is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `[name]`, must be there.
    Required,
    /// `[name]`, may be left out: every key has a default.
    Defaulted,
    /// `[name]`; leaving it out turns the thing off.
    Optional,
    /// `[[name]]`, once or more.
    Repeated,
}

/// One key of a section.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it means; one or more lines.
    pub meaning: &'static str,
    /// Which values are accepted.
    pub bounds: &'static str,
    /// Its default, or an example where there is none.
    pub value: Value,
}

/// What stands to the right of the equals sign in the example.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    /// Must be given; the text is an example.
    Required(&'static str),
    /// May be left out; the text is the default.
    Default(&'static str),
    /// May be left out and then has no value; the text is an example.
    Unset(&'static str),
}

const fn key(name: &'static str, value: Value, bounds: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        meaning,
        bounds,
        value,
    }
}

/// The keys by which a server is reached: shared by `[source]` and `[task.target]`.
macro_rules! server_keys {
    ($password:literal, $($more:expr,)*) => {
        &[
            key("host", Value::Default("\"127.0.0.1\""), "a host name, an IPv4 or IPv6 address; not together with `socket`", "Where the server listens."),
            key("port", Value::Default("3306"), "1 to 65535; not together with `socket`", "Its TCP port."),
            key(
                "socket",
                Value::Unset("\"/run/mysqld/mysqld.sock\""),
                "a path",
                "The server's unix socket, instead of host and port. On the same machine this is the fast way.",
            ),
            key("user", Value::Required("\"outrigger\""), "an account's name", "The account Outrigger uses there."),
            key(
                "password",
                Value::Required($password),
                "text, or { file = \"PATH\" } (a line break at the end is ignored), or { env = \"NAME\" }",
                "That account's password. It is never printed.",
            ),
            key(
                "tls",
                Value::Default("\"disabled\""),
                "MySQL's ssl-mode: \"disabled\", \"preferred\", \"required\", \"verify_ca\", \"verify_identity\"",
                "How the link is protected. Only the last two know that the server is the right one. Not needed over a unix socket.",
            ),
            key(
                "tls_ca",
                Value::Unset("\"/etc/outrigger/ca.pem\""),
                "a PEM file; for \"verify_ca\" and \"verify_identity\", which need it",
                "The authority that must have signed the server's certificate.",
            ),
            key(
                "tls_cert",
                Value::Unset("\"/etc/outrigger/client-cert.pem\""),
                "a PEM file; together with `tls_key`",
                "The certificate by which the server knows Outrigger, for an account with REQUIRE X509 (MySQL's ssl-cert).",
            ),
            key(
                "tls_key",
                Value::Unset("\"/etc/outrigger/client-key.pem\""),
                "a PEM file; together with `tls_cert`",
                "That certificate's private key (MySQL's ssl-key).",
            ),
            $($more,)*
        ]
    };
}

/// The whole file.
pub(super) const SECTIONS: &[Section] = &[
    SOURCE, LOG, PROXY, PROXY_TLS, GUARD, TASK, TARGET, COPY, GROUP, LIMITS, HTTP,
];

const RETRY_WINDOW: &str = "a duration like \"30s\" or \"720m\"; at least 1s";
const CONNECT_TIMEOUT: &str = "100ms to 10m";
const NETWORKS: &str = "addresses like \"10.1.2.3\" and networks like \"10.0.0.0/8\" or \"2001:db8::/32\"";

const SOURCE: Section = Section {
    name: "source",
    kind: Kind::Required,
    about: "The MySQL server whose changes are captured and copied.",
    keys: server_keys!(
        "{ file = \"/etc/outrigger/source.password\" }",
        key(
            "server_id",
            Value::Unset("4000001"),
            "1 to 4294967295, and no other replica of this source may have it",
            "The server_id with which Outrigger registers as a replica. Left out, one is derived from the host's name.",
        ),
        key(
            "heartbeat",
            Value::Default("\"5s\""),
            "100ms to 1h",
            "How often an idle source says that it is still there. A link silent for three of them is made anew.",
        ),
        key(
            "semi_sync",
            Value::Default("false"),
            "true or false; the source needs the plugin rpl_semi_sync_source, enabled",
            "Whether the source's commits wait until the log is synced (semi-synchronous replication).",
        ),
        key(
            "prepared_wait",
            Value::Default("\"10m\""),
            "0 to 24h",
            "How long a new log waits for prepared XA transactions to end before it begins. Seeing them needs XA_RECOVER_ADMIN.",
        ),
        key(
            "allow_partial_row_images",
            Value::Default("false"),
            "true or false; set before the copy begins",
            "Whether the source may log a part of each row only (binlog_row_image = MINIMAL or NOBLOB). Every table is then copied whole at\none place: under a short LOCK TABLES, on one connection, and from its beginning again where that breaks off.",
        ),
        key(
            "system_time_zone",
            Value::Unset("\"Europe/Berlin\""),
            "a time zone's name that the targets know",
            "The time zone of the source's machine. Needed only where the source's time_zone is SYSTEM, that machine's offset from UTC has not\nalways been the same (daylight saving time), and the target's machine keeps another time: `outrigger check` says so.",
        ),
        key(
            "connect_timeout",
            Value::Default("\"10s\""),
            CONNECT_TIMEOUT,
            "How long one attempt to connect may take."
        ),
        key(
            "retry_window",
            Value::Default("\"720m\""),
            RETRY_WINDOW,
            "How long capture keeps trying to reach the source again before it stops.",
        ),
    ),
};

const LOG: Section = Section {
    name: "log",
    kind: Kind::Required,
    about: "The change log: what the source committed and some target has not applied yet.",
    keys: &[
        key(
            "path",
            Value::Required("\"/var/lib/outrigger/log\""),
            "a folder on a local disk, used by nothing else; it is created when missing",
            "Where the log lives.",
        ),
        key(
            "quota",
            Value::Default("\"20 GiB\""),
            "a size; at least 64 MiB",
            "The most the log may take on disk. When it is full, capture pauses until targets have applied enough.",
        ),
        key(
            "max_age",
            Value::Unset("\"7d\""),
            "a duration, at least 1s; left out, there is no limit",
            "How long a transaction may stay in the log, counted from when it was captured. Older ones go as soon as every task has\napplied them; while a task has not, the log is full: capture pauses and says so.",
        ),
        key(
            "keep",
            Value::Default("\"0s\""),
            "a duration; not above `max_age`",
            "How long applied transactions stay for `outrigger log show` and `export`, while the log takes no more than half of its\nquota. The last thousand stay in any case, unless the log is full.",
        ),
        key(
            "keep_all",
            Value::Default("false"),
            "true or false",
            "Whether changes that no task selects are kept, too. Without them the log is smaller; a task that is to select more than\nwas kept has to be copied anew. A compressed transaction of more than 16 MiB is always kept.",
        ),
        key(
            "sync_interval",
            Value::Default("\"8ms\""),
            "0 to 1s",
            "How long what was captured waits for company at most before it is synced to disk; at 0 it is synced at once. Replay does not wait for\nit, nor does a source that waits for the log (`semi_sync`): that is synced at once.",
        ),
        key(
            "sync_bytes",
            Value::Default("\"1 MiB\""),
            "a size; 4 KiB to 16 MiB",
            "This much captured and not yet synced is synced at once; sixteen times as much makes capture wait.",
        ),
        key(
            "cache",
            Value::Default("\"32 MiB\""),
            "a size; at least 1 MiB",
            "Memory for reading back what was captured.",
        ),
        key(
            "write_buffer",
            Value::Default("\"16 MiB\""),
            "a size; 1 MiB to 1 GiB",
            "Memory for what was captured and is not yet in a table file, of which three may exist. A small quota lowers it.",
        ),
        key(
            "tail",
            Value::Default("\"16 MiB\""),
            "a size",
            "The newest transactions kept in memory, so that tasks that keep up read nothing from disk.",
        ),
    ],
};

const PROXY: Section = Section {
    name: "proxy",
    kind: Kind::Optional,
    about: "The proxy that applications connect to instead of the source, which it reaches as [source] says, TLS included. Without this\nsection there is none. It keeps no password; the source sees accounts come from the sidecar's address.",
    keys: &[
        key(
            "listen",
            Value::Default("[\"127.0.0.1:3307\"]"),
            "addresses like \"0.0.0.0:3307\", paths of unix sockets that begin with / or ./, \"systemd:NAME\" for\nsockets that systemd hands over under that name (FileDescriptorName); at least one. One with lists of its own is\nwritten { address = \"0.0.0.0:3308\", allow = [\"10.0.0.0/8\"], deny = [],\ncompression = [\"zstd\", \"uncompressed\"] }",
            "Where applications connect.",
        ),
        key(
            "allow",
            Value::Default("[]"),
            NETWORKS,
            "The only addresses that may connect over TCP; others are refused with MySQL's error 1130. An empty list allows all. Holds\nfor every address of `listen` without a list of its own.",
        ),
        key(
            "deny",
            Value::Default("[]"),
            NETWORKS,
            "Addresses that may not connect over TCP, even if `allow` has them. Holds likewise.",
        ),
        key(
            "proxy_protocol",
            Value::Default("[]"),
            NETWORKS,
            "Load balancers: each connection from these must begin with a PROXY protocol header (version 1 or 2), within 5s. The client that\nit names is the one that lists, limits and logs know. From anywhere else such a header is refused. Holds likewise.",
        ),
        key(
            "compression",
            Value::Default("[\"zlib\", \"zstd\", \"uncompressed\"]"),
            "names as in the server's protocol_compression_algorithms: \"zlib\", \"zstd\", \"uncompressed\"; at least one",
            "How clients may have their sessions compressed, by the proxy itself: the link to the source never is. [\"uncompressed\"] turns it\noff; without \"uncompressed\" other clients are refused with MySQL's error 3922. Holds for every address of `listen` without a list of\nits own.",
        ),
        key(
            "max_connections",
            Value::Default("1000"),
            "1 to 1000000",
            "The most connections at a time; one more is refused with MySQL's error 1040.",
        ),
        key(
            "max_connections_per_address",
            Value::Default("0"),
            "0 (no limit) to 1000000",
            "The most connections from one IP address at a time; one more is refused likewise.",
        ),
        key(
            "max_connections_per_user",
            Value::Default("0"),
            "0 (no limit) to 1000000",
            "The most sessions of one user at a time, whatever its host; one more is refused, once its password was found right, with\nMySQL's error 1203.",
        ),
        key(
            "connect_timeout",
            Value::Default("\"10s\""),
            CONNECT_TIMEOUT,
            "How long reaching the source may take.",
        ),
        key(
            "handshake_timeout",
            Value::Default("\"30s\""),
            "100ms to 10m",
            "How long a client may take until it is authenticated.",
        ),
        key(
            "idle_timeout",
            Value::Default("\"0s\""),
            "0 (as long as the source allows: wait_timeout), or 1s to 365d",
            "How long a client may be silent between commands and outside a transaction. It is then told so with MySQL's error 4031.",
        ),
        key(
            "drain_timeout",
            Value::Default("\"30s\""),
            "0 to 1h",
            "How long connections may finish a command or a transaction when Outrigger stops; idle ones are closed at once.",
        ),
        key(
            "keepalive",
            Value::Default("\"1m\""),
            "1s to 1h",
            "How long a TCP peer on another machine may be silent before it is asked whether it is still there.",
        ),
        key(
            "tcp_user_timeout",
            Value::Default("\"5m\""),
            "0 (left to the kernel, about 15 minutes), or 1s to 1h",
            "How long a TCP peer may answer nothing, applications' and the source's alike, until the connection is given up. This is TCP's\nown TCP_USER_TIMEOUT: one who is there and takes nothing in for so long is given up too (compare MySQL's net_write_timeout).",
        ),
        key(
            "slow_query",
            Value::Default("\"0s\""),
            "0 (none) to 24h",
            "Statements that take this long or longer, up to the end of their results, are logged: who, how long, rows and bytes, and a\ndigest that has no values. At most 100 lines a second.",
        ),
    ],
};

const PROXY_TLS: Section = Section {
    name: "proxy.tls",
    kind: Kind::Defaulted,
    about: "TLS (1.2 or later) between applications and the proxy.",
    keys: &[
        key(
            "ssl_mode",
            Value::Default("\"off\""),
            "\"off\", \"optional\", \"required\"",
            "Whether applications may or must use it. Where they must, one that comes over TCP without it is refused with MySQL's error\n3159; a unix socket is safe as it is.",
        ),
        key(
            "cert",
            Value::Unset("\"/etc/outrigger/proxy-cert.pem\""),
            "a PEM file; needed unless \"off\"",
            "The proxy's certificate, and those between it and an authority (MySQL's ssl-cert). Read again when it changes; one that does\nnot serve leaves the one before in use and is said in the log and by outrigger_proxy_certificate_reloads_total.",
        ),
        key(
            "key",
            Value::Unset("\"/etc/outrigger/proxy-key.pem\""),
            "a PEM file; needed unless \"off\"",
            "That certificate's private key (MySQL's ssl-key). Read again likewise.",
        ),
        key(
            "client_ca",
            Value::Unset("\"/etc/outrigger/client-ca.pem\""),
            "a PEM file; left out, applications are not asked for certificates",
            "The authorities that sign applications' certificates (MySQL's ssl-ca). Having one is optional; a wrong one is refused.\nFor applications that show one, and for no others, the proxy shows the source [source] tls_cert. Read again likewise.",
        ),
    ],
};

const GUARD: Section = Section {
    name: "proxy.guard",
    kind: Kind::Defaulted,
    about: "What the proxy refuses because it would break the sync. docs/guard.md has every rule.",
    keys: &[key(
        "rules",
        Value::Default("{}"),
        "rules by name, each \"reject\", \"warn\" (log, count, let pass) or \"allow\", like { gh-ost = \"warn\" }",
        "Other actions than the rules' own.",
    )],
};

const TASK: Section = Section {
    name: "task",
    kind: Kind::Repeated,
    about: "A task keeps a selection of the source's tables in step on one target. There may be several.",
    keys: &[
        key(
            "name",
            Value::Required("\"main\""),
            "1 to 64 letters, digits, `-` and `_`; each task its own",
            "What the task is called, here and in the target's checkpoint table. Renaming it starts it anew.",
        ),
        key(
            "include",
            Value::Required("[\"shop\"]"),
            "\"database\" or \"database.table\", `*` is a wildcard; a name with a dot or star goes in backticks; at least one",
            "What is copied and kept in step.",
        ),
        key(
            "exclude",
            Value::Default("[]"),
            "like `include`",
            "What is left out of that again.",
        ),
        key(
            "on_existing_tables",
            Value::Default("\"refuse\""),
            "\"refuse\" or \"keep\"",
            "What to do when a table to be copied is on the target already: stop and name it, or keep its definition and its\nrows; copied rows then replace those with the same key.",
        ),
        key(
            "on_divergence",
            Value::Default("\"stop\""),
            "\"stop\", \"overwrite\" or \"ignore\"",
            "What to do when a row that a change expects is not on the target, or one is in its way: stop and name it, make it what\nit is on the source after the change, or leave that row's change out. Each is counted, logged and shown.",
        ),
        key(
            "metadata_database",
            Value::Default("\"outrigger\""),
            "a database's name",
            "The database on the target where the task's checkpoint is kept; created when missing.",
        ),
        key(
            "connect_timeout",
            Value::Default("\"10s\""),
            CONNECT_TIMEOUT,
            "How long one attempt to connect may take. A server silent for that long in a statement is asked whether it works on it.",
        ),
        key(
            "retry_window",
            Value::Default("\"720m\""),
            RETRY_WINDOW,
            "How long the task keeps trying to reach source or target again before it stops.",
        ),
    ],
};

const TARGET: Section = Section {
    name: "task.target",
    kind: Kind::Required,
    about: "The server this task keeps in step.",
    keys: server_keys!("{ env = \"OUTRIGGER_TARGET_PASSWORD\" }",),
};

const COPY: Section = Section {
    name: "task.copy",
    kind: Kind::Defaulted,
    about: "What is copied before changes are replayed.",
    keys: &[
        key(
            "schema",
            Value::Default("true"),
            "true or false",
            "Whether databases and tables are created on the target.",
        ),
        key(
            "rows",
            Value::Default("true"),
            "true or false",
            "Whether the rows that exist already are copied.",
        ),
        key(
            "connections",
            Value::Default("4"),
            "1 to 64",
            "Connections to each side that copy at the same time.",
        ),
        key(
            "chunk_rows",
            Value::Default("20000"),
            "1 to 1000000",
            "The most rows copied in one transaction.",
        ),
        key(
            "chunk_bytes",
            Value::Default("\"4 MiB\""),
            "a size; 64 KiB to 256 MiB",
            "About how much is copied in one transaction.",
        ),
    ],
};

const GROUP: Section = Section {
    name: "task.group",
    kind: Kind::Defaulted,
    about: "How many of the source's transactions are applied as one. Whole transactions only, in order.",
    keys: &[
        key(
            "max_transactions",
            Value::Default("500"),
            "1 to 100000",
            "The most transactions in a group; up to eight times as many where the target is far away.",
        ),
        key(
            "lanes",
            Value::Default("4"),
            "1 to 64",
            "The most connections on which groups are executed at the same time.",
        ),
        key(
            "order",
            Value::Default("\"source\""),
            "\"source\" or \"eventual\"",
            "In which order groups are committed. \"source\": the source's, so the target is at any moment as the source was at one place.\n\"eventual\": each as soon as it is executed; one that has no row in common with an older one need not wait for it, and may be\nseen first. Less delay where the target is far away or commits slowly.",
        ),
        key(
            "max_bytes",
            Value::Default("\"2 MiB\""),
            "a size; 64 KiB to 256 MiB",
            "The most bytes of statements in a group, likewise; a larger transaction goes alone, in parts. Decoded changes take about `lanes`\ntimes as much memory, and as much as the largest row.",
        ),
        key(
            "max_delay",
            Value::Default("\"0s\""),
            "0 to 10s",
            "How long a group waits for more. At 0 a group is what has piled up while the one before was applied.",
        ),
    ],
};

const LIMITS: Section = Section {
    name: "task.limits",
    kind: Kind::Defaulted,
    about: "How fast the task may be, copying and applying together. Nothing is limited unless it stands here.",
    keys: &[
        key(
            "rows_per_second",
            Value::Default("0"),
            "0 (no limit) or more",
            "Rows written to the target per second, on average.",
        ),
        key(
            "bytes_per_second",
            Value::Default("\"0 B\""),
            "a size; 0 (no limit), or at least 64 KiB",
            "Bytes of statements sent to the target per second, on average.",
        ),
        key(
            "max_latency",
            Value::Default("\"0s\""),
            "0 (never), or 1ms to 1m",
            "A commit on the target that takes longer than this halves the lanes, down to one; each five seconds without such a\ncommit give one back.",
        ),
    ],
};

const HTTP: Section = Section {
    name: "http",
    kind: Kind::Defaulted,
    about: "Status, health and metrics over HTTP. It asks for no password: keep it on an address that only you reach.",
    keys: &[key(
        "listen",
        Value::Default("\"127.0.0.1:8306\""),
        "an address and a port",
        "Where /api/v1/status, /healthz and /metrics are served.",
    )],
};
