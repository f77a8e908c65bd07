use super::*;
use goclaw_ports::{
    TenantId,
    events::{Batch, Heard, Wakes},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::{sync::broadcast, time::Instant};

/// A relay in memory, with everything that can go wrong.
struct MemoryRelay {
    batches: Mutex<BTreeMap<(Uuid, i64), String>>,
    wakes: Mutex<broadcast::Sender<()>>,
    /// No call succeeds.
    down: AtomicBool,
    /// Sending wakes nobody.
    silent: AtomicBool,
    /// Batches are stored, but the sender hears that they were not.
    answers_lost: AtomicUsize,
    /// Batches are refused for good.
    refuses: AtomicBool,
    prunes: AtomicUsize,
}

impl MemoryRelay {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            batches: Mutex::default(),
            wakes: Mutex::new(broadcast::Sender::new(16)),
            down: AtomicBool::default(),
            silent: AtomicBool::default(),
            answers_lost: AtomicUsize::default(),
            refuses: AtomicBool::default(),
            prunes: AtomicUsize::default(),
        })
    }

    fn check(&self) -> Result<()> {
        if self.down.load(Ordering::SeqCst) { Err(Error::unavailable("relay")) } else { Ok(()) }
    }

    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
        if down {
            self.cut_lines();
        }
    }

    fn cut_lines(&self) {
        *self.wakes.lock().unwrap() = broadcast::Sender::new(16);
    }

    /// The stored events of this name, batch by batch.
    fn stored(&self, name: &str) -> Vec<(Uuid, i64, usize)> {
        let batches = self.batches.lock().unwrap();
        let count = |events: &str| wire::open(events).unwrap().events.iter().filter(|event| event.name == name).count();
        batches.iter().map(|((origin, seq), events)| (*origin, *seq, count(events))).filter(|(_, _, count)| *count > 0).collect()
    }
}

#[async_trait]
impl EventRelay for MemoryRelay {
    async fn send(&self, batch: &Batch) -> Result<()> {
        self.check()?;
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Error::internal("refused"));
        }
        if self.batches.lock().unwrap().insert((batch.origin, batch.seq), batch.events.clone()).is_some() {
            return Err(Error::already_exists("batch", batch.seq));
        }
        if !self.silent.load(Ordering::SeqCst) {
            drop(self.wakes.lock().unwrap().send(()));
        }
        let lost = self.answers_lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        lost.map_or(Ok(()), |_| Err(Error::unavailable("relay")))
    }

    async fn listen(&self) -> Result<Box<dyn Wakes>> {
        self.check()?;
        Ok(Box::new(MemoryWakes(self.wakes.lock().unwrap().subscribe())))
    }

    async fn newest(&self) -> Result<Vec<(Uuid, i64)>> {
        self.check()?;
        let batches = self.batches.lock().unwrap();
        Ok(batches.keys().copied().collect::<BTreeMap<_, _>>().into_iter().collect())
    }

    async fn newer(&self, own: Uuid, known: &[(Uuid, i64)], limit: i64) -> Result<Vec<Batch>> {
        self.check()?;
        let known: BTreeMap<Uuid, i64> = known.iter().copied().collect();
        let batches = self.batches.lock().unwrap();
        let newer = batches.iter().filter(|((origin, seq), _)| *origin != own && *seq > known.get(origin).copied().unwrap_or(0));
        Ok(newer.take(limit as usize).map(|((origin, seq), events)| Batch { origin: *origin, seq: *seq, events: events.clone() }).collect())
    }

    async fn prune(&self) -> Result<()> {
        self.check()?;
        self.prunes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

struct MemoryWakes(broadcast::Receiver<()>);

#[async_trait]
impl Wakes for MemoryWakes {
    async fn next(&mut self) -> Result<()> {
        match self.0.recv().await {
            Err(broadcast::error::RecvError::Closed) => Err(Error::unavailable("relay")),
            Ok(()) | Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
        }
    }
}

async fn join(relay: &Arc<MemoryRelay>) -> Arc<RelayedBus> {
    join_with(relay, RelayOptions::default()).await
}

async fn join_with(relay: &Arc<MemoryRelay>, options: RelayOptions) -> Arc<RelayedBus> {
    RelayedBus::start(relay.clone(), &Handle::current(), options).await.unwrap()
}

/// Two replicas that know of each other.
async fn pair(relay: &Arc<MemoryRelay>) -> (Arc<RelayedBus>, Arc<RelayedBus>) {
    let one = join(relay).await;
    one.flush().await;
    let other = join(relay).await;
    one.shared.peers.first().await;
    other.shared.peers.first().await;
    (one, other)
}

fn event(name: &'static str, n: usize) -> Event {
    Event::new(TenantId::MASTER, name, json!(n))
}

/// The next thing a listener hears; paused time makes the limit free.
async fn next(stream: &mut Box<dyn EventStream>) -> Heard {
    timeout(Duration::from_secs(30), stream.next()).await.expect("something is heard")
}

async fn number(stream: &mut Box<dyn EventStream>) -> u64 {
    match next(stream).await {
        Heard::Event(event) => event.payload.as_u64().unwrap(),
        other => panic!("no event: {other:?}"),
    }
}

async fn assert_missed(stream: &mut Box<dyn EventStream>) {
    assert!(matches!(next(stream).await, Heard::Missed(0)));
}

async fn assert_silence(stream: &mut Box<dyn EventStream>) {
    assert!(timeout(Duration::from_secs(30), stream.next()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn events_of_a_replica_reach_the_others_in_order_and_itself_once() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    let (mut here, mut there) = (one.subscribe(), other.subscribe());
    (0..1_200).for_each(|n| one.publish(event("agent", n)));
    for n in 0..1_200 {
        assert_eq!((number(&mut here).await, number(&mut there).await), (n, n));
    }
    assert_silence(&mut here).await;
    assert_silence(&mut there).await;
    let sizes: Vec<_> = relay.stored("agent").iter().map(|(_, _, count)| *count).collect();
    assert_eq!(sizes, [500, 500, 200]);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_heard_here_at_once_and_there_soon() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    let (mut here, mut there) = (one.subscribe(), other.subscribe());
    let before = Instant::now();
    one.publish(event("agent", 1).of_user("u"));
    let Heard::Event(heard) = next(&mut here).await else { panic!("no event") };
    assert_eq!(before.elapsed(), Duration::ZERO);
    let Heard::Event(told) = next(&mut there).await else { panic!("no event") };
    assert_eq!(told, heard);
    assert!(before.elapsed() <= Duration::from_millis(10), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_large_event_goes_alone() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    let mut there = other.subscribe();
    let large = |n: usize| Event::new(TenantId::MASTER, "agent", json!([n, "x".repeat(200 << 10)]));
    (0..3).for_each(|n| one.publish(large(n)));
    for n in 0..3 {
        let Heard::Event(event) = next(&mut there).await else { panic!("no event") };
        assert_eq!(event.payload[0], n);
    }
    assert_eq!(relay.stored("agent").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_was_woken_for_is_caught_up_with() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    let mut there = other.subscribe();
    relay.silent.store(true, Ordering::SeqCst);
    (0..3).for_each(|n| one.publish(event("agent", n)));
    let before = Instant::now();
    for n in 0..3 {
        assert_eq!(number(&mut there).await, n);
    }
    assert!(before.elapsed() <= Duration::from_secs(6), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_line_that_breaks_is_opened_again_and_nothing_is_lost() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    let mut there = other.subscribe();
    for n in 0..5 {
        relay.cut_lines();
        one.publish(event("agent", n));
        assert_eq!(number(&mut there).await, n as u64);
    }
    let before = Instant::now();
    one.publish(event("agent", 5));
    assert_eq!(number(&mut there).await, 5);
    assert!(before.elapsed() <= Duration::from_secs(1), "the line is not open again: {:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_number_that_is_left_out_means_that_something_was_missed() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    let mut there = other.subscribe();
    relay.silent.store(true, Ordering::SeqCst);
    one.publish(event("cache.invalidate", 1));
    one.flush().await;
    let (origin, seq, _) = relay.stored("cache.invalidate")[0];
    relay.batches.lock().unwrap().remove(&(origin, seq));
    one.publish(event("cache.invalidate", 2));
    assert_missed(&mut there).await;
    assert_eq!(number(&mut there).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_replica_whose_beginning_is_gone_was_missed_and_a_new_one_was_not() {
    let relay = MemoryRelay::new();
    let one = join(&relay).await;
    one.flush().await;
    let mut here = one.subscribe();
    let send = async |origin: u128, seq: i64| {
        let line = wire::line(&event("cache.invalidate", seq as usize), SystemClock.now());
        relay.send(&Batch { origin: Uuid::from_u128(origin), seq, events: wire::batch(&[line]) }).await.unwrap();
    };
    send(1, 1).await;
    assert_eq!(number(&mut here).await, 1);
    send(2, 7).await;
    assert_missed(&mut here).await;
    assert_eq!(number(&mut here).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_replica_hears_nothing_from_before_its_start() {
    let relay = MemoryRelay::new();
    let one = join(&relay).await;
    one.publish(event("cache.invalidate", 1));
    one.flush().await;
    let other = join(&relay).await;
    let mut there = other.subscribe();
    one.publish(event("cache.invalidate", 2));
    assert_eq!(number(&mut there).await, 2);
    assert_silence(&mut there).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_receipt_was_lost_is_heard_once() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    let mut there = other.subscribe();
    relay.answers_lost.store(1, Ordering::SeqCst);
    (0..2).for_each(|n| one.publish(event("agent", n)));
    for n in 0..2 {
        assert_eq!(number(&mut there).await, n);
    }
    one.publish(event("agent", 2));
    assert_eq!(number(&mut there).await, 2);
    assert_silence(&mut there).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_relay_is_out_of_reach_events_wait_in_order() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    let (mut here, mut there) = (one.subscribe(), other.subscribe());
    relay.set_down(true);
    for n in 0..50 {
        one.publish(event("cache.invalidate", n));
        assert_eq!(number(&mut here).await, n as u64);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    relay.set_down(false);
    for n in 0..50 {
        assert_eq!(number(&mut there).await, n);
    }
    assert_silence(&mut there).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_could_not_read_for_too_long_has_missed_something() {
    let relay = MemoryRelay::new();
    let one = join(&relay).await;
    one.flush().await;
    let mut here = one.subscribe();
    relay.set_down(true);
    assert!(timeout(Duration::from_secs(601), here.next()).await.is_err());
    relay.set_down(false);
    assert_missed(&mut here).await;
    assert_silence(&mut here).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_into_the_queue_is_missed_by_the_others() {
    let relay = MemoryRelay::new();
    let one = join_with(&relay, RelayOptions { queue_events: 10, ..RelayOptions::default() }).await;
    let other = join(&relay).await;
    other.shared.peers.first().await;
    one.flush().await;
    let (mut here, mut there) = (one.subscribe(), other.subscribe());
    relay.set_down(true);
    for n in 0..15 {
        one.publish(event("cache.invalidate", n));
        assert_eq!(number(&mut here).await, n as u64, "who is here hears everything");
    }
    relay.set_down(false);
    assert_missed(&mut there).await;
    // Ten fitted, the eleventh did not and took them with it; four came after.
    for n in 11..15 {
        assert_eq!(number(&mut there).await, n);
    }
    assert_silence(&mut there).await;
}

#[tokio::test(start_paused = true)]
async fn an_overflow_shows_even_if_nothing_comes_after_it() {
    let relay = MemoryRelay::new();
    let one = join_with(&relay, RelayOptions { queue_bytes: 1_000, ..RelayOptions::default() }).await;
    let other = join(&relay).await;
    one.flush().await;
    let mut there = other.subscribe();
    one.publish(Event::new(TenantId::MASTER, "cache.invalidate", json!("x".repeat(2_000))));
    assert_missed(&mut there).await;
    assert_silence(&mut there).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_the_relay_will_not_have_does_not_hold_up_the_rest() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    let mut there = other.subscribe();
    relay.refuses.store(true, Ordering::SeqCst);
    one.publish(event("cache.invalidate", 1));
    timeout(Duration::from_secs(60), one.shared.outbox.sent()).await.expect_err("nothing gets through");
    relay.refuses.store(false, Ordering::SeqCst);
    one.publish(event("cache.invalidate", 2));
    assert_missed(&mut there).await;
    assert_eq!(number(&mut there).await, 2);
}

#[tokio::test(start_paused = true)]
async fn the_events_of_runs_are_written_only_while_somebody_is_there_to_hear_them() {
    let relay = MemoryRelay::new();
    let one = join(&relay).await;
    let mut here = one.subscribe();
    one.publish(event("agent", 1));
    one.publish(event("session.updated", 2));
    one.flush().await;
    assert_eq!((number(&mut here).await, number(&mut here).await), (1, 2));
    assert_eq!((relay.stored("agent").len(), relay.stored("session.updated").len()), (0, 1));

    let other = join(&relay).await;
    assert!(one.shared.peers.any(), "the first has heard of the second when the second has started");
    one.publish(event("agent", 3));
    one.flush().await;
    assert_eq!(relay.stored("agent").len(), 1);

    drop(other);
    tokio::time::sleep(Duration::from_secs(31)).await;
    one.publish(event("agent", 4));
    one.flush().await;
    assert_eq!(relay.stored("agent").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn replicas_with_nothing_to_say_still_know_of_each_other() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    let (mut here, mut there) = (one.subscribe(), other.subscribe());
    assert!(timeout(Duration::from_secs(120), here.next()).await.is_err(), "that is nothing to tell listeners");
    assert!(timeout(Duration::from_secs(1), there.next()).await.is_err());
    assert!(one.shared.peers.any() && other.shared.peers.any());
    let batches = relay.batches.lock().unwrap().len();
    assert!((20..=32).contains(&batches), "{batches} batches in two minutes");
    assert!(relay.prunes.load(Ordering::SeqCst) >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_lone_replica_starts_at_once() {
    let relay = MemoryRelay::new();
    let before = Instant::now();
    let _bus = join(&relay).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_says_goodbye_is_not_waited_for_and_nothing_is_written_for_it() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    other.publish(event("session.updated", 1));
    other.close().await;
    one.publish(event("session.updated", 2));
    let mut here = one.subscribe();
    one.publish(event("session.updated", 3));
    assert_eq!(number(&mut here).await, 3);
    eventually_alone(&one).await;
    one.publish(event("agent", 4));
    one.flush().await;
    assert_eq!(relay.stored("agent").len(), 0, "nobody is there to hear it");
    assert_eq!(relay.stored("session.updated").len(), 2, "what came before the goodbye was sent");

    one.close().await;
    let before = Instant::now();
    let third = join(&relay).await;
    assert_eq!(before.elapsed(), Duration::ZERO, "all others have said that they go");
    third.flush().await;
    let before = Instant::now();
    let _fourth = join(&relay).await;
    assert!(third.shared.peers.any() && before.elapsed() < RelayOptions::default().greeting);
}

#[tokio::test(start_paused = true)]
async fn a_crashed_replica_is_waited_for_though_another_said_goodbye() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    other.close().await;
    drop(one);
    let before = Instant::now();
    let _third = join(&relay).await;
    assert_eq!(before.elapsed(), RelayOptions::default().greeting);
}

#[tokio::test(start_paused = true)]
async fn after_the_goodbye_events_stay_here_and_nothing_more_is_sent() {
    let relay = MemoryRelay::new();
    let (one, other) = pair(&relay).await;
    one.close().await;
    let stored = relay.batches.lock().unwrap().keys().filter(|(origin, _)| *origin == one.shared.origin).count();
    let mut here = one.subscribe();
    one.publish(event("session.updated", 1));
    assert_eq!(number(&mut here).await, 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    one.close().await;
    assert_eq!(relay.batches.lock().unwrap().keys().filter(|(origin, _)| *origin == one.shared.origin).count(), stored);
    assert!(!other.shared.peers.any());
}

/// Waits until the bus knows that no other replica is there, for less than silence would take to tell it.
async fn eventually_alone(bus: &RelayedBus) {
    let alone = async {
        while bus.shared.peers.any() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(1), alone).await.expect("the goodbye is heard");
}

#[tokio::test(start_paused = true)]
async fn without_a_relay_there_is_no_start() {
    let relay = MemoryRelay::new();
    relay.set_down(true);
    assert!(RelayedBus::start(relay, &Handle::current(), RelayOptions::default()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_makes_no_sense_counts_as_missed() {
    let relay = MemoryRelay::new();
    let one = join(&relay).await;
    one.flush().await;
    let mut here = one.subscribe();
    relay.send(&Batch { origin: Uuid::from_u128(1), seq: 1, events: "{".into() }).await.unwrap();
    assert_missed(&mut here).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_bus_is_gone_its_tasks_are_and_listeners_hear_the_end() {
    let relay = MemoryRelay::new();
    let one = join(&relay).await;
    let mut here = one.subscribe();
    drop(one);
    assert!(matches!(next(&mut here).await, Heard::Closed));
}
