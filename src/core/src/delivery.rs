//! Which events a WebSocket client gets.

use crate::caller::{Access, Caller};
use goclaw_ports::{events::Event, roles::Role};
use serde_json::Value;

/// The name of the event that tells a user of the loss of a tenant.
pub const ACCESS_REVOKED: &str = "tenant.access.revoked";

/// Whom events of one name are for, within their tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Everybody whom they concern: the user they name, or all if they name none; admins always.
    Concerned,
    /// The same, but what names a team is for admins only.
    Team,
    /// Everybody.
    Tenant,
    /// Admins.
    Admins,
    /// The one user that the payload names, not even admins.
    Named,
}

/// Whom events of this name are for; `None` for those that never leave the gateway. Only names that stand here do.
#[must_use]
pub fn reach(name: &str) -> Option<Reach> {
    Some(match name {
        "agent" | "chat" | "session.updated" | "trace.updated" | "cron" | "heartbeat" | "exec.approval.requested" | "exec.approval.resolved" => {
            Reach::Concerned
        }
        "team.task.created"
        | "team.task.claimed"
        | "team.task.assigned"
        | "team.task.dispatched"
        | "team.task.progress"
        | "team.task.commented"
        | "team.task.completed"
        | "team.task.failed"
        | "team.task.cancelled"
        | "team.task.reviewed"
        | "team.task.approved"
        | "team.task.rejected"
        | "team.task.updated"
        | "team.task.deleted"
        | "team.task.stale"
        | "team.task.attachment_added"
        | "team.leader.processing"
        | "team.message.sent"
        | "team.created"
        | "team.updated"
        | "team.deleted"
        | "team.member.added"
        | "team.member.removed"
        | "delegation.started"
        | "delegation.completed"
        | "delegation.failed"
        | "delegation.cancelled"
        | "delegation.progress"
        | "delegation.accumulated"
        | "delegation.announce" => Reach::Team,
        "skill.deps.checked"
        | "skill.deps.complete"
        | "skill.deps.installing"
        | "skill.deps.installed"
        | "skill.dep.item.installing"
        | "skill.dep.item.installed" => Reach::Tenant,
        "device.pair.requested"
        | "device.pair.resolved"
        | "agent.summoning"
        | "agent_link.created"
        | "agent_link.updated"
        | "agent_link.deleted"
        | "workspace.file.changed" => Reach::Admins,
        ACCESS_REVOKED => Reach::Named,
        _ => return None,
    })
}

/// Whether `caller` gets `event`. Nobody gets another tenant's, and no API key that may not read gets any.
#[must_use]
pub fn wants(caller: &Caller, event: &Event) -> bool {
    let Some(reach) = reach(&event.name) else { return false };
    if event.tenant != caller.tenant || caller.role < Role::Viewer || !caller.covers(Access::Read) {
        return false;
    }
    match reach {
        Reach::Named => !caller.user.is_empty() && event.payload["user_id"] == *caller.user,
        _ if caller.is_admin() => true,
        Reach::Admins => false,
        Reach::Tenant => true,
        Reach::Concerned => concerns(event, &caller.user),
        Reach::Team => concerns(event, &caller.user) && ["team_id", "teamId"].iter().all(|key| is_blank(&event.payload[*key])),
    }
}

/// Whether an event is about this user, or about nobody in particular.
fn concerns(event: &Event, user: &str) -> bool {
    match (&event.user, &event.payload["userId"]) {
        (Some(concerned), _) => **concerned == *user,
        (None, Value::String(concerned)) if !concerned.is_empty() => concerned == user,
        _ => true,
    }
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value == ""
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::{TenantId, roles::Scope};
    use rstest::rstest;
    use serde_json::json;
    use std::sync::Arc;

    const OTHER: TenantId = TenantId(uuid::Uuid::nil());

    fn caller(tenant: TenantId, role: Role, user: &str) -> Caller {
        Caller::without_credential(tenant, "t", role, user)
    }

    fn event(name: &'static str, user: Option<&str>, payload: Value) -> Event {
        Event { tenant: TenantId::MASTER, name: name.into(), user: user.map(Arc::from), payload: Arc::new(payload) }
    }

    /// Who of these gets it: the owner, an admin, the operator u1, the viewer u2, somebody without a user.
    fn audience(event: &Event) -> [bool; 5] {
        [(Role::Owner, "o"), (Role::Admin, "a"), (Role::Operator, "u1"), (Role::Viewer, "u2"), (Role::Viewer, "")]
            .map(|(role, user)| wants(&caller(TenantId::MASTER, role, user), event))
    }

    const NOBODY: [bool; 5] = [false; 5];
    const ADMINS: [bool; 5] = [true, true, false, false, false];
    const WITH_U1: [bool; 5] = [true, true, true, false, false];
    const ALL: [bool; 5] = [true; 5];
    const ONLY_U1: [bool; 5] = [false, false, true, false, false];

    #[rstest]
    #[case("agent")]
    #[case("chat")]
    #[case("session.updated")]
    #[case("trace.updated")]
    #[case("cron")]
    #[case("heartbeat")]
    #[case("exec.approval.requested")]
    #[case("exec.approval.resolved")]
    fn what_concerns_a_user_is_for_it_and_for_admins(#[case] name: &'static str) {
        assert_eq!(audience(&event(name, Some("u1"), json!({}))), WITH_U1);
        assert_eq!(audience(&event(name, None, json!({"userId": "u1"}))), WITH_U1, "the payload names it as well");
        assert_eq!(audience(&event(name, None, json!({"userId": ""}))), ALL);
        assert_eq!(audience(&event(name, None, Value::Null)), ALL);
    }

    #[rstest]
    #[case("team.task.created")]
    #[case("team.task.attachment_added")]
    #[case("team.leader.processing")]
    #[case("team.member.removed")]
    #[case("delegation.started")]
    #[case("delegation.announce")]
    fn what_names_a_team_is_for_admins_and_the_rest_for_those_it_concerns(#[case] name: &'static str) {
        assert_eq!(audience(&event(name, None, json!({"team_id": "t"}))), ADMINS);
        assert_eq!(audience(&event(name, Some("u1"), json!({"teamId": "t"}))), ADMINS);
        assert_eq!(audience(&event(name, None, json!({"team_id": ""}))), ALL);
        assert_eq!(audience(&event(name, Some("u1"), json!({}))), WITH_U1);
    }

    #[rstest]
    #[case("skill.deps.checked", ALL)]
    #[case("skill.deps.complete", ALL)]
    #[case("skill.deps.installing", ALL)]
    #[case("skill.deps.installed", ALL)]
    #[case("skill.dep.item.installing", ALL)]
    #[case("skill.dep.item.installed", ALL)]
    #[case("device.pair.requested", ADMINS)]
    #[case("device.pair.resolved", ADMINS)]
    #[case("agent.summoning", ADMINS)]
    #[case("agent_link.created", ADMINS)]
    #[case("agent_link.updated", ADMINS)]
    #[case("agent_link.deleted", ADMINS)]
    #[case("workspace.file.changed", ADMINS)]
    #[case("tenant.access.revoked", ONLY_U1)]
    // Sent to one connection, or never at all.
    #[case("log", NOBODY)]
    #[case("shutdown", NOBODY)]
    #[case("zalo.personal.qr.code", NOBODY)]
    #[case("cache.invalidate", NOBODY)]
    #[case("audit.log", NOBODY)]
    #[case("config:changed", NOBODY)]
    #[case("system_config:changed", NOBODY)]
    #[case("agent.status_changed", NOBODY)]
    #[case("pairing.revoked", NOBODY)]
    #[case("team.task", NOBODY)]
    #[case("agents", NOBODY)]
    #[case("", NOBODY)]
    fn each_name_reaches_whom_it_is_for(#[case] name: &'static str, #[case] expected: [bool; 5]) {
        assert_eq!(audience(&event(name, None, json!({"user_id": "u1", "tenant_id": TenantId::MASTER}))), expected);
    }

    #[test]
    fn nobody_gets_another_tenants() {
        for name in ["agent", "team.created", "skill.deps.checked", "device.pair.requested", "tenant.access.revoked"] {
            let event = event(name, None, json!({"user_id": "u1"}));
            assert!(!wants(&caller(OTHER, Role::Owner, "u1"), &event), "{name}");
        }
    }

    #[test]
    fn a_key_that_may_not_read_hears_nothing() {
        for scope in [Scope::Pairing, Scope::Approvals, Scope::Provision] {
            let key = Caller { scopes: Some([scope].into()), ..caller(TenantId::MASTER, Role::Operator, "u1") };
            assert!(!wants(&key, &event("agent", Some("u1"), json!({}))), "{scope:?}");
        }
        let reader = Caller { scopes: Some([Scope::Read].into()), ..caller(TenantId::MASTER, Role::Viewer, "u1") };
        assert!(wants(&reader, &event("agent", Some("u1"), json!({}))));
    }
}
