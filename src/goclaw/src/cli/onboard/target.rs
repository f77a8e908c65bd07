//! Where provider and agent go: through the gateway if it runs, for it owns the database; else into the database.

use crate::{
    cli::{client::Gateway, migrate},
    config::{Config, edition::Storage},
    run::{Assembled, assemble, plain},
};
use anyhow::{Context, Result, bail};
use goclaw_core::{
    auth::Credentials,
    caller::{Caller, Locale},
};
use goclaw_ports::ErrorKind;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::time::Duration;

/// Where it goes.
pub enum Target {
    /// A gateway runs.
    Running(Gateway),
    /// None does.
    Stopped {
        /// The use cases.
        assembled: Box<Assembled>,
        /// The owner.
        caller: Box<Caller>,
    },
}

impl Target {
    /// Finds out.
    ///
    /// # Errors
    /// If no gateway runs and the database cannot be opened.
    pub async fn of(mut config: Config) -> Result<Self> {
        let gateway = Gateway::of(&config).await?;
        if gateway.is_running().await {
            return Ok(Self::Running(gateway));
        }
        if matches!(config.storage, Storage::Postgres { dsn: Some(_) }) {
            migrate::bring_up(&config, false).await?;
        }
        let assembled = Box::new(assemble(&mut config, crate::log::silent()).await?);
        let credentials = Credentials {
            bearer: config.token().map(ExposeSecret::expose_secret),
            sender: None,
            user_id: config.owner(),
            tenant: None,
            locale: Locale::En,
            ip: None,
        };
        match assembled.core.auth.http(credentials).await {
            Ok(caller) => Ok(Self::Stopped { assembled, caller: Box::new(caller) }),
            Err(error) => {
                close(&assembled).await;
                Err(plain(error))
            }
        }
    }

    /// Whether a gateway runs.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    /// Stores a provider, or gives a stored one its new key.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn put_provider(&self, body: Value) -> Result<()> {
        match self {
            Self::Running(gateway) => gateway.expect(Method::POST, "/v1/providers", Some(&body)).await.map(drop),
            Self::Stopped { assembled, caller } => {
                let new = serde_json::from_value(body).context("the provider is malformed")?;
                assembled.core.providers.create(caller, new).await.map(drop).map_err(plain)
            }
        }
    }

    /// Creates an agent; `false` if there is one with this key.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn create_agent(&self, body: Value) -> Result<bool> {
        match self {
            Self::Running(gateway) => match gateway.call(Method::POST, "/v1/agents", Some(&body)).await? {
                (status, _) if status.is_success() => Ok(true),
                (StatusCode::CONFLICT, answer) if answer["code"] == "ALREADY_EXISTS" => Ok(false),
                (status, answer) => bail!("the gateway refused: {}", answer["error"].as_str().unwrap_or(status.as_str())),
            },
            Self::Stopped { assembled, caller } => {
                let new = serde_json::from_value(body).context("the agent is malformed")?;
                match assembled.core.agents.create(caller, new).await {
                    Ok(_) => Ok(true),
                    Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(false),
                    Err(error) => Err(plain(error)),
                }
            }
        }
    }

    /// Lets go of the database.
    pub async fn close(&self) {
        if let Self::Stopped { assembled, .. } = self {
            close(assembled).await;
        }
    }
}

async fn close(assembled: &Assembled) {
    assembled.core.stop(Duration::from_secs(5)).await;
    assembled.stores.database.close().await;
}
