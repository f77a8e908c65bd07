//! The event bus of one process.

use async_trait::async_trait;
use goclaw_ports::events::{AGENT, Attendance, Audience, Event, EventBus, EventStream, Heard};
use tokio::sync::broadcast::{self, error::RecvError};

/// How many events a listener may be behind before it misses some.
pub const DEFAULT_CAPACITY: usize = 4096;

/// Carries events within this process. It keeps the newest `capacity` events; a listener that falls further behind is told
/// how many it missed and goes on with the oldest that is left.
#[derive(Debug, Clone)]
pub struct LocalBus {
    all: broadcast::Sender<Told>,
    /// The same without what runs tell.
    others: broadcast::Sender<Told>,
    audience: Audience,
}

#[derive(Debug, Clone)]
enum Told {
    Event(Event),
    /// There were events, and nobody knows which.
    Missed,
}

impl LocalBus {
    /// A bus that keeps at least this many events (the next power of two) for slow listeners.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let sender = || broadcast::Sender::new(capacity.max(1));
        Self { all: sender(), others: sender(), audience: Audience::default() }
    }

    /// Tells all listeners that events have passed them by: they hear `Heard::Missed(0)`.
    pub fn missed(&self) {
        self.tell(Told::Missed);
    }

    fn tell(&self, told: Told) {
        let of_a_run = matches!(&told, Told::Event(event) if event.name == AGENT);
        // It fails only when nobody listens, and then nobody misses it.
        if !of_a_run {
            drop(self.others.send(told.clone()));
        }
        drop(self.all.send(told));
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl EventBus for LocalBus {
    fn publish(&self, event: Event) {
        self.tell(Told::Event(event));
    }

    fn subscribe(&self) -> Box<dyn EventStream> {
        Box::new(Listener(self.all.subscribe()))
    }

    fn subscribe_to_others(&self) -> Box<dyn EventStream> {
        Box::new(Listener(self.others.subscribe()))
    }

    fn attend(&self) -> Attendance {
        self.audience.join()
    }

    fn attended(&self) -> bool {
        !self.audience.is_empty()
    }
}

struct Listener(broadcast::Receiver<Told>);

#[async_trait]
impl EventStream for Listener {
    async fn next(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(Told::Event(event)) => Heard::Event(event),
            Ok(Told::Missed) => Heard::Missed(0),
            Err(RecvError::Lagged(count)) => Heard::Missed(count),
            Err(RecvError::Closed) => Heard::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::TenantId;
    use std::sync::Arc;

    fn event(n: u64) -> Event {
        Event { tenant: TenantId::MASTER, name: "agent".into(), user: None, payload: Arc::new(n.into()) }
    }

    async fn number(stream: &mut Box<dyn EventStream>) -> Option<u64> {
        match stream.next().await {
            Heard::Event(event) => event.payload.as_u64(),
            Heard::Missed(_) | Heard::Closed => None,
        }
    }

    #[tokio::test]
    async fn every_listener_hears_every_event_in_order() {
        let bus = LocalBus::new(8);
        let mut listeners = [bus.subscribe(), bus.subscribe()];
        (0..5).for_each(|n| bus.publish(event(n)));
        for listener in &mut listeners {
            for n in 0..5 {
                assert_eq!(number(listener).await, Some(n));
            }
        }
    }

    #[tokio::test]
    async fn a_listener_hears_only_what_came_after_it() {
        let bus = LocalBus::new(8);
        bus.publish(event(1));
        let mut listener = bus.subscribe();
        bus.publish(event(2));
        assert_eq!(number(&mut listener).await, Some(2));
    }

    #[tokio::test]
    async fn who_listens_to_others_hears_nothing_of_runs_but_what_was_missed() {
        let bus = LocalBus::new(8);
        let mut listener = bus.subscribe_to_others();
        bus.publish(event(1));
        bus.publish(Event { name: "session.updated".into(), ..event(2) });
        assert_eq!(number(&mut listener).await, Some(2));
        bus.publish(event(3));
        bus.missed();
        assert!(matches!(listener.next().await, Heard::Missed(0)));
    }

    #[tokio::test]
    async fn a_slow_listener_learns_how_much_it_missed_and_goes_on() {
        let bus = LocalBus::new(4);
        let mut slow = bus.subscribe();
        (0..10).for_each(|n| bus.publish(event(n)));
        assert!(matches!(slow.next().await, Heard::Missed(6)));
        assert_eq!(number(&mut slow).await, Some(6));
    }

    #[tokio::test]
    async fn listeners_learn_in_its_place_that_something_is_missing() {
        let bus = LocalBus::new(8);
        let mut listener = bus.subscribe();
        bus.publish(event(1));
        bus.missed();
        bus.publish(event(2));
        assert_eq!(number(&mut listener).await, Some(1));
        assert!(matches!(listener.next().await, Heard::Missed(0)));
        assert_eq!(number(&mut listener).await, Some(2));
    }

    #[tokio::test]
    async fn when_the_bus_is_gone_listeners_hear_the_rest_and_then_the_end() {
        let bus = LocalBus::new(4);
        let mut listener = bus.subscribe();
        bus.publish(event(1));
        drop(bus);
        assert_eq!(number(&mut listener).await, Some(1));
        assert!(matches!(listener.next().await, Heard::Closed));
    }
}
