//! Who is connected to the proxy, as `/api/v1/sessions` tells and `outrigger sessions` prints.

use outrigger_proxy::{Activity, Seen};
use serde::{Deserialize, Serialize};

use super::render::{bytes, seconds};

/// Every connection. Fields are added, never renamed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sessions {
    /// In the order in which they came.
    pub sessions: Vec<SessionPart>,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionPart {
    /// The proxy's number for it.
    pub number: u64,
    /// The source's number for it, as in its process list.
    pub source_id: Option<u32>,
    /// The account's name.
    pub user: Option<String>,
    /// The default database, where there is one and it is known.
    pub database: Option<String>,
    /// The client's address, or `unix`.
    pub client: String,
    /// Where the client came in.
    pub listener: String,
    /// Whether the client came over TLS.
    pub tls: bool,
    /// How its session is compressed: `zlib` or `zstd`; absent where it is not.
    pub compression: Option<String>,
    /// Seconds since it connected.
    pub connected_seconds: f64,
    /// `authenticating`, `idle`, `command`, `held` (its next command waits), `replicating`, or `unfollowed` where the proxy can't tell.
    pub state: String,
    /// The command that is under way.
    pub command: Option<String>,
    /// Seconds since that command came, or since the last one's reply ended.
    pub state_seconds: f64,
    /// Whether a transaction is open.
    pub in_transaction: bool,
    /// Whether it could go on on another server now: at a boundary, and tied by nothing.
    #[serde(default)]
    pub movable: bool,
    /// What would be lost there: `prepared_statements`, `temporary_tables`, `user_locks`, `locked_tables`, `user_variables`, `handlers`,
    /// `next_transaction` (SET TRANSACTION), `unseen` (what a routine may have done, say), `error` (the last reply was one, and does not say
    /// whether a transaction is open).
    #[serde(default)]
    pub tied_by: Vec<String>,
    /// Variables of the session that were set, without their values: they would have to be set there, too.
    #[serde(default)]
    pub variables: Vec<String>,
    /// Commands that it sent.
    pub commands: u64,
    /// Bytes that came from the client.
    pub received_bytes: u64,
    /// Bytes that came from the source.
    pub sent_bytes: u64,
}

impl From<Seen> for SessionPart {
    fn from(seen: Seen) -> Self {
        let (state, command) = match seen.activity {
            Activity::Authenticating => ("authenticating", None),
            Activity::Idle => ("idle", None),
            Activity::Command(command) => ("command", Some(command.map_or("unknown", |kind| kind.name()))),
            Activity::Held => ("held", None),
            Activity::Replicating => ("replicating", None),
            Activity::Unfollowed => ("unfollowed", None),
        };
        Self {
            movable: seen.is_movable(),
            tied_by: seen.tied_by.iter().map(|reason| (*reason).to_owned()).collect(),
            variables: seen.variables,
            number: seen.number,
            source_id: seen.source_id,
            user: seen.user,
            database: seen.database,
            client: seen.client,
            listener: seen.listener,
            tls: seen.tls,
            compression: seen.compression.map(str::to_owned),
            connected_seconds: seen.connected.as_secs_f64(),
            state: state.to_owned(),
            command: command.map(str::to_owned),
            state_seconds: seen.lasting.as_secs_f64(),
            in_transaction: seen.in_transaction,
            commands: seen.commands,
            received_bytes: seen.received,
            sent_bytes: seen.sent,
        }
    }
}

/// The list as a table, ending in a line break.
pub fn render_sessions(list: &Sessions) -> String {
    const HEAD: [&str; 13] = [
        "id",
        "user",
        "database",
        "client",
        "listener",
        "tls",
        "compressed",
        "connected",
        "doing",
        "for",
        "transaction",
        "in / out",
        "tied by",
    ];
    if list.sessions.is_empty() {
        return "nobody is connected\n".to_owned();
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(list.sessions.iter().map(cells));
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0);
            line.push_str(&format!("{cell:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn cells(session: &SessionPart) -> [String; 13] {
    let or_none = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
    [
        session
            .source_id
            .map_or_else(|| "-".to_owned(), |id| id.to_string()),
        or_none(&session.user),
        or_none(&session.database),
        printable(&session.client),
        printable(&session.listener),
        if session.tls { "yes" } else { "no" }.to_owned(),
        or_none(&session.compression),
        seconds(session.connected_seconds),
        session
            .command
            .clone()
            .unwrap_or_else(|| session.state.clone())
            .replace('_', " "),
        seconds(session.state_seconds),
        if session.in_transaction { "open" } else { "-" }.to_owned(),
        format!(
            "{} / {}",
            bytes(session.received_bytes),
            bytes(session.sent_bytes)
        ),
        match session.tied_by.as_slice() {
            [] => "-".to_owned(),
            reasons => reasons.join(", ").replace('_', " "),
        },
    ]
}

/// A client chose the text: nothing in it may move the cursor or end the line.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seen() -> Seen {
        Seen {
            number: 3,
            source_id: Some(42),
            user: Some("app\u{1b}[2J".to_owned()),
            database: None,
            client: "10.0.0.1:50000".to_owned(),
            listener: "0.0.0.0:3307".to_owned(),
            tls: true,
            compression: Some("zstd"),
            connected: Duration::from_secs(90),
            activity: Activity::Command(None),
            lasting: Duration::from_millis(1500),
            in_transaction: true,
            tied_by: vec!["user_locks", "unseen"],
            variables: Vec::new(),
            commands: 7,
            received: 2048,
            sent: 100,
        }
    }

    #[test]
    fn a_line_for_each_under_a_head() {
        let one = SessionPart::from(seen());
        let mut other = SessionPart::from(Seen {
            activity: Activity::Authenticating,
            source_id: None,
            ..seen()
        });
        other.in_transaction = false;
        let text = render_sessions(&Sessions {
            sessions: vec![one, other],
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("id  user"), "{text}");
        assert!(
            lines[1].starts_with("42  app\u{fffd}[2J  -") && lines[1].contains("unknown         1.5 s  open"),
            "{text}"
        );
        assert!(lines[1].ends_with("user locks, unseen"), "{text}");
        assert!(
            lines[2].starts_with("-   app") && lines[2].contains("authenticating"),
            "{text}"
        );
        assert_eq!(render_sessions(&Sessions::default()), "nobody is connected\n");
    }
}
