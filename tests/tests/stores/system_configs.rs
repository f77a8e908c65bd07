use goclaw_tests::fixtures::at;

on_both_databases! {
    async fn a_value_comes_back_as_it_was_stored_last(db) {
        let tenant = db.tenant("a").await;
        assert_eq!(db.stores.system_configs.get(tenant, "key").await.unwrap(), None);
        for value in ["one", "", "Xin chào 🦀 \u{10FFFF}", &"v".repeat(65_536)] {
            db.stores.system_configs.put(tenant, "key", value, at(1)).await.unwrap();
            assert_eq!(db.stores.system_configs.get(tenant, "key").await.unwrap().as_deref(), Some(value));
        }
    }

    async fn values_are_listed_by_key(db) {
        let tenant = db.tenant("a").await;
        assert!(db.stores.system_configs.list(tenant).await.unwrap().is_empty());
        for key in ["b", "c", "a", "a.b"] {
            db.stores.system_configs.put(tenant, key, "v", at(1)).await.unwrap();
        }
        let keys: Vec<_> = db.stores.system_configs.list(tenant).await.unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["a", "a.b", "b", "c"]);
    }

    async fn a_value_is_removed_once(db) {
        let tenant = db.tenant("a").await;
        db.stores.system_configs.put(tenant, "gone", "1", at(1)).await.unwrap();
        db.stores.system_configs.put(tenant, "kept", "2", at(1)).await.unwrap();
        assert!(db.stores.system_configs.delete(tenant, "gone").await.unwrap());
        assert!(!db.stores.system_configs.delete(tenant, "gone").await.unwrap());
        assert_eq!(db.stores.system_configs.list(tenant).await.unwrap(), [("kept".to_owned(), "2".to_owned())]);
    }

    async fn values_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        db.stores.system_configs.put(a, "key", "of a", at(1)).await.unwrap();
        assert_eq!(db.stores.system_configs.get(b, "key").await.unwrap(), None);
        assert!(db.stores.system_configs.list(b).await.unwrap().is_empty());
        assert!(!db.stores.system_configs.delete(b, "key").await.unwrap());
        db.stores.system_configs.put(b, "key", "of b", at(1)).await.unwrap();
        assert_eq!(db.stores.system_configs.get(a, "key").await.unwrap().as_deref(), Some("of a"));
        assert!(db.stores.system_configs.delete(b, "key").await.unwrap());
        assert_eq!(db.stores.system_configs.list(a).await.unwrap(), [("key".to_owned(), "of a".to_owned())]);
    }
}
