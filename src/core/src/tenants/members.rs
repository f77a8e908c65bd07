//! Who belongs to a tenant.

use super::{Reach, Tenants, owner, tenant_id};
use crate::{
    auth::MAX_USER_ID,
    caller::{Access, Caller},
    coherence::Kind,
};
use goclaw_ports::{
    Error, JsonObject, Result, TenantId,
    events::Event,
    message,
    roles::Role,
    tenants::{Member, MemberRole},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The most people that a search finds.
const MAX_HITS: i64 = 100;
/// The people that a search finds, where nothing sensible is asked for.
const HITS: i64 = 30;

/// A new member, as a request describes it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NewMember {
    /// The user; 1 to 255 bytes.
    pub user_id: String,
    /// Its part in the tenant; `member` if it is absent or "".
    #[schemars(with = "Option<MemberRole>")]
    pub role: String,
}

/// Where people are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberSource {
    /// Those whom channels have met.
    Contact,
    /// Members of the tenant.
    TenantUser,
}

impl MemberSource {
    /// The source with this wire name; `None` for "", which means all.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        match text {
            "" => Ok(None),
            "contact" => Ok(Some(Self::Contact)),
            "tenant_user" => Ok(Some(Self::TenantUser)),
            _ => Err(Error::invalid(message::not_one_of("source", "contact, tenant_user"))),
        }
    }
}

/// Whom somebody looks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserQuery {
    /// A part of the id or the display name; "" for everybody.
    pub text: String,
    /// At most this many; 30 if it is not 1 to 100.
    pub limit: i64,
    /// Where; `None` for everywhere.
    pub source: Option<MemberSource>,
}

/// Somebody who was found.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UserHit {
    /// The user.
    pub id: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Where it was found.
    pub source: MemberSource,
    /// Its part in the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<MemberRole>,
}

impl Tenants {
    /// The members of a tenant, oldest membership first.
    ///
    /// # Errors
    /// `Forbidden` for all but owners, `Invalid` for a bad id, `NotFound`.
    pub async fn members(&self, caller: &Caller, id: &str) -> Result<Vec<Member>> {
        owner(caller, "/v1/tenants/{id}/users")?;
        let tenant = self.existing(tenant_id(id)?).await?;
        self.store.members(tenant.id).await
    }

    /// The members of the caller's own tenant, oldest membership first.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn own_members(&self, caller: &Caller) -> Result<Vec<Member>> {
        caller.require(Role::Viewer, Access::Read, "/v1/tenant-users")?;
        self.store.members(caller.tenant).await
    }

    /// The people of the caller's own tenant who match. A store that fails makes for fewer hits.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn search(&self, caller: &Caller, query: UserQuery) -> Result<Vec<UserHit>> {
        caller.require(Role::Viewer, Access::Read, "/v1/users/search")?;
        if query.source == Some(MemberSource::Contact) {
            return Ok(vec![]);
        }
        let limit = if (1..=MAX_HITS).contains(&query.limit) { query.limit } else { HITS };
        let found = self.store.search_members(caller.tenant, &query.text, limit).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "members could not be searched");
            vec![]
        });
        let hit = |member: Member| UserHit { id: member.user_id, display_name: member.display_name, source: MemberSource::TenantUser, role: Some(member.role) };
        Ok(found.into_iter().map(hit).collect())
    }

    /// Makes somebody a member of a tenant. One who is a member already gets the role.
    ///
    /// # Errors
    /// `Forbidden` for all but owners, `Invalid` for bad fields or a bad id, `NotFound`.
    pub async fn add_member(&self, caller: &Caller, id: &str, new: NewMember) -> Result<()> {
        owner(caller, "/v1/tenants/{id}/users")?;
        self.put_member(caller, id, new, Reach::All).await
    }

    /// The same, for owners and for keys with the scope `operator.provision`; one that belongs to a tenant adds to that only.
    ///
    /// # Errors
    /// As [`Tenants::add_member`].
    pub async fn provision_member(&self, caller: &Caller, id: &str, new: NewMember) -> Result<()> {
        let reach = self.reach(caller, "tenants.users.add").await?;
        self.put_member(caller, id, new, reach).await
    }

    /// Ends a membership; there being none is not an error. The user's connections to the tenant are told.
    ///
    /// # Errors
    /// `Forbidden` for all but owners, `Invalid` for a bad id or no user.
    pub async fn remove_member(&self, caller: &Caller, id: &str, user: &str) -> Result<()> {
        owner(caller, "/v1/tenants/{id}/users/{userId}")?;
        let tenant = tenant_id(id)?;
        if user.is_empty() {
            return Err(Error::required("user_id"));
        }
        if let Some(role) = self.store.remove_member(tenant, user).await? {
            // First the news, then the end: what the change of membership closes still hears why.
            let payload = json!({"user_id": user, "tenant_id": tenant});
            self.bus.publish(Event::new(tenant, "tenant.access.revoked", payload).of_user(user));
            self.coherence.changed(tenant, Kind::TenantUsers, user);
            self.audit.record(caller, "tenant.user.removed", "tenant", tenant, Some(json!({"user_id": user, "role": role}))).await;
        }
        Ok(())
    }

    async fn put_member(&self, caller: &Caller, id: &str, new: NewMember, reach: Reach) -> Result<()> {
        let user = user_of(&new.user_id)?;
        let role = match new.role.as_str() {
            "" => MemberRole::default(),
            role => MemberRole::parse(role).ok_or_else(|| Error::invalid(message::invalid_role()))?,
        };
        let tenant = tenant_id(id)?;
        if reach == Reach::Own && tenant != caller.tenant {
            return Err(Error::forbidden(format!("tenants.users.add: {tenant}")));
        }
        let before = self.store.put_member(tenant, &self.member(tenant, user, role)).await?;
        self.coherence.changed(tenant, Kind::TenantUsers, user);
        let details = json!({"user_id": user, "role": role, "before": before});
        self.audit.record(caller, "tenant.user.added", "tenant", tenant, Some(details)).await;
        Ok(())
    }

    fn member(&self, tenant_id: TenantId, user: &str, role: MemberRole) -> Member {
        let now = self.clock.now();
        Member {
            id: self.ids.row(),
            tenant_id,
            user_id: user.to_owned(),
            display_name: None,
            role,
            metadata: JsonObject::new(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// The user's id, which is compared exactly from now on.
fn user_of(user: &str) -> Result<&str> {
    if user.trim().is_empty() {
        return Err(Error::required("user_id"));
    }
    if user.len() > MAX_USER_ID {
        return Err(Error::invalid(message::too_long("user_id", MAX_USER_ID)));
    }
    if user.contains(char::is_control) {
        return Err(Error::invalid_request("user_id holds control characters"));
    }
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_1_to_255_bytes_and_stay_as_they_are() {
        assert_eq!(user_of(" mai@example.com").unwrap(), " mai@example.com");
        assert!(user_of(&"u".repeat(255)).is_ok());
        for user in ["", " ", &"u".repeat(256), "a\0b", "a\nb"] {
            assert!(user_of(user).is_err(), "{user:?}");
        }
    }

    #[test]
    fn sources_are_two_or_all() {
        assert_eq!(MemberSource::parse("").unwrap(), None);
        assert_eq!(MemberSource::parse("contact").unwrap(), Some(MemberSource::Contact));
        assert_eq!(MemberSource::parse("tenant_user").unwrap(), Some(MemberSource::TenantUser));
        assert!(MemberSource::parse("Contact").is_err());
    }
}
