use super::{Place, agent, at, object};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, ErrorKind, SessionId, TenantId,
    agents::{AgentFilter, AgentPatch, AgentShare, AgentStatus, AgentType, ContextFile},
    sessions::NewSession,
};
use uuid::Uuid;

const MASTER: TenantId = TenantId::MASTER;

fn file(name: &str, content: &str) -> ContextFile {
    ContextFile { name: name.to_owned(), content: content.to_owned() }
}

fn share(agent: AgentId, user: &str, role: &str, granted_by: &str, when: DateTime<Utc>) -> AgentShare {
    AgentShare {
        id: Uuid::now_v7(),
        created_at: when,
        updated_at: when,
        agent_id: agent,
        user_id: user.to_owned(),
        role: role.to_owned(),
        granted_by: granted_by.to_owned(),
    }
}

#[tokio::test]
async fn an_agent_comes_back_as_it_was_stored_by_id_and_by_key() {
    let place = Place::new().await;
    let agents = &place.stores.agents;
    let fox = place.agent(MASTER, "fox").await;
    assert_eq!(agents.find(MASTER, "fox").await.unwrap().unwrap(), fox);
    assert_eq!(agents.find(MASTER, &fox.id.to_string().to_uppercase()).await.unwrap().unwrap(), fox);
    let other = place.other_tenant().await;
    assert_eq!(agents.find(other, "fox").await.unwrap(), None);
    assert_eq!(agents.find(other, &fox.id.to_string()).await.unwrap(), None);

    // A key that looks like an id is found by what it says.
    let disguised = place.agent(MASTER, &Uuid::now_v7().to_string()).await;
    assert_eq!(agents.find(MASTER, &disguised.agent_key).await.unwrap().unwrap(), disguised);
}

#[tokio::test]
async fn a_taken_key_is_refused_and_nothing_of_the_attempt_stays() {
    let place = Place::new().await;
    let agents = &place.stores.agents;
    let mut first = agent(MASTER, "fox");
    first.is_default = true;
    agents.insert(MASTER, &first, &[]).await.unwrap();
    let mut second = agent(MASTER, "fox");
    second.is_default = true;
    let error = agents.insert(MASTER, &second, &[file("SOUL.md", "x")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    assert_eq!(error.message.to_string(), "agent already exists: fox");
    assert!(agents.find(MASTER, "fox").await.unwrap().unwrap().is_default);
    assert_eq!(agents.count(MASTER).await.unwrap(), 1);

    let nowhere = TenantId(Uuid::now_v7());
    assert_eq!(agents.insert(nowhere, &agent(nowhere, "fox"), &[]).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn only_one_agent_is_the_default() {
    let place = Place::new().await;
    let agents = &place.stores.agents;
    let mut old = agent(MASTER, "old");
    old.created_at = at(1);
    old.status = AgentStatus::Inactive;
    agents.insert(MASTER, &old, &[]).await.unwrap();
    let fox = place.agent(MASTER, "fox").await;
    assert_eq!(agents.find_default(MASTER).await.unwrap().unwrap().id, fox.id, "the oldest active one stands in");

    let patch = AgentPatch { is_default: Some(true), ..AgentPatch::default() };
    agents.update(MASTER, old.id, &patch, &[], at(20)).await.unwrap().unwrap();
    assert_eq!(agents.find_default(MASTER).await.unwrap().unwrap().id, old.id);
    agents.update(MASTER, fox.id, &patch, &[], at(21)).await.unwrap().unwrap();
    assert_eq!(agents.find_default(MASTER).await.unwrap().unwrap().id, fox.id);
    assert!(!agents.find(MASTER, "old").await.unwrap().unwrap().is_default);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let place = Place::new().await;
    let agents = &place.stores.agents;
    let fox = place.agent(MASTER, "fox").await;
    place.agent(MASTER, "owl").await;
    let patch = AgentPatch {
        agent_type: Some(AgentType::Predefined),
        budget_monthly_cents: Some(None),
        memory_config: Some(Some(object(r#"{"enabled":true}"#))),
        sandbox_config: Some(None),
        ..AgentPatch::default()
    };
    let changed = agents.update(MASTER, fox.id, &patch, &[file("SOUL.md", "new")], at(20)).await.unwrap().unwrap();
    let mut expected = fox.clone();
    expected.agent_type = AgentType::Predefined;
    expected.budget_monthly_cents = None;
    expected.memory_config = Some(object(r#"{"enabled":true}"#));
    expected.sandbox_config = None;
    expected.updated_at = at(20);
    assert_eq!(changed, expected);
    assert_eq!(agents.files(MASTER, fox.id).await.unwrap(), [file("SOUL.md", "new")]);

    let taken = AgentPatch { agent_key: Some("owl".to_owned()), ..AgentPatch::default() };
    assert_eq!(agents.update(MASTER, fox.id, &taken, &[], at(30)).await.unwrap_err().kind, ErrorKind::AlreadyExists);
    let other = place.other_tenant().await;
    assert_eq!(agents.update(other, fox.id, &patch, &[file("SOUL.md", "stolen")], at(30)).await.unwrap(), None);
    assert_eq!(agents.files(MASTER, fox.id).await.unwrap(), [file("SOUL.md", "new")]);
}

#[tokio::test]
async fn a_user_sees_what_it_owns_what_is_shared_and_the_default() {
    let place = Place::new().await;
    let agents = &place.stores.agents;
    let mut default = agent(MASTER, "default");
    (default.is_default, default.created_at) = (true, at(1));
    agents.insert(MASTER, &default, &[]).await.unwrap();
    let shared = place.agent(MASTER, "shared").await;
    agents.put_share(MASTER, &share(shared.id, "bob", "user", "alice", at(20))).await.unwrap();
    agents.put_share(MASTER, &share(shared.id, "bob", "admin", "alice", at(21))).await.unwrap();
    place.agent(MASTER, "hidden").await;

    let visible = |user: &str| AgentFilter { visible_to: Some(user.to_owned()), status: Some(AgentStatus::Active) };
    let keys = async |filter| agents.list(MASTER, &filter).await.unwrap().into_iter().map(|agent| agent.agent_key).collect::<Vec<_>>();
    assert_eq!(keys(visible("bob")).await, ["shared", "default"]);
    assert_eq!(keys(visible("alice")).await, ["hidden", "shared", "default"]);
    assert_eq!(keys(AgentFilter { visible_to: None, status: Some(AgentStatus::Inactive) }).await, [""; 0]);

    assert_eq!(agents.share_role(MASTER, shared.id, "bob").await.unwrap().as_deref(), Some("admin"));
    assert!(agents.delete_share(MASTER, shared.id, "bob").await.unwrap());
    assert!(!agents.delete_share(MASTER, shared.id, "bob").await.unwrap());
}

#[tokio::test]
async fn nothing_can_be_hung_on_another_tenants_agent() {
    let place = Place::new().await;
    let agents = &place.stores.agents;
    let fox = place.agent(MASTER, "fox").await;
    let other = place.other_tenant().await;
    agents.put_share(MASTER, &share(fox.id, "bob", "user", "alice", at(20))).await.unwrap();
    agents.put_file(MASTER, fox.id, &file("SOUL.md", "ours"), at(20)).await.unwrap();
    agents.put_user_file(MASTER, fox.id, "bob", &file("USER.md", "ours"), at(20)).await.unwrap();
    let theirs = [file("USER.md", "theirs")];

    let refused = [
        agents.put_share(other, &share(fox.id, "bob", "admin", "eve", at(30))).await,
        agents.put_file(other, fox.id, &file("SOUL.md", "theirs"), at(30)).await,
        agents.put_user_file(other, fox.id, "bob", &theirs[0], at(30)).await,
        agents.touch_profile(other, fox.id, "bob", "/theirs", &theirs, at(30)).await.map(drop),
        agents.put_file(MASTER, AgentId(Uuid::now_v7()), &theirs[0], at(30)).await,
    ];
    for outcome in refused {
        assert_eq!(outcome.unwrap_err().kind, ErrorKind::NotFound);
    }
    assert!(!agents.delete_user_file(other, fox.id, "bob", "USER.md").await.unwrap());
    assert!(!agents.delete(other, fox.id).await.unwrap());
    assert_eq!(agents.share_role(MASTER, fox.id, "bob").await.unwrap().as_deref(), Some("user"));
    assert_eq!(agents.files(MASTER, fox.id).await.unwrap(), [file("SOUL.md", "ours")]);
    assert_eq!(agents.user_files(MASTER, fox.id, "bob").await.unwrap(), [file("USER.md", "ours")]);
    assert!(agents.user_files(other, fox.id, "bob").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_first_contact_makes_the_profile_and_files_are_seeded_once() {
    let place = Place::new().await;
    let agents = &place.stores.agents;
    let fox = place.agent(MASTER, "fox").await;
    let seed = [file("USER.md", "hello"), file("BOOTSTRAP.md", "begin")];
    agents.touch_profile(MASTER, fox.id, "bob", "/one", &seed, at(20)).await.unwrap();
    agents.put_user_file(MASTER, fox.id, "bob", &file("USER.md", "mine"), at(21)).await.unwrap();
    let profile = agents.touch_profile(MASTER, fox.id, "bob", "/two", &seed, at(30)).await.unwrap();
    assert_eq!((profile.workspace.as_str(), profile.first_seen_at, profile.last_seen_at), ("/one", at(20), at(30)));
    assert_eq!(agents.user_files(MASTER, fox.id, "bob").await.unwrap(), [file("BOOTSTRAP.md", "begin"), file("USER.md", "mine")]);
    assert!(agents.delete_user_file(MASTER, fox.id, "bob", "BOOTSTRAP.md").await.unwrap());
    agents.touch_profile(MASTER, fox.id, "bob", "/two", &seed, at(31)).await.unwrap();
    assert_eq!(agents.user_files(MASTER, fox.id, "bob").await.unwrap(), [file("USER.md", "mine")]);
}

#[tokio::test]
async fn deleting_an_agent_takes_its_sessions_along() {
    let place = Place::new().await;
    let fox = place.agent(MASTER, "fox").await;
    let new = NewSession {
        id: SessionId(Uuid::now_v7()),
        key: "agent:fox:ws:direct:1".to_owned(),
        agent_id: fox.id,
        user_id: "bob".to_owned(),
        channel: "ws".to_owned(),
    };
    place.stores.sessions.open(MASTER, &new, at(20)).await.unwrap();
    assert!(place.stores.agents.delete(MASTER, fox.id).await.unwrap());
    assert!(!place.stores.agents.delete(MASTER, fox.id).await.unwrap());
    assert_eq!(place.stores.sessions.find(MASTER, &new.key).await.unwrap(), None);
}
