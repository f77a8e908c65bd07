use goclaw_ports::{
    TenantId,
    providers::{ProviderPatch, ProviderRow},
    sealer::{Sealed, SealedRow},
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{at, provider},
};
use std::collections::BTreeMap;

fn sealed(text: &str) -> Sealed {
    Sealed(text.to_owned())
}

fn of_provider(row: &ProviderRow, text: &str) -> SealedRow {
    SealedRow { tenant: row.tenant_id, table: "llm_providers", column: "api_key", row: row.id.to_string(), sealed: sealed(text) }
}

fn of_config(tenant: TenantId, name: &str, text: &str) -> SealedRow {
    SealedRow { tenant, table: "config_secrets", column: "value", row: name.to_owned(), sealed: sealed(text) }
}

async fn add_provider(db: &TestDatabase, tenant: TenantId, name: &str, key: Option<&str>) -> ProviderRow {
    let row = ProviderRow { api_key: key.map(sealed), ..provider(tenant, name) };
    db.stores.providers.insert(tenant, &row).await.unwrap();
    row
}

/// What is sealed where, without an order.
async fn all(db: &TestDatabase) -> BTreeMap<(TenantId, &'static str, &'static str, String), String> {
    let rows = db.stores.sealed.all_tenants_sealed().await.unwrap();
    let count = rows.len();
    let all: BTreeMap<_, _> = rows.into_iter().map(|row| ((row.tenant, row.table, row.column, row.row), row.sealed.0)).collect();
    assert_eq!(all.len(), count, "each secret is there once");
    all
}

fn expected(rows: &[SealedRow]) -> BTreeMap<(TenantId, &'static str, &'static str, String), String> {
    rows.iter().map(|row| ((row.tenant, row.table, row.column, row.row.clone()), row.sealed.0.clone())).collect()
}

on_both_databases! {
    async fn every_secret_of_every_tenant_is_found_with_its_place(db) {
        assert!(all(&db).await.is_empty());
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let with_key = add_provider(&db, a, "openai", Some("x1:a")).await;
        let other = add_provider(&db, b, "openai", Some("x1:b")).await;
        add_provider(&db, a, "keyless", None).await;
        let disabled = ProviderRow { enabled: false, ..provider(b, "disabled") };
        db.stores.providers.insert(b, &disabled).await.unwrap();
        for (tenant, name, value) in [(TenantId::MASTER, "gateway.token", "x1:m"), (a, "gateway.token", "x1:of a"), (b, "tts.key", "x1:of b")] {
            db.stores.secrets.put(tenant, name, &sealed(value), at(1)).await.unwrap();
        }
        let rows = [
            of_provider(&with_key, "x1:a"),
            of_provider(&other, "x1:b"),
            of_provider(&disabled, "x1:disabled"),
            of_config(TenantId::MASTER, "gateway.token", "x1:m"),
            of_config(a, "gateway.token", "x1:of a"),
            of_config(b, "tts.key", "x1:of b"),
        ];
        assert_eq!(all(&db).await, expected(&rows));
        let place = rows[0].place();
        assert_eq!((place.tenant, place.table, place.column, place.row), (a, "llm_providers", "api_key", with_key.id.to_string().as_str()));
    }

    async fn secrets_are_replaced_and_nothing_else_is(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (of_a, of_b) = (add_provider(&db, a, "openai", Some("x1:old")).await, add_provider(&db, b, "openai", Some("x1:old")).await);
        for tenant in [a, b] {
            db.stores.secrets.put(tenant, "gateway.token", &sealed("x1:old"), at(1)).await.unwrap();
        }
        let changes = [(of_provider(&of_a, "x1:old"), sealed("x1:new")), (of_config(b, "gateway.token", "x1:old"), sealed("x1:newer"))];
        assert_eq!(db.stores.sealed.all_tenants_reseal(&changes).await.unwrap(), 2);
        assert_eq!(db.stores.providers.find(a, of_a.id).await.unwrap(), Some(ProviderRow { api_key: Some(sealed("x1:new")), ..of_a }));
        assert_eq!(db.stores.providers.find(b, of_b.id).await.unwrap(), Some(of_b));
        assert_eq!(db.stores.secrets.get(a, "gateway.token").await.unwrap(), Some(sealed("x1:old")));
        assert_eq!(db.stores.secrets.get(b, "gateway.token").await.unwrap(), Some(sealed("x1:newer")));
    }

    async fn a_secret_that_was_changed_meanwhile_is_left_alone(db) {
        let a = db.tenant("a").await;
        let (changed, gone, kept) =
            (add_provider(&db, a, "changed", Some("x1:1")).await, add_provider(&db, a, "gone", Some("x1:2")).await, add_provider(&db, a, "kept", Some("x1:3")).await);
        db.stores.secrets.put(a, "name", &sealed("x1:4"), at(1)).await.unwrap();
        let read = db.stores.sealed.all_tenants_sealed().await.unwrap();
        assert_eq!(read.len(), 4);

        let patch = ProviderPatch { api_key: Some(sealed("x1:by a user")), ..ProviderPatch::default() };
        db.stores.providers.update(a, changed.id, &patch, at(2)).await.unwrap().unwrap();
        db.stores.providers.delete(a, gone.id).await.unwrap().unwrap();
        db.stores.secrets.put(a, "name", &sealed("x1:by an operator"), at(2)).await.unwrap();

        let changes: Vec<_> = read.into_iter().map(|row| { let new = sealed(&format!("{}!", row.sealed.0)); (row, new) }).collect();
        assert_eq!(db.stores.sealed.all_tenants_reseal(&changes).await.unwrap(), 1);
        let rows = [of_provider(&changed, "x1:by a user"), of_provider(&kept, "x1:3!"), of_config(a, "name", "x1:by an operator")];
        assert_eq!(all(&db).await, expected(&rows));
        assert_eq!(db.stores.sealed.all_tenants_reseal(&changes).await.unwrap(), 0, "what was replaced is not replaced again");
    }

    async fn a_row_of_another_tenant_with_the_same_name_is_left_alone(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let row = add_provider(&db, a, "openai", Some("x1:same")).await;
        db.stores.secrets.put(b, "name", &sealed("x1:same"), at(1)).await.unwrap();
        let misplaced = [(SealedRow { tenant: b, ..of_provider(&row, "x1:same") }, sealed("x1:new")), (of_config(a, "name", "x1:same"), sealed("x1:new"))];
        assert_eq!(db.stores.sealed.all_tenants_reseal(&misplaced).await.unwrap(), 0);
        assert_eq!(all(&db).await, expected(&[of_provider(&row, "x1:same"), of_config(b, "name", "x1:same")]));
    }

    async fn all_are_replaced_or_none(db) {
        let a = db.tenant("a").await;
        let row = add_provider(&db, a, "openai", Some("x1:old")).await;
        let nowhere = SealedRow { table: "no_such_table", ..of_config(a, "name", "x1:old") };
        let changes = [(of_provider(&row, "x1:old"), sealed("x1:new")), (nowhere, sealed("x1:new"))];
        assert_fails!(db.stores.sealed.all_tenants_reseal(&changes).await, Internal);
        assert_eq!(all(&db).await, expected(&[of_provider(&row, "x1:old")]));
        assert_eq!(db.stores.sealed.all_tenants_reseal(&[]).await.unwrap(), 0);
    }
}
