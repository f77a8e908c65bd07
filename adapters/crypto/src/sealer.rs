//! Sealing and opening.

use crate::{Key, random};
use base64::{Engine, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use goclaw_ports::{
    Error, Result,
    sealer::{Place, Sealed, Sealer},
};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use zeroize::Zeroizing;

/// Says how the rest is to be read; another cipher would get another.
const PREFIX: &str = "x1:";
const NONCE: usize = 24;
const TAG: usize = 16;

/// Seals a secret for the row that keeps it: `x1:` + base64(nonce ‖ ciphertext ‖ tag), with the row's identity as associated data.
pub struct RowSealer {
    current: XChaCha20Poly1305,
    previous: Option<XChaCha20Poly1305>,
}

impl fmt::Debug for RowSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowSealer").field("previous", &self.previous.is_some()).finish_non_exhaustive()
    }
}

impl RowSealer {
    /// Seals and opens with this key.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        Self { current: cipher(key), previous: None }
    }

    /// Also opens what was sealed with an earlier key.
    #[must_use]
    pub fn with_previous(self, key: &Key) -> Self {
        Self { previous: Some(cipher(key)), ..self }
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&*key.0).into())
}

/// Each text goes in with its length, so that no two places are encoded alike.
fn associated_data(place: Place<'_>) -> Vec<u8> {
    let mut data = b"goclaw x1".to_vec();
    data.extend_from_slice(place.tenant.0.as_bytes());
    for text in [place.table, place.column, place.row] {
        data.extend_from_slice(&(text.len() as u64).to_be_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    data
}

fn failed(place: Place<'_>, why: &str) -> Error {
    Error::internal(format!("secret {}.{} of row {}: {why}", place.table, place.column, place.row))
}

impl Sealer for RowSealer {
    fn seal(&self, place: Place<'_>, secret: &SecretString) -> Result<Sealed> {
        let nonce = random::<NONCE>();
        let payload = Payload { msg: secret.expose_secret().as_bytes(), aad: &associated_data(place) };
        let ciphertext = self.current.encrypt(&XNonce::from(nonce), payload).map_err(|_| failed(place, "the cipher refused it"))?;
        let mut sealed = nonce.to_vec();
        sealed.extend(ciphertext);
        Ok(Sealed(format!("{PREFIX}{}", STANDARD.encode(sealed))))
    }

    fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<SecretString> {
        let bytes = sealed
            .0
            .strip_prefix(PREFIX)
            .and_then(|text| STANDARD.decode(text).ok())
            .filter(|bytes| bytes.len() >= NONCE + TAG)
            .ok_or_else(|| failed(place, "the stored text is not a sealed secret"))?;
        let (nonce, ciphertext) = bytes.split_at(NONCE);
        let nonce = <[u8; NONCE]>::try_from(nonce).map(XNonce::from).map_err(|_| failed(place, "the stored text is not a sealed secret"))?;
        let aad = associated_data(place);
        let plain = [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|cipher| cipher.decrypt(&nonce, Payload { msg: ciphertext, aad: &aad }).ok())
            .map(Zeroizing::new)
            .ok_or_else(|| failed(place, "it does not open: the encryption key is not the one it was sealed with, or it was changed or moved"))?;
        let text = std::str::from_utf8(&plain).map_err(|_| failed(place, "it is not text"))?;
        Ok(SecretString::from(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::TenantId;
    use proptest::prelude::*;

    const PLACE: Place<'static> = Place { tenant: TenantId::MASTER, table: "llm_providers", column: "api_key", row: "a row" };

    fn sealer(byte: u8) -> RowSealer {
        RowSealer::new(&Key::from_bytes([byte; 32]))
    }

    fn sealed() -> Sealed {
        sealer(1).seal(PLACE, &SecretString::from("sk-secret")).unwrap()
    }

    #[test]
    fn a_sealed_secret_says_how_it_is_sealed_and_never_repeats() {
        assert!(sealed().0.starts_with("x1:"));
        assert_ne!(sealed(), sealed());
        assert!(!sealed().0.contains("sk-secret"));
    }

    #[test]
    fn a_moved_secret_does_not_open() {
        let places = [
            Place { tenant: "00000000-0000-0000-0000-000000000009".parse().unwrap(), ..PLACE },
            Place { table: "mcp_servers", ..PLACE },
            Place { column: "headers", ..PLACE },
            Place { row: "another row", ..PLACE },
            // The same letters, cut elsewhere.
            Place { table: "llm_provider", column: "sapi_key", ..PLACE },
        ];
        for place in places {
            sealer(1).open(place, &sealed()).unwrap_err();
        }
    }

    #[test]
    fn another_key_is_named_as_the_reason_and_the_secret_is_not() {
        let error = sealer(2).open(PLACE, &sealed()).unwrap_err().to_string();
        assert!(error.contains("the encryption key is not the one"), "{error}");
        assert!(!error.contains("x1:") && !error.contains("sk-secret"), "{error}");
    }

    #[test]
    fn the_previous_key_still_opens_and_no_longer_seals() {
        let rotated = sealer(2).with_previous(&Key::from_bytes([1; 32]));
        assert_eq!(rotated.open(PLACE, &sealed()).unwrap().expose_secret(), "sk-secret");
        let new = rotated.seal(PLACE, &SecretString::from("new")).unwrap();
        sealer(1).open(PLACE, &new).unwrap_err();
    }

    #[test]
    fn clear_text_is_no_sealed_secret() {
        for text in ["", "sk-clear", "x1:", "x1:!!!", "x1:AAAA", "aes-gcm:AAAA"] {
            sealer(1).open(PLACE, &Sealed(text.into())).unwrap_err();
        }
    }

    #[test]
    fn debug_never_shows_the_key() {
        assert_eq!(format!("{:?}", sealer(0x41)), "RowSealer { previous: false, .. }");
    }

    proptest! {
        #[test]
        fn whatever_is_sealed_opens_again(key: [u8; 32], secret: String, row: String) {
            let sealer = RowSealer::new(&Key::from_bytes(key));
            let place = Place { row: &row, ..PLACE };
            let sealed = sealer.seal(place, &SecretString::from(secret.clone())).unwrap();
            let opened = sealer.open(place, &sealed).unwrap();
            prop_assert_eq!(opened.expose_secret(), secret.as_str());
        }

        #[test]
        fn a_changed_byte_does_not_open(at: prop::sample::Index, flip in 1u8..) {
            let sealed = sealed();
            let mut bytes = STANDARD.decode(&sealed.0[PREFIX.len()..]).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let changed = Sealed(format!("{PREFIX}{}", STANDARD.encode(bytes)));
            prop_assert!(sealer(1).open(PLACE, &changed).is_err());
        }
    }
}
