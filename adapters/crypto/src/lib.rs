//! Secrets at rest: XChaCha20-Poly1305, bound to the place that a secret is kept in.
#![deny(missing_docs)]

mod key;
mod sealer;
mod secret_file;

pub use key::{Key, KeyError};
pub use sealer::RowSealer;
pub use secret_file::create_secret_file;

/// A new encryption key, as 64 hex characters.
#[must_use]
pub fn generate_key() -> String {
    hex::encode(random::<32>())
}

/// A new access token: 128 random bits, as 32 hex characters.
#[must_use]
pub fn generate_token() -> String {
    hex::encode(random::<16>())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes[..]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_keys_have_their_length_and_differ() {
        assert_eq!((generate_token().len(), generate_key().len()), (32, 64));
        assert_ne!(generate_token(), generate_token());
        assert_ne!(generate_key(), generate_key());
    }
}
