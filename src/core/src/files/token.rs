//! Links that open one file for whoever holds them, for five minutes.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a link holds, in seconds.
const LIFETIME: i64 = 300;
/// How much of the signature a token carries, in bytes.
const SIGNATURE: usize = 16;

/// Signs links, with a key that dies with the process.
pub struct FileTokens {
    key: String,
}

impl FileTokens {
    /// With a new key.
    #[must_use]
    pub fn with_new_key() -> Self {
        let mut key = [0; 32];
        rand::fill(&mut key[..]);
        Self { key: BASE64_URL_SAFE_NO_PAD.encode(key) }
    }

    /// A token that opens `path`, a URL's path with its percent-escapes decoded, from `now` on (Unix seconds).
    #[must_use]
    pub fn sign(&self, path: &str, now: i64) -> String {
        let expiry = now + LIFETIME;
        let signature = self.mac(path, expiry).finalize().into_bytes();
        format!("{}.{expiry}", BASE64_URL_SAFE_NO_PAD.encode(&signature[..SIGNATURE]))
    }

    /// Whether `token` opens `path` at this time.
    #[must_use]
    pub fn opens(&self, token: &str, path: &str, now: i64) -> bool {
        let Some((signature, expiry)) = token.split_once('.') else { return false };
        // One way to write a number, so that a token cannot be written otherwise.
        let Some(expiry) = expiry.parse::<i64>().ok().filter(|number| number.to_string() == expiry) else { return false };
        let Ok(signature) = BASE64_URL_SAFE_NO_PAD.decode(signature) else { return false };
        signature.len() == SIGNATURE && now <= expiry && self.mac(path, expiry).verify_truncated_left(&signature).is_ok()
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn mac(&self, path: &str, expiry: i64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.as_bytes()).expect("any key will do");
        mac.update(format!("{path}:{expiry}").as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATH: &str = "/v1/files/app/workspace/tệp tin.png";

    #[test]
    fn a_token_opens_its_path_for_five_minutes() {
        let tokens = FileTokens::with_new_key();
        let token = tokens.sign(PATH, 1_000);
        let (signature, expiry) = token.split_once('.').unwrap();
        assert_eq!((signature.len(), expiry), (22, "1300"));
        assert!(tokens.opens(&token, PATH, 1_000) && tokens.opens(&token, PATH, 1_300));
        assert!(!tokens.opens(&token, PATH, 1_301));
    }

    #[test]
    fn it_opens_nothing_else_and_nothing_else_opens_it() {
        let tokens = FileTokens::with_new_key();
        let token = tokens.sign(PATH, 1_000);
        let (signature, _) = token.split_once('.').unwrap();
        assert!(!tokens.opens(&token, "/v1/files/app/workspace/other.png", 1_000));
        assert!(!FileTokens::with_new_key().opens(&token, PATH, 1_000), "the key of another process");
        for altered in [format!("{signature}.1301"), format!("{signature}.+1300"), format!("{signature}.01300"), format!("{}.1300", &signature[1..])] {
            assert!(!tokens.opens(&altered, PATH, 1_000), "{altered}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_token(text in "\\PC{0,60}") {
            prop_assert!(!FileTokens::with_new_key().opens(&text, PATH, 0));
        }
    }
}
