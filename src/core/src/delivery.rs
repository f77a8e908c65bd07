//! Which events a WebSocket client gets.

use crate::caller::Caller;
use goclaw_ports::events::Event;

/// Only these names ever leave the process; everything else on the bus is internal.
const FORWARDED: &[&str] = &["agent", "session.updated", "trace.updated", "agent.summoning", "heartbeat", "cron"];
/// Of these, non-admins get the ones of their own user, or of none.
const OWN: &[&str] = &["agent", "session.updated", "trace.updated", "cron", "heartbeat"];

/// Whether `caller` gets `event`. Nobody gets another tenant's.
#[must_use]
pub fn wants(caller: &Caller, event: &Event) -> bool {
    if !FORWARDED.contains(&event.name) || event.tenant != caller.tenant {
        return false;
    }
    if caller.is_admin() {
        return true;
    }
    OWN.contains(&event.name) && event.user.as_ref().is_none_or(|user| **user == *caller.user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Locale;
    use goclaw_ports::{TenantId, roles::Role};
    use std::sync::Arc;

    fn caller(role: Role, user: &str) -> Caller {
        Caller {
            tenant: TenantId::MASTER,
            tenant_slug: "master".into(),
            user: user.into(),
            role,
            scopes: None,
            key: None,
            limit_key: "".into(),
            locale: Locale::En,
            ip: None,
        }
    }

    fn event(name: &'static str, user: Option<&str>) -> Event {
        Event { tenant: TenantId::MASTER, name, user: user.map(Arc::from), payload: Arc::default() }
    }

    #[test]
    fn users_get_their_own_events_and_admins_get_all() {
        assert!(wants(&caller(Role::Viewer, "u1"), &event("agent", Some("u1"))));
        assert!(!wants(&caller(Role::Operator, "u2"), &event("agent", Some("u1"))));
        assert!(wants(&caller(Role::Admin, "u2"), &event("agent", Some("u1"))));
        assert!(!wants(&caller(Role::Operator, "u1"), &event("agent.summoning", None)));
    }

    #[test]
    fn nobody_gets_internal_events_or_another_tenants() {
        assert!(!wants(&caller(Role::Owner, "o"), &event("cache.invalidate", None)));
        let foreign = Event { tenant: TenantId(uuid::Uuid::nil()), ..event("agent", None) };
        assert!(!wants(&caller(Role::Owner, "o"), &foreign));
    }
}
