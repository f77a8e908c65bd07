use goclaw_ports::activity::{Activity, ActivityFilter};
use goclaw_tests::fixtures::{activity, at, odd_json};
use serde_json::{Value, json};

fn all() -> ActivityFilter {
    ActivityFilter { limit: 100, ..ActivityFilter::default() }
}

fn actions(entries: Vec<Activity>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.action).collect()
}

on_both_databases! {
    async fn an_entry_comes_back_as_it_was_stored(db) {
        let tenant = db.tenant("a").await;
        let entry = Activity {
            actor_type: "system".into(),
            actor_id: "người 🦀".into(),
            entity_type: "agent".into(),
            entity_id: "0193a5b0".into(),
            details: Some(Value::Object(odd_json())),
            ip_address: "2001:db8::1".into(),
            ..activity("agent.created")
        };
        db.stores.activity.append(tenant, std::slice::from_ref(&entry)).await.unwrap();
        assert_eq!(db.stores.activity.list(tenant, &all()).await.unwrap(), (vec![entry], 1));
    }

    async fn details_may_be_any_json(db) {
        let tenant = db.tenant("a").await;
        let entries: Vec<_> = [Some(json!("text")), Some(json!([1, null])), Some(json!(1.5)), Some(json!(false)), None]
            .into_iter()
            .enumerate()
            .map(|(index, details)| Activity { details, created_at: at(-(index as i64)), ..activity("x") })
            .collect();
        db.stores.activity.append(tenant, &entries).await.unwrap();
        assert_eq!(db.stores.activity.list(tenant, &all()).await.unwrap(), (entries, 5));
    }

    async fn appending_nothing_adds_nothing(db) {
        let tenant = db.tenant("a").await;
        db.stores.activity.append(tenant, &[]).await.unwrap();
        assert_eq!(db.stores.activity.list(tenant, &all()).await.unwrap(), (vec![], 0));
    }

    async fn entries_are_listed_newest_first_in_pages_with_the_number_of_all(db) {
        let tenant = db.tenant("a").await;
        let entries: Vec<_> = [3, 1, 5, 2, 4].map(|n| Activity { created_at: at(n), ..activity(&n.to_string()) }).into();
        db.stores.activity.append(tenant, &entries).await.unwrap();
        for (limit, offset, expected) in [(2, 0, vec!["5", "4"]), (2, 2, vec!["3", "2"]), (2, 4, vec!["1"]), (2, 6, vec![]), (100, 0, vec!["5", "4", "3", "2", "1"])] {
            let (page, total) = db.stores.activity.list(tenant, &ActivityFilter { limit, offset, ..ActivityFilter::default() }).await.unwrap();
            assert_eq!((actions(page), total), (expected.into_iter().map(str::to_owned).collect(), 5));
        }
    }

    async fn a_filter_compares_exactly_and_all_its_conditions_hold(db) {
        let tenant = db.tenant("a").await;
        let make = |action: &str, actor_type: &str, actor_id: &str, entity_type: &str, entity_id: &str| Activity {
            actor_type: actor_type.into(),
            actor_id: actor_id.into(),
            entity_type: entity_type.into(),
            entity_id: entity_id.into(),
            ..activity(action)
        };
        let entries = [
            make("agent.created", "user", "mai", "agent", "1"),
            make("agent.created", "user", "lan", "agent", "2"),
            make("agent.deleted", "system", "mai", "agent", "1"),
            make("provider.created", "user", "mai", "provider", "1"),
        ];
        db.stores.activity.append(tenant, &entries).await.unwrap();
        let some = |text: &str| Some(text.to_owned());
        for (filter, expected) in [
            (all(), 4),
            (ActivityFilter { actor_type: some("user"), ..all() }, 3),
            (ActivityFilter { actor_id: some("mai"), ..all() }, 3),
            (ActivityFilter { action: some("agent.created"), ..all() }, 2),
            (ActivityFilter { entity_type: some("agent"), ..all() }, 3),
            (ActivityFilter { entity_id: some("1"), ..all() }, 3),
            (ActivityFilter { actor_id: some("mai"), entity_type: some("agent"), actor_type: some("user"), ..all() }, 1),
            (ActivityFilter { action: some("agent"), ..all() }, 0),
            (ActivityFilter { action: some("agent.%"), ..all() }, 0),
            (ActivityFilter { actor_id: some("MAI"), ..all() }, 0),
        ] {
            let (page, total) = db.stores.activity.list(tenant, &filter).await.unwrap();
            assert_eq!((page.len(), total), (expected, expected as i64), "{filter:?}");
        }
    }

    async fn one_tenant_does_not_see_the_log_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        db.stores.activity.append(a, &[activity("of a")]).await.unwrap();
        assert_eq!(db.stores.activity.list(b, &all()).await.unwrap(), (vec![], 0));
        db.stores.activity.append(b, &[activity("of b")]).await.unwrap();
        assert_eq!(actions(db.stores.activity.list(a, &all()).await.unwrap().0), ["of a"]);
        assert_eq!(actions(db.stores.activity.list(b, &all()).await.unwrap().0), ["of b"]);
    }
}
