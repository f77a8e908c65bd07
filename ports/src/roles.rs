//! Roles and scopes: what a caller may do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A caller's role. The order is the rank: a check for a role means "at least".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Uses agents.
    Operator,
    /// Manages a tenant.
    Admin,
    /// Manages the installation. Comes only from the gateway token together with an owner's user id.
    Owner,
}

wire_names!(Role: Viewer = "viewer", Operator = "operator", Admin = "admin", Owner = "owner");

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// Everything an admin may do in the key's tenant.
    #[serde(rename = "operator.admin")]
    Admin,
    /// Read and write.
    #[serde(rename = "operator.write")]
    Write,
    /// Approve or deny exec requests.
    #[serde(rename = "operator.approvals")]
    Approvals,
    /// Manage device pairing.
    #[serde(rename = "operator.pairing")]
    Pairing,
    /// Create tenants and tenant users.
    #[serde(rename = "operator.provision")]
    Provision,
    /// Read only.
    #[serde(rename = "operator.read")]
    Read,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Admin, Self::Write, Self::Approvals, Self::Pairing, Self::Provision, Self::Read];

    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "operator.admin",
            Self::Write => "operator.write",
            Self::Approvals => "operator.approvals",
            Self::Pairing => "operator.pairing",
            Self::Provision => "operator.provision",
            Self::Read => "operator.read",
        }
    }

    /// The scope with this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    /// The role that a key with these scopes acts in. A key never is an owner.
    #[must_use]
    pub fn role(scopes: &[Self]) -> Role {
        if scopes.contains(&Self::Admin) {
            Role::Admin
        } else if scopes.iter().any(|scope| matches!(scope, Self::Write | Self::Approvals | Self::Pairing)) {
            Role::Operator
        } else {
            Role::Viewer
        }
    }
}
