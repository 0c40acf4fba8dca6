//! TLS towards the source, in the modes by which MySQL's clients know it. Decides whether a link gets TLS and what the
//! server's certificate must be; the bytes are rustls's business.

use std::io;
use std::path::Path;
use std::sync::Arc;

use outrigger_protocol::endpoint::{Address, Endpoint, Identity, TlsMode};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use crate::Error;
use crate::wire::Link;

/// All that it takes to begin TLS with one server.
pub(crate) struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    /// Shakes hands over `link`.
    pub(crate) async fn connect(&self, link: Box<dyn Link>) -> io::Result<TlsStream<Box<dyn Link>>> {
        self.tls.connect(self.name.clone(), link).await
    }
}

/// How to protect a link to `endpoint`; `None`: not at all. `offered`: the server can do TLS.
pub(crate) fn connector(endpoint: &Endpoint, offered: bool) -> Result<Option<Connector>, Error> {
    let refuse = |what: String| Error::Tls {
        address: endpoint.address.clone(),
        what,
    };
    let host = match &endpoint.address {
        Address::Tcp { host, .. } => host.as_str(),
        Address::Socket(_) => "localhost",
    };
    match (endpoint.tls, offered) {
        (TlsMode::Disabled, _) | (TlsMode::Preferred, false) => return Ok(None),
        (TlsMode::Preferred, true) if matches!(endpoint.address, Address::Socket(_)) => return Ok(None),
        (_, false) => {
            let what = "the server offers none; give it certificates (ssl_ca, ssl_cert, ssl_key), or set the source's tls to \
                        \"disabled\""
                .to_owned();
            return Err(refuse(what));
        }
        (_, true) => {}
    }
    let provider = Arc::new(ring::default_provider());
    let judge = match endpoint.tls {
        TlsMode::VerifyCa | TlsMode::VerifyIdentity => {
            let roots = authorities(endpoint).map_err(refuse)?;
            let judge = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(judge.build().map_err(|error| refuse(error.to_string()))?)
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
        .map_err(|error| refuse(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match &endpoint.tls_identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = ours(identity).map_err(refuse)?;
            let shown = config.with_client_auth_cert(chain, key);
            shown.map_err(|error| refuse(format!("tls_cert and tls_key don't serve: {error}")))?
        }
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_not_a_name| refuse(format!("'{host}' is neither a host name nor an address")))?;
    Ok(Some(Connector {
        tls: TlsConnector::from(Arc::new(config)),
        name,
    }))
}

/// The certificates in the file that `tls_ca` names.
fn authorities(endpoint: &Endpoint) -> Result<RootCertStore, String> {
    let Some(path) = &endpoint.tls_ca else {
        return Err(
            "tls_ca names no file with the authority that signed the server's certificate".to_owned(),
        );
    };
    let unreadable =
        |error: &dyn std::fmt::Display| format!("tls_ca {} can't be read: {error}", path.display());
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() {
        return Err(unreadable(&"it holds no certificate"));
    }
    Ok(roots)
}

/// What the server is shown of us.
fn ours(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let unreadable = |name: &str, path: &Path, error: pem::Error| {
        format!("{name} {} can't be read: {error}", path.display())
    };
    let chain = CertificateDer::pem_file_iter(&identity.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable("tls_cert", &identity.certificate, error))?;
    let key = PrivateKeyDer::from_pem_file(&identity.key)
        .map_err(|error| unreadable("tls_key", &identity.key, error))?;
    Ok((chain, key))
}

/// Why a handshake failed: something to mend, or a link that broke.
pub(crate) fn explain(address: &Address, error: io::Error) -> Error {
    let about = |what: String| Error::Tls {
        address: address.clone(),
        what,
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => about(
            "the server's certificate is for another name; connect by a name that it holds, or set tls to \"verify_ca\""
                .to_owned(),
        ),
        // Authorities that servers make for themselves all have one name: only the signature tells them apart.
        Some(TlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => about(
            "the server's certificate was not signed by an authority in tls_ca; name the file with the one that did"
                .to_owned(),
        ),
        Some(error) => about(format!("{error}")),
        None => Error::Broken {
            address: address.clone(),
            doing: "beginning TLS",
            source: error,
        },
    }
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

    fn decide(tls: TlsMode, socket: bool, offered: bool) -> Result<bool, String> {
        let address = match socket {
            true => Address::Socket("/tmp/mysql.sock".into()),
            false => Address::Tcp {
                host: "db.example".to_owned(),
                port: 3306,
            },
        };
        let endpoint = Endpoint {
            address,
            user: String::new(),
            password: Secret::default(),
            tls,
            tls_ca: None,
            tls_identity: None,
        };
        let decided = connector(&endpoint, offered);
        decided
            .map(|found| found.is_some())
            .map_err(|error| error.to_string())
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
        assert!(decide(VerifyCa, false, true).is_err_and(|what| what.contains("tls_ca")));
    }
}
