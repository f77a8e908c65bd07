//! Who asks. Built once, at the edge; the first argument of every use case.

use goclaw_ports::{
    ApiKeyId, Error, ErrorKind, Result, TenantId, message,
    roles::{Role, Scope},
};
use std::{net::IpAddr, sync::Arc};

/// Who asks, for which tenant, and what they may do.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose data they work on.
    pub tenant: TenantId,
    /// The tenant's slug, for directories.
    pub tenant_slug: Arc<str>,
    /// The user they act as; "" if they name none.
    pub user: Arc<str>,
    /// Whether their credential names the user, so that they cannot act as another.
    pub bound: bool,
    /// Their role.
    pub role: Role,
    /// The scopes of their API key; `None` if they came without one.
    pub scopes: Option<Arc<[Scope]>>,
    /// Their API key's id.
    pub key: Option<ApiKeyId>,
    /// The paired device they came by: its public alias.
    pub device: Option<Arc<str>>,
    /// What rate limits count them under. Holds no secret.
    pub limit_key: Arc<str>,
    /// `en`, `vi` or `zh`.
    pub locale: Locale,
    /// From where.
    pub ip: Option<IpAddr>,
}

/// A language that messages are translated into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Locale {
    /// English.
    #[default]
    En,
    /// Vietnamese.
    Vi,
    /// Chinese.
    Zh,
}

/// What a use case does, for the check of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It only looks.
    Read,
    /// It uses or changes something.
    Write,
    /// It manages the tenant.
    Manage,
    /// It decides about shell commands that wait for approval.
    Approvals,
    /// It decides who is paired.
    Pairing,
    /// It makes tenants and their members.
    Provision,
}

impl Caller {
    /// Somebody without a credential of their own: an engine that works on a user's behalf.
    #[must_use]
    pub fn without_credential(tenant: TenantId, tenant_slug: &str, role: Role, user: &str) -> Self {
        Self {
            tenant,
            tenant_slug: tenant_slug.into(),
            user: user.into(),
            bound: false,
            role,
            scopes: None,
            key: None,
            device: None,
            limit_key: "".into(),
            locale: Locale::En,
            ip: None,
        }
    }

    /// Whether they may see everything of the tenant.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role >= Role::Admin
    }

    /// Refuses callers below `role`, and API keys whose scopes do not cover what such a use case does.
    /// `what` names the use case in the message: a path, or a method's name.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn require(&self, role: Role, access: Access, what: &str) -> Result<()> {
        if self.role < role || !self.covers(access) {
            return Err(Error::new(ErrorKind::Forbidden, message::requires_role(what, role)));
        }
        Ok(())
    }

    /// Whether their scopes allow such a thing; without an API key everything is allowed that the role allows.
    #[must_use]
    pub fn covers(&self, access: Access) -> bool {
        let Some(scopes) = &self.scopes else { return true };
        let has = |scope: Scope| scopes.contains(&scope);
        match access {
            Access::Manage => has(Scope::Admin),
            Access::Approvals => has(Scope::Admin) || has(Scope::Approvals),
            Access::Pairing => has(Scope::Admin) || has(Scope::Pairing),
            Access::Provision => has(Scope::Provision),
            Access::Write => has(Scope::Admin) || has(Scope::Write),
            Access::Read => has(Scope::Admin) || has(Scope::Write) || has(Scope::Read),
        }
    }

    /// The user they act as.
    ///
    /// # Errors
    /// `Invalid` if they name none.
    pub fn named_user(&self) -> Result<&str> {
        if self.user.is_empty() { Err(Error::invalid(message::user_id_header())) } else { Ok(&self.user) }
    }
}

impl Locale {
    /// The language of a locale tag: exact, else by its first two letters, else English.
    #[must_use]
    pub fn parse(tag: &str) -> Self {
        match tag.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("vi") => Self::Vi,
            Some("zh") => Self::Zh,
            _ => Self::En,
        }
    }

    /// The first language of an `Accept-Language` header that we speak, in the order of the header.
    #[must_use]
    pub fn accept(header: &str) -> Self {
        header
            .split(',')
            .map(|entry| entry.split(';').next().unwrap_or_default().trim())
            .find_map(|tag| match Self::parse(tag) {
                Self::En if !tag.to_ascii_lowercase().starts_with("en") => None,
                locale => Some(locale),
            })
            .unwrap_or_default()
    }

    /// The tag.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Vi => "vi",
            Self::Zh => "zh",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("fr, vi;q=0.1", Locale::Vi)]
    #[case("zh-Hant-TW", Locale::Zh)]
    #[case("de, en-GB, zh", Locale::En)]
    #[case("", Locale::En)]
    fn the_first_language_we_speak_is_taken(#[case] header: &str, #[case] locale: Locale) {
        assert_eq!(Locale::accept(header), locale);
    }
}
