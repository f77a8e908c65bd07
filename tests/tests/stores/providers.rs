use goclaw_ports::{
    JsonObject, ProviderId,
    providers::{ProviderPatch, ProviderRow},
    sealer::Sealed,
};
use goclaw_tests::fixtures::{at, object, odd_json, provider};
use serde_json::json;
use uuid::Uuid;

on_both_databases! {
    async fn a_provider_comes_back_as_it_was_stored(db) {
        let tenant = db.tenant("a").await;
        let row = ProviderRow { display_name: "Nhà cung cấp 🦀".into(), settings: odd_json(), enabled: false, updated_at: at(3), ..provider(tenant, &"p".repeat(50)) };
        db.stores.providers.insert(tenant, &row).await.unwrap();
        let bare = ProviderRow { api_key: None, api_base: String::new(), ..provider(tenant, "bare") };
        db.stores.providers.insert(tenant, &bare).await.unwrap();
        for row in [row, bare] {
            assert_eq!(db.stores.providers.find(tenant, row.id).await.unwrap(), Some(row.clone()));
            assert_eq!(db.stores.providers.find_by_name(tenant, &row.name).await.unwrap(), Some(row));
        }
    }

    async fn an_unknown_provider_is_not_found(db) {
        let tenant = db.tenant("a").await;
        db.stores.providers.insert(tenant, &provider(tenant, "openai")).await.unwrap();
        assert_eq!(db.stores.providers.find(tenant, ProviderId(Uuid::now_v7())).await.unwrap(), None);
        for name in ["open", "OPENAI", "open%", ""] {
            assert_eq!(db.stores.providers.find_by_name(tenant, name).await.unwrap(), None, "{name:?}");
        }
    }

    async fn providers_are_listed_by_name(db) {
        let tenant = db.tenant("a").await;
        for name in ["beta", "alpha-2", "gamma", "alpha"] {
            db.stores.providers.insert(tenant, &provider(tenant, name)).await.unwrap();
        }
        let names: Vec<_> = db.stores.providers.list(tenant).await.unwrap().into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["alpha", "alpha-2", "beta", "gamma"]);
    }

    async fn single_settings_are_set_beside_those_that_are_there(db) {
        let tenant = db.tenant("a").await;
        let before = ProviderRow { settings: object(json!({"keep": {"deep": [1]}, "change": 1})), ..provider(tenant, "openai") };
        db.stores.providers.insert(tenant, &before).await.unwrap();
        let set = ProviderPatch { set: object(json!({"change": "2", "new": null})), enabled: Some(false), ..ProviderPatch::default() };
        let after = db.stores.providers.update(tenant, before.id, &set, at(5)).await.unwrap().unwrap();
        assert_eq!(after, ProviderRow { settings: object(json!({"keep": {"deep": [1]}, "change": "2", "new": null})), enabled: false, updated_at: at(5), ..before.clone() });
        let both = ProviderPatch { settings: Some(object(json!({"a": 1}))), set: object(json!({"b": 2})), ..ProviderPatch::default() };
        let after = db.stores.providers.update(tenant, before.id, &both, at(6)).await.unwrap().unwrap();
        assert_eq!(after.settings, object(json!({"a": 1, "b": 2})));
        let other = db.tenant("b").await;
        assert_eq!(db.stores.providers.update(other, before.id, &set, at(7)).await.unwrap(), None);
        assert_eq!(db.stores.providers.find(tenant, before.id).await.unwrap(), Some(after));
    }

    async fn a_name_can_be_taken_once_in_a_tenant(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let first = provider(a, "openai");
        db.stores.providers.insert(a, &first).await.unwrap();
        assert_fails!(db.stores.providers.insert(a, &provider(a, "openai")).await, AlreadyExists);
        db.stores.providers.insert(b, &provider(b, "openai")).await.unwrap();
        assert_eq!(db.stores.providers.list(a).await.unwrap(), [first]);
    }

    async fn a_change_touches_what_it_names_and_nothing_else(db) {
        let tenant = db.tenant("a").await;
        let before = ProviderRow { settings: object(json!({"keep": 1})), ..provider(tenant, "openai") };
        db.stores.providers.insert(tenant, &before).await.unwrap();
        let same = db.stores.providers.update(tenant, before.id, &ProviderPatch::default(), at(5)).await.unwrap().unwrap();
        assert_eq!(same, ProviderRow { updated_at: at(5), ..before.clone() });

        let patch = ProviderPatch {
            name: Some("renamed".into()),
            display_name: Some("New 🦀".into()),
            api_base: Some("https://other.example".into()),
            api_key: Some(Sealed("x1:other".into())),
            enabled: Some(false),
            settings: Some(JsonObject::new()),
            set: JsonObject::new(),
        };
        let after = db.stores.providers.update(tenant, before.id, &patch, at(6)).await.unwrap().unwrap();
        let expected = ProviderRow {
            name: "renamed".into(),
            display_name: "New 🦀".into(),
            api_base: "https://other.example".into(),
            api_key: Some(Sealed("x1:other".into())),
            enabled: false,
            settings: JsonObject::new(),
            updated_at: at(6),
            ..before
        };
        assert_eq!(after, expected);
        assert_eq!(db.stores.providers.find(tenant, expected.id).await.unwrap(), Some(expected));
    }

    async fn a_change_of_an_unknown_provider_answers_with_nothing(db) {
        let tenant = db.tenant("a").await;
        assert_eq!(db.stores.providers.update(tenant, ProviderId(Uuid::now_v7()), &ProviderPatch::default(), at(5)).await.unwrap(), None);
    }

    async fn a_provider_cannot_take_the_name_of_another(db) {
        let tenant = db.tenant("a").await;
        let (first, second) = (provider(tenant, "first"), provider(tenant, "second"));
        db.stores.providers.insert(tenant, &first).await.unwrap();
        db.stores.providers.insert(tenant, &second).await.unwrap();
        let patch = ProviderPatch { name: Some("first".into()), enabled: Some(false), ..ProviderPatch::default() };
        assert_fails!(db.stores.providers.update(tenant, second.id, &patch, at(5)).await, AlreadyExists);
        assert_eq!(db.stores.providers.list(tenant).await.unwrap(), [first.clone(), second]);
        let own = ProviderPatch { name: Some("first".into()), ..ProviderPatch::default() };
        assert!(db.stores.providers.update(tenant, first.id, &own, at(5)).await.unwrap().is_some());
    }

    async fn a_deletion_answers_with_what_it_deleted(db) {
        let tenant = db.tenant("a").await;
        let (gone, kept) = (provider(tenant, "gone"), provider(tenant, "kept"));
        db.stores.providers.insert(tenant, &gone).await.unwrap();
        db.stores.providers.insert(tenant, &kept).await.unwrap();
        assert_eq!(db.stores.providers.delete(tenant, gone.id).await.unwrap(), Some(gone.clone()));
        assert_eq!(db.stores.providers.delete(tenant, gone.id).await.unwrap(), None);
        assert_eq!(db.stores.providers.list(tenant).await.unwrap(), [kept]);
    }

    async fn the_registry_gets_the_enabled_providers_of_all_tenants(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        db.stores.providers.insert(a, &provider(a, "on-in-a")).await.unwrap();
        db.stores.providers.insert(a, &ProviderRow { enabled: false, ..provider(a, "off") }).await.unwrap();
        db.stores.providers.insert(b, &provider(b, "on-in-b")).await.unwrap();
        let mut found: Vec<_> = db.stores.providers.all_tenants_enabled().await.unwrap().into_iter().map(|row| (row.name, row.tenant_id)).collect();
        found.sort();
        assert_eq!(found, [("on-in-a".into(), a), ("on-in-b".into(), b)]);
    }

    async fn whether_any_tenant_has_a_type_is_known(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        db.stores.providers.insert(a, &provider(a, "openai")).await.unwrap();
        assert!(!db.stores.providers.all_tenants_have("claude_cli").await.unwrap());
        let off = ProviderRow { provider_type: "claude_cli".into(), enabled: false, ..provider(b, "cli") };
        db.stores.providers.insert(b, &off).await.unwrap();
        assert!(db.stores.providers.all_tenants_have("claude_cli").await.unwrap());
        db.stores.providers.delete(b, off.id).await.unwrap();
        assert!(!db.stores.providers.all_tenants_have("claude_cli").await.unwrap());
    }

    async fn providers_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let row = provider(a, "openai");
        db.stores.providers.insert(a, &row).await.unwrap();
        assert_eq!(db.stores.providers.find(b, row.id).await.unwrap(), None);
        assert_eq!(db.stores.providers.find_by_name(b, "openai").await.unwrap(), None);
        assert!(db.stores.providers.list(b).await.unwrap().is_empty());
        let patch = ProviderPatch { enabled: Some(false), ..ProviderPatch::default() };
        assert_eq!(db.stores.providers.update(b, row.id, &patch, at(5)).await.unwrap(), None);
        assert_eq!(db.stores.providers.delete(b, row.id).await.unwrap(), None);
        // A row that claims another tenant, or another tenant's id, must not get to the other tenant.
        drop(db.stores.providers.insert(b, &ProviderRow { tenant_id: a, ..provider(a, "smuggled") }).await);
        assert!(db.stores.providers.insert(b, &ProviderRow { id: row.id, ..provider(b, "same-id") }).await.is_err());
        assert_eq!(db.stores.providers.list(a).await.unwrap(), [row]);
    }

    async fn one_of_many_wins_a_name(db) {
        let tenant = db.tenant("a").await;
        let rows: Vec<_> = (0..16).map(|_| provider(tenant, "openai")).collect();
        let outcomes = futures_util::future::join_all(rows.iter().map(|row| db.stores.providers.insert(tenant, row))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert_fails!(outcome, AlreadyExists);
        }
    }
}
