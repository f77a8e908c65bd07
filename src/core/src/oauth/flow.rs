//! One sign-in from its start to the browser's return. It is kept sealed among the tenant's secrets, so that it may end on another
//! replica than it began on, and after a restart.

use super::tokens::CLIENT_ID;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{Error, Result, message};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

/// How long a sign-in may take.
pub(super) const LIFE: TimeDelta = TimeDelta::minutes(6);
const SCOPE: &str = "openid profile email offline_access api.connectors.read api.connectors.invoke";
/// How much of what a URL says is repeated.
const REPEATED: usize = 100;

/// Where a sign-in that goes on is kept.
pub(super) fn flow_name(provider: &str) -> String {
    format!("oauth.{provider}.flow")
}

/// A sign-in that goes on.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Flow {
    /// Tells the browser's return from anybody else's.
    pub state: String,
    /// Shows that who asks for the grant is who began (PKCE).
    pub verifier: String,
    /// Who began it.
    pub user: String,
    /// Where the browser is to go.
    pub auth_url: String,
    pub display_name: String,
    pub api_base: String,
    pub expires_at: DateTime<Utc>,
}

fn random<const BYTES: usize>() -> String {
    let mut bytes = [0_u8; BYTES];
    rand::fill(&mut bytes[..]);
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Flow {
    /// Begins one.
    ///
    /// # Errors
    /// `Internal` if the configured address cannot be read.
    pub fn begin(authorize_url: &str, redirect_uri: &str, user: &str, now: DateTime<Utc>) -> Result<Self> {
        let (state, verifier) = (random::<16>(), random::<64>());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let mut url = Url::parse(authorize_url).map_err(Error::internal)?;
        url.query_pairs_mut().extend_pairs([
            ("client_id", CLIENT_ID),
            ("redirect_uri", redirect_uri),
            ("response_type", "code"),
            ("scope", SCOPE),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("state", &state),
            ("codex_cli_simplified_flow", "true"),
            ("id_token_add_organizations", "true"),
            ("originator", "pi"),
        ]);
        let expires_at = now + LIFE;
        Ok(Self { state, verifier, user: user.to_owned(), auth_url: url.into(), display_name: String::new(), api_base: String::new(), expires_at })
    }

    /// Whether a browser's return belongs to this sign-in.
    pub fn began(&self, returned: &Returned) -> bool {
        bool::from(self.state.as_bytes().ct_eq(returned.state.as_bytes()))
    }
}

/// What a browser comes back with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Returned {
    pub state: String,
    pub code: String,
    pub error: String,
}

impl Returned {
    /// Reads a query.
    pub fn parse(query: &str) -> Self {
        let mut returned = Self::default();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "state" => returned.state = value.into_owned(),
                "code" => returned.code = value.into_owned(),
                "error" => returned.error = value.into_owned(),
                _ => {}
            }
        }
        returned
    }

    /// Reads the address that a person copied from their browser.
    ///
    /// # Errors
    /// `Invalid` if it is none.
    pub fn of_url(text: &str) -> Result<Self> {
        let url = Url::parse(text.trim()).map_err(|_| Error::invalid(message::oauth_bad_url()))?;
        Ok(Self::parse(url.query().unwrap_or_default()))
    }

    /// What it was given to ask for the grant with.
    ///
    /// # Errors
    /// `Invalid` if it came back with an error, or with nothing.
    pub fn code(&self) -> Result<&str> {
        if !self.error.is_empty() {
            let error: String = self.error.chars().filter(|c| !c.is_control()).take(REPEATED).collect();
            return Err(Error::invalid(message::oauth_error(error)));
        }
        if self.code.is_empty() { Err(Error::invalid(message::oauth_no_code())) } else { Ok(&self.code) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_browser_is_sent_with_all_that_the_server_wants() {
        let flow = Flow::begin("https://auth.example.com/authorize?x=1", "http://localhost:1455/auth/callback", "mai", DateTime::UNIX_EPOCH).unwrap();
        let url = Url::parse(&flow.auth_url).unwrap();
        let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
        let of = |key: &str| query[key].as_str();
        assert_eq!((of("x"), of("client_id"), of("response_type"), of("originator")), ("1", CLIENT_ID, "code", "pi"));
        assert_eq!((of("redirect_uri"), of("scope")), ("http://localhost:1455/auth/callback", SCOPE));
        assert_eq!((of("state"), of("state").len(), flow.verifier.len()), (flow.state.as_str(), 22, 86));
        assert_eq!(of("code_challenge"), URL_SAFE_NO_PAD.encode(Sha256::digest(&flow.verifier)));
        let other = Flow::begin("https://auth.example.com", "http://localhost", "mai", DateTime::UNIX_EPOCH).unwrap();
        assert!(flow.state != other.state && flow.verifier != other.verifier);
        assert!(flow.began(&Returned::parse(&format!("code=c&state={}", flow.state))) && !flow.began(&Returned::parse("code=c")));
    }

    #[test]
    fn what_comes_back_is_read() {
        let good = Returned::of_url(" http://localhost:1455/auth/callback?code=a%2Bb&state=s ").unwrap();
        assert_eq!((good.code().unwrap(), good.state.as_str()), ("a+b", "s"));
        for (url, text) in [
            ("nonsense", "the redirect URL cannot be read"),
            ("http://localhost/?state=s", "the redirect URL holds no code"),
            ("http://localhost/?error=access_denied&code=c", "OAuth error: access_denied"),
        ] {
            assert_eq!(Returned::of_url(url).and_then(|returned| returned.code().map(str::to_owned)).unwrap_err().to_string(), text);
        }
    }
}
