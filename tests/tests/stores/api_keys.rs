use goclaw_ports::{ApiKeyId, TenantId, api_keys::ApiKey, roles::Scope};
use goclaw_tests::fixtures::{api_key, api_key_hash, at};
use uuid::Uuid;

on_both_databases! {
    async fn a_key_is_found_by_its_hash(db) {
        let tenant = db.tenant("a").await;
        let key = ApiKey {
            prefix: "goclaw_1f2e".into(),
            scopes: vec![Scope::Read, Scope::Provision, Scope::Pairing, Scope::Approvals, Scope::Write, Scope::Admin],
            owner_id: "mai 🦀".into(),
            expires_at: Some(at(99)),
            last_used_at: Some(at(5)),
            updated_at: at(6),
            ..api_key(Some(tenant), &"k".repeat(100))
        };
        db.stores.api_keys.insert(&key, &api_key_hash("one")).await.unwrap();
        assert_eq!(db.stores.api_keys.all_tenants_find_by_hash(&api_key_hash("one")).await.unwrap(), Some(key));
        assert_eq!(db.stores.api_keys.all_tenants_find_by_hash(&api_key_hash("two")).await.unwrap(), None);
        assert_eq!(db.stores.api_keys.all_tenants_find_by_hash("").await.unwrap(), None);
    }

    async fn a_system_key_has_no_tenant(db) {
        let key = ApiKey { scopes: Vec::new(), ..api_key(None, "system") };
        db.stores.api_keys.insert(&key, &api_key_hash("one")).await.unwrap();
        assert_eq!(db.stores.api_keys.all_tenants_find_by_hash(&api_key_hash("one")).await.unwrap(), Some(key));
    }

    async fn revoked_and_expired_keys_are_found_too(db) {
        let tenant = db.tenant("a").await;
        let revoked = ApiKey { revoked: true, ..api_key(Some(tenant), "revoked") };
        let expired = ApiKey { expires_at: Some(at(-1_000_000)), ..api_key(Some(tenant), "expired") };
        db.stores.api_keys.insert(&revoked, &api_key_hash("revoked")).await.unwrap();
        db.stores.api_keys.insert(&expired, &api_key_hash("expired")).await.unwrap();
        assert_eq!(db.stores.api_keys.all_tenants_find_by_hash(&api_key_hash("revoked")).await.unwrap(), Some(revoked));
        assert_eq!(db.stores.api_keys.all_tenants_find_by_hash(&api_key_hash("expired")).await.unwrap(), Some(expired));
        assert_eq!(db.stores.api_keys.list(Some(tenant)).await.unwrap().len(), 2);
    }

    async fn a_hash_can_be_stored_once(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let first = api_key(Some(a), "first");
        db.stores.api_keys.insert(&first, &api_key_hash("one")).await.unwrap();
        for tenant in [Some(a), Some(b), None] {
            assert_fails!(db.stores.api_keys.insert(&api_key(tenant, "second"), &api_key_hash("one")).await, AlreadyExists);
        }
        assert_eq!(db.stores.api_keys.all_tenants_find_by_hash(&api_key_hash("one")).await.unwrap(), Some(first));
        assert!(db.stores.api_keys.list(Some(b)).await.unwrap().is_empty());
    }

    async fn a_key_needs_a_tenant_that_exists(db) {
        let unknown = TenantId(Uuid::now_v7());
        assert_fails!(db.stores.api_keys.insert(&api_key(Some(unknown), "k"), &api_key_hash("one")).await, NotFound);
        assert_eq!(db.stores.api_keys.all_tenants_find_by_hash(&api_key_hash("one")).await.unwrap(), None);
    }

    async fn keys_are_listed_newest_first(db) {
        let tenant = db.tenant("a").await;
        for (name, made) in [("second", 20), ("third", 30), ("first", 10)] {
            db.stores.api_keys.insert(&ApiKey { created_at: at(made), ..api_key(Some(tenant), name) }, &api_key_hash(name)).await.unwrap();
        }
        let names: Vec<_> = db.stores.api_keys.list(Some(tenant)).await.unwrap().into_iter().map(|key| key.name).collect();
        assert_eq!(names, ["third", "second", "first"]);
    }

    async fn a_list_holds_the_keys_of_one_tenant_or_the_system_keys(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        for (tenant, name) in [(Some(a), "of a"), (Some(b), "of b"), (None, "system")] {
            db.stores.api_keys.insert(&api_key(tenant, name), &api_key_hash(name)).await.unwrap();
        }
        for (tenant, name) in [(Some(a), "of a"), (Some(b), "of b"), (None, "system")] {
            let names: Vec<_> = db.stores.api_keys.list(tenant).await.unwrap().into_iter().map(|key| key.name).collect();
            assert_eq!(names, [name]);
        }
        assert!(db.stores.api_keys.list(Some(TenantId(Uuid::now_v7()))).await.unwrap().is_empty());
    }

    async fn a_key_can_be_revoked_again_and_again(db) {
        let tenant = db.tenant("a").await;
        let key = api_key(Some(tenant), "k");
        db.stores.api_keys.insert(&key, &api_key_hash("one")).await.unwrap();
        assert!(db.stores.api_keys.revoke(Some(tenant), key.id, at(5)).await.unwrap());
        assert!(db.stores.api_keys.revoke(Some(tenant), key.id, at(6)).await.unwrap());
        assert!(db.stores.api_keys.all_tenants_find_by_hash(&api_key_hash("one")).await.unwrap().unwrap().revoked);
        assert!(!db.stores.api_keys.revoke(Some(tenant), ApiKeyId(Uuid::now_v7()), at(5)).await.unwrap());
    }

    async fn a_system_key_is_revoked_and_touched_without_a_tenant(db) {
        let key = api_key(None, "k");
        db.stores.api_keys.insert(&key, &api_key_hash("one")).await.unwrap();
        db.stores.api_keys.touch(None, key.id, at(4)).await.unwrap();
        assert!(db.stores.api_keys.revoke(None, key.id, at(5)).await.unwrap());
        let kept = db.stores.api_keys.all_tenants_find_by_hash(&api_key_hash("one")).await.unwrap().unwrap();
        assert_eq!((kept.revoked, kept.last_used_at), (true, Some(at(4))));
    }

    async fn a_use_is_noted_to_the_microsecond(db) {
        let tenant = db.tenant("a").await;
        let key = api_key(Some(tenant), "k");
        db.stores.api_keys.insert(&key, &api_key_hash("one")).await.unwrap();
        db.stores.api_keys.touch(Some(tenant), key.id, at(5)).await.unwrap();
        assert_eq!(db.stores.api_keys.list(Some(tenant)).await.unwrap()[0].last_used_at, Some(at(5)));
    }

    async fn keys_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (of_a, system) = (api_key(Some(a), "of a"), api_key(None, "system"));
        db.stores.api_keys.insert(&of_a, &api_key_hash("a")).await.unwrap();
        db.stores.api_keys.insert(&system, &api_key_hash("system")).await.unwrap();
        for (tenant, id) in [(Some(b), of_a.id), (None, of_a.id), (Some(a), system.id), (Some(b), system.id)] {
            assert!(!db.stores.api_keys.revoke(tenant, id, at(5)).await.unwrap());
            // Whether touching nothing is an error is not promised; that it changes nothing is.
            drop(db.stores.api_keys.touch(tenant, id, at(5)).await);
        }
        assert_eq!(db.stores.api_keys.list(Some(a)).await.unwrap(), [of_a]);
        assert_eq!(db.stores.api_keys.list(None).await.unwrap(), [system]);
        assert!(db.stores.api_keys.list(Some(b)).await.unwrap().is_empty());
    }
}
