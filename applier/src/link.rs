//! A connection to either server: address, account, deadlines. What is set on the session is left to the caller.

mod watch;

use std::time::Duration;

use mysql_async::prelude::{AsQuery, FromRow, Queryable};
use mysql_async::{ClientIdentity, Conn, DriverError, Opts, OptsBuilder, Row, SslOpts};
use outrigger_protocol::definition::AnswerRow;
use outrigger_protocol::endpoint::{Address, Endpoint, SESSION, TlsMode};

use crate::error::{Error, Side};
pub(crate) use watch::Watch;

/// Packets as large as the protocol has them: one column of 1 GiB.
const MAX_PACKET: usize = 1 << 30;

/// A session whose every answer is watched over ([`Watch`]): a silent server or network ends in an error, however long its
/// statements take.
#[derive(Debug)]
pub(crate) struct Link {
    conn: Conn,
    watch: Watch,
}

impl Link {
    /// All rows of a statement's result.
    pub(crate) async fn query<T: FromRow + Send + 'static>(
        &mut self,
        statement: impl AsQuery,
    ) -> Result<Vec<T>, mysql_async::Error> {
        self.watch.over(self.conn.query(statement)).await
    }

    /// The first row.
    pub(crate) async fn query_first<T: FromRow + Send + 'static>(
        &mut self,
        statement: impl AsQuery,
    ) -> Result<Option<T>, mysql_async::Error> {
        self.watch.over(self.conn.query_first(statement)).await
    }

    /// The answers to several questions, each with a result, as text: they travel together.
    pub(crate) async fn ask(
        &mut self,
        questions: &[String],
    ) -> Result<Vec<Vec<AnswerRow>>, mysql_async::Error> {
        let answers = answers(&mut self.conn, questions.join(";\n"), questions.len());
        self.watch.over(answers).await
    }

    /// A statement whose result nobody wants.
    pub(crate) async fn query_drop(&mut self, statement: impl AsQuery) -> Result<(), mysql_async::Error> {
        self.watch.over(self.conn.query_drop(statement)).await
    }

    /// Rows that the last statement changed, or found.
    pub(crate) fn affected_rows(&self) -> u64 {
        self.conn.affected_rows()
    }

    /// Which server it leads to, where that says so.
    pub(crate) fn server(&self) -> Option<&str> {
        self.watch.server()
    }

    /// The connection itself; what is asked of it must be waited for with the watch.
    pub(crate) fn bare(&mut self) -> (&mut Conn, &Watch) {
        (&mut self.conn, &self.watch)
    }

    /// Ends the session.
    pub(crate) async fn disconnect(self) -> Result<(), mysql_async::Error> {
        self.watch.over(self.conn.disconnect()).await
    }
}

async fn answers(
    conn: &mut Conn,
    questions: String,
    count: usize,
) -> Result<Vec<Vec<AnswerRow>>, mysql_async::Error> {
    let mut answers = Vec::with_capacity(count);
    let mut result = conn.query_iter(questions).await?;
    while answers.len() < count {
        // An error after the first statement is kept by the driver until somebody reads on.
        if result.columns().is_none() {
            result.next().await?;
            return Err(mysql_async::Error::Other("a question without an answer".into()));
        }
        let mut rows = Vec::new();
        while let Some(row) = result.next().await? {
            rows.push(texts(row));
        }
        answers.push(rows);
    }
    Ok(answers)
}

/// A row of a text result.
fn texts(row: Row) -> AnswerRow {
    let text = |value| {
        mysql_async::from_value_opt::<Option<String>>(value)
            .ok()
            .flatten()
    };
    row.unwrap().into_iter().map(text).collect()
}

/// Connects and authenticates within `timeout`, which is also how long an answer may take before it is asked about. Affected rows
/// count the rows found, not the rows changed.
pub(crate) async fn connect(endpoint: &Endpoint, side: Side, timeout: Duration) -> Result<Link, Error> {
    let mut conn = open(endpoint, side, timeout).await?;
    match tokio::time::timeout(timeout, Watch::new(&mut conn, endpoint, side, timeout)).await {
        Ok(watch) => watch
            .map(|watch| Link { conn, watch })
            .map_err(|cause| Error::server(side, format!("connecting to {}", endpoint.address), cause)),
        Err(_elapsed) => Err(Error::ConnectTimeout {
            side,
            address: endpoint.address.to_string(),
            seconds: timeout.as_secs(),
        }),
    }
}

async fn open(endpoint: &Endpoint, side: Side, timeout: Duration) -> Result<Conn, Error> {
    let opts = OptsBuilder::default()
        .user(Some(endpoint.user.as_str()))
        .pass(Some(endpoint.password.expose()))
        .prefer_socket(false)
        .client_found_rows(true)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .stmt_cache_size(0)
        .setup(vec![SESSION])
        .max_allowed_packet(Some(MAX_PACKET))
        .connect_attribute("program_name", "outrigger");
    let opts = match &endpoint.address {
        Address::Tcp { host, port } => opts
            .ip_or_hostname(host.as_str())
            .tcp_port(*port)
            .ssl_opts(protection(endpoint)),
        Address::Socket(path) => opts.socket(Some(path.to_string_lossy())),
    };
    let opts = Opts::from(opts);
    let connecting = async {
        match Conn::new(opts.clone()).await {
            Err(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer))
                if endpoint.tls == TlsMode::Preferred =>
            {
                Conn::new(OptsBuilder::from_opts(opts).ssl_opts(None)).await
            }
            other => other,
        }
    };
    match tokio::time::timeout(timeout, connecting).await {
        Ok(connected) => connected
            .map_err(|cause| Error::server(side, format!("connecting to {}", endpoint.address), cause)),
        Err(_elapsed) => Err(Error::ConnectTimeout {
            side,
            address: endpoint.address.to_string(),
            seconds: timeout.as_secs(),
        }),
    }
}

/// The driver lets a certificate for another name pass (`VerifyCa`) where it finds this word in the TLS library's message, which
/// names things otherwise by now, but quotes the name that was expected. The chain is judged first, by other messages.
const ANY_NAME: &str = "NotValidForName";

/// What the mode means for TLS over TCP; a unix socket needs none.
fn protection(endpoint: &Endpoint) -> Option<SslOpts> {
    let opts = match endpoint.tls {
        TlsMode::Disabled => return None,
        TlsMode::Preferred | TlsMode::Required => SslOpts::default().with_danger_accept_invalid_certs(true),
        TlsMode::VerifyCa | TlsMode::VerifyIdentity => {
            let authorities = endpoint.tls_ca.iter().map(|path| path.clone().into()).collect();
            let any_name = endpoint.tls == TlsMode::VerifyCa;
            SslOpts::default()
                .with_root_certs(authorities)
                .with_disable_built_in_roots(true)
                .with_danger_skip_domain_validation(any_name)
                .with_danger_tls_hostname_override(any_name.then_some(ANY_NAME))
        }
    };
    let identity = endpoint.tls_identity.as_ref();
    Some(opts.with_client_identity(identity.map(|identity| {
        ClientIdentity::new(identity.certificate.clone().into(), identity.key.clone().into())
    })))
}
