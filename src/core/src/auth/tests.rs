use super::*;
use crate::{
    coherence::{Coherence, Kind},
    pairing::alias_of,
    policy::ToolPolicy,
    settings::{AgentDefaults, Edition, GatewaySettings, InjectionAction, Settings, ToolSettings},
};
use async_trait::async_trait;
use goclaw_ports::{
    ApiKeyId, JsonObject,
    activity::{Activity, ActivityFilter, ActivityStore},
    api_keys::ApiKey,
    clock::{SystemClock, SystemIds},
    events::{Attendance, Audience, Event, EventBus, EventStream},
    pairing::{BROWSER, PairedDevice, PairingRequest, PendingLimits},
    roles::Scope,
    tenants::{Member, MemberRole, TenantPatch},
};
use rstest::rstest;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use uuid::Uuid;

const TOKEN: &str = "the-gateway-token";
const KEY: &str = "goclaw_0123456789abcdef0123456789abcdef";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A database with one key, one paired browser, and one member of the master tenant: `mai`.
#[derive(Default)]
struct Database {
    looked: AtomicUsize,
    broken: AtomicBool,
    revoked: AtomicBool,
    /// Answers of key look-ups wait for this, once there is one.
    held: Mutex<Option<Arc<Hold>>>,
    noted: Mutex<Vec<Activity>>,
}

#[derive(Default)]
struct Hold {
    reached: Notify,
    release: Notify,
}

impl Database {
    fn answer<T>(&self, value: T) -> Result<T> {
        self.looked.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) { Err(Error::unavailable("the database")) } else { Ok(value) }
    }

    fn looked(&self) -> usize {
        self.looked.load(Ordering::SeqCst)
    }
}

fn never<T>() -> Result<T> {
    Err(Error::internal("nobody asks for this here"))
}

fn master() -> Tenant {
    let now = DateTime::UNIX_EPOCH;
    Tenant {
        id: TenantId::MASTER,
        name: "Master".into(),
        slug: "master".into(),
        status: TenantStatus::Active,
        settings: JsonObject::new(),
        created_at: now,
        updated_at: now,
    }
}

#[async_trait]
impl TenantStore for Database {
    async fn find(&self, tenant: TenantId) -> Result<Option<Tenant>> {
        self.answer(Some(master()).filter(|master| master.id == tenant))
    }
    async fn all_tenants_find_by_slug(&self, slug: &str) -> Result<Option<Tenant>> {
        self.answer(Some(master()).filter(|master| master.slug == slug))
    }
    async fn member_role(&self, _: TenantId, user: &str) -> Result<Option<MemberRole>> {
        self.answer((user == "mai").then_some(MemberRole::Member))
    }
    async fn all_tenants_list(&self) -> Result<Vec<Tenant>> {
        never()
    }
    async fn all_tenants_memberships(&self, _: &str) -> Result<Vec<(Tenant, MemberRole)>> {
        never()
    }
    async fn insert(&self, _: &Tenant) -> Result<()> {
        never()
    }
    async fn update(&self, _: TenantId, _: &TenantPatch, _: DateTime<Utc>) -> Result<Option<Tenant>> {
        never()
    }
    async fn members(&self, _: TenantId) -> Result<Vec<Member>> {
        never()
    }
    async fn search_members(&self, _: TenantId, _: &str, _: i64) -> Result<Vec<Member>> {
        never()
    }
    async fn put_member(&self, _: TenantId, _: &Member) -> Result<Option<MemberRole>> {
        never()
    }
    async fn remove_member(&self, _: TenantId, _: &str) -> Result<Option<MemberRole>> {
        never()
    }
}

#[async_trait]
impl ApiKeyStore for Database {
    async fn all_tenants_find_by_hash(&self, hash: &str) -> Result<Option<ApiKey>> {
        let now = DateTime::UNIX_EPOCH;
        let key = ApiKey {
            id: ApiKeyId(Uuid::nil()),
            tenant_id: Some(TenantId::MASTER),
            name: "k".into(),
            prefix: "goclaw_0".into(),
            scopes: vec![Scope::Read],
            owner_id: String::new(),
            expires_at: None,
            last_used_at: None,
            revoked: self.revoked.load(Ordering::SeqCst),
            created_by: String::new(),
            created_at: now,
            updated_at: now,
        };
        let held = self.held.lock().unwrap().clone();
        if let Some(held) = held {
            held.reached.notify_one();
            held.release.notified().await;
        }
        self.answer((hash == hash_of(KEY)).then_some(key))
    }
    async fn insert(&self, _: &ApiKey, _: &str) -> Result<()> {
        never()
    }
    async fn list(&self, _: Option<TenantId>) -> Result<Vec<ApiKey>> {
        never()
    }
    async fn revoke(&self, _: Option<TenantId>, _: ApiKeyId, _: DateTime<Utc>) -> Result<bool> {
        never()
    }
    async fn touch(&self, _: Option<TenantId>, _: ApiKeyId, _: DateTime<Utc>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl PairingStore for Database {
    async fn request(&self, _: TenantId, request: &PairingRequest, _: PendingLimits, _: DateTime<Utc>) -> Result<PairingRequest> {
        self.answer(request.clone())
    }
    async fn all_tenants_find_paired(&self, channel: &str, sender: &str, now: DateTime<Utc>) -> Result<Option<(TenantId, PairedDevice)>> {
        let device = PairedDevice {
            sender: alias_of(SECRET),
            channel: BROWSER.into(),
            chat_id: String::new(),
            user_id: "mai".into(),
            paired_by: "system".into(),
            metadata: BTreeMap::new(),
            paired_at: now,
            expires_at: now + chrono::TimeDelta::days(1),
        };
        self.answer((channel == BROWSER && sender == device.sender).then_some((TenantId::MASTER, device)))
    }
    async fn all_tenants_is_pending(&self, _: &str, _: &str, _: DateTime<Utc>) -> Result<bool> {
        self.answer(false)
    }
    async fn pending(&self, _: TenantId, _: DateTime<Utc>) -> Result<Vec<PairingRequest>> {
        never()
    }
    async fn paired(&self, _: TenantId, _: DateTime<Utc>) -> Result<Vec<PairedDevice>> {
        never()
    }
    async fn approve(&self, _: TenantId, _: &str, _: &str, _: DateTime<Utc>, _: DateTime<Utc>) -> Result<Option<PairedDevice>> {
        never()
    }
    async fn deny(&self, _: TenantId, _: &str, _: DateTime<Utc>) -> Result<Option<PairingRequest>> {
        never()
    }
    async fn revoke(&self, _: TenantId, _: &str, _: &str, _: DateTime<Utc>) -> Result<Option<PairedDevice>> {
        never()
    }
    async fn all_tenants_of_code(&self, _: &str, _: DateTime<Utc>) -> Result<Option<TenantId>> {
        never()
    }
}

#[async_trait]
impl ActivityStore for Database {
    async fn append(&self, _: TenantId, entries: &[Activity]) -> Result<()> {
        self.noted.lock().unwrap().extend_from_slice(entries);
        Ok(())
    }
    async fn list(&self, _: TenantId, _: &ActivityFilter) -> Result<(Vec<Activity>, i64)> {
        never()
    }
}

/// Nobody listens.
struct Silence;

#[async_trait]
impl EventBus for Silence {
    fn publish(&self, _: Event) {}
    fn subscribe(&self) -> Box<dyn EventStream> {
        unreachable!("nobody listens here")
    }
    fn subscribe_to_others(&self) -> Box<dyn EventStream> {
        unreachable!("nobody listens here")
    }
    fn attend(&self) -> Attendance {
        Audience::default().join()
    }
    fn attended(&self) -> bool {
        false
    }
}

/// Nothing is ever too often.
struct Unlimited;

#[async_trait]
impl RateLimiter for Unlimited {
    async fn take(&self, _: &str, _: Quota) -> std::result::Result<(), Duration> {
        Ok(())
    }
}

fn settings(token: Option<&str>) -> Settings {
    Settings {
        data_dir: "/data".into(),
        gateway: GatewaySettings {
            token: token.map(|token| token.to_owned().into()),
            owner_ids: vec!["system".into()],
            allowed_origins: vec![],
            max_message_chars: 100,
            rate_limit_rpm: 0,
            injection_action: InjectionAction::Off,
            trusted_proxies: vec![],
            tailnet: false,
            queue: Default::default(),
            sockets: Default::default(),
            quota: Default::default(),
            media_quota_mb: 0,
        },
        agents: AgentDefaults {
            workspace: "/workspace".into(),
            provider: "p".into(),
            model: "m".into(),
            max_tokens: 1,
            temperature: 0.0,
            max_tool_iterations: 1,
            context_window: 1,
            max_tool_calls: 1,
            pruning: Default::default(),
            compaction: Default::default(),
            bootstrap_max_chars: 1,
            bootstrap_total_max_chars: 1,
            onboarding: true,
            subagents: Default::default(),
        },
        tools: ToolSettings { policy: ToolPolicy::default(), rate_limit_per_hour: 0, scrub_credentials: true, shell_deny_groups: BTreeMap::new() },
        speech: Default::default(),
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
            kg_enabled: false,
            rbac_enabled: true,
            team_full_mode: false,
            vector_search: false,
        },
    }
}

fn authenticator(token: Option<&str>) -> (Arc<Authenticator>, Arc<Database>) {
    let database = Arc::new(Database::default());
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let audit = Audit::start(database.clone(), clock.clone(), ids.clone(), &tokio::runtime::Handle::current());
    let bus: Arc<dyn EventBus> = Arc::new(Silence);
    let pairing = Pairing {
        store: database.clone(),
        audit: audit.clone(),
        coherence: Coherence::new(bus.clone()),
        bus,
        limiter: Arc::new(Unlimited),
        clock: clock.clone(),
        ids,
    };
    let auth = Authenticator {
        settings: LiveSettings::new(settings(token)),
        tenants: database.clone(),
        keys: database.clone(),
        devices: database.clone(),
        pairing: Arc::new(pairing),
        audit,
        clock,
        limiter: Arc::new(Unlimited),
        known: Known::default(),
    };
    (Arc::new(auth), database)
}

fn credentials<'a>(bearer: Option<&'a str>, sender: Option<&'a str>) -> Credentials<'a> {
    Credentials { bearer, sender, user_id: "u", tenant: None, locale: Locale::En, ip: None }
}

fn changed(kind: Kind) -> Change {
    Change { tenant: TenantId::MASTER, kind, key: String::new() }
}

#[rstest]
#[case(Some(TOKEN), Some(TOKEN), None, Some((Role::Admin, "u")))]
#[case(Some(TOKEN), Some(KEY), None, Some((Role::Viewer, "u")))]
#[case(Some(TOKEN), None, Some(SECRET), Some((Role::Operator, "mai")))]
#[case(Some(TOKEN), Some("wrong"), Some(SECRET), Some((Role::Operator, "mai")))]
#[case(Some(TOKEN), Some(TOKEN), Some(SECRET), Some((Role::Admin, "u")))]
#[case(Some(TOKEN), Some("wrong"), None, None)]
#[case(Some(TOKEN), None, Some("not-the-secret-of-anybody-although-long-enough"), None)]
#[case(Some(TOKEN), None, None, None)]
#[case(None, None, None, Some((Role::Admin, "u")))]
#[case(None, Some("wrong"), None, Some((Role::Admin, "u")))]
#[case(None, Some(KEY), None, Some((Role::Viewer, "u")))]
#[case(None, None, Some(SECRET), Some((Role::Operator, "mai")))]
#[tokio::test]
async fn the_first_credential_that_counts_decides(
    #[case] configured: Option<&str>,
    #[case] bearer: Option<&str>,
    #[case] sender: Option<&str>,
    #[case] expected: Option<(Role, &str)>,
) {
    let (auth, _) = authenticator(configured);
    let caller = auth.http(credentials(bearer, sender)).await;
    assert_eq!(caller.as_ref().ok().map(|caller| (caller.role, &*caller.user)), expected, "{caller:?}");
    if let Err(error) = caller {
        assert_eq!(error.kind, ErrorKind::Unauthorized);
    }
}

#[tokio::test]
async fn a_caller_who_was_here_lately_costs_no_statement() {
    let (auth, database) = authenticator(Some(TOKEN));
    for (bearer, sender) in [(Some(TOKEN), None), (Some(KEY), None), (None, Some(SECRET))] {
        auth.http(credentials(bearer, sender)).await.unwrap();
        let before = database.looked();
        auth.http(credentials(bearer, sender)).await.unwrap();
        assert_eq!(database.looked(), before, "{bearer:?} {sender:?}");
    }
    for kind in [Kind::ApiKeys, Kind::Pairing] {
        auth.forget(Some(&changed(kind)));
    }
    let before = database.looked();
    auth.http(credentials(Some(KEY), None)).await.unwrap();
    auth.http(credentials(None, Some(SECRET))).await.unwrap();
    assert_eq!(database.looked(), before + 2, "what changed is looked up again");
}

#[tokio::test]
async fn a_key_that_was_revoked_while_it_was_looked_up_is_not_believed_afterwards() {
    let (auth, database) = authenticator(Some(TOKEN));
    let hold = Arc::new(Hold::default());
    *database.held.lock().unwrap() = Some(hold.clone());
    let early = tokio::spawn({
        let auth = auth.clone();
        async move { auth.http(credentials(Some(KEY), None)).await }
    });
    hold.reached.notified().await;
    *database.held.lock().unwrap() = None;
    database.revoked.store(true, Ordering::SeqCst);
    auth.forget(Some(&changed(Kind::ApiKeys)));
    hold.release.notify_one();
    assert!(early.await.unwrap().is_ok(), "it came before");
    assert_eq!(auth.http(credentials(Some(KEY), None)).await.unwrap_err().kind, ErrorKind::Unauthorized);
    assert!(!auth.key_stands(&hash_of(KEY)).await.unwrap());
}

#[tokio::test]
async fn without_the_database_nobody_comes_in() {
    let (auth, database) = authenticator(Some(TOKEN));
    database.broken.store(true, Ordering::SeqCst);
    let by_device = ConnectParams { sender_id: SECRET.into(), ..ConnectParams::default() };
    assert_eq!(auth.connect(&by_device, None).await.unwrap_err().kind, ErrorKind::Internal);
    for params in [
        ConnectParams::default(),
        ConnectParams { token: KEY.into(), ..ConnectParams::default() },
        ConnectParams { token: TOKEN.into(), ..ConnectParams::default() },
    ] {
        assert!(auth.connect(&params, None).await.is_err());
    }
    assert!(auth.http(credentials(None, Some(SECRET))).await.is_err());
    assert!(auth.http(credentials(Some(KEY), None)).await.is_err());
}

#[tokio::test]
async fn connect_tells_what_an_admission_rests_on() {
    let (auth, _) = authenticator(Some(TOKEN));
    let grounds = async |params: ConnectParams| match auth.connect(&params, None).await.unwrap() {
        Connected::Authenticated { grounds, .. } => grounds,
        other => panic!("{other:?}"),
    };
    let by_key = grounds(ConnectParams { token: KEY.into(), ..ConnectParams::default() }).await;
    assert_eq!(by_key, Grounds { key_hash: Some(hash_of(KEY).into()), ..Grounds::default() });
    let member = ConnectParams { token: TOKEN.into(), user_id: "mai".into(), tenant_hint: "master".into(), ..ConnectParams::default() };
    assert!(grounds(member.clone()).await.membership);
    assert!(!grounds(ConnectParams { tenant_hint: String::new(), ..member.clone() }).await.membership);
    assert!(!grounds(ConnectParams { user_id: "system".into(), ..member }).await.membership, "owners need none");
    let by_device = grounds(ConnectParams { sender_id: SECRET.into(), tenant_id: "master".into(), ..ConnectParams::default() }).await;
    assert!(by_device.membership && by_device.until.is_some());
}

#[tokio::test]
async fn an_admission_by_the_gateway_token_stands_as_long_as_the_token() {
    let (auth, _) = authenticator(Some(TOKEN));
    let admitted = async |token: &str, user: &str| {
        let params = ConnectParams { token: token.into(), user_id: user.into(), ..ConnectParams::default() };
        match auth.connect(&params, None).await.unwrap() {
            Connected::Authenticated { caller, grounds, .. } => (caller, grounds),
            other => panic!("{other:?}"),
        }
    };
    let (owner, admin, by_key) = (admitted(TOKEN, "system").await, admitted(TOKEN, "").await, admitted(KEY, "").await);
    let stand = || [&owner, &admin, &by_key].map(|(caller, grounds)| auth.configuration_stands(caller, grounds));
    auth.settings.set(Settings { data_dir: "/elsewhere".into(), ..settings(Some(TOKEN)) });
    assert_eq!(stand(), [true; 3]);
    let mut others = settings(Some(TOKEN));
    others.gateway.owner_ids = vec!["alice".into()];
    auth.settings.set(others);
    assert_eq!(stand(), [false, true, true], "the owner is none any more");
    auth.settings.set(settings(Some("another-token")));
    assert_eq!(stand(), [false, false, true]);
    let by_token = &admin.1;
    assert!(!format!("{by_token:?}").contains(&hex::encode(&Sha256::digest(TOKEN)[..4])));
}

#[tokio::test]
async fn whoever_comes_and_whoever_is_refused_is_noted_without_their_secrets() {
    let (auth, database) = authenticator(Some(TOKEN));
    auth.connect(&ConnectParams { token: KEY.into(), user_id: "lan".into(), ..ConnectParams::default() }, None).await.unwrap();
    auth.http(credentials(Some("wrong"), Some(SECRET))).await.unwrap();
    auth.http(credentials(Some("wrong"), None)).await.unwrap_err();
    auth.http(credentials(None, None)).await.unwrap_err();
    auth.http(Credentials { user_id: "stranger", tenant: Some("master"), ..credentials(Some(TOKEN), None) }).await.unwrap_err();
    auth.audit.flush().await;
    let noted = database.noted.lock().unwrap().clone();
    let told: Vec<_> = noted.iter().map(|entry| (entry.action.as_str(), entry.actor_id.as_str(), entry.entity_id.as_str())).collect();
    assert_eq!(told, [("auth.login", "lan", "api_key"), ("auth.failed", "system", "credential"), ("auth.failed", "system", "tenant")]);
    let whole = serde_json::to_string(&noted).unwrap();
    assert!([TOKEN, KEY, SECRET, "wrong"].iter().all(|secret| !whole.contains(secret)), "{whole}");
}

#[rstest]
#[case("203.0.113.9", "203.0.113.9")]
#[case("::ffff:203.0.113.9", "203.0.113.9")]
#[case("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64")]
#[case("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64")]
fn addresses_that_one_customer_chooses_among_count_together(#[case] ip: &str, #[case] network: &str) {
    assert_eq!(network_of(ip.parse().ok()), network);
    assert_eq!(network_of(None), "unknown");
}
