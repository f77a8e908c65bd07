use futures_util::future::join_all;
use goclaw_ports::{TenantId, stores::Stores};
use goclaw_tests::{Backend, TestDatabase, within};
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

const SESSION: &str = "agent:fox:ws:direct:1";

/// Takes a turn in a task of its own.
fn wait_for_turn(stores: &Stores, tenant: TenantId) -> tokio::task::JoinHandle<goclaw_ports::locks::Held> {
    let locks = stores.locks.clone();
    tokio::spawn(async move { locks.take_turn(tenant, SESSION).await.unwrap() })
}

/// Each database as it is for two gateways.
async fn with_two<F: Future<Output = ()>>(test: impl FnOnce(TestDatabase, Stores) -> F) {
    TestDatabase::with(Backend::Postgres, |db| async move {
        let other = db.twin().await;
        let database = other.database.clone();
        test(db, other).await;
        database.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_conversation_belongs_to_one_process_at_a_time() {
    with_two(|db, other| async move {
        let a = db.tenant("a").await;
        let [first, second] = [other.locks.take_turn(a, SESSION).await.unwrap(), other.locks.take_turn(a, SESSION).await.unwrap()];
        let waiting = wait_for_turn(&db.stores, a);
        drop(first);
        // Time for it to be given, if it were.
        for _ in 0..20 {
            drop(db.stores.locks.take_turn(a, "agent:fox:ws:direct:2").await.unwrap());
        }
        assert!(!waiting.is_finished(), "the second run holds it still");
        drop(second);
        drop(within("the turn", waiting).await.unwrap());
        drop(within("the turn of the other", wait_for_turn(&other, a)).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn conversations_of_the_same_name_in_two_tenants_are_two() {
    with_two(|db, other| async move {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let of_a = other.locks.take_turn(a, SESSION).await.unwrap();
        let taken = async |tenant| db.stores.locks.turn_is_taken(tenant, SESSION).await.unwrap();
        assert!(taken(a).await && !db.stores.locks.turn_is_taken(b, SESSION).await.unwrap());
        assert!(!other.locks.turn_is_taken(a, SESSION).await.unwrap(), "it is not another's");
        drop(within("the turn of b", db.stores.locks.take_turn(b, SESSION)).await.unwrap());
        drop(of_a);
        goclaw_tests::eventually("the turn of a", async || !taken(a).await).await;
    })
    .await;
}

#[tokio::test]
async fn whoever_gives_up_waiting_for_a_turn_keeps_nobody_from_it() {
    with_two(|db, other| async move {
        let a = db.tenant("a").await;
        for _ in 0..20 {
            let held = other.locks.take_turn(a, SESSION).await.unwrap();
            let impatient = wait_for_turn(&db.stores, a);
            tokio::task::yield_now().await;
            drop(held);
            impatient.abort();
            drop(within("the turn", wait_for_turn(&other, a)).await.unwrap());
        }
    })
    .await;
}

#[tokio::test]
async fn a_process_that_is_gone_or_loses_its_connection_lets_go() {
    with_two(|db, other| async move {
        let a = db.tenant("a").await;
        let held = other.locks.take_turn(a, SESSION).await.unwrap();
        let waiting = wait_for_turn(&db.stores, a);
        db.end_lockers().await;
        drop(within("the turn", waiting).await.unwrap());
        drop(held);
        drop(within("a turn on a new connection", wait_for_turn(&other, a)).await.unwrap());
    })
    .await;
}

on_both_databases! {
    async fn one_process_may_have_several_runs_in_a_conversation(db) {
        let tenant = db.tenant("a").await;
        let first = db.stores.locks.take_turn(tenant, SESSION).await.unwrap();
        let second = within("the second turn", db.stores.locks.take_turn(tenant, SESSION)).await.unwrap();
        drop((first, second));
    }

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
