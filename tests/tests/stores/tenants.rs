use goclaw_ports::{
    JsonObject, TenantId,
    tenants::{Tenant, TenantPatch, TenantStatus},
};
use goclaw_tests::fixtures::{at, object, odd_json, tenant};
use serde_json::json;
use uuid::Uuid;

fn to_status(status: TenantStatus) -> TenantPatch {
    TenantPatch { status: Some(status), ..TenantPatch::default() }
}

on_both_databases! {
    async fn the_master_tenant_is_there_from_the_start(db) {
        let master = db.stores.tenants.find(TenantId::MASTER).await.unwrap().unwrap();
        assert_eq!((master.slug.as_str(), master.name.as_str(), master.status), ("master", "Master", TenantStatus::Active));
        assert_eq!(db.stores.tenants.all_tenants_list().await.unwrap(), [master]);
    }

    async fn a_tenant_comes_back_as_it_was_stored(db) {
        let stored = Tenant { name: "Công ty 🦀 \u{10FFFF}".into(), settings: odd_json(), status: TenantStatus::Suspended, updated_at: at(7), ..tenant("acme") };
        db.stores.tenants.insert(&stored).await.unwrap();
        assert_eq!(db.stores.tenants.find(stored.id).await.unwrap(), Some(stored.clone()));
        assert_eq!(db.stores.tenants.all_tenants_find_by_slug("acme").await.unwrap(), Some(stored));
    }

    async fn an_unknown_tenant_is_not_found(db) {
        db.tenant("acme").await;
        assert_eq!(db.stores.tenants.find(TenantId(Uuid::now_v7())).await.unwrap(), None);
        for slug in ["acm", "acme2", "ACME", "acme%", "ac_e", ""] {
            assert_eq!(db.stores.tenants.all_tenants_find_by_slug(slug).await.unwrap(), None, "{slug:?}");
        }
    }

    async fn a_tenant_can_be_found_by_its_own_id_only(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        assert_eq!(db.stores.tenants.find(a).await.unwrap().unwrap().slug, "a");
        assert_eq!(db.stores.tenants.find(b).await.unwrap().unwrap().slug, "b");
    }

    async fn tenants_are_listed_oldest_first(db) {
        for (slug, made) in [("second", 20), ("third", 30), ("first", 10)] {
            db.stores.tenants.insert(&Tenant { created_at: at(made), ..tenant(slug) }).await.unwrap();
        }
        let slugs: Vec<_> = db.stores.tenants.all_tenants_list().await.unwrap().into_iter().map(|tenant| tenant.slug).filter(|slug| slug != "master").collect();
        assert_eq!(slugs, ["first", "second", "third"]);
    }

    async fn a_slug_can_be_taken_once(db) {
        let first = tenant("acme");
        db.stores.tenants.insert(&first).await.unwrap();
        let second = tenant("acme");
        assert_fails!(db.stores.tenants.insert(&second).await, AlreadyExists);
        assert_eq!(db.stores.tenants.find(second.id).await.unwrap(), None);
        assert_eq!(db.stores.tenants.all_tenants_find_by_slug("acme").await.unwrap(), Some(first));
    }

    async fn an_id_can_be_taken_once(db) {
        let first = tenant("acme");
        db.stores.tenants.insert(&first).await.unwrap();
        assert_fails!(db.stores.tenants.insert(&Tenant { id: first.id, ..tenant("other") }).await, AlreadyExists);
        assert_eq!(db.stores.tenants.all_tenants_find_by_slug("other").await.unwrap(), None);
    }

    async fn a_patch_changes_what_it_names_of_one_tenant(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let before = db.stores.tenants.find(b).await.unwrap();
        let mut expected = db.stores.tenants.find(a).await.unwrap().unwrap();
        let named = TenantPatch { name: Some("Công ty 🦀".into()), ..TenantPatch::default() };
        let set = TenantPatch { settings: Some(odd_json()), ..TenantPatch::default() };
        let emptied = TenantPatch { name: Some(String::new()), settings: Some(JsonObject::new()), ..TenantPatch::default() };
        let statuses = [TenantStatus::Suspended, TenantStatus::Archived, TenantStatus::Active].map(to_status);
        for (patch, time) in [named, set, TenantPatch::default()].into_iter().chain(statuses).chain([emptied]).zip(10..) {
            expected.name = patch.name.clone().unwrap_or(expected.name);
            expected.status = patch.status.unwrap_or(expected.status);
            expected.settings = patch.settings.clone().unwrap_or(expected.settings);
            expected.updated_at = at(time);
            assert_eq!(db.stores.tenants.update(a, &patch, at(time)).await.unwrap(), Some(expected.clone()));
            assert_eq!(db.stores.tenants.find(a).await.unwrap(), Some(expected.clone()));
        }
        assert_eq!(db.stores.tenants.find(b).await.unwrap(), before);
    }

    async fn settings_are_replaced_as_a_whole(db) {
        let a = db.tenant("a").await;
        for settings in [json!({"kept": {"deep": 1}, "gone": true}), json!({"kept": {"other": 2}})] {
            let patch = TenantPatch { settings: Some(object(settings.clone())), ..TenantPatch::default() };
            assert_eq!(db.stores.tenants.update(a, &patch, at(1)).await.unwrap().unwrap().settings, object(settings));
        }
    }

    async fn an_unknown_tenant_is_not_changed(db) {
        assert_eq!(db.stores.tenants.update(TenantId(Uuid::now_v7()), &to_status(TenantStatus::Archived), at(9)).await.unwrap(), None);
        assert_eq!(db.stores.tenants.all_tenants_list().await.unwrap().len(), 1);
    }

    async fn one_of_many_wins_a_slug(db) {
        let tenants: Vec<_> = (0..16).map(|_| tenant("acme")).collect();
        let outcomes = futures_util::future::join_all(tenants.iter().map(|tenant| db.stores.tenants.insert(tenant))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert_fails!(outcome, AlreadyExists);
        }
    }
}
