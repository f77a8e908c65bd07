//! Text to speech: what may be asked of it, and how it is set up.

mod catalogue;
mod tool;
mod voice;

pub(crate) use tool::SpeechTool;
pub(crate) use voice::{AT_ONCE, Voice};

use crate::{
    caller::{Access, Caller},
    configuration::ConfigurationAccess,
    files::FileLinks,
    rate::RequestRate,
    settings::{SpeechAuto, SpeechMode, TenantSettings},
    system_configs::SystemConfigs,
    toolbox::ToolBox,
};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId, message,
    roles::Role,
    speech::{AudioFormat, SpeechRequest, SpeechService},
};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

/// The longest name of a voice or a model, in characters.
const MAX_NAME: usize = 200;
/// Where a tenant's last mode other than `off` is kept.
const LAST_AUTO: &str = "tts.last_auto";

/// What may be done with text to speech.
pub struct Speech {
    pub(crate) voice: Arc<Voice>,
    pub(crate) settings: Arc<TenantSettings>,
    pub(crate) configuration: ConfigurationAccess,
    pub(crate) system_configs: Arc<SystemConfigs>,
    pub(crate) tools: Arc<ToolBox>,
    pub(crate) links: FileLinks,
    pub(crate) rate: Arc<RequestRate>,
}

/// How text to speech is set up for a tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpeechStatus {
    /// Whether answers are spoken.
    pub enabled: bool,
    /// When.
    pub auto: SpeechAuto,
    /// Which.
    pub mode: SpeechMode,
    /// Who speaks; "" if nobody can.
    pub provider: String,
    /// Who speaks if they cannot, in this order.
    pub fallback_providers: Vec<SpeechService>,
    /// The longest text, in characters.
    pub max_length: usize,
    /// How long each of them may take, in milliseconds.
    pub timeout_ms: u64,
}

/// The services, configured or not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeechServices {
    /// All of them.
    pub providers: Vec<SpeechServiceInfo>,
    /// Who speaks; "" if nobody can.
    pub active: String,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeechServiceInfo {
    /// Its id.
    pub id: SpeechService,
    /// For people.
    pub name: &'static str,
    /// Whether it can be asked.
    pub configured: bool,
    /// Models that it is known to have.
    pub models: &'static [&'static str],
    /// Voices that it is known to have; it may have more.
    pub voices: &'static [&'static str],
}

/// A text to speak. "" stands for what is configured.
#[derive(Debug, Clone, Default)]
pub struct Conversion {
    /// The text.
    pub text: String,
    /// Only by this service.
    pub provider: String,
    /// By this voice.
    pub voice: String,
    /// By this model.
    pub model: String,
    /// For this channel: Telegram's voice messages are Opus.
    pub channel: String,
    /// `mp3` or `opus`, whatever the channel.
    pub format: String,
}

/// A spoken text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Converted {
    /// A link to the file.
    pub audio_path: String,
    /// Who spoke.
    pub provider: SpeechService,
    /// How it is coded.
    pub output_format: AudioFormat,
    /// Its MIME type.
    pub mime_type: &'static str,
    /// Whether messengers play it as a voice message.
    pub voice_compatible: bool,
}

impl Speech {
    /// How it is set up for the caller's tenant.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn status(&self, caller: &Caller) -> Result<SpeechStatus> {
        caller.require(Role::Viewer, Access::Read, "tts.status")?;
        let speech = self.settings.of(caller.tenant).await?.speech.clone();
        let mut order = self.voice.order(&speech).into_iter();
        Ok(SpeechStatus {
            enabled: speech.auto != SpeechAuto::Off,
            auto: speech.auto,
            mode: speech.mode,
            provider: order.next().map(|first| first.to_string()).unwrap_or_default(),
            fallback_providers: order.collect(),
            max_length: speech.max_length,
            timeout_ms: u64::try_from(speech.timeout.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The services, with what is known of their models and voices.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn services(&self, caller: &Caller) -> Result<SpeechServices> {
        caller.require(Role::Viewer, Access::Read, "tts.providers")?;
        let speech = self.settings.of(caller.tenant).await?.speech.clone();
        let order = self.voice.order(&speech);
        let info = |id: SpeechService| SpeechServiceInfo { configured: order.contains(&id), ..catalogue::of(id) };
        Ok(SpeechServices { providers: SpeechService::ALL.into_iter().map(info).collect(), active: order.first().map(ToString::to_string).unwrap_or_default() })
    }

    /// Has answers spoken: as `auto` says, else as they were before they were not, else always.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` for another mode; `Precondition` if nobody can speak.
    pub async fn enable(&self, caller: &Caller, auto: &str) -> Result<SpeechAuto> {
        caller.require(Role::Admin, Access::Manage, "tts.enable")?;
        let on = |name: &str| SpeechAuto::parse(name).filter(|auto| *auto != SpeechAuto::Off);
        let speech = self.settings.of(caller.tenant).await?.speech.clone();
        let auto = match auto {
            "" if speech.auto != SpeechAuto::Off => speech.auto,
            "" => self.system_configs.store.get(caller.tenant, LAST_AUTO).await?.as_deref().and_then(on).unwrap_or(SpeechAuto::Always),
            name => on(name).ok_or_else(|| Error::invalid(message::not_one_of("auto", "always, inbound, tagged")))?,
        };
        if self.voice.order(&speech).is_empty() {
            return Err(Error::new(ErrorKind::Precondition, message::no_speech_provider()));
        }
        self.save(caller, "auto", auto.as_str()).await?;
        Ok(auto)
    }

    /// Has answers no longer spoken.
    ///
    /// # Errors
    /// `Forbidden` below admin.
    pub async fn disable(&self, caller: &Caller) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "tts.disable")?;
        let auto = self.settings.of(caller.tenant).await?.speech.auto;
        if auto != SpeechAuto::Off {
            let store = &self.system_configs.store;
            store.put(caller.tenant, LAST_AUTO, auto.as_str(), self.system_configs.clock.now()).await?;
        }
        self.save(caller, "auto", SpeechAuto::Off.as_str()).await
    }

    /// Chooses who speaks.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` for a service that there is not; `Precondition` for one that cannot be asked.
    pub async fn choose(&self, caller: &Caller, provider: &str) -> Result<SpeechService> {
        caller.require(Role::Admin, Access::Manage, "tts.setProvider")?;
        if provider.is_empty() {
            return Err(Error::required("provider"));
        }
        let service = service(provider)?;
        if !self.voice.configured().contains(&service) {
            return Err(Error::new(ErrorKind::Precondition, message::speech_not_configured(service)));
        }
        self.save(caller, "provider", service.as_str()).await?;
        Ok(service)
    }

    /// Speaks a text into a file of the caller's own directory.
    ///
    /// # Errors
    /// `Forbidden` below operator; `RateLimited`; `Invalid` for a text that is empty or too long, or a name that makes no sense;
    /// `NotFound` for a service that is not configured; `Unavailable` if nobody could speak.
    pub async fn convert(&self, caller: &Caller, asked: Conversion) -> Result<Converted> {
        caller.require(Role::Operator, Access::Write, "tts.convert")?;
        let speech = self.settings.of(caller.tenant).await?.speech.clone();
        let text = asked.text.trim();
        if text.is_empty() {
            return Err(Error::required("text"));
        }
        if text.chars().count() > speech.max_length {
            return Err(Error::invalid(message::too_long("text", speech.max_length)));
        }
        let only = if asked.provider.is_empty() { None } else { Some(service(&asked.provider)?) };
        let format = match asked.format.as_str() {
            "" => voice::format_for(&asked.channel),
            name => AudioFormat::parse(name).ok_or_else(|| Error::invalid(message::not_one_of("format", "mp3, opus")))?,
        };
        let request = SpeechRequest { text: text.to_owned(), voice: name("voice", asked.voice)?, model: name("model", asked.model)?, format };
        self.rate.take(caller.tenant, &format!("tts:{}", caller.limit_key)).await?;
        let spoken = self.voice.speak(&speech, request, only).await?;
        let workspace = self.tools.workspace_of(caller, None, "ws").await?;
        let path = self.voice.files.keep(&workspace, &spoken.audio).await?;
        let format = spoken.audio.format;
        Ok(Converted {
            audio_path: self.links.to(&path),
            provider: spoken.by,
            output_format: format,
            mime_type: format.mime_type(),
            voice_compatible: format.is_voice(),
        })
    }

    /// Makes a value hold: for whoever has none of their own if the installation's owner sets it in the master tenant, else for
    /// the caller's tenant.
    async fn save(&self, caller: &Caller, key: &str, value: &str) -> Result<()> {
        let system_key = format!("tts.{key}");
        if caller.role < Role::Owner || caller.tenant != TenantId::MASTER {
            return self.system_configs.set(caller, &system_key, value).await;
        }
        self.configuration.merge(caller, &json!({"tts": {key: value}}).to_string(), "").await?;
        // Master's own value would hide the one of the configuration.
        self.system_configs.configuration_changed(caller.tenant, &[system_key]).await
    }
}

fn service(name: &str) -> Result<SpeechService> {
    SpeechService::parse(name).ok_or_else(|| Error::invalid(message::not_one_of("provider", SpeechService::NAMES)))
}

/// The name of a voice or a model, if there is one.
fn name(field: &str, name: String) -> Result<Option<String>> {
    if name.chars().count() > MAX_NAME {
        return Err(Error::invalid(message::too_long(field, MAX_NAME)));
    }
    Ok(Some(name).filter(|name| !name.trim().is_empty()))
}
