use goclaw_ports::{TenantId, tenants::Tenant, tenants::TenantStatus};
use goclaw_tests::fixtures::{at, odd_json, tenant};
use uuid::Uuid;

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

    async fn the_status_of_one_tenant_is_changed(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let before = db.stores.tenants.find(b).await.unwrap();
        for status in [TenantStatus::Suspended, TenantStatus::Archived, TenantStatus::Active] {
            assert!(db.stores.tenants.set_status(a, status, at(9)).await.unwrap());
            let changed = db.stores.tenants.find(a).await.unwrap().unwrap();
            assert_eq!((changed.status, changed.updated_at, changed.created_at), (status, at(9), at(0)));
        }
        assert_eq!(db.stores.tenants.find(b).await.unwrap(), before);
    }

    async fn the_status_of_an_unknown_tenant_is_not_changed(db) {
        assert!(!db.stores.tenants.set_status(TenantId(Uuid::now_v7()), TenantStatus::Archived, at(9)).await.unwrap());
    }

    async fn a_member_has_the_role_it_was_given_last(db) {
        let a = db.tenant("a").await;
        assert_eq!(db.stores.tenants.member_role(a, "mai").await.unwrap(), None);
        for role in ["owner", "admin", "operator", "member", "viewer"] {
            db.stores.tenants.put_member(a, "mai", role, at(1)).await.unwrap();
            assert_eq!(db.stores.tenants.member_role(a, "mai").await.unwrap().as_deref(), Some(role));
        }
    }

    async fn user_ids_are_compared_exactly(db) {
        let a = db.tenant("a").await;
        for user in ["Mai", "mai ", "m'; drop table tenants; --", "người dùng 🦀", &"u".repeat(255)] {
            db.stores.tenants.put_member(a, user, "member", at(1)).await.unwrap();
            assert_eq!(db.stores.tenants.member_role(a, user).await.unwrap().as_deref(), Some("member"), "{user}");
        }
        for user in ["mai", "MAI", "%", "", "m"] {
            assert_eq!(db.stores.tenants.member_role(a, user).await.unwrap(), None, "{user}");
        }
    }

    async fn nobody_becomes_a_member_of_an_unknown_tenant(db) {
        let unknown = TenantId(Uuid::now_v7());
        assert_fails!(db.stores.tenants.put_member(unknown, "mai", "admin", at(1)).await, NotFound);
        assert_eq!(db.stores.tenants.member_role(unknown, "mai").await.unwrap(), None);
        assert!(!db.stores.tenants.remove_member(unknown, "mai").await.unwrap());
    }

    async fn a_membership_ends_once(db) {
        let a = db.tenant("a").await;
        db.stores.tenants.put_member(a, "mai", "admin", at(1)).await.unwrap();
        db.stores.tenants.put_member(a, "lan", "viewer", at(1)).await.unwrap();
        assert!(db.stores.tenants.remove_member(a, "mai").await.unwrap());
        assert!(!db.stores.tenants.remove_member(a, "mai").await.unwrap());
        assert_eq!(db.stores.tenants.member_role(a, "mai").await.unwrap(), None);
        assert_eq!(db.stores.tenants.member_role(a, "lan").await.unwrap().as_deref(), Some("viewer"));
    }

    async fn memberships_of_one_tenant_say_nothing_about_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        db.stores.tenants.put_member(a, "mai", "admin", at(1)).await.unwrap();
        assert_eq!(db.stores.tenants.member_role(b, "mai").await.unwrap(), None);
        assert!(!db.stores.tenants.remove_member(b, "mai").await.unwrap());
        db.stores.tenants.put_member(b, "mai", "viewer", at(2)).await.unwrap();
        assert_eq!(db.stores.tenants.member_role(a, "mai").await.unwrap().as_deref(), Some("admin"));
        assert!(db.stores.tenants.remove_member(b, "mai").await.unwrap());
        assert_eq!(db.stores.tenants.member_role(a, "mai").await.unwrap().as_deref(), Some("admin"));
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
