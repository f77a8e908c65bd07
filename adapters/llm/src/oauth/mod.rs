//! Signing in to ChatGPT accounts.

mod loopback;
mod server;

use goclaw_outbound::Outbound;
use goclaw_ports::oauth::{AuthorizationServer, ReturnPlace};
use std::sync::Arc;

/// Where people sign in, and where their browsers come back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthOptions {
    /// Where people sign in.
    pub authorize_url: String,
    /// Where grants are asked for.
    pub token_url: String,
    /// The port of this machine that browsers are sent back to. The vendor knows the default only.
    pub callback_port: u16,
}

impl Default for OAuthOptions {
    fn default() -> Self {
        Self {
            authorize_url: "https://auth.openai.com/oauth/authorize".to_owned(),
            token_url: "https://auth.openai.com/oauth/token".to_owned(),
            callback_port: 1455,
        }
    }
}

/// The authorization server and the place that browsers come back to.
#[must_use]
pub fn oauth(outbound: &Outbound, options: OAuthOptions) -> (Arc<dyn AuthorizationServer>, Arc<dyn ReturnPlace>) {
    let place = loopback::Loopback { port: options.callback_port };
    let server = server::Server { client: outbound.trusted(), authorize_url: options.authorize_url, token_url: options.token_url };
    (Arc::new(server), Arc::new(place))
}
