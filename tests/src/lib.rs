//! What the tests share: databases that live for one test, a scripted LLM upstream, the real server as a child process, and
//! clients for its REST and WebSocket sides.

pub mod census;
pub mod collector;
pub mod conversation;
pub mod database;
pub mod fake_llm;
pub mod fixtures;
pub mod http;
pub mod one_of_each;
pub mod redis;
pub mod server;
pub mod sse;
pub mod ws;

pub use collector::Collector;
pub use database::{Backend, TestDatabase};
pub use fake_llm::{Answer, FakeLlm};
pub use http::{Http, Reply};
pub use server::{Edition, Server, Setup};
pub use ws::WsClient;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long a test waits for something that must happen, before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

static SECONDS: AtomicU64 = AtomicU64::new(PATIENCE.as_secs());

/// [`PATIENCE`], or what this program has instead.
pub fn patience() -> Duration {
    Duration::from_secs(SECONDS.load(Ordering::Relaxed))
}

/// From now on everything waits for so many seconds: for programs that load the machine themselves.
pub fn be_patient(seconds: u64) {
    SECONDS.store(seconds, Ordering::Relaxed);
}

/// Waits for `future`, at most for [`patience`].
///
/// # Panics
/// If it does not end in time; `what` says what was awaited.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(patience(), future).await.unwrap_or_else(|_| panic!("waited {:?} for {what}", patience()))
}

/// What an attempt of [`eventually`] came to: there (`true`, `Some`) or not yet.
pub trait Attempt {
    /// What there is when it is there.
    type Found;
    /// It, if it is there.
    fn found(self) -> Option<Self::Found>;
}

impl Attempt for bool {
    type Found = ();
    fn found(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Attempt for Option<T> {
    type Found = T;
    fn found(self) -> Self {
        self
    }
}

/// Tries again and again, at most for [`patience`], until an attempt answers `true` or `Some`. For what shows itself by no event;
/// where there is one, wait for that.
///
/// # Panics
/// If no attempt succeeds in time; `what` says what was awaited.
pub async fn eventually<A: Attempt>(what: &str, mut attempt: impl AsyncFnMut() -> A) -> A::Found {
    let deadline = Instant::now() + patience();
    let mut ticks = interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let found = within(what, attempt()).await.found();
        match found {
            Some(found) => return found,
            None => assert!(Instant::now() < deadline, "waited {:?} for {what}", patience()),
        }
    }
}
