use goclaw_ports::{
    AgentId, JsonObject, LinkId, TenantId,
    links::{AgentLink, LinkDirection, LinkEnds, LinkPatch, LinkSide, LinkStatus},
};
use goclaw_tests::{
    TestDatabase,
    fixtures::{at, odd_json},
};
use uuid::Uuid;

fn link(source: AgentId, target: AgentId) -> AgentLink {
    AgentLink {
        id: LinkId(Uuid::now_v7()),
        created_at: at(0),
        updated_at: at(0),
        source_agent_id: source,
        target_agent_id: target,
        direction: LinkDirection::Outbound,
        description: String::new(),
        max_concurrent: 3,
        settings: None,
        status: LinkStatus::Active,
        created_by: String::new(),
        ends: LinkEnds::default(),
    }
}

fn with_keys(link: AgentLink, source: &str, target: &str) -> AgentLink {
    AgentLink { ends: LinkEnds { source_agent_key: source.into(), target_agent_key: target.into(), ..LinkEnds::default() }, ..link }
}

async fn ids(db: &TestDatabase, tenant: TenantId, agent: AgentId, side: LinkSide) -> Vec<LinkId> {
    db.stores.links.list(tenant, agent, side).await.unwrap().into_iter().map(|link| link.id).collect()
}

on_both_databases! {
    async fn a_link_comes_back_as_it_was_stored_with_what_its_agents_say(db) {
        let a = db.tenant("a").await;
        let (fox, mut owl) = (db.agent(a, "fox").await, goclaw_tests::fixtures::agent(a, "owl"));
        (owl.display_name, owl.frontmatter) = ("Cú 🦉".into(), "Knows the night.".into());
        db.stores.agents.insert(a, &owl, &[]).await.unwrap();
        let stored = AgentLink {
            direction: LinkDirection::Bidirectional,
            description: "người dùng 🦀".into(),
            max_concurrent: 7,
            settings: Some(odd_json()),
            status: LinkStatus::Disabled,
            created_by: "mai".into(),
            updated_at: at(3),
            ..link(fox.id, owl.id)
        };
        db.stores.links.insert(a, &stored).await.unwrap();
        let ends = LinkEnds { source_agent_key: "fox".into(), target_agent_key: "owl".into(), target_display_name: "Cú 🦉".into(), target_description: "Knows the night.".into() };
        let expected = AgentLink { ends, ..stored };
        assert_eq!(db.stores.links.find(a, expected.id).await.unwrap(), Some(expected.clone()));
        assert_eq!(db.stores.links.list(a, fox.id, LinkSide::From).await.unwrap(), [expected]);
        assert_eq!(db.stores.links.find(a, LinkId(Uuid::now_v7())).await.unwrap(), None);
    }

    async fn links_are_listed_by_side_oldest_first(db) {
        let a = db.tenant("a").await;
        let (fox, owl, cat) = (db.agent(a, "fox").await.id, db.agent(a, "owl").await.id, db.agent(a, "cat").await.id);
        let made = [(fox, owl, 30), (fox, cat, 10), (owl, fox, 20), (owl, cat, 5)].map(|(from, to, when)| AgentLink { created_at: at(when), ..link(from, to) });
        for link in &made {
            db.stores.links.insert(a, link).await.unwrap();
        }
        assert_eq!(ids(&db, a, fox, LinkSide::From).await, [made[1].id, made[0].id]);
        assert_eq!(ids(&db, a, fox, LinkSide::To).await, [made[2].id]);
        assert_eq!(ids(&db, a, fox, LinkSide::All).await, [made[1].id, made[2].id, made[0].id]);
        assert!(ids(&db, a, cat, LinkSide::From).await.is_empty());
    }

    async fn there_is_one_link_from_one_agent_to_another(db) {
        let a = db.tenant("a").await;
        let (fox, owl) = (db.agent(a, "fox").await.id, db.agent(a, "owl").await.id);
        db.stores.links.insert(a, &link(fox, owl)).await.unwrap();
        assert_fails!(db.stores.links.insert(a, &link(fox, owl)).await, AlreadyExists);
        db.stores.links.insert(a, &link(owl, fox)).await.unwrap();
        assert_fails!(db.stores.links.insert(a, &link(fox, AgentId(Uuid::now_v7()))).await, NotFound);
        assert!(db.stores.links.insert(a, &link(fox, fox)).await.is_err());
    }

    async fn a_change_leaves_what_it_does_not_name(db) {
        let a = db.tenant("a").await;
        let (fox, owl) = (db.agent(a, "fox").await.id, db.agent(a, "owl").await.id);
        let stored = AgentLink { description: "old".into(), settings: Some(odd_json()), ..link(fox, owl) };
        db.stores.links.insert(a, &stored).await.unwrap();
        let patch = LinkPatch { status: Some(LinkStatus::Disabled), description: Some(String::new()), ..LinkPatch::default() };
        assert!(db.stores.links.update(a, stored.id, &patch, at(9)).await.unwrap());
        let expected = AgentLink { status: LinkStatus::Disabled, description: String::new(), updated_at: at(9), ..with_keys(stored.clone(), "fox", "owl") };
        assert_eq!(db.stores.links.find(a, stored.id).await.unwrap(), Some(expected.clone()));
        let patch = LinkPatch { direction: Some(LinkDirection::Inbound), max_concurrent: Some(1), settings: Some(JsonObject::new()), ..LinkPatch::default() };
        assert!(db.stores.links.update(a, stored.id, &patch, at(10)).await.unwrap());
        let expected = AgentLink { direction: LinkDirection::Inbound, max_concurrent: 1, settings: Some(JsonObject::new()), updated_at: at(10), ..expected };
        assert_eq!(db.stores.links.find(a, stored.id).await.unwrap(), Some(expected));
        assert!(!db.stores.links.update(a, LinkId(Uuid::now_v7()), &patch, at(11)).await.unwrap());
    }

    async fn links_go_with_either_agent(db) {
        let a = db.tenant("a").await;
        let (fox, owl, cat) = (db.agent(a, "fox").await.id, db.agent(a, "owl").await.id, db.agent(a, "cat").await.id);
        let made = [link(fox, owl), link(owl, cat), link(cat, fox)];
        for link in &made {
            db.stores.links.insert(a, link).await.unwrap();
        }
        db.stores.agents.delete(a, owl).await.unwrap();
        assert_eq!(ids(&db, a, cat, LinkSide::All).await, [made[2].id]);
        assert!(db.stores.links.delete(a, made[2].id).await.unwrap());
        assert!(!db.stores.links.delete(a, made[2].id).await.unwrap());
        assert!(ids(&db, a, fox, LinkSide::All).await.is_empty());
    }

    async fn links_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        let (fox, owl, of_b) = (db.agent(a, "fox").await.id, db.agent(a, "owl").await.id, db.agent(b, "fox").await.id);
        let stored = link(fox, owl);
        db.stores.links.insert(a, &stored).await.unwrap();
        assert_eq!(db.stores.links.find(b, stored.id).await.unwrap(), None);
        assert!(db.stores.links.list(b, fox, LinkSide::All).await.unwrap().is_empty());
        let patch = LinkPatch { status: Some(LinkStatus::Disabled), ..LinkPatch::default() };
        assert!(!db.stores.links.update(b, stored.id, &patch, at(1)).await.unwrap());
        assert!(!db.stores.links.delete(b, stored.id).await.unwrap());
        for (source, target) in [(fox, owl), (of_b, owl), (fox, of_b)] {
            assert_fails!(db.stores.links.insert(b, &link(source, target)).await, NotFound);
        }
        assert_eq!(db.stores.links.find(a, stored.id).await.unwrap(), Some(with_keys(stored, "fox", "owl")));
    }
}
