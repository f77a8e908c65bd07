use goclaw_ports::{
    JsonObject, TenantId,
    tenants::{Member, MemberRole, Tenant, TenantPatch, TenantStatus},
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{add_member, at, member, odd_json, tenant},
};
use uuid::Uuid;

fn users(members: &[Member]) -> Vec<&str> {
    members.iter().map(|member| member.user_id.as_str()).collect()
}

async fn search(db: &TestDatabase, tenant: TenantId, text: &str) -> Vec<String> {
    db.stores.tenants.search_members(tenant, text, 100).await.unwrap().into_iter().map(|member| member.user_id).collect()
}

on_both_databases! {
    async fn a_member_comes_back_as_it_was_stored(db) {
        let a = db.tenant("a").await;
        let mai = Member { display_name: Some("Mai 🦀".into()), metadata: odd_json(), updated_at: at(7), ..member(a, "mai", MemberRole::Operator) };
        assert_eq!(db.stores.tenants.put_member(a, &mai).await.unwrap(), None);
        let lan = Member { display_name: Some(String::new()), created_at: at(1), ..member(a, "lan", MemberRole::Viewer) };
        db.stores.tenants.put_member(a, &lan).await.unwrap();
        assert_eq!(db.stores.tenants.members(a).await.unwrap(), [mai, lan]);
    }

    async fn a_member_has_the_role_it_was_given_last(db) {
        let a = db.tenant("a").await;
        assert_eq!(db.stores.tenants.member_role(a, "mai").await.unwrap(), None);
        let mut before = None;
        for role in MemberRole::ALL {
            assert_eq!(db.stores.tenants.put_member(a, &member(a, "mai", role)).await.unwrap(), before);
            assert_eq!(db.stores.tenants.member_role(a, "mai").await.unwrap(), Some(role));
            before = Some(role);
        }
        assert_eq!(db.stores.tenants.members(a).await.unwrap().len(), 1);
    }

    async fn one_who_is_a_member_already_only_gets_the_role(db) {
        let a = db.tenant("a").await;
        let first = Member { display_name: Some("Mai".into()), metadata: odd_json(), ..member(a, "mai", MemberRole::Member) };
        db.stores.tenants.put_member(a, &first).await.unwrap();
        let second = Member { display_name: Some("Somebody".into()), created_at: at(5), updated_at: at(6), ..member(a, "mai", MemberRole::Owner) };
        assert_eq!(db.stores.tenants.put_member(a, &second).await.unwrap(), Some(MemberRole::Member));
        assert_eq!(db.stores.tenants.members(a).await.unwrap(), [Member { role: MemberRole::Owner, updated_at: at(6), ..first }]);
    }

    async fn user_ids_are_compared_exactly(db) {
        let a = db.tenant("a").await;
        for user in ["Mai", "mai ", "m'; drop table tenants; --", "người dùng 🦀", &"u".repeat(255)] {
            add_member(&db.stores, a, user, MemberRole::Member).await;
            assert_eq!(db.stores.tenants.member_role(a, user).await.unwrap(), Some(MemberRole::Member), "{user}");
        }
        for user in ["mai", "MAI", "%", "", "m"] {
            assert_eq!(db.stores.tenants.member_role(a, user).await.unwrap(), None, "{user}");
            assert_eq!(db.stores.tenants.remove_member(a, user).await.unwrap(), None, "{user}");
            assert!(db.stores.tenants.all_tenants_memberships(user).await.unwrap().is_empty(), "{user}");
        }
        assert_eq!(db.stores.tenants.members(a).await.unwrap().len(), 5);
    }

    async fn nobody_becomes_a_member_of_an_unknown_tenant(db) {
        let unknown = TenantId(Uuid::now_v7());
        assert_fails!(db.stores.tenants.put_member(unknown, &member(unknown, "mai", MemberRole::Admin)).await, NotFound);
        assert_eq!(db.stores.tenants.member_role(unknown, "mai").await.unwrap(), None);
        assert_eq!(db.stores.tenants.remove_member(unknown, "mai").await.unwrap(), None);
        assert!(db.stores.tenants.members(unknown).await.unwrap().is_empty());
    }

    async fn a_membership_ends_once(db) {
        let a = db.tenant("a").await;
        add_member(&db.stores, a, "mai", MemberRole::Admin).await;
        add_member(&db.stores, a, "lan", MemberRole::Viewer).await;
        assert_eq!(db.stores.tenants.remove_member(a, "mai").await.unwrap(), Some(MemberRole::Admin));
        assert_eq!(db.stores.tenants.remove_member(a, "mai").await.unwrap(), None);
        assert_eq!(db.stores.tenants.member_role(a, "mai").await.unwrap(), None);
        assert_eq!(users(&db.stores.tenants.members(a).await.unwrap()), ["lan"]);
    }

    async fn members_are_listed_and_found_by_the_age_of_their_membership(db) {
        let a = db.tenant("a").await;
        for (user, since) in [("user-2", 20), ("user-3", 30), ("user-1", 10)] {
            db.stores.tenants.put_member(a, &Member { created_at: at(since), ..member(a, user, MemberRole::Member) }).await.unwrap();
        }
        assert_eq!(users(&db.stores.tenants.members(a).await.unwrap()), ["user-1", "user-2", "user-3"]);
        assert_eq!(search(&db, a, "user").await, ["user-1", "user-2", "user-3"]);
        for (limit, found) in [(0, &[][..]), (-1, &[]), (1, &["user-1"]), (2, &["user-1", "user-2"]), (i64::MAX, &["user-1", "user-2", "user-3"])] {
            assert_eq!(users(&db.stores.tenants.search_members(a, "", limit).await.unwrap()), found, "{limit}");
        }
    }

    async fn members_are_found_by_a_part_of_their_id_or_name(db) {
        let a = db.tenant("a").await;
        for (since, (user, name)) in [("mai@example.com", None), ("u-2", Some("Lan MAIER")), ("u-3", Some("Ngọc Ánh")), ("U_4", Some(""))].into_iter().enumerate() {
            let since = at(i64::try_from(since).unwrap());
            let stored = Member { display_name: name.map(str::to_owned), created_at: since, ..member(a, user, MemberRole::Member) };
            db.stores.tenants.put_member(a, &stored).await.unwrap();
        }
        assert_eq!(search(&db, a, "mai").await, ["mai@example.com", "u-2"]);
        assert_eq!(search(&db, a, "MaI").await, ["mai@example.com", "u-2"]);
        assert_eq!(search(&db, a, "@example").await, ["mai@example.com"]);
        assert_eq!(search(&db, a, "u").await, ["u-2", "u-3", "U_4"]);
        assert_eq!(search(&db, a, "ọc Án").await, ["u-3"]);
        assert_eq!(search(&db, a, "").await, ["mai@example.com", "u-2", "u-3", "U_4"]);
        assert!(search(&db, a, "u-2 Lan").await.is_empty());
    }

    async fn what_is_searched_is_no_pattern(db) {
        let a = db.tenant("a").await;
        for user in ["plain", "per%cent", "under_score", r"back\slash", "star*", "quote'\""] {
            add_member(&db.stores, a, user, MemberRole::Member).await;
        }
        for (text, user) in [("%", "per%cent"), ("r_s", "under_score"), (r"\", r"back\slash"), ("*", "star*"), ("'\"", "quote'\"")] {
            assert_eq!(search(&db, a, text).await, [user], "{text}");
        }
        for text in ["p%n", "pl_in", r"\%", ".", "plai."] {
            assert!(search(&db, a, text).await.is_empty(), "{text}");
        }
    }

    async fn memberships_of_a_user_are_listed_oldest_tenant_first_whatever_its_status(db) {
        let mut expected = Vec::new();
        for (made, role) in [(20, MemberRole::Admin), (30, MemberRole::Viewer), (10, MemberRole::Owner)] {
            let stored = Tenant { created_at: at(made), settings: odd_json(), ..tenant(&format!("t{made}")) };
            db.stores.tenants.insert(&stored).await.unwrap();
            add_member(&db.stores, stored.id, "mai", role).await;
            expected.push((stored, role));
        }
        let lonely = db.tenant("without-mai").await;
        add_member(&db.stores, lonely, "lan", MemberRole::Owner).await;
        let archived = TenantPatch { status: Some(TenantStatus::Archived), ..TenantPatch::default() };
        expected[0].0 = db.stores.tenants.update(expected[0].0.id, &archived, at(40)).await.unwrap().unwrap();
        expected.sort_by_key(|(tenant, _)| tenant.created_at);
        assert_eq!(db.stores.tenants.all_tenants_memberships("mai").await.unwrap(), expected);
        assert!(db.stores.tenants.all_tenants_memberships("nobody").await.unwrap().is_empty());
    }

    async fn memberships_of_one_tenant_say_nothing_about_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let of_a = Member { display_name: Some("Of A".into()), metadata: odd_json(), ..member(a, "mai", MemberRole::Admin) };
        db.stores.tenants.put_member(a, &of_a).await.unwrap();
        assert_eq!(db.stores.tenants.member_role(b, "mai").await.unwrap(), None);
        assert_eq!(db.stores.tenants.remove_member(b, "mai").await.unwrap(), None);
        assert!(db.stores.tenants.members(b).await.unwrap().is_empty());
        assert!(db.stores.tenants.search_members(b, "", 100).await.unwrap().is_empty());

        let of_b = Member { metadata: JsonObject::new(), ..member(b, "mai", MemberRole::Viewer) };
        assert_eq!(db.stores.tenants.put_member(b, &of_b).await.unwrap(), None);
        assert_eq!(db.stores.tenants.members(a).await.unwrap(), std::slice::from_ref(&of_a));
        assert_eq!(db.stores.tenants.members(b).await.unwrap(), [of_b]);
        assert_eq!(db.stores.tenants.remove_member(b, "mai").await.unwrap(), Some(MemberRole::Viewer));
        assert_eq!(db.stores.tenants.members(a).await.unwrap(), [of_a]);
    }

    async fn one_of_many_is_told_that_there_was_no_role_before(db) {
        let a = db.tenant("a").await;
        let members: Vec<_> = (0..8).map(|_| member(a, "mai", MemberRole::Member)).collect();
        let outcomes = futures_util::future::join_all(members.iter().map(|member| db.stores.tenants.put_member(a, member))).await;
        assert_eq!(outcomes.into_iter().filter(|before| before.as_ref().unwrap().is_none()).count(), 1);
        assert_eq!(db.stores.tenants.members(a).await.unwrap().len(), 1);
    }
}
