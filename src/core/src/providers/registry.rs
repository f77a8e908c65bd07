//! The providers that can be asked, by tenant and name.

use crate::{
    oauth::{CHATGPT, Tokens},
    presets,
};
use goclaw_ports::{
    Error, JsonObject, Result, TenantId,
    llm::{Conversation, Credentials, OPENAI, Provider, ProviderFactory, ProviderSpec},
    message,
    providers::ProviderRow,
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

/// A provider from the configuration file or the environment. Its base is trusted: the operator set it.
#[derive(Clone)]
pub struct ConfiguredProvider {
    /// The name that agents use.
    pub name: String,
    /// Its type.
    pub provider_type: String,
    /// The base URL; "" for the type's own.
    pub api_base: String,
    /// The key.
    pub api_key: Option<SecretString>,
    /// The model that stands in where none is named; "" for the type's own.
    pub default_model: String,
    /// More about it, as a row's settings have it.
    pub settings: JsonObject,
}

type ByName = BTreeMap<String, Arc<dyn Provider>>;

/// The providers that can be asked. A name is looked up in the tenant first, then in master.
pub struct Registry {
    factory: Arc<dyn ProviderFactory>,
    tokens: Arc<Tokens>,
    configured: RwLock<Configured>,
    stored: RwLock<HashMap<TenantId, ByName>>,
}

/// The operator's providers.
#[derive(Default)]
struct Configured {
    /// In the master tenant; stored ones of the same name hide them.
    providers: ByName,
    /// Bases that the operator set, by type: rows without a base of their own use them, and they are trusted.
    bases: HashMap<String, String>,
}

impl Registry {
    /// Starts with the operator's providers, which belong to the master tenant.
    pub(crate) fn new(factory: Arc<dyn ProviderFactory>, tokens: Arc<Tokens>, configured: Vec<ConfiguredProvider>) -> Self {
        let registry = Self { factory, tokens, configured: RwLock::default(), stored: RwLock::default() };
        registry.configure(configured);
        registry
    }

    /// Replaces the operator's providers. Runs that are under way end with the one that they have.
    pub fn configure(&self, configured: Vec<ConfiguredProvider>) {
        let bases = configured.iter().filter(|provider| !provider.api_base.is_empty());
        let mut all =
            Configured { bases: bases.map(|provider| (provider.provider_type.clone(), provider.api_base.clone())).collect(), ..Configured::default() };
        for provider in configured {
            if provider.api_key.is_none() && !presets::keyless(&provider.provider_type) {
                continue;
            }
            let spec = spec_of(provider);
            let name = spec.name.clone();
            match self.factory.build(spec) {
                Ok(provider) => drop(all.providers.insert(name, provider)),
                Err(error) => tracing::warn!(provider = name, %error, "the configured provider cannot be used"),
            }
        }
        *self.configured.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    fn configured<T>(&self, ask: impl FnOnce(&Configured) -> T) -> T {
        ask(&self.configured.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A provider from a row, ready to be asked.
    ///
    /// # Errors
    /// `Invalid` if this build does not speak its type, or its base may not be called.
    pub fn build(&self, row: &ProviderRow, api_key: Option<SecretString>) -> Result<Arc<dyn Provider>> {
        self.factory.build(self.spec(row, api_key)?)
    }

    /// What a row's provider is made from.
    ///
    /// # Errors
    /// `Invalid` if this build does not speak its type.
    pub(crate) fn spec(&self, row: &ProviderRow, api_key: Option<SecretString>) -> Result<ProviderSpec> {
        if !self.factory.speaks(&row.provider_type) {
            return Err(Error::invalid(message::unsupported_provider_type()));
        }
        let (api_base, trusted) = base_of(&row.provider_type, &row.api_base, self.base_of(&row.provider_type));
        let is_account = row.provider_type == CHATGPT;
        Ok(ProviderSpec {
            name: row.name.clone(),
            provider_type: row.provider_type.clone(),
            api_base,
            // An account's token is asked for at each call: it expires.
            api_key: api_key.filter(|_| !is_account),
            credentials: is_account.then(|| Arc::new(self.tokens.account(row.tenant_id, &row.name)) as Arc<dyn Credentials>),
            default_model: default_model_of(&row.provider_type, &row.name).to_owned(),
            trusted,
            settings: row.settings.clone(),
        })
    }

    /// Replaces all stored providers.
    pub fn replace(&self, providers: impl Iterator<Item = (TenantId, Arc<dyn Provider>)>) {
        let mut all: HashMap<TenantId, ByName> = HashMap::new();
        for (tenant, provider) in providers {
            all.entry(tenant).or_default().insert(provider.name().to_owned(), provider);
        }
        *self.stored.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// Puts a provider in, in place of one of the same name.
    pub fn put(&self, tenant: TenantId, provider: Arc<dyn Provider>) {
        let mut stored = self.stored.write().unwrap_or_else(PoisonError::into_inner);
        stored.entry(tenant).or_default().insert(provider.name().to_owned(), provider);
    }

    /// Takes a provider out.
    pub fn remove(&self, tenant: TenantId, name: &str) {
        let mut stored = self.stored.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenants) = stored.get_mut(&tenant) {
            tenants.remove(name);
        }
    }

    /// The tenant's stored provider of this name.
    #[must_use]
    pub fn stored(&self, tenant: TenantId, name: &str) -> Option<Arc<dyn Provider>> {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        stored.get(&tenant)?.get(name).cloned()
    }

    /// The provider of this name, the tenant's or master's, and no other. The operator's are master's. Some types' providers go by the
    /// type's usual name as well, where no other has it.
    #[must_use]
    pub fn named(&self, tenant: TenantId, name: &str) -> Option<Arc<dyn Provider>> {
        let own = || self.stored(tenant, name).or_else(|| self.called(tenant, name));
        let configured = || self.configured(|configured| configured.providers.get(name).cloned());
        let of_master = || self.stored(TenantId::MASTER, name).or_else(configured).or_else(|| self.called(TenantId::MASTER, name));
        if tenant == TenantId::MASTER { of_master() } else { own().or_else(of_master) }
    }

    /// The tenant's first stored provider of the type that is usually called so.
    fn called(&self, tenant: TenantId, name: &str) -> Option<Arc<dyn Provider>> {
        let provider_type = presets::type_called(name)?;
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        stored.get(&tenant)?.values().find(|provider| provider.provider_type() == provider_type).cloned()
    }

    /// Has the provider of this name forget a conversation of the tenant, if it keeps it itself.
    pub async fn forget(&self, tenant: TenantId, name: &str, session_key: &str) {
        if let Some(provider) = self.named(tenant, name) {
            provider.forget(&Conversation { tenant, session_key: session_key.to_owned() }).await;
        }
    }

    /// The base that the operator set for a type.
    pub fn base_of(&self, provider_type: &str) -> Option<String> {
        self.configured(|configured| configured.bases.get(provider_type).cloned())
    }

    /// The provider of this name, the tenant's or master's; else the first there is, the tenant's before master's, by name.
    #[must_use]
    pub fn choose(&self, tenant: TenantId, name: &str) -> Option<Arc<dyn Provider>> {
        let first_configured = || self.configured(|configured| configured.providers.values().next().cloned());
        self.named(tenant, name).or_else(|| {
            let stand_in = self.first(tenant).or_else(|| self.first(TenantId::MASTER)).or_else(first_configured)?;
            if !name.is_empty() {
                tracing::warn!(wanted = name, used = stand_in.name(), %tenant, "the agent's provider is not there; another one answers");
            }
            Some(stand_in)
        })
    }

    fn first(&self, tenant: TenantId) -> Option<Arc<dyn Provider>> {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        stored.get(&tenant)?.values().next().cloned()
    }
}

/// What the operator's provider is made from: what is not said is the type's own.
fn spec_of(provider: ConfiguredProvider) -> ProviderSpec {
    let preset = presets::preset(&provider.provider_type);
    // The configuration's own is OpenAI itself, wherever it is reached; a stored provider of that name is one like all others.
    let is_openai = provider.name == "openai" && provider.provider_type == "openai_compat";
    let or = |own: String, preset: Option<&str>| if own.is_empty() { preset.unwrap_or_default().to_owned() } else { own };
    ProviderSpec {
        api_base: or(provider.api_base, preset.map(|preset| preset.api_base)),
        default_model: or(provider.default_model, preset.map(|preset| preset.default_model)),
        name: provider.name,
        provider_type: if is_openai { OPENAI.to_owned() } else { provider.provider_type },
        api_key: provider.api_key,
        credentials: None,
        trusted: true,
        settings: provider.settings,
    }
}

/// The model that stands in where none is named for a stored provider; "" for types whose agents name theirs.
fn default_model_of<'a>(provider_type: &str, name: &'a str) -> &'a str {
    match provider_type {
        // The program knows its model itself.
        "acp" => name,
        // Claude's command line takes three models and no other: what the installation's agents ask for would be refused there.
        "anthropic_native" | "bailian" | "dashscope" | "zai" | "zai_coding" | "ollama" | "ollama_cloud" | "novita" | CHATGPT | "claude_cli" => {
            presets::preset(provider_type).map_or("", |preset| preset.default_model)
        }
        _ => "",
    }
}

/// The base of a stored provider and whether it is trusted: its own, which is not, else the one that the operator set, else the type's.
fn base_of(provider_type: &str, own: &str, of_operator: Option<String>) -> (String, bool) {
    match (own, of_operator) {
        ("", Some(base)) => (base, true),
        ("", None) => (presets::preset(provider_type).map(|preset| preset.api_base).unwrap_or_default().to_owned(), true),
        (base, _) => (base.to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use presets::PRESETS;
    use rstest::rstest;

    fn configured(provider_type: &str, api_base: &str, default_model: &str) -> ProviderSpec {
        let (name, api_base, default_model) = ("mine".into(), api_base.into(), default_model.into());
        spec_of(ConfiguredProvider { name, provider_type: provider_type.into(), api_base, api_key: None, default_model, settings: JsonObject::new() })
    }

    #[test]
    fn every_type_of_provider_has_the_base_and_the_model_of_its_preset_unless_others_are_named() {
        for preset in PRESETS {
            let spec = configured(preset.provider_type, "", "");
            assert_eq!((spec.api_base.as_str(), spec.default_model.as_str(), spec.trusted), (preset.api_base, preset.default_model, true));
            let spec = configured(preset.provider_type, "http://proxy/v1", "m");
            assert_eq!((spec.api_base.as_str(), spec.default_model.as_str(), spec.trusted), ("http://proxy/v1", "m", true));
            assert_eq!(base_of(preset.provider_type, "", None), (preset.api_base.to_owned(), true));
        }
    }

    #[rstest]
    #[case("anthropic_native", "claude-sonnet-4-5-20250929")]
    #[case("openai_compat", "")]
    #[case("openrouter", "")]
    #[case("groq", "")]
    #[case("deepseek", "")]
    #[case("gemini_native", "")]
    #[case("mistral", "")]
    #[case("xai", "")]
    #[case("minimax_native", "")]
    #[case("minimax", "")]
    #[case("cohere", "")]
    #[case("perplexity", "")]
    #[case("dashscope", "qwen3-max")]
    #[case("bailian", "qwen3.5-plus")]
    #[case("zai", "glm-5")]
    #[case("zai_coding", "glm-5")]
    #[case("ollama", "llama3.3")]
    #[case("ollama_cloud", "llama3.3")]
    #[case("novita", "moonshotai/kimi-k2.5")]
    #[case("yescale", "")]
    #[case("chatgpt_oauth", "gpt-5.4")]
    #[case("claude_cli", "sonnet")]
    #[case("acp", "mine")]
    fn only_some_stored_providers_have_a_model_of_their_own(#[case] provider_type: &str, #[case] model: &str) {
        assert_eq!(default_model_of(provider_type, "mine"), model);
    }

    #[test]
    fn only_the_configurations_own_openai_is_openai_itself() {
        let of = |name: &str, provider_type: &str| {
            let (name, provider_type) = (name.to_owned(), provider_type.to_owned());
            let (api_base, default_model) = ("http://proxy/v1".to_owned(), String::new());
            spec_of(ConfiguredProvider { name, provider_type, api_base, api_key: None, default_model, settings: JsonObject::new() }).provider_type
        };
        assert_eq!(of("openai", "openai_compat"), OPENAI);
        assert_eq!((of("mine", "openai_compat"), of("openai", "groq")), ("openai_compat".to_owned(), "groq".to_owned()));
    }

    #[test]
    fn a_base_of_its_own_goes_before_the_operators_and_is_not_trusted() {
        assert_eq!(base_of("groq", "http://own", Some("http://operator".into())), ("http://own".into(), false));
        assert_eq!(base_of("groq", "", Some("http://operator".into())), ("http://operator".into(), true));
    }
}
