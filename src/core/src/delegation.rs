//! Which agents an agent may hand work to: those that its links name, for the users whom they admit.

use crate::caller::Caller;
use goclaw_ports::{
    AgentId, JsonObject, LinkId, Result,
    links::{AgentLink, LinkDirection, LinkSide, LinkStatus, LinkStore},
    roles::Role,
};
use serde_json::Value;

/// The tool that hands work over.
pub(crate) const TOOL: &str = "delegate";

/// An agent that work may be handed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delegate {
    /// The agent.
    pub agent_id: AgentId,
    /// Its key.
    pub agent_key: String,
    /// What to ask it for.
    pub about: String,
    /// The link that allows it.
    pub link: LinkId,
    /// How many hand-overs may be under way at once over the link.
    pub max_concurrent: i32,
}

/// The agents that `agent` may hand work to on the caller's behalf, in the order of the links, as they are now.
///
/// # Errors
/// What the store says.
pub(crate) async fn targets(links: &dyn LinkStore, caller: &Caller, agent: AgentId) -> Result<Vec<Delegate>> {
    Ok(targets_of(&links.list(caller.tenant, agent, LinkSide::All).await?, caller, agent))
}

/// The same, of links that were read before.
pub(crate) fn targets_of(links: &[AgentLink], caller: &Caller, agent: AgentId) -> Vec<Delegate> {
    let mut delegates: Vec<Delegate> = vec![];
    for delegate in links.iter().filter_map(|link| over(link, agent, &caller.user, caller.role)) {
        if delegates.iter().all(|known| known.agent_id != delegate.agent_id) {
            delegates.push(delegate);
        }
    }
    delegates
}

/// The agent at the other end of a link, if the link lets `agent` hand work to it for this user.
fn over(link: &AgentLink, agent: AgentId, user: &str, role: Role) -> Option<Delegate> {
    let from_source = link.source_agent_id == agent;
    let direction = if from_source { LinkDirection::Outbound } else { LinkDirection::Inbound };
    let holds = link.status == LinkStatus::Active && (link.direction == direction || link.direction == LinkDirection::Bidirectional);
    if !holds || !admits(link.settings.as_ref(), user, role) {
        return None;
    }
    let (agent_id, agent_key, expertise) = if from_source {
        (link.target_agent_id, &link.ends.target_agent_key, link.ends.target_description.as_str())
    } else {
        (link.source_agent_id, &link.ends.source_agent_key, "")
    };
    let about = [link.description.as_str(), expertise].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    Some(Delegate { agent_id, agent_key: agent_key.clone(), about: about.into(), link: link.id, max_concurrent: link.max_concurrent })
}

/// Whether a link's settings admit a user: one who is denied never, others if they are allowed by name or nobody is, and if
/// their role is high enough. A role that is none admits nobody.
fn admits(settings: Option<&JsonObject>, user: &str, role: Role) -> bool {
    let Some(settings) = settings else { return true };
    let users = |key: &str| settings.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let named = |users: &[Value]| users.iter().any(|named| named.as_str() == Some(user));
    let (allowed, denied) = (users("user_allow"), users("user_deny"));
    let required = settings.get("require_role").and_then(Value::as_str).filter(|role| !role.is_empty());
    !named(denied) && (allowed.is_empty() || named(allowed)) && required.is_none_or(|required| Role::parse(required).is_some_and(|required| role >= required))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use goclaw_ports::links::LinkEnds;
    use rstest::rstest;
    use serde_json::json;
    use uuid::Uuid;

    const A: AgentId = AgentId(Uuid::from_u128(1));
    const B: AgentId = AgentId(Uuid::from_u128(2));

    fn link(direction: LinkDirection, status: LinkStatus) -> AgentLink {
        AgentLink {
            id: LinkId(Uuid::nil()),
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            source_agent_id: A,
            target_agent_id: B,
            direction,
            description: String::new(),
            max_concurrent: 3,
            settings: None,
            status,
            created_by: String::new(),
            ends: LinkEnds { source_agent_key: "a".into(), target_agent_key: "b".into(), target_description: "Nights.".into(), ..LinkEnds::default() },
        }
    }

    #[rstest]
    #[case(LinkDirection::Outbound, true, false)]
    #[case(LinkDirection::Inbound, false, true)]
    #[case(LinkDirection::Bidirectional, true, true)]
    fn work_flows_in_the_direction_of_a_link_that_holds(#[case] direction: LinkDirection, #[case] forth: bool, #[case] back: bool) {
        let key = |status, agent| over(&link(direction, status), agent, "u", Role::Operator).map(|delegate| delegate.agent_key);
        assert_eq!(key(LinkStatus::Active, A), forth.then(|| "b".to_owned()));
        assert_eq!(key(LinkStatus::Active, B), back.then(|| "a".to_owned()));
        assert_eq!((key(LinkStatus::Disabled, A), key(LinkStatus::Disabled, B)), (None, None));
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({"user_allow": [], "user_deny": []}), true)]
    #[case(json!({"user_allow": ["mai"]}), true)]
    #[case(json!({"user_allow": ["lan"]}), false)]
    #[case(json!({"user_allow": ["mai"], "user_deny": ["mai"]}), false)]
    #[case(json!({"user_deny": ["lan"]}), true)]
    #[case(json!({"require_role": "operator"}), true)]
    #[case(json!({"require_role": "admin"}), false)]
    #[case(json!({"require_role": "king"}), false)]
    #[case(json!({"require_role": ""}), true)]
    fn settings_admit_users_by_name_and_role(#[case] settings: Value, #[case] admitted: bool) {
        assert_eq!(admits(settings.as_object(), "mai", Role::Operator), admitted);
    }

    #[test]
    fn an_agent_is_asked_for_what_the_link_is_about_or_for_what_it_knows() {
        let mut link = link(LinkDirection::Outbound, LinkStatus::Active);
        let about = |link: &AgentLink| over(link, A, "u", Role::Operator).unwrap().about;
        assert_eq!(about(&link), "Nights.");
        link.description = "Moonrise.".into();
        assert_eq!(about(&link), "Moonrise.");
    }
}
