//! The authorization server.

use async_trait::async_trait;
use goclaw_ports::oauth::{AuthorizationServer, Grant, NoGrant};
use reqwest::{Client, header::CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::time::Duration;
use url::form_urlencoded::Serializer;

const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const LIMIT: usize = 64 * 1024;

/// An authorization server that is reached over HTTP.
pub(super) struct Server {
    pub(super) client: Client,
    pub(super) authorize_url: String,
    pub(super) token_url: String,
}

#[derive(Deserialize)]
struct GrantWire {
    access_token: String,
    refresh_token: Option<String>,
    id_token: Option<String>,
    expires_in: Option<i64>,
    scope: Option<String>,
}

#[async_trait]
impl AuthorizationServer for Server {
    fn authorize_url(&self) -> &str {
        &self.authorize_url
    }

    async fn grant(&self, form: &[(&'static str, SecretString)]) -> Result<Grant, NoGrant> {
        match tokio::time::timeout(PATIENCE, self.ask(form)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NoGrant("the authorization server did not answer in time".to_owned())),
        }
    }
}

impl Server {
    async fn ask(&self, form: &[(&'static str, SecretString)]) -> Result<Grant, NoGrant> {
        let pairs = form.iter().map(|(name, value)| (*name, value.expose_secret()));
        let body = Serializer::new(String::new()).extend_pairs(pairs).finish();
        let request = self.client.post(&self.token_url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        let unreachable = |_| NoGrant("the authorization server cannot be reached".to_owned());
        let mut answer = request.send().await.map_err(unreachable)?;
        if !answer.status().is_success() {
            return Err(NoGrant(format!("the authorization server refused (HTTP {})", answer.status().as_u16())));
        }
        let unreadable = || NoGrant("the authorization server's answer cannot be read".to_owned());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > LIMIT {
                return Err(unreadable());
            }
        }
        // The cause may quote the answer, so it is told to nobody.
        let wire: GrantWire = serde_json::from_slice(&body).map_err(|_| unreadable())?;
        let given = |token: Option<String>| token.filter(|token| !token.is_empty()).map(SecretString::from);
        let access_token = given(Some(wire.access_token)).ok_or_else(unreadable)?;
        Ok(Grant {
            access_token,
            refresh_token: given(wire.refresh_token),
            id_token: given(wire.id_token),
            expires_in: wire.expires_in,
            scope: wire.scope.unwrap_or_default(),
        })
    }
}
