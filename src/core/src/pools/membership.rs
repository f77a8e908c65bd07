//! Which accounts may be together in a pool.

use super::routing::Strategy;
use crate::oauth::CHATGPT;
use goclaw_ports::{Error, JsonObject, Result, message, providers::ProviderRow};
use serde_json::Value;

/// The accounts beside a provider's own, and how they are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pool {
    pub strategy: Strategy,
    /// In the order of the settings, each once.
    pub extras: Vec<String>,
}

impl Pool {
    /// The pool that a provider's settings describe; `None` if it owns none.
    pub fn of(settings: &JsonObject) -> Option<Self> {
        let pool = settings.get("codex_pool")?.as_object()?;
        let strategy = Strategy::parse(pool.get("strategy").and_then(Value::as_str).unwrap_or_default());
        Some(Self { strategy, extras: names(pool.get("extra_provider_names")) })
    }
}

/// The names in a setting, trimmed, each once.
pub(super) fn names(value: Option<&Value>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::trim) {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Refuses a provider that, stored like this, would be in two pools, or in one that cannot be. `all` are the tenant's providers as they
/// are; those that are switched off do not count.
///
/// # Errors
/// `Invalid`, naming the providers.
pub(crate) fn check(candidate: &ProviderRow, all: &[ProviderRow]) -> Result<()> {
    let refused = |why: String| Err(Error::invalid(message::bad_pool(why)));
    let pool = Pool::of(&candidate.settings);
    let name = &candidate.name;
    if candidate.provider_type != CHATGPT {
        return if pool.is_some() {
            refused(format!("provider \"{name}\" is of type \"{}\": only {CHATGPT} providers may own a pool", candidate.provider_type))
        } else {
            Ok(())
        };
    }
    let others: Vec<&ProviderRow> = all.iter().filter(|row| row.id != candidate.id && row.enabled && row.provider_type == CHATGPT).collect();
    let owner_of = |member: &str| others.iter().find(|row| Pool::of(&row.settings).is_some_and(|pool| pool.extras.iter().any(|extra| extra == member)));
    let Some(pool) = pool else { return Ok(()) };
    if let Some(owner) = owner_of(name) {
        return refused(format!("provider \"{name}\" is a member of the pool of \"{}\", so it may not own one", owner.name));
    }
    for member in &pool.extras {
        if member == name {
            return refused(format!("the pool of \"{name}\" may not list its owner"));
        }
        let Some(row) = others.iter().find(|row| row.name == *member) else {
            return match all.iter().find(|row| row.name == *member && row.provider_type != CHATGPT) {
                Some(other) => refused(format!("pool member \"{member}\" is of type \"{}\": members must be {CHATGPT} providers", other.provider_type)),
                None => refused(format!("pool member \"{member}\" is not known, or is switched off")),
            };
        };
        if Pool::of(&row.settings).is_some() {
            return refused(format!("pool member \"{member}\" owns a pool itself"));
        }
        if let Some(owner) = owner_of(member) {
            return refused(format!("provider \"{member}\" is a member of the pool of \"{}\" already", owner.name));
        }
    }
    Ok(())
}

/// The owners of pools that list this provider.
pub(crate) fn listed_by(provider: &str, all: &[ProviderRow]) -> Vec<String> {
    let lists = |row: &&ProviderRow| Pool::of(&row.settings).is_some_and(|pool| pool.extras.iter().any(|extra| extra == provider));
    all.iter().filter(|row| row.provider_type == CHATGPT).filter(lists).map(|row| row.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use goclaw_ports::{ProviderId, TenantId};
    use rstest::rstest;
    use serde_json::json;
    use uuid::Uuid;

    /// A provider; `extras` are the members of its pool, "-" is none.
    fn row(name: &str, extras: &str) -> ProviderRow {
        let names: Vec<&str> = extras.split(' ').filter(|name| !name.is_empty()).collect();
        let settings = (extras != "-").then(|| json!({"codex_pool": {"extra_provider_names": names}}));
        ProviderRow {
            id: ProviderId(Uuid::from_u128(name.bytes().fold(0, |id, byte| id * 256 + u128::from(byte)))),
            tenant_id: TenantId::MASTER,
            name: name.into(),
            display_name: String::new(),
            provider_type: if name.starts_with("key") { "groq".into() } else { CHATGPT.into() },
            api_base: String::new(),
            api_key: None,
            enabled: !name.starts_with("off"),
            settings: settings.and_then(|settings| settings.as_object().cloned()).unwrap_or_default(),
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    #[rstest]
    #[case::plain("x", "-", "")]
    #[case::empty_pool("x", "", "")]
    #[case::free_member("x", "free", "")]
    #[case::again("a", "b", "")]
    #[case::no_pool_of_keys("key1", "", "only chatgpt_oauth providers may own a pool")]
    #[case::itself("x", "x", "may not list its owner")]
    #[case::unknown("x", "nobody", "\"nobody\" is not known")]
    #[case::switched_off("x", "off", "\"off\" is not known, or is switched off")]
    #[case::a_key("x", "key2", "\"key2\" is of type \"groq\"")]
    #[case::taken("x", "b", "\"b\" is a member of the pool of \"a\" already")]
    #[case::an_owner("x", "a", "\"a\" owns a pool itself")]
    #[case::a_member("b", "free", "\"b\" is a member of the pool of \"a\"")]
    fn pools_do_not_overlap(#[case] name: &str, #[case] extras: &str, #[case] refusal: &str) {
        let off_owner = ProviderRow { enabled: false, ..row("off", "free") };
        let all = [row("a", "b"), row("b", "-"), row("free", "-"), off_owner, row("key1", "-"), row("key2", "-")];
        match check(&row(name, extras), &all) {
            Ok(()) => assert_eq!(refusal, ""),
            Err(error) => assert!(!refusal.is_empty() && error.to_string().contains(refusal), "{error}"),
        }
        assert_eq!((listed_by("b", &all), listed_by("a", &all)), (vec!["a".to_owned()], vec![]));
    }
}
