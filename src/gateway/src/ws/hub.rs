//! All open WebSockets of this process, and the events on their way to them.

use super::{
    connection::{Connection, Outgoing},
    frame::EventFrame,
    pending::{Knock, Pending},
};
use crate::metrics;
use actix_ws::CloseCode;
use futures_util::future::join_all;
use goclaw_core::{caller::Caller, delivery::wants};
use goclaw_ports::{
    TenantId,
    events::{Event, EventStream, Heard},
};
use serde_json::Value;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};
use tokio::time::timeout;
use uuid::Uuid;

type Connections = HashMap<Uuid, Arc<Connection>>;

/// All open WebSockets of this process.
#[derive(Default)]
pub struct Hub {
    registry: RwLock<Registry>,
    pending: Pending,
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
        Some(Registration { hub: self.clone(), connection })
    }

    /// Notes who a connection is, or that it is nobody (any more).
    pub(super) fn identify(&self, connection: &Arc<Connection>, caller: Option<Caller>) {
        let mut registry = self.write();
        registry.forget(connection);
        if let Some(caller) = &caller
            && registry.all.contains_key(&connection.id)
        {
            registry.by_tenant.entry(caller.tenant).or_default().insert(connection.id, connection.clone());
        }
        connection.set_caller(caller.map(Arc::new));
    }

    /// The authenticated connections of a tenant.
    pub(super) fn of_tenant(&self, tenant: TenantId) -> Vec<Arc<Connection>> {
        self.read().by_tenant.get(&tenant).map(|connections| connections.values().cloned().collect()).unwrap_or_default()
    }

    /// How many authenticated connections a tenant has.
    pub(super) fn count(&self, tenant: TenantId) -> usize {
        self.read().by_tenant.get(&tenant).map_or(0, HashMap::len)
    }

    /// Passes events on until the bus is gone.
    pub(crate) async fn forward(&self, mut events: Box<dyn EventStream>) {
        loop {
            match events.next().await {
                Heard::Event(event) => self.deliver(&event),
                Heard::Missed(count) => {
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
                let frame = frame.get_or_insert_with(|| Arc::new(EventFrame::new(event.name, &event.payload)));
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
    use goclaw_core::caller::Locale;
    use goclaw_ports::roles::Role;
    use serde_json::json;
    use tokio::sync::mpsc;

    fn caller(tenant: TenantId, role: Role, user: &str) -> Caller {
        Caller { tenant, tenant_slug: "t".into(), user: user.into(), role, scopes: None, key: None, limit_key: "".into(), locale: Locale::En, ip: None }
    }

    struct Client {
        connection: Arc<Connection>,
        outgoing: mpsc::Receiver<Outgoing>,
        registration: Registration,
    }

    fn client(hub: &Arc<Hub>, caller: Option<Caller>) -> Client {
        let (connection, outgoing) = Connection::new(Uuid::new_v4(), DateTime::UNIX_EPOCH, None);
        let registration = hub.open(connection.clone()).unwrap();
        hub.identify(&connection, caller);
        Client { connection, outgoing, registration }
    }

    fn got(client: &mut Client) -> usize {
        std::iter::from_fn(|| client.outgoing.try_recv().ok()).count()
    }

    const OTHER: TenantId = TenantId(Uuid::nil());

    fn event(user: &str) -> Event {
        Event { tenant: TenantId::MASTER, name: "agent", user: Some(user.into()), payload: Arc::new(json!({"type": "chunk"})) }
    }

    #[test]
    fn events_reach_the_users_of_their_tenant_whom_they_concern() {
        let hub = Arc::new(Hub::default());
        let mut own = client(&hub, Some(caller(TenantId::MASTER, Role::Viewer, "u1")));
        let mut other_user = client(&hub, Some(caller(TenantId::MASTER, Role::Viewer, "u2")));
        let mut admin = client(&hub, Some(caller(TenantId::MASTER, Role::Admin, "a")));
        let mut foreign = client(&hub, Some(caller(OTHER, Role::Owner, "u1")));
        let mut anonymous = client(&hub, None);
        hub.deliver(&event("u1"));
        let counts = [&mut own, &mut other_user, &mut admin, &mut foreign, &mut anonymous].map(got);
        assert_eq!(counts, [1, 0, 1, 0, 0]);
    }

    #[test]
    fn a_connection_moves_with_its_identity_and_leaves_nothing_behind() {
        let hub = Arc::new(Hub::default());
        let client = client(&hub, Some(caller(TenantId::MASTER, Role::Admin, "a")));
        hub.identify(&client.connection, Some(caller(OTHER, Role::Admin, "a")));
        assert_eq!((hub.count(TenantId::MASTER), hub.count(OTHER)), (0, 1));
        hub.identify(&client.connection, None);
        assert!(client.connection.caller().is_none());
        hub.identify(&client.connection, Some(caller(OTHER, Role::Admin, "a")));
        drop(client.registration);
        assert!(hub.read().all.is_empty() && hub.read().by_tenant.is_empty());
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
        hub.forward(Box::new(Script(vec![Heard::Missed(3)]))).await;
        assert_eq!(client.connection.stopped().await, CloseCode::Again);
    }

    #[tokio::test]
    async fn at_shutdown_all_are_told_and_no_more_come_in() {
        let hub = Arc::new(Hub::default());
        let mut client = client(&hub, None);
        hub.shut_down(Duration::from_secs(1)).await;
        assert!(matches!(client.outgoing.try_recv(), Ok(Outgoing::Event(_))));
        assert!(matches!(client.outgoing.try_recv(), Ok(Outgoing::Close(CloseCode::Away))));
        assert!(hub.open(Connection::new(Uuid::nil(), DateTime::UNIX_EPOCH, None).0).is_none());
    }

    #[tokio::test]
    async fn at_shutdown_a_call_under_way_is_answered_first() {
        let hub = Arc::new(Hub::default());
        let mut client = client(&hub, None);
        let call = client.connection.begin().unwrap();
        let stopping = tokio::spawn(async move { hub.shut_down(Duration::from_secs(60)).await });
        assert!(matches!(client.outgoing.recv().await, Some(Outgoing::Event(_))));
        client.connection.send(Outgoing::Response("answer".to_owned()));
        drop(call);
        assert!(matches!(client.outgoing.recv().await, Some(Outgoing::Response(_))));
        assert!(matches!(client.outgoing.recv().await, Some(Outgoing::Close(CloseCode::Away))));
        stopping.await.unwrap();
    }
}
