//! Who goes when.

use super::*;
use crate::runs::{lanes::LaneSizes, tests::run};
use std::{pin::pin, task::Poll};

fn runs() -> Arc<Runs> {
    Arc::new(Runs::new(LaneSizes { subagent: 1, ..LaneSizes::default() }))
}

fn register(runs: &Arc<Runs>, queueing: Queueing) -> Place {
    runs.register(TenantId::MASTER, run("s"), queueing).unwrap()
}

/// Whether the run may begin now.
async fn may_go(place: &mut Place) -> bool {
    let mut waiting = pin!(place.wait());
    std::future::poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_ready())).await
}

fn with(queue: QueueSettings) -> Queueing {
    Queueing { queue, ..Queueing::default() }
}

#[tokio::test]
async fn the_oldest_that_waits_gives_way_or_the_newest_is_refused() {
    let runs = runs();
    let old = with(QueueSettings { cap: 2, ..QueueSettings::default() });
    let mut places: Vec<Place> = (0..5).map(|_| register(&runs, old)).collect();
    let refused: Vec<bool> = places.iter().map(|place| place.run.refusal().is_some()).collect();
    assert_eq!(refused, [false, true, true, false, false], "one goes, two wait");
    let new = with(QueueSettings { cap: 2, drop: DropPolicy::New, ..QueueSettings::default() });
    assert_eq!(runs.register(TenantId::MASTER, run("s"), new).err().map(|error| error.kind), Some(ErrorKind::RateLimited));
    assert!(runs.register(TenantId::MASTER, run("other"), new).is_ok());
    let last = places.pop().unwrap();
    drop(last);
    assert!(runs.register(TenantId::MASTER, run("s"), new).is_ok());
}

#[tokio::test]
async fn an_interrupting_run_takes_the_place_of_the_others() {
    let runs = runs();
    let mut first = register(&runs, Queueing::default());
    let second = register(&runs, Queueing::default());
    assert!(may_go(&mut first).await);
    let mut third = register(&runs, with(QueueSettings { mode: QueueMode::Interrupt, ..QueueSettings::default() }));
    assert!(first.run.cancel.is_cancelled() && first.run.refusal().is_none());
    assert!(second.run.refusal().is_some());
    assert!(!may_go(&mut third).await);
    drop(first);
    assert!(may_go(&mut third).await);
}

#[tokio::test]
async fn several_go_at_once_where_that_is_wanted() {
    let runs = runs();
    let three = Queueing { at_once: 3, ..Queueing::default() };
    let mut places: Vec<Place> = (0..4).map(|_| register(&runs, three)).collect();
    for (n, place) in places.iter_mut().enumerate() {
        assert_eq!(may_go(place).await, n < 3);
    }
    drop(places.remove(1));
    assert!(may_go(&mut places[2]).await);
}

#[tokio::test(start_paused = true)]
async fn each_message_that_comes_begins_the_wait_anew() {
    let runs = runs();
    let patient = Queueing { debounce: Duration::from_millis(800), ..Queueing::default() };
    let mut first = register(&runs, patient);
    assert!(!may_go(&mut first).await);
    tokio::time::advance(Duration::from_millis(799)).await;
    let mut second = register(&runs, patient);
    tokio::time::advance(Duration::from_millis(799)).await;
    assert!(!may_go(&mut first).await);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(may_go(&mut first).await && !may_go(&mut second).await);
    drop(first);
    assert!(may_go(&mut second).await);
}

#[tokio::test]
async fn runs_of_a_full_lane_wait_whatever_their_conversation() {
    let runs = runs();
    let queueing = Queueing { lane: Some(Lane::Subagent), ..Queueing::default() };
    let mut places = ["a", "b"].map(|key| runs.register(TenantId::MASTER, run(key), queueing).unwrap());
    assert!(may_go(&mut places[0]).await && !may_go(&mut places[1]).await);
    let mut free = runs.register(TenantId::MASTER, run("c"), Queueing::default()).unwrap();
    assert!(may_go(&mut free).await, "who needs no place does not wait for one");
    let [first, mut second] = places;
    drop(first);
    assert!(may_go(&mut second).await);
}

#[tokio::test]
async fn one_is_stopped_or_all_are() {
    let runs = runs();
    assert!(!runs.stop_one(TenantId::MASTER, "s") && runs.stop_all(TenantId::MASTER, "s") == 0);
    let places: Vec<Place> = (0..4).map(|_| register(&runs, Queueing::default())).collect();
    assert!(runs.stop_one(TenantId::MASTER, "s"));
    let stopped = |places: &[Place]| places.iter().map(|place| (place.run.cancel.is_cancelled(), place.run.refusal().is_some())).collect::<Vec<_>>();
    assert_eq!(stopped(&places), [(true, false), (false, false), (false, false), (false, false)]);
    assert_eq!(runs.stop_all(TenantId::MASTER, "s"), 4);
    assert_eq!(stopped(&places), [(true, false), (true, true), (true, true), (true, true)]);
    drop(places);
    assert_eq!(runs.count(), 0);
}
