use goclaw_ports::sealer::Sealed;
use goclaw_tests::fixtures::at;

fn sealed(text: &str) -> Sealed {
    Sealed(text.to_owned())
}

on_both_databases! {
    async fn a_secret_comes_back_as_it_was_stored_last(db) {
        let tenant = db.tenant("a").await;
        assert_eq!(db.stores.secrets.get(tenant, "gateway.token").await.unwrap(), None);
        for value in ["x1:one", "x1:two", &"x".repeat(100_000)] {
            db.stores.secrets.put(tenant, "gateway.token", &sealed(value), at(1)).await.unwrap();
            assert_eq!(db.stores.secrets.get(tenant, "gateway.token").await.unwrap(), Some(sealed(value)));
        }
    }

    async fn secrets_are_listed_by_name(db) {
        let tenant = db.tenant("a").await;
        assert!(db.stores.secrets.list(tenant).await.unwrap().is_empty());
        for name in ["b", "c", "a", "a.b"] {
            db.stores.secrets.put(tenant, name, &sealed(name), at(1)).await.unwrap();
        }
        let expected = ["a", "a.b", "b", "c"].map(|name| (name.to_owned(), sealed(name)));
        assert_eq!(db.stores.secrets.list(tenant).await.unwrap(), expected);
    }

    async fn a_secret_is_removed_once(db) {
        let tenant = db.tenant("a").await;
        db.stores.secrets.put(tenant, "gone", &sealed("1"), at(1)).await.unwrap();
        db.stores.secrets.put(tenant, "kept", &sealed("2"), at(1)).await.unwrap();
        assert!(db.stores.secrets.delete(tenant, "gone").await.unwrap());
        assert!(!db.stores.secrets.delete(tenant, "gone").await.unwrap());
        assert_eq!(db.stores.secrets.list(tenant).await.unwrap(), [("kept".to_owned(), sealed("2"))]);
    }

    async fn secrets_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        db.stores.secrets.put(a, "name", &sealed("of a"), at(1)).await.unwrap();
        assert_eq!(db.stores.secrets.get(b, "name").await.unwrap(), None);
        assert!(db.stores.secrets.list(b).await.unwrap().is_empty());
        assert!(!db.stores.secrets.delete(b, "name").await.unwrap());
        db.stores.secrets.put(b, "name", &sealed("of b"), at(1)).await.unwrap();
        assert_eq!(db.stores.secrets.get(a, "name").await.unwrap(), Some(sealed("of a")));
        assert!(db.stores.secrets.delete(b, "name").await.unwrap());
        assert_eq!(db.stores.secrets.list(a).await.unwrap(), [("name".to_owned(), sealed("of a"))]);
    }
}
