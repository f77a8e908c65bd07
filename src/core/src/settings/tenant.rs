//! What holds for one tenant: the operator's settings, with master's values laid over them, and the tenant's own over those.

use super::{InjectionAction, LiveSettings, Settings, SpeechAuto, SpeechMode};
use crate::coherence::{Change, Forget, Kind};
use arc_swap::ArcSwapOption;
use goclaw_ports::{Result, TenantId, speech::SpeechService, system_configs::SystemConfigStore};
use moka::sync::Cache;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How many tenants' settings are remembered at once.
const CAPACITY: u64 = 10_000;
/// How long they are believed at most.
const TTL: Duration = Duration::from_secs(300);
/// The profiles that `tools.profile` may name.
const PROFILES: [&str; 4] = ["minimal", "coding", "messaging", "full"];
/// The longest text that may be spoken, in characters: the configuration's own bound.
const MAX_SPOKEN: usize = 1_000_000;
/// How often a run may call the model, at most.
const MAX_ITERATIONS: i32 = 1_000;

/// The settings of each tenant. A change holds for everything that asks from then on; who has asked already keeps what it got.
pub struct TenantSettings {
    live: Arc<LiveSettings>,
    store: Arc<dyn SystemConfigStore>,
    known: Cache<TenantId, Arc<Slot>>,
    /// How often everybody's settings have been forgotten.
    forgotten: AtomicU64,
}

/// A tenant's place in the cache. It outlives what is known, so that a lookup that began before a change can be told from one
/// that began after it.
#[derive(Default)]
struct Slot {
    forgotten: AtomicU64,
    known: ArcSwapOption<Known>,
}

struct Known {
    settings: Arc<Settings>,
    /// The operator's settings that these were made from.
    base: Arc<Settings>,
    age: Age,
}

/// How often a tenant's settings, and everybody's, had been forgotten at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Age {
    own: u64,
    all: u64,
}

impl TenantSettings {
    /// What the operator decided, whatever tenants say.
    pub fn installation(&self) -> Arc<Settings> {
        self.live.get()
    }

    /// Lays the values of this store over these settings.
    pub fn new(live: Arc<LiveSettings>, store: Arc<dyn SystemConfigStore>) -> Arc<Self> {
        let known = Cache::builder().max_capacity(CAPACITY).time_to_live(TTL).build();
        Arc::new(Self { live, store, known, forgotten: AtomicU64::new(0) })
    }

    /// What holds for the tenant now. Asks the database only if nothing is remembered.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of(&self, tenant: TenantId) -> Result<Arc<Settings>> {
        let slot = self.known.get_with(tenant, Arc::default);
        let (age, base) = (self.age(&slot), self.live.get());
        if let Some(known) = &*slot.known.load()
            && known.age == age
            && Arc::ptr_eq(&known.base, &base)
        {
            return Ok(known.settings.clone());
        }
        let (master, own) =
            tokio::try_join!(self.store.list(TenantId::MASTER), async { if tenant == TenantId::MASTER { Ok(vec![]) } else { self.store.list(tenant).await } })?;
        let mut rows = master.iter().chain(&own).peekable();
        let settings = if rows.peek().is_none() { base.clone() } else { Arc::new(overlaid(&base, rows.map(|(key, value)| (key.as_str(), value.as_str())))) };
        // If something was forgotten meanwhile, the age tells: nobody will be given this again.
        slot.known.store(Some(Arc::new(Known { settings: settings.clone(), base, age })));
        Ok(settings)
    }

    fn age(&self, slot: &Slot) -> Age {
        Age { own: slot.forgotten.load(Ordering::Acquire), all: self.forgotten.load(Ordering::Acquire) }
    }
}

impl Forget for TenantSettings {
    fn forget(&self, change: Option<&Change>) {
        match change {
            Some(change) if change.kind != Kind::SystemConfigs => {}
            Some(change) if change.tenant != TenantId::MASTER => {
                if let Some(slot) = self.known.get(&change.tenant) {
                    slot.forgotten.fetch_add(1, Ordering::AcqRel);
                }
            }
            // Master's values hold for whoever has none of their own.
            _ => {
                self.forgotten.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

/// The settings with these values over them, the later ones over the earlier. Values that are empty or make no sense change
/// nothing; neither do keys that no setting has.
fn overlaid<'r>(base: &Settings, rows: impl IntoIterator<Item = (&'r str, &'r str)>) -> Settings {
    let mut settings = base.clone();
    for (key, value) in rows {
        if !value.is_empty() {
            lay_over(&mut settings, key, value);
        }
    }
    settings
}

fn lay_over(settings: &mut Settings, key: &str, value: &str) {
    let number = || value.trim().parse::<i64>().ok();
    // As in the configuration file, 0 and less mean no limit.
    let limit = || number().map(|number| u32::try_from(number.max(0)).unwrap_or(u32::MAX));
    match key {
        "agent.default_provider" => settings.agents.provider = value.to_owned(),
        "agent.default_model" => settings.agents.model = value.to_owned(),
        "agent.context_window" => put(&mut settings.agents.context_window, number().filter(|tokens| *tokens > 0)),
        "agent.max_tool_iterations" => {
            let iterations = number().and_then(|number| i32::try_from(number).ok());
            put(&mut settings.agents.max_tool_iterations, iterations.filter(|iterations| (1..=MAX_ITERATIONS).contains(iterations)));
        }
        "gateway.rate_limit_rpm" => put(&mut settings.gateway.rate_limit_rpm, limit()),
        "gateway.max_message_chars" => {
            put(&mut settings.gateway.max_message_chars, limit().map(|chars| if chars == 0 { usize::MAX } else { chars as usize }));
        }
        "gateway.injection_action" => put(&mut settings.gateway.injection_action, InjectionAction::parse(value)),
        "tools.profile" if PROFILES.contains(&value) => settings.tools.policy.profile = value.to_owned(),
        "tools.rate_limit_per_hour" => put(&mut settings.tools.rate_limit_per_hour, limit()),
        "tts.provider" => {
            if let Some(service) = SpeechService::parse(value) {
                settings.speech.provider = Some(service);
            }
        }
        "tts.auto" => put(&mut settings.speech.auto, SpeechAuto::parse(value)),
        "tts.mode" => put(&mut settings.speech.mode, SpeechMode::parse(value)),
        "tts.max_length" => {
            put(&mut settings.speech.max_length, number().and_then(|chars| usize::try_from(chars).ok()).filter(|chars| (1..=MAX_SPOKEN).contains(chars)))
        }
        "tools.scrub_credentials" => settings.tools.scrub_credentials = matches!(value, "true" | "1"),
        _ => {}
    }
}

fn put<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::ToolPolicy,
        settings::{AgentDefaults, Edition, GatewaySettings, SpeechSettings, ToolSettings},
    };
    use async_trait::async_trait;
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;
    use rstest::rstest;
    use secrecy::ExposeSecret;
    use std::{
        collections::{BTreeMap, HashMap},
        sync::Mutex,
    };
    use tokio::sync::Notify;
    use uuid::Uuid;

    const A: TenantId = TenantId(Uuid::from_u128(1));
    const B: TenantId = TenantId(Uuid::from_u128(2));

    fn base() -> Settings {
        Settings {
            data_dir: "/data".into(),
            gateway: GatewaySettings {
                token: Some("t".to_owned().into()),
                owner_ids: vec!["system".into()],
                allowed_origins: vec![],
                max_message_chars: 100,
                rate_limit_rpm: 20,
                injection_action: InjectionAction::Warn,
                trusted_proxies: vec![],
                tailnet: false,
                queue: Default::default(),
                sockets: Default::default(),
                quota: Default::default(),
                media_quota_mb: 0,
            },
            agents: AgentDefaults {
                workspace: "/workspace".into(),
                provider: "anthropic".into(),
                model: "m".into(),
                max_tokens: 1,
                temperature: 0.0,
                max_tool_iterations: 30,
                context_window: 200_000,
                max_tool_calls: 25,
                pruning: Default::default(),
                compaction: Default::default(),
                bootstrap_max_chars: 1,
                bootstrap_total_max_chars: 1,
                onboarding: true,
                subagents: Default::default(),
            },
            tools: ToolSettings {
                policy: ToolPolicy { profile: "coding".into(), deny: vec!["exec".into()], ..ToolPolicy::default() },
                rate_limit_per_hour: 150,
                scrub_credentials: true,
                shell_deny_groups: BTreeMap::from([("network".to_owned(), true)]),
            },
            speech: SpeechSettings::default(),
            pricing: HashMap::new(),
            trace_days: 0,
            trace_preview: 0,
            lanes: Default::default(),
            edition: Edition {
                name: "lite".into(),
                max_agents: 0,
                max_teams: 0,
                max_team_members: 0,
                max_channels: None,
                max_subagent_concurrent: 0,
                max_subagent_depth: 0,
                kg_enabled: true,
                rbac_enabled: true,
                team_full_mode: true,
                vector_search: true,
            },
        }
    }

    fn with(key: &str, value: &str) -> Settings {
        overlaid(&base(), [(key, value)])
    }

    #[test]
    fn known_keys_are_laid_over() {
        assert_eq!(with("agent.default_provider", "p").agents.provider, "p");
        assert_eq!(with("agent.default_model", "gpt").agents.model, "gpt");
        assert_eq!(with("agent.context_window", "1000").agents.context_window, 1000);
        assert_eq!(with("agent.max_tool_iterations", "7").agents.max_tool_iterations, 7);
        assert_eq!(with("gateway.rate_limit_rpm", "-1").gateway.rate_limit_rpm, 0);
        assert_eq!(with("gateway.max_message_chars", "0").gateway.max_message_chars, usize::MAX);
        assert_eq!(with("gateway.injection_action", "block").gateway.injection_action, InjectionAction::Block);
        assert_eq!(with("tools.profile", "minimal").tools.policy.profile, "minimal");
        assert_eq!(with("tools.rate_limit_per_hour", "9").tools.rate_limit_per_hour, 9);
        assert!(with("tools.scrub_credentials", "1").tools.scrub_credentials);
        assert!(!with("tools.scrub_credentials", "no").tools.scrub_credentials);
        assert_eq!(with("tts.provider", "minimax").speech.provider, Some(SpeechService::Minimax));
        assert_eq!((with("tts.auto", "tagged").speech.auto, with("tts.mode", "all").speech.mode), (SpeechAuto::Tagged, SpeechMode::All));
        assert_eq!(with("tts.max_length", "20").speech.max_length, 20);
    }

    #[rstest]
    #[case("agent.context_window", "many")]
    #[case("agent.context_window", "0")]
    #[case("agent.max_tool_iterations", "1001")]
    #[case("gateway.rate_limit_rpm", "")]
    #[case("gateway.rate_limit_rpm", "1.5")]
    #[case("gateway.injection_action", "explode")]
    #[case("tools.profile", "everything")]
    #[case("tools.scrub_credentials", "")]
    #[case("agent.default_model", "")]
    #[case("tts.provider", "nobody")]
    #[case("tts.auto", "often")]
    #[case("tts.mode", "none")]
    #[case("tts.max_length", "0")]
    fn values_that_make_no_sense_change_nothing(#[case] key: &str, #[case] value: &str) {
        assert_eq!(shown(&with(key, value)), shown(&base()));
    }

    #[test]
    fn later_values_win() {
        assert_eq!(overlaid(&base(), [("agent.default_model", "master"), ("agent.default_model", "own"), ("agent.default_model", "")]).agents.model, "own");
    }

    /// What no tenant may change.
    fn guarded(settings: &Settings) -> String {
        let token = settings.gateway.token.as_ref().map(|token| token.expose_secret().to_owned());
        let (gateway, tools) = (&settings.gateway, &settings.tools);
        format!(
            "{token:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            gateway.owner_ids,
            gateway.allowed_origins,
            gateway.trusted_proxies,
            tools.policy.deny,
            tools.policy.allow,
            tools.shell_deny_groups,
            settings.data_dir
        )
    }

    fn shown(settings: &Settings) -> String {
        let (gateway, tools) = (&settings.gateway, &settings.tools);
        let (rpm, chars, action) = (gateway.rate_limit_rpm, gateway.max_message_chars, gateway.injection_action);
        format!("{} {:?} {rpm} {chars} {action:?} {tools:?} {:?}", guarded(settings), settings.agents, settings.speech)
    }

    proptest! {
        #[test]
        fn no_value_reaches_what_guards_the_installation(key in "(gateway|tools|agent)\\.[a-z_]{1,20}|gateway.token|gateway.owner_ids|tools.deny", value in ".{0,30}") {
            prop_assert_eq!(guarded(&with(&key, &value)), guarded(&base()));
        }
    }

    /// Values in memory. While `gate` is there, reading waits for it after it has read.
    #[derive(Default)]
    struct Memory {
        rows: Mutex<HashMap<TenantId, Vec<(String, String)>>>,
        reads: AtomicU64,
        gate: Mutex<Option<Arc<(Notify, Notify)>>>,
    }

    impl Memory {
        fn set(&self, tenant: TenantId, key: &str, value: &str) {
            self.rows.lock().unwrap().insert(tenant, vec![(key.to_owned(), value.to_owned())]);
        }
    }

    #[async_trait]
    impl SystemConfigStore for Memory {
        async fn list(&self, tenant: TenantId) -> Result<Vec<(String, String)>> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let rows = self.rows.lock().unwrap().get(&tenant).cloned().unwrap_or_default();
            let gate = self.gate.lock().unwrap().clone();
            if let Some(gate) = gate.filter(|_| tenant != TenantId::MASTER) {
                gate.0.notify_one();
                gate.1.notified().await;
            }
            Ok(rows)
        }
        async fn get(&self, _: TenantId, _: &str) -> Result<Option<String>> {
            Ok(None)
        }
        async fn put(&self, _: TenantId, _: &str, _: &str, _: DateTime<Utc>) -> Result<()> {
            Ok(())
        }
        async fn delete(&self, _: TenantId, _: &str) -> Result<bool> {
            Ok(false)
        }
    }

    fn start() -> (Arc<LiveSettings>, Arc<Memory>, Arc<TenantSettings>) {
        let (live, store) = (LiveSettings::new(base()), Arc::new(Memory::default()));
        let settings = TenantSettings::new(live.clone(), store.clone());
        (live, store, settings)
    }

    fn changed(tenant: TenantId) -> Change {
        Change { tenant, kind: Kind::SystemConfigs, key: "agent.default_model".into() }
    }

    async fn model(settings: &TenantSettings, tenant: TenantId) -> String {
        settings.of(tenant).await.unwrap().agents.model.clone()
    }

    #[tokio::test]
    async fn a_tenants_values_are_its_own_and_masters_hold_for_the_others() {
        let (_, store, settings) = start();
        store.set(TenantId::MASTER, "agent.default_model", "masters");
        store.set(A, "agent.default_model", "own");
        assert_eq!((model(&settings, A).await, model(&settings, B).await), ("own".into(), "masters".into()));
        assert_eq!(model(&settings, TenantId::MASTER).await, "masters");
    }

    #[tokio::test]
    async fn what_is_known_is_not_read_again_until_it_changes() {
        let (live, store, settings) = start();
        model(&settings, A).await;
        model(&settings, B).await;
        let read = store.reads.load(Ordering::SeqCst);
        model(&settings, A).await;
        assert_eq!(store.reads.load(Ordering::SeqCst), read);

        store.set(A, "agent.default_model", "own");
        assert_eq!(model(&settings, A).await, "m", "nobody said that it changed");
        settings.forget(Some(&changed(A)));
        assert_eq!(model(&settings, A).await, "own");
        let read = store.reads.load(Ordering::SeqCst);
        model(&settings, B).await;
        assert_eq!(store.reads.load(Ordering::SeqCst), read, "another tenant's change does not concern B");

        store.set(TenantId::MASTER, "agent.default_model", "masters");
        settings.forget(Some(&changed(TenantId::MASTER)));
        assert_eq!((model(&settings, A).await, model(&settings, B).await), ("own".into(), "masters".into()));

        let mut other = base();
        other.agents.provider = "openai".into();
        live.set(other);
        assert_eq!(settings.of(B).await.unwrap().agents.provider, "openai");
    }

    #[tokio::test]
    async fn a_lookup_that_began_before_a_change_does_not_bring_the_old_value_back() {
        for (forget, tenant) in [(Some(changed(A)), A), (Some(changed(TenantId::MASTER)), A), (None, A)] {
            let (_, store, settings) = start();
            let gate = Arc::new((Notify::new(), Notify::new()));
            *store.gate.lock().unwrap() = Some(gate.clone());
            let early = tokio::spawn({
                let settings = settings.clone();
                async move { model(&settings, tenant).await }
            });
            gate.0.notified().await;
            *store.gate.lock().unwrap() = None;
            store.set(A, "agent.default_model", "new");
            settings.forget(forget.as_ref());
            gate.1.notify_one();
            assert_eq!(early.await.unwrap(), "m");
            assert_eq!(model(&settings, A).await, "new");
        }
    }
}
