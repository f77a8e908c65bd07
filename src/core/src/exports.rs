//! Exports that wait to be fetched.

use crate::caller::{Access, Caller};
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    archives::PackedArchive,
    clock::{Clock, Ids},
    message,
    roles::Role,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, time::interval};
use uuid::Uuid;

/// How long an export waits.
const LIFE: TimeDelta = TimeDelta::minutes(5);
/// How often those that were not fetched are thrown away.
const SWEEP: Duration = Duration::from_secs(60);
/// How many wait at most.
const MOST: usize = 16;
/// How many of one user wait at most: another one takes the place of the oldest.
const MOST_OF_A_USER: usize = 3;

/// A finished export.
#[derive(Debug)]
pub struct Export {
    /// What the file is to be called.
    pub name: String,
    /// What is in it.
    pub archive: PackedArchive,
}

/// Exports that wait to be fetched, each by whoever made it.
pub struct Exports {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    waiting: Mutex<HashMap<Uuid, Waiting>>,
}

struct Waiting {
    tenant: TenantId,
    user: Arc<str>,
    until: DateTime<Utc>,
    export: Arc<Export>,
}

impl Exports {
    /// Keeps none yet. Those that were not fetched are thrown away by a task on this runtime.
    pub fn start(clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, runtime: &Handle) -> Arc<Self> {
        let exports = Arc::new(Self { clock, ids, waiting: Mutex::default() });
        let kept = Arc::downgrade(&exports);
        runtime.spawn(async move {
            let mut ticks = interval(SWEEP);
            loop {
                ticks.tick().await;
                let Some(exports) = kept.upgrade() else { return };
                exports.sweep(&mut exports.waiting());
            }
        });
        exports
    }

    /// Keeps an export for five minutes and answers with the token that it is fetched with.
    ///
    /// # Errors
    /// `Unavailable` if too many wait.
    pub fn keep(&self, caller: &Caller, export: Export) -> Result<Uuid> {
        let mut waiting = self.waiting();
        self.sweep(&mut waiting);
        let own = waiting.iter().filter(|(_, other)| other.tenant == caller.tenant && other.user == caller.user);
        let own: Vec<(DateTime<Utc>, Uuid)> = own.map(|(token, other)| (other.until, *token)).collect();
        if own.len() >= MOST_OF_A_USER
            && let Some((_, oldest)) = own.into_iter().min()
        {
            waiting.remove(&oldest);
        }
        if waiting.len() >= MOST {
            return Err(Error::unavailable("export").retry_after(SWEEP));
        }
        let token = self.ids.row();
        let until = self.clock.now() + LIFE;
        waiting.insert(token, Waiting { tenant: caller.tenant, user: caller.user.clone(), until, export: Arc::new(export) });
        Ok(token)
    }

    /// The export with this token, for whoever made it and for owners, as often as they like.
    ///
    /// # Errors
    /// `NotFound` if there is none, or it waits no longer; `Forbidden` for others.
    pub fn find(&self, caller: &Caller, token: &str) -> Result<Arc<Export>> {
        caller.require(Role::Viewer, Access::Read, "/v1/export/download/{token}")?;
        let now = self.clock.now();
        let waiting = self.waiting();
        let found = token.parse().ok().and_then(|token: Uuid| waiting.get(&token));
        let found = found.filter(|found| found.tenant == caller.tenant && now < found.until).ok_or_else(|| Error::not_found("export", token))?;
        if caller.role == Role::Owner || (!caller.user.is_empty() && caller.user == found.user) {
            return Ok(found.export.clone());
        }
        Err(Error::new(ErrorKind::Forbidden, message::no_access("export")))
    }

    fn sweep(&self, waiting: &mut HashMap<Uuid, Waiting>) {
        let now = self.clock.now();
        waiting.retain(|_, export| now < export.until);
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::clock::SystemIds;

    struct Set(Mutex<DateTime<Utc>>);

    impl Clock for Set {
        fn now(&self) -> DateTime<Utc> {
            *self.0.lock().unwrap()
        }
    }

    impl Set {
        fn advance(&self, by: TimeDelta) {
            *self.0.lock().unwrap() += by;
        }
    }

    const OTHER: TenantId = TenantId(Uuid::from_u128(7));

    fn exports() -> (Arc<Set>, Exports) {
        let clock = Arc::new(Set(Mutex::new(DateTime::UNIX_EPOCH)));
        (clock.clone(), Exports { clock, ids: Arc::new(SystemIds), waiting: Mutex::default() })
    }

    fn caller(tenant: TenantId, role: Role, user: &str) -> Caller {
        Caller::without_credential(tenant, "t", role, user)
    }

    fn mai() -> Caller {
        caller(TenantId::MASTER, Role::Viewer, "mai")
    }

    fn export() -> Export {
        Export { name: "agent-fox.tar.gz".into(), archive: PackedArchive { content: tempfile::tempfile().unwrap(), size: 0 } }
    }

    fn kind(found: Result<Arc<Export>>) -> ErrorKind {
        found.unwrap_err().kind
    }

    #[test]
    fn an_export_waits_five_minutes_and_is_fetched_as_often_as_wanted() {
        let (clock, exports) = exports();
        let token = exports.keep(&mai(), export()).unwrap().to_string();
        clock.advance(LIFE - TimeDelta::seconds(1));
        for _ in 0..3 {
            assert_eq!(exports.find(&mai(), &token).unwrap().name, "agent-fox.tar.gz");
        }
        clock.advance(TimeDelta::seconds(1));
        assert_eq!(kind(exports.find(&mai(), &token)), ErrorKind::NotFound);
        exports.sweep(&mut exports.waiting());
        assert!(exports.waiting().is_empty());
    }

    #[test]
    fn an_export_is_for_whoever_made_it_and_for_owners_of_the_same_tenant() {
        let (_, exports) = exports();
        let token = exports.keep(&mai(), export()).unwrap().to_string();
        let as_ = |tenant, role, user| exports.find(&caller(tenant, role, user), &token);
        assert!(as_(TenantId::MASTER, Role::Owner, "system").is_ok());
        assert_eq!(kind(as_(TenantId::MASTER, Role::Admin, "lan")), ErrorKind::Forbidden);
        assert_eq!(kind(as_(TenantId::MASTER, Role::Admin, "")), ErrorKind::Forbidden);
        assert_eq!(kind(as_(OTHER, Role::Viewer, "mai")), ErrorKind::NotFound);
        assert_eq!(kind(as_(OTHER, Role::Owner, "system")), ErrorKind::NotFound);
        for unknown in ["", "x", "0193a5b0-7000-7000-8000-000000000009"] {
            assert_eq!(kind(exports.find(&mai(), unknown)), ErrorKind::NotFound);
        }
    }

    #[test]
    fn a_users_newest_exports_are_kept_and_all_together_no_more_than_there_is_room_for() {
        let (clock, exports) = exports();
        let tokens: Vec<String> = (0..=MOST_OF_A_USER)
            .map(|_| {
                clock.advance(TimeDelta::seconds(1));
                exports.keep(&mai(), export()).unwrap().to_string()
            })
            .collect();
        assert_eq!(kind(exports.find(&mai(), &tokens[0])), ErrorKind::NotFound);
        assert!(tokens[1..].iter().all(|token| exports.find(&mai(), token).is_ok()));
        for n in MOST_OF_A_USER..MOST {
            exports.keep(&caller(TenantId::MASTER, Role::Viewer, &format!("u{n}")), export()).unwrap();
        }
        let late = caller(OTHER, Role::Viewer, "late");
        assert_eq!(exports.keep(&late, export()).unwrap_err().kind, ErrorKind::Unavailable);
        clock.advance(LIFE);
        assert!(exports.keep(&late, export()).is_ok());
    }
}
