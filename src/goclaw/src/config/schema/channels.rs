//! `channels`: where messages come from.

use super::{
    gateway::Window,
    values::{Count, Int, Secret, Strings, words},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

words! {
    /// Who may write to an agent directly.
    DmPolicy {
        /// Whoever was let in by a code.
        Pairing = "pairing",
        /// Who is on the list.
        Allowlist = "allowlist",
        /// Everybody.
        Open = "open",
        /// Nobody.
        Disabled = "disabled",
    }
    /// In which groups an agent answers.
    GroupPolicy {
        /// In all.
        Open = "open",
        /// In those that were let in by a code.
        Pairing = "pairing",
        /// In those on the list.
        Allowlist = "allowlist",
        /// In none.
        Disabled = "disabled",
    }
    /// How an agent is called in a group.
    MentionMode {
        /// By its name only.
        Strict = "strict",
        /// By its name, or if nobody else is meant.
        Yield = "yield",
    }
    /// How much an agent tells by reactions.
    ReactionLevel {
        /// Nothing.
        Off = "off",
        /// That it has read a message, and that it is done.
        Minimal = "minimal",
        /// Every step.
        Full = "full",
    }
    /// How events of Feishu arrive.
    ConnectionMode {
        /// Over a connection that the gateway opens.
        Websocket = "websocket",
        /// By requests to the gateway.
        Webhook = "webhook",
    }
    /// How answers look in Feishu.
    RenderMode {
        /// As the text needs it.
        Auto = "auto",
        /// As plain text.
        Raw = "raw",
        /// As a card.
        Card = "card",
    }
}

/// Where messages come from.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Channels {
    /// Telegram.
    pub telegram: Telegram,
    /// Discord.
    pub discord: Discord,
    /// Slack.
    pub slack: Slack,
    /// WhatsApp, over a bridge.
    pub whatsapp: Whatsapp,
    /// Zalo, official account.
    pub zalo: Zalo,
    /// Zalo, a person's account.
    pub zalo_personal: ZaloPersonal,
    /// Feishu and Lark.
    pub feishu: Feishu,
    /// When messages that wait in groups are summed up.
    pub pending_compaction: PendingCompaction,
}

/// When messages that wait in groups are summed up.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PendingCompaction {
    /// From how many on; 200 if absent.
    pub threshold: Option<Int<0, 1_000_000>>,
    /// How many of the newest stay as they are; 40 if absent.
    pub keep_recent: Option<Int<0, 1_000_000>>,
    /// The longest summary, in tokens; 4096 if absent.
    pub max_tokens: Option<Int<0, 10_000_000>>,
    /// Who sums up.
    pub provider: Option<String>,
    /// With which model.
    pub model: Option<String>,
}

/// Makes a channel's section: what it has of its own, after what all have.
macro_rules! channel {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Default, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct $name {
            /// Whether it is used. Credentials from the environment switch it on.
            pub enabled: Option<bool>,
            /// Who may write: ids or names.
            pub allow_from: Strings,
            /// Who may write directly.
            pub dm_policy: Option<DmPolicy>,
            /// In which groups agents answer.
            pub group_policy: Option<GroupPolicy>,
            /// Whether each part of an answer is sent when it is ready.
            pub block_reply: Option<bool>,
            $($(#[$attribute])* pub $field: $kind,)*
        }
    };
}

channel! {
    /// Telegram.
    Telegram {
        /// The bot's token.
        token: Option<Secret>,
        /// A proxy on the way to Telegram.
        proxy: Option<String>,
        /// A server of the Bot API other than Telegram's own.
        api_server: Option<String>,
        /// Whether agents answer in groups only when they are called; true if absent.
        require_mention: Option<bool>,
        /// How they are called.
        mention_mode: Option<MentionMode>,
        /// How many messages of a group an agent sees.
        history_limit: Option<Int<0, 10_000>>,
        /// Whether direct answers appear as they are written.
        dm_stream: Option<bool>,
        /// Whether answers in groups appear as they are written.
        group_stream: Option<bool>,
        /// Whether answers that are being written appear as drafts.
        draft_transport: Option<bool>,
        /// Whether thoughts appear as they come.
        reasoning_stream: Option<bool>,
        /// How much agents tell by reactions.
        reaction_level: Option<ReactionLevel>,
        /// Larger files are not taken, in bytes; 20971520 if absent.
        media_max_bytes: Option<Count>,
        /// Whether links get a preview; true if absent.
        link_preview: Option<bool>,
        /// Whether Telegram is reached over IPv4 only.
        force_ipv4: Option<bool>,
        /// Where speech becomes text.
        stt_proxy_url: Option<String>,
        /// The key for that.
        stt_api_key: Option<Secret>,
        /// The tenant for that.
        stt_tenant_id: Option<String>,
        /// How long that may take, in seconds; 30 if absent.
        stt_timeout_seconds: Option<Int<0, 3600>>,
        /// The agent that answers voice messages.
        voice_agent_id: Option<String>,
        /// What is said instead of an answer that should not be heard, if there is a transcript.
        audio_guard_fallback_transcript: Option<String>,
        /// The same without one.
        audio_guard_fallback_no_transcript: Option<String>,
        /// Answers with these words should not be heard.
        audio_guard_error_markers: Option<Strings>,
        /// What differs in a group, by chat id; `*` for all.
        groups: BTreeMap<String, TelegramGroup>,
    }
}

/// What differs in a group of Telegram.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TelegramGroup {
    /// Whether agents answer there; true if absent.
    pub enabled: Option<bool>,
    /// Whether agents answer there, as a policy.
    pub group_policy: Option<GroupPolicy>,
    /// Whether they must be called.
    pub require_mention: Option<bool>,
    /// How.
    pub mention_mode: Option<MentionMode>,
    /// Who may write.
    pub allow_from: Option<Strings>,
    /// Their skills there; all if absent.
    pub skills: Option<Strings>,
    /// Their tools there; all if absent.
    pub tools: Option<Strings>,
    /// What they are told besides.
    pub system_prompt: Option<String>,
    /// How much they answer.
    pub quota: Option<Window>,
    /// What differs in a topic, by thread id.
    pub topics: BTreeMap<String, TelegramTopic>,
}

/// What differs in a topic of a group.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TelegramTopic {
    /// Whether agents answer there.
    pub enabled: Option<bool>,
    /// Whether agents answer there, as a policy.
    pub group_policy: Option<GroupPolicy>,
    /// Whether they must be called.
    pub require_mention: Option<bool>,
    /// How.
    pub mention_mode: Option<MentionMode>,
    /// Who may write.
    pub allow_from: Option<Strings>,
    /// Their skills there.
    pub skills: Option<Strings>,
    /// Their tools there.
    pub tools: Option<Strings>,
    /// What they are told besides.
    pub system_prompt: Option<String>,
}

channel! {
    /// Discord.
    Discord {
        /// The bot's token.
        token: Option<Secret>,
        /// Whether agents answer in groups only when they are called.
        require_mention: Option<bool>,
        /// How many messages of a group an agent sees.
        history_limit: Option<Int<0, 10_000>>,
        /// Larger files are not taken, in bytes; 26214400 if absent.
        media_max_bytes: Option<Count>,
        /// Where speech becomes text.
        stt_proxy_url: Option<String>,
        /// The key for that.
        stt_api_key: Option<Secret>,
        /// The tenant for that.
        stt_tenant_id: Option<String>,
        /// How long that may take, in seconds.
        stt_timeout_seconds: Option<Int<0, 3600>>,
        /// The agent that answers voice messages.
        voice_agent_id: Option<String>,
    }
}

channel! {
    /// Slack.
    Slack {
        /// The bot's token.
        bot_token: Option<Secret>,
        /// The app's token.
        app_token: Option<Secret>,
        /// A user's token.
        user_token: Option<Secret>,
        /// Whether agents answer in channels only when they are called.
        require_mention: Option<bool>,
        /// How many messages of a channel an agent sees.
        history_limit: Option<Int<0, 10_000>>,
        /// Whether direct answers appear as they are written.
        dm_stream: Option<bool>,
        /// Whether answers in channels appear as they are written.
        group_stream: Option<bool>,
        /// Whether Slack's own streaming is used.
        native_stream: Option<bool>,
        /// How much agents tell by reactions.
        reaction_level: Option<ReactionLevel>,
        /// Messages that come within so many milliseconds are one; 300 if absent.
        debounce_delay: Option<Int<0, 600_000>>,
        /// For how many hours an agent goes on in a thread; 24 if absent, 0 for off.
        thread_ttl: Option<Int<0, 100_000>>,
        /// Larger files are not taken, in bytes; 20971520 if absent.
        media_max_bytes: Option<Count>,
    }
}

channel! {
    /// WhatsApp, over a bridge.
    Whatsapp {
        /// The bridge.
        bridge_url: Option<String>,
    }
}

channel! {
    /// Zalo, official account.
    Zalo {
        /// The account's token.
        token: Option<Secret>,
        /// Where Zalo sends messages.
        webhook_url: Option<String>,
        /// How Zalo proves that it is Zalo.
        webhook_secret: Option<Secret>,
        /// Larger files are not taken, in MB; 5 if absent.
        media_max_mb: Option<Int<0, 10_000>>,
    }
}

channel! {
    /// Zalo, a person's account.
    ZaloPersonal {
        /// Whether agents answer in groups only when they are called; true if absent.
        require_mention: Option<bool>,
        /// How many messages of a group an agent sees.
        history_limit: Option<Int<0, 10_000>>,
        /// The file with the account's credentials.
        credentials_path: Option<String>,
    }
}

channel! {
    /// Feishu and Lark.
    Feishu {
        /// The app's id.
        app_id: Option<Secret>,
        /// The app's secret.
        app_secret: Option<Secret>,
        /// Opens encrypted events.
        encrypt_key: Option<Secret>,
        /// How Feishu proves that it is Feishu.
        verification_token: Option<Secret>,
        /// `lark`, `feishu` or a URL.
        domain: Option<String>,
        /// How events arrive.
        connection_mode: Option<ConnectionMode>,
        /// The port for webhooks; 3000 if absent.
        webhook_port: Option<Int<0, 65_535>>,
        /// The path for webhooks; /feishu/events if absent.
        webhook_path: Option<String>,
        /// Who may write in groups.
        group_allow_from: Strings,
        /// Whether agents answer in groups only when they are called; true if absent.
        require_mention: Option<bool>,
        /// Whether a topic is a session of its own; `disabled` if absent.
        topic_session_mode: Option<String>,
        /// The longest message, in characters; 4000 if absent.
        text_chunk_limit: Option<Int<0, 1_000_000>>,
        /// Larger files are not taken, in MB; 30 if absent.
        media_max_mb: Option<Int<0, 10_000>>,
        /// How answers look.
        render_mode: Option<RenderMode>,
        /// Whether answers appear as they are written; true if absent.
        streaming: Option<bool>,
        /// How much agents tell by reactions.
        reaction_level: Option<ReactionLevel>,
        /// How many messages of a group an agent sees.
        history_limit: Option<Int<0, 10_000>>,
        /// Where speech becomes text.
        stt_proxy_url: Option<String>,
        /// The key for that.
        stt_api_key: Option<Secret>,
        /// The tenant for that.
        stt_tenant_id: Option<String>,
        /// How long that may take, in seconds.
        stt_timeout_seconds: Option<Int<0, 3600>>,
        /// The agent that answers voice messages.
        voice_agent_id: Option<String>,
    }
}
