use super::{Place, at, object};
use goclaw_ports::{
    ApiKeyId, ErrorKind, JsonObject, ProviderId, TenantId,
    activity::{Activity, ActivityFilter},
    api_keys::ApiKey,
    builtin_tools::BuiltinTool,
    providers::{ProviderPatch, ProviderRow},
    roles::Scope,
    sealer::Sealed,
    tenants::{Member, MemberRole, Tenant, TenantPatch, TenantStatus},
};
use uuid::Uuid;

const MASTER: TenantId = TenantId::MASTER;

fn nowhere() -> TenantId {
    TenantId(Uuid::now_v7())
}

#[tokio::test]
async fn tenants_have_unique_slugs_and_members_with_roles() {
    let place = Place::new().await;
    let tenants = &place.stores.tenants;
    let other = place.other_tenant().await;
    let stored = tenants.find(other).await.unwrap().unwrap();
    assert_eq!(tenants.all_tenants_find_by_slug(&stored.slug).await.unwrap().unwrap(), stored);
    let ids: Vec<_> = tenants.all_tenants_list().await.unwrap().into_iter().map(|tenant| tenant.id).collect();
    assert_eq!(ids, [other, MASTER], "oldest first");
    for double in [Tenant { id: nowhere(), ..stored.clone() }, Tenant { slug: "new".to_owned(), ..stored.clone() }] {
        assert_eq!(tenants.insert(&double).await.unwrap_err().kind, ErrorKind::AlreadyExists);
    }
    let suspend = TenantPatch { status: Some(TenantStatus::Suspended), ..TenantPatch::default() };
    assert_eq!(tenants.update(nowhere(), &suspend, at(5)).await.unwrap(), None);
    let suspended = Tenant { status: TenantStatus::Suspended, updated_at: at(5), ..stored };
    assert_eq!(tenants.update(other, &suspend, at(5)).await.unwrap(), Some(suspended.clone()));
    assert_eq!(tenants.find(other).await.unwrap(), Some(suspended));

    let bob = |tenant, role| Member {
        id: Uuid::now_v7(),
        tenant_id: tenant,
        user_id: "bob".to_owned(),
        display_name: None,
        role,
        metadata: JsonObject::new(),
        created_at: at(6),
        updated_at: at(6),
    };
    assert_eq!(tenants.put_member(other, &bob(other, MemberRole::Member)).await.unwrap(), None);
    assert_eq!(tenants.put_member(other, &bob(other, MemberRole::Admin)).await.unwrap(), Some(MemberRole::Member));
    assert_eq!(tenants.member_role(other, "bob").await.unwrap(), Some(MemberRole::Admin));
    assert_eq!(tenants.member_role(MASTER, "bob").await.unwrap(), None);
    let lost = nowhere();
    assert_eq!(tenants.put_member(lost, &bob(lost, MemberRole::Admin)).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(tenants.remove_member(MASTER, "bob").await.unwrap(), None);
    assert_eq!(tenants.remove_member(other, "bob").await.unwrap(), Some(MemberRole::Admin));
}

#[tokio::test]
async fn api_keys_are_found_by_hash_and_listed_by_tenant() {
    let place = Place::new().await;
    let keys = &place.stores.api_keys;
    let key = |tenant_id, seconds| ApiKey {
        id: ApiKeyId(Uuid::now_v7()),
        tenant_id,
        name: "ci".to_owned(),
        prefix: "gck_1234".to_owned(),
        scopes: vec![Scope::Read, Scope::Provision],
        owner_id: "bob".to_owned(),
        expires_at: Some(at(1000)),
        last_used_at: None,
        revoked: false,
        created_by: "alice".to_owned(),
        created_at: at(seconds),
        updated_at: at(seconds),
    };
    let (system, old, new) = (key(None, 1), key(Some(MASTER), 1), key(Some(MASTER), 2));
    for (key, hash) in [(&system, "s"), (&old, "o"), (&new, "n")] {
        keys.insert(key, hash).await.unwrap();
    }
    assert_eq!(keys.insert(&key(None, 1), "s").await.unwrap_err().kind, ErrorKind::AlreadyExists);
    assert_eq!(keys.insert(&key(Some(nowhere()), 1), "x").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(keys.all_tenants_find_by_hash("s").await.unwrap().unwrap(), system);
    assert_eq!(keys.list(Some(MASTER)).await.unwrap(), [new.clone(), old.clone()]);
    assert_eq!(keys.list(None).await.unwrap(), std::slice::from_ref(&system));

    assert!(!keys.revoke(None, old.id, at(5)).await.unwrap());
    assert!(!keys.revoke(Some(MASTER), system.id, at(5)).await.unwrap());
    assert!(keys.revoke(Some(MASTER), old.id, at(5)).await.unwrap());
    assert!(keys.revoke(Some(MASTER), old.id, at(6)).await.unwrap());
    keys.touch(None, system.id, at(7)).await.unwrap();
    keys.touch(None, new.id, at(7)).await.unwrap();
    let revoked = ApiKey { revoked: true, updated_at: at(5), ..old };
    assert_eq!(keys.list(Some(MASTER)).await.unwrap(), [new, revoked]);
    assert_eq!(keys.all_tenants_find_by_hash("s").await.unwrap().unwrap().last_used_at, Some(at(7)));
}

#[tokio::test]
async fn providers_are_changed_within_their_tenant_only() {
    let place = Place::new().await;
    let providers = &place.stores.providers;
    let other = place.other_tenant().await;
    let row = |tenant_id, name: &str| ProviderRow {
        id: ProviderId(Uuid::now_v7()),
        tenant_id,
        name: name.to_owned(),
        display_name: String::new(),
        provider_type: "openai_compat".to_owned(),
        api_base: "https://llm.example".to_owned(),
        api_key: Some(Sealed("x1:abc".to_owned())),
        enabled: true,
        settings: object(r#"{"z":1,"a":2}"#),
        created_at: at(1),
        updated_at: at(1),
    };
    let (zeta, alpha, theirs) = (row(MASTER, "zeta"), row(MASTER, "alpha"), row(other, "alpha"));
    providers.insert(MASTER, &zeta).await.unwrap();
    providers.insert(MASTER, &alpha).await.unwrap();
    providers.insert(other, &theirs).await.unwrap();
    assert_eq!(providers.insert(MASTER, &row(MASTER, "zeta")).await.unwrap_err().kind, ErrorKind::AlreadyExists);
    assert_eq!(providers.list(MASTER).await.unwrap(), [alpha.clone(), zeta.clone()]);
    assert_eq!(providers.find(MASTER, theirs.id).await.unwrap(), None);
    assert_eq!(providers.find_by_name(other, "alpha").await.unwrap().unwrap(), theirs);

    let patch = ProviderPatch { enabled: Some(false), name: Some("beta".to_owned()), ..ProviderPatch::default() };
    let changed = providers.update(MASTER, zeta.id, &patch, at(2)).await.unwrap().unwrap();
    assert_eq!(changed, ProviderRow { enabled: false, name: "beta".to_owned(), updated_at: at(2), ..zeta.clone() });
    let taken = ProviderPatch { name: Some("alpha".to_owned()), ..ProviderPatch::default() };
    assert_eq!(providers.update(MASTER, zeta.id, &taken, at(3)).await.unwrap_err().kind, ErrorKind::AlreadyExists);
    assert_eq!(providers.update(other, zeta.id, &patch, at(3)).await.unwrap(), None);
    assert_eq!(providers.all_tenants_enabled().await.unwrap().len(), 2);
    assert_eq!(providers.delete(other, zeta.id).await.unwrap(), None);
    assert_eq!(providers.delete(MASTER, zeta.id).await.unwrap(), Some(changed));
    assert_eq!(providers.find(MASTER, zeta.id).await.unwrap(), None);
}

#[tokio::test]
async fn secrets_and_settings_are_kept_by_name() {
    let place = Place::new().await;
    let (secrets, configs) = (&place.stores.secrets, &place.stores.system_configs);
    let other = place.other_tenant().await;
    for value in ["x1:old", "x1:new"] {
        secrets.put(MASTER, "gateway.token", &Sealed(value.to_owned()), at(1)).await.unwrap();
        configs.put(MASTER, "locale", value, at(1)).await.unwrap();
    }
    secrets.put(MASTER, "a", &Sealed(String::new()), at(1)).await.unwrap();
    configs.put(MASTER, "a", "", at(1)).await.unwrap();
    assert_eq!(secrets.get(MASTER, "gateway.token").await.unwrap(), Some(Sealed("x1:new".to_owned())));
    assert_eq!(configs.get(MASTER, "locale").await.unwrap().as_deref(), Some("x1:new"));
    let names: Vec<_> = secrets.list(MASTER).await.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "gateway.token"]);
    assert_eq!(configs.list(MASTER).await.unwrap(), [("a".to_owned(), String::new()), ("locale".to_owned(), "x1:new".to_owned())]);
    assert_eq!(secrets.get(other, "a").await.unwrap(), None);
    assert_eq!(configs.get(other, "a").await.unwrap(), None);
    assert!(!secrets.delete(other, "a").await.unwrap() && !configs.delete(other, "a").await.unwrap());
    assert!(secrets.delete(MASTER, "a").await.unwrap() && configs.delete(MASTER, "a").await.unwrap());
    assert_eq!(secrets.put(nowhere(), "a", &Sealed(String::new()), at(1)).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(configs.put(nowhere(), "a", "", at(1)).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn activity_is_listed_newest_first_by_exact_conditions() {
    let place = Place::new().await;
    let activity = &place.stores.activity;
    let entry = |action: &str, seconds| Activity {
        id: Uuid::now_v7(),
        actor_type: "user".to_owned(),
        actor_id: "bob".to_owned(),
        action: action.to_owned(),
        entity_type: "agent".to_owned(),
        entity_id: "1".to_owned(),
        details: Some(serde_json::json!(["x", null])),
        ip_address: "10.0.0.1".to_owned(),
        created_at: at(seconds),
    };
    let (old, new) = (entry("agent.created", 1), Activity { details: None, ..entry("agent.updated", 2) });
    activity.append(MASTER, &[old.clone(), new.clone()]).await.unwrap();
    activity.append(MASTER, &[]).await.unwrap();
    let filter = ActivityFilter { limit: 10, ..ActivityFilter::default() };
    assert_eq!(activity.list(MASTER, &filter).await.unwrap(), (vec![new.clone(), old.clone()], 2));
    let created = ActivityFilter {
        action: Some("agent.created".to_owned()),
        actor_type: Some("user".to_owned()),
        actor_id: Some("bob".to_owned()),
        entity_type: Some("agent".to_owned()),
        entity_id: Some("1".to_owned()),
        ..filter.clone()
    };
    assert_eq!(activity.list(MASTER, &created).await.unwrap(), (vec![old], 1));
    assert_eq!(activity.list(MASTER, &ActivityFilter { limit: 1, ..filter.clone() }).await.unwrap(), (vec![new], 2));
    let other = place.other_tenant().await;
    assert_eq!(activity.list(other, &filter).await.unwrap(), (Vec::new(), 0));
}

#[tokio::test]
async fn seeding_keeps_what_an_operator_set_and_drops_what_is_gone() {
    let place = Place::new().await;
    let tools = &place.stores.builtin_tools;
    let tool = |name: &str, seconds| BuiltinTool {
        name: name.to_owned(),
        display_name: name.to_uppercase(),
        description: "Does things.".to_owned(),
        category: "web".to_owned(),
        enabled: true,
        settings: JsonObject::new(),
        requires: vec!["network".to_owned()],
        metadata: object(r#"{"hint":1}"#),
        created_at: at(seconds),
        updated_at: at(seconds),
    };
    let (fetch, search) = (tool("fetch", 1), tool("search", 1));
    tools.all_tenants_seed(&[search.clone(), fetch.clone()]).await.unwrap();
    tools.put_override(MASTER, "fetch", false, at(2)).await.unwrap();
    tools.put_override(MASTER, "search", true, at(2)).await.unwrap();
    assert_eq!(tools.overrides(MASTER).await.unwrap(), [("fetch".to_owned(), false), ("search".to_owned(), true)]);
    assert_eq!(tools.put_override(MASTER, "nothing", true, at(2)).await.unwrap_err().kind, ErrorKind::NotFound);

    let switched_off = BuiltinTool { enabled: false, settings: object(r#"{"max":1}"#), ..tool("fetch", 9) };
    tools.all_tenants_seed(&[switched_off, BuiltinTool { description: "New.".to_owned(), ..tool("read", 9) }]).await.unwrap();
    let seeded = tools.all_tenants_list().await.unwrap();
    assert_eq!(seeded.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["fetch", "read"]);
    assert_eq!(seeded[0], BuiltinTool { settings: object(r#"{"max":1}"#), updated_at: at(9), ..fetch.clone() });
    assert_eq!(tools.overrides(MASTER).await.unwrap(), [("fetch".to_owned(), false)]);

    let changed = BuiltinTool { settings: object(r#"{"max":2}"#), ..tool("fetch", 20) };
    tools.all_tenants_seed(&[changed]).await.unwrap();
    assert_eq!(tools.all_tenants_list().await.unwrap(), [seeded[0].clone()], "settings that were set stay, and nothing else changed");
    let other = place.other_tenant().await;
    assert!(!tools.delete_override(other, "fetch").await.unwrap());
    assert!(tools.delete_override(MASTER, "fetch").await.unwrap());
}
