//! All open WebSockets of this process, and the events on their way to them.

mod revocation;

pub(crate) use revocation::Admission;

use super::{
    connection::{Connection, Outgoing, Standing},
    frame::EventFrame,
    pending::{Knock, Pending},
};
use crate::metrics;
use actix_ws::CloseCode;
use futures_util::future::join_all;
use goclaw_core::{
    coherence::Change,
    counters,
    delivery::{ACCESS_REVOKED, wants},
    files::FileLinks,
};
use goclaw_ports::{
    TenantId,
    events::{Attendance, Event, EventBus, EventStream, Heard},
};
use revocation::Doubt;
use serde_json::Value;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;

type Connections = HashMap<Uuid, Arc<Connection>>;

/// All open WebSockets of this process.
#[derive(Default)]
pub struct Hub {
    registry: RwLock<Registry>,
    pending: Pending,
    /// How often something changed on which an admission may rest.
    changes: AtomicU64,
    /// Signs the links in what goes out.
    links: OnceLock<FileLinks>,
    /// Learns whether anybody wants to know what runs tell.
    bus: OnceLock<Arc<dyn EventBus>>,
}

#[derive(Default)]
struct Registry {
    all: Connections,
    /// Authenticated ones.
    by_tenant: HashMap<TenantId, Connections>,
    closing: bool,
}

/// Keeps a connection registered until it is dropped.
pub(super) struct Registration {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    _attendance: Option<Attendance>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut registry = self.hub.write();
        registry.forget(&self.connection);
        registry.all.remove(&self.connection.id);
        metrics::ws_closed();
    }
}

impl Registry {
    /// Takes a connection out of its tenant.
    fn forget(&mut self, connection: &Connection) {
        let Some(caller) = connection.caller() else { return };
        if let Some(connections) = self.by_tenant.get_mut(&caller.tenant) {
            connections.remove(&connection.id);
            if connections.is_empty() {
                self.by_tenant.remove(&caller.tenant);
            }
        }
    }
}

impl Hub {
    /// A hub for what comes from this bus, with signed links in what goes out.
    pub(crate) fn new(bus: Arc<dyn EventBus>, links: FileLinks) -> Self {
        Self { links: links.into(), bus: bus.into(), ..Self::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an unauthenticated socket of this address; `None` if it has too many.
    pub(super) fn knock(&self, ip: Option<IpAddr>) -> Option<Knock> {
        self.pending.knock(ip)
    }

    /// Registers a connection; `None` if the gateway is shutting down.
    pub(super) fn open(self: &Arc<Self>, connection: Arc<Connection>) -> Option<Registration> {
        let mut registry = self.write();
        if registry.closing {
            return None;
        }
        registry.all.insert(connection.id, connection.clone());
        metrics::ws_opened();
        Some(Registration { hub: self.clone(), connection, _attendance: self.bus.get().map(|bus| bus.attend()) })
    }

    /// How often something changed on which an admission may rest; to be asked before [`Hub::identify`]'s question is put.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Notes how a connection stands from now on. `false`, and nothing is noted, if something changed since `changes` on which a
    /// caller's admission may rest: the question must be put again, because nobody else will.
    pub(super) fn identify(&self, connection: &Arc<Connection>, standing: Standing, changes: u64) -> bool {
        let mut registry = self.write();
        if let Standing::Known { caller, .. } = &standing {
            // Whoever counts a change up looks through the registry afterwards, so that it finds what is noted here.
            if self.changes() != changes {
                return false;
            }
            registry.forget(connection);
            if registry.all.contains_key(&connection.id) {
                registry.by_tenant.entry(caller.tenant).or_default().insert(connection.id, connection.clone());
            }
        } else {
            registry.forget(connection);
        }
        connection.stands(standing);
        true
    }

    /// The authenticated connections of a tenant.
    pub(super) fn of_tenant(&self, tenant: TenantId) -> Vec<Arc<Connection>> {
        self.read().by_tenant.get(&tenant).map(|connections| connections.values().cloned().collect()).unwrap_or_default()
    }

    /// How many authenticated connections a tenant has.
    pub(super) fn count(&self, tenant: TenantId) -> usize {
        self.read().by_tenant.get(&tenant).map_or(0, HashMap::len)
    }

    /// Passes events on, and ends connections whose grounds they take away, until the bus is gone.
    pub(crate) async fn forward(&self, events: Box<dyn EventStream>, admission: &dyn Admission) {
        let (doubts, doubted) = mpsc::channel(revocation::DOUBTS);
        tokio::join!(self.hear(events, admission, doubts), self.settle(doubted, admission));
    }

    async fn hear(&self, mut events: Box<dyn EventStream>, admission: &dyn Admission, doubts: mpsc::Sender<Doubt>) {
        loop {
            match events.next().await {
                Heard::Event(event) => match Change::of(&event) {
                    Some(change) => self.changed(&change, admission, &doubts),
                    None if event.name == ACCESS_REVOKED => self.membership_ended(&event),
                    None => self.deliver(&event),
                },
                Heard::Missed(count) => {
                    counters::events_missed(count);
                    self.unsettle(admission, None);
                    // Whose events they were is lost with them; a client that connects again reads what it missed.
                    tracing::warn!(count, "events were missed: closing all WebSockets");
                    self.read().all.values().for_each(|connection| connection.stop(CloseCode::Again));
                }
                Heard::Closed => return,
            }
        }
    }

    fn deliver(&self, event: &Event) {
        let registry = self.read();
        let Some(connections) = registry.by_tenant.get(&event.tenant) else { return };
        let mut frame = None;
        for connection in connections.values() {
            if connection.caller().is_some_and(|caller| wants(&caller, event)) {
                let frame = frame.get_or_insert_with(|| {
                    let payload = self.links.get().map_or_else(|| event.payload.clone(), |links| links.payload(event));
                    Arc::new(EventFrame::new(&event.name, &payload))
                });
                connection.send(Outgoing::Event(frame.clone()));
            }
        }
    }

    /// Tells every client that the gateway stops, and closes each connection when its calls have been answered, at the latest
    /// after `grace`. No new connections are taken.
    pub(crate) async fn shut_down(&self, grace: Duration) {
        let connections: Vec<Arc<Connection>> = {
            let mut registry = self.write();
            registry.closing = true;
            registry.all.values().cloned().collect()
        };
        let frame = Arc::new(EventFrame::new("shutdown", &Value::Null));
        let closing = connections.iter().map(|connection| {
            connection.send(Outgoing::Event(frame.clone()));
            async {
                let _ = timeout(grace, connection.idle()).await;
                connection.send(Outgoing::Close(CloseCode::Away));
            }
        });
        join_all(closing).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use chrono::DateTime;
    use goclaw_core::caller::Caller;
    use goclaw_ports::roles::Role;
    use serde_json::json;

    fn caller(tenant: TenantId, role: Role, user: &str) -> Caller {
        Caller::without_credential(tenant, "t", role, user)
    }

    fn standing(caller: Option<Caller>) -> Standing {
        caller.map_or(Standing::Nobody, |caller| Standing::Known { caller: Arc::new(caller), grounds: Arc::default(), until: None })
    }

    struct Client {
        connection: Arc<Connection>,
        registration: Registration,
    }

    fn client(hub: &Arc<Hub>, caller: Option<Caller>) -> Client {
        let connection = Connection::new(Uuid::new_v4(), DateTime::UNIX_EPOCH, None);
        let registration = hub.open(connection.clone()).unwrap();
        hub.identify(&connection, standing(caller), hub.changes());
        Client { connection, registration }
    }

    fn got(client: &Client) -> usize {
        std::iter::from_fn(|| client.connection.try_next()).count()
    }

    const OTHER: TenantId = TenantId(Uuid::nil());

    fn event(user: &str) -> Event {
        Event { tenant: TenantId::MASTER, name: "agent".into(), user: Some(user.into()), payload: Arc::new(json!({"type": "chunk"})) }
    }

    #[test]
    fn events_reach_the_users_of_their_tenant_whom_they_concern() {
        let hub = Arc::new(Hub::default());
        let own = client(&hub, Some(caller(TenantId::MASTER, Role::Viewer, "u1")));
        let other_user = client(&hub, Some(caller(TenantId::MASTER, Role::Viewer, "u2")));
        let admin = client(&hub, Some(caller(TenantId::MASTER, Role::Admin, "a")));
        let foreign = client(&hub, Some(caller(OTHER, Role::Owner, "u1")));
        let anonymous = client(&hub, None);
        hub.deliver(&event("u1"));
        let counts = [&own, &other_user, &admin, &foreign, &anonymous].map(got);
        assert_eq!(counts, [1, 0, 1, 0, 0]);
    }

    #[test]
    fn a_connection_moves_with_its_identity_and_leaves_nothing_behind() {
        let hub = Arc::new(Hub::default());
        let client = client(&hub, Some(caller(TenantId::MASTER, Role::Admin, "a")));
        hub.identify(&client.connection, standing(Some(caller(OTHER, Role::Admin, "a"))), hub.changes());
        assert_eq!((hub.count(TenantId::MASTER), hub.count(OTHER)), (0, 1));
        hub.identify(&client.connection, standing(None), hub.changes());
        assert!(client.connection.caller().is_none());
        hub.identify(&client.connection, standing(Some(caller(OTHER, Role::Admin, "a"))), hub.changes());
        drop(client.registration);
        assert!(hub.read().all.is_empty() && hub.read().by_tenant.is_empty());
    }

    /// Nothing is ever in doubt.
    struct Always;

    #[async_trait]
    impl Admission for Always {
        fn forget(&self, _: Option<&Change>) {}
        async fn key_stands(&self, _: &str) -> goclaw_ports::Result<bool> {
            Ok(true)
        }
        async fn tenant_is_open(&self, _: TenantId) -> goclaw_ports::Result<bool> {
            Ok(true)
        }
    }

    struct Script(Vec<Heard>);

    #[async_trait]
    impl EventStream for Script {
        async fn next(&mut self) -> Heard {
            self.0.pop().unwrap_or(Heard::Closed)
        }
    }

    #[tokio::test]
    async fn clients_that_missed_events_are_told_to_come_back() {
        let hub = Arc::new(Hub::default());
        let client = client(&hub, None);
        hub.forward(Box::new(Script(vec![Heard::Missed(3)])), &Always).await;
        assert_eq!(client.connection.stopped().await, CloseCode::Again);
    }

    #[tokio::test]
    async fn at_shutdown_all_are_told_and_no_more_come_in() {
        let hub = Arc::new(Hub::default());
        let client = client(&hub, None);
        hub.shut_down(Duration::from_secs(1)).await;
        assert!(matches!(client.connection.try_next(), Some(Outgoing::Event(_))));
        assert!(matches!(client.connection.try_next(), Some(Outgoing::Close(CloseCode::Away))));
        assert!(hub.open(Connection::new(Uuid::nil(), DateTime::UNIX_EPOCH, None)).is_none());
    }

    #[tokio::test]
    async fn at_shutdown_a_call_under_way_is_answered_first() {
        let hub = Arc::new(Hub::default());
        let client = client(&hub, None);
        let call = client.connection.begin().unwrap();
        let stopping = tokio::spawn(async move { hub.shut_down(Duration::from_secs(60)).await });
        assert!(matches!(client.connection.next().await, Outgoing::Event(_)));
        client.connection.send(Outgoing::Response("answer".to_owned()));
        drop(call);
        assert!(matches!(client.connection.next().await, Outgoing::Response(_)));
        assert!(matches!(client.connection.next().await, Outgoing::Close(CloseCode::Away)));
        stopping.await.unwrap();
    }
}
