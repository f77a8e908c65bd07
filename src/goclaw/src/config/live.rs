//! The configuration while the gateway runs: read, changed, and read again when somebody edits the file.

use super::{Config, ConfigError, atomic, document, overlay, schema, secrets, system_keys};
use async_trait::async_trait;
use goclaw_core::{Core, settings::LiveSettings};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    clock::Clock,
    configuration::{Configuration, ConfigurationChange, ConfigurationView},
    message,
    sealer::{Place, Sealed, Sealer},
    secrets::SecretStore,
};
use goclaw_speech::Services;
use goclaw_tools::{ExecApproval, WebFetchOptions};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, OnceLock, PoisonError, RwLock, Weak},
};
use tokio::{runtime::Handle, sync::Mutex};

/// What takes effect only at the next start, besides the edition.
const AT_THE_NEXT_START: &[&str] = &[
    "data_dir",
    "agents.defaults.workspace",
    "gateway.host",
    "gateway.port",
    "logging",
    "tailscale",
    "telemetry",
    "updates",
    "providers.chatgpt_oauth",
    "security.allow_private_hosts",
];

/// What follows the configuration at once.
pub struct Followers {
    /// What use cases read.
    pub settings: Arc<LiveSettings>,
    /// Which pages may be fetched.
    pub web_fetch: Arc<RwLock<WebFetchOptions>>,
    /// Which commands run without asking.
    pub exec_approval: Arc<RwLock<ExecApproval>>,
    /// Who speaks.
    pub speech: Arc<Services>,
}

/// The configuration of a running gateway.
pub struct LiveConfiguration {
    me: Weak<Self>,
    /// Where changes are made: one that has begun does not end with the connection of whoever asked for it.
    runtime: Handle,
    /// One change at a time.
    state: Mutex<State>,
    /// The system configuration values of what holds, for those who cannot wait.
    values: RwLock<Arc<Vec<(String, String)>>>,
    followers: Followers,
    store: Arc<dyn SecretStore>,
    sealer: Arc<dyn Sealer>,
    clock: Arc<dyn Clock>,
    core: OnceLock<Weak<Core>>,
}

struct State {
    config: Config,
    /// The text of the file, as it was last read or written; `None` until then.
    text: Option<String>,
    /// Why that text cannot be used.
    fault: Option<String>,
}

/// Where a configuration secret is kept.
#[must_use]
pub fn place(name: &str) -> Place<'_> {
    Place { tenant: TenantId::MASTER, table: "config_secrets", column: "value", row: name }
}

impl LiveConfiguration {
    /// Starts with what was loaded. Changes are made on the runtime that this is called on.
    pub fn new(config: Config, followers: Followers, store: Arc<dyn SecretStore>, sealer: Arc<dyn Sealer>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let values = RwLock::new(Arc::new(system_keys::values(&config.effective())));
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            runtime: Handle::current(),
            state: Mutex::new(State { config, text: None, fault: None }),
            values,
            followers,
            store,
            sealer,
            clock,
            core: OnceLock::new(),
        })
    }

    /// Tells the core of changes from now on.
    pub fn attach(&self, core: &Arc<Core>) {
        // There is one core for the life of the process.
        drop(self.core.set(Arc::downgrade(core)));
    }

    /// Reads the file again, if it is not what was last read or written. A file that cannot be used changes nothing; nor does
    /// one that is gone.
    pub async fn reread(&self) {
        self.catch_up(&mut *self.state.lock().await).await;
    }

    async fn catch_up(&self, state: &mut State) {
        let path = state.config.path.clone();
        let text = match tokio::fs::read_to_string(&path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the configuration file cannot be read; the old configuration holds");
                return;
            }
        };
        if state.text.as_ref() == Some(&text) {
            return;
        }
        let document = super::read(&path, &text);
        // Said once for each text.
        state.text = Some(text);
        state.fault = None;
        match document.and_then(|document| {
            if document == state.config.document { Ok(None) } else { next(&state.config, document, state.config.secrets.clone()).map(Some) }
        }) {
            Ok(None) => {}
            Ok(Some(next)) => {
                let change = self.follow(state, next).await;
                tracing::info!(path = %path.display(), sections = ?change.sections, "the configuration file was read again");
                if let Some(core) = self.core()
                    && let Err(error) = core.system_configs.configuration_changed(TenantId::MASTER, &change.changed_keys).await
                {
                    tracing::error!(%error, "stored values could not be made to follow the configuration");
                }
            }
            Err(error) => {
                tracing::error!(%error, "the configuration file cannot be used; the old configuration holds");
                state.fault = Some(without_path(&error));
            }
        }
    }

    fn core(&self) -> Option<Arc<Core>> {
        self.core.get().and_then(Weak::upgrade)
    }

    /// Changes the file's document with `edit`, which gets what holds and answers with the new document and what becomes of
    /// secrets. What somebody did to the file by hand counts, even if nobody has read it yet.
    async fn change(
        &self,
        base_hash: Option<&str>,
        edit: impl FnOnce(&State) -> Result<(Value, secrets::Changes)> + Send + 'static,
    ) -> Result<ConfigurationChange> {
        let me = self.me.upgrade().ok_or_else(|| Error::unavailable("the configuration"))?;
        let base_hash = base_hash.map(str::to_owned);
        self.runtime.spawn(async move { me.change_to_the_end(base_hash.as_deref(), edit).await }).await.map_err(Error::internal)?
    }

    async fn change_to_the_end(
        &self,
        base_hash: Option<&str>,
        edit: impl FnOnce(&State) -> Result<(Value, secrets::Changes)> + Send,
    ) -> Result<ConfigurationChange> {
        let mut state = self.state.lock().await;
        self.catch_up(&mut state).await;
        let config = &state.config;
        if base_hash.is_some_and(|hash| hash != hash_of(&config.effective())) {
            return Err(Error::invalid(message::config_hash_mismatch()));
        }
        let (mut document, mut changes) = edit(&state)?;
        secrets::take(&mut document);
        without_environment(config, &mut document, &mut changes)?;
        // What somebody wrote into the file by hand moves to the secret store, unless that has another by now.
        for (name, secret) in in_file(config) {
            if !config.secrets.contains_key(&name) && secrets::has_place(&document, &name) {
                changes.entry(name).or_insert(secret);
            }
        }
        // What belonged to something that is gone goes along.
        for name in config.secrets.keys().filter(|name| !secrets::has_place(&document, name)) {
            changes.insert(name.clone(), None);
        }
        let mut stored = config.secrets.clone();
        for (name, secret) in &changes {
            match secret {
                Some(secret) => drop(stored.insert(name.clone(), secret.clone())),
                None => drop(stored.remove(name)),
            }
        }
        let next = next(config, document, stored).map_err(|error| Error::invalid(message::config_invalid(without_path(&error))))?;
        let text = serde_json::to_string_pretty(&next.document).map_err(Error::internal)? + "\n";
        let undo = self.store_secrets(&changes).await?;
        let path = next.path.clone();
        let written = tokio::task::spawn_blocking({
            let text = text.clone();
            move || atomic::replace(&path, &text)
        });
        if let Err(error) = written.await.map_err(io::Error::other).and_then(|written| written) {
            self.restore_secrets(undo).await;
            let failed = message::config_not_written(next.path.display());
            tracing::error!(%error, "{failed}");
            // `INTERNAL` for the client, as every fault of ours, but with a text that says which file.
            return Err(Error::new(ErrorKind::Upstream, failed).because(error));
        }
        (state.text, state.fault) = (Some(text), None);
        Ok(self.follow(&mut state, next).await)
    }

    /// Stores secrets, and answers with what was there before. If one cannot be stored, none is.
    async fn store_secrets(&self, changes: &secrets::Changes) -> Result<Vec<(String, Option<Sealed>)>> {
        let mut undo = Vec::new();
        for (name, secret) in changes {
            let outcome = async {
                let before = self.store.get(TenantId::MASTER, name).await?;
                match secret {
                    Some(secret) => self.store.put(TenantId::MASTER, name, &self.sealer.seal(place(name), secret)?, self.clock.now()).await?,
                    None => drop(self.store.delete(TenantId::MASTER, name).await?),
                }
                Ok(before)
            };
            match outcome.await {
                Ok(before) => undo.push((name.clone(), before)),
                Err(error) => {
                    self.restore_secrets(undo).await;
                    return Err(error);
                }
            }
        }
        Ok(undo)
    }

    async fn restore_secrets(&self, undo: Vec<(String, Option<Sealed>)>) {
        for (name, before) in undo {
            let restored = match before {
                Some(sealed) => self.store.put(TenantId::MASTER, &name, &sealed, self.clock.now()).await,
                None => self.store.delete(TenantId::MASTER, &name).await.map(drop),
            };
            if let Err(error) = restored {
                tracing::error!(%error, name, "a secret of a change that failed could not be taken back");
            }
        }
    }

    /// Makes a configuration hold.
    async fn follow(&self, state: &mut State, next: Config) -> ConfigurationChange {
        let (before, after) = (state.config.effective(), next.effective());
        let mut waiting = differing(&before, &after, AT_THE_NEXT_START);
        if next.edition != state.config.edition {
            waiting.push("edition");
        }
        if !waiting.is_empty() {
            tracing::warn!(changed = waiting.join(", "), "this takes effect at the next start");
        }
        let values = system_keys::values(&after);
        let change = ConfigurationChange {
            changed_keys: system_keys::changed(&system_keys::values(&before), &values),
            sections: sections(&before, &after),
            view: view(&next),
        };
        *self.values.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(values);
        let mut settings = next.settings();
        // These were decided when the gateway started.
        let running = self.followers.settings.get();
        settings.edition.name.clone_from(&running.edition.name);
        settings.data_dir = running.data_dir.clone();
        settings.gateway.tailnet = running.gateway.tailnet;
        settings.agents.workspace = running.agents.workspace.clone();
        self.followers.settings.set(settings);
        *self.followers.web_fetch.write().unwrap_or_else(PoisonError::into_inner) = next.web_fetch();
        *self.followers.exec_approval.write().unwrap_or_else(PoisonError::into_inner) = next.exec_approval();
        self.followers.speech.configure(next.speech());
        let providers = next.providers();
        state.config = next;
        if let Some(core) = self.core()
            && let Err(error) = core.providers.configure(providers).await
        {
            tracing::error!(%error, "stored providers could not be made to follow the configuration");
        }
        change
    }
}

#[async_trait]
impl Configuration for LiveConfiguration {
    async fn view(&self) -> Result<ConfigurationView> {
        Ok(view(&self.state.lock().await.config))
    }

    async fn replace(&self, raw: &str, base_hash: Option<&str>) -> Result<ConfigurationChange> {
        let mut raw = read(raw)?;
        self.change(base_hash, move |state| {
            let changes = secrets::take(&mut raw);
            secrets::unmask(&mut raw, &state.config.document);
            Ok((document::without_null(raw), changes))
        })
        .await
    }

    async fn merge(&self, raw: &str, base_hash: Option<&str>) -> Result<ConfigurationChange> {
        let mut raw = read(raw)?;
        self.change(base_hash, move |state| {
            let config = &state.config;
            if let Some(fault) = &state.fault {
                // A part of it in a file that nobody can read: what else is in there would be lost.
                return Err(Error::invalid(message::config_invalid(fault)));
            }
            let mut changes = secrets::take(&mut raw);
            for gone in secrets::under_nulls(&raw, config.secrets.keys().chain(in_file(config).keys())) {
                changes.entry(gone).or_insert(None);
            }
            secrets::unmask(&mut raw, &config.document);
            let mut document = config.document.clone();
            document::merge(&mut document, raw);
            Ok((document, changes))
        })
        .await
    }

    async fn refresh(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        self.catch_up(&mut state).await;
        let mut stored = HashMap::new();
        for (name, sealed) in self.store.list(TenantId::MASTER).await? {
            let secret = self.sealer.open(place(&name), &sealed)?;
            stored.insert(name, secret);
        }
        if same(&stored, &state.config.secrets) {
            return Ok(());
        }
        let next = next(&state.config, state.config.document.clone(), stored).map_err(Error::internal)?;
        let change = self.follow(&mut state, next).await;
        tracing::info!(sections = ?change.sections, "secrets that were changed elsewhere hold here as well");
        Ok(())
    }

    fn system_values(&self) -> Vec<(String, String)> {
        self.values.read().unwrap_or_else(PoisonError::into_inner).to_vec()
    }

    fn schema(&self) -> Value {
        schema::json_schema()
    }
}

/// Whether both hold the same secrets under the same names.
fn same(one: &HashMap<String, SecretString>, other: &HashMap<String, SecretString>) -> bool {
    one.len() == other.len() && one.iter().all(|(name, secret)| other.get(name).is_some_and(|other| other.expose_secret() == secret.expose_secret()))
}

/// What the environment gives is not copied, neither to the secret store nor to the file.
fn without_environment(config: &Config, document: &mut Value, changes: &mut secrets::Changes) -> Result<()> {
    let assignments = overlay::environment(&config.environment, &config.document).map_err(|error| Error::invalid(message::config_invalid(error)))?;
    for assignment in &assignments {
        if document::at(document, &assignment.path) == Some(&assignment.value) {
            match document::at(&config.document, &assignment.path) {
                Some(before) => document::put(document, &assignment.path, before.clone()),
                None => document::remove(document, &assignment.path),
            }
        }
    }
    changes.retain(|name, secret| {
        let path = secrets::path_of(name);
        let given = assignments.iter().find(|assignment| assignment.path == path).and_then(|assignment| assignment.value.as_str());
        secret.as_ref().is_none_or(|secret| given != Some(secret.expose_secret()))
    });
    Ok(())
}

/// The secrets that somebody wrote into the file.
fn in_file(config: &Config) -> secrets::Changes {
    let mut found = secrets::take(&mut config.document.clone());
    found.retain(|_, secret| secret.is_some());
    found
}

/// A configuration with another document and other stored secrets.
fn next(config: &Config, document: Value, secrets: HashMap<String, SecretString>) -> Result<Config, ConfigError> {
    let mut next = Config::of(config.path.clone(), true, document, secrets, config.environment.clone())?;
    // The token that lite made for itself is in a file of its own.
    if next.token().is_none() {
        let kept = super::first_start::read_secret_file(&next.token_file()).map_err(|error| ConfigError::Variable(error.to_string()))?;
        if let Some(token) = kept {
            next.set_token(token);
        }
    }
    if next.token().is_none() && config.token().is_some() {
        let detail = "without a token everybody who reaches the gateway could use it; put another one in its place".to_owned();
        return Err(ConfigError::Value { source_name: "gateway.token", detail });
    }
    Ok(next)
}

fn read(raw: &str) -> Result<Value> {
    document::read(raw).map_err(|fault| Error::invalid(message::config_invalid(fault)))
}

/// Why a configuration cannot be used, without the file's path: the client did not send a file.
fn without_path(error: &ConfigError) -> String {
    match error {
        ConfigError::Malformed { detail, .. } => detail.clone(),
        other => other.to_string(),
    }
}

fn view(config: &Config) -> ConfigurationView {
    let mut shown = config.effective();
    let hash = hash_of(&shown);
    secrets::mask(&mut shown);
    ConfigurationView { config: shown, hash, path: config.path.display().to_string() }
}

/// 64 bits of the SHA-256 of everything that holds, secrets included.
fn hash_of(effective: &Value) -> String {
    hex::encode(&Sha256::digest(document::canonical(effective).to_string())[..8])
}

fn sections(before: &Value, after: &Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let mut sections: Vec<String> = before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key)).cloned().collect();
    sections.sort_unstable();
    sections.dedup();
    sections
}

fn differing<'p>(before: &Value, after: &Value, paths: &[&'p str]) -> Vec<&'p str> {
    let differs = |path: &&&str| {
        let path: Vec<&str> = path.split('.').collect();
        document::at(before, &path) != document::at(after, &path)
    };
    paths.iter().filter(differs).copied().collect()
}
