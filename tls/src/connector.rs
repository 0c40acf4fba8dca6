//! TLS towards a server. Decides whether a link gets TLS and what the server's certificate must be.

use std::io;
use std::sync::Arc;

use outrigger_protocol::endpoint::{Address, Endpoint, Identity, TlsMode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
};

use crate::{Error, pem};

/// Whether a link to `endpoint` gets TLS. `offered`: the server can do it.
///
/// # Errors
/// Where it must and the server can't.
pub fn is_wanted(endpoint: &Endpoint, offered: bool) -> Result<bool, Error> {
    match (endpoint.tls, offered) {
        (TlsMode::Disabled, _) | (TlsMode::Preferred, false) => Ok(false),
        (TlsMode::Preferred, true) => Ok(!matches!(endpoint.address, Address::Socket(_))),
        (_, true) => Ok(true),
        (_, false) => Err(Error::Unfit(
            "the server offers none; give it certificates (ssl_ca, ssl_cert, ssl_key), or set the source's tls to \"disabled\""
                .to_owned(),
        )),
    }
}

/// All that it takes to begin TLS with one server.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    /// For the server and the mode of `endpoint`. `identity` is what the server is shown of us when it asks.
    ///
    /// # Errors
    /// When a file can't be read or does not serve.
    pub fn new(endpoint: &Endpoint, identity: Option<&Identity>) -> Result<Self, Error> {
        let unfit = |error: TlsError| Error::Unfit(error.to_string());
        let host = match &endpoint.address {
            Address::Tcp { host, .. } => host.as_str(),
            Address::Socket(_) => "localhost",
        };
        let provider = Arc::new(ring::default_provider());
        let judge = match endpoint.tls {
            TlsMode::VerifyCa | TlsMode::VerifyIdentity => {
                let path = endpoint.tls_ca.as_ref().ok_or_else(|| {
                    Error::Unfit(
                        "tls_ca names no file with the authority that signed the server's certificate"
                            .to_owned(),
                    )
                })?;
                let roots = Arc::new(pem::authorities("tls_ca", path)?);
                let judge = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
                Some(judge.build().map_err(|error| Error::Unfit(error.to_string()))?)
            }
            _ => None,
        };
        let verifier = Verifier {
            judge,
            any_name: endpoint.tls != TlsMode::VerifyIdentity,
            algorithms: provider.signature_verification_algorithms,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = pem::identity(["tls_cert", "tls_key"], identity)?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| Error::Unfit(format!("tls_cert and tls_key don't serve: {error}")))?
            }
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_not_a_name| Error::Unfit(format!("'{host}' is neither a host name nor an address")))?;
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            name,
        })
    }

    /// Shakes hands over `link`.
    ///
    /// # Errors
    /// What is to be mended where the server was not taken, else what broke.
    pub async fn connect<L: AsyncRead + AsyncWrite + Unpin>(&self, link: L) -> Result<TlsStream<L>, Error> {
        self.tls.connect(self.name.clone(), link).await.map_err(explain)
    }
}

/// Why a handshake failed: something to mend, or a link that broke.
fn explain(error: io::Error) -> Error {
    let sentence = match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "the server's certificate is for another name; connect by a name that it holds, or set tls to \"verify_ca\""
            .to_owned(),
        // Authorities that servers make for themselves all have one name: only the signature tells them apart.
        Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            "the server's certificate was not signed by an authority in tls_ca; name the file with the one that did".to_owned()
        }
        Some(error) => error.to_string(),
        None => return Error::Broken(error),
    };
    Error::Unfit(sentence)
}

/// Who may be at the other end: always somebody who holds the key of the certificate that is shown.
#[derive(Debug)]
struct Verifier {
    /// By whom the certificate must be signed; absent in `PREFERRED` and `REQUIRED`, where anybody will do.
    judge: Option<Arc<WebPkiServerVerifier>>,
    /// All modes but `VERIFY_IDENTITY`: it may be for another name.
    any_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(judge) = &self.judge else {
            return Ok(ServerCertVerified::assertion());
        };
        match judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, when everything else was found good.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use outrigger_protocol::endpoint::Secret;

    use super::*;

    fn endpoint(tls: TlsMode, socket: bool) -> Endpoint {
        let address = match socket {
            true => Address::Socket("/tmp/mysql.sock".into()),
            false => Address::Tcp {
                host: "db.example".to_owned(),
                port: 3306,
            },
        };
        Endpoint {
            address,
            user: String::new(),
            password: Secret::default(),
            tls,
            tls_ca: None,
            tls_identity: None,
        }
    }

    fn decide(tls: TlsMode, socket: bool, offered: bool) -> Result<bool, String> {
        is_wanted(&endpoint(tls, socket), offered).map_err(|error| error.to_string())
    }

    #[test]
    fn the_mode_decides_with_what_the_server_offers() {
        use TlsMode::{Disabled, Preferred, Required, VerifyCa};
        assert_eq!(decide(Disabled, false, true), Ok(false));
        assert_eq!(decide(Preferred, false, true), Ok(true));
        assert_eq!(decide(Preferred, false, false), Ok(false));
        assert_eq!(decide(Preferred, true, true), Ok(false));
        assert_eq!(decide(Required, false, true), Ok(true));
        assert!(decide(Required, false, false).is_err_and(|what| what.contains("offers none")));
        assert!(decide(VerifyCa, false, false).is_err_and(|what| what.contains("offers none")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let made = |endpoint: &Endpoint| {
            Connector::new(endpoint, None)
                .map(|_made| ())
                .map_err(|error| error.to_string())
        };
        assert_eq!(made(&endpoint(TlsMode::Required, false)), Ok(()));
        assert!(
            made(&endpoint(TlsMode::VerifyCa, false))
                .is_err_and(|what| what.contains("tls_ca names no file"))
        );
        let absent = Endpoint {
            tls_ca: Some("/nonexistent/ca.pem".into()),
            ..endpoint(TlsMode::VerifyIdentity, false)
        };
        assert!(made(&absent).is_err_and(|what| what.contains("/nonexistent/ca.pem can't be read")));
    }
}
