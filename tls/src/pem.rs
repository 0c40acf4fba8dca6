//! Certificates and keys out of PEM files. Complaints name the setting and the file, never what is in it.

use std::fmt::Display;
use std::path::Path;

use outrigger_protocol::endpoint::Identity;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;

fn unreadable(setting: &str, path: &Path, error: &dyn Display) -> Error {
    Error::Unfit(format!("{setting} {} can't be read: {error}", path.display()))
}

/// The authorities in a file that `setting` names.
pub(crate) fn authorities(setting: &str, path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| unreadable(setting, path, &error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(setting, path, &error))?;
        roots
            .add(certificate)
            .map_err(|error| unreadable(setting, path, &error))?;
    }
    if roots.is_empty() {
        return Err(unreadable(setting, path, &"it holds no certificate"));
    }
    Ok(roots)
}

/// A certificate chain and its key, from the files that the two settings name.
pub(crate) fn identity(
    [certificate, key]: [&str; 2],
    files: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(certificate, &files.certificate, &error))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unreadable(key, &files.key, &error))?;
    Ok((chain, key))
}
