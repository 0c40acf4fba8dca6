//! Waiting for an answer with a deadline that no long statement hits (W2): a server that is silent for a while is asked over a
//! second connection what the session does. One that does nothing has answered long ago, or was never asked: the link is lost.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use outrigger_protocol::endpoint::Endpoint;

use crate::error::{Error, Side};

/// Never asked more often than this.
const SHORTEST: Duration = Duration::from_secs(1);
/// Asked so often with the same answer before a link is given up: the reply may have been on its way.
const IDLE: u32 = 2;
/// The same for a session that sends or receives: a large row may take its time, but not for ever.
const SENDING: u32 = 60;

/// Watches over one session. Clones watch the same one.
#[derive(Debug, Clone)]
pub(crate) struct Watch(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    endpoint: Endpoint,
    side: Side,
    timeout: Duration,
    id: u32,
    /// Behind one address there may be several servers.
    server: Option<String>,
}

/// What a session does, as its server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// A statement; or nobody can tell.
    Work,
    /// It sends or receives.
    Sending,
    /// Nothing: it waits for a statement, or it is gone.
    Nothing,
}

impl Watch {
    /// Watches over `conn`, which was just made.
    pub(super) async fn new(
        conn: &mut Conn,
        endpoint: &Endpoint,
        side: Side,
        timeout: Duration,
    ) -> Result<Self, mysql_async::Error> {
        Ok(Self(Arc::new(Watched {
            endpoint: endpoint.clone(),
            side,
            timeout: timeout.max(SHORTEST),
            id: conn.id(),
            server: server(conn).await?,
        })))
    }

    /// The server's `server_uuid`, where it says one.
    pub(crate) fn server(&self) -> Option<&str> {
        self.0.server.as_deref()
    }

    /// The answer, or an error of the link once it is certain that none comes. The session is ended then: it may hold locks.
    pub(crate) async fn over<T>(
        &self,
        answer: impl Future<Output = Result<T, mysql_async::Error>>,
    ) -> Result<T, mysql_async::Error> {
        let mut answer = pin!(answer);
        let (mut idle, mut sending) = (0, 0);
        loop {
            // Either may be cancelled when the answer comes: nothing but a short connection is lost.
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                () = tokio::time::sleep(self.0.timeout) => {}
            }
            let last = idle + 1 == IDLE || sending + 1 == SENDING;
            let doing = tokio::select! {
                biased;
                answer = &mut answer => return answer,
                doing = Box::pin(self.ask(last)) => doing,
            };
            match doing {
                Ok(Doing::Work) => (idle, sending) = (0, 0),
                Ok(Doing::Sending) => (idle, sending) = (0, sending + 1),
                Ok(Doing::Nothing) => (idle, sending) = (idle + 1, sending + 1),
                Err(why) => return Err(lost(why)),
            }
            if idle == IDLE || sending == SENDING {
                return Err(lost(format!(
                    "no answer came, and the server says that session {} does nothing: the link is lost",
                    self.0.id
                )));
            }
        }
    }

    /// Asks what the session does; `last`: if it is nothing, ends it.
    async fn ask(&self, last: bool) -> Result<Doing, String> {
        let Watched {
            endpoint,
            side,
            timeout,
            id,
            server: ours,
        } = &*self.0;
        let asking = async {
            let mut conn = match super::open(endpoint, *side, *timeout).await {
                Ok(conn) => conn,
                // Whoever refuses is there: too many connections, for one.
                Err(Error::Server { cause, .. }) if matches!(*cause, mysql_async::Error::Server(_)) => {
                    return Ok(Doing::Work);
                }
                Err(error) => return Err(error.to_string()),
            };
            let shown = async {
                let rows: Vec<Row> = conn.query("SHOW PROCESSLIST").await?;
                let sessions: Vec<_> = rows.iter().map(session).collect();
                let there = server(&mut conn).await?;
                let known = ours.is_some() && *ours == there;
                let doing = if known {
                    judge(&sessions, *id, conn.id())
                } else {
                    Doing::Work
                };
                if last && doing != Doing::Work {
                    // It may have ended by itself.
                    conn.query_drop(format!("KILL {id}")).await.ok();
                }
                Ok::<_, mysql_async::Error>(doing)
            };
            let doing = shown.await.map_err(|error| error.to_string())?;
            // The answer is in hand; how the session ends does not matter.
            conn.disconnect().await.ok();
            Ok(doing)
        };
        match tokio::time::timeout(*timeout * 2, asking).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(format!(
                "no answer within {timeout:?}, nor over a second connection"
            )),
        }
    }
}

/// A session in the server's list: its number, its command, its state.
type Session = (u64, String, String);

fn session(row: &Row) -> Session {
    let text = |column: usize| -> String { row.get_opt(column).and_then(Result::ok).unwrap_or_default() };
    (
        row.get_opt(0).and_then(Result::ok).unwrap_or_default(),
        text(4),
        text(6),
    )
}

/// What the sessions that an account sees say of one of them. `asking`: the one that asks, which an account always sees.
fn judge(sessions: &[Session], watched: u32, asking: u32) -> Doing {
    let find = |id: u32| sessions.iter().find(|(other, ..)| *other == u64::from(id));
    if find(asking).is_none() {
        return Doing::Work;
    }
    let Some((_, command, state)) = find(watched) else {
        return Doing::Nothing;
    };
    match (command.as_str(), state.as_str()) {
        ("Sleep", "") => Doing::Nothing,
        ("Sleep", _)
        | (_, "Sending to client" | "Writing to net" | "Receiving from client" | "Reading from net") => {
            Doing::Sending
        }
        _ => Doing::Work,
    }
}

/// Which server this is, where it says so.
async fn server(conn: &mut Conn) -> Result<Option<String>, mysql_async::Error> {
    let shown: Option<(String, String)> = conn.query_first("SHOW VARIABLES LIKE 'server_uuid'").await?;
    Ok(shown.map(|(_, uuid)| uuid))
}

fn lost(why: String) -> mysql_async::Error {
    mysql_async::Error::Io(io::Error::new(io::ErrorKind::TimedOut, why).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_seen_to_do_nothing_does_nothing() {
        let doing = |command: &str, state: &str| {
            let sessions = [
                (1, "Sleep".to_owned(), String::new()),
                (7, command.to_owned(), state.to_owned()),
                (9, "Query".to_owned(), "init".to_owned()),
            ];
            judge(&sessions, 7, 9)
        };
        assert_eq!(doing("Sleep", ""), Doing::Nothing);
        assert_eq!(doing("Sleep", "Receiving from client"), Doing::Sending);
        assert_eq!(doing("Query", "Sending to client"), Doing::Sending);
        assert_eq!(doing("Query", "User lock"), Doing::Work);
        assert_eq!(doing("Execute", "executing"), Doing::Work);
        assert_eq!(doing("Query", ""), Doing::Work);
        let alone = [(9, "Query".to_owned(), String::new())];
        assert_eq!(judge(&alone, 7, 9), Doing::Nothing, "it is gone");
        assert_eq!(judge(&[], 7, 9), Doing::Work, "nothing can be seen here");
    }
}
