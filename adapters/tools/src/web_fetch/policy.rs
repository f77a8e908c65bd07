//! Which domains may be fetched.

use url::Url;

/// What is fetched when no list names a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FetchPolicy {
    /// Any public page.
    #[default]
    AllowAll,
    /// Only pages of the allowed domains.
    Allowlist,
}

/// Which pages may be fetched. A domain is named exactly, or as `*.example.com` for all below it but not itself.
#[derive(Debug, Clone, Default)]
pub struct WebFetchOptions {
    /// Whether the allow list counts.
    pub policy: FetchPolicy,
    /// Domains that may be fetched under [`FetchPolicy::Allowlist`].
    pub allowed_domains: Vec<String>,
    /// Domains that are never fetched.
    pub blocked_domains: Vec<String>,
}

impl WebFetchOptions {
    /// Refuses a URL that the policy closes; the text is for the model.
    pub(super) fn check(&self, url: &Url) -> Result<(), String> {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        if self.blocked_domains.iter().any(|domain| covers(domain, &host)) {
            return Err(format!("domain \"{host}\" is blocked by policy"));
        }
        if self.policy == FetchPolicy::Allowlist && !self.allowed_domains.iter().any(|domain| covers(domain, &host)) {
            return Err(format!("domain \"{host}\" is not in the allowed domains list"));
        }
        Ok(())
    }
}

fn covers(entry: &str, host: &str) -> bool {
    let entry = entry.trim().trim_end_matches('.').to_ascii_lowercase();
    match entry.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => entry == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(options: &WebFetchOptions, host: &str) -> bool {
        options.check(&Url::parse(&format!("https://{host}/x")).unwrap()).is_ok()
    }

    #[test]
    fn a_wildcard_covers_what_is_below_but_not_the_domain_itself() {
        let options =
            WebFetchOptions { policy: FetchPolicy::Allowlist, allowed_domains: vec!["*.Example.com".into(), "one.org".into()], ..WebFetchOptions::default() };
        assert!(allows(&options, "a.example.com") && allows(&options, "A.B.EXAMPLE.com") && allows(&options, "one.org."));
        assert!(!allows(&options, "example.com") && !allows(&options, "badexample.com") && !allows(&options, "a.one.org"));
    }

    #[test]
    fn a_blocked_domain_is_refused_under_any_policy() {
        let options = WebFetchOptions { blocked_domains: vec!["bad.com".into()], allowed_domains: vec!["bad.com".into()], ..WebFetchOptions::default() };
        assert!(!allows(&options, "bad.com") && allows(&options, "good.com"));
    }
}
