use chrono::TimeDelta;
use goclaw_ports::{
    AgentId, LinkId, SubagentTaskId, TenantId,
    agents::Agent,
    roles::Role,
    subagents::{CapReached, SubagentTask, TaskCap, TaskCaps, TaskEnd, TaskKind, TaskLease, TaskOrigin, TaskStatus},
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{at, odd_json},
};
use std::collections::BTreeSet;
use uuid::Uuid;

const ME: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

fn task(agent: &Agent, session: &str) -> SubagentTask {
    SubagentTask {
        id: SubagentTaskId(Uuid::now_v7()),
        kind: TaskKind::Subagent,
        parent_agent_id: agent.id,
        parent_agent_key: agent.agent_key.clone(),
        session_key: session.into(),
        agent_id: agent.id,
        agent_key: agent.agent_key.clone(),
        link_id: None,
        subject: "Dens".into(),
        description: "Find dens.".into(),
        status: TaskStatus::Running,
        result: String::new(),
        depth: 1,
        model: String::new(),
        provider: String::new(),
        iterations: 0,
        input_tokens: 0,
        output_tokens: 0,
        origin: TaskOrigin { channel: "ws".into(), chat_id: "mai".into(), peer_kind: "direct".into(), user_id: "mai".into(), role: Role::Operator },
        spawned_by: String::new(),
        told_at: None,
        completed_at: None,
        archive_at: None,
        metadata: Default::default(),
        created_at: at(0),
        updated_at: at(0),
    }
}

fn end(status: TaskStatus, seconds: i64) -> TaskEnd {
    TaskEnd {
        status,
        result: "Three dens.".into(),
        model: "m".into(),
        provider: "p".into(),
        iterations: 4,
        input_tokens: 30,
        output_tokens: 3,
        metadata: odd_json(),
        told: false,
        at: at(seconds),
        archive_at: at(seconds + 60),
    }
}

fn ended(task: SubagentTask, end: &TaskEnd) -> SubagentTask {
    SubagentTask {
        status: end.status,
        result: end.result.clone(),
        model: end.model.clone(),
        provider: end.provider.clone(),
        iterations: end.iterations,
        input_tokens: end.input_tokens,
        output_tokens: end.output_tokens,
        metadata: end.metadata.clone(),
        told_at: task.told_at.or_else(|| end.told.then_some(end.at)),
        completed_at: Some(end.at),
        archive_at: Some(end.archive_at),
        updated_at: end.at,
        ..task
    }
}

fn lease(owner: Uuid, minutes: i64) -> TaskLease {
    TaskLease { owner, lasts: TimeDelta::minutes(minutes) }
}

async fn begin(db: &TestDatabase, tenant: TenantId, task: &SubagentTask) {
    begin_held(db, tenant, task, lease(ME, 10)).await;
}

async fn begin_held(db: &TestDatabase, tenant: TenantId, task: &SubagentTask, lease: TaskLease) {
    assert_eq!(db.stores.subagents.begin(tenant, task, &TaskCaps::default(), lease).await.unwrap(), None);
}

fn ids(tasks: &[SubagentTask]) -> Vec<SubagentTaskId> {
    tasks.iter().map(|task| task.id).collect()
}

on_both_databases! {
    async fn a_task_comes_back_as_it_was_stored_and_as_it_ended(db) {
        let a = db.tenant("a").await;
        let (fox, owl) = (db.agent(a, "fox").await, db.agent(a, "owl").await);
        let stored = SubagentTask {
            kind: TaskKind::Delegation,
            agent_id: owl.id,
            agent_key: owl.agent_key.clone(),
            link_id: Some(LinkId(Uuid::now_v7())),
            subject: "người 🦀".into(),
            description: "Tìm hang.".into(),
            depth: 3,
            model: "other".into(),
            spawned_by: "run".into(),
            told_at: Some(at(1)),
            metadata: odd_json(),
            ..task(&fox, "s")
        };
        begin(&db, a, &stored).await;
        assert_eq!(db.stores.subagents.find(a, stored.id).await.unwrap(), Some(stored.clone()));
        assert_eq!(db.stores.subagents.find(a, SubagentTaskId(Uuid::now_v7())).await.unwrap(), None);
        let done = end(TaskStatus::Completed, 5);
        assert!(db.stores.subagents.finish(a, stored.id, &done).await.unwrap());
        let expected = ended(stored.clone(), &done);
        assert_eq!(db.stores.subagents.find(a, stored.id).await.unwrap(), Some(expected.clone()));
        assert!(!db.stores.subagents.finish(a, stored.id, &end(TaskStatus::Cancelled, 6)).await.unwrap(), "it ends once");
        assert_eq!(db.stores.subagents.of_session(a, "s", 9).await.unwrap(), [expected]);
        assert_fails!(db.stores.subagents.begin(a, &SubagentTask { parent_agent_id: AgentId(Uuid::now_v7()), ..task(&fox, "s") }, &TaskCaps::default(), lease(ME, 1)).await, NotFound);
    }

    async fn no_more_begin_than_the_caps_allow_however_many_begin_at_once(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, owl, of_b) = (db.agent(a, "fox").await, db.agent(a, "owl").await, db.agent(b, "fox").await);
        begin(&db, b, &task(&of_b, "s")).await;
        let caps = TaskCaps { in_tenant: Some(3), ..TaskCaps::default() };
        let begun = futures_util::future::join_all((0..8).map(|_| {
            let (store, task) = (db.stores.subagents.clone(), task(&fox, "s"));
            async move { store.begin(a, &task, &caps, lease(ME, 10)).await.unwrap() }
        }));
        let begun = begun.await;
        assert_eq!(begun.iter().filter(|reached| reached.is_none()).count(), 3);
        assert!(begun.iter().flatten().all(|reached| *reached == CapReached { cap: TaskCap::InTenant, running: 3, limit: 3 }));

        let link = Some(LinkId(Uuid::now_v7()));
        let delegation = SubagentTask { kind: TaskKind::Delegation, agent_id: owl.id, link_id: link, ..task(&fox, "s") };
        begin(&db, a, &delegation).await;
        let again = |caps: TaskCaps, task: SubagentTask| {
            let store = db.stores.subagents.clone();
            async move { store.begin(a, &SubagentTask { id: SubagentTaskId(Uuid::now_v7()), ..task }, &caps, lease(ME, 10)).await.unwrap().map(|reached| reached.cap) }
        };
        assert_eq!(again(TaskCaps { over_link: Some(1), ..TaskCaps::default() }, delegation.clone()).await, Some(TaskCap::OverLink));
        assert_eq!(again(TaskCaps { to_agent: Some(1), ..TaskCaps::default() }, SubagentTask { link_id: None, ..delegation.clone() }).await, Some(TaskCap::ToAgent));
        assert_eq!(again(TaskCaps { of_session: Some(3), ..TaskCaps::default() }, task(&fox, "s")).await, Some(TaskCap::OfSession), "delegations do not count");
        assert_eq!(again(TaskCaps { of_session: Some(1), ..TaskCaps::default() }, task(&fox, "t")).await, None, "another conversation");
        db.stores.subagents.finish(a, delegation.id, &end(TaskStatus::Failed, 1)).await.unwrap();
        assert_eq!(again(TaskCaps { over_link: Some(1), ..TaskCaps::default() }, delegation).await, None, "only those that run count");
    }

    async fn a_conversation_is_told_of_each_task_once(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await;
        let tasks: Vec<SubagentTask> = (0..5).map(|n| SubagentTask { created_at: at(n), ..task(&fox, "s") }).collect();
        for task in &tasks {
            begin(&db, a, task).await;
        }
        let store = &db.stores.subagents;
        for (task, seconds) in [(&tasks[1], 20), (&tasks[0], 30)] {
            store.finish(a, task.id, &end(TaskStatus::Completed, seconds)).await.unwrap();
        }
        store.finish(a, tasks[2].id, &TaskEnd { told: true, ..end(TaskStatus::Cancelled, 25) }).await.unwrap();
        begin_held(&db, a, &task(&fox, "s"), lease(OTHER, 10)).await;
        assert_eq!(ids(&store.untold(a, "s", ME, 9).await.unwrap()), [tasks[1].id, tasks[0].id], "in the order in which they ended");
        assert_eq!(ids(&store.untold(a, "s", ME, 1).await.unwrap()), [tasks[1].id]);
        assert!(store.untold(a, "s", OTHER, 9).await.unwrap().is_empty() && store.untold(a, "t", ME, 9).await.unwrap().is_empty());
        let told: BTreeSet<_> = store.mark_told(a, &ids(&tasks[..3]), at(40)).await.unwrap().into_iter().collect();
        assert_eq!(told, [tasks[0].id, tasks[1].id].into());
        assert!(store.mark_told(a, &ids(&tasks[..3]), at(41)).await.unwrap().is_empty());
        assert_eq!(store.find(a, tasks[0].id).await.unwrap().unwrap().told_at, Some(at(40)));
        assert!(store.untold(a, "s", ME, 9).await.unwrap().is_empty());
        let newest_first: Vec<_> = store.of_session(a, "s", 4).await.unwrap().iter().map(|task| task.created_at).collect();
        assert_eq!(newest_first, [at(4), at(3), at(2), at(1)]);
    }

    async fn what_a_dead_process_held_is_taken_over_once(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, of_b) = (db.agent(a, "fox").await, db.agent(b, "fox").await);
        let store = &db.stores.subagents;
        let (running, untold, known, alive) = (task(&fox, "s"), task(&of_b, "s"), task(&fox, "s"), task(&fox, "s"));
        let waited = SubagentTask { told_at: Some(at(1)), ..task(&fox, "s") };
        for (tenant, task) in [(a, &running), (b, &untold), (a, &known), (a, &waited)] {
            begin_held(&db, tenant, task, lease(OTHER, 10)).await;
        }
        begin_held(&db, a, &alive, lease(OTHER, 50)).await;
        store.finish(b, untold.id, &end(TaskStatus::Completed, 5)).await.unwrap();
        store.finish(a, known.id, &TaskEnd { told: true, ..end(TaskStatus::Completed, 5) }).await.unwrap();
        assert!(store.all_tenants_adopt(TimeDelta::minutes(9), lease(ME, 30), 9).await.unwrap().is_empty(), "they still hold");
        let adopted = store.all_tenants_adopt(TimeDelta::minutes(20), lease(ME, 30), 9).await.unwrap();
        let mut found: Vec<_> = adopted.iter().map(|(tenant, task)| (*tenant, task.id, task.status, task.result.clone(), task.told_at)).collect();
        found.sort_by_key(|(_, id, ..)| *id);
        let mut expected = [
            (a, running.id, TaskStatus::Running, String::new(), None),
            (b, untold.id, TaskStatus::Completed, "Three dens.".to_owned(), None),
            (a, waited.id, TaskStatus::Running, String::new(), None),
        ];
        expected.sort_by_key(|(_, id, ..)| *id);
        assert_eq!(found, expected);
        assert_eq!(ids(&store.untold(b, "s", ME, 9).await.unwrap()), [untold.id]);
        assert!(store.all_tenants_adopt(TimeDelta::minutes(20), lease(OTHER, 60), 9).await.unwrap().is_empty(), "they are held again");
        assert!(store.finish(a, running.id, &end(TaskStatus::Failed, 21)).await.unwrap(), "whoever took it over ends it");
        assert!(!store.finish(a, running.id, &end(TaskStatus::Completed, 22)).await.unwrap(), "who comes back too late changes nothing");
    }

    async fn who_renews_its_hold_keeps_its_tasks(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await;
        let store = &db.stores.subagents;
        let (mine, done, of_other) = (task(&fox, "s"), task(&fox, "s"), task(&fox, "s"));
        for (task, owner) in [(&mine, ME), (&done, ME), (&of_other, OTHER)] {
            begin_held(&db, a, task, lease(owner, 10)).await;
        }
        store.finish(a, done.id, &end(TaskStatus::Completed, 5)).await.unwrap();
        assert_eq!(store.all_tenants_renew(lease(ME, 40)).await.unwrap(), [mine.id]);
        let third = Uuid::from_u128(3);
        let adopted = store.all_tenants_adopt(TimeDelta::minutes(30), lease(third, 60), 9).await.unwrap();
        assert_eq!(adopted.iter().map(|(_, task)| task.id).collect::<Vec<_>>(), [of_other.id]);
        assert_eq!(store.all_tenants_adopt(TimeDelta::minutes(50), lease(third, 60), 1).await.unwrap().len(), 1, "no more at once than are wanted");
        assert_eq!(store.all_tenants_adopt(TimeDelta::minutes(50), lease(third, 60), 9).await.unwrap().len(), 1);
    }

    async fn what_is_long_done_is_put_away_and_later_forgotten(db) {
        let a = db.tenant("a").await;
        let fox = db.agent(a, "fox").await;
        let store = &db.stores.subagents;
        let (old, untold, young, running) = (task(&fox, "s"), task(&fox, "s"), task(&fox, "s"), task(&fox, "s"));
        for task in [&old, &untold, &young, &running] {
            begin(&db, a, task).await;
        }
        for (task, seconds, told) in [(&old, 0, true), (&untold, 0, false), (&young, 100, true)] {
            store.finish(a, task.id, &TaskEnd { told, ..end(TaskStatus::Completed, seconds) }).await.unwrap();
        }
        let long_ago = at(0) - TimeDelta::days(1);
        let archived = store.all_tenants_archive(at(60), long_ago, 9).await.unwrap();
        assert_eq!(archived.iter().map(|(tenant, task)| (*tenant, task.id)).collect::<Vec<_>>(), [(a, old.id)]);
        assert_eq!(store.of_session(a, "s", 9).await.unwrap().len(), 3);
        assert!(store.find(a, old.id).await.unwrap().is_some());
        assert!(store.all_tenants_archive(at(60), at(61), 9).await.unwrap().is_empty());
        assert_eq!(store.find(a, old.id).await.unwrap(), None);
    }

    async fn tasks_go_with_the_agent_that_handed_them_over(db) {
        let a = db.tenant("a").await;
        let (fox, owl) = (db.agent(a, "fox").await, db.agent(a, "owl").await);
        let to_owl = SubagentTask { agent_id: owl.id, agent_key: "owl".into(), ..task(&fox, "s") };
        begin(&db, a, &to_owl).await;
        db.stores.agents.delete(a, owl.id).await.unwrap();
        assert!(db.stores.subagents.find(a, to_owl.id).await.unwrap().is_some());
        db.stores.agents.delete(a, fox.id).await.unwrap();
        assert_eq!(db.stores.subagents.find(a, to_owl.id).await.unwrap(), None);
    }

    async fn tasks_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, of_b) = (db.agent(a, "fox").await, db.agent(b, "fox").await);
        let store = &db.stores.subagents;
        let stored = task(&fox, "s");
        begin(&db, a, &stored).await;
        assert_eq!(store.find(b, stored.id).await.unwrap(), None);
        assert!(store.of_session(b, "s", 9).await.unwrap().is_empty());
        assert!(!store.finish(b, stored.id, &end(TaskStatus::Completed, 1)).await.unwrap());
        assert_fails!(store.begin(b, &task(&fox, "s"), &TaskCaps::default(), lease(ME, 10)).await, NotFound);
        let caps = TaskCaps { in_tenant: Some(1), of_session: Some(1), ..TaskCaps::default() };
        assert_eq!(store.begin(b, &task(&of_b, "s"), &caps, lease(ME, 10)).await.unwrap(), None);
        store.finish(a, stored.id, &end(TaskStatus::Completed, 1)).await.unwrap();
        assert!(store.untold(b, "s", ME, 9).await.unwrap().is_empty());
        assert!(store.mark_told(b, &[stored.id], at(2)).await.unwrap().is_empty());
        assert_eq!(ids(&store.untold(a, "s", ME, 9).await.unwrap()), [stored.id]);
    }
}
