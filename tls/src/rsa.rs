//! The RSA step of `caching_sha2_password` and `sha256_password` on an unsafe link: the password goes encrypted with the public key
//! that the other side was asked for (OAEP with SHA-1, as MySQL has it).
//!
//! A key comes from the network: whatever it holds, nothing here panics.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::Error;

/// Characters in a line of a PEM file.
const PEM_LINE: usize = 64;

/// Encrypts `plain` with the public key in `pem`.
///
/// # Errors
/// A sentence when `pem` is no RSA public key of 2048 to 8192 bits, or the password is too long for it.
pub fn encrypt(plain: &[u8], pem: &[u8]) -> Result<Vec<u8>, &'static str> {
    const UNREADABLE: &str = "its RSA public key can't be read; it must have 2048 to 8192 bits";
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_not_pem| UNREADABLE)?;
    let key = PublicEncryptingKey::from_der(&der).map_err(|_no_key| UNREADABLE)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_no_key| UNREADABLE)?;
    if plain.len() > key.max_plaintext_size(&OAEP_SHA1_MGF1SHA1) {
        return Err("the password is too long for its RSA public key");
    }
    let mut out = vec![0; key.ciphertext_size()];
    let size = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, plain, &mut out, None)
        .map_err(|_failed| "encrypting with its RSA public key failed")?
        .len();
    out.truncate(size);
    Ok(out)
}

/// A key pair of our own: clients encrypt with its public half. It lives in memory only.
pub struct KeyPair {
    private: OaepPrivateDecryptingKey,
    public_pem: Vec<u8>,
}

impl KeyPair {
    /// Makes a pair of 2048 bits, as MySQL's servers do. Takes a good part of a second: not for a task of the runtime.
    ///
    /// # Errors
    /// When the library fails, which is not expected.
    pub fn generate() -> Result<Self, Error> {
        let failed = |_cause| Error::Unfit("no RSA key pair could be made".to_owned());
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(failed)?;
        let der: PublicKeyX509Der<'_> = private.public_key().as_der().map_err(failed)?;
        let body = STANDARD.encode(der.as_ref());
        let mut public_pem = b"-----BEGIN PUBLIC KEY-----\n".to_vec();
        for line in body.as_bytes().chunks(PEM_LINE) {
            public_pem.extend_from_slice(line);
            public_pem.push(b'\n');
        }
        public_pem.extend_from_slice(b"-----END PUBLIC KEY-----\n");
        let private = OaepPrivateDecryptingKey::new(private).map_err(failed)?;
        Ok(Self { private, public_pem })
    }

    /// The public half, for clients.
    pub fn public_pem(&self) -> &[u8] {
        &self.public_pem
    }

    /// What was encrypted with the public half; `None` if `cipher` was not.
    pub fn decrypt(&self, cipher: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let size = self
            .private
            .decrypt(&OAEP_SHA1_MGF1SHA1, cipher, &mut out, None)
            .ok()?
            .len();
        out.truncate(size);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::{any, proptest};

    use super::*;

    /// A MySQL server's.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAxSKOcxiet8lLMn8ImyUE
bGGKob5EdRz/4wdiw12ED0GfKKTKhVnodFCfm1mdy7bKOX5QxL9skrvYodpW43eR
R5bfOzIgy1qIB8RYb6qOXRBw1oA4snBDqtUjDv/lbHLJN+IbzM4oU+e3Lt9rXyLX
VY289ewONPweXHqSCnTL91w+wkU1peIFV2QhZ+upUCdCtwOn5hnJPNgxtbklFoya
C8W3Z7Xx7He2QDJsEWAqX197efw0L6j8X8Tyd8Uwb7zUB1tfMGhHfm9EwejPAtzx
4GztQNtNMtGS2oGZLQBLV9hib4dDL92iiZeckg2LAf4GsJofLLR8mcHCRoqVbQJ1
YQIDAQAB
-----END PUBLIC KEY-----
";

    static PAIR: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().expect("a key pair"));

    #[test]
    fn encrypts_with_a_servers_key() {
        let first = encrypt(b"secret\0", PEM.as_bytes()).expect("a good key");
        let second = encrypt(b"secret\0", PEM.as_bytes()).expect("a good key");
        assert_eq!(first.len(), 256);
        assert_ne!(first, second, "padding is random");
    }

    #[test]
    fn what_our_key_encrypts_it_decrypts() {
        let cipher = encrypt(b"secret\0", PAIR.public_pem()).expect("a good key");
        assert_eq!(
            PAIR.decrypt(&cipher).as_deref().map(Vec::as_slice),
            Some(b"secret\0".as_slice())
        );
        let foreign = encrypt(b"secret\0", PEM.as_bytes()).expect("a good key");
        assert!(PAIR.decrypt(&foreign).is_none());
    }

    #[test]
    fn refuses_passwords_longer_than_the_key() {
        assert!(encrypt(&[b'x'; 214], PEM.as_bytes()).is_ok());
        assert!(encrypt(&[b'x'; 215], PEM.as_bytes()).is_err_and(|what| what.contains("too long")));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in any::<Vec<u8>>(), cut in 0..451_usize, to in any::<u8>()) {
            let mut damaged = PEM.as_bytes().to_vec();
            damaged[cut] = to;
            let wrapped = [b"-----BEGIN PUBLIC KEY-----\n", STANDARD.encode(&bytes).as_bytes(), b"\n-----END PUBLIC KEY-----\n"].concat();
            let _outcomes = [encrypt(b"x", &damaged).is_ok(), encrypt(b"x", &bytes).is_ok(), encrypt(b"x", &wrapped).is_ok()];
            assert!(PAIR.decrypt(&bytes).is_none());
        }
    }
}
