//! `tts.*`: text to speech.

use super::{frame::payload, methods::Call};
use goclaw_core::{settings::SpeechAuto, speech::Conversion};
use goclaw_ports::{Result, speech::SpeechService};
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize)]
#[serde(default)]
struct EnableParams {
    auto: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProviderParams {
    provider: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConvertParams {
    /// `text`, which frames hand on under its first name.
    message: String,
    provider: String,
    voice: String,
    model: String,
    channel: String,
    format: String,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto: Option<SpeechAuto>,
}

#[derive(Serialize)]
struct Chosen {
    provider: SpeechService,
}

/// `tts.status`: how it is set up.
pub(super) async fn status(call: Call) -> Result<String> {
    payload(&call.gateway.core.speech.status(&call.caller).await?)
}

/// `tts.providers`: who could speak.
pub(super) async fn providers(call: Call) -> Result<String> {
    payload(&call.gateway.core.speech.services(&call.caller).await?)
}

/// `tts.enable`: has answers spoken.
pub(super) async fn enable(call: Call) -> Result<String> {
    let EnableParams { auto } = call.params.strict()?;
    let auto = call.gateway.core.speech.enable(&call.caller, &auto).await?;
    payload(&Enabled { enabled: true, auto: Some(auto) })
}

/// `tts.disable`: has answers no longer spoken.
pub(super) async fn disable(call: Call) -> Result<String> {
    call.gateway.core.speech.disable(&call.caller).await?;
    payload(&Enabled { enabled: false, auto: None })
}

/// `tts.setProvider`: chooses who speaks.
pub(super) async fn set_provider(call: Call) -> Result<String> {
    let ProviderParams { provider } = call.params.strict()?;
    payload(&Chosen { provider: call.gateway.core.speech.choose(&call.caller, &provider).await? })
}

/// `tts.convert`: speaks a text.
pub(super) async fn convert(call: Call) -> Result<String> {
    let ConvertParams { message, provider, voice, model, channel, format } = call.params.strict()?;
    let asked = Conversion { text: message, provider, voice, model, channel, format };
    payload(&call.gateway.core.speech.convert(&call.caller, asked).await?)
}
