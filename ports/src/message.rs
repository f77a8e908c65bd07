//! Messages for people: a key and its parameters, translated by the gateway.

use std::fmt;

/// A text that is shown to a user, by catalogue key. [`fmt::Display`] gives the English text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The catalogue key, in Fluent's spelling (`error-not-found`).
    pub key: &'static str,
    /// The values of the text's placeholders, by name.
    pub params: Vec<(&'static str, String)>,
    english: &'static str,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.english.to_owned();
        for (name, value) in &self.params {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        f.write_str(&text)
    }
}

macro_rules! messages {
    ($($name:ident($($param:ident),*) = $key:literal, $english:literal;)*) => {
        $(
            #[doc = concat!("`", $key, "`: ", $english)]
            #[must_use]
            pub fn $name($($param: impl fmt::Display),*) -> Message {
                Message { key: $key, params: vec![$((stringify!($param), $param.to_string())),*], english: $english }
            }
        )*
        /// Every message: key, names of its parameters, English text.
        pub const CATALOGUE: &[(&str, &[&str], &str)] = &[$(($key, &[$(stringify!($param)),*], $english)),*];
    };
}

messages! {
    required(field) = "error-required", "{field} is required";
    invalid_id(what) = "error-invalid-id", "invalid {what} ID";
    not_found(what, id) = "error-not-found", "{what} not found: {id}";
    already_exists(what, id) = "error-already-exists", "{what} already exists: {id}";
    invalid_request(detail) = "error-invalid-request", "invalid request: {detail}";
    invalid_json() = "error-invalid-json", "invalid JSON";
    invalid_updates() = "error-invalid-updates", "no valid updates in the request";
    unauthorized() = "error-unauthorized", "unauthorized";
    permission_denied(what) = "error-permission-denied", "permission denied: {what}";
    requires_role(what, role) = "error-requires-role", "permission denied: {what} requires {role} role";
    owner_only(action) = "error-owner-only", "only the owner may {action}";
    no_access(what) = "error-no-access", "no access to this {what}";
    tenant_revoked() = "error-tenant-revoked", "you have no access to this tenant";
    tenant_closed() = "error-tenant-closed", "this tenant is suspended or archived";
    internal(correlation) = "error-internal", "internal error (reference {correlation})";
    unavailable(what) = "error-unavailable", "{what} is unavailable, try again later";
    no_room() = "error-no-room", "the gateway's disk is full or cannot be written; nothing was stored";
    timeout(what) = "error-timeout", "{what} took too long";
    invalid_slug(field) = "error-invalid-slug", "{field} must be a valid slug (lowercase letters, numbers, hyphens only)";
    too_long(field, limit) = "error-too-long", "{field} must not be longer than {limit} characters";
    not_one_of(field, values) = "error-not-one-of", "{field} must be one of: {values}";
    out_of_range(field, min, max) = "error-out-of-range", "{field} must be between {min} and {max}";
    body_too_large(limit) = "error-body-too-large", "the request body is larger than {limit} bytes";
    invalid_form() = "error-invalid-form", "the body must be multipart/form-data with one file in the field file";
    bad_path() = "error-bad-path", "path must be absolute, without empty parts, . and ..";
    bad_filename() = "error-bad-filename", "the file needs a name of at most 255 bytes";
    too_many_media(limit) = "error-too-many-media", "a message takes at most {limit} files";
    media_too_large(name, limit) = "error-media-too-large", "{name} is larger than {limit} bytes";
    media_quota(limit) = "error-media-quota", "the files of messages take up the {limit} MB that this tenant may keep; delete or reset sessions to make room";
    bad_image(field) = "error-bad-image", "{field} must be a data: URL with a JPEG, PNG, GIF or WebP in base64";
    link_expired() = "error-link-expired", "the link does not hold, or not any more";
    agent_not_found(id) = "error-agent-not-found", "agent not found: {id}";
    agent_inactive(id) = "error-agent-inactive", "agent is not active: {id}";
    agent_summoning() = "error-agent-summoning", "the agent is being summoned";
    summoning_empty() = "error-summoning-empty", "the model's answer held none of the agent's files";
    summoning_failed() = "error-summoning-failed", "the agent could not be summoned; the details are in the gateway's log";
    cannot_delete_default() = "error-cannot-delete-default", "the default agent cannot be deleted";
    user_id_header() = "error-user-id-header", "a user ID is required: send X-GoClaw-User-Id";
    user_id_required() = "error-user-id-required", "a user ID is required: send user_id with connect";
    rate_limit() = "error-rate-limit", "too many requests, slow down";
    quota_hour(used, limit) = "error-quota-hour", "your quota is used up: {used} of {limit} requests within an hour";
    quota_day(used, limit) = "error-quota-day", "your quota is used up: {used} of {limit} requests within a day";
    quota_week(used, limit) = "error-quota-week", "your quota is used up: {used} of {limit} requests within a week";
    no_user_message() = "error-no-user-message", "messages hold no user message with text";
    messages_required() = "error-messages-required", "messages must hold at least one message";
    from_and_to_required() = "error-from-and-to-required", "from and to are required";
    message_required() = "error-message-required", "message is required";
    edition_limit(what, limit) = "error-edition-limit", "this edition allows at most {limit} {what}";
    method_not_allowed() = "error-method-not-allowed", "method not allowed";
    no_such_path(path) = "error-no-such-path", "no such endpoint: {path}";
    unknown_method(name) = "error-unknown-method", "unknown method: {name}";
    bad_frame(detail) = "error-bad-frame", "bad frame: {detail}";
    not_connected() = "error-not-connected", "not connected: send connect first";
    queue_full() = "error-queue-full", "the session's queue is full";
    queue_dropped() = "error-queue-dropped", "the message was dropped: too many wait in this session";
    stopped_run() = "stopped-run", "Stopped. What waits follows.";
    stopped_all(count) = "stopped-all", "Stopped everything ({count}).";
    nothing_to_stop() = "nothing-to-stop", "There is nothing to stop.";
    shutting_down() = "error-shutting-down", "the gateway is shutting down";
    provider_failed(provider, why) = "error-provider-failed", "provider {provider} failed: {why}";
    no_providers(agent) = "error-no-providers", "no providers configured for agent {agent}";
    provider_type_fixed() = "error-provider-type-fixed", "invalid request: provider_type cannot be changed after creation";
    claude_cli_exists() = "error-claude-cli-exists", "Claude CLI provider already exists: only one is allowed per instance";
    unsupported_provider_type() = "error-unsupported-provider-type", "invalid request: unsupported provider_type";
    signed_out() = "error-signed-out", "nobody is signed in to this account any more: sign in again";
    provider_of_other_type(name, provider_type) = "error-provider-of-other-type", "provider \"{name}\" already exists as type \"{provider_type}\"";
    oauth_flow_active() = "error-oauth-flow-active", "another OAuth flow is already active on this server";
    oauth_port(port) = "error-oauth-port", "internal error: failed to start OAuth flow (is port {port} available?)";
    oauth_bad_url() = "error-oauth-bad-url", "the redirect URL cannot be read";
    oauth_error(error) = "error-oauth-error", "OAuth error: {error}";
    oauth_no_code() = "error-oauth-no-code", "the redirect URL holds no code";
    oauth_no_flow() = "error-oauth-no-flow", "no pending OAuth flow";
    oauth_bad_state() = "error-oauth-bad-state", "invalid state parameter (possible CSRF)";
    oauth_exchange_failed(why) = "error-oauth-exchange-failed", "the sign-in could not be completed: {why}";
    oauth_not_saved() = "error-oauth-not-saved", "failed to save token";
    bad_pool(why) = "error-bad-pool", "invalid request: {why}";
    routing_without_pool(provider) = "error-routing-without-pool", "provider \"{provider}\" has no pool: only primary_first without extra_provider_names is allowed";
    routing_not_the_pool(provider, pool) = "error-routing-not-the-pool", "extra_provider_names must be those of provider \"{provider}\", in its order: {pool}";
    program_not_found(program) = "error-program-not-found", "program not found: {program}";
    program_of_operator() = "error-program-of-operator", "only in the master tenant may a provider name a path, arguments or a directory of this machine";
    api_key_required() = "error-api-key-required", "API key is required";
    bad_provider_url(why) = "error-bad-provider-url", "{why}";
    injection_blocked(patterns) = "error-injection-blocked", "the message was blocked: it looks like a prompt injection ({patterns})";
    no_updates_provided() = "error-no-updates-provided", "no updates provided";
    invalid_role() = "error-invalid-role", "invalid role: it must be owner, admin, operator, member or viewer";
    tenant_scope_required() = "error-tenant-scope-required", "a tenant is required";
    unknown_scope(scope, known) = "error-unknown-scope", "unknown scope {scope}; it must be one of: {known}";
    scopes_required() = "error-scopes-required", "scopes must hold at least one scope";
    scope_above_role(scope) = "error-scope-above-role", "you may not give the scope {scope}: it is more than you have";
    master_tenant_fixed() = "error-master-tenant-fixed", "the master tenant cannot be suspended or archived";
    config_hash_mismatch() = "error-config-hash-mismatch", "the configuration was changed in the meantime; read it again and repeat the change";
    raw_config_required() = "error-raw-config-required", "raw is required: the configuration as JSON5";
    raw_patch_required() = "error-raw-patch-required", "raw is required: the changes as a JSON5 object";
    config_invalid(detail) = "error-config-invalid", "the configuration cannot be used: {detail}";
    config_not_written(path) = "error-config-not-written", "the configuration file {path} cannot be written";
    invalid_config_key() = "error-invalid-config-key", "the key must be 1 to 100 letters, digits, dots, underscores or hyphens";
    sender_channel_required() = "error-sender-channel-required", "senderId and channel are required";
    code_required() = "error-code-required", "code is required";
    sender_id_required() = "error-sender-id-required", "sender_id is required";
    too_many_pairings() = "error-too-many-pairings", "too many pairing requests are waiting; try again later";
    invalid_log_action() = "error-invalid-log-action", "action must be start or stop";
    log_lines_skipped(count) = "log-lines-skipped", "{count} log lines came too fast and were left out";
    log_tail_started(level) = "log-tail-started", "following the log from level {level}";
    run_cancelled() = "error-run-cancelled", "the run was stopped";
    no_speech_provider() = "error-no-speech-provider", "no text-to-speech provider is configured";
    speech_not_configured(provider) = "error-speech-not-configured", "the text-to-speech provider {provider} is not configured";
    speech_failed() = "error-speech-failed", "all tts providers failed";
    archive_invalid(detail) = "error-archive-invalid", "the archive cannot be used: {detail}";
    archive_too_large(limit) = "error-archive-too-large", "the archive would be larger than {limit} MiB; leave the workspace out, or make it smaller";
    link_to_itself() = "error-link-to-itself", "an agent cannot be linked to itself";
    link_to_open(agent) = "error-link-to-open", "{agent} is an open agent: only predefined agents can be the target of a link";
    heartbeat_not_configured(agent) = "error-heartbeat-not-configured", "no heartbeat is configured for {agent}";
    heartbeat_failed() = "error-heartbeat-failed", "the heartbeat failed; the details are in the gateway's log";
    heartbeat_half_hours() = "error-heartbeat-half-hours", "activeHoursStart and activeHoursEnd must be set together";
    invalid_time_of_day(field) = "error-invalid-time-of-day", "{field} must be a time of day as HH:MM";
    unknown_timezone(name) = "error-unknown-timezone", "unknown time zone: {name}; use an IANA name such as Asia/Ho_Chi_Minh";
    budget_exceeded(spent, budget) = "error-budget-exceeded", "monthly budget exceeded (${spent} / ${budget})";
    run_interrupted() = "error-run-interrupted", "the run was interrupted by a restart of the gateway";
    upstream_timeout() = "error-upstream-timeout", "the model took too long to answer; please try again";
    upstream_context() = "error-upstream-context", "the conversation is too long for the model; start a new session";
    upstream_history() = "error-upstream-history", "the model refused the conversation's history; start a new session";
    upstream_rate_limit() = "error-upstream-rate-limit", "the model's provider limits the rate of requests; try again in a moment";
    upstream_overloaded() = "error-upstream-overloaded", "the model's provider is overloaded; try again in a moment";
    upstream_billing() = "error-upstream-billing", "the provider refused the request for billing reasons; check the account";
    upstream_auth() = "error-upstream-auth", "the provider refused the API key; check the provider's settings";
    upstream_model() = "error-upstream-model", "the provider does not know this model; check the agent's model";
    upstream_other() = "error-upstream-other", "the model's provider failed; the details are in the gateway's log";
    database_in_use(path, pid) = "error-database-in-use", "the database is in use by process {pid} (lock file {path})";
    schema_too_new(version, known) = "error-schema-too-new", "the database has schema version {version}, newer than the {known} this build knows; use a newer build";
    schema_outdated(version, needed) = "error-schema-outdated", "the database has schema version {version} and this build needs {needed}: run `goclaw migrate up` or set GOCLAW_AUTO_UPGRADE=true";
    database_rights(right) = "error-database-rights", "the database user lacks a right that the migration needs: {right}";
}
