//! Connections whose grounds are gone: a revoked key, a device that is paired no more, an ended membership, a closed tenant.

use super::Hub;
use crate::ws::{
    connection::{Connection, Outgoing, Standing},
    frame::EventFrame,
};
use actix_ws::CloseCode;
use async_trait::async_trait;
use goclaw_core::{
    auth::{Authenticator, Grounds},
    caller::Caller,
    coherence::{Change, Forget, Kind},
    delivery::ACCESS_REVOKED,
};
use goclaw_ports::{ErrorKind, Result, TenantId, events::Event, roles::Role};
use serde_json::json;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

/// How many doubts wait to be settled.
pub(super) const DOUBTS: usize = 256;
/// How long settling one may take.
const SETTLE: Duration = Duration::from_secs(5);

/// Tells on what grounds connections may stay.
#[async_trait]
pub(crate) trait Admission: Send + Sync {
    /// Forgets what a change concerns, so that the next `connect` learns of it; `None` is everything.
    fn forget(&self, change: Option<&Change>);
    /// Whether the API key with this hash is still good.
    async fn key_stands(&self, hash: &str) -> Result<bool>;
    /// Whether others than owners may work in the tenant.
    async fn tenant_is_open(&self, tenant: TenantId) -> Result<bool>;
}

#[async_trait]
impl Admission for Authenticator {
    fn forget(&self, change: Option<&Change>) {
        Forget::forget(self, change);
    }
    async fn key_stands(&self, hash: &str) -> Result<bool> {
        Authenticator::key_stands(self, hash).await
    }
    async fn tenant_is_open(&self, tenant: TenantId) -> Result<bool> {
        Authenticator::tenant_is_open(self, tenant).await
    }
}

/// Grounds that may be gone; only the database can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Of connections with the API key of this hash.
    Key(Arc<str>),
    /// Of those in this tenant.
    Tenant(TenantId),
}

impl Hub {
    /// Hears of a change. What certainly lost its grounds ends at once, what may have is looked into.
    pub(super) fn changed(&self, change: &Change, admission: &dyn Admission, doubts: &mpsc::Sender<Doubt>) {
        if !matches!(change.kind, Kind::ApiKeys | Kind::Pairing | Kind::Tenants | Kind::TenantUsers) {
            return;
        }
        // A `connect` under way either sees the count change, or is found below.
        self.unsettle(admission, Some(change));
        match change.kind {
            Kind::Pairing => self.stop_where(CloseCode::Policy, |caller, _| caller.device.as_deref() == Some(&change.key)),
            Kind::ApiKeys => {
                let concerned = |caller: &Caller| caller.key.is_some_and(|key| change.key.is_empty() || key.to_string() == change.key);
                let mut hashes: Vec<Arc<str>> =
                    self.known().into_iter().filter(|(_, caller, _)| concerned(caller)).filter_map(|(_, _, grounds)| grounds.key_hash.clone()).collect();
                hashes.sort_unstable();
                hashes.dedup();
                hashes.into_iter().for_each(|hash| self.doubt(doubts, Doubt::Key(hash)));
            }
            Kind::Tenants => match change.key.parse() {
                Ok(tenant) if self.count(tenant) > 0 => self.doubt(doubts, Doubt::Tenant(tenant)),
                _ => {}
            },
            _ => {}
        }
    }

    /// Lets every `connect` under way ask again, of a cache that has forgotten.
    pub(super) fn unsettle(&self, admission: &dyn Admission, change: Option<&Change>) {
        admission.forget(change);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn doubt(&self, doubts: &mpsc::Sender<Doubt>, doubt: Doubt) {
        if doubts.try_send(doubt).is_err() {
            tracing::warn!("admissions are withdrawn faster than they can be looked into: closing all WebSockets");
            self.read().all.values().for_each(|connection| connection.stop(CloseCode::Again));
        }
    }

    /// Looks into doubts, until nobody has any more.
    pub(super) async fn settle(&self, mut doubts: mpsc::Receiver<Doubt>, admission: &dyn Admission) {
        while let Some(doubt) = doubts.recv().await {
            let stands = match &doubt {
                Doubt::Key(hash) => timeout(SETTLE, admission.key_stands(hash)).await,
                Doubt::Tenant(tenant) => timeout(SETTLE, admission.tenant_is_open(*tenant)).await,
            };
            let concerned = |caller: &Caller, grounds: &Grounds| match &doubt {
                Doubt::Key(hash) => grounds.key_hash.as_ref() == Some(hash),
                Doubt::Tenant(tenant) => caller.tenant == *tenant && caller.role != Role::Owner,
            };
            match (&doubt, stands) {
                (_, Ok(Ok(true))) => {}
                (Doubt::Key(_), Ok(Ok(false))) => self.stop_where(CloseCode::Policy, concerned),
                (Doubt::Tenant(tenant), Ok(Ok(false))) => self.revoke(*tenant, concerned),
                // Nobody can tell: whoever may stay is let in again.
                (_, Ok(Err(_)) | Err(_)) => {
                    tracing::warn!(?doubt, "nobody can tell who may stay: closing their WebSockets");
                    self.stop_where(CloseCode::Again, concerned);
                }
            }
        }
    }

    /// Hears that a user lost a tenant. Connections that did not come in by membership stay.
    pub(super) fn membership_ended(&self, event: &Event) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        let Some(user) = event.payload["user_id"].as_str() else { return };
        self.revoke(event.tenant, |caller, grounds| grounds.membership && *caller.user == *user);
    }

    /// Tells these connections of a tenant that they have lost it. From now on they get nothing more; their next call is refused
    /// and ends them.
    fn revoke(&self, tenant: TenantId, concerned: impl Fn(&Caller, &Grounds) -> bool) {
        let mut registry = self.write();
        let lost: Vec<Known> = registry
            .by_tenant
            .get(&tenant)
            .into_iter()
            .flat_map(|connections| connections.values())
            .filter_map(known)
            .filter(|(_, caller, grounds)| concerned(caller, grounds))
            .collect();
        for (connection, caller, _) in lost {
            let payload = json!({"user_id": &*caller.user, "tenant_id": tenant});
            registry.forget(&connection);
            connection.stands(Standing::Lost { why: ErrorKind::TenantRevoked, since: Instant::now() });
            // Last: whoever hears it must not be answered any more.
            connection.send(Outgoing::Event(Arc::new(EventFrame::new(ACCESS_REVOKED, &payload))));
        }
    }

    /// The configuration has changed. Connections that it gives nothing to stand on any more get nothing more; their next call is
    /// refused and ends them.
    pub(crate) fn reconfigured(&self, stands: impl Fn(&Caller, &Grounds) -> bool) {
        // A `connect` under way asks again, or is found below.
        self.changes.fetch_add(1, Ordering::SeqCst);
        let mut registry = self.write();
        let lost: Vec<Known> = registry
            .by_tenant
            .values()
            .flat_map(|connections| connections.values())
            .filter_map(known)
            .filter(|(_, caller, grounds)| !stands(caller, grounds))
            .collect();
        for (connection, ..) in lost {
            registry.forget(&connection);
            connection.stands(Standing::Lost { why: ErrorKind::Unauthorized, since: Instant::now() });
        }
    }

    /// Ends these connections at once.
    fn stop_where(&self, code: CloseCode, concerned: impl Fn(&Caller, &Grounds) -> bool) {
        for (connection, caller, grounds) in self.known() {
            if concerned(&caller, &grounds) {
                connection.stop(code);
            }
        }
    }

    fn known(&self) -> Vec<Known> {
        self.read().by_tenant.values().flat_map(|connections| connections.values()).filter_map(known).collect()
    }
}

type Known = (Arc<Connection>, Arc<Caller>, Arc<Grounds>);

fn known(connection: &Arc<Connection>) -> Option<Known> {
    match connection.standing() {
        Standing::Known { caller, grounds, .. } => Some((connection.clone(), caller, grounds)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::connection::Tail;
    use chrono::DateTime;
    use goclaw_ports::{ApiKeyId, Error};
    use uuid::Uuid;

    const KEY: ApiKeyId = ApiKeyId(Uuid::from_u128(7));
    const OTHER: TenantId = TenantId(Uuid::nil());

    /// What the database would say.
    enum Says {
        Stands,
        Gone,
        Nothing,
    }

    #[async_trait]
    impl Admission for Says {
        fn forget(&self, _: Option<&Change>) {}
        async fn key_stands(&self, _: &str) -> Result<bool> {
            match self {
                Self::Stands => Ok(true),
                Self::Gone => Ok(false),
                Self::Nothing => Err(Error::unavailable("database")),
            }
        }
        async fn tenant_is_open(&self, _: TenantId) -> Result<bool> {
            self.key_stands("").await
        }
    }

    fn caller(user: &str) -> Caller {
        Caller::without_credential(TenantId::MASTER, "t", Role::Admin, user)
    }

    fn known_as(caller: Caller, grounds: Grounds) -> Standing {
        Standing::Known { caller: Arc::new(caller), grounds: Arc::new(grounds), until: None }
    }

    /// A connection that is registered.
    struct Client {
        connection: Arc<Connection>,
        _registration: crate::ws::hub::Registration,
    }

    impl Client {
        fn new(hub: &Arc<Hub>, caller: Caller, grounds: Grounds) -> Self {
            let connection = Connection::new(Uuid::new_v4(), DateTime::UNIX_EPOCH, None);
            let registration = hub.open(connection.clone()).unwrap();
            assert!(hub.identify(&connection, known_as(caller, grounds), hub.changes()));
            Self { connection, _registration: registration }
        }

        fn with_key(hub: &Arc<Hub>, key: ApiKeyId) -> Self {
            let grounds = Grounds { key_hash: Some(key.to_string().into()), ..Grounds::default() };
            Self::new(hub, Caller { key: Some(key), ..caller("mai") }, grounds)
        }

        fn member(hub: &Arc<Hub>, user: &str) -> Self {
            Self::new(hub, caller(user), Grounds { membership: true, ..Grounds::default() })
        }

        async fn ended(&self) -> Option<CloseCode> {
            // Whether it was stopped already.
            timeout(Duration::ZERO, self.connection.stopped()).await.ok()
        }

        fn lost(&self) -> bool {
            let told = matches!(self.connection.try_next(), Some(Outgoing::Event(_)));
            assert_eq!(told, matches!(self.connection.standing(), Standing::Lost { why: ErrorKind::TenantRevoked, .. }));
            told
        }
    }

    fn change(kind: Kind, key: impl ToString) -> Change {
        Change { tenant: TenantId::MASTER, kind, key: key.to_string() }
    }

    /// Hears a change and settles what it puts in doubt.
    async fn hear(hub: &Hub, says: Says, change: &Change) {
        let (doubts, doubted) = mpsc::channel(DOUBTS);
        hub.changed(change, &says, &doubts);
        drop(doubts);
        hub.settle(doubted, &says).await;
    }

    #[tokio::test]
    async fn connections_of_a_revoked_key_end_and_those_of_others_stay() {
        let hub = Arc::new(Hub::default());
        let (revoked, other) = (Client::with_key(&hub, KEY), Client::with_key(&hub, ApiKeyId(Uuid::nil())));
        let keyless = Client::new(&hub, caller("mai"), Grounds::default());
        hear(&hub, Says::Gone, &change(Kind::ApiKeys, KEY)).await;
        assert_eq!((revoked.ended().await, other.ended().await, keyless.ended().await), (Some(CloseCode::Policy), None, None));
    }

    #[tokio::test]
    async fn a_key_that_still_stands_keeps_its_connections_and_one_nobody_knows_of_does_not() {
        let hub = Arc::new(Hub::default());
        let client = Client::with_key(&hub, KEY);
        hear(&hub, Says::Stands, &change(Kind::ApiKeys, KEY)).await;
        assert_eq!(client.ended().await, None, "a key was made, not revoked");
        hear(&hub, Says::Nothing, &change(Kind::ApiKeys, KEY)).await;
        assert_eq!(client.ended().await, Some(CloseCode::Again));
    }

    #[tokio::test]
    async fn a_device_that_is_paired_no_more_is_cut_off_wherever_it_is() {
        let hub = Arc::new(Hub::default());
        let device = |alias: &str| Caller { device: Some(alias.into()), tenant: OTHER, ..caller("mai") };
        let (gone, stays) = (Client::new(&hub, device("browser-1"), Grounds::default()), Client::new(&hub, device("browser-2"), Grounds::default()));
        hear(&hub, Says::Stands, &change(Kind::Pairing, "browser-1")).await;
        assert_eq!((gone.ended().await, stays.ended().await), (Some(CloseCode::Policy), None));
    }

    #[tokio::test]
    async fn a_lost_member_is_told_and_gets_nothing_more() {
        let hub = Arc::new(Hub::default());
        let (lost, other) = (Client::member(&hub, "mai"), Client::member(&hub, "lan"));
        let without = Client::new(&hub, caller("mai"), Grounds::default());
        let event = Event::new(TenantId::MASTER, ACCESS_REVOKED, json!({"user_id": "mai", "tenant_id": TenantId::MASTER}));
        hub.membership_ended(&Event { tenant: OTHER, ..event.clone() });
        assert!(!lost.lost(), "it lost another tenant");
        hub.membership_ended(&event);
        assert_eq!((lost.lost(), other.lost(), without.lost()), (true, false, false));
        assert_eq!(hub.count(TenantId::MASTER), 2);
    }

    #[tokio::test]
    async fn a_closed_tenant_is_lost_to_all_but_owners() {
        let hub = Arc::new(Hub::default());
        let (admin, key) = (Client::member(&hub, "mai"), Client::with_key(&hub, KEY));
        let owner = Client::new(&hub, Caller { role: Role::Owner, ..caller("o") }, Grounds::default());
        let elsewhere = Client::new(&hub, Caller { tenant: OTHER, ..caller("mai") }, Grounds::default());
        hear(&hub, Says::Stands, &change(Kind::Tenants, TenantId::MASTER)).await;
        assert!(!admin.lost(), "it only got another name");
        hear(&hub, Says::Gone, &change(Kind::Tenants, TenantId::MASTER)).await;
        assert_eq!((admin.lost(), key.lost(), owner.lost(), elsewhere.lost()), (true, true, false, false));
    }

    #[tokio::test]
    async fn who_lost_the_configurations_word_hears_no_more_and_the_others_stay() {
        let hub = Arc::new(Hub::default());
        let (lost, stays) = (Client::new(&hub, caller("mai"), Grounds::default()), Client::new(&hub, caller("lan"), Grounds::default()));
        let (tail, ended) = Tail::new();
        lost.connection.follow(Some(tail));
        let before = hub.changes();
        hub.reconfigured(|caller, _| &*caller.user == "lan");
        assert!(matches!(lost.connection.standing(), Standing::Lost { why: ErrorKind::Unauthorized, .. }));
        assert!(ended.is_cancelled(), "the log is not sent any more");
        assert!(stays.connection.caller().is_some() && hub.count(TenantId::MASTER) == 1);
        assert!(!hub.identify(&lost.connection, known_as(caller("mai"), Grounds::default()), before), "it was let in under the old one");
    }

    #[tokio::test]
    async fn a_connect_that_began_before_a_change_must_ask_again() {
        let hub = Arc::new(Hub::default());
        let connection = Connection::new(Uuid::new_v4(), DateTime::UNIX_EPOCH, None);
        let _registration = hub.open(connection.clone()).unwrap();
        let before = hub.changes();
        hear(&hub, Says::Gone, &change(Kind::ApiKeys, KEY)).await;
        assert!(!hub.identify(&connection, known_as(caller("mai"), Grounds::default()), before));
        assert!(connection.caller().is_none() && hub.count(TenantId::MASTER) == 0);
        assert!(hub.identify(&connection, known_as(caller("mai"), Grounds::default()), hub.changes()));
    }
}
