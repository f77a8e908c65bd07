use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, Error, HeartbeatId, ProviderId, TenantId,
    agents::{AgentPatch, AgentStatus},
    heartbeats::{Heartbeat, HeartbeatEdit, HeartbeatLog, HeartbeatStatus, KEPT_LOGS, SkipReason},
    tenants::{TenantPatch, TenantStatus},
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{at, odd_json, provider},
};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};
use uuid::Uuid;

/// An enabled heartbeat that is due at `at(100)`.
fn beat(agent: AgentId) -> Heartbeat {
    Heartbeat {
        id: HeartbeatId(Uuid::now_v7()),
        agent_id: agent,
        enabled: true,
        interval_sec: 600,
        prompt: None,
        provider_id: None,
        provider_name: None,
        model: None,
        isolated_session: true,
        light_context: false,
        ack_max_chars: 300,
        max_retries: 2,
        active_hours_start: None,
        active_hours_end: None,
        timezone: None,
        channel: None,
        chat_id: None,
        next_run_at: Some(at(100)),
        last_run_at: None,
        last_status: None,
        last_error: None,
        run_count: 0,
        suppress_count: 0,
        metadata: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn log(of: &Heartbeat, status: HeartbeatStatus, began: i64, over: i64) -> HeartbeatLog {
    HeartbeatLog {
        id: Uuid::now_v7(),
        heartbeat_id: of.id,
        agent_id: of.agent_id,
        status,
        summary: None,
        error: None,
        duration_ms: Some(1_000 * (over - began)),
        input_tokens: 12,
        output_tokens: 7,
        skip_reason: None,
        metadata: None,
        ran_at: at(began),
        created_at: at(over),
    }
}

/// An edit that says this, whatever was there.
fn says(beat: &Heartbeat) -> HeartbeatEdit {
    let beat = beat.clone();
    Arc::new(move |_| Ok(beat.clone()))
}

async fn store(db: &TestDatabase, tenant: TenantId, beat: &Heartbeat) -> Heartbeat {
    db.stores.heartbeats.change(tenant, beat.agent_id, says(beat)).await.unwrap()
}

async fn found(db: &TestDatabase, tenant: TenantId, agent: AgentId) -> Heartbeat {
    db.stores.heartbeats.find(tenant, agent).await.unwrap().unwrap()
}

/// Claims at `at(now)` for 100 s, and answers with the claim and the agents.
async fn claim(db: &TestDatabase, now: i64, limit: i64) -> (Uuid, Vec<AgentId>) {
    let claim = Uuid::new_v4();
    let claimed = db.stores.heartbeats.all_tenants_claim(claim, at(now), at(now + 100), limit).await.unwrap();
    (claim, claimed.into_iter().map(|claimed| claimed.heartbeat.agent_id).collect())
}

on_both_databases! {
    async fn a_heartbeat_comes_back_as_it_was_stored(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await.id;
        let own = provider(a, "own");
        db.stores.providers.insert(a, &own).await.unwrap();
        let full = Heartbeat {
            enabled: false,
            prompt: Some("Xem hộp thư 🦀\nnhé".into()),
            provider_id: Some(own.id),
            provider_name: Some("own".into()),
            model: Some("m".into()),
            isolated_session: false,
            light_context: true,
            active_hours_start: Some("08:00".into()),
            active_hours_end: Some("22:00".into()),
            timezone: Some("Asia/Ho_Chi_Minh".into()),
            channel: Some("telegram".into()),
            chat_id: Some("-100".into()),
            next_run_at: None,
            metadata: Some(odd_json()),
            updated_at: at(5),
            ..beat(fox)
        };
        assert_eq!(store(&db, a, &full).await, full);
        assert_eq!(found(&db, a, fox).await, full);
        let bare = Heartbeat { id: full.id, updated_at: at(6), provider_name: Some("anthropic".into()), ..beat(fox) };
        assert_eq!(store(&db, a, &bare).await, bare, "what is cleared is gone");
        assert_eq!(db.stores.heartbeats.find(a, AgentId(Uuid::now_v7())).await.unwrap(), None);
    }

    async fn an_edit_sees_what_is_there_and_may_refuse(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await.id;
        let refuse: HeartbeatEdit = Arc::new(|before| Err(Error::invalid_request(before.map_or_else(|| "none".to_owned(), |beat| beat.interval_sec.to_string()))));
        let refused = |result: goclaw_ports::Result<Heartbeat>| result.unwrap_err().message.to_string();
        assert_eq!(refused(db.stores.heartbeats.change(a, fox, refuse.clone()).await), "invalid request: none");
        assert_eq!(db.stores.heartbeats.find(a, fox).await.unwrap(), None);
        let stored = store(&db, a, &beat(fox)).await;
        assert_eq!(refused(db.stores.heartbeats.change(a, fox, refuse).await), "invalid request: 600");
        assert_eq!(found(&db, a, fox).await, stored);
        assert_fails!(db.stores.heartbeats.change(a, AgentId(Uuid::now_v7()), says(&stored)).await, NotFound);
        let unknown = Heartbeat { provider_id: Some(ProviderId(Uuid::now_v7())), ..stored.clone() };
        assert_fails!(db.stores.heartbeats.change(a, fox, says(&unknown)).await, NotFound);
        assert_eq!(found(&db, a, fox).await, stored);
    }

    async fn changes_at_once_are_all_there(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await.id;
        let first = beat(fox);
        let add: HeartbeatEdit = Arc::new(move |before| {
            let before = before.unwrap_or_else(|| first.clone());
            Ok(Heartbeat { interval_sec: before.interval_sec + 1, ..before })
        });
        let changes = (0..12).map(|_| db.stores.heartbeats.change(a, fox, add.clone()));
        futures_util::future::try_join_all(changes).await.unwrap();
        assert_eq!(found(&db, a, fox).await.interval_sec, 612);
    }

    async fn a_provider_that_goes_leaves_the_agents_own(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await.id;
        let own = provider(a, "own");
        db.stores.providers.insert(a, &own).await.unwrap();
        store(&db, a, &Heartbeat { provider_id: Some(own.id), provider_name: Some("own".into()), ..beat(fox) }).await;
        db.stores.providers.delete(a, own.id).await.unwrap();
        let left = found(&db, a, fox).await;
        assert_eq!((left.provider_id, left.provider_name), (None, None));
    }

    async fn due_and_woken_heartbeats_are_claimed_those_first_that_waited_longest(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let mut ids = vec![];
        for (tenant, key, change) in [
            (a, "late", Heartbeat { next_run_at: Some(at(90)), ..beat(AgentId(Uuid::nil())) }),
            (b, "early", Heartbeat { next_run_at: Some(at(10)), ..beat(AgentId(Uuid::nil())) }),
            (a, "off", Heartbeat { enabled: false, next_run_at: Some(at(10)), ..beat(AgentId(Uuid::nil())) }),
            (a, "soon", Heartbeat { next_run_at: Some(at(101)), ..beat(AgentId(Uuid::nil())) }),
            (a, "never", Heartbeat { next_run_at: None, ..beat(AgentId(Uuid::nil())) }),
            (b, "woken", Heartbeat { enabled: false, next_run_at: None, ..beat(AgentId(Uuid::nil())) }),
        ] {
            let agent = db.agent(tenant, key).await.id;
            store(&db, tenant, &Heartbeat { agent_id: agent, ..change }).await;
            ids.push(agent);
        }
        assert!(db.stores.heartbeats.wake(b, ids[5], at(50)).await.unwrap());
        assert!(!db.stores.heartbeats.wake(b, AgentId(Uuid::now_v7()), at(50)).await.unwrap());
        assert_eq!(claim(&db, 100, 10).await.1, [ids[1], ids[5], ids[0]]);
        assert_eq!(claim(&db, 100, 10).await.1, [], "each is claimed once");
        assert_eq!(claim(&db, 101, 10).await.1, [ids[3]]);
    }

    async fn no_more_are_claimed_than_there_is_room_for(db) {
        let a = db.tenant("a").await;
        for key in ["one", "two", "three"] {
            store(&db, a, &beat(db.agent(a, key).await.id)).await;
        }
        assert_eq!(claim(&db, 100, 0).await.1.len(), 0);
        assert_eq!(claim(&db, 100, 2).await.1.len(), 2);
        assert_eq!(claim(&db, 100, 2).await.1.len(), 1);
    }

    async fn of_two_claimers_at_once_each_gets_others_and_none_is_lost(db) {
        const AGENTS: usize = 60;
        let a = db.tenant("a").await;
        let mut all = BTreeSet::new();
        for n in 0..AGENTS {
            let agent = db.agent(a, &format!("agent-{n}")).await.id;
            store(&db, a, &beat(agent)).await;
            all.insert(agent);
        }
        let claimers = (0..4).map(|_| async {
            let mut claimed = vec![];
            loop {
                match claim(&db, 100, 5).await.1 {
                    some if some.is_empty() => return claimed,
                    some => claimed.extend(some),
                }
            }
        });
        let claimed: Vec<AgentId> = futures_util::future::join_all(claimers).await.concat();
        // A claimer that finds all others' rows locked goes away; nothing is left over all the same.
        let left = claim(&db, 100, 100).await.1;
        assert_eq!(claimed.len() + left.len(), AGENTS);
        assert_eq!(claimed.into_iter().chain(left).collect::<BTreeSet<_>>(), all);
    }

    async fn only_active_agents_of_active_tenants_run(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, owl) = (db.agent(a, "fox").await.id, db.agent(b, "owl").await.id);
        for (tenant, agent) in [(a, fox), (b, owl)] {
            store(&db, tenant, &beat(agent)).await;
            db.stores.heartbeats.wake(tenant, agent, at(1)).await.unwrap();
        }
        let status = async |status| db.stores.agents.update(a, fox, &AgentPatch { status: Some(status), ..AgentPatch::default() }, &[], at(1)).await.unwrap();
        let tenant = async |status| db.stores.tenants.update(b, &TenantPatch { status: Some(status), ..TenantPatch::default() }, at(1)).await.unwrap();
        status(AgentStatus::Inactive).await;
        for closed in [TenantStatus::Suspended, TenantStatus::Archived] {
            tenant(closed).await;
            assert_eq!(claim(&db, 100, 10).await.1, []);
        }
        status(AgentStatus::Active).await;
        assert_eq!(claim(&db, 100, 10).await.1, [fox]);
        tenant(TenantStatus::Active).await;
        assert_eq!(claim(&db, 100, 10).await.1, [owl]);
    }

    async fn a_claim_holds_until_it_is_over_and_longer_if_it_is_renewed(db) {
        let a = db.tenant("a").await;
        let fox = store(&db, a, &beat(db.agent(a, "fox").await.id)).await;
        let beats = &db.stores.heartbeats;
        let (first, _) = claim(&db, 100, 10).await;
        assert_eq!(claim(&db, 199, 10).await.1, []);
        assert!(beats.renew(a, fox.id, first, at(300)).await.unwrap());
        assert_eq!(claim(&db, 299, 10).await.1, []);
        let (second, claimed) = claim(&db, 300, 10).await;
        assert_eq!(claimed, [fox.agent_id], "whoever had it is gone");
        assert!(!beats.renew(a, fox.id, first, at(900)).await.unwrap());
        assert!(!beats.release(a, fox.id, first).await.unwrap());
        assert!(!beats.finish(a, first, &log(&fox, HeartbeatStatus::Ok, 100, 301)).await.unwrap());
        assert!(!beats.put_off(a, first, &log(&fox, HeartbeatStatus::Skipped, 100, 301)).await.unwrap());
        assert_eq!(beats.logs(a, fox.agent_id, 10, 0).await.unwrap().1, 0);
        assert_eq!(claim(&db, 301, 10).await.1, [], "the second claim stands");
        assert!(beats.release(a, fox.id, second).await.unwrap());
        assert_eq!(claim(&db, 301, 10).await.1, [fox.agent_id], "it is due as before");
        assert_eq!(beats.all_tenants_release().await.unwrap(), 1);
        assert_eq!(beats.all_tenants_release().await.unwrap(), 0);
        assert_eq!(claim(&db, 301, 10).await.1, [fox.agent_id]);
    }

    async fn a_run_is_counted_logged_and_due_an_interval_after_its_end(db) {
        let a = db.tenant("a").await;
        let fox = store(&db, a, &beat(db.agent(a, "fox").await.id)).await;
        let beats = &db.stores.heartbeats;
        let (mine, _) = claim(&db, 100, 10).await;
        let failed = HeartbeatLog { error: Some("no".into()), metadata: Some(odd_json()), ..log(&fox, HeartbeatStatus::Error, 100, 130) };
        assert!(beats.finish(a, mine, &failed).await.unwrap());
        let after = Heartbeat { next_run_at: Some(at(730)), last_run_at: Some(at(100)), last_status: Some(HeartbeatStatus::Error), last_error: Some("no".into()), run_count: 1, ..fox };
        assert_eq!(found(&db, a, after.agent_id).await, after);
        assert_eq!(claim(&db, 729, 10).await.1, []);
        let (mine, _) = claim(&db, 730, 10).await;
        let quiet = HeartbeatLog { summary: Some("HEARTBEAT_OK".into()), ..log(&after, HeartbeatStatus::Suppressed, 730, 740) };
        assert!(beats.finish(a, mine, &quiet).await.unwrap());
        let after = Heartbeat { next_run_at: Some(at(1_340)), last_run_at: Some(at(730)), last_status: Some(HeartbeatStatus::Suppressed), last_error: None, run_count: 2, suppress_count: 1, ..after };
        assert_eq!(found(&db, a, after.agent_id).await, after);
        let (mine, _) = claim(&db, 1_340, 10).await;
        let skipped = HeartbeatLog { skip_reason: Some(SkipReason::ActiveHours), duration_ms: None, ..log(&after, HeartbeatStatus::Skipped, 1_340, 1_341) };
        assert!(beats.finish(a, mine, &skipped).await.unwrap());
        let after = Heartbeat { next_run_at: Some(at(1_941)), ..after };
        assert_eq!(found(&db, a, after.agent_id).await, after, "a skip is no run");
        assert_eq!(beats.logs(a, after.agent_id, 10, 0).await.unwrap(), (vec![skipped.clone(), quiet.clone(), failed.clone()], 3));
        assert_eq!(beats.logs(a, after.agent_id, 1, 1).await.unwrap(), (vec![quiet], 3));
        assert_eq!(beats.logs(a, after.agent_id, 0, -1).await.unwrap(), (vec![], 3));
        let told = goclaw_tests::fixtures::object(json!({"delivery": {"state": "failed"}}));
        assert!(beats.amend_log(a, skipped.id, Some("gone"), &told).await.unwrap());
        assert!(!beats.amend_log(a, Uuid::now_v7(), None, &told).await.unwrap());
        let amended = beats.logs(a, after.agent_id, 1, 0).await.unwrap().0.remove(0);
        assert_eq!(amended, HeartbeatLog { error: Some("gone".into()), metadata: Some(told), ..skipped });
    }

    async fn a_change_keeps_what_runs_left_behind(db) {
        let a = db.tenant("a").await;
        let fox = store(&db, a, &beat(db.agent(a, "fox").await.id)).await;
        let beats = &db.stores.heartbeats;
        let (mine, _) = claim(&db, 100, 10).await;
        let forged = Heartbeat { id: HeartbeatId(Uuid::now_v7()), run_count: 99, last_error: Some("x".into()), created_at: at(7), interval_sec: 900, updated_at: at(9), ..fox.clone() };
        let changed = beats.change(a, fox.agent_id, says(&forged)).await.unwrap();
        assert_eq!(changed, Heartbeat { interval_sec: 900, updated_at: at(9), ..fox.clone() });
        assert!(beats.finish(a, mine, &log(&fox, HeartbeatStatus::Ok, 100, 130)).await.unwrap(), "the claim stands");
        assert_eq!(found(&db, a, fox.agent_id).await.next_run_at, Some(at(1_030)), "the new interval holds");
    }

    async fn one_that_is_woken_while_it_runs_runs_once_more(db) {
        let a = db.tenant("a").await;
        let fox = store(&db, a, &Heartbeat { enabled: false, next_run_at: None, ..beat(db.agent(a, "fox").await.id) }).await;
        let beats = &db.stores.heartbeats;
        beats.wake(a, fox.agent_id, at(10)).await.unwrap();
        let (mine, _) = claim(&db, 20, 10).await;
        assert!(beats.finish(a, mine, &log(&fox, HeartbeatStatus::Ok, 20, 30)).await.unwrap());
        assert_eq!(claim(&db, 10_000, 10).await.1, [], "it is switched off");
        beats.wake(a, fox.agent_id, at(10_000)).await.unwrap();
        let (mine, _) = claim(&db, 10_001, 10).await;
        beats.wake(a, fox.agent_id, at(10_005)).await.unwrap();
        assert!(beats.finish(a, mine, &log(&fox, HeartbeatStatus::Ok, 10_001, 10_010)).await.unwrap());
        assert_eq!(claim(&db, 10_011, 10).await.1, [fox.agent_id]);
    }

    async fn that_it_was_put_off_is_said_once_for_each_time_it_is_due(db) {
        let a = db.tenant("a").await;
        let fox = store(&db, a, &beat(db.agent(a, "fox").await.id)).await;
        let beats = &db.stores.heartbeats;
        let busy = |when| HeartbeatLog { skip_reason: Some(SkipReason::QueueBusy), ..log(&fox, HeartbeatStatus::Skipped, when, when) };
        for (now, said) in [(100, true), (130, false), (160, false)] {
            let (mine, claimed) = claim(&db, now, 10).await;
            assert_eq!(claimed, [fox.agent_id]);
            assert_eq!(beats.put_off(a, mine, &busy(now)).await.unwrap(), said, "{now}");
        }
        assert_eq!(found(&db, a, fox.agent_id).await, fox, "it is due as before");
        beats.wake(a, fox.agent_id, at(170)).await.unwrap();
        let (mine, _) = claim(&db, 171, 10).await;
        assert!(beats.put_off(a, mine, &busy(171)).await.unwrap(), "somebody asked for it");
        let (mine, _) = claim(&db, 172, 10).await;
        assert!(beats.finish(a, mine, &log(&fox, HeartbeatStatus::Ok, 172, 180)).await.unwrap());
        let (mine, _) = claim(&db, 780, 10).await;
        assert!(beats.put_off(a, mine, &busy(780)).await.unwrap());
        assert_eq!(beats.logs(a, fox.agent_id, 10, 0).await.unwrap().1, 4);
    }

    async fn only_the_newest_entries_of_a_log_are_kept(db) {
        let a = db.tenant("a").await;
        let fox = store(&db, a, &beat(db.agent(a, "fox").await.id)).await;
        let beats = &db.stores.heartbeats;
        for due in (0..KEPT_LOGS + 3).map(|n| 100 + 600 * n) {
            let (mine, _) = claim(&db, due, 1).await;
            assert!(beats.finish(a, mine, &log(&fox, HeartbeatStatus::Ok, due, due)).await.unwrap());
        }
        let (page, total) = beats.logs(a, fox.agent_id, 1, KEPT_LOGS - 1).await.unwrap();
        assert_eq!((total, page[0].ran_at), (KEPT_LOGS, at(100 + 600 * 3)));
        assert_eq!(found(&db, a, fox.agent_id).await.run_count, KEPT_LOGS + 3);
    }

    async fn a_heartbeat_and_its_log_go_with_the_agent(db) {
        let a = db.tenant("a").await;
        let fox = store(&db, a, &beat(db.agent(a, "fox").await.id)).await;
        let (mine, _) = claim(&db, 100, 10).await;
        assert!(db.stores.heartbeats.finish(a, mine, &log(&fox, HeartbeatStatus::Ok, 100, 101)).await.unwrap());
        let (mine, _) = claim(&db, 800, 10).await;
        db.stores.agents.delete(a, fox.agent_id).await.unwrap();
        assert_eq!(db.stores.heartbeats.find(a, fox.agent_id).await.unwrap(), None);
        assert_eq!(db.stores.heartbeats.logs(a, fox.agent_id, 10, 0).await.unwrap(), (vec![], 0));
        assert!(!db.stores.heartbeats.finish(a, mine, &log(&fox, HeartbeatStatus::Ok, 800, 801)).await.unwrap(), "a run that goes on has lost it");
        assert_eq!(claim(&db, 10_000, 10).await.1, []);
    }

    async fn heartbeats_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let fox = store(&db, a, &beat(db.agent(a, "fox").await.id)).await;
        let (of_a, of_b) = (provider(a, "own"), db.agent(b, "fox").await.id);
        db.stores.providers.insert(a, &of_a).await.unwrap();
        let beats = &db.stores.heartbeats;
        let (mine, _) = claim(&db, 100, 10).await;
        let ran = log(&fox, HeartbeatStatus::Ok, 100, 101);
        assert_eq!(beats.find(b, fox.agent_id).await.unwrap(), None);
        assert_fails!(beats.change(b, fox.agent_id, says(&fox)).await, NotFound);
        let borrowed = Heartbeat { provider_id: Some(of_a.id), ..beat(of_b) };
        assert_fails!(beats.change(b, of_b, says(&borrowed)).await, NotFound);
        assert!(!beats.wake(b, fox.agent_id, at(1)).await.unwrap());
        let later: DateTime<Utc> = at(9_999);
        assert!(!beats.renew(b, fox.id, mine, later).await.unwrap());
        assert!(!beats.release(b, fox.id, mine).await.unwrap());
        assert!(!beats.put_off(b, mine, &ran).await.unwrap());
        assert!(!beats.finish(b, mine, &ran).await.unwrap());
        assert!(beats.finish(a, mine, &ran).await.unwrap());
        assert!(!beats.amend_log(b, ran.id, Some("x"), &odd_json()).await.unwrap());
        assert_eq!(beats.logs(b, fox.agent_id, 10, 0).await.unwrap(), (vec![], 0));
        assert_eq!(beats.logs(a, fox.agent_id, 10, 0).await.unwrap(), (vec![ran], 1));
    }
}
