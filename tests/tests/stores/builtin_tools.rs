use goclaw_ports::builtin_tools::BuiltinTool;
use goclaw_tests::fixtures::{at, builtin_tool, object, odd_json};
use serde_json::json;

on_both_databases! {
    async fn a_tool_comes_back_as_it_was_seeded(db) {
        let tool = BuiltinTool {
            display_name: "Đọc 🦀".into(),
            settings: odd_json(),
            requires: vec!["sandbox".into(), "🦀".into()],
            metadata: odd_json(),
            enabled: false,
            updated_at: at(1),
            ..builtin_tool("read_file", "filesystem")
        };
        db.stores.builtin_tools.all_tenants_seed(std::slice::from_ref(&tool)).await.unwrap();
        assert_eq!(db.stores.builtin_tools.all_tenants_list().await.unwrap(), [tool]);
    }

    async fn the_catalogue_is_listed_by_category_then_name(db) {
        let tools = [("web_fetch", "web"), ("write_file", "filesystem"), ("exec", "runtime"), ("edit", "filesystem")].map(|(name, category)| builtin_tool(name, category));
        db.stores.builtin_tools.all_tenants_seed(&tools).await.unwrap();
        let names: Vec<_> = db.stores.builtin_tools.all_tenants_list().await.unwrap().into_iter().map(|tool| tool.name).collect();
        assert_eq!(names, ["edit", "write_file", "exec", "web_fetch"]);
    }

    async fn seeding_makes_the_catalogue_exactly_what_it_is_given(db) {
        db.stores.builtin_tools.all_tenants_seed(&[builtin_tool("old", "x"), builtin_tool("kept", "x")]).await.unwrap();
        db.stores.builtin_tools.all_tenants_seed(&[builtin_tool("kept", "x"), builtin_tool("new", "x")]).await.unwrap();
        let names: Vec<_> = db.stores.builtin_tools.all_tenants_list().await.unwrap().into_iter().map(|tool| tool.name).collect();
        assert_eq!(names, ["kept", "new"]);
        db.stores.builtin_tools.all_tenants_seed(&[]).await.unwrap();
        assert!(db.stores.builtin_tools.all_tenants_list().await.unwrap().is_empty());
    }

    async fn seeding_again_keeps_switches_and_settings_and_renews_the_rest(db) {
        let first = BuiltinTool { enabled: false, settings: object(json!({"mine": 1})), ..builtin_tool("exec", "runtime") };
        let empty = builtin_tool("edit", "filesystem");
        db.stores.builtin_tools.all_tenants_seed(&[first.clone(), empty.clone()]).await.unwrap();
        let again = BuiltinTool {
            enabled: true,
            settings: object(json!({"theirs": 2})),
            display_name: "Shell".into(),
            description: "Runs.".into(),
            requires: vec!["bash".into()],
            metadata: object(json!({"hint": true})),
            created_at: at(9),
            updated_at: at(9),
            ..first.clone()
        };
        let filled = BuiltinTool { settings: object(json!({"new": 3})), ..empty };
        db.stores.builtin_tools.all_tenants_seed(&[again.clone(), filled]).await.unwrap();
        let list = db.stores.builtin_tools.all_tenants_list().await.unwrap();
        let edit = list.iter().find(|tool| tool.name == "edit").unwrap();
        assert_eq!(edit.settings, object(json!({"new": 3})), "empty settings are filled");
        let exec = list.iter().find(|tool| tool.name == "exec").unwrap();
        assert!(!exec.enabled);
        assert_eq!(exec.settings, first.settings);
        assert_eq!((&exec.display_name, &exec.description, &exec.requires, &exec.metadata), (&again.display_name, &again.description, &again.requires, &again.metadata));
        assert_eq!(exec.created_at, first.created_at, "it was first seeded then");
    }

    async fn a_tenant_switches_a_tool_on_and_off_and_back(db) {
        let tenant = db.tenant("a").await;
        db.stores.builtin_tools.all_tenants_seed(&[builtin_tool("exec", "runtime"), builtin_tool("edit", "filesystem")]).await.unwrap();
        assert!(db.stores.builtin_tools.overrides(tenant).await.unwrap().is_empty());
        for enabled in [false, true, false] {
            db.stores.builtin_tools.put_override(tenant, "exec", enabled, at(1)).await.unwrap();
            assert_eq!(db.stores.builtin_tools.overrides(tenant).await.unwrap(), [("exec".to_owned(), enabled)]);
        }
        assert!(db.stores.builtin_tools.delete_override(tenant, "exec").await.unwrap());
        assert!(!db.stores.builtin_tools.delete_override(tenant, "exec").await.unwrap());
        assert!(db.stores.builtin_tools.overrides(tenant).await.unwrap().is_empty());
    }

    async fn switches_outlive_seeding(db) {
        let tenant = db.tenant("a").await;
        db.stores.builtin_tools.all_tenants_seed(&[builtin_tool("exec", "runtime")]).await.unwrap();
        db.stores.builtin_tools.put_override(tenant, "exec", false, at(1)).await.unwrap();
        db.stores.builtin_tools.all_tenants_seed(&[builtin_tool("exec", "runtime"), builtin_tool("edit", "filesystem")]).await.unwrap();
        assert_eq!(db.stores.builtin_tools.overrides(tenant).await.unwrap(), [("exec".to_owned(), false)]);
    }

    async fn an_unknown_tool_has_no_switch(db) {
        let tenant = db.tenant("a").await;
        assert_fails!(db.stores.builtin_tools.put_override(tenant, "nope", true, at(1)).await, NotFound);
        assert!(!db.stores.builtin_tools.delete_override(tenant, "nope").await.unwrap());
    }

    async fn switches_of_one_tenant_are_out_of_reach_of_another(db) {
        let (a, b) = (db.tenant("a").await, db.tenant("b").await);
        db.stores.builtin_tools.all_tenants_seed(&[builtin_tool("exec", "runtime")]).await.unwrap();
        db.stores.builtin_tools.put_override(a, "exec", false, at(1)).await.unwrap();
        assert!(db.stores.builtin_tools.overrides(b).await.unwrap().is_empty());
        assert!(!db.stores.builtin_tools.delete_override(b, "exec").await.unwrap());
        db.stores.builtin_tools.put_override(b, "exec", true, at(1)).await.unwrap();
        assert_eq!(db.stores.builtin_tools.overrides(a).await.unwrap(), [("exec".to_owned(), false)]);
        assert!(db.stores.builtin_tools.delete_override(b, "exec").await.unwrap());
        assert_eq!(db.stores.builtin_tools.overrides(a).await.unwrap(), [("exec".to_owned(), false)]);
        assert!(db.stores.builtin_tools.all_tenants_list().await.unwrap()[0].enabled, "the catalogue itself is untouched");
    }
}
