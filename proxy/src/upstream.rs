//! The source as the proxy reaches it: where, and by which kind of link.

use outrigger_protocol::endpoint::{Address, Endpoint, TlsMode};
use outrigger_protocol::handshake::{Capabilities, Greeting};
use outrigger_protocol::reply::ErrPacket;
use outrigger_tls::{Connector, is_wanted};

use crate::bridge::Payload;
use crate::compression::Algorithm;
use crate::greeting;
use crate::session::early;
use crate::stream::{Stream, Watch};
use crate::wire::Wire;

/// What it takes to reach the source.
pub(crate) struct Upstream {
    /// Its account and password are nobody's business here: sessions log in with the client's.
    endpoint: Endpoint,
    /// Unless TLS is disabled: for sessions of anybody, and for those of clients that showed a certificate.
    connectors: Option<Connectors>,
}

struct Connectors {
    bare: Connector,
    vouching: Connector,
}

/// A source that greeted.
pub(crate) struct Greeted {
    pub(crate) wire: Wire<Stream>,
    /// Its first payload: a greeting as the client gets it, or an error as it came.
    pub(crate) payload: Payload,
    pub(crate) nonce: Vec<u8>,
    /// What it offers: a client may wish for more.
    pub(crate) capabilities: Capabilities,
    /// The source's number for the session; 0 where it did not greet.
    pub(crate) connection_id: u32,
    /// Its version, where it says one, as version comments have it.
    pub(crate) version: Option<u32>,
    /// The session is to go over to TLS.
    pub(crate) tls: bool,
}

impl Upstream {
    /// Reads the files that the endpoint names.
    pub(crate) fn new(mut endpoint: Endpoint) -> Result<Self, outrigger_tls::Error> {
        endpoint.password = outrigger_protocol::endpoint::Secret::default();
        let connectors = match endpoint.tls {
            TlsMode::Disabled => None,
            _ => Some(Connectors {
                bare: Connector::new(&endpoint, None)?,
                vouching: Connector::new(&endpoint, endpoint.tls_identity.as_ref())?,
            }),
        };
        Ok(Self { endpoint, connectors })
    }

    /// The same, of the files as they are now.
    pub(crate) fn read_again(&self) -> Result<Self, outrigger_tls::Error> {
        Self::new(self.endpoint.clone())
    }

    pub(crate) fn address(&self) -> &Address {
        &self.endpoint.address
    }

    /// Whether passwords may come to it as they are, over some link that the configuration allows.
    pub(crate) fn may_be_safe(&self) -> bool {
        self.connectors.is_some() || matches!(self.endpoint.address, Address::Socket(_))
    }

    /// Connects and reads the greeting, in which the proxy's TLS, if there is any, and compression stand for the source's; or the error that the
    /// client gets instead of one. The caller bounds the time.
    pub(crate) async fn reach(
        &self,
        watch: Watch,
        (tls, compression): (bool, &[Algorithm]),
    ) -> Result<Greeted, ErrPacket<'static>> {
        let address = self.address();
        let stream = Stream::connect(address, watch).await.map_err(|cause| {
            early(2003, format!("Can't connect to MySQL server on '{address}' ({cause}): the proxy runs, the source does not answer; try again when it does"))
        })?;
        let mut wire = Wire::new(stream);
        let mut payload = wire.receive().await.map_err(|cause| {
            early(
                2013,
                format!(
                    "Lost connection to MySQL server on '{address}' while waiting for its greeting ({cause})"
                ),
            )
        })?;
        if greeting::is_refusal(&payload) {
            return Ok(Greeted {
                wire,
                payload,
                nonce: Vec::new(),
                capabilities: Capabilities::empty(),
                connection_id: 0,
                version: None,
                tls: false,
            });
        }
        let greeted = Greeting::parse(&payload)
            .and_then(|greeted| greeting::offer(&mut payload, tls, compression).map(|()| greeted))
            .map_err(|cause| early(2012, format!("Error in handshake with '{address}': {cause}")))?;
        let offered = greeted.capabilities.contains(Capabilities::SSL);
        let tls = is_wanted(&self.endpoint, offered).map_err(|cause| {
            early(
                2026,
                format!("SSL connection error between the proxy and '{address}': {cause}"),
            )
        })?;
        Ok(Greeted {
            wire,
            payload,
            version: greeted.version(),
            nonce: greeted.auth_data,
            capabilities: greeted.capabilities,
            connection_id: greeted.connection_id,
            tls,
        })
    }

    /// Goes over to TLS after the request for it. `vouched_for`: the client has shown a certificate that we know, so we show ours.
    pub(crate) async fn secure(&self, bare: Stream, vouched_for: bool) -> Result<Stream, ErrPacket<'static>> {
        let failed = |cause: &dyn std::fmt::Display| {
            let address = self.address();
            ErrPacket::new(
                2026,
                "HY000",
                format!("SSL connection error between the proxy and '{address}': {cause}"),
            )
        };
        let Some(connectors) = &self.connectors else {
            return Err(failed(&"TLS is disabled"));
        };
        let connector = match vouched_for {
            true => &connectors.vouching,
            false => &connectors.bare,
        };
        let tls = connector.connect(bare).await.map_err(|cause| failed(&cause))?;
        Ok(Stream::tls(tls))
    }
}
