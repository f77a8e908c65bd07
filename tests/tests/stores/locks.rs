use futures_util::future::join_all;
use goclaw_ports::{TenantId, stores::Stores};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::oneshot;

/// Takes the lock in a task of its own; the answer tells when it is held.
fn take(stores: &Stores, tenant: TenantId, name: &'static str) -> tokio::task::JoinHandle<goclaw_ports::locks::Held> {
    let locks = stores.locks.clone();
    tokio::spawn(async move { locks.lock(tenant, name).await.unwrap() })
}

on_both_databases! {
    async fn one_at_a_time_holds_a_lock(db) {
        let tenant = db.tenant("a").await;
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = (0..6).map(|_| {
            let (locks, inside, most) = (db.stores.locks.clone(), inside.clone(), most.clone());
            async move {
                let held = locks.lock(tenant, "account").await.unwrap();
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(held);
            }
        });
        join_all(work.map(tokio::spawn)).await;
        assert_eq!((most.load(Ordering::SeqCst), inside.load(Ordering::SeqCst)), (1, 0));
    }

    async fn locks_of_other_names_and_tenants_are_others(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let first = db.stores.locks.lock(a, "one").await.unwrap();
        let others = [db.stores.locks.lock(a, "two").await.unwrap(), db.stores.locks.lock(b, "one").await.unwrap()];
        drop((first, others));
    }

    async fn whoever_gives_up_waiting_keeps_nobody_from_the_lock(db) {
        let tenant = db.tenant("a").await;
        let held = db.stores.locks.lock(tenant, "one").await.unwrap();
        let impatient = take(&db.stores, tenant, "one");
        let patient = take(&db.stores, tenant, "one");
        tokio::task::yield_now().await;
        impatient.abort();
        let (told, done) = oneshot::channel();
        tokio::spawn(async move { told.send(patient.await.is_ok()) });
        drop(held);
        assert!(goclaw_tests::within("the lock", done).await.unwrap());
    }
}
