//! A server's RSA public key, as it answers `caching_sha2_password`'s request for it, and a password encrypted with it.
//!
//! The key comes from the network: whatever it holds, nothing here panics.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use num_bigint::BigUint;
use rand::RngCore;
use sha1::{Digest, Sha1};

/// Bytes of a SHA-1 hash.
const HASH: usize = 20;

/// Bits of the smallest and the largest modulus taken.
const MODULUS_BITS: std::ops::RangeInclusive<u64> = 1024..=16384;

/// Encrypts `plain` with the key in `pem` (RSA, OAEP padding with SHA-1).
///
/// # Errors
/// A sentence when `pem` is no RSA public key, or the password is too long for it.
pub(crate) fn encrypt(plain: &[u8], pem: &[u8]) -> Result<Vec<u8>, &'static str> {
    let key = parse(pem).ok_or("its RSA public key can't be read")?;
    let Some(padded) = pad(plain, key.size()) else {
        return Err("the password is too long for its RSA public key");
    };
    let cipher = BigUint::from_bytes_be(&padded)
        .modpow(&key.exponent, &key.modulus)
        .to_bytes_be();
    // The server takes as many bytes as the modulus has.
    let mut out = vec![0; key.size().saturating_sub(cipher.len())];
    out.extend_from_slice(&cipher);
    Ok(out)
}

struct PublicKey {
    modulus: BigUint,
    exponent: BigUint,
}

impl PublicKey {
    /// Bytes of the modulus.
    fn size(&self) -> usize {
        usize::try_from(self.modulus.bits().div_ceil(8)).unwrap_or(usize::MAX)
    }
}

/// EME-OAEP encoding with SHA-1 and an empty label (RFC 8017, section 7.1.1); `None` when `plain` is too long.
fn pad(plain: &[u8], size: usize) -> Option<Vec<u8>> {
    let zeros = size.checked_sub(plain.len() + 2 * HASH + 2)?;
    let mut seed = [0; HASH];
    rand::rng().fill_bytes(&mut seed);
    let mut block = [Sha1::digest([]).as_slice(), &vec![0; zeros], &[1], plain].concat();
    mask(&mut block, &seed);
    mask(&mut seed, &block);
    Some([&[0], seed.as_slice(), &block].concat())
}

/// XORs `target` with MGF1 of `seed` (RFC 8017, appendix B.2.1).
fn mask(target: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0_u32..).zip(target.chunks_mut(HASH)) {
        let hash = Sha1::new()
            .chain_update(seed)
            .chain_update(counter.to_be_bytes())
            .finalize();
        chunk.iter_mut().zip(hash).for_each(|(byte, mask)| *byte ^= mask);
    }
}

fn parse(pem: &[u8]) -> Option<PublicKey> {
    let text = std::str::from_utf8(pem).ok()?;
    let body = |kind: &str| {
        let after = text.split_once(&format!("-----BEGIN {kind}-----"))?.1;
        Some(after.split_once(&format!("-----END {kind}-----"))?.0)
    };
    let decode = |body: &str| STANDARD.decode(body.split_whitespace().collect::<String>()).ok();
    let (modulus, exponent) = if let Some(body) = body("PUBLIC KEY") {
        // SubjectPublicKeyInfo: the algorithm, then the key as a bit string without unused bits.
        let der = decode(body)?;
        let (info, _) = element(0x30, &der)?;
        let (_, rest) = element(0x30, info)?;
        let (bits, _) = element(0x03, rest)?;
        numbers(bits.strip_prefix(&[0])?)?
    } else {
        numbers(&decode(body("RSA PUBLIC KEY")?)?)?
    };
    let usable = MODULUS_BITS.contains(&modulus.bits()) && (2..=64).contains(&exponent.bits());
    usable.then_some(PublicKey { modulus, exponent })
}

/// A PKCS #1 key: modulus and exponent.
fn numbers(der: &[u8]) -> Option<(BigUint, BigUint)> {
    let (fields, _) = element(0x30, der)?;
    let (modulus, rest) = element(0x02, fields)?;
    let (exponent, _) = element(0x02, rest)?;
    Some((BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent)))
}

/// The content of a DER element of this type, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, der) = der.split_first()?;
    let (&short, der) = der.split_first()?;
    if first != tag {
        return None;
    }
    let (length, der) = if short < 0x80 {
        (usize::from(short), der)
    } else {
        let (bytes, der) = der.split_at_checked(usize::from(short & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (
            bytes
                .iter()
                .fold(0_usize, |sum, &byte| (sum << 8) | usize::from(byte)),
            der,
        )
    };
    der.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

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

    #[test]
    fn encrypts_with_a_servers_key() {
        let first = encrypt(b"secret\0", PEM.as_bytes()).expect("a good key");
        let second = encrypt(b"secret\0", PEM.as_bytes()).expect("a good key");
        assert_eq!(first.len(), 256);
        assert_ne!(first, second, "padding is random");
    }

    #[test]
    fn padding_comes_off_again() {
        let mut padded = pad(b"secret\0", 256).expect("short enough");
        let (head, block) = padded.split_at_mut(1 + HASH);
        mask(&mut head[1..], block);
        mask(block, &head[1..]);
        let expected = [
            Sha1::digest([]).as_slice(),
            &[0; 256 - 2 * HASH - 2 - 7],
            &[1],
            b"secret\0",
        ]
        .concat();
        assert_eq!((head[0], &*block), (0, expected.as_slice()));
    }

    /// MGF1 with SHA-1 of "foo", five bytes: a vector in wide use.
    #[test]
    fn masks_as_the_standard_says() {
        let mut out = [0; 5];
        mask(&mut out, b"foo");
        assert_eq!(out, [0x1a, 0xc9, 0x07, 0x5c, 0xd4]);
    }

    #[test]
    fn refuses_passwords_longer_than_the_key() {
        assert!(encrypt(&[b'x'; 214], PEM.as_bytes()).is_ok());
        assert!(encrypt(&[b'x'; 215], PEM.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in any::<Vec<u8>>(), cut in 0..451_usize, to in any::<u8>()) {
            let mut damaged = PEM.as_bytes().to_vec();
            damaged[cut] = to;
            let wrapped = [b"-----BEGIN PUBLIC KEY-----", STANDARD.encode(&bytes).as_bytes(), b"-----END PUBLIC KEY-----"].concat();
            let _outcomes = [encrypt(b"x", &damaged).is_ok(), encrypt(b"x", &bytes).is_ok(), encrypt(b"x", &wrapped).is_ok()];
        }
    }
}
