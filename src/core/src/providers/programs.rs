//! Providers that are programs of the gateway's machine.

use super::{Providers, Verification, admin};
use crate::{
    caller::{Access, Caller},
    presets,
};
use goclaw_ports::{Error, JsonObject, Result, TenantId, message, providers::ProviderRow, roles::Role};
use schemars::JsonSchema;
use serde::Serialize;

/// Settings that reach into the machine.
const OF_THE_MACHINE: &[&str] = &["args", "work_dir", "base_work_dir"];

/// Who is logged in at Claude's command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CliLogin {
    /// Whether somebody is.
    pub logged_in: bool,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What they pay for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_type: Option<String>,
    /// Why the program does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether the gateway runs in a container.
    pub in_docker: bool,
}

/// Whether a program has this model; the models of agents are the agents that go by their name.
fn has_model(provider_type: &str, model: &str) -> bool {
    presets::fixed_models(provider_type).is_some_and(|models| models.iter().any(|(id, _)| *id == model))
}

/// Whether a row may name this program: one that goes by its name, or a path, which is the operator's to name.
pub(super) fn check_program(tenant: TenantId, provider_type: &str, program: &str) -> Result<()> {
    let named = if provider_type == "claude_cli" { program == "claude" } else { has_model("acp", program) };
    match (named, program.starts_with('/')) {
        (true, _) => Ok(()),
        (false, true) if tenant == TenantId::MASTER => Ok(()),
        (false, true) => Err(Error::invalid(message::program_of_operator())),
        (false, false) if provider_type == "claude_cli" => Err(Error::invalid(message::bad_provider_url("the path must be \"claude\" or absolute"))),
        (false, false) => Err(Error::invalid(message::bad_provider_url("the binary must be claude, codex, gemini or an absolute path"))),
    }
}

/// Refuses settings that reach into the machine in tenants that do not own it.
pub(super) fn check_settings(tenant: TenantId, provider_type: &str, settings: Option<&JsonObject>) -> Result<()> {
    let reaches = settings.is_some_and(|settings| OF_THE_MACHINE.iter().any(|key| settings.get(*key).is_some_and(|value| !value.is_null())));
    if reaches && tenant != TenantId::MASTER && matches!(provider_type, "acp" | "claude_cli") {
        return Err(Error::invalid(message::program_of_operator()));
    }
    Ok(())
}

impl Providers {
    /// Who is logged in at Claude's command line: the program of the tenant's first provider of that kind, else the operator's.
    ///
    /// # Errors
    /// `Forbidden` below admin.
    pub async fn claude_login(&self, caller: &Caller) -> Result<CliLogin> {
        caller.require(Role::Admin, Access::Manage, "/v1/providers/claude-cli/auth-status")?;
        admin(caller)?;
        let rows = self.store.list(caller.tenant).await?;
        let own = rows.into_iter().filter(|row| row.provider_type == "claude_cli").map(|row| row.api_base).find(|base| !base.is_empty());
        let program = own.or_else(|| self.registry.base_of("claude_cli")).unwrap_or_else(|| "claude".to_owned());
        let in_docker = self.claude_cli.in_container();
        Ok(match self.claude_cli.account(&program).await {
            Ok(account) => CliLogin {
                logged_in: account.logged_in,
                email: Some(account.email),
                subscription_type: Some(account.subscription_type),
                error: None,
                in_docker,
            },
            Err(error) => CliLogin { logged_in: false, email: None, subscription_type: None, error: Some(error), in_docker },
        })
    }

    /// What can be said of a provider that is a program without asking a model.
    pub(super) fn verify_program(&self, row: &ProviderRow, model: &str) -> Option<Verification> {
        let failed = |error: String| Some(Verification { valid: false, note: None, error: Some(error) });
        match row.provider_type.as_str() {
            "claude_cli" if !has_model("claude_cli", model) => failed(format!("{model} is no model of Claude's command line: use sonnet, opus or haiku")),
            "acp" => {
                let default = presets::preset("acp").map_or("claude", |preset| preset.api_base);
                let program = if row.api_base.is_empty() { default } else { &row.api_base };
                if check_program(row.tenant_id, "acp", program).is_err() {
                    return failed("invalid binary path".to_owned());
                }
                if !self.claude_cli.finds(program) {
                    return failed(format!("binary not found: {program}"));
                }
                Some(Verification { valid: true, note: None, error: None })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_machines_owner_names_paths_and_arguments() {
        let other = TenantId(uuid::Uuid::from_u128(7));
        for (tenant, kind, program, good) in [
            (other, "acp", "codex", true),
            (other, "acp", "/bin/sh", false),
            (TenantId::MASTER, "acp", "/bin/sh", true),
            (TenantId::MASTER, "acp", "bash", false),
            (other, "claude_cli", "claude", true),
            (other, "claude_cli", "/usr/bin/claude", false),
            (TenantId::MASTER, "claude_cli", "/usr/bin/claude", true),
            (TenantId::MASTER, "claude_cli", "codex", false),
        ] {
            assert_eq!(check_program(tenant, kind, program).is_ok(), good, "{kind} {program}");
        }
        let settings = json!({"args": ["-c", "true"]}).as_object().cloned();
        assert!(check_settings(other, "acp", settings.as_ref()).is_err());
        assert!(check_settings(TenantId::MASTER, "acp", settings.as_ref()).is_ok());
        assert!(check_settings(other, "openai_compat", settings.as_ref()).is_ok());
        assert!(check_settings(other, "acp", json!({"perm_mode": "deny-all"}).as_object()).is_ok());
    }
}
