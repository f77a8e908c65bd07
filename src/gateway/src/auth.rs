//! Who sends a request: credentials and client address from its headers.

mod address;

use crate::{error::ApiError, gateway::Gateway};
use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
    web,
};
use futures_util::future::LocalBoxFuture;
use goclaw_core::{
    auth::Credentials,
    caller::{Caller, Locale},
    settings::GatewaySettings,
};
use goclaw_ports::Error;
use paperclip::{
    actix::OperationModifier,
    v2::{models::DefaultOperationRaw, schema::Apiv2Schema},
};
use std::{collections::BTreeMap, net::IpAddr, ops::Deref};

/// The names of the security schemes in the document: a token or key, and a paired browser.
pub(crate) const SCHEME: &str = "bearerAuth";
pub(crate) const PAIRED_SCHEME: &str = "pairedBrowser";
const USER_ID: &str = "X-GoClaw-User-Id";
const TENANT_ID: &str = "X-GoClaw-Tenant-Id";
pub(crate) const SENDER_ID: &str = "X-GoClaw-Sender-Id";
/// In bytes.
const MAX_USER_ID: usize = 255;

/// The caller of a request; requests without a valid credential do not get past it.
pub struct Who(Caller);

impl Deref for Who {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl Apiv2Schema for Who {}

impl OperationModifier for Who {
    fn update_security(operation: &mut DefaultOperationRaw) {
        operation.security.push(BTreeMap::from([(SCHEME.to_owned(), Vec::new())]));
    }
}

impl FromRequest for Who {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { Ok(authenticate(&request).await?) })
    }
}

/// The caller of a request.
pub(crate) async fn authenticate(request: &HttpRequest) -> Result<Who, Error> {
    authenticate_with(request, None).await
}

/// The caller of a request whose query may bring the token, because links and images can send no headers.
pub(crate) async fn authenticate_with(request: &HttpRequest, token: Option<&str>) -> Result<Who, Error> {
    let Some(gateway) = request.app_data::<web::Data<Gateway>>() else { return Err(Error::internal("the application has no gateway")) };
    let headers = request.headers();
    let user_id = text(headers, USER_ID).unwrap_or_default();
    let credentials = Credentials {
        bearer: text(headers, header::AUTHORIZATION.as_str()).and_then(bearer).or(token.filter(|token| !token.is_empty())),
        sender: text(headers, SENDER_ID).filter(|sender| !sender.is_empty()),
        user_id: if user_id.len() > MAX_USER_ID {
            tracing::warn!(bytes = user_id.len(), "security.user_id_too_long");
            ""
        } else {
            user_id
        },
        tenant: text(headers, TENANT_ID).filter(|tenant| !tenant.is_empty()),
        locale: locale(headers),
        ip: client_ip(request, &gateway.core.settings.get().gateway),
    };
    gateway.core.auth.http(credentials).await.map(Who)
}

/// The language that the headers ask for.
pub(crate) fn locale(headers: &HeaderMap) -> Locale {
    text(headers, header::ACCEPT_LANGUAGE.as_str()).map(Locale::accept).unwrap_or_default()
}

/// The header's value, if it is there and is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The address of the client. Headers of a proxy count only if the operator trusts the proxy.
pub(crate) fn client_ip(request: &HttpRequest, settings: &GatewaySettings) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    let headers = request.headers();
    let forwarded = || headers.get_all("X-Forwarded-For").filter_map(|value| value.to_str().ok());
    let in_tailnet = || settings.tailnet.then(|| address::in_tailnet(peer, forwarded())).flatten();
    Some(in_tailnet().unwrap_or_else(|| address::client(peer, text(headers, "X-Real-IP"), forwarded(), &settings.trusted_proxies)))
}

/// The token of an `Authorization` header: scheme `Bearer` as it is written here, one space.
fn bearer(value: &str) -> Option<&str> {
    value.strip_prefix("Bearer ").filter(|token| !token.is_empty() && !token.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_stands_after_the_exact_scheme_and_one_space() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        for value in ["bearer abc", "Bearer  abc", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(bearer(value), None, "{value:?}");
        }
    }
}
