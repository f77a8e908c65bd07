//! The tables, as the migrations leave them.

diesel::table! {
    tenants (id) {
        id -> Uuid,
        name -> Text,
        slug -> Text,
        status -> Text,
        settings -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    tenant_users (tenant_id, user_id) {
        tenant_id -> Uuid,
        user_id -> Text,
        role -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        id -> Uuid,
        display_name -> Nullable<Text>,
        metadata -> Jsonb,
    }
}

diesel::table! {
    api_keys (id) {
        id -> Uuid,
        tenant_id -> Nullable<Uuid>,
        name -> Text,
        prefix -> Text,
        key_hash -> Text,
        scopes -> Jsonb,
        owner_id -> Text,
        expires_at -> Nullable<Timestamptz>,
        last_used_at -> Nullable<Timestamptz>,
        revoked -> Bool,
        created_by -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    agents (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        agent_key -> Text,
        display_name -> Text,
        frontmatter -> Text,
        owner_id -> Text,
        provider -> Text,
        model -> Text,
        context_window -> BigInt,
        max_tool_iterations -> Integer,
        workspace -> Text,
        agent_type -> Text,
        is_default -> Bool,
        status -> Text,
        budget_monthly_cents -> Nullable<BigInt>,
        tools_config -> Jsonb,
        sandbox_config -> Nullable<Jsonb>,
        subagents_config -> Nullable<Jsonb>,
        memory_config -> Nullable<Jsonb>,
        compaction_config -> Nullable<Jsonb>,
        context_pruning -> Nullable<Jsonb>,
        other_config -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    agent_shares (tenant_id, agent_id, user_id) {
        id -> Uuid,
        agent_id -> Uuid,
        tenant_id -> Uuid,
        user_id -> Text,
        role -> Text,
        granted_by -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    agent_context_files (tenant_id, agent_id, file_name) {
        agent_id -> Uuid,
        tenant_id -> Uuid,
        file_name -> Text,
        content -> Text,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    user_context_files (tenant_id, agent_id, user_id, file_name) {
        agent_id -> Uuid,
        tenant_id -> Uuid,
        user_id -> Text,
        file_name -> Text,
        content -> Text,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    user_agent_profiles (tenant_id, agent_id, user_id) {
        agent_id -> Uuid,
        tenant_id -> Uuid,
        user_id -> Text,
        workspace -> Text,
        first_seen_at -> Timestamptz,
        last_seen_at -> Timestamptz,
        metadata -> Jsonb,
    }
}

diesel::table! {
    llm_providers (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        name -> Text,
        display_name -> Text,
        provider_type -> Text,
        api_base -> Text,
        api_key -> Nullable<Text>,
        enabled -> Bool,
        settings -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    sessions (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        session_key -> Text,
        agent_id -> Nullable<Uuid>,
        user_id -> Text,
        summary -> Text,
        model -> Text,
        provider -> Text,
        channel -> Text,
        label -> Text,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        compaction_count -> Integer,
        metadata -> Jsonb,
        message_count -> BigInt,
        message_bytes -> BigInt,
        next_seq -> BigInt,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    session_messages (tenant_id, session_id, seq) {
        session_id -> Uuid,
        tenant_id -> Uuid,
        seq -> BigInt,
        message -> Jsonb,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    config_secrets (tenant_id, name) {
        tenant_id -> Uuid,
        name -> Text,
        value -> Text,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    system_configs (tenant_id, key) {
        tenant_id -> Uuid,
        key -> Text,
        value -> Text,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    traces (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        parent_trace_id -> Nullable<Uuid>,
        agent_id -> Nullable<Uuid>,
        user_id -> Text,
        session_key -> Text,
        run_id -> Text,
        start_time -> Timestamptz,
        end_time -> Nullable<Timestamptz>,
        duration_ms -> Nullable<BigInt>,
        name -> Text,
        channel -> Text,
        input_preview -> Text,
        output_preview -> Text,
        total_input_tokens -> BigInt,
        total_output_tokens -> BigInt,
        total_cost -> Double,
        span_count -> Integer,
        llm_call_count -> Integer,
        tool_call_count -> Integer,
        status -> Text,
        error -> Text,
        metadata -> Jsonb,
        tags -> Jsonb,
        team_id -> Nullable<Uuid>,
        created_at -> Timestamptz,
        lease_until -> Timestamptz,
    }
}

diesel::table! {
    spans (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        trace_id -> Uuid,
        parent_span_id -> Nullable<Uuid>,
        agent_id -> Nullable<Uuid>,
        span_type -> Text,
        name -> Text,
        start_time -> Timestamptz,
        end_time -> Nullable<Timestamptz>,
        duration_ms -> Nullable<BigInt>,
        status -> Text,
        error -> Text,
        level -> Text,
        model -> Text,
        provider -> Text,
        input_tokens -> Nullable<BigInt>,
        output_tokens -> Nullable<BigInt>,
        total_cost -> Nullable<Double>,
        finish_reason -> Text,
        tool_name -> Text,
        tool_call_id -> Text,
        input_preview -> Text,
        output_preview -> Text,
        metadata -> Jsonb,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    activity_logs (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        actor_type -> Text,
        actor_id -> Text,
        action -> Text,
        entity_type -> Text,
        entity_id -> Text,
        details -> Nullable<Jsonb>,
        ip_address -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    builtin_tools (name) {
        name -> Text,
        display_name -> Text,
        description -> Text,
        category -> Text,
        enabled -> Bool,
        settings -> Jsonb,
        requires -> Jsonb,
        metadata -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    builtin_tool_tenant_configs (tenant_id, tool_name) {
        tool_name -> Text,
        tenant_id -> Uuid,
        enabled -> Bool,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    pairing_requests (code) {
        code -> Text,
        tenant_id -> Uuid,
        sender -> Text,
        channel -> Text,
        chat_id -> Text,
        account_id -> Text,
        user_id -> Text,
        counted_as -> Text,
        metadata -> Jsonb,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    paired_devices (tenant_id, channel, sender) {
        tenant_id -> Uuid,
        sender -> Text,
        channel -> Text,
        chat_id -> Text,
        user_id -> Text,
        paired_by -> Text,
        metadata -> Jsonb,
        paired_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    agent_config_permissions (tenant_id, agent_id, scope, config_type, user_id) {
        id -> Uuid,
        tenant_id -> Uuid,
        agent_id -> Uuid,
        scope -> Text,
        config_type -> Text,
        user_id -> Text,
        permission -> Text,
        granted_by -> Text,
        metadata -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    agent_links (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        source_agent_id -> Uuid,
        target_agent_id -> Uuid,
        direction -> Text,
        description -> Text,
        max_concurrent -> Integer,
        settings -> Nullable<Jsonb>,
        status -> Text,
        created_by -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    agent_heartbeats (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        agent_id -> Uuid,
        enabled -> Bool,
        interval_sec -> BigInt,
        prompt -> Nullable<Text>,
        provider_id -> Nullable<Uuid>,
        provider_name -> Nullable<Text>,
        model -> Nullable<Text>,
        isolated_session -> Bool,
        light_context -> Bool,
        ack_max_chars -> BigInt,
        max_retries -> Integer,
        active_hours_start -> Nullable<Text>,
        active_hours_end -> Nullable<Text>,
        timezone -> Nullable<Text>,
        channel -> Nullable<Text>,
        chat_id -> Nullable<Text>,
        next_run_at -> Nullable<Timestamptz>,
        last_run_at -> Nullable<Timestamptz>,
        last_status -> Nullable<Text>,
        last_error -> Nullable<Text>,
        run_count -> BigInt,
        suppress_count -> BigInt,
        metadata -> Nullable<Jsonb>,
        woken_at -> Nullable<Timestamptz>,
        claim -> Nullable<Uuid>,
        claimed_until -> Nullable<Timestamptz>,
        put_off_from -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    subagent_tasks (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        kind -> Text,
        parent_agent_id -> Uuid,
        parent_agent_key -> Text,
        session_key -> Text,
        agent_id -> Uuid,
        agent_key -> Text,
        link_id -> Nullable<Uuid>,
        subject -> Text,
        description -> Text,
        status -> Text,
        result -> Text,
        depth -> Integer,
        model -> Text,
        provider -> Text,
        iterations -> Integer,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        origin_channel -> Text,
        origin_chat_id -> Text,
        origin_peer_kind -> Text,
        origin_user_id -> Text,
        origin_role -> Text,
        spawned_by -> Text,
        lease_owner -> Uuid,
        lease_until -> Timestamptz,
        told_at -> Nullable<Timestamptz>,
        completed_at -> Nullable<Timestamptz>,
        archive_at -> Nullable<Timestamptz>,
        archived_at -> Nullable<Timestamptz>,
        metadata -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    inbound_messages (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        session_key -> Text,
        agent_id -> Uuid,
        text -> Text,
        origin_channel -> Text,
        origin_chat_id -> Text,
        origin_peer_kind -> Text,
        origin_user_id -> Text,
        origin_role -> Text,
        metadata -> Jsonb,
        said -> Nullable<BigInt>,
        attempts -> Integer,
        lease_owner -> Uuid,
        lease_until -> Timestamptz,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    heartbeat_run_logs (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        heartbeat_id -> Uuid,
        agent_id -> Uuid,
        status -> Text,
        summary -> Nullable<Text>,
        error -> Nullable<Text>,
        duration_ms -> Nullable<BigInt>,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        skip_reason -> Nullable<Text>,
        metadata -> Nullable<Jsonb>,
        ran_at -> Timestamptz,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    media (id) {
        id -> Uuid,
        tenant_id -> Uuid,
        session_key -> Text,
        path -> Text,
        mime_type -> Text,
        created_at -> Timestamptz,
    }
}

diesel::allow_tables_to_appear_in_same_query!(media, sessions);
diesel::allow_tables_to_appear_in_same_query!(agents, agent_shares, sessions, session_messages);
diesel::allow_tables_to_appear_in_same_query!(agents, agent_links);
diesel::allow_tables_to_appear_in_same_query!(agent_heartbeats, heartbeat_run_logs, llm_providers);
diesel::allow_tables_to_appear_in_same_query!(tenants, tenant_users);
